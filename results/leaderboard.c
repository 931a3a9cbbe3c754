/* Stored summaries of results: mean, deviation and 95 % t-interval of a metric over the trials of a configuration, because a
 * stock sqlite3 has no root. */
#include <math.h>
#include "metrics/stats.h"
#include "results/db.h"

static double t95(avs_store *s, int64_t df)
{
    enum { KNOWN = sizeof s->t95 / sizeof *s->t95 };
    if (df >= KNOWN)
        return avs_normal_quantile(0.975) + 2.3723 / (double)df; /* within 1e-4 of t from df = 512 on */
    if (s->t95[df] == 0) s->t95[df] = avs_t_quantile(0.975, (double)df);
    return s->t95[df];
}

static int put_leaderboard(avs_store *s, int64_t config_id, int64_t metric_id, const char *split, int64_t n,
                           double mean, double m2, avs_err *e)
{
    double sd = n > 1 ? sqrt(m2 / (double)(n - 1)) : (double)NAN;
    double half = n > 1 ? t95(s, n - 1) * sd / sqrt((double)n) : (double)NAN;
    return avs_db_run(s, e, "INSERT OR REPLACE INTO leaderboard VALUES(?,?,?,?,?,?,?,?)", "iitidddd",
                      config_id, metric_id, split, n, mean, sd, mean - half, mean + half);
}

enum { EXACT_SEEDS = 64 };

/* Mean, deviation and interval of one metric over the seeds of a config: stored, because plain sqlite3 has no root. Up to
 * EXACT_SEEDS they are summed anew in order of seeds; beyond, the new value x is added to the stored row (Welford), so
 * that a config with many thousand seeds does not cost more with each. A trial is done once, so x is never a repeat. */
int avs_board_add(avs_store *s, int64_t config_id, int64_t metric_id, const char *split, double x, avs_err *e)
{
    double value[EXACT_SEEDS], mean = 0, sd = 0;
    sqlite3_stmt *q;
    bool row = true;
    int64_t n = 0;
    int rc;

    AVS_TRY(avs_db_bind(s, &q, e,
                        "SELECT n, mean, sd FROM leaderboard WHERE config_id=? AND metric_id=? AND split=?",
                        "iit", config_id, metric_id, split));
    AVS_TRY(avs_db_step(s, q, &row, e));
    if (row) {
        n = sqlite3_column_int64(q, 0);
        mean = sqlite3_column_double(q, 1);
        sd = sqlite3_column_double(q, 2);
        sqlite3_reset(q);
    }
    if (n >= EXACT_SEEDS) {
        double d = x - mean, next = mean + d / (double)(n + 1);
        return put_leaderboard(s, config_id, metric_id, split, n + 1, next,
                               sd * sd * (double)(n - 1) + d * (x - next), e);
    }
    n = 0;
    AVS_TRY(
        avs_db_bind(s, &q, e,
                    "SELECT r.value FROM trial t CROSS JOIN result r USING(trial_id) WHERE t.config_id=? AND"
                    " r.metric_id=? AND r.split=? ORDER BY t.seed, t.trial_id",
                    "iit", config_id, metric_id, split));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row)
        if (n < EXACT_SEEDS) value[n++] = sqlite3_column_double(q, 0);
    if (rc != AVS_OK || n == 0) return rc;
    mean = avs_mean(value, (size_t)n);
    sd = n > 1 ? avs_sd(value, (size_t)n) : 0;
    rc = put_leaderboard(s, config_id, metric_id, split, n, mean, sd * sd * (double)(n - 1), e);
out:
    return rc;
}

int avs_board_recount(avs_store *s, int64_t config_id, int64_t metric_id, const char *split, avs_err *e)
{
    double mean = 0, m2 = 0;
    sqlite3_stmt *q;
    bool row = true;
    int64_t n = 0;
    int rc;

    AVS_TRY(
        avs_db_bind(s, &q, e,
                    "SELECT r.value FROM trial t CROSS JOIN result r USING(trial_id) WHERE t.config_id=?1 AND"
                    " r.metric_id=?2 AND r.split=?3 ORDER BY t.seed, t.trial_id",
                    "iit", config_id, metric_id, split));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        const double x = sqlite3_column_double(q, 0), d = x - mean;
        mean += d / (double)++n;
        m2 += d * (x - mean);
    }
    if (rc == AVS_OK && n) rc = put_leaderboard(s, config_id, metric_id, split, n, mean, m2, e);
out:
    return rc;
}
