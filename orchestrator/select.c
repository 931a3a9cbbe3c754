/* One pass over the trials; the expression is evaluated here, with the parameters of a configuration read once. */
#include "orchestrator/select.h"

#include <stdio.h>
#include <string.h>
#include "sweeps/expr.h"

typedef struct {
    const avs_expr *expr; /* NULL: every row that comes */
    avs_selected_fn each;
    void *ctx;
    int64_t n;
    int64_t config_id; /* of the configuration at hand, whose parameters live in */
    avs_arena *config; /* this one */
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
    bool found = false;
    return avs_store_trial_metric(t->db, t->row->trial_id, name, n, &found, v, NULL) == AVS_OK && found;
}

static const avs_json *metric_value(scan *s, const char *name)
{
    double v;
    return avs_selected_metric(&s->t, name, strlen(name), &v) ? number_value(s, v, false) : NULL;
}

static const avs_json *lookup(void *ctx, const char *name)
{
    scan *s = ctx;
    const avs_trial_row *t = s->t.row;
    const avs_json *v = NULL;
    const struct {
        const char *name, *value;
    } words[] = {{"kind", t->kind}, {"model", t->model}, {"task", t->task}, {"state", t->state}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(name, words[i].name) == 0) return text_value(s, words[i].value);
    if (strcmp(name, "trial") == 0) return text_value(s, avs_arena_strn(s->row, t->hash, 12));
    if (strcmp(name, "seed") == 0) return number_value(s, (double)t->seed, true);
    if (strcmp(name, "attempts") == 0) return number_value(s, (double)t->attempts, true);
    if (strcmp(name, "priority") == 0) return number_value(s, t->priority, false);
    if (strncmp(name, "metric.", 7) == 0)
        v = metric_value(s, name + 7);
    else
        v = avs_json_get(s->t.params, name);
    if (!v && !s->missing) {
        snprintf(s->kept, sizeof s->kept, "%s", name);
        s->missing = s->kept;
    }
    return v;
}

/* Whether the expression holds for the row. Errors of the expression that no row can mend end the scan. */
static int holds(scan *s, bool *yes, avs_err *e)
{
    avs_json v;
    avs_expr_error bad = {0};
    const bool knew = s->missing != NULL;
    *yes = false;
    if (avs_expr_eval(s->expr, s->row, lookup, s, &v, &bad) != AVS_OK)
        return s->missing || knew ? AVS_OK
                                  : avs_fail(e, AVS_ERANGE, "'%s': %s", avs_expr_text(s->expr), bad.msg);
    if (v.kind != AVS_J_BOOL)
        return avs_fail(e, AVS_ERANGE, "'%s' is neither true nor false", avs_expr_text(s->expr));
    *yes = v.b;
    return AVS_OK;
}

/* Memory for the row, and the parameters of its configuration. */
static int begin_row(scan *s, const avs_trial_row *t, avs_err *e)
{
    s->t.row = t;
    avs_arena_free(s->row);
    s->row = avs_arena_new();
    if (!s->row) return avs_fail(e, AVS_ENOMEM, "no memory to read trials");
    if (t->config_id == s->config_id) return AVS_OK;
    avs_json *params = NULL;
    avs_arena_free(s->config);
    s->config = avs_arena_new();
    if (!s->config) return avs_fail(e, AVS_ENOMEM, "no memory to read trials");
    const int rc = avs_json_parse(s->config, "params", t->params, strlen(t->params), &params, e);
    s->t.params = params;
    s->config_id = t->config_id;
    return rc;
}

static int on_row(void *ctx, const avs_trial_row *t, avs_err *e)
{
    scan *s = ctx;
    bool yes = true;
    int rc = begin_row(s, t, e);
    if (rc == AVS_OK && s->expr) rc = holds(s, &yes, e);
    if (rc != AVS_OK || !yes) return rc;
    s->n++;
    if (s->each) s->each(s->ctx, &s->t);
    return AVS_OK;
}

int avs_select(avs_store *db, const avs_selection *q, avs_selected_fn each, void *ctx, int64_t *n, avs_err *e)
{
    scan s = {.each = each, .ctx = ctx, .config_id = -1, .t = {.db = db}};
    const bool by_hash = q->expr && avs_is_hash_prefix(q->expr);
    avs_expr_error bad = {0};
    int rc = AVS_OK;
    *n = 0;
    avs_arena *a = avs_arena_new();
    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory to read trials");
    if (q->expr && !by_hash && !(s.expr = avs_expr_parse(a, q->expr, &bad)))
        rc = avs_fail(e, AVS_ERANGE, "'%s': %s (at character %zu)", q->expr, bad.msg, bad.offset + 1);
    const avs_trial_filter f = {by_hash ? q->expr : NULL, q->sweep, q->state};
    if (rc == AVS_OK) rc = avs_store_trials(db, &f, on_row, &s, e);
    *n = s.n;
    if (rc == AVS_OK && s.n == 0 && s.missing)
        rc = avs_fail(e, AVS_ERANGE, "'%s': no trial has both this name and a value that fits: %s", q->expr,
                      s.missing);
    avs_arena_free(s.row);
    avs_arena_free(s.config);
    avs_arena_free(a);
    return rc;
}
