/* One pass over the trials in SQL; the expression is evaluated here, with the parameters of a configuration read once. */
#include "orchestrator/select.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include "results/store.h"
#include "sweeps/expr.h"

bool avs_is_hash_prefix(const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        if (!isxdigit((unsigned char)text[i])) return false;
    return n >= 6 && n <= 64;
}

static int db_error(sqlite3 *db, avs_err *e)
{
    return avs_fail(e, AVS_EDB, "%s: %s", sqlite3_db_filename(db, NULL), sqlite3_errmsg(db));
}

typedef struct {
    avs_arena *config; /* of the configuration at hand */
    avs_arena *row;
    avs_selected t;
    const char *missing; /* first name that a trial lacked, in `kept` */
    char kept[80];
} scan;

static const avs_json *text_value(scan *s, const char *text)
{
    avs_json *j = avs_json_new(s->row, AVS_J_STR);
    if (!j) return NULL;
    j->s = text ? text : "";
    j->len = strlen(j->s);
    return j;
}

static const avs_json *number_value(scan *s, double v, bool whole)
{
    avs_json *j = avs_json_new(s->row, whole ? AVS_J_INT : AVS_J_FLOAT);
    if (!j) return NULL;
    j->d = v;
    j->i = whole ? (int64_t)v : 0;
    return j;
}

bool avs_selected_metric(const avs_selected *t, const char *name, size_t n, double *v)
{
    sqlite3_reset(t->metric);
    const bool found = sqlite3_bind_int64(t->metric, 1, t->trial_id) == SQLITE_OK &&
                       sqlite3_bind_text(t->metric, 2, name, (int)n, SQLITE_TRANSIENT) == SQLITE_OK &&
                       sqlite3_step(t->metric) == SQLITE_ROW;
    if (found) *v = sqlite3_column_double(t->metric, 0);
    sqlite3_reset(t->metric);
    return found;
}

static const avs_json *metric_value(scan *s, const char *name)
{
    double v;
    return avs_selected_metric(&s->t, name, strlen(name), &v) ? number_value(s, v, false) : NULL;
}

static const avs_json *lookup(void *ctx, const char *name)
{
    scan *s = ctx;
    const avs_json *v = NULL;
    const struct {
        const char *name, *value;
    } words[] = {{"kind", s->t.kind}, {"model", s->t.model}, {"task", s->t.task}, {"state", s->t.state}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(name, words[i].name) == 0) return text_value(s, words[i].value);
    if (strcmp(name, "trial") == 0) return text_value(s, avs_arena_strn(s->row, s->t.hash, 12));
    if (strcmp(name, "seed") == 0) return number_value(s, (double)s->t.seed, true);
    if (strcmp(name, "attempts") == 0) return number_value(s, (double)s->t.attempts, true);
    if (strcmp(name, "priority") == 0) return number_value(s, s->t.priority, false);
    if (strncmp(name, "metric.", 7) == 0)
        v = metric_value(s, name + 7);
    else
        v = avs_json_get(s->t.params_json, name);
    if (!v && !s->missing) {
        snprintf(s->kept, sizeof s->kept, "%s", name);
        s->missing = s->kept;
    }
    return v;
}

static const char *column(sqlite3_stmt *st, int i)
{
    const unsigned char *t = sqlite3_column_text(st, i);
    return t ? (const char *)t : "";
}

/* Whether the expression holds for the row. Errors of the expression that no row can mend end the scan. */
static int holds(scan *s, const avs_expr *x, bool *yes, avs_err *e)
{
    avs_json v;
    avs_expr_error bad = {0};
    const bool knew = s->missing != NULL;
    *yes = false;
    if (avs_expr_eval(x, s->row, lookup, s, &v, &bad) != AVS_OK)
        return s->missing || knew ? AVS_OK : avs_fail(e, AVS_ERANGE, "'%s': %s", avs_expr_text(x), bad.msg);
    if (v.kind != AVS_J_BOOL)
        return avs_fail(e, AVS_ERANGE, "'%s' is neither true nor false", avs_expr_text(x));
    *yes = v.b;
    return AVS_OK;
}

static int read_row(scan *s, sqlite3_stmt *st, int64_t *config, avs_err *e)
{
    int64_t id = sqlite3_column_int64(st, 1);
    s->t = (avs_selected){.trial_id = sqlite3_column_int64(st, 0),
                          .hash = column(st, 2),
                          .state = column(st, 3),
                          .kind = column(st, 4),
                          .model = column(st, 5),
                          .task = column(st, 6),
                          .seed = sqlite3_column_int64(st, 7),
                          .attempts = sqlite3_column_int64(st, 8),
                          .priority = sqlite3_column_double(st, 9),
                          .params = column(st, 10),
                          .params_json = s->t.params_json,
                          .metric = s->t.metric};
    avs_arena_free(s->row);
    s->row = avs_arena_new();
    if (!s->row) return avs_fail(e, AVS_ENOMEM, "no memory to read trials");
    if (id == *config) return AVS_OK;
    avs_json *params = NULL;
    avs_arena_free(s->config);
    s->config = avs_arena_new();
    if (!s->config) return avs_fail(e, AVS_ENOMEM, "no memory to read trials");
    int rc = avs_json_parse(s->config, "params", s->t.params, strlen(s->t.params), &params, e);
    s->t.params_json = params;
    *config = id;
    return rc;
}

static const char SQL[] =
    "SELECT t.trial_id, t.config_id, lower(hex(t.hash)), n.name, c.kind, c.model, c.task, t.seed, t.attempts,"
    " t.priority, c.params FROM trial t JOIN config c USING(config_id) JOIN state_name n USING(state)"
    " WHERE (?1='' OR n.name=?1) AND (?2='' OR t.trial_id IN (SELECT trial_id FROM sweep_trial WHERE "
    "sweep_id="
    "(SELECT max(sweep_id) FROM sweep WHERE name=?2))) AND (?3='' OR lower(hex(t.hash)) LIKE ?3||'%')"
    " ORDER BY t.trial_id";
static const char METRIC[] =
    "SELECT r.value FROM result r JOIN metric m USING(metric_id) WHERE r.trial_id=?1 AND m.name=?2"
    " ORDER BY CASE r.split WHEN 'test' THEN 0 WHEN '' THEN 1 ELSE 2 END LIMIT 1";

int avs_select(sqlite3 *db, const avs_selection *q, avs_selected_fn each, void *ctx, int64_t *n, avs_err *e)
{
    sqlite3_stmt *st = NULL;
    scan s = {0};
    const bool by_hash = q->expr && avs_is_hash_prefix(q->expr);
    const avs_expr *x = NULL;
    avs_expr_error bad = {0};
    int64_t config = -1;
    int rc = AVS_OK, step = SQLITE_DONE;
    *n = 0;
    avs_arena *a = avs_arena_new();
    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory to read trials");
    if (q->expr && !by_hash && !(x = avs_expr_parse(a, q->expr, &bad))) {
        rc = avs_fail(e, AVS_ERANGE, "'%s': %s (at character %zu)", q->expr, bad.msg, bad.offset + 1);
        goto out;
    }
    if (sqlite3_prepare_v2(db, SQL, -1, &st, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, METRIC, -1, &s.t.metric, NULL) != SQLITE_OK ||
        sqlite3_bind_text(st, 1, q->state ? q->state : "", -1, SQLITE_STATIC) != SQLITE_OK ||
        sqlite3_bind_text(st, 2, q->sweep ? q->sweep : "", -1, SQLITE_STATIC) != SQLITE_OK ||
        sqlite3_bind_text(st, 3, by_hash ? q->expr : "", -1, SQLITE_STATIC) != SQLITE_OK) {
        rc = db_error(db, e);
        goto out;
    }
    while ((step = sqlite3_step(st)) == SQLITE_ROW) {
        bool yes = true;
        AVS_TRY(read_row(&s, st, &config, e));
        if (x) AVS_TRY(holds(&s, x, &yes, e));
        if (!yes) continue;
        ++*n;
        if (each) each(ctx, &s.t);
    }
    if (step != SQLITE_DONE) rc = db_error(db, e);
    if (rc == AVS_OK && *n == 0 && s.missing)
        rc = avs_fail(e, AVS_ERANGE, "'%s': no trial has both this name and a value that fits: %s", q->expr,
                      s.missing);
out:
    sqlite3_finalize(st);
    sqlite3_finalize(s.t.metric);
    avs_arena_free(s.row);
    avs_arena_free(s.config);
    avs_arena_free(a);
    return rc;
}

typedef struct {
    int64_t id;
    char hex[65];
} found;

static void keep_one(void *ctx, const avs_selected *t)
{
    found *f = ctx;
    f->id = t->trial_id;
    snprintf(f->hex, sizeof f->hex, "%s", t->hash);
}

int avs_select_one(sqlite3 *db, const char *prefix, int64_t *trial_id, char hex[65], avs_err *e)
{
    found f = {0};
    int64_t n = 0;
    if (!avs_is_hash_prefix(prefix))
        return avs_fail(e, AVS_ERANGE, "'%s' is no trial hash: 6 to 64 hex digits are expected", prefix);
    int rc = avs_select(db, &(avs_selection){.expr = prefix}, keep_one, &f, &n, e);
    if (rc != AVS_OK) return rc;
    if (n == 0) return avs_fail(e, AVS_EMISSING, "%s has no trial %s", sqlite3_db_filename(db, NULL), prefix);
    if (n > 1)
        return avs_fail(e, AVS_ERANGE, "%lld trials begin with %s; give more digits", (long long)n, prefix);
    *trial_id = f.id;
    memcpy(hex, f.hex, 65);
    return AVS_OK;
}
