/* Attempts: start, live series, end. The end is one piece: results, series, latencies, artifacts, environment and the
 * trial's new state go into the same savepoint, so a trial is never done by half. */
#include <math.h>
#include <string.h>
#include "base/arena.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "metrics/latency.h"
#include "results/db.h"

typedef struct {
    int64_t trial_id, config_id, best_attempt;
    avs_end_reason reason;
    avs_trial_state state;
    bool ended;
} attempt_row;

/* Every running trial is pending again, in the counts of each sweep too. */
static int requeue_running(avs_store *s, avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int rc;

    AVS_TRY(avs_db_bind(
        s, &q, e,
        "SELECT 0, count(*) FROM trial WHERE state=1 UNION ALL SELECT sweep_id, count(DISTINCT trial_id)"
        " FROM trial JOIN sweep_trial USING(trial_id) WHERE state=1 GROUP BY sweep_id",
        ""));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        const int64_t sweep = sqlite3_column_int64(q, 0), n = sqlite3_column_int64(q, 1);
        if (n == 0) continue;
        rc = avs_tally_add(s, sweep, AVS_TRIAL_RUNNING, -n, e);
        if (rc == AVS_OK) rc = avs_tally_add(s, sweep, AVS_TRIAL_PENDING, n, e);
        if (rc != AVS_OK) {
            sqlite3_reset(q);
            return rc;
        }
    }
    if (rc == AVS_OK) rc = avs_db_run(s, e, "UPDATE trial SET state=0 WHERE state=1", "");
out:
    return rc;
}

int avs_store_lose_orphans(avs_store *s, int64_t *n, avs_err *e)
{
    int rc = avs_db_begin(s, e);
    if (rc != AVS_OK) return rc;
    AVS_TRY(avs_db_run(
        s, e, "UPDATE attempt SET ended=?, reason=13, message='the coordinator ended' WHERE ended IS NULL",
        "i", avs_wall_us()));
    if (n) *n = sqlite3_changes(s->db);
    AVS_TRY(requeue_running(s, e));
out:
    return avs_db_end(s, rc, e);
}
_Static_assert(AVS_END_LOST == 13 && AVS_TRIAL_RUNNING == 1 && AVS_TRIAL_PENDING == 0,
               "numbers in the SQL above");

static int put_gpu(avs_store *s, const avs_store_gpu *g, int64_t *id, avs_err *e)
{
    int rc;
    AVS_TRY(avs_db_run(s, e,
                       "INSERT INTO gpu(uuid, model, mem, sm) VALUES(?,?,nullif(?,0),nullif(max(?,0),0))"
                       " ON CONFLICT DO NOTHING",
                       "ttii", g->uuid, g->model, g->mem_bytes, (int64_t)g->sm));
    rc = avs_db_int(s, id, 0, e, "SELECT gpu_id FROM gpu WHERE uuid=?", "t", g->uuid);
out:
    return rc;
}

/* A row per rank that is told of; rank 0 has its row already. */
static int put_ranks(avs_store *s, const avs_store_start *st, int64_t attempt_id, avs_err *e)
{
    int rc = AVS_OK, last = -1;
    for (int i = 0; i < st->n_gpu; i++) {
        const avs_store_gpu *g = &st->gpu[i];
        int64_t id = 0;
        if (g->uuid) AVS_TRY(put_gpu(s, g, &id, e));
        if (g->rank == last) continue;
        last = g->rank;
        AVS_TRY(
            avs_db_run(s, e,
                       "INSERT INTO attempt_rank(attempt_id, rank, host, gpu_id) VALUES(?,?,?,nullif(?,0))"
                       " ON CONFLICT DO UPDATE SET gpu_id=excluded.gpu_id",
                       "iiti", attempt_id, (int64_t)g->rank, g->host ? g->host : st->host, id));
    }
out:
    return rc;
}

int avs_store_attempt_begin(avs_store *s, const avs_store_start *st, int64_t *attempt_id, int *n, int *epoch,
                            avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int64_t now = avs_wall_us(), live;
    int rc = avs_db_begin(s, e);

    if (rc != AVS_OK) return rc;
    AVS_TRY(avs_db_bind(s, &q, e, "SELECT state, attempts, epoch FROM trial WHERE trial_id=?", "i",
                        st->trial_id));
    AVS_TRY(avs_db_step(s, q, &row, e));
    if (!row) {
        rc = avs_fail(e, AVS_EMISSING, "there is no trial %lld", (long long)st->trial_id);
        goto out;
    }
    int state = sqlite3_column_int(q, 0), number = sqlite3_column_int(q, 1) + 1,
        new_epoch = sqlite3_column_int(q, 2) + 1;
    sqlite3_reset(q);
    AVS_TRY(avs_db_int(s, &live, 0, e, "SELECT attempt_id FROM attempt WHERE trial_id=? AND ended IS NULL",
                       "i", st->trial_id));
    if (state == AVS_TRIAL_DONE || live) {
        rc = avs_fail(e, AVS_ERANGE, "trial %lld cannot start: it is %s%s", (long long)st->trial_id,
                      avs_trial_state_name((avs_trial_state)state),
                      live ? " and an attempt of it still runs" : "");
        goto out;
    }
    AVS_TRY(
        avs_db_run(s, e,
                   "INSERT INTO attempt(trial_id, n, epoch, run_id, queued, started, reason, gpus, log_path)"
                   " VALUES(?,?,?,?,?,?,0,?,?)",
                   "iiiiiiit", st->trial_id, (int64_t)number, (int64_t)new_epoch, st->run_id,
                   st->queued_us ? st->queued_us : now, now, (int64_t)st->gpus, st->log_path));
    *attempt_id = sqlite3_last_insert_rowid(s->db);
    AVS_TRY(avs_db_run(s, e, "INSERT INTO attempt_rank(attempt_id, rank, host, cpus) VALUES(?,0,?,?)", "itt",
                       *attempt_id, st->host, st->cpus));
    AVS_TRY(put_ranks(s, st, *attempt_id, e));
    AVS_TRY(avs_db_run(s, e, "UPDATE trial SET state=?, attempts=?, epoch=? WHERE trial_id=?", "iiii",
                       (int64_t)AVS_TRIAL_RUNNING, (int64_t)number, (int64_t)new_epoch, st->trial_id));
    AVS_TRY(avs_tally_move(s, st->trial_id, state, AVS_TRIAL_RUNNING, e));
    if (n) *n = number;
    if (epoch) *epoch = new_epoch;
out:
    return avs_db_end(s, rc, e);
}

static int read_attempt(avs_store *s, int64_t attempt_id, attempt_row *a, avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int rc;

    AVS_TRY(
        avs_db_bind(s, &q, e,
                    "SELECT a.trial_id, t.config_id, t.best_attempt, a.reason, t.state, a.ended IS NOT NULL"
                    " FROM attempt a JOIN trial t USING(trial_id) WHERE a.attempt_id=?",
                    "i", attempt_id));
    AVS_TRY(avs_db_step(s, q, &row, e));
    if (!row) return avs_fail(e, AVS_EMISSING, "there is no attempt %lld", (long long)attempt_id);
    *a = (attempt_row){.trial_id = sqlite3_column_int64(q, 0),
                       .config_id = sqlite3_column_int64(q, 1),
                       .best_attempt = sqlite3_column_int64(q, 2),
                       .reason = (avs_end_reason)sqlite3_column_int(q, 3),
                       .state = (avs_trial_state)sqlite3_column_int(q, 4),
                       .ended = sqlite3_column_int(q, 5) != 0};
    sqlite3_reset(q);
out:
    return rc;
}

static int put_points(avs_store *s, int64_t attempt_id, const avs_store_point *p, size_t n, avs_err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(p[i].value)) continue;
        int64_t m = avs_db_metric(s, p[i].name, "", 0, e);
        if (m < 0) return AVS_EDB;
        int rc = avs_db_run(s, e, "INSERT OR REPLACE INTO point VALUES(?,?,?,?)", "iiid", attempt_id, m,
                            p[i].step, p[i].value);
        if (rc != AVS_OK) return rc;
    }
    return AVS_OK;
}

/* Samples go to disk as little-endian u32 whatever the machine. */
static int put_latency(avs_store *s, int64_t attempt_id, const avs_store_latency *l, avs_err *e)
{
    avs_latency_stats t;
    avs_buf blob = AVS_BUF_INIT;
    int rc;

    AVS_TRY(avs_latency_summarise(l->samples, l->n, l->unit_ns, &t, e));
    for (int64_t i = 0; i < l->n; i++) avs_buf_u32(&blob, l->samples[i]);
    if (!avs_buf_ok(&blob)) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for %lld latency samples", (long long)l->n);
        goto out;
    }
    AVS_TRY(avs_db_run(s, e, "INSERT OR REPLACE INTO latency VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                       "itidbdddddddddddddit", attempt_id, l->name, l->n, l->unit_ns, (const void *)blob.data,
                       blob.len, t.p50, t.p90, t.p99, t.p90_bound, t.p99_bound, t.mean, t.sd, t.min, t.max,
                       t.p50_lo, t.p50_hi, l->h2d_ns, l->d2h_ns, (int64_t)(l->flags | t.flags), l->json));
    /* Percentiles also become metrics by name, so that published latencies have something to refer to. */
    rc = avs_db_metric(s, "latency_p50", "ns", -1, e) < 0 ? AVS_EDB : AVS_OK;
out:
    avs_buf_free(&blob);
    return rc;
}

static int put_artifact(avs_store *s, int64_t attempt_id, const avs_store_artifact *a, avs_err *e)
{
    return avs_db_run(s, e,
                      "INSERT INTO artifact(attempt_id, name, kind, path, bytes, sha256, step, created)"
                      " VALUES(?,?,?,?,?,?,nullif(?,-1),?)",
                      "itttihii", attempt_id, a->name, a->kind, a->path, a->bytes, a->sha256, a->step,
                      avs_wall_us());
}

/* Text of a member: strings as they are, anything else as JSON; NULL when absent. Owner: the arena. */
static const char *member_text(avs_arena *a, const avs_json *obj, const char *key)
{
    const avs_json *v = avs_json_get(obj, key);
    if (!v || v->kind == AVS_J_NULL) return NULL;
    if (v->kind == AVS_J_STR) return v->s;
    avs_buf b = AVS_BUF_INIT;
    avs_json_write(&b, v, true);
    const char *text = avs_buf_ok(&b) ? avs_arena_str(a, b.data) : NULL;
    avs_buf_free(&b);
    return text;
}

/* A member that is an object, as JSON; else NULL. Owner: the arena. */
static const char *member_object(avs_arena *a, const avs_json *obj, const char *key)
{
    const avs_json *v = avs_json_get(obj, key);
    return v && v->kind == AVS_J_OBJ ? member_text(a, obj, key) : NULL;
}

/* What code ran: a fingerprint if the trial sent one, else its commit. Owner: the arena; NULL when unknown. */
static const char *code_of(avs_arena *a, const avs_json *env)
{
    const char *fp = member_text(a, env, "code_fp"), *commit = member_text(a, env, "commit");
    if (fp || !commit) return fp;
    return avs_json_num(env, "commit_dirty", 0) != 0 ? avs_arena_fmt(a, "%s+", commit) : commit;
}

/* What differs at every start and says nothing about what was run; without it an environment repeats. */
static bool is_momentary(const char *key)
{
    static const char *const names[] = {"load", "pid", "clocks", "cpu_mhz"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], key) == 0) return true;
    return false;
}

static int hash_env(const avs_json *env, const char *host, uint8_t sha[32], avs_err *e)
{
    avs_buf b = AVS_BUF_INIT;
    for (const avs_json *m = env->first; m; m = m->next) {
        if (is_momentary(m->key)) continue;
        avs_json_write_str(&b, m->key);
        avs_json_write(&b, m, true);
    }
    avs_buf_str(&b, host ? host : "");
    bool ok = avs_buf_ok(&b);
    avs_sha256_of(avs_buf_cstr(&b), b.len, sha);
    avs_buf_free(&b);
    return ok ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for an environment");
}

/* The environment is stored once per distinct content. */
/* GPUs of the process: [{"uuid", "model", "mem", "vbios", "pci", "sm"}, ..]; the first is that of rank 0. */
static int put_gpus(avs_store *s, avs_arena *a, int64_t attempt_id, const avs_json *gpus, avs_err *e)
{
    int rc = AVS_OK;
    for (size_t i = 0; gpus && gpus->kind == AVS_J_ARR && i < gpus->len; i++) {
        const avs_json *g = avs_json_at(gpus, i);
        const char *uuid = member_text(a, g, "uuid");
        int64_t id;
        if (!uuid || !*uuid) continue;
        AVS_TRY(avs_db_run(
            s, e,
            "INSERT INTO gpu(uuid, model, mem, vbios, pci, sm) VALUES(?,?,nullif(?,0),?,?,nullif(?,0))"
            " ON CONFLICT DO UPDATE SET model=excluded.model, mem=excluded.mem, vbios=excluded.vbios,"
            " pci=excluded.pci, sm=excluded.sm",
            "ttitti", uuid, member_text(a, g, "model"), avs_json_int(g, "mem", 0), member_text(a, g, "vbios"),
            member_text(a, g, "pci"), avs_json_int(g, "sm", 0)));
        AVS_TRY(avs_db_int(s, &id, 0, e, "SELECT gpu_id FROM gpu WHERE uuid=?", "t", uuid));
        if (i == 0)
            AVS_TRY(avs_db_run(s, e, "UPDATE attempt_rank SET gpu_id=? WHERE attempt_id=? AND rank=0", "ii",
                               id, attempt_id));
    }
out:
    return rc;
}

static int put_env(avs_store *s, int64_t attempt_id, const char *json, const char *host, avs_err *e)
{
    avs_arena *a = avs_arena_new();
    avs_json *root = NULL;
    uint8_t sha[32];
    int64_t id;
    int rc;

    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory for an environment");
    AVS_TRY(avs_json_parse(a, "environment of the trial", json, strlen(json), &root, e));
    AVS_TRY(hash_env(root, host, sha, e));
    AVS_TRY(avs_db_int(s, &id, 0, e, "SELECT env_id FROM env WHERE hash=?", "h", sha));
    if (!id) {
        const char *own_host = member_text(a, root, "host"), *mem = member_text(a, root, "mem");
        const avs_json *threads = avs_json_get(root, "threads");
        if (!mem) mem = member_text(a, root, "mem_bytes");
        AVS_TRY(avs_db_run(
            s, e,
            "INSERT INTO env(hash, host, kernel, cpu, mem, driver, cuda, nccl, cudnn, mpi, compiler, flags, "
            "code_fp,"
            " modules, vars, container, git_commit, git_dirty, libraries, precision, threads, environment)"
            " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,nullif(?,0),?)",
            "httttttttttttttttittit", sha, own_host ? own_host : host, member_text(a, root, "kernel"),
            member_text(a, root, "cpu"), mem, member_text(a, root, "driver"), member_text(a, root, "cuda"),
            member_text(a, root, "nccl"), member_text(a, root, "cudnn"), member_text(a, root, "mpi"),
            member_text(a, root, "compiler"), member_text(a, root, "flags"), code_of(a, root),
            member_text(a, root, "modules"), json, member_text(a, root, "container"),
            member_text(a, root, "commit"), (int64_t)(avs_json_num(root, "commit_dirty", 0) != 0),
            member_object(a, root, "libraries"), member_text(a, root, "precision"),
            threads && threads->kind == AVS_J_INT ? threads->i : (int64_t)0,
            member_object(a, root, "environment")));
        id = sqlite3_last_insert_rowid(s->db);
    }
    AVS_TRY(avs_db_run(s, e, "UPDATE attempt_rank SET env_id=? WHERE attempt_id=? AND rank=0", "ii", id,
                       attempt_id));
    AVS_TRY(put_gpus(s, a, attempt_id, avs_json_get(root, "gpus"), e));
out:
    avs_arena_free(a);
    return rc;
}

static int put_results(avs_store *s, const attempt_row *a, const avs_store_end *end, avs_err *e)
{
    for (size_t i = 0; i < end->n_results; i++) {
        const avs_store_result *r = &end->results[i];
        const char *split = r->split ? r->split : "";
        if (!isfinite(r->value)) return avs_fail(e, AVS_ERANGE, "result %s is not a finite number", r->name);
        int64_t m = avs_db_metric(s, r->name, r->unit, r->better, e);
        if (m < 0) return AVS_EDB;
        /* A series of this name may have come first, without a unit. */
        int rc =
            avs_db_run(s, e, "UPDATE metric SET unit=?, better=? WHERE metric_id=? AND unit='' AND ?<>''",
                       "tiit", r->unit ? r->unit : "", (int64_t)r->better, m, r->unit ? r->unit : "");
        if (rc == AVS_OK)
            rc = avs_db_run(s, e, "INSERT OR REPLACE INTO result VALUES(?,?,?,?)", "iitd", a->trial_id, m,
                            split, r->value);
        if (rc == AVS_OK) rc = avs_board_add(s, a->config_id, m, split, r->value, e);
        if (rc != AVS_OK) return rc;
    }
    return AVS_OK;
}

/* Numbers of an attempt that does not count: its trial has results of another one. */
static int keep_results(avs_store *s, int64_t attempt_id, const avs_store_end *end, avs_err *e)
{
    for (size_t i = 0; i < end->n_results; i++) {
        const avs_store_result *r = &end->results[i];
        const int64_t m = isfinite(r->value) ? avs_db_metric(s, r->name, r->unit, r->better, e) : 0;
        if (m < 0) return AVS_EDB;
        int rc = m == 0 ? AVS_OK
                        : avs_db_run(s, e, "INSERT OR REPLACE INTO attempt_result VALUES(?,?,?,?)", "iitd",
                                     attempt_id, m, r->split ? r->split : "", r->value);
        if (rc != AVS_OK) return rc;
    }
    return AVS_OK;
}

/* One more attempt that ended ok, where it ran: what a report's footer reads. */
static int count_usage(avs_store *s, int64_t attempt_id, avs_err *e)
{
    return avs_db_run(
        s, e,
        "INSERT INTO usage SELECT coalesce(k.env_id,0), coalesce(k.host,''), 1, a.started, a.ended FROM"
        " attempt a LEFT JOIN attempt_rank k ON k.attempt_id=a.attempt_id AND k.rank=0 WHERE a.attempt_id=?"
        " ON CONFLICT DO UPDATE SET attempts=attempts+1, first=min(first,excluded.first),"
        " last=max(last,excluded.last)",
        "i", attempt_id);
}

static int close_attempt(avs_store *s, int64_t attempt_id, const avs_store_end *end, avs_err *e)
{
    int rc;
    AVS_TRY(avs_db_run(
        s, e,
        "UPDATE attempt SET ended=?, reason=?, exit_code=nullif(?,-1), signal=nullif(?,0), message=?,"
        " max_rss=nullif(?,0), max_gpu_mem=nullif(?,0), resumed_from=? WHERE attempt_id=?",
        "iiiitiiti", end->ended_us ? end->ended_us : avs_wall_us(), (int64_t)end->reason,
        (int64_t)end->exit_code, (int64_t)end->signal, end->message, end->max_rss_bytes, end->max_gpu_bytes,
        end->resumed_from, attempt_id));
    AVS_TRY(avs_db_run(s, e,
                       "UPDATE attempt_rank SET host=coalesce(?,host), pid=coalesce(nullif(?,0),pid),"
                       " exit_code=nullif(?,-1), signal=nullif(?,0) WHERE attempt_id=? AND rank=0",
                       "tiiii", end->host, end->pid, (int64_t)end->exit_code, (int64_t)end->signal,
                       attempt_id));
    AVS_TRY(put_points(s, attempt_id, end->points, end->n_points, e));
    for (size_t i = 0; i < end->n_latencies; i++) AVS_TRY(put_latency(s, attempt_id, &end->latencies[i], e));
    for (size_t i = 0; i < end->n_artifacts; i++) AVS_TRY(put_artifact(s, attempt_id, &end->artifacts[i], e));
    if (end->env_json) AVS_TRY(put_env(s, attempt_id, end->env_json, end->host, e));
out:
    return rc;
}

int avs_store_attempt_end(avs_store *s, int64_t attempt_id, const avs_store_end *end, bool *stale, avs_err *e)
{
    attempt_row a = {0};
    int rc = avs_db_begin(s, e);

    if (stale) *stale = false;
    if (rc != AVS_OK) return rc;
    AVS_TRY(read_attempt(s, attempt_id, &a, e));
    if (end->reason == AVS_END_NONE) {
        rc = avs_fail(e, AVS_ERANGE, "an attempt cannot end with the reason that it still runs");
        goto out;
    }
    /* Ended before: only a late OK of a lost attempt says anything new. */
    if (a.ended && !(a.reason == AVS_END_LOST && end->reason == AVS_END_OK)) goto out;
    AVS_TRY(close_attempt(s, attempt_id, end, e));
    bool is_decided = a.best_attempt != 0; /* another attempt has finished */
    if (stale) *stale = is_decided && end->reason == AVS_END_OK;
    if (end->reason == AVS_END_OK) AVS_TRY(count_usage(s, attempt_id, e));
    if (is_decided) {
        if (end->reason == AVS_END_OK) rc = keep_results(s, attempt_id, end, e);
        goto out;
    }
    AVS_TRY(avs_tally_move(s, a.trial_id, (int)a.state,
                           end->reason == AVS_END_OK ? AVS_TRIAL_DONE : (int)end->next, e));
    if (end->reason == AVS_END_OK) {
        AVS_TRY(put_results(s, &a, end, e));
        AVS_TRY(avs_db_run(s, e, "UPDATE trial SET state=?, best_attempt=? WHERE trial_id=?", "iii",
                           (int64_t)AVS_TRIAL_DONE, attempt_id, a.trial_id));
    } else {
        AVS_TRY(avs_db_run(s, e, "UPDATE trial SET state=? WHERE trial_id=?", "ii", (int64_t)end->next,
                           a.trial_id));
    }
out:
    rc = avs_db_end(s, rc, e);
    if (rc != AVS_OK) avs_ctx(e, "attempt %lld", (long long)attempt_id);
    return rc;
}

int avs_store_points(avs_store *s, int64_t attempt_id, const avs_store_point *points, size_t n, avs_err *e)
{
    int rc = avs_db_begin(s, e);
    return rc != AVS_OK ? rc : avs_db_end(s, put_points(s, attempt_id, points, n, e), e);
}

int avs_store_artifact_add(avs_store *s, int64_t attempt_id, const avs_store_artifact *a, avs_err *e)
{
    int rc = avs_db_begin(s, e);
    return rc != AVS_OK ? rc : avs_db_end(s, put_artifact(s, attempt_id, a, e), e);
}
