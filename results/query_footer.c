/* Beside our numbers the papers' (where every parameter the paper fixed agrees), below them where all of it came from. */
#include "results/query.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/hash.h"
#include "results/db.h"

typedef struct {
    const avs_json *match;
    const char *note;
    double value;
    int rank; /* more conditions are more specific; a sweep's own rows come first */
} published_row;

static bool matches(const avs_json *match, const avs_q_trial *t)
{
    for (const avs_json *m = match->first; m; m = m->next) {
        const char *have = avs_q_text(t, m->key);
        if (!have) return false;
        if (m->kind == AVS_J_STR) {
            if (strcmp(have, m->s) != 0) return false;
        } else if (m->kind == AVS_J_INT || m->kind == AVS_J_FLOAT) {
            char *end;
            double v = strtod(have, &end);
            if (!*have || *end || v != m->d) return false;
        } else if (m->kind == AVS_J_BOOL) {
            if (strcmp(have, m->b ? "true" : "false") != 0) return false;
        } else {
            return false;
        }
    }
    return true;
}

static int load_published(avs_store *s, avs_arena *a, const char *metric, published_row **rows, int *n,
                          avs_err *e)
{
    sqlite3_stmt *q;
    int64_t count;
    bool row;
    int rc;

    *n = 0;
    AVS_TRY(avs_db_int(s, &count, 0, e,
                       "SELECT count(*) FROM published JOIN metric USING(metric_id) WHERE name=?", "t",
                       metric));
    *rows = AVS_NEW_N(a, published_row, count + 1);
    if (!*rows) return avs_fail(e, AVS_ENOMEM, "no memory for %lld published numbers", (long long)count);
    AVS_TRY(avs_db_bind(s, &q, e,
                        "SELECT config_match, value, coalesce(note, source), origin FROM published"
                        " JOIN metric USING(metric_id) WHERE name=? ORDER BY published.rowid LIMIT ?",
                        "ti", metric, count));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        avs_json *match;
        published_row *p = &(*rows)[*n];
        rc = avs_json_parse(a, "config_match of a published number", avs_db_text(q, 0),
                            (size_t)sqlite3_column_bytes(q, 0), &match, e);
        if (rc == AVS_OK && match->kind != AVS_J_OBJ)
            rc = avs_fail(e, AVS_EPARSE, "config_match of a published number is not an object: %.60s",
                          avs_db_text(q, 0));
        p->note = avs_arena_str(a, avs_db_text(q, 2));
        if (rc == AVS_OK && !p->note) rc = avs_fail(e, AVS_ENOMEM, "no memory for published numbers");
        if (rc != AVS_OK) {
            sqlite3_reset(q);
            return rc;
        }
        p->match = match;
        p->value = sqlite3_column_double(q, 1);
        p->rank = (int)match->len + (strcmp(avs_db_text(q, 3), "sweep") == 0 ? 1000 : 0);
        (*n)++;
    }
out:
    return rc;
}

/* Every trial of the cell must match, or the paper measured something else; of a cell without any number, every trial that
 * should give one. */
static const published_row *find_published(const avs_table *t, int r, int col, const published_row *rows,
                                           int n)
{
    const published_row *best = NULL;
    const bool measured = t->row[r].cell[col].n > 0;
    for (int i = 0; i < n; i++) {
        bool all = true, any = false;
        if (best && rows[i].rank <= best->rank) continue;
        const int from = t->row[r].first_trial;
        for (int k = from; k < from + t->row[r].n_trials && all; k++) {
            const avs_q_trial *x = &t->trial[k];
            if ((measured && isnan(t->column[col].value[k])) || !avs_q_where_holds(&t->column[col].pin, x))
                continue;
            any = true;
            all = matches(rows[i].match, x);
        }
        if (any && all) best = &rows[i];
    }
    return best;
}

int avs_q_published(avs_store *s, avs_arena *a, avs_table *t, avs_err *e)
{
    int rc = AVS_OK;
    for (int col = 0; col < t->n_columns; col++) {
        avs_q_column *c = &t->column[col];
        published_row *rows;
        int n;
        AVS_TRY(load_published(s, a, c->metric, &rows, &n, e));
        for (int r = 0; r < t->n_rows && n; r++) {
            avs_q_cell *x = &t->row[r].cell[col];
            const published_row *p = x->n || x->expected ? find_published(t, r, col, rows, n) : NULL;
            if (!p) continue;
            x->has_paper = c->has_paper = true;
            x->paper = p->value;
            x->paper_source = p->note;
            x->paper_inside = !isnan(x->half) && p->value >= x->lo && p->value <= x->hi;
            bool known = false;
            for (int i = 0; i < t->n_notes; i++)
                known =
                    known || (strncmp(t->note[i], "paper: ", 7) == 0 && strcmp(t->note[i] + 7, p->note) == 0);
            if (!known) avs_q_note(t, a, "paper: %s", p->note);
        }
    }
out:
    return rc;
}

static const char *date(avs_arena *a, int64_t us)
{
    time_t sec = (time_t)(us / 1000000);
    struct tm tm;
    char text[32];
    if (us <= 0 || !gmtime_r(&sec, &tm)) return "?";
    return strftime(text, sizeof text, "%Y-%m-%d %H:%M", &tm) ? avs_arena_str(a, text) : "?";
}

static int provenance_of_sweeps(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t,
                                avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int rc;

    AVS_TRY(avs_db_bind(
        s, &q, e,
        "SELECT name, substr(lower(hex(file_hash)),1,12), coalesce(tool_version,'?'),"
        " coalesce(git_commit,'unknown'), coalesce(git_dirty,0) FROM sweep WHERE sweep_id IN"
        " (SELECT max(sweep_id) FROM sweep GROUP BY name) AND (?1 IS NULL OR name=?1) ORDER BY sweep_id"
        " LIMIT 20",
        "t", spec->sweep));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        avs_q_provenance(t, a, "sweep %s (%s), avsweep %s, commit %.12s%s", avs_db_text(q, 0),
                         avs_db_text(q, 1), avs_db_text(q, 2), avs_db_text(q, 3),
                         sqlite3_column_int(q, 4) ? " with uncommitted changes" : "");
        if (!t->title) t->title = avs_arena_str(a, avs_db_text(q, 0));
    }
out:
    return rc;
}

static int provenance_of_hosts(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t,
                               avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int rc, hosts = 0;
    int64_t first = 0, last = 0;

    if (!spec->sweep && s->version >= 2) /* every attempt: counted when it ended */
        AVS_TRY(avs_db_bind(
            s, &q, e,
            "SELECT iif(u.host='','?',u.host), coalesce(v.cpu,'CPU unknown'), coalesce(v.compiler,''),"
            " coalesce(v.code_fp,''), sum(u.attempts), min(u.first), max(u.last) FROM usage u LEFT JOIN env v"
            " USING(env_id) GROUP BY 1,2,3,4 ORDER BY 1,2,3,4",
            ""));
    else
        AVS_TRY(avs_db_bind(
            s, &q, e,
            "SELECT coalesce(k.host,'?'), coalesce(v.cpu,'CPU unknown'), coalesce(v.compiler,''),"
            " coalesce(v.code_fp,''), count(*), min(a.started), max(a.ended) FROM attempt a"
            " LEFT JOIN attempt_rank k ON k.attempt_id=a.attempt_id AND k.rank=0 LEFT JOIN env v "
            "USING(env_id)"
            " WHERE a.reason=1 AND (?1 IS NULL OR a.trial_id IN (SELECT trial_id FROM sweep_trial WHERE"
            " sweep_id=(SELECT max(sweep_id) FROM sweep WHERE name=?1))) GROUP BY 1,2,3,4 ORDER BY 1,2,3,4",
            "t", spec->sweep));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        if (hosts++ < 16)
            avs_q_provenance(t, a, "%lld attempt%s on %s, %s%s%s%s%.12s",
                             (long long)sqlite3_column_int64(q, 4),
                             sqlite3_column_int64(q, 4) == 1 ? "" : "s", avs_db_text(q, 0), avs_db_text(q, 1),
                             *avs_db_text(q, 2) ? ", " : "", avs_db_text(q, 2),
                             *avs_db_text(q, 3) ? ", code " : "", avs_db_text(q, 3));
        int64_t from = sqlite3_column_int64(q, 5), to = sqlite3_column_int64(q, 6);
        if (!first || from < first) first = from;
        if (to > last) last = to;
    }
    if (rc != AVS_OK) goto out;
    if (hosts > 16) avs_q_provenance(t, a, "and %d more machines or builds", hosts - 16);
    if (first) avs_q_provenance(t, a, "from %s to %s UTC", date(a, first), date(a, last));
out:
    return rc;
}

int avs_q_footer(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    int state[AVS_TRIAL_STATES] = {0}, rc, missing = 0;
    bool interval = false, latency = false;

    for (int i = 0; i < t->n_trials; i++) state[t->trial[i].state]++;
    for (int r = 0; r < t->n_rows; r++) {
        for (int c = 0; c < t->n_columns; c++) {
            const avs_q_cell *x = &t->row[r].cell[c];
            missing += x->n < x->expected;
            interval = interval || (x->n > 1 && t->column[c].unit != AVS_U_COUNT && !t->column[c].latency);
            latency = latency || (x->n > 1 && t->column[c].latency);
        }
    }
    if (interval) avs_q_note(t, a, "± is half of the %g %% t-interval of the mean over seeds.", t->ci);
    if (latency)
        avs_q_note(t, a,
                   "Latency is the median over processes; ± is half of its %g %% interval by bootstrap over "
                   "processes, then samples.",
                   t->ci);
    if (missing)
        avs_q_note(t, a, "k/n: only k of n trials have the number; the others are missing or failed.");
    for (int st = 0; st < AVS_TRIAL_STATES; st++)
        if (st != AVS_TRIAL_DONE && state[st])
            avs_q_note(t, a, "%d of %d trials: %s.", state[st], t->n_trials,
                       avs_trial_state_name((avs_trial_state)st));
    for (int c = 0; c < t->n_columns; c++) {
        const avs_q_column *x = &t->column[c];
        if (x->n_suspect)
            avs_q_note(t, a, "%s: %d suspect measurement%s drifted or %s disturbed and %s; see v_latency.",
                       x->name, x->n_suspect, x->n_suspect == 1 ? "" : "s",
                       x->n_suspect == 1 ? "was" : "were",
                       spec->suspect       ? x->n_suspect == 1 ? "is marked (†)" : "are marked (†)"
                       : x->n_suspect == 1 ? "is left out"
                                           : "are left out");
        if (x->is_mixed)
            avs_q_note(t, a, "%s mixes machines or code versions; its numbers do not compare.", x->name);
    }
    if (t->n_hidden) avs_q_note(t, a, "%d more rows are not shown.", t->n_hidden);
    AVS_TRY(provenance_of_sweeps(s, spec, a, t, e));
    AVS_TRY(provenance_of_hosts(s, spec, a, t, e));
    const int64_t age = avs_store_snapshot_age_us(s) / 1000000;
    if (avs_store_snapshot_age_us(s))
        avs_q_provenance(t, a, "database %s, a snapshot %lld s old", avs_store_path(s), (long long)age);
    else
        avs_q_provenance(t, a, "database %s", avs_store_path(s));
    if (spec->title) t->title = spec->title;
    if (!t->title) t->title = "avsweep results";
out:
    return rc;
}
