/* What must hold in a file that is not being written: each rule is a query that counts what breaks it and names one case. */
#include <string.h>
#include "results/db.h"
#include "results/maintain.h"

typedef struct {
    int from; /* schema version since which the rule holds */
    const char *what, *sql;
} rule;

// clang-format off
static const rule rules[] = {
    {1, "hashes that are not 32 bytes", "SELECT count(*), 'trial '||min(id) FROM (SELECT trial_id AS id FROM trial WHERE"
        " length(hash)<>32 UNION ALL SELECT config_id FROM config WHERE length(hash)<>32)"},
    {1, "trials with the hash of another trial", "SELECT count(*), 'trial '||max(trial_id) FROM trial t WHERE EXISTS(SELECT 1"
        " FROM trial u WHERE u.key=t.key AND u.hash=t.hash AND u.trial_id<t.trial_id)"},
    {1, "configurations with the hash of another one", "SELECT count(*), 'config '||max(config_id) FROM config c WHERE"
        " EXISTS(SELECT 1 FROM config d WHERE d.key=c.key AND d.hash=c.hash AND d.config_id<c.config_id)"},
    {1, "done trials without a finished attempt", "SELECT count(*), 'trial '||min(t.trial_id) FROM trial t LEFT JOIN attempt a"
        " ON a.attempt_id=t.best_attempt WHERE t.state=2 AND (a.reason IS NULL OR a.reason<>1 OR a.trial_id<>t.trial_id)"},
    {1, "done trials without any number", "SELECT count(*), 'trial '||min(t.trial_id) FROM trial t JOIN config c"
        " USING(config_id) WHERE t.state=2 AND c.kind<>'noop' AND NOT EXISTS(SELECT 1 FROM result r WHERE"
        " r.trial_id=t.trial_id) AND NOT EXISTS(SELECT 1 FROM latency l WHERE l.attempt_id=t.best_attempt)"},
    {1, "results of trials that are not done", "SELECT count(*), 'trial '||min(trial_id) FROM result JOIN trial"
        " USING(trial_id) WHERE state<>2"},
    {1, "trials with two live attempts", "SELECT count(*), 'trial '||min(trial_id) FROM (SELECT trial_id FROM attempt WHERE"
        " ended IS NULL GROUP BY trial_id HAVING count(*)>1)"},
    {1, "live attempts of trials that do not run", "SELECT count(*), 'attempt '||min(attempt_id) FROM attempt JOIN trial"
        " USING(trial_id) WHERE ended IS NULL AND state<>1"},
    {1, "running trials without a live attempt", "SELECT count(*), 'trial '||min(t.trial_id) FROM trial t WHERE t.state=1 AND"
        " NOT EXISTS(SELECT 1 FROM attempt a WHERE a.trial_id=t.trial_id AND a.ended IS NULL)"},
    {1, "attempts that ended without a reason, or the reverse", "SELECT count(*), 'attempt '||min(attempt_id) FROM attempt"
        " WHERE (ended IS NULL)<>(reason=0)"},
    {1, "stages whose ordinals are not dense", "SELECT count(*), 'stage '||min(stage_id) FROM (SELECT stage_id FROM"
        " sweep_trial GROUP BY sweep_id, stage_id HAVING max(ordinal)<>count(*)-1 OR min(ordinal)<>0)"},
    {1, "places in a stage of another sweep", "SELECT count(*), 'stage '||min(stage_id) FROM sweep_trial st JOIN stage g"
        " USING(stage_id) WHERE g.sweep_id<>st.sweep_id"},
    {1, "latencies whose samples do not have the stated number", "SELECT count(*), 'attempt '||min(attempt_id) FROM latency"
        " WHERE length(samples)<>4*n OR n<1"},
    {1, "summaries of a configuration that do not fit its results", "SELECT count(*), 'config '||min(config_id) FROM"
        " (SELECT l.config_id, l.n, (SELECT count(*) FROM trial t CROSS JOIN result r USING(trial_id) WHERE"
        " t.config_id=l.config_id AND r.metric_id=l.metric_id AND r.split=l.split) AS have FROM leaderboard l) WHERE n<>have"},
    {2, "counts of trials that do not fit the trials", "SELECT count(*), 'state '||min(state) FROM (SELECT * FROM (SELECT 0 AS"
        " sweep_id, state, count(*) AS n FROM trial GROUP BY state UNION ALL SELECT sweep_id, state, count(*) FROM (SELECT"
        " DISTINCT sweep_id, trial_id FROM sweep_trial) JOIN trial USING(trial_id) GROUP BY sweep_id, state) EXCEPT SELECT"
        " sweep_id, state, trials FROM tally UNION ALL SELECT sweep_id, state, trials FROM tally WHERE trials<0)"},
    {1, "broken references", "SELECT count(*), 'table '||min(\"table\") FROM pragma_foreign_key_check"},
};
// clang-format on

/* The lines of integrity_check that are not "ok", at most 20. */
static int check_pages(avs_store *s, avs_buf *out, int *n, avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int rc;

    AVS_TRY(avs_db_bind(s, &q, e, "PRAGMA integrity_check(20)", ""));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        if (strcmp(avs_db_text(q, 0), "ok") == 0) continue;
        avs_buf_fmt(out, "integrity_check: %.300s\n", avs_db_text(q, 0));
        ++*n;
    }
out:
    return rc;
}

int avs_store_check_all(avs_store *s, avs_buf *out, int *n, avs_err *e)
{
    int rc;

    *n = 0;
    AVS_TRY(check_pages(s, out, n, e));
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        sqlite3_stmt *q;
        bool row;
        if (rules[i].from > s->version) continue;
        AVS_TRY(avs_db_bind(s, &q, e, rules[i].sql, ""));
        AVS_TRY(avs_db_step(s, q, &row, e));
        if (!row) continue;
        const int64_t found = sqlite3_column_int64(q, 0);
        if (found > 0) {
            avs_buf_fmt(out, "%lld %s, for example %s\n", (long long)found, rules[i].what, avs_db_text(q, 1));
            ++*n;
        }
        sqlite3_reset(q);
    }
    if (!avs_buf_ok(out)) rc = avs_fail(e, AVS_ENOMEM, "no memory for the list of violations");
out:
    return rc;
}

int avs_store_check(avs_store *s, avs_err *e)
{
    avs_buf b = AVS_BUF_INIT;
    int n, rc = avs_store_check_all(s, &b, &n, e);
    if (rc == AVS_OK && n)
        rc =
            avs_fail(e, AVS_EDB, "%s: %.*s", s->path, (int)strcspn(avs_buf_cstr(&b), "\n"), avs_buf_cstr(&b));
    avs_buf_free(&b);
    return rc;
}
