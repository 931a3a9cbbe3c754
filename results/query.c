/* Which trials a report is about: configurations as words, trials, selection by where, and the order of all steps. */
#include "results/query.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static const char *value_of(const avs_q_config *c, const char *key)
{
    for (int i = 0; i < c->shape->n; i++)
        if (strcmp(c->shape->key[i], key) == 0) return avs_q_word_text(c->shape->words, c->value[i]);
    return NULL;
}

const char *avs_q_text(const avs_q_trial *t, const char *key)
{
    if (strcmp(key, "kind") == 0) return t->cfg->kind;
    if (strcmp(key, "model") == 0 && *t->cfg->model) return t->cfg->model;
    if (strcmp(key, "task") == 0 && *t->cfg->task) return t->cfg->task;
    if (strcmp(key, "state") == 0) return avs_trial_state_name(t->state);
    if (strcmp(key, "seed") == 0) return t->seed_text;
    return value_of(t->cfg, key);
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

/* Trials of one configuration mostly follow each other, and only seed and state differ between them. */
void avs_q_select(const avs_table *t, const avs_q_where *w, bool *into)
{
    const avs_q_config *last = NULL;
    bool by_trial = false, verdict = true;
    for (int i = 0; i < w->n; i++)
        by_trial = by_trial || strcmp(w->term[i].key, "seed") == 0 || strcmp(w->term[i].key, "state") == 0;
    for (int i = 0; i < t->n_trials; i++) {
        if (w->n && (by_trial || t->trial[i].cfg != last)) verdict = avs_q_where_holds(w, &t->trial[i]);
        last = t->trial[i].cfg;
        into[i] = verdict;
    }
}

/* Configurations are kept in order of their ids. */
static int load_configs(avs_store *s, avs_table *t, avs_arena *a, avs_err *e)
{
    sqlite3_stmt *q;
    int64_t count;
    bool row;
    int rc;

    AVS_TRY(avs_db_int(s, &count, 0, e, "SELECT count(*) FROM config", ""));
    t->config = AVS_NEW_N(a, avs_q_config, count + 1);
    t->words = avs_q_words_new(a);
    if (!t->config || !t->words)
        return avs_fail(e, AVS_ENOMEM, "no memory for %lld configurations", (long long)count);
    AVS_TRY(avs_db_bind(s, &q, e,
                        "SELECT config_id, kind, model, task, params FROM config ORDER BY config_id LIMIT ?",
                        "i", count));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        avs_q_config *c = &t->config[t->n_configs++];
        const char **name[] = {&c->kind, &c->model, &c->task};
        c->id = sqlite3_column_int64(q, 0);
        bool ok = true;
        for (int i = 0; i < 3; i++) {
            const char *text = avs_db_text(q, 1 + i);
            *name[i] = avs_q_word_text(t->words, avs_q_word(t->words, text, strlen(text)));
            ok = ok && *name[i];
        }
        const char *params = avs_db_text(q, 4);
        rc = ok ? avs_q_params(t->words, params, (size_t)sqlite3_column_bytes(q, 4), c, e)
                : avs_fail(e, AVS_ENOMEM, "no memory for a configuration");
        if (rc != AVS_OK) {
            sqlite3_reset(q);
            return rc;
        }
    }
    t->n_shapes = avs_q_shapes(t->words);
out:
    return rc;
}

/* Ids are mostly 1..n without gaps: the first guess is right. */
static const avs_q_config *find_config(const avs_table *t, int64_t id)
{
    int lo = 0, hi = t->n_configs - 1;
    if (id >= 1 && id <= t->n_configs && t->config[id - 1].id == id) return &t->config[id - 1];
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (t->config[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return t->n_configs && t->config[lo].id == id ? &t->config[lo] : NULL;
}

static const char TRIALS_OF_SWEEP[] =
    "SELECT t.trial_id, t.config_id, t.seed, t.state, coalesce(t.best_attempt,0) FROM (SELECT trial_id,"
    " min(stage_id) AS g, min(ordinal) AS o FROM sweep_trial WHERE sweep_id=?1 GROUP BY trial_id) p"
    " JOIN trial t USING(trial_id) ORDER BY p.g, p.o LIMIT ?2";
static const char ALL_TRIALS[] =
    "SELECT trial_id, config_id, seed, state, coalesce(best_attempt,0) FROM trial WHERE ?1=0"
    " ORDER BY trial_id LIMIT ?2";

static const char *seed_text(avs_table *t, int64_t seed)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%lld", (long long)seed);
    return avs_q_word_text(t->words, avs_q_word(t->words, text, (size_t)n));
}

static int load_trials(avs_store *s, int64_t sweep, int64_t config, avs_arena *a, avs_table *t, avs_err *e)
{
    const char *small[64] = {0}; /* texts of the seeds 0..63 */
    sqlite3_stmt *q;
    int64_t count;
    bool row;
    int rc;

    AVS_TRY(sweep
                ? avs_db_int(s, &count, 0, e, "SELECT count(*) FROM sweep_trial WHERE sweep_id=?", "i", sweep)
                : avs_db_int(s, &count, 0, e, "SELECT count(*) FROM trial", ""));
    if (count > INT32_MAX / 2)
        return avs_fail(e, AVS_ERANGE, "%lld trials are more than a report can hold; narrow it with --sweep",
                        (long long)count);
    t->trial = AVS_NEW_N(a, avs_q_trial, count + 1);
    if (!t->trial) return avs_fail(e, AVS_ENOMEM, "no memory for %lld trials", (long long)count);
    AVS_TRY(avs_db_bind(s, &q, e, sweep ? TRIALS_OF_SWEEP : ALL_TRIALS, "ii", sweep, count));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        avs_q_trial *x = &t->trial[t->n_trials];
        *x = (avs_q_trial){.id = sqlite3_column_int64(q, 0),
                           .cfg = find_config(t, sqlite3_column_int64(q, 1)),
                           .seed = sqlite3_column_int64(q, 2),
                           .state = (avs_trial_state)sqlite3_column_int(q, 3),
                           .attempt = sqlite3_column_int64(q, 4)};
        if (!x->cfg || (unsigned)x->state >= AVS_TRIAL_STATES || (config && x->cfg->id != config)) continue;
        const bool is_small = x->seed >= 0 && x->seed < (int)(sizeof small / sizeof *small);
        if (is_small && !small[x->seed]) small[x->seed] = seed_text(t, x->seed);
        x->seed_text = is_small ? small[x->seed] : seed_text(t, x->seed);
        if (!x->seed_text) {
            sqlite3_reset(q);
            return avs_fail(e, AVS_ENOMEM, "no memory for the seeds");
        }
        t->n_trials++;
    }
out:
    return rc;
}

int avs_q_load(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    avs_q_where where;
    bool *hold = NULL;
    int64_t sweep = 0;
    int rc;

    AVS_TRY(avs_q_where_parse(a, spec->where, &where, e));
    if (spec->sweep) {
        AVS_TRY(
            avs_db_int(s, &sweep, 0, e, "SELECT max(sweep_id) FROM sweep WHERE name=?", "t", spec->sweep));
        if (!sweep)
            return avs_fail(e, AVS_EMISSING, "%s holds no sweep called %s", avs_store_path(s), spec->sweep);
    }
    AVS_TRY(load_configs(s, t, a, e));
    AVS_TRY(load_trials(s, sweep, spec->config, a, t, e));
    for (int i = 0; i < where.n; i++)
        if (!avs_q_has_key(t, where.term[i].key)) return avs_q_unknown_key(t, where.term[i].key, e);
    int kept = 0;
    if (where.n) {
        hold = avs_xalloc((size_t)t->n_trials + 1);
        if (!hold) return avs_fail(e, AVS_ENOMEM, "no memory to select among %d trials", t->n_trials);
        avs_q_select(t, &where, hold);
        for (int i = 0; i < t->n_trials; i++)
            if (hold[i]) t->trial[kept++] = t->trial[i];
        avs_xfree(hold);
        t->n_trials = kept;
    }
    if (!t->n_trials)
        return avs_fail(e, AVS_EMISSING, "%s: no trial matches%s%s%s%s", avs_store_path(s),
                        spec->sweep ? " sweep " : "", spec->sweep ? spec->sweep : "",
                        spec->where ? " where " : "", spec->where ? spec->where : "");
out:
    return rc;
}

int avs_query(avs_store *s, avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    int rc;

    *t = (avs_table){0};
    AVS_TRY(avs_q_block(s, spec, a, t, e));
    t->ci = spec->ci > 0 ? spec->ci : 95;
    if (t->ci >= 100 || t->ci < 50)
        return avs_fail(e, AVS_ERANGE, "the confidence level is %g %%; 50 to below 100 were expected", t->ci);
    AVS_TRY(avs_q_load(s, spec, a, t, e));
    AVS_TRY(avs_q_columns(spec, a, t, e));
    AVS_TRY(avs_q_group(spec, a, t, e));
    AVS_TRY(avs_q_values(s, spec, a, t, e));
    AVS_TRY(avs_q_cells(s, spec, a, t, e));
    if (!spec->hide_published) AVS_TRY(avs_q_published(s, a, t, e));
    AVS_TRY(avs_q_footer(s, spec, a, t, e));
out:
    return rc;
}
