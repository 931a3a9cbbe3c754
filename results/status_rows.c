/* Every query takes the id of a sweep as ?1, 0 for the whole file. */
#include "results/status_rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "base/log.h"
#include "results/db.h"

enum { RECENT = 50 };

/* One look into the index per trial: a list of all trials of a sweep would be made anew for each query. */
#define OF_SWEEP                                                                                             \
    "(?1=0 OR EXISTS(SELECT 1 FROM (SELECT trial_id AS its_trial, sweep_id AS its_sweep FROM sweep_trial) "  \
    "WHERE its_trial=trial_id AND its_sweep=?1))"

static int read_sweep(avs_store *s, int64_t sweep, avs_status_rows *out, avs_err *e)
{
    avs_arena *a = avs_arena_new();
    avs_json *j = NULL;
    sqlite3_stmt *st;
    bool row;
    int rc;

    AVS_TRY(avs_db_bind(
        s, &st, e,
        "SELECT w.name, g.objective FROM sweep w JOIN stage g USING(sweep_id) WHERE (?1=0 OR w.sweep_id=?1) "
        "ORDER BY w.sweep_id DESC, (g.objective IS NULL OR g.objective='{}'), g.stage_id LIMIT 1",
        "i", sweep));
    while ((rc = avs_db_step(s, st, &row, e)) == AVS_OK && row) {
        const char *objective = avs_db_text(st, 1);
        snprintf(out->sweep, sizeof out->sweep, "%s", avs_db_text(st, 0));
        if (!a || avs_json_parse(a, "objective", objective, strlen(objective), &j, NULL) != AVS_OK) continue;
        snprintf(out->metric, sizeof out->metric, "%s", avs_json_str(j, "metric", "miou"));
        out->maximise = strcmp(avs_json_str(j, "mode", "max"), "min") != 0;
    }
out:
    avs_arena_free(a);
    return rc;
}

/* The newest point of an attempt's first series. */
static int read_point(avs_store *s, int64_t attempt, char *out, size_t n, avs_err *e)
{
    sqlite3_stmt *st;
    bool row;
    int rc;

    AVS_TRY(avs_db_bind(s, &st, e,
                        "SELECT m.name, p.step, p.value FROM point p JOIN metric m USING(metric_id) WHERE "
                        "p.attempt_id=?1 AND p.metric_id=(SELECT min(metric_id) FROM point WHERE "
                        "attempt_id=?1) ORDER BY p.step DESC LIMIT 1",
                        "i", attempt));
    while ((rc = avs_db_step(s, st, &row, e)) == AVS_OK && row)
        snprintf(out, n, "step %s, %s %.4g", avs_db_text(st, 1), avs_db_text(st, 0),
                 sqlite3_column_double(st, 2));
out:
    return rc;
}

static int read_live(avs_store *s, int64_t sweep, avs_status_rows *out, avs_err *e)
{
    const int64_t now = avs_wall_us();
    int64_t ids[AVS_STATUS_RUNNING] = {0};
    sqlite3_stmt *st;
    bool row;
    int rc;

    AVS_TRY(avs_db_bind(s, &st, e,
                        "SELECT count(DISTINCT a.attempt_id), count(DISTINCT k.host), "
                        "(SELECT coalesce(sum(gpus),0) FROM attempt WHERE ended IS NULL AND " OF_SWEEP
                        "), (SELECT count(*) FROM gpu) FROM attempt a LEFT JOIN attempt_rank k "
                        "USING(attempt_id) WHERE a.ended IS NULL AND " OF_SWEEP,
                        "i", sweep));
    while ((rc = avs_db_step(s, st, &row, e)) == AVS_OK && row) {
        out->running = sqlite3_column_int64(st, 0);
        out->hosts = sqlite3_column_int64(st, 1);
        out->gpus_busy = sqlite3_column_int64(st, 2);
        out->gpus = sqlite3_column_int64(st, 3);
    }
    if (rc != AVS_OK) goto out;
    /* + : by the index of live attempts, not along the whole table */
    AVS_TRY(avs_db_bind(s, &st, e,
                        "SELECT a.attempt_id, lower(hex(substr(t.hash,1,6))), c.kind, c.model, c.task, "
                        "t.seed, k.host, a.started FROM attempt a JOIN trial t USING(trial_id) JOIN config c "
                        "USING(config_id) LEFT JOIN attempt_rank k ON k.attempt_id=a.attempt_id AND k.rank=0 "
                        "WHERE a.ended IS NULL AND " OF_SWEEP " ORDER BY +a.attempt_id LIMIT ?2",
                        "ii", sweep, (int64_t)AVS_STATUS_RUNNING));
    while ((rc = avs_db_step(s, st, &row, e)) == AVS_OK && row) {
        const int at = out->n_live++;
        ids[at] = sqlite3_column_int64(st, 0);
        snprintf(out->live[at].trial, sizeof out->live->trial, "%s", avs_db_text(st, 1));
        snprintf(out->live[at].what, sizeof out->live->what, "%s %s %s seed %s", avs_db_text(st, 2),
                 avs_db_text(st, 3), avs_db_text(st, 4), avs_db_text(st, 5));
        snprintf(out->live[at].host, sizeof out->live->host, "%s", avs_db_text(st, 6));
        out->live[at].seconds = (double)(now - sqlite3_column_int64(st, 7)) / 1e6;
    }
    for (int i = 0; i < out->n_live && rc == AVS_OK; i++)
        rc = read_point(s, ids[i], out->live[i].point, sizeof out->live->point, e);
out:
    return rc;
}

static int by_value(const void *x, const void *y)
{
    const double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

/* What is left, at the pace of the last attempts that ended well, as many at a time as run now. */
static int estimate(avs_store *s, int64_t sweep, avs_status_rows *out, avs_err *e)
{
    double seconds[RECENT];
    sqlite3_stmt *st;
    bool row;
    int n = 0, rc;

    AVS_TRY(avs_db_bind(
        s, &st, e,
        "SELECT (ended-started)/1e6 FROM attempt WHERE reason=1 AND ended IS NOT NULL AND " OF_SWEEP
        " ORDER BY attempt_id DESC LIMIT ?2",
        "ii", sweep, (int64_t)RECENT));
    while ((rc = avs_db_step(s, st, &row, e)) == AVS_OK && row) seconds[n++] = sqlite3_column_double(st, 0);
    const int64_t left =
        out->count[AVS_TRIAL_PENDING] + out->count[AVS_TRIAL_RUNNING] + out->count[AVS_TRIAL_PREEMPTED];
    if (rc != AVS_OK || n == 0 || left == 0 || out->running == 0) return rc;
    qsort(seconds, (size_t)n, sizeof *seconds, by_value);
    const double median = seconds[n / 2];
    out->eta_s = ceil((double)left / (double)out->running) * median;
    snprintf(out->basis, sizeof out->basis, "median of the last %d: %.3g s, %lld at a time", n, median,
             (long long)out->running);
out:
    return rc;
}

_Static_assert(AVS_END_PREEMPTED == 9 && AVS_END_PAUSED == 10 && AVS_END_PRUNED == 11 &&
                   AVS_END_CANCELLED == 12,
               "the numbers in the query below");

static int read_causes(avs_store *s, int64_t sweep, avs_status_rows *out, avs_err *e)
{
    sqlite3_stmt *st;
    bool row;
    int rc;

    AVS_TRY(avs_db_bind(s, &st, e,
                        "SELECT r.name, lower(hex(substr(t.hash,1,6))), coalesce(k.host,'?'), "
                        "coalesce(a.message,''), a.ended FROM attempt a JOIN trial t USING(trial_id) JOIN "
                        "reason_name r USING(reason) LEFT JOIN attempt_rank k ON k.attempt_id=a.attempt_id "
                        "AND k.rank=0 WHERE a.reason > 1 AND a.reason NOT IN (9,10,11,12) AND " OF_SWEEP
                        " ORDER BY a.ended DESC LIMIT 200",
                        "i", sweep));
    while ((rc = avs_db_step(s, st, &row, e)) == AVS_OK && row) {
        const char *reason = avs_db_text(st, 0);
        char line[160];
        int i = 0;
        snprintf(line, sizeof line, "%s", avs_db_text(st, 3));
        line[strcspn(line, "\n")] = '\0';
        while (i < out->n_causes &&
               (strcmp(out->cause[i].reason, reason) != 0 || strncmp(out->cause[i].text, line, 40) != 0))
            i++;
        if (i == AVS_STATUS_CAUSES) continue;
        if (out->cause[i].count++ > 0) continue;
        out->n_causes = i + 1;
        snprintf(out->cause[i].reason, sizeof out->cause->reason, "%s", reason);
        snprintf(out->cause[i].trial, sizeof out->cause->trial, "%s", avs_db_text(st, 1));
        snprintf(out->cause[i].host, sizeof out->cause->host, "%s", avs_db_text(st, 2));
        snprintf(out->cause[i].text, sizeof out->cause->text, "%s", line);
        out->cause[i].ended_us = sqlite3_column_int64(st, 4);
    }
out:
    return rc;
}

/* The values in which the configurations of the sweep differ, of one of them. A look at its first trials must do. */
static int label(avs_store *s, int64_t sweep, int64_t config, char *out, size_t n, avs_err *e)
{
    size_t at = 0;
    sqlite3_stmt *st;
    bool row;
    int rc;

    out[0] = '\0';
    AVS_TRY(avs_db_bind(
        s, &st, e,
        "WITH c AS (SELECT config_id, params FROM config WHERE config_id=?2 OR config_id IN "
        "(SELECT config_id FROM config WHERE ?1=0 ORDER BY config_id LIMIT 500) OR config_id IN "
        "(SELECT t.config_id FROM (SELECT trial_id FROM sweep_trial WHERE ?1<>0 AND sweep_id=?1 "
        "ORDER BY stage_id, ordinal LIMIT 2000) f JOIN trial t USING(trial_id))) "
        "SELECT j.key, j.value FROM config, json_each(config.params) j WHERE config_id=?2 AND j.key IN "
        "(SELECT k.key FROM c, json_each(c.params) k GROUP BY 1 HAVING count(DISTINCT k.value) > 1 OR "
        "count(*) < (SELECT count(*) FROM c)) ORDER BY 1",
        "ii", sweep, config));
    while ((rc = avs_db_step(s, st, &row, e)) == AVS_OK && row) {
        if (at >= n) continue;
        const int k =
            snprintf(out + at, n - at, "%s%s=%s", at ? " " : "", avs_db_text(st, 0), avs_db_text(st, 1));
        if (k > 0) at += (size_t)k;
    }
    if (!out[0]) snprintf(out, n, "the only configuration");
out:
    return rc;
}

/* Down the index on (metric, split, mean), until enough are found. */
#define BEST(order)                                                                                          \
    "SELECT l.config_id, l.mean, coalesce(l.sd,-1), l.n, coalesce(m.unit,'') FROM metric m CROSS JOIN "      \
    "leaderboard l USING(metric_id) WHERE m.name=?3 AND l.split=(SELECT w.split FROM (SELECT 'test' AS "     \
    "split, 0 AS rank UNION ALL SELECT '', 1 UNION ALL SELECT 'val', 2) w WHERE EXISTS(SELECT 1 FROM "       \
    "leaderboard b WHERE b.metric_id=m.metric_id AND b.split=w.split) ORDER BY w.rank LIMIT 1) AND "         \
    "(?1=0 OR EXISTS(SELECT 1 FROM trial t JOIN sweep_trial st USING(trial_id) WHERE "                       \
    "t.config_id=l.config_id AND st.sweep_id=?1)) ORDER BY l.mean " order " LIMIT ?2"

static int read_best(avs_store *s, int64_t sweep, avs_status_rows *out, avs_err *e)
{
    static const char most[] = BEST("DESC"), least[] = BEST("ASC");
    int64_t ids[AVS_STATUS_BEST] = {0};
    sqlite3_stmt *st;
    bool row;
    int rc;

    if (!out->metric[0]) return AVS_OK;
    AVS_TRY(avs_db_bind(s, &st, e, out->maximise ? most : least, "iit", sweep, (int64_t)AVS_STATUS_BEST,
                        out->metric));
    while ((rc = avs_db_step(s, st, &row, e)) == AVS_OK && row) {
        const int at = out->n_best++;
        ids[at] = sqlite3_column_int64(st, 0);
        out->best[at].mean = sqlite3_column_double(st, 1);
        out->best[at].sd = sqlite3_column_double(st, 2);
        out->best[at].n = sqlite3_column_int64(st, 3);
        snprintf(out->unit, sizeof out->unit, "%s", avs_db_text(st, 4));
    }
    for (int i = 0; i < out->n_best && rc == AVS_OK; i++)
        rc = label(s, sweep, ids[i], out->best[i].label, sizeof out->best->label, e);
out:
    return rc;
}

int avs_store_status(avs_store *s, const char *sweep, avs_status_rows *out, avs_err *e)
{
    int64_t id;
    int rc;

    *out = (avs_status_rows){.eta_s = -1};
    AVS_TRY(avs_db_script(s, "BEGIN", e)); /* all queries see one state */
    rc = avs_db_sweep_id(s, sweep, &id, e);
    if (rc == AVS_OK) rc = avs_store_counts(s, sweep, out->count, e);
    for (int i = 0; i < AVS_TRIAL_STATES; i++) out->total += out->count[i];
    if (rc == AVS_OK) rc = read_sweep(s, id, out, e);
    if (rc == AVS_OK) rc = read_live(s, id, out, e);
    if (rc == AVS_OK) rc = estimate(s, id, out, e);
    if (rc == AVS_OK) rc = read_causes(s, id, out, e);
    if (rc == AVS_OK) rc = read_best(s, id, out, e);
    sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL);
out:
    return rc;
}
