/* What the columns mean and the number every trial has in them: metric names with split and pins, results in one pass over
 * their table, latency statistics from the stored summaries, and the refusal to mix machines in one latency column. */
#include "results/query.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "metrics/latency.h"
#include "results/db.h"

static const char *const latency_stats[] = {"p50", "p90", "p99",       "mean",
                                            "min", "max", "p90_bound", "p99_bound"};

/* "latency_e2e_p90" -> series "latency_e2e", stat "p90". */
static bool split_latency(avs_arena *a, const char *metric, const char **series, const char **stat)
{
    if (strncmp(metric, "latency", 7) != 0) return false;
    for (size_t i = 0; i < sizeof latency_stats / sizeof *latency_stats; i++) {
        size_t n = strlen(metric), m = strlen(latency_stats[i]);
        if (n <= m + 1 || metric[n - m - 1] != '_' || strcmp(metric + n - m, latency_stats[i]) != 0) continue;
        *series = avs_arena_strn(a, metric, n - m - 1);
        *stat = latency_stats[i];
        return *series && (strcmp(*series, "latency") == 0 || strcmp(*series, "latency_e2e") == 0);
    }
    return false;
}

static avs_q_unit unit_of(const char *metric, const char *unit)
{
    if (strcmp(unit, "fraction") == 0 || strncmp(metric, "miou", 4) == 0 || strncmp(metric, "fscore", 6) == 0)
        return AVS_U_FRACTION;
    if (strcmp(unit, "ns") == 0) return AVS_U_NS;
    if (strcmp(unit, "s") == 0) return AVS_U_SECONDS;
    if (strcmp(unit, "count") == 0) return AVS_U_COUNT;
    return AVS_U_PLAIN;
}

static int parse_column(avs_arena *a, const char *name, avs_q_column *c, avs_err *e)
{
    *c = (avs_q_column){.name = name};
    char *metric = avs_arena_str(a, name);
    if (!metric) return avs_fail(e, AVS_ENOMEM, "no memory for column %s", name);
    char *at = strchr(metric, '@');
    if (at) {
        *at = 0;
        int rc = avs_q_where_parse(a, at + 1, &c->pin, e);
        if (rc != AVS_OK) {
            (void)avs_ctx(e, "column %s", name);
            return rc;
        }
    }
    char *colon = strchr(metric, ':');
    if (colon) {
        *colon = 0;
        c->split = colon + 1;
    }
    if (!*metric) return avs_fail(e, AVS_ERANGE, "column '%s' names no metric", name);
    c->metric = metric;
    if (split_latency(a, metric, &c->latency, &c->stat)) {
        c->unit = AVS_U_NS;
        c->better = -1;
    }
    return AVS_OK;
}

/* From the id of a trial to its place: by a table where ids are dense, else by bisection over sorted pairs. */
typedef struct {
    int64_t id;
    int32_t at;
} id_place;
typedef struct {
    int32_t *dense; /* place + 1 by id, or NULL */
    id_place *sorted;
    int64_t top;
    int n;
} places;

static int by_id(const void *x, const void *y)
{
    const id_place *a = x, *b = y;
    return (a->id > b->id) - (a->id < b->id);
}

static int make_places(const avs_table *t, places *p, avs_err *e)
{
    *p = (places){.n = t->n_trials};
    bool dense = true;
    for (int i = 0; i < t->n_trials; i++) {
        if (t->trial[i].id > p->top) p->top = t->trial[i].id;
        dense = dense && t->trial[i].id > 0;
    }
    if (dense && p->top < 8 * (int64_t)t->n_trials + 4096) {
        p->dense = avs_xalloc((size_t)(p->top + 1) * sizeof *p->dense);
        for (int i = 0; p->dense && i < t->n_trials; i++) p->dense[t->trial[i].id] = i + 1;
    } else {
        p->sorted = avs_xalloc((size_t)t->n_trials * sizeof *p->sorted);
        for (int i = 0; p->sorted && i < t->n_trials; i++) p->sorted[i] = (id_place){t->trial[i].id, i};
        if (p->sorted) qsort(p->sorted, (size_t)t->n_trials, sizeof *p->sorted, by_id);
    }
    return p->dense || p->sorted ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for %d trials", t->n_trials);
}

static int place_of(const places *p, int64_t id)
{
    if (p->dense) return id > 0 && id <= p->top ? p->dense[id] - 1 : -1;
    const id_place key = {id, 0}, *hit = bsearch(&key, p->sorted, (size_t)p->n, sizeof key, by_id);
    return hit ? hit->at : -1;
}

static int split_rank(const char *split)
{
    return strcmp(split, "test") == 0 ? 1 : !*split ? 2 : strcmp(split, "val") == 0 ? 3 : 4;
}

/* One column that results fill: the metric's id, and per trial the rank of the split that its value came from. */
typedef struct {
    avs_q_column *c;
    int64_t metric;
    unsigned char *rank;
} wanted_column;

static int find_metric(avs_store *s, const avs_table *t, wanted_column *w, avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int rc;

    w->rank = avs_xalloc((size_t)t->n_trials);
    if (!w->rank) return avs_fail(e, AVS_ENOMEM, "no memory for column %s", w->c->name);
    AVS_TRY(
        avs_db_bind(s, &q, e, "SELECT unit, better, metric_id FROM metric WHERE name=?", "t", w->c->metric));
    AVS_TRY(avs_db_step(s, q, &row, e));
    if (!row) return AVS_OK;
    w->c->unit = unit_of(w->c->metric, avs_db_text(q, 0));
    w->c->better = sqlite3_column_int(q, 1);
    w->metric = sqlite3_column_int64(q, 2);
    sqlite3_reset(q);
out:
    return rc;
}

static void take_result(sqlite3_stmt *q, int at, wanted_column *w, int n)
{
    const int64_t metric = sqlite3_column_int64(q, 1);
    for (int k = 0; k < n; k++) {
        if (w[k].metric != metric) continue;
        const char *split = avs_db_text(q, 2);
        const int rank = split_rank(split);
        if (w[k].c->split && strcmp(split, w[k].c->split) != 0) continue;
        if (w[k].rank[at] && w[k].rank[at] <= rank) continue;
        w[k].rank[at] = (unsigned char)rank;
        w[k].c->value[at] = sqlite3_column_double(q, 3);
    }
}

/* Most trials of the file: one pass over the table; few of them: each by its key. */
static int fill_results(avs_store *s, avs_table *t, const places *p, wanted_column *w, int n, avs_err *e)
{
    static const char one[] = "SELECT trial_id, metric_id, split, value FROM result WHERE trial_id=?";
    sqlite3_stmt *q;
    bool row;
    int rc = AVS_OK;

    for (int k = 0; k < n; k++) AVS_TRY(find_metric(s, t, &w[k], e));
    if (p->top > 16 * (int64_t)t->n_trials) {
        for (int i = 0; i < t->n_trials; i++) {
            AVS_TRY(avs_db_bind(s, &q, e, one, "i", t->trial[i].id));
            while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) take_result(q, i, w, n);
            if (rc != AVS_OK) goto out;
        }
        goto out;
    }
    AVS_TRY(avs_db_bind(s, &q, e, "SELECT trial_id, metric_id, split, value FROM result", ""));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        const int at = place_of(p, sqlite3_column_int64(q, 0));
        if (at >= 0) take_result(q, at, w, n);
    }
out:
    return rc;
}

static bool names_key(const avs_table *t, const avs_q_column *c, const char *key)
{
    for (int k = 0; k < t->n_by; k++)
        if (strcmp(t->by[k], key) == 0) return true;
    for (int k = 0; k < c->pin.n; k++)
        if (strcmp(c->pin.term[k].key, key) == 0) return true;
    return false;
}

/* The machine and code behind a number, as one text to compare. Precision and threads count unless the table shows them. */
static const char LATENCIES[] =
    "SELECT t.trial_id, l.p50, l.p90, l.p99, l.mean, l.min, l.max, l.p90_bound, l.p99_bound, l.flags,"
    " coalesce(v.cpu,'CPU ?')||coalesce(', '||g.model,'')||coalesce(', driver '||v.driver,''),"
    " iif(?2,'',coalesce(', '||json_extract(c.params,'$.precision'),', "
    "'||json_extract(v.vars,'$.precision'),''))||"
    "iif(?3,'',coalesce(', '||json_extract(v.vars,'$.threads')||' threads',''))||', code "
    "'||coalesce(v.code_fp,'?')"
    " FROM latency l JOIN trial t ON t.best_attempt=l.attempt_id JOIN config c USING(config_id)"
    " LEFT JOIN attempt_rank k ON k.attempt_id=l.attempt_id AND k.rank=0 LEFT JOIN env v USING(env_id)"
    " LEFT JOIN gpu g USING(gpu_id) WHERE l.name=?1 ORDER BY t.trial_id";
enum { SUSPECT = AVS_LAT_DRIFT | AVS_LAT_SHARED | AVS_LAT_THROTTLED };

static int fill_latency(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t,
                        const places *p, avs_q_column *c, avs_err *e)
{
    const char *code = NULL;
    sqlite3_stmt *q;
    bool row;
    int rc, column = 1;

    for (size_t k = 0; k < sizeof latency_stats / sizeof *latency_stats; k++)
        if (strcmp(c->stat, latency_stats[k]) == 0) column = 1 + (int)k;
    AVS_TRY(avs_db_bind(s, &q, e, LATENCIES, "tii", c->latency, (int64_t)names_key(t, c, "precision"),
                        (int64_t)names_key(t, c, "threads")));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        const int at = place_of(p, sqlite3_column_int64(q, 0));
        if (at < 0 || !avs_q_where_holds(&c->pin, &t->trial[at])) continue;
        if (sqlite3_column_type(q, column) == SQLITE_NULL) continue; /* no bound for few samples */
        const bool suspect = (sqlite3_column_int(q, 9) & SUSPECT) != 0;
        c->flag[at] = suspect;
        c->n_suspect += suspect;
        if (suspect && !spec->suspect) continue;
        c->value[at] = sqlite3_column_double(q, column);
        const char *machine = avs_db_text(q, 10), *rest = avs_db_text(q, 11);
        if (!c->machine) {
            c->machine = avs_arena_str(a, machine);
            code = avs_arena_str(a, rest);
        }
        if (!c->machine || !code) {
            rc = avs_fail(e, AVS_ENOMEM, "no memory for column %s", c->name);
        } else if (strcmp(c->machine, machine) != 0 || strcmp(code, rest) != 0) {
            c->is_mixed = true;
            if (!spec->mixed)
                rc = avs_fail(
                    e, AVS_ERANGE,
                    "column %s would mix latencies of different machines or code: (%s%s) and (%s%s). "
                    "Narrow it with --where or allow it with --mixed",
                    c->name, c->machine, code, machine, rest);
        }
        if (rc != AVS_OK) {
            sqlite3_reset(q);
            return rc;
        }
    }
out:
    return rc;
}

/* Numbers of the columns list[0..n). */
static int fill(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_q_column *list,
                int n, avs_err *e)
{
    places p = {0};
    wanted_column *w = avs_xalloc(((size_t)n + 1) * sizeof *w);
    int rc = w ? make_places(t, &p, e) : avs_fail(e, AVS_ENOMEM, "no memory for %d columns", n),
        n_results = 0;

    if (rc != AVS_OK) goto out;
    for (int k = 0; k < n; k++) {
        avs_q_column *c = &list[k];
        c->value = AVS_NEW_N(a, double, t->n_trials);
        c->flag = AVS_NEW_N(a, bool, t->n_trials);
        if (!c->value || !c->flag) {
            rc = avs_fail(e, AVS_ENOMEM, "no memory for column %s", c->name);
            goto out;
        }
        for (int i = 0; i < t->n_trials; i++) c->value[i] = (double)NAN;
        if (c->latency)
            AVS_TRY(fill_latency(s, spec, a, t, &p, c, e));
        else
            w[n_results++].c = c;
    }
    if (n_results) AVS_TRY(fill_results(s, t, &p, w, n_results, e));
out:
    for (int k = 0; w && k < n_results; k++) avs_xfree(w[k].rank);
    avs_xfree(w);
    avs_xfree(p.dense);
    avs_xfree(p.sorted);
    return rc;
}

static int no_metric(avs_store *s, const char *name, avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int rc = avs_db_bind(
        s, &q, e,
        "SELECT group_concat(n, ', ') FROM (SELECT name AS n FROM metric WHERE metric_id IN (SELECT"
        " metric_id FROM result) UNION SELECT name||'_p50' FROM latency ORDER BY 1)",
        "");
    if (rc == AVS_OK) rc = avs_db_step(s, q, &row, e);
    if (rc != AVS_OK) return rc;
    avs_fail(e, AVS_EMISSING, "no trial reported '%s'; there are: %s", name,
             row ? avs_db_text(q, 0) : "none");
    sqlite3_reset(q);
    return AVS_EMISSING;
}

static bool is_unfinished(const avs_table *t)
{
    for (int i = 0; i < t->n_trials; i++)
        if (t->trial[i].state == AVS_TRIAL_DONE) return false;
    return true;
}

static const char *const usual[] = {"miou",   "fscore",      "dissipation_index",
                                    "params", "latency_p50", "train_seconds"};
enum { N_USUAL = sizeof usual / sizeof *usual };

int avs_q_columns(const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    const bool own = spec->n_metrics > 0;
    const size_t n = own ? spec->n_metrics : N_USUAL;

    t->column = AVS_NEW_N(a, avs_q_column, n + 1);
    if (!t->column) return avs_fail(e, AVS_ENOMEM, "no memory for %zu columns", n);
    for (size_t i = 0; i < n; i++) {
        int rc = parse_column(a, own ? spec->metrics[i] : usual[i], &t->column[t->n_columns++], e);
        if (rc != AVS_OK) return rc;
    }
    return AVS_OK;
}

static bool has_number(const avs_table *t, const avs_q_column *c)
{
    for (int i = 0; i < t->n_trials; i++)
        if (!isnan(c->value[i])) return true;
    return c->n_suspect > 0;
}

/* Finished trials without any usual metric: show what there is. */
static int take_any(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    const char *name[N_USUAL];
    sqlite3_stmt *q;
    bool row;
    int rc, found = 0;

    AVS_TRY(avs_db_bind(s, &q, e,
                        "SELECT name FROM metric WHERE metric_id IN (SELECT metric_id FROM result)"
                        " ORDER BY metric_id LIMIT ?",
                        "i", (int64_t)N_USUAL));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row)
        if (found < N_USUAL) name[found++] = avs_arena_str(a, avs_db_text(q, 0));
    for (int i = 0; i < found && rc == AVS_OK; i++)
        rc = name[i] ? parse_column(a, name[i], &t->column[i], e)
                     : avs_fail(e, AVS_ENOMEM, "no memory for the names of metrics");
    if (rc != AVS_OK) return rc;
    AVS_TRY(fill(s, spec, a, t, t->column, found, e));
    for (int i = 0; i < found; i++)
        if (has_number(t, &t->column[i])) t->column[t->n_columns++] = t->column[i];
out:
    return rc;
}

int avs_q_values(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    const bool own = spec->n_metrics > 0, young = is_unfinished(t);
    const int asked = t->n_columns;
    int rc;

    AVS_TRY(fill(s, spec, a, t, t->column, asked, e));
    t->n_columns = 0;
    for (int i = 0; i < asked; i++) {
        avs_q_column *c = &t->column[i];
        const bool any = has_number(t, c);
        /* Before anything has finished the quality columns are there, empty. */
        if (own && !any && !t->is_from_block && !young) return no_metric(s, c->name, e);
        if (!own && i == 0 && !any) c->unit = AVS_U_FRACTION;
        if (own || any || (i == 0 && young)) t->column[t->n_columns++] = *c;
    }
    if (t->n_columns == 0) AVS_TRY(take_any(s, spec, a, t, e));
out:
    return rc;
}
