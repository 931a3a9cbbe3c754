/* See dispatch.h. Agent 0 is the helper on this node, agent 1+k is peer k of the MPI transport. */
#include "orchestrator/dispatch.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>
#include "avs_version.h"
#include "base/arena.h"
#include "base/hash.h"
#include "base/log.h"
#include "orchestrator/staging.h"

#define SECOND INT64_C(1000000000)
enum { BEAT_MS = 5000, POINTS_MS = 1000, FAREWELL_MS = 3000, HELLO_MS = 20000 };

typedef struct {
    char host[256];
    avs_frame_reader in;
    avs_buf out;
    bool up, closed, said_bye;
} peer;

typedef struct {
    uint64_t attempt;
    uint32_t epoch;
    int32_t trial;
    int agent;
    int64_t points_ms;
} live;

typedef struct {
    const avs_dispatch_cfg *cfg;
    avs_coord *coord;
    avs_staging *staging;
    avs_progress progress;
    peer *peers;
    int n_peers;
    live *live;
    int n_live, cap_live;
    avs_action *pending; /* actions of the turn that wait for the flush: COMMITs and STARTs */
    int n_pending, cap_pending;
    avs_arena *frame;       /* strings of the frame at hand */
    const avs_frame *ended; /* the M_ENDED being handled */
    int ended_agent;
    const char *ended_text;
    bool draining, db_failed, db_told, finished, failed;
    int signals, code, lost;
    int64_t beat_ms;
    avs_err err;
} run;

static int64_t now_ms(void)
{
    return avs_now_ns() / 1000000;
}

static void carry_out(run *r, const avs_action *acts, int32_t n);

/* ---- the machine ---- */

static void step(run *r, avs_event ev)
{
    const avs_action *acts = NULL;
    int32_t n = 0;
    ev.now_ms = now_ms();
    if (avs_coord_step(r->coord, &ev, &acts, &n, &r->err) != AVS_OK) {
        r->failed = true;
        return;
    }
    if (n == 0) return;
    avs_action *copy = avs_xrealloc(NULL, sizeof *copy * (size_t)n); /* acting may step again */
    if (!copy) {
        r->failed = true;
        avs_fail(&r->err, AVS_ENOMEM, "the coordinator is out of memory");
        return;
    }
    memcpy(copy, acts, sizeof *copy * (size_t)n);
    carry_out(r, copy, n);
    free(copy);
}

static void db_trouble(run *r, const avs_err *err)
{
    if (r->db_failed) return;
    r->db_failed = true;
    avs_progress_say(&r->progress, "error[D001]: %s", err->msg);
    avs_progress_say(&r->progress,
                     "help: nothing committed is lost; make room or repair, then run the same command again");
}

/* ---- small helpers ---- */

static live *find_live(run *r, uint64_t attempt)
{
    for (int i = 0; i < r->n_live; i++)
        if (r->live[i].attempt == attempt) return &r->live[i];
    return NULL;
}

static void drop_live(run *r, uint64_t attempt)
{
    live *l = find_live(r, attempt);
    if (l) *l = r->live[--r->n_live];
}

static bool keep_pending(run *r, const avs_action *a)
{
    if (r->n_pending == r->cap_pending) {
        int cap = r->cap_pending ? 2 * r->cap_pending : 64;
        avs_action *p = avs_xrealloc(r->pending, sizeof *p * (size_t)cap);
        if (!p) return false;
        r->pending = p;
        r->cap_pending = cap;
    }
    r->pending[r->n_pending++] = *a;
    return true;
}

static size_t begin(run *r, int agent, uint16_t type, uint32_t epoch, uint64_t attempt)
{
    return avs_frame_begin(&r->peers[agent].out, type, epoch, attempt);
}

static void bare(run *r, int agent, uint16_t type, uint32_t epoch, uint64_t attempt)
{
    if (agent < r->n_peers && !r->peers[agent].closed)
        avs_frame_end(&r->peers[agent].out, begin(r, agent, type, epoch, attempt));
}

static const char *short_name(const run *r, int32_t i, char out[16])
{
    snprintf(out, 16, "%.12s", r->cfg->list->at[i].hex);
    return out;
}

/* ---- actions ---- */

static void send_start(run *r, const avs_action *a, uint64_t attempt)
{
    const avs_trial_list *l = r->cfg->list;
    const avs_listed *x = &l->at[a->trial];
    char work[3000], cwd[3100], log[3100];
    avs_buf job = AVS_BUF_INIT;
    avs_err err = AVS_ERR_INIT;
    if (avs_trial_job(l, a->trial, attempt, a->epoch, a->cores, &job, &err) != AVS_OK) {
        r->failed = true;
        r->err = err;
        avs_buf_free(&job);
        return;
    }
    avs_trial_work_dir(l, a->trial, work, sizeof work);
    avs_trial_log(l, a->trial, a->epoch, log, sizeof log);
    snprintf(cwd, sizeof cwd, "%s/attempt-%u", work, a->epoch);
    avs_buf *out = &r->peers[a->agent].out;
    size_t mark = begin(r, a->agent, AVS_M_START, a->epoch, attempt);
    avs_frame_put_str(out, AVS_T_TRIAL, x->hex);
    avs_frame_put_i64(out, AVS_T_CORES, a->cores);
    avs_frame_put_str(out, AVS_T_JSON, avs_buf_cstr(&job));
    avs_frame_put_str(out, AVS_T_LOG, log);
    avs_frame_put_str(out, AVS_T_WORK, cwd);
    avs_frame_put_i64(out, AVS_T_TIME_MS, x->time_ms);
    avs_frame_put_i64(out, AVS_T_HANG_MS, x->hang_ms);
    avs_frame_put_i64(out, AVS_T_FLAGS, strcmp(x->trial->config->kind, "latency") == 0);
    avs_frame_end(out, mark);
    avs_buf_free(&job);
}

static void act_start(run *r, const avs_action *a)
{
    avs_err err = AVS_ERR_INIT;
    char log[3100];
    int64_t id = 0;
    int epoch = 0;
    if (r->db_failed) { /* settle() ends it */
        if (!keep_pending(r, a)) r->failed = true;
        return;
    }
    avs_trial_log(r->cfg->list, a->trial, a->epoch, log, sizeof log);
    avs_store_start st = {.trial_id = r->cfg->list->at[a->trial].trial_id,
                          .run_id = getpid(),
                          .host = r->peers[a->agent].host,
                          .log_path = log};
    if (avs_store_attempt_begin(r->cfg->db, &st, &id, NULL, &epoch, &err) != AVS_OK) {
        db_trouble(r, &err);
        if (!keep_pending(r, a)) r->failed = true;
        return;
    }
    if ((uint32_t)epoch != a->epoch) {
        r->failed = true;
        avs_fail(&r->err, AVS_EDB, "trial %s: the database counts epoch %d, the coordinator %u",
                 r->cfg->list->at[a->trial].hex, epoch, a->epoch);
        return;
    }
    avs_coord_name(r->coord, a->attempt, (uint64_t)id);
    if (r->n_live == r->cap_live) {
        int cap = r->cap_live ? 2 * r->cap_live : 64;
        live *l = avs_xrealloc(r->live, sizeof *l * (size_t)cap);
        if (!l) {
            r->failed = true;
            avs_fail(&r->err, AVS_ENOMEM, "the coordinator is out of memory");
            return;
        }
        r->live = l;
        r->cap_live = cap;
    }
    r->live[r->n_live++] = (live){(uint64_t)id, a->epoch, a->trial, a->agent, now_ms()};
    avs_action kept = *a;
    kept.attempt = (uint64_t)id;
    if (!keep_pending(r, &kept)) r->failed = true;
    send_start(r, a, (uint64_t)id);
}

/* What M_ENDED says about the process, when it is this attempt's. */
static void fill_from_frame(run *r, const avs_action *a, avs_store_end *end)
{
    const avs_frame *f = r->ended;
    end->exit_code = -1;
    if (a->agent >= 0 && a->agent < r->n_peers) end->host = r->peers[a->agent].host;
    if (!f || f->attempt != a->attempt || f->epoch != a->epoch || r->ended_agent != a->agent) return;
    end->exit_code = (int)avs_frame_i64(f, AVS_T_CODE, -1);
    end->signal = (int)avs_frame_i64(f, AVS_T_SIGNAL, 0);
    end->max_rss_bytes = avs_frame_i64(f, AVS_T_MAX_RSS, 0);
    end->message = r->ended_text;
}

static void act_commit(run *r, const avs_action *a)
{
    avs_err err = AVS_ERR_INIT;
    bool stale = false;
    avs_store_end end = {.reason = AVS_END_OK, .next = AVS_TRIAL_DONE};
    drop_live(r, a->attempt);
    if (r->db_failed) return;
    fill_from_frame(r, a, &end);
    avs_staged *g = avs_staging_find(r->staging, a->agent, a->attempt, a->epoch);
    if (g) avs_staged_fill(g, &end);
    int rc = avs_store_attempt_end(r->cfg->db, (int64_t)a->attempt, &end, &stale, &err);
    if (rc == AVS_ERANGE || rc == AVS_EPARSE || rc == AVS_EMISSING) {
        r->ended_text = avs_arena_str(r->frame, err.msg);
        step(r, (avs_event){.type = AVS_EV_REFUSED, .trial = a->trial, .attempt = a->attempt});
    } else if (rc != AVS_OK) {
        db_trouble(r, &err);
    } else if (!keep_pending(r, a)) {
        r->failed = true;
    }
}

static avs_end_reason reason_of(avs_outcome o)
{
    static const avs_end_reason map[AVS_OUT_COUNT] = {
        [AVS_OUT_DONE] = AVS_END_CANCELLED,   [AVS_OUT_ERROR] = AVS_END_ERROR,
        [AVS_OUT_CRASH] = AVS_END_CRASH,      [AVS_OUT_HANG] = AVS_END_HANG,
        [AVS_OUT_TIMEOUT] = AVS_END_TIMEOUT,  [AVS_OUT_STOPPED] = AVS_END_PREEMPTED,
        [AVS_OUT_KILLED] = AVS_END_CANCELLED, [AVS_OUT_INFRA] = AVS_END_INFRA,
        [AVS_OUT_LOST] = AVS_END_LOST};
    return map[o];
}

static avs_trial_state store_state(avs_job_state s)
{
    switch (s) {
    case AVS_JOB_RUNNING:
        return AVS_TRIAL_RUNNING;
    case AVS_JOB_COMMITTING:
    case AVS_JOB_DONE:
        return AVS_TRIAL_DONE;
    case AVS_JOB_FAILED:
        return AVS_TRIAL_FAILED;
    case AVS_JOB_BLOCKED:
        return AVS_TRIAL_BLOCKED;
    default:
        return AVS_TRIAL_PENDING;
    }
}

static void tell_failure(run *r, const avs_action *a, const char *text)
{
    char name[16], *nl;
    const avs_listed *x = &r->cfg->list->at[a->trial];
    bool final = a->state == AVS_JOB_FAILED;
    if ((a->outcome == AVS_OUT_STOPPED || a->outcome == AVS_OUT_KILLED) && !final) return;
    snprintf(r->progress.last_failure, sizeof r->progress.last_failure, "%s %s: %.120s",
             short_name(r, a->trial, name), avs_outcome_name(a->outcome), text ? text : "");
    while ((nl = strchr(r->progress.last_failure, '\n'))) *nl = ' ';
    avs_progress_say(&r->progress, "trial %s (%s %s seed %u) on %s: %s%s%s%s", short_name(r, a->trial, name),
                     x->trial->config->model ? x->trial->config->model : x->trial->config->kind,
                     x->trial->config->task ? x->trial->config->task : "", x->trial->seed,
                     r->peers[a->agent].host, avs_outcome_name(a->outcome), text ? ": " : "",
                     text ? text : "", final ? "; failed" : "; it will be tried again");
}

static void act_record(run *r, const avs_action *a)
{
    avs_err err = AVS_ERR_INIT;
    avs_store_end end = {.reason = reason_of(a->outcome), .next = store_state(a->state)};
    drop_live(r, a->attempt);
    fill_from_frame(r, a, &end);
    if (a->outcome == AVS_OUT_LOST) end.message = "the agent is gone";
    if (a->outcome == AVS_OUT_ERROR && !end.message) end.message = r->ended_text;
    tell_failure(r, a, end.message);
    if (r->db_failed || (a->attempt & AVS_COORD_PROVISIONAL)) return;
    avs_staged *g = avs_staging_find(r->staging, a->agent, a->attempt, a->epoch);
    if (g) avs_staged_fill(g, &end);
    if (avs_store_attempt_end(r->cfg->db, (int64_t)a->attempt, &end, NULL, &err) != AVS_OK)
        db_trouble(r, &err);
}

static void act_stop(run *r, const avs_action *a, const char *kind)
{
    if (r->peers[a->agent].closed) return;
    avs_buf *out = &r->peers[a->agent].out;
    size_t mark = begin(r, a->agent, AVS_M_STOP, a->epoch, a->attempt);
    avs_frame_put_str(out, AVS_T_REASON, "user");
    avs_frame_put_str(out, AVS_T_KIND, kind);
    avs_frame_end(out, mark);
}

static void note_event(run *r, char level, const char *host, const char *code, const char *text)
{
    avs_err err = AVS_ERR_INIT;
    avs_progress_say(&r->progress, "%s", text);
    if (!r->db_failed && avs_store_event(r->cfg->db, level, host, 0, code, text, &err) != AVS_OK)
        db_trouble(r, &err);
}

static void act_agent(run *r, const avs_action *a)
{
    char text[400];
    peer *p = &r->peers[a->agent];
    if (a->type == AVS_ACT_LOST) {
        p->up = false;
        snprintf(text, sizeof text, "node %s is lost; its trials are queued again",
                 p->host[0] ? p->host : "?");
        note_event(r, 'W', p->host, "lost", text);
    } else {
        snprintf(text, sizeof text, "node %s gets no more trials: three of them could not be started there",
                 p->host);
        note_event(r, 'W', p->host, "quarantined", text);
    }
}

static void act_too_big(run *r, const avs_action *a)
{
    char name[16];
    avs_progress_say(
        &r->progress,
        "error[R006]: trial %s needs %d cores on one node; the largest node has %d. Nothing was started.",
        short_name(r, a->trial, name), r->cfg->list->coord[a->trial].cores, a->cores);
}

static void carry_out(run *r, const avs_action *acts, int32_t n)
{
    avs_err err = AVS_ERR_INIT;
    for (int32_t i = 0; i < n; i++) {
        const avs_action *a = &acts[i];
        switch (a->type) {
        case AVS_ACT_START:
            act_start(r, a);
            break;
        case AVS_ACT_STOP:
            act_stop(r, a, "checkpoint");
            break;
        case AVS_ACT_KILL:
            act_stop(r, a, "kill");
            break;
        case AVS_ACT_COMMIT:
            act_commit(r, a);
            break;
        case AVS_ACT_RECORD:
            act_record(r, a);
            break;
        case AVS_ACT_ACK:
            bare(r, a->agent, AVS_M_ACK, a->epoch, a->attempt);
            avs_staging_drop(r->staging, a->agent, a->attempt, a->epoch);
            break;
        case AVS_ACT_STATE:
            if (!r->db_failed && avs_store_set_state(r->cfg->db, r->cfg->list->at[a->trial].trial_id,
                                                     store_state(a->state), &err) != AVS_OK)
                db_trouble(r, &err);
            break;
        case AVS_ACT_BYE:
            bare(r, a->agent, AVS_M_BYE, 0, 0);
            break;
        case AVS_ACT_LOST:
        case AVS_ACT_QUARANTINE:
            act_agent(r, a);
            break;
        case AVS_ACT_TOO_BIG:
            act_too_big(r, a);
            break;
        case AVS_ACT_FINISH:
            r->finished = true;
            r->code = a->code;
            break;
        }
    }
}

/* ---- messages ---- */

static void take_hello(run *r, int agent, const avs_frame *f)
{
    peer *p = &r->peers[agent];
    const char *host = avs_frame_str(f, AVS_T_HOST, r->frame),
               *version = avs_frame_str(f, AVS_T_VERSION, r->frame);
    snprintf(p->host, sizeof p->host, "%s", host ? host : "?");
    if (!version || strcmp(version, AVS_VERSION) != 0) {
        char text[400];
        snprintf(text, sizeof text, "node %s runs avsweep %s, this is %s: it is left out", p->host,
                 version ? version : "?", AVS_VERSION);
        note_event(r, 'E', p->host, "version", text);
        bare(r, agent, AVS_M_BYE, 0, 0);
        step(r, (avs_event){.type = AVS_EV_AGENT_DOWN, .agent = agent});
        return;
    }
    size_t mark = begin(r, agent, AVS_M_WELCOME, 0, 0);
    avs_frame_put_str(&p->out, AVS_T_ROOT, r->cfg->list->root);
    avs_frame_end(&p->out, mark);
    p->up = true;
    step(r, (avs_event){
                .type = AVS_EV_AGENT_UP, .agent = agent, .cores = (int)avs_frame_i64(f, AVS_T_CORES, 1)});
}

static void take_ended(run *r, int agent, const avs_frame *f)
{
    const char *hex = avs_frame_str(f, AVS_T_TRIAL, r->frame);
    int64_t o = avs_frame_i64(f, AVS_T_OUTCOME, AVS_OUT_CRASH);
    live *l = find_live(r, f->attempt);
    avs_staged *g = avs_staging_find(r->staging, agent, f->attempt, f->epoch);
    int32_t trial = l && hex && strcmp(r->cfg->list->at[l->trial].hex, hex) == 0 ? l->trial
                    : hex ? avs_trial_list_find(r->cfg->list, hex)
                          : -1;
    if (o < 0 || o >= AVS_OUT_COUNT) o = AVS_OUT_CRASH;
    r->ended = f;
    r->ended_agent = agent;
    r->ended_text = avs_frame_str(f, AVS_T_TEXT, r->frame);
    if (o == AVS_OUT_DONE && g && avs_staged_bad(g)) {
        o = AVS_OUT_ERROR;
        r->ended_text = avs_staged_bad(g);
    }
    step(r, (avs_event){.type = AVS_EV_ENDED,
                        .agent = agent,
                        .trial = trial,
                        .attempt = f->attempt,
                        .epoch = f->epoch,
                        .outcome = (avs_outcome)o,
                        .text_hash = r->ended_text ? avs_fnv1a64_str(r->ended_text) : 0});
    r->ended = NULL;
    r->ended_text = NULL;
}

static void store_points(run *r, live *l, bool now)
{
    avs_err err = AVS_ERR_INIT;
    size_t n = 0;
    int64_t ms = now_ms();
    avs_staged *g = avs_staging_find(r->staging, l->agent, l->attempt, l->epoch);
    if (!g || r->db_failed || (!now && ms - l->points_ms < POINTS_MS)) return;
    const avs_store_point *p = avs_staged_points(g, &n);
    l->points_ms = ms;
    if (n == 0) return;
    if (avs_store_points(r->cfg->db, (int64_t)l->attempt, p, n, &err) != AVS_OK) db_trouble(r, &err);
    avs_staged_points_stored(g);
}

static void take_trial_frame(run *r, int agent, const avs_frame *f)
{
    live *l = find_live(r, f->attempt);
    if (f->type == AVS_F_PROGRESS) {
        if (!l) return;
        snprintf(r->progress.running, sizeof r->progress.running, "%.6s step %lld/%lld",
                 r->cfg->list->at[l->trial].hex, (long long)avs_frame_i64(f, AVS_T_STEP, 0),
                 (long long)avs_frame_i64(f, AVS_T_STEPS, 0));
        return;
    }
    if (avs_staging_add(r->staging, agent, f, &r->err) != AVS_OK) {
        r->failed = true;
        return;
    }
    if (f->type == AVS_F_POINT && l && l->agent == agent && l->epoch == f->epoch) store_points(r, l, false);
}

static void drain(run *r, int signal)
{
    if (r->draining) return;
    r->draining = true;
    avs_progress_say(&r->progress, "%s: running trials write a checkpoint and stop; the same command resumes",
                     signal == SIGINT ? "interrupted" : "asked to stop");
    step(r, (avs_event){.type = AVS_EV_DRAIN});
}

static void take(run *r, int agent, const avs_frame *f)
{
    if (f->type < AVS_F_STOP) {
        take_trial_frame(r, agent, f);
        return;
    }
    switch (f->type) {
    case AVS_M_HELLO:
        take_hello(r, agent, f);
        break;
    case AVS_M_ENDED:
        take_ended(r, agent, f);
        break;
    case AVS_M_SIGNAL:
        drain(r, (int)avs_frame_i64(f, AVS_T_CODE, SIGTERM));
        break;
    case AVS_M_BYE:
        r->peers[agent].said_bye = true;
        break;
    default:
        break; /* STARTED, BEAT: signs of life */
    }
}

static void agent_gone(run *r, int agent)
{
    if (r->peers[agent].closed) return;
    r->peers[agent].closed = true;
    avs_buf_clear(&r->peers[agent].out);
    if (!r->finished) step(r, (avs_event){.type = AVS_EV_AGENT_DOWN, .agent = agent});
}

static void heard(run *r, int agent, const void *data, size_t n)
{
    peer *p = &r->peers[agent];
    if (p->closed) return;
    if (!data) {
        agent_gone(r, agent);
        return;
    }
    avs_frame_feed(&p->in, data, n);
    avs_frame f;
    avs_err err = AVS_ERR_INIT;
    bool got = false;
    int rc = AVS_OK;
    while (!r->failed && !p->closed && (rc = avs_frame_next(&p->in, &f, &got, &err)) == AVS_OK && got) {
        avs_arena *a = avs_arena_new();
        if (!a) {
            r->failed = true;
            avs_fail(&r->err, AVS_ENOMEM, "the coordinator is out of memory");
            return;
        }
        r->frame = a;
        take(r, agent, &f);
        avs_arena_free(a);
        r->frame = NULL;
    }
    if (rc != AVS_OK) {
        avs_progress_say(&r->progress, "node %s sent a broken frame (%s): it is left out", p->host, err.msg);
        agent_gone(r, agent);
    } else if (!r->finished) {
        step(r, (avs_event){.type = AVS_EV_SEEN, .agent = agent});
    }
}

static void heard_local(void *ctx, int peer_id, const void *data, size_t n)
{
    heard(ctx, peer_id, data, n);
}

static void heard_mpi(void *ctx, int peer_id, const void *data, size_t n)
{
    heard(ctx, 1 + peer_id, data, n);
}

/* ---- a turn ---- */

/* One transaction for all of the turn, then the word to the agents. A flush that fails takes back everything of the
 * turn: starts are as if they never were, results stay with the agents. */
static void settle(run *r)
{
    avs_err err = AVS_ERR_INIT;
    while (!r->failed) {
        bool was_failed = r->db_failed;
        if (!was_failed && avs_store_unflushed(r->cfg->db) > 0) {
            bool slow = avs_store_group_ns(r->cfg->db) > 5000000;
            if (slow && avs_store_unflushed_ns(r->cfg->db) < avs_store_group_ns(r->cfg->db) && !r->finished)
                return;
            if (avs_store_flush(r->cfg->db, &err) != AVS_OK) db_trouble(r, &err);
        }
        if (r->db_failed && !r->db_told) {
            r->draining = r->db_told = true;
            for (int i = 0; i < r->n_peers; i++) avs_buf_clear(&r->peers[i].out);
            step(r, (avs_event){.type = AVS_EV_DB_FAILED});
        }
        if (r->n_pending == 0) break;
        int n = r->n_pending;
        avs_action *done = r->pending;
        r->pending = NULL;
        r->n_pending = r->cap_pending = 0;
        for (int i = 0; i < n; i++) {
            bool is_start = done[i].type == AVS_ACT_START;
            avs_event ev = {.type = AVS_EV_COMMITTED, .trial = done[i].trial, .attempt = done[i].attempt};
            if (is_start) { /* matters only when the database failed: then its START never left */
                ev.type = AVS_EV_ENDED;
                ev.agent = done[i].agent;
                ev.epoch = done[i].epoch;
                ev.outcome = AVS_OUT_KILLED;
            }
            if (r->db_failed == is_start) step(r, ev);
        }
        free(done);
    }
    for (int i = 0; i < r->n_peers && !r->failed; i++) {
        peer *p = &r->peers[i];
        avs_transport *t = i == 0 ? r->cfg->local : r->cfg->mpi;
        if (p->out.len == 0) continue;
        if (!avs_buf_ok(&p->out)) {
            r->failed = true;
            avs_fail(&r->err, AVS_ENOMEM, "the coordinator is out of memory");
        } else if (!p->closed && t->send(t, i == 0 ? 0 : i - 1, p->out.data, p->out.len, &r->err) != AVS_OK) {
            r->failed = true;
        }
        avs_buf_clear(&p->out);
    }
}

static void take_signals(run *r)
{
    struct signalfd_siginfo si;
    while (read(r->signals, &si, sizeof si) == (ssize_t)sizeof si) {
        int s = (int)si.ssi_signo;
        if (r->draining && (s == SIGINT || s == SIGTERM)) {
            avs_progress_say(&r->progress, "interrupted again: running trials are killed");
            step(r, (avs_event){.type = AVS_EV_KILL});
        } else {
            drain(r, s);
        }
    }
}

static int64_t wait_ns(run *r)
{
    int64_t now = now_ms(), until = r->beat_ms;
    int64_t next = avs_coord_next_ms(r->coord), draw = avs_progress_next(&r->progress);
    if (next < until) until = next;
    if (draw < until) until = draw;
    int64_t ns = until > now ? (until - now) * 1000000 : 0;
    if (avs_store_unflushed(r->cfg->db) > 0 && !r->db_failed) {
        int64_t left = avs_store_group_ns(r->cfg->db) - avs_store_unflushed_ns(r->cfg->db);
        if (left < ns) ns = left > 0 ? left : 0;
    }
    if (r->cfg->mpi && r->cfg->mpi->wait_ns < ns) ns = r->cfg->mpi->wait_ns;
    return ns;
}

static void turn(run *r)
{
    int64_t ns = wait_ns(r);
    struct timespec ts = {ns / SECOND, ns % SECOND};
    avs_transport *t = r->cfg->local;
    struct pollfd p[2] = {{t->fd, (short)(POLLIN | (t->want_write ? POLLOUT : 0)), 0},
                          {r->signals, POLLIN, 0}};
    if (ppoll(p, 2, &ts, NULL) < 0 && errno != EINTR) {
        r->failed = true;
        avs_fail(&r->err, AVS_EIO, "ppoll: %s", strerror(errno));
        return;
    }
    take_signals(r);
    if (!r->failed && t->poll(t, heard_local, r, &r->err) != AVS_OK) r->failed = true;
    if (!r->failed && r->cfg->mpi && r->cfg->mpi->poll(r->cfg->mpi, heard_mpi, r, &r->err) != AVS_OK)
        r->failed = true;
    if (r->failed) return;
    int64_t now = now_ms();
    if (now >= avs_coord_next_ms(r->coord) && !r->finished) step(r, (avs_event){.type = AVS_EV_TICK});
    if (now >= r->beat_ms) {
        r->beat_ms = now + BEAT_MS;
        avs_lease_touch(r->cfg->lease);
        for (int i = 0; i < r->n_peers; i++)
            if (r->peers[i].up) bare(r, i, AVS_M_BEAT, 0, 0);
    }
    settle(r);
    avs_coord_counts c = avs_coord_count(r->coord);
    avs_progress_show(&r->progress, &c, now, false);
}

/* Every agent gets its BYE and a moment to say its own, also one whose HELLO is still under way: MPI_Finalize would
 * wait for it for ever. */
static void farewell(run *r)
{
    int64_t begin_ms = now_ms();
    for (;;) {
        bool all = true, early = false;
        settle(r);
        for (int i = 0; i < r->n_peers; i++) {
            const peer *p = &r->peers[i];
            bool counts = !p->closed && !p->said_bye && (p->up || (i > 0 && !p->host[0]));
            all &= !counts;
            early |= counts && !p->up;
        }
        if (all || r->failed || now_ms() - begin_ms >= (early ? HELLO_MS : FAREWELL_MS)) break;
        struct pollfd p = {r->cfg->local->fd, POLLIN, 0};
        const struct timespec ts = {0, 2000000};
        ppoll(&p, 1, &ts, NULL);
        if (r->cfg->local->poll(r->cfg->local, heard_local, r, &r->err) != AVS_OK) r->failed = true;
        if (r->cfg->mpi && r->cfg->mpi->poll(r->cfg->mpi, heard_mpi, r, &r->err) != AVS_OK) r->failed = true;
    }
    r->lost = 0;
    for (int i = 1; i < r->n_peers; i++) r->lost += !r->peers[i].said_bye;
}

static void free_run(run *r)
{
    for (int i = 0; i < r->n_peers && r->peers; i++) {
        avs_frame_reader_free(&r->peers[i].in);
        avs_buf_free(&r->peers[i].out);
    }
    free(r->peers);
    free(r->live);
    free(r->pending);
    avs_coord_free(r->coord);
    avs_staging_free(r->staging);
    if (r->signals >= 0) close(r->signals);
}

int avs_dispatch(const avs_dispatch_cfg *cfg, avs_dispatch_result *out, avs_err *e)
{
    run r = {.cfg = cfg, .signals = -1, .n_peers = 1 + (cfg->mpi ? cfg->mpi->n_peers : 0)};
    sigset_t set;
    sigemptyset(&set);
    for (const int *s = (const int[]){SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGHUP, 0}; *s; s++)
        sigaddset(&set, *s);
    int rc = avs_coord_new(&r.coord, &cfg->coord, cfg->list->coord, cfg->list->n, e);
    r.staging = avs_staging_new();
    r.peers = avs_xrealloc(NULL, sizeof *r.peers * (size_t)r.n_peers);
    if (rc == AVS_OK && (!r.staging || !r.peers))
        rc = avs_fail(e, AVS_ENOMEM, "no memory for the coordinator");
    if (r.peers) memset(r.peers, 0, sizeof *r.peers * (size_t)r.n_peers);
    if (rc == AVS_OK && (r.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        rc = avs_fail(e, AVS_EIO, "signalfd: %s", strerror(errno));
    if (rc == AVS_OK) {
        avs_progress_begin(&r.progress, STDERR_FILENO, cfg->quiet, now_ms());
        r.beat_ms = now_ms() + BEAT_MS;
        step(&r, (avs_event){.type = AVS_EV_TICK});
        while (!r.finished && !r.failed) turn(&r);
        farewell(&r);
        avs_coord_counts c = avs_coord_count(r.coord);
        avs_progress_show(&r.progress, &c, now_ms(), true);
        avs_progress_end(&r.progress);
        *out = (avs_dispatch_result){.code = r.code, .lost_agents = r.lost, .counts = c};
        if (r.failed) {
            rc = r.err.code != AVS_OK ? (int)r.err.code : AVS_ENOMEM;
            if (e) *e = r.err;
        }
    }
    free_run(&r);
    return rc;
}
