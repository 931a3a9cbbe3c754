/* Which trials, and how they fall into rows: selection by where, keys as text, grouping in order of appearance. */
#include "results/query.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/rng.h"
#include "results/db.h"

static void push(const char ***list, int *n, int *cap, avs_arena *a, const char *text)
{
    if (*n == *cap) {
        int grown = *cap ? 2 * *cap : 16;
        const char **more = AVS_NEW_N(a, const char *, grown);
        if (!more) return;
        if (*n) memcpy(more, *list, (size_t)*n * sizeof *more);
        *list = more;
        *cap = grown;
    }
    if (text) (*list)[(*n)++] = text;
}

static const char *vtext(avs_arena *a, const char *fmt, va_list args)
{
    char buf[2048];
    if (vsnprintf(buf, sizeof buf, fmt, args) < 0) buf[0] = '\0';
    return avs_arena_str(a, buf);
}

void avs_q_note(avs_table *t, avs_arena *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    push(&t->note, &t->n_notes, &t->cap_notes, a, vtext(a, fmt, args));
    va_end(args);
}

void avs_q_provenance(avs_table *t, avs_arena *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    push(&t->provenance, &t->n_provenance, &t->cap_provenance, a, vtext(a, fmt, args));
    va_end(args);
}

const char *avs_q_text(const avs_q_trial *t, const char *key)
{
    if (strcmp(key, "kind") == 0) return t->cfg->kind;
    if (strcmp(key, "model") == 0 && *t->cfg->model) return t->cfg->model;
    if (strcmp(key, "task") == 0 && *t->cfg->task) return t->cfg->task;
    if (strcmp(key, "state") == 0) return avs_trial_state_name(t->state);
    if (strcmp(key, "seed") == 0) return t->seed_text;
    int i = 0;
    for (const avs_json *p = t->cfg->params->first; p; p = p->next, i++)
        if (strcmp(p->key, key) == 0) return t->cfg->text[i];
    return NULL;
}

/* Strings as they are, anything else as canonical JSON. */
static int make_texts(avs_arena *a, avs_q_config *c, avs_err *e)
{
    avs_buf b = AVS_BUF_INIT;
    int i = 0;
    bool ok = (c->text = AVS_NEW_N(a, const char *, c->params->len + 1)) != NULL;
    for (const avs_json *p = c->params->first; p && ok; p = p->next) {
        avs_buf_clear(&b);
        if (p->kind != AVS_J_STR) avs_json_write(&b, p, true);
        ok = avs_buf_ok(&b);
        c->text[i++] = p->kind == AVS_J_STR ? p->s : avs_arena_str(a, avs_buf_cstr(&b));
    }
    avs_buf_free(&b);
    return ok ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for the parameters of a configuration");
}

int avs_q_where_parse(avs_arena *a, const char *text, avs_q_where *out, avs_err *e)
{
    *out = (avs_q_where){0};
    if (!text || !*text) return AVS_OK;
    int n = 1;
    for (const char *p = text; *p; p++) n += *p == ',';
    out->term = AVS_NEW_N(a, avs_q_term, n);
    char *copy = avs_arena_str(a, text);
    if (!out->term || !copy) return avs_fail(e, AVS_ENOMEM, "no memory for the filter '%s'", text);
    for (char *p = copy, *next; p; p = next) {
        next = strchr(p, ',');
        if (next) *next++ = 0;
        p += strspn(p, " ");
        char *eq = strchr(p, '=');
        if (!eq || eq == p || (eq == p + 1 && *p == '!'))
            return avs_fail(e, AVS_ERANGE, "filter '%s': '%s' is not KEY=VALUE or KEY!=VALUE", text, p);
        avs_q_term *t = &out->term[out->n++];
        t->negate = eq[-1] == '!';
        eq[t->negate ? -1 : 0] = 0;
        t->key = p;
        t->value = eq + 1;
    }
    return AVS_OK;
}

/* 0.10 and 0.1 are one value when both read as numbers. */
static bool same_value(const char *have, const char *want)
{
    if (strcmp(have, want) == 0) return true;
    char *end1, *end2;
    double x = strtod(have, &end1), y = strtod(want, &end2);
    return *have && *want && !*end1 && !*end2 && x == y;
}

bool avs_q_where_holds(const avs_q_where *w, const avs_q_trial *t)
{
    for (int i = 0; i < w->n; i++) {
        const char *have = avs_q_text(t, w->term[i].key);
        if ((have && same_value(have, w->term[i].value)) == w->term[i].negate) return false;
    }
    return true;
}

static const char *const special[] = {"kind", "model", "task", "seed", "state"};

static bool has_key(const avs_table *t, const char *key)
{
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (strcmp(special[i], key) == 0) return true;
    for (int i = 0; i < t->n_trials; i++)
        if (avs_json_get(t->trial[i].cfg->params, key)) return true;
    return false;
}

static int unknown_key(const avs_table *t, const char *key, avs_err *e)
{
    char known[300] = "kind, model, task, seed, state";
    size_t len = strlen(known);
    for (const avs_json *p = t->n_trials ? t->trial[0].cfg->params->first : NULL; p; p = p->next)
        if (len + strlen(p->key) + 3 < sizeof known)
            len += (size_t)snprintf(known + len, sizeof known - len, ", %s", p->key);
    return avs_fail(e, AVS_EMISSING, "no trial has the parameter '%s'; there are: %s", key, known);
}

/* Configs are few compared with trials and kept sorted by id for look-up. */
static int load_configs(avs_store *s, avs_arena *a, avs_q_config **list, int *n, avs_err *e)
{
    sqlite3_stmt *q;
    int64_t count;
    bool row;
    int rc;

    *n = 0;
    AVS_TRY(avs_db_int(s, &count, 0, e, "SELECT count(*) FROM config", ""));
    *list = AVS_NEW_N(a, avs_q_config, count + 1);
    if (!*list) return avs_fail(e, AVS_ENOMEM, "no memory for %lld configurations", (long long)count);
    AVS_TRY(avs_db_bind(s, &q, e,
                        "SELECT config_id, kind, model, task, params FROM config ORDER BY config_id LIMIT ?",
                        "i", count));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        avs_q_config *c = &(*list)[(*n)++];
        avs_json *params;
        c->id = sqlite3_column_int64(q, 0);
        c->kind = avs_arena_str(a, avs_db_text(q, 1));
        c->model = avs_arena_str(a, avs_db_text(q, 2));
        c->task = avs_arena_str(a, avs_db_text(q, 3));
        rc = avs_json_parse(a, "stored parameters", avs_db_text(q, 4), (size_t)sqlite3_column_bytes(q, 4),
                            &params, e);
        if (rc != AVS_OK || !c->kind || !c->model || !c->task) {
            sqlite3_reset(q);
            return rc != AVS_OK ? rc : avs_fail(e, AVS_ENOMEM, "no memory for a configuration");
        }
        c->params = params;
        if ((rc = make_texts(a, c, e)) != AVS_OK) {
            sqlite3_reset(q);
            return rc;
        }
    }
out:
    return rc;
}

static const avs_q_config *find_config(const avs_q_config *list, int n, int64_t id)
{
    int lo = 0, hi = n - 1;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (list[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return n && list[lo].id == id ? &list[lo] : NULL;
}

static const char TRIALS_OF_SWEEP[] =
    "SELECT t.trial_id, t.config_id, t.seed, t.state, coalesce(t.best_attempt,0) FROM (SELECT trial_id,"
    " min(stage_id) AS g, min(ordinal) AS o FROM sweep_trial WHERE sweep_id=?1 GROUP BY trial_id) p"
    " JOIN trial t USING(trial_id) ORDER BY p.g, p.o LIMIT ?2";
static const char ALL_TRIALS[] =
    "SELECT trial_id, config_id, seed, state, coalesce(best_attempt,0) FROM trial WHERE ?1=0"
    " ORDER BY trial_id LIMIT ?2";

int avs_q_load(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    avs_q_config *configs;
    avs_q_where where;
    sqlite3_stmt *q;
    int64_t sweep = 0, count;
    bool row;
    int rc, n_configs;

    AVS_TRY(avs_q_where_parse(a, spec->where, &where, e));
    if (spec->sweep) {
        AVS_TRY(
            avs_db_int(s, &sweep, 0, e, "SELECT max(sweep_id) FROM sweep WHERE name=?", "t", spec->sweep));
        if (!sweep)
            return avs_fail(e, AVS_EMISSING, "%s holds no sweep called %s", avs_store_path(s), spec->sweep);
    }
    AVS_TRY(load_configs(s, a, &configs, &n_configs, e));
    AVS_TRY(avs_db_int(s, &count, 0, e, "SELECT count(*) FROM trial", ""));
    t->trial = AVS_NEW_N(a, avs_q_trial, count + 1);
    if (!t->trial) return avs_fail(e, AVS_ENOMEM, "no memory for %lld trials", (long long)count);
    AVS_TRY(avs_db_bind(s, &q, e, sweep ? TRIALS_OF_SWEEP : ALL_TRIALS, "ii", sweep, count));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        avs_q_trial *x = &t->trial[t->n_trials];
        *x = (avs_q_trial){.id = sqlite3_column_int64(q, 0),
                           .cfg = find_config(configs, n_configs, sqlite3_column_int64(q, 1)),
                           .seed = sqlite3_column_int64(q, 2),
                           .state = (avs_trial_state)sqlite3_column_int(q, 3),
                           .attempt = sqlite3_column_int64(q, 4)};
        x->seed_text = avs_arena_fmt(a, "%lld", (long long)x->seed);
        if (x->cfg && (unsigned)x->state < AVS_TRIAL_STATES) t->n_trials++;
    }
    if (rc != AVS_OK) goto out;
    for (int i = 0; i < where.n; i++)
        if (!has_key(t, where.term[i].key)) return unknown_key(t, where.term[i].key, e);
    int kept = 0;
    for (int i = 0; i < t->n_trials; i++)
        if (avs_q_where_holds(&where, &t->trial[i])) t->trial[kept++] = t->trial[i];
    t->n_trials = kept;
    if (!kept)
        return avs_fail(e, AVS_EMISSING, "%s: no trial matches%s%s%s%s", avs_store_path(s),
                        spec->sweep ? " sweep " : "", spec->sweep ? spec->sweep : "",
                        spec->where ? " where " : "", spec->where ? spec->where : "");
out:
    return rc;
}

static bool is_pinned(const avs_table *t, const char *key)
{
    for (int c = 0; c < t->n_columns; c++)
        for (int i = 0; i < t->column[c].pin.n; i++)
            if (strcmp(t->column[c].pin.term[i].key, key) == 0) return true;
    return false;
}

/* A key varies when two trials of one kind differ in it: stages of another kind set other parameters anyway. */
static bool varies(const avs_table *t, const char *key)
{
    for (int i = 1; i < t->n_trials; i++) {
        const avs_q_trial *x = &t->trial[i];
        for (int k = i - 1; k >= 0; k--) {
            if (strcmp(t->trial[k].cfg->kind, x->cfg->kind) != 0) continue;
            if (t->trial[k].cfg == x->cfg) break;
            const char *u = avs_q_text(x, key), *v = avs_q_text(&t->trial[k], key);
            if ((!u != !v) || (u && strcmp(u, v) != 0)) return true;
            break; /* neighbours of a kind suffice: any difference shows between some two of them */
        }
    }
    return false;
}

static void add_by(avs_table *t, const char *key)
{
    for (int i = 0; i < t->n_by; i++)
        if (strcmp(t->by[i], key) == 0) return;
    if (t->n_by < 64 && !is_pinned(t, key) && varies(t, key)) t->by[t->n_by++] = key;
}

static int choose_keys(const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    t->by = AVS_NEW_N(a, const char *, spec->n_by + 64);
    if (!t->by) return avs_fail(e, AVS_ENOMEM, "no memory for row keys");
    for (size_t i = 0; i < spec->n_by; i++) {
        if (!has_key(t, spec->by[i])) return unknown_key(t, spec->by[i], e);
        t->by[t->n_by++] = spec->by[i];
    }
    if (t->n_by) return AVS_OK;
    add_by(t, "model");
    add_by(t, "task");
    const avs_q_config *last = NULL;
    for (int i = 0; i < t->n_trials; i++) {
        if (t->trial[i].cfg == last) continue;
        last = t->trial[i].cfg;
        for (const avs_json *p = last->params->first; p; p = p->next) add_by(t, p->key);
    }
    if (!t->n_by) t->by[t->n_by++] = "model";
    return AVS_OK;
}

/* Row of a trial's key texts; rows are found by hash and stay in order of appearance. */
static int find_row(avs_table *t, const char **key, int *slots, uint64_t mask)
{
    uint64_t h = 0;
    for (int k = 0; k < t->n_by; k++) h = avs_splitmix64(h ^ (key[k] ? avs_fnv1a64_str(key[k]) : 1));
    for (uint64_t i = h & mask;; i = (i + 1) & mask) {
        if (slots[i] < 0) {
            slots[i] = t->n_rows;
            t->row[t->n_rows].key = key;
            return t->n_rows++;
        }
        const avs_q_row *r = &t->row[slots[i]];
        bool same = true;
        for (int k = 0; k < t->n_by && same; k++)
            same = (!key[k] && !r->key[k]) || (key[k] && r->key[k] && strcmp(key[k], r->key[k]) == 0);
        if (same) return slots[i];
    }
}

int avs_q_group(const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    uint64_t size = 16;
    int rc = choose_keys(spec, a, t, e);

    if (rc != AVS_OK) return rc;
    while (size < 2 * (uint64_t)t->n_trials) size *= 2;
    int *slots = AVS_NEW_N(a, int, size);
    t->row = AVS_NEW_N(a, avs_q_row, t->n_trials + 1);
    if (!slots || !t->row) return avs_fail(e, AVS_ENOMEM, "no memory for %d rows", t->n_trials);
    memset(slots, -1, size * sizeof *slots);
    for (int i = 0; i < t->n_trials; i++) {
        const char **key = AVS_NEW_N(a, const char *, t->n_by);
        if (!key) return avs_fail(e, AVS_ENOMEM, "no memory for row keys");
        for (int k = 0; k < t->n_by; k++) key[k] = avs_q_text(&t->trial[i], t->by[k]);
        t->trial[i].row = find_row(t, key, slots, size - 1);
        avs_q_row *r = &t->row[t->trial[i].row];
        r->n_trials++;
        r->n_state[t->trial[i].state]++;
    }
    return AVS_OK;
}

static size_t strings_of(avs_arena *a, const avs_json *list, const char *const **out)
{
    size_t n = 0;
    if (!list || list->kind != AVS_J_ARR) return 0;
    const char **text = AVS_NEW_N(a, const char *, list->len + 1);
    for (const avs_json *x = list->first; x && text; x = x->next)
        if (x->kind == AVS_J_STR) text[n++] = x->s;
    *out = text;
    return n;
}

/* Without keys and metrics of its own a report of one sweep is the one its file describes. */
static int use_block(avs_store *s, avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    avs_json *block = NULL;
    int rc;

    if (spec->n_by || spec->n_metrics) return AVS_OK;
    AVS_TRY(avs_db_bind(
        s, &q, e,
        "SELECT report FROM sweep WHERE sweep_id=(SELECT max(sweep_id) FROM sweep WHERE ?1 IS NULL OR"
        " name=?1) AND report IS NOT NULL AND (?1 IS NOT NULL OR (SELECT count(DISTINCT name) FROM sweep)=1)",
        "t", spec->sweep));
    AVS_TRY(avs_db_step(s, q, &row, e));
    if (!row) return AVS_OK;
    rc = avs_json_parse(a, "stored report block", avs_db_text(q, 0), (size_t)sqlite3_column_bytes(q, 0),
                        &block, e);
    sqlite3_reset(q);
    if (rc != AVS_OK) return rc;
    spec->n_by = strings_of(a, avs_json_get(block, "by"), &spec->by);
    spec->n_metrics = strings_of(a, avs_json_get(block, "metrics"), &spec->metrics);
    t->is_from_block = spec->n_metrics > 0;
out:
    return rc;
}

int avs_query(avs_store *s, const avs_report_spec *asked, avs_arena *a, avs_table *t, avs_err *e)
{
    avs_report_spec own = *asked, *spec = &own;
    int rc;

    *t = (avs_table){.ci = spec->ci > 0 ? spec->ci : 95};
    if (t->ci >= 100 || t->ci < 50)
        return avs_fail(e, AVS_ERANGE, "the confidence level is %g %%; 50 to below 100 were expected", t->ci);
    AVS_TRY(use_block(s, spec, a, t, e));
    AVS_TRY(avs_q_load(s, spec, a, t, e));
    AVS_TRY(avs_q_columns(s, spec, a, t, e));
    AVS_TRY(avs_q_group(spec, a, t, e));
    AVS_TRY(avs_q_cells(spec, a, t, e));
    if (!spec->hide_published) AVS_TRY(avs_q_published(s, a, t, e));
    AVS_TRY(avs_q_footer(s, spec, a, t, e));
out:
    return rc;
}
