/* From actions of the state machine to database rows and messages. Nothing leaves here before the turn's flush: START
 * waits for its attempt row, ACK for its results (dispatch.c). */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/log.h"
#include "orchestrator/dispatch_state.h"

live_trial *dispatch_live(dispatch_run *r, uint64_t attempt)
{
    int32_t k = avs_id_get(&r->by_attempt, attempt);
    return k >= 0 ? &r->live[k] : NULL;
}

static void drop_live(dispatch_run *r, uint64_t attempt)
{
    live_trial *l = dispatch_live(r, attempt);
    if (!l) return;
    avs_id_drop(&r->by_attempt, attempt);
    avs_xfree(l->ring);
    avs_xfree(l->why);
    *l = r->live[--r->n_live];
    if (l != &r->live[r->n_live]) avs_id_put(&r->by_attempt, l->attempt, (int32_t)(l - r->live));
}

static bool keep_pending(dispatch_run *r, const avs_action *a)
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

static const char *short_name(const dispatch_run *r, int32_t i, char out[16])
{
    char hex[65];
    snprintf(out, 16, "%.12s", avs_trial_hex(r->cfg->list, i, hex));
    return out;
}

/* ---- actions ---- */

/* START for the ranks of an attempt on one node. */
static void send_start(dispatch_run *r, const avs_action *a, uint64_t attempt)
{
    const avs_trial_list *l = r->cfg->list;
    const avs_sweep_limits *limits = &avs_trial_stage(l, a->trial)->limits;
    char work[3000], cwd[3100], log[3100], hex[65];
    bool quiet = strcmp(l->at[a->trial].trial->config->kind, "latency") == 0,
         is_inline = r->cfg->inline_noops;
    avs_buf job = AVS_BUF_INIT, places = AVS_BUF_INIT;
    avs_err err = AVS_ERR_INIT;
    const avs_coord_class *k0 = &l->classes[avs_coord_class_of(r->coord, a->trial)];
    const bool on_gpu = a->place[0].gpus != 0;
    if (k0->gpus > 0 && k0->host_ok && !on_gpu && !r->host_told) {
        r->host_told = true;
        avs_progress_say(&r->progress, "no node has a GPU: trials that ask for GPUs run on the host");
    }
    if (!is_inline && avs_trial_job(l, a, attempt, on_gpu, &job, &err) != AVS_OK) {
        r->failed = true;
        r->err = err;
        avs_buf_free(&job);
        return;
    }
    avs_buf *out = &r->peers[a->agent].out;
    r->peers[a->agent].started = true;
    size_t mark = dispatch_begin(r, a->agent, AVS_M_START, a->epoch, attempt);
    avs_frame_put_str(out, AVS_T_TRIAL, avs_trial_hex(l, a->trial, hex));
    avs_frame_put_i64(out, AVS_T_FLAGS, (quiet ? AVS_START_QUIET : 0) | (is_inline ? AVS_START_INLINE : 0));
    if (!is_inline) {
        avs_trial_work_dir(l, a->trial, work, sizeof work);
        avs_trial_log(l, a->trial, a->epoch, log, sizeof log);
        snprintf(cwd, sizeof cwd, "%s/attempt-%u", work, a->epoch);
        avs_frame_put_str(out, AVS_T_JSON, avs_buf_cstr(&job));
        avs_frame_put_str(out, AVS_T_LOG, log);
        avs_frame_put_str(out, AVS_T_WORK, cwd);
        avs_frame_put_i64(out, AVS_T_TIME_MS, (int64_t)(limits->time_s * 1000));
        avs_frame_put_i64(out, AVS_T_HANG_MS, (int64_t)(limits->hang_s * 1000));
        for (int32_t k = 0; k < a->n_ranks; k++) {
            avs_buf_u32(&places, a->place[k].gpus);
            avs_buf_u32(&places, (uint32_t)a->place[k].cores);
            avs_buf_u32(&places, (uint32_t)a->place[k].numa);
        }
        avs_frame_put(out, AVS_T_PLACES, places.data, places.len);
    }
    if (a->ranks > 1) {
        avs_frame_put_i64(out, AVS_T_RANKS, a->ranks);
        avs_frame_put_i64(out, AVS_T_FIRST, a->first_rank);
    }
    avs_frame_end(out, mark);
    if (!avs_buf_ok(&places)) out->failed = true;
    avs_buf_free(&job);
    avs_buf_free(&places);
}

/* The ranks of an attempt and their GPUs, from its STARTs (n actions that follow each other, among others). NULL: no
 * memory. *n_out 0: one rank without a GPU, for which the attempt's own row is enough. */
static avs_store_gpu *ranks_of(const dispatch_run *r, const avs_action *a, int32_t n, int *n_out, int *gpus)
{
    size_t cap = 1;
    *n_out = *gpus = 0;
    for (int32_t p = 0; p < n && a[p].type == AVS_ACT_START && a[p].attempt == a->attempt; p++)
        for (int32_t k = 0; k < a[p].n_ranks; k++) {
            const int of_rank = __builtin_popcount(a[p].place[k].gpus);
            *gpus += of_rank;
            cap += (size_t)of_rank + 1;
        }
    avs_store_gpu *out = avs_xrealloc(NULL, sizeof *out * cap);
    for (int32_t p = 0; out && p < n && a[p].type == AVS_ACT_START && a[p].attempt == a->attempt; p++) {
        const peer *at = &r->peers[a[p].agent];
        for (int32_t k = 0; k < a[p].n_ranks; k++) {
            const int before = *n_out, rank = a[p].first_rank + k;
            for (int32_t i = 0; at->gpus && i < at->gpus->n; i++)
                if (a[p].place[k].gpus >> i & 1)
                    out[(*n_out)++] = (avs_store_gpu){.rank = rank,
                                                      .uuid = at->gpus->gpu[i].uuid,
                                                      .model = at->gpus->gpu[i].model,
                                                      .mem_bytes = at->gpus->gpu[i].mem_bytes,
                                                      .sm = at->gpus->gpu[i].capability,
                                                      .host = at->host};
            if (*n_out == before && a->ranks > 1)
                out[(*n_out)++] = (avs_store_gpu){.rank = rank, .host = at->host};
        }
    }
    return out;
}

/* The attempt row of a trial that starts; rank 0's START comes first of the n actions. *id: 0 when it has none (the
 * database failed). */
static bool begin_attempt(dispatch_run *r, const avs_action *a, int32_t n, int64_t *id)
{
    avs_err err = AVS_ERR_INIT;
    char log[3100];
    int epoch = 0, gpus, n_gpu;
    *id = 0;
    if (r->db_failed) return true; /* settle() ends it */
    avs_store_gpu *used = ranks_of(r, a, n, &n_gpu, &gpus);
    if (!used) return false;
    avs_trial_log(r->cfg->list, a->trial, a->epoch, log, sizeof log);
    avs_store_start st = {.trial_id = avs_trial_row(r->cfg->list, a->trial),
                          .run_id = getpid(),
                          .host = r->peers[a->agent].host,
                          .gpus = gpus,
                          .gpu = used,
                          .n_gpu = n_gpu,
                          .log_path = log};
    const int rc = avs_store_attempt_begin(r->cfg->db, &st, id, NULL, &epoch, &err);
    free(used);
    if (rc != AVS_OK) {
        *id = 0;
        dispatch_db_trouble(r, &err);
        return true;
    }
    if ((uint32_t)epoch != a->epoch) {
        char hex[65];
        avs_fail(&r->err, AVS_EDB, "trial %s: the database counts epoch %d, the coordinator %u",
                 avs_trial_hex(r->cfg->list, a->trial, hex), epoch, a->epoch);
        return false;
    }
    avs_coord_name(r->coord, a->attempt, (uint64_t)*id);
    if (r->n_live == r->cap_live) {
        int cap = r->cap_live ? 2 * r->cap_live : 64;
        live_trial *l = avs_xrealloc(r->live, sizeof *l * (size_t)cap);
        if (!l) return false;
        r->live = l;
        r->cap_live = cap;
    }
    r->live[r->n_live] = (live_trial){.attempt = (uint64_t)*id,
                                      .epoch = a->epoch,
                                      .trial = a->trial,
                                      .agent = a->agent,
                                      .points_ms = dispatch_now_ms(),
                                      .spans = a->n_ranks < a->ranks};
    return avs_id_put(&r->by_attempt, (uint64_t)*id, r->n_live++);
}

/* a: the first of the n actions that are still to be carried out. */
static void act_start(dispatch_run *r, const avs_action *a, int32_t n)
{
    avs_action kept = *a;
    int64_t id = 0;
    if (a->first_rank == 0) {
        if (!begin_attempt(r, a, n, &id)) r->failed = true;
        r->started = a->attempt;
        r->started_id = id;
    }
    if (r->started == a->attempt && r->started_id > 0) kept.attempt = (uint64_t)r->started_id;
    if (!keep_pending(r, &kept)) r->failed = true;
    if (r->failed && r->err.code == AVS_OK) avs_fail(&r->err, AVS_ENOMEM, "the coordinator is out of memory");
    if (r->failed || kept.attempt == a->attempt) return;
    send_start(r, a, kept.attempt);
    dispatch_tell_start(r, &kept);
}

/* What M_ENDED says about the process, when it is this attempt's. */
static void fill_from_frame(dispatch_run *r, const avs_action *a, avs_store_end *end)
{
    const avs_frame *f = r->ended;
    end->exit_code = -1;
    if (a->agent >= 0 && a->agent < r->n_peers) end->host = r->peers[a->agent].host;
    if (!f || f->attempt != a->attempt || f->epoch != a->epoch || r->ended_agent != a->agent) return;
    end->exit_code = (int)avs_frame_i64(f, AVS_T_CODE, -1);
    end->signal = (int)avs_frame_i64(f, AVS_T_SIGNAL, 0);
    end->max_rss_bytes = avs_frame_i64(f, AVS_T_MAX_RSS, 0);
    end->max_gpu_bytes = avs_frame_i64(f, AVS_T_MAX_GPU, 0);
    end->message = r->ended_text;
}

static void act_commit(dispatch_run *r, const avs_action *a)
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
        dispatch_step(r, (avs_event){.type = AVS_EV_REFUSED, .trial = a->trial, .attempt = a->attempt});
        return;
    }
    if (rc == AVS_OK && !keep_pending(r, a)) {
        r->failed = true;
        return;
    }
    if (rc == AVS_OK && r->cfg->commit_each) rc = avs_store_flush(r->cfg->db, &err);
    if (rc != AVS_OK) dispatch_db_trouble(r, &err);
}

static avs_end_reason reason_of(avs_outcome o)
{
    static const avs_end_reason map[AVS_OUT_COUNT] = {
        [AVS_OUT_DONE] = AVS_END_CANCELLED,   [AVS_OUT_ERROR] = AVS_END_ERROR,
        [AVS_OUT_CRASH] = AVS_END_CRASH,      [AVS_OUT_HANG] = AVS_END_HANG,
        [AVS_OUT_TIMEOUT] = AVS_END_TIMEOUT,  [AVS_OUT_STOPPED] = AVS_END_PREEMPTED,
        [AVS_OUT_KILLED] = AVS_END_CANCELLED, [AVS_OUT_INFRA] = AVS_END_INFRA,
        [AVS_OUT_LOST] = AVS_END_LOST,        [AVS_OUT_OOM] = AVS_END_OOM_HOST,
        [AVS_OUT_OOM_GPU] = AVS_END_OOM_GPU,  [AVS_OUT_DISTURBED] = AVS_END_INFRA};
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
    case AVS_JOB_CANCELLED:
        return AVS_TRIAL_CANCELLED;
    case AVS_JOB_HELD:
        return AVS_TRIAL_PAUSED;
    case AVS_JOB_PRUNED:
        return AVS_TRIAL_PRUNED;
    default:
        return AVS_TRIAL_PENDING;
    }
}

static void tell_failure(dispatch_run *r, const avs_action *a, int agent, const char *text)
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
                     r->peers[agent].host, avs_outcome_name(a->outcome), text ? ": " : "", text ? text : "",
                     final ? "; failed" : "; it will be tried again");
}

/* was: of the attempt that ended, as it lived. */
static void record(dispatch_run *r, const avs_action *a, const live_trial *was)
{
    avs_err err = AVS_ERR_INIT;
    avs_store_end end = {.reason = reason_of(a->outcome), .next = store_state(a->state)};
    fill_from_frame(r, a, &end);
    if (was->why) {
        end.message = was->why;
        end.exit_code = was->exit_code;
        end.signal = was->signal;
    }
    if (a->state == AVS_JOB_PRUNED && end.reason != AVS_END_ERROR) end.reason = AVS_END_PRUNED;
    if (a->state == AVS_JOB_HELD && a->outcome == AVS_OUT_STOPPED) end.reason = AVS_END_PAUSED;
    if (a->outcome == AVS_OUT_LOST)
        end.message = r->peers[a->agent].up && was->spans
                          ? "a node of the gang is gone, or has no process of it"
                      : r->peers[a->agent].up ? "its node has no process of it: a message was lost on the way"
                      : a->state == AVS_JOB_FAILED ? "poison: nodes went down under it"
                                                   : "the agent is gone";
    if ((a->outcome == AVS_OUT_ERROR || a->outcome == AVS_OUT_DISTURBED) && !end.message)
        end.message = r->ended_text;
    tell_failure(r, a, was->why ? was->why_agent : a->agent, end.message);
    dispatch_tell_end(r, a, avs_trial_state_name(end.next), end.message);
    if (a->state == AVS_JOB_FAILED) dispatch_asha_over(r, a->trial);
    if (r->db_failed || (a->attempt & AVS_COORD_PROVISIONAL)) return;
    avs_staged *g = avs_staging_find(r->staging, a->agent, a->attempt, a->epoch);
    if (g) avs_staged_fill(g, &end);
    if (avs_store_attempt_end(r->cfg->db, (int64_t)a->attempt, &end, NULL, &err) != AVS_OK)
        dispatch_db_trouble(r, &err);
}

static void act_go(dispatch_run *r, const avs_action *a)
{
    const live_trial *l = dispatch_live(r, a->attempt);
    if (r->peers[a->agent].closed) return;
    dispatch_tell_message(r, a->agent, "GO for attempt %llu", (unsigned long long)a->attempt);
    size_t mark = dispatch_begin(r, a->agent, AVS_M_GO, a->epoch, a->attempt);
    if (l && l->ring) avs_frame_put_str(&r->peers[a->agent].out, AVS_T_RING, l->ring);
    avs_frame_end(&r->peers[a->agent].out, mark);
}

static void act_record(dispatch_run *r, const avs_action *a)
{
    live_trial *l = dispatch_live(r, a->attempt), was = l ? *l : (live_trial){.trial = -1};
    if (l) l->why = NULL;
    drop_live(r, a->attempt);
    record(r, a, &was);
    avs_xfree(was.why);
}

static void act_stop(dispatch_run *r, const avs_action *a, const char *kind)
{
    if (r->peers[a->agent].closed) return;
    avs_buf *out = &r->peers[a->agent].out;
    dispatch_tell_message(r, a->agent, "STOP (%s) for attempt %llu", kind, (unsigned long long)a->attempt);
    size_t mark = dispatch_begin(r, a->agent, AVS_M_STOP, a->epoch, a->attempt);
    avs_frame_put_str(out, AVS_T_REASON, "user");
    avs_frame_put_str(out, AVS_T_KIND, kind);
    avs_frame_end(out, mark);
}

void dispatch_note(dispatch_run *r, char level, const char *host, const char *code, const char *text)
{
    avs_err err = AVS_ERR_INIT;
    avs_progress_say(&r->progress, "%s", text);
    if (!r->db_failed && avs_store_event(r->cfg->db, level, host, 0, code, text, &err) != AVS_OK)
        dispatch_db_trouble(r, &err);
}

static void act_agent(dispatch_run *r, const avs_action *a)
{
    char text[400];
    peer *p = &r->peers[a->agent];
    if (a->type == AVS_ACT_LOST) {
        p->up = false;
        snprintf(text, sizeof text, "node %s is lost; its trials are queued again",
                 p->host[0] ? p->host : "?");
        dispatch_note(r, 'W', p->host, "lost", text);
    } else {
        snprintf(text, sizeof text, "node %s gets no more trials: three of them could not be started there",
                 p->host);
        dispatch_note(r, 'W', p->host, "quarantined", text);
    }
}

static void act_too_big(dispatch_run *r, const avs_action *a)
{
    char name[16], need[192];
    const avs_trial_list *l = r->cfg->list;
    const avs_coord_class *k = &l->classes[avs_coord_class_of(r->coord, a->trial)];
    bool one = k->ranks == 1 || k->pack == AVS_PACK_NODE || k->pack == AVS_PACK_NUMA;
    const char *where = k->pack == AVS_PACK_NUMA     ? " in one NUMA domain"
                        : one                        ? " on one node"
                        : k->pack == AVS_PACK_SPREAD ? ", each on a node of its own"
                                                     : "";
    const char *have = one ? "the largest node has" : "the nodes together have";
    bool gpus = k->gpus > 0 && (a->gpus > 0 || !k->host_ok);
    if (gpus && a->gpus == 0)
        snprintf(need, sizeof need, "%d GPUs%s; no node has one that NVML shows (see 'avsweep doctor')",
                 k->ranks * k->gpus, where);
    else if (gpus && k->ranks * k->gpus > a->gpus)
        snprintf(need, sizeof need, "%d GPUs%s; %s %d", k->ranks * k->gpus, where, have, a->gpus);
    else if (k->ranks * k->cores > a->cores)
        snprintf(need, sizeof need, "%d cores%s; %s %d", k->ranks * k->cores, where, have, a->cores);
    else
        snprintf(need, sizeof need, "%d x (%d GPUs '%s', %d cores, %d MB)%s; %s", k->ranks, k->gpus,
                 k->gpu_model ? k->gpu_model : "any", k->cores, k->mem_mb, where,
                 one ? "no node has that" : "the nodes do not have that");
    avs_progress_say(&r->progress, "error[R006]: trial %s needs %s. Nothing was started.",
                     short_name(r, a->trial, name), need);
}

void dispatch_carry_out(dispatch_run *r, const avs_action *acts, int32_t n)
{
    avs_err err = AVS_ERR_INIT;
    for (int32_t i = 0; i < n; i++) {
        const avs_action *a = &acts[i];
        switch (a->type) {
        case AVS_ACT_START:
            act_start(r, a, n - i);
            break;
        case AVS_ACT_GO:
            act_go(r, a);
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
            dispatch_bare(r, a->agent, AVS_M_ACK, a->epoch, a->attempt);
            avs_staging_drop(r->staging, a->agent, a->attempt, a->epoch);
            break;
        case AVS_ACT_STATE:
            if (!r->db_failed && avs_store_set_state(r->cfg->db, avs_trial_row(r->cfg->list, a->trial),
                                                     store_state(a->state), &err) != AVS_OK)
                dispatch_db_trouble(r, &err);
            break;
        case AVS_ACT_BYE:
            dispatch_bare(r, a->agent, AVS_M_BYE, 0, 0);
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
