/* What the columns mean and the number every trial has in them: metric names with split and pins, latency statistics
 * from the stored samples' summary, and the refusal to mix machines in one latency column. */
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

static int by_id(const void *x, const void *y)
{
    const avs_q_trial *const *a = x, *const *b = y;
    return ((*a)->id > (*b)->id) - ((*a)->id < (*b)->id);
}

static int find_trial(avs_q_trial *const *sorted, int n, int64_t id)
{
    int lo = 0, hi = n - 1;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (sorted[mid]->id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return n && sorted[lo]->id == id ? lo : -1;
}

static int split_rank(const char *split)
{
    return strcmp(split, "test") == 0 ? 0 : !*split ? 1 : strcmp(split, "val") == 0 ? 2 : 3;
}

static int fill_results(avs_store *s, avs_arena *a, avs_table *t, avs_q_trial *const *sorted, avs_q_column *c,
                        avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int rc;
    int *rank = AVS_NEW_N(a, int, t->n_trials);

    if (!rank) return avs_fail(e, AVS_ENOMEM, "no memory for column %s", c->name);
    AVS_TRY(avs_db_bind(s, &q, e, "SELECT unit, better FROM metric WHERE name=?", "t", c->metric));
    AVS_TRY(avs_db_step(s, q, &row, e));
    if (row) {
        c->unit = unit_of(c->metric, avs_db_text(q, 0));
        c->better = sqlite3_column_int(q, 1);
        sqlite3_reset(q);
    }
    AVS_TRY(avs_db_bind(
        s, &q, e,
        "SELECT trial_id, split, value FROM result WHERE metric_id=(SELECT metric_id FROM metric WHERE"
        " name=?) ORDER BY trial_id",
        "t", c->metric));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        int at = find_trial(sorted, t->n_trials, sqlite3_column_int64(q, 0));
        const char *split = avs_db_text(q, 1);
        if (at < 0 || (c->split && strcmp(split, c->split) != 0)) continue;
        int i = (int)(sorted[at] - t->trial);
        if (!isnan(c->value[i]) && rank[i] <= split_rank(split)) continue;
        rank[i] = split_rank(split);
        c->value[i] = sqlite3_column_double(q, 2);
    }
out:
    return rc;
}

/* The machine and code behind a number, as one text to compare. */
static int fill_latency(avs_store *s, avs_arena *a, avs_table *t, avs_q_trial *const *sorted, avs_q_column *c,
                        const avs_report_spec *spec, avs_err *e)
{
    static const char *const sql =
        "SELECT t.trial_id, l.p50, l.p90, l.p99, l.mean, l.min, l.max, l.p90_bound,"
        " l.p99_bound, l.flags, coalesce(k.host,'?')||', '||coalesce(v.cpu,'?')||', '||"
        "coalesce(g.model||', ','')||'code '||coalesce(v.code_fp,'?') FROM latency l"
        " JOIN trial t ON t.best_attempt=l.attempt_id LEFT JOIN attempt_rank k ON"
        " k.attempt_id=l.attempt_id AND k.rank=0 LEFT JOIN env v USING(env_id)"
        " LEFT JOIN gpu g USING(gpu_id) WHERE l.name=? ORDER BY t.trial_id";
    const char *machine = NULL;
    sqlite3_stmt *q;
    bool row;
    int rc, column = 1;

    for (size_t k = 0; k < sizeof latency_stats / sizeof *latency_stats; k++)
        if (strcmp(c->stat, latency_stats[k]) == 0) column = 1 + (int)k;
    AVS_TRY(avs_db_bind(s, &q, e, sql, "t", c->latency));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        int at = find_trial(sorted, t->n_trials, sqlite3_column_int64(q, 0));
        if (at < 0 || !avs_q_where_holds(&c->pin, sorted[at])) continue;
        if (sqlite3_column_type(q, column) == SQLITE_NULL) continue; /* no bound for few samples */
        c->value[sorted[at] - t->trial] = sqlite3_column_double(q, column);
        int flags = sqlite3_column_int(q, 9) & (AVS_LAT_DRIFT | AVS_LAT_SHARED | AVS_LAT_THROTTLED);
        c->flag[sorted[at] - t->trial] = flags != 0;
        c->n_flagged += flags != 0;
        const char *where = avs_arena_str(a, avs_db_text(q, 10));
        if (!where) rc = avs_fail(e, AVS_ENOMEM, "no memory for column %s", c->name);
        if (rc == AVS_OK && machine && strcmp(machine, where) != 0) {
            c->is_mixed = true;
            if (!spec->mixed)
                rc = avs_fail(e, AVS_ERANGE,
                              "column %s would mix latencies of different machines or code: (%s) and (%s). "
                              "Narrow it with "
                              "--where or allow it with --mixed",
                              c->name, machine, where);
        }
        if (rc != AVS_OK) {
            sqlite3_reset(q);
            return rc;
        }
        if (!machine) machine = where;
    }
out:
    return rc;
}

static int fill(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t,
                avs_q_trial *const *sorted, avs_q_column *c, bool *any, avs_err *e)
{
    c->value = AVS_NEW_N(a, double, t->n_trials);
    c->flag = AVS_NEW_N(a, bool, t->n_trials);
    if (!c->value || !c->flag) return avs_fail(e, AVS_ENOMEM, "no memory for column %s", c->name);
    for (int i = 0; i < t->n_trials; i++) c->value[i] = (double)NAN;
    int rc = c->latency ? fill_latency(s, a, t, sorted, c, spec, e) : fill_results(s, a, t, sorted, c, e);
    *any = false;
    for (int i = 0; i < t->n_trials; i++) *any = *any || !isnan(c->value[i]);
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

int avs_q_columns(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    static const char *const usual[] = {"miou", "fscore", "params", "latency_p50", "train_seconds"};
    const size_t n_usual = sizeof usual / sizeof *usual;
    bool own = spec->n_metrics > 0, any;
    size_t n = own ? spec->n_metrics : n_usual;
    int rc = AVS_OK;

    t->column = AVS_NEW_N(a, avs_q_column, n);
    avs_q_trial **sorted = AVS_NEW_N(a, avs_q_trial *, t->n_trials);
    if (!t->column || !sorted) return avs_fail(e, AVS_ENOMEM, "no memory for %zu columns", n);
    for (int i = 0; i < t->n_trials; i++) sorted[i] = &t->trial[i];
    qsort(sorted, (size_t)t->n_trials, sizeof *sorted, by_id);
    for (size_t i = 0; i < n; i++) {
        avs_q_column *c = &t->column[t->n_columns];
        AVS_TRY(parse_column(a, own ? spec->metrics[i] : usual[i], c, e));
        AVS_TRY(fill(s, spec, a, t, sorted, c, &any, e));
        /* Before anything has finished the quality columns are there, empty. */
        if (own && !any && !t->is_from_block && !is_unfinished(t)) return no_metric(s, c->name, e);
        if (own || any || (i == 0 && is_unfinished(t))) t->n_columns++;
        if (!own && i == 0 && !any) c->unit = AVS_U_FRACTION;
    }
    if (t->n_columns == 0) { /* finished trials without any usual metric: show what there is */
        sqlite3_stmt *q;
        bool row;
        AVS_TRY(avs_db_bind(s, &q, e,
                            "SELECT name FROM metric WHERE metric_id IN (SELECT metric_id FROM result)"
                            " ORDER BY metric_id LIMIT ?",
                            "i", (int64_t)n_usual));
        const char *names[5];
        int found = 0;
        while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row)
            if (found < (int)n_usual) names[found++] = avs_arena_str(a, avs_db_text(q, 0));
        for (int i = 0; i < found && rc == AVS_OK; i++) {
            avs_q_column *c = &t->column[t->n_columns];
            AVS_TRY(parse_column(a, names[i], c, e));
            AVS_TRY(fill(s, spec, a, t, sorted, c, &any, e));
            t->n_columns += any;
        }
    }
out:
    return rc;
}
