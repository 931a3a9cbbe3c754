/* A part is a statement with names; what it selects is told cell by cell. */
#include "results/trial_parts.h"

#include <stdio.h>
#include <string.h>
#include "results/db.h"

static const struct {
    const char *name, *sql;
} parts[AVS_PARTS] = {
    [AVS_PART_TRIAL] =
        {"trial",
         "SELECT lower(hex(t.hash)) AS hash, n.name AS state, c.kind, c.model, c.task, t.seed,"
         " lower(hex(c.hash)) AS config_hash, c.params, t.attempts, t.epoch, t.priority"
         " FROM trial t JOIN config c USING(config_id) JOIN state_name n USING(state) WHERE t.trial_id=?1"},
    [AVS_PART_ATTEMPT] =
        {"attempt",
         "SELECT a.n, r.name AS reason, (coalesce(a.ended,a.started)-a.started)/1e6 AS seconds, k.host,"
         " a.message, a.log_path, a.epoch, a.exit_code, a.signal, a.resumed_from, a.started, a.ended,"
         " a.max_rss, a.max_gpu_mem FROM attempt a JOIN reason_name r USING(reason) LEFT JOIN attempt_rank k"
         " ON k.attempt_id=a.attempt_id AND k.rank=0 WHERE a.trial_id=?1 ORDER BY a.n"},
    [AVS_PART_ENV] =
        {"env",
         "SELECT a.n, k.host, v.cpu, v.code_fp, v.kernel, v.compiler, v.flags, v.vars FROM attempt a"
         " JOIN attempt_rank k USING(attempt_id) JOIN env v USING(env_id) WHERE a.trial_id=?1 AND k.rank=0"
         " ORDER BY a.n"},
    [AVS_PART_RESULT] =
        {"result", "SELECT m.name AS metric, x.split, x.value, m.unit, m.better FROM result x JOIN metric m"
                   " USING(metric_id) WHERE x.trial_id=?1 ORDER BY 1, 2"},
    [AVS_PART_ARTIFACT] = {"artifact",
                           "SELECT f.name, f.kind, f.bytes, f.path, f.step, lower(hex(f.sha256)) AS sha256"
                           " FROM artifact f JOIN attempt a USING(attempt_id) WHERE a.trial_id=?1"
                           " ORDER BY f.artifact_id"},
};

const char *avs_trial_part_name(avs_trial_part p)
{
    return (unsigned)p < AVS_PARTS ? parts[p].name : "?";
}

static avs_cell cell(sqlite3_stmt *st, int i)
{
    avs_cell c = {.name = sqlite3_column_name(st, i), .text = ""};
    const int type = sqlite3_column_type(st, i); /* before the text is asked for, which converts */
    if (type == SQLITE_NULL) return c;
    c.i = type == SQLITE_INTEGER ? sqlite3_column_int64(st, i) : 0;
    c.d = sqlite3_column_double(st, i);
    c.text = avs_db_text(st, i);
    const bool json = strcmp(c.name, "params") == 0 || strcmp(c.name, "vars") == 0;
    c.kind = type == SQLITE_INTEGER ? AVS_CELL_INTEGER
             : type == SQLITE_FLOAT ? AVS_CELL_NUMBER
             : json                 ? AVS_CELL_JSON
                                    : AVS_CELL_TEXT;
    return c;
}

int avs_store_trial_part(avs_store *s, int64_t trial_id, avs_trial_part p, avs_trial_part_fn each, void *ctx,
                         avs_err *e)
{
    sqlite3_stmt *st;
    bool row;
    int rc;

    AVS_TRY(avs_db_bind(s, &st, e, parts[p].sql, "i", trial_id));
    while ((rc = avs_db_step(s, st, &row, e)) == AVS_OK && row) {
        avs_cell cells[AVS_PART_CELLS];
        const int all = sqlite3_column_count(st), n = all < AVS_PART_CELLS ? all : AVS_PART_CELLS;
        for (int i = 0; i < n; i++) cells[i] = cell(st, i);
        each(ctx, p, cells, n);
    }
out:
    return rc;
}

/* ---- to run it once more ---- */

static const char RECORD[] =
    "SELECT c.kind, c.model, c.task, c.params, t.seed, coalesce(a.n,0), coalesce(k.host,''),"
    " coalesce(v.cpu,''), coalesce(v.code_fp,''), coalesce(json_extract(v.vars,'$.threads'),1),"
    " (SELECT w.tool_version FROM sweep w JOIN sweep_trial USING(sweep_id) WHERE trial_id=t.trial_id"
    " ORDER BY w.sweep_id DESC LIMIT 1),"
    " (SELECT g.objective FROM stage g JOIN sweep_trial USING(stage_id) WHERE trial_id=t.trial_id LIMIT 1),"
    " (SELECT max(1,count(*)) FROM attempt_rank WHERE attempt_id=a.attempt_id)"
    " FROM trial t JOIN config c USING(config_id) LEFT JOIN attempt a ON a.attempt_id="
    "coalesce(t.best_attempt,(SELECT max(attempt_id) FROM attempt WHERE trial_id=t.trial_id))"
    " LEFT JOIN attempt_rank k ON k.attempt_id=a.attempt_id AND k.rank=0 LEFT JOIN env v USING(env_id)"
    " WHERE t.trial_id=?1";

static int read_results(avs_store *s, int64_t trial_id, avs_arena *a, avs_trial_record *r, avs_err *e)
{
    sqlite3_stmt *st;
    int64_t count;
    bool row;
    int rc;

    AVS_TRY(avs_db_int(s, &count, 0, e, "SELECT count(*) FROM result WHERE trial_id=?1", "i", trial_id));
    r->results = AVS_NEW_N(a, avs_recorded, count + 1);
    if (!r->results) return avs_fail(e, AVS_ENOMEM, "no memory for %lld results", (long long)count);
    AVS_TRY(avs_db_bind(s, &st, e,
                        "SELECT m.name, x.split, x.value, coalesce(m.unit,'') FROM result x JOIN metric m"
                        " USING(metric_id) WHERE x.trial_id=?1 ORDER BY 1, 2 LIMIT ?2",
                        "ii", trial_id, count));
    while ((rc = avs_db_step(s, st, &row, e)) == AVS_OK && row)
        r->results[r->n_results++] = (avs_recorded){.name = avs_arena_str(a, avs_db_text(st, 0)),
                                                    .split = avs_arena_str(a, avs_db_text(st, 1)),
                                                    .value = sqlite3_column_double(st, 2),
                                                    .unit = avs_arena_str(a, avs_db_text(st, 3))};
out:
    return rc;
}

int avs_store_trial_record(avs_store *s, int64_t trial_id, avs_arena *a, avs_trial_record *out, avs_err *e)
{
    sqlite3_stmt *st;
    bool row;
    int rc;

    *out = (avs_trial_record){0};
    AVS_TRY(avs_db_bind(s, &st, e, RECORD, "i", trial_id));
    AVS_TRY(avs_db_step(s, st, &row, e));
    if (!row)
        return avs_fail(e, AVS_EMISSING, "%s has no trial of number %lld", s->path, (long long)trial_id);
    const char **const texts[] = {&out->kind, &out->model, &out->task, &out->params,
                                  NULL,       NULL,        &out->host, &out->cpu,
                                  &out->code, NULL,        &out->tool, &out->objective};
    for (int i = 0; i < (int)(sizeof texts / sizeof *texts); i++)
        if (texts[i]) *texts[i] = avs_arena_str(a, avs_db_text(st, i));
    out->seed = sqlite3_column_int64(st, 4);
    out->attempt = sqlite3_column_int64(st, 5);
    out->threads = sqlite3_column_int64(st, 9);
    out->ranks = sqlite3_column_int64(st, 12);
    sqlite3_reset(st);
    AVS_TRY(read_results(s, trial_id, a, out, e));
    if (avs_arena_failed(a)) rc = avs_fail(e, AVS_ENOMEM, "no memory for a trial's record");
out:
    return rc;
}

int avs_store_attempt_log(avs_store *s, int64_t trial_id, int n, bool *found, avs_attempt_log *out,
                          avs_err *e)
{
    sqlite3_stmt *st;
    int rc;

    *found = false;
    AVS_TRY(avs_db_bind(s, &st, e,
                        "SELECT n, log_path, ended IS NOT NULL FROM attempt WHERE trial_id=?1 AND (?2=0 OR"
                        " n=?2) ORDER BY n DESC LIMIT 1",
                        "ii", trial_id, (int64_t)n));
    AVS_TRY(avs_db_step(s, st, found, e));
    if (!*found) return AVS_OK;
    out->n = sqlite3_column_int(st, 0);
    snprintf(out->path, sizeof out->path, "%s", avs_db_text(st, 1));
    out->ended = sqlite3_column_int(st, 2) != 0;
    sqlite3_reset(st);
out:
    return rc;
}
