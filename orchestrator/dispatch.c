/* See dispatch.h: messages into events, turns of the loop. */
#include "orchestrator/dispatch.h"

#include <errno.h>
#include <math.h>
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
#include "orchestrator/agent_inventory.h"
#include "orchestrator/dispatch_state.h"

#define SECOND INT64_C(1000000000)
enum { TELL_MS = 30000, BEAT_MS = 5000, POINTS_MS = 1000, FAREWELL_MS = 3000, HELLO_MS = 20000 };

int64_t dispatch_now_ms(void)
{
    return avs_now_ns() / 1000000;
}

/* ---- the machine ---- */

void dispatch_step(dispatch_run *r, avs_event ev)
{
    const avs_action *acts = NULL;
    int32_t n = 0;
    ev.now_ms = dispatch_now_ms();
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
    dispatch_carry_out(r, copy, n);
    free(copy);
}

void dispatch_db_trouble(dispatch_run *r, const avs_err *err)
{
    if (r->db_failed) return;
    r->db_failed = true;
    avs_progress_say(&r->progress, "error[D001]: %s", err->msg);
    avs_progress_say(&r->progress,
                     "help: nothing committed is lost; make room or repair, then run the same command again");
}

size_t dispatch_begin(dispatch_run *r, int agent, uint16_t type, uint32_t epoch, uint64_t attempt)
{
    return avs_frame_begin(&r->peers[agent].out, type, epoch, attempt);
}

void dispatch_bare(dispatch_run *r, int agent, uint16_t type, uint32_t epoch, uint64_t attempt)
{
    if (agent < r->n_peers && !r->peers[agent].closed)
        avs_frame_end(&r->peers[agent].out, dispatch_begin(r, agent, type, epoch, attempt));
}

/* ---- messages ---- */

static void take_hello(dispatch_run *r, int agent, const avs_frame *f)
{
    peer *p = &r->peers[agent];
    const char *host = avs_frame_str(f, AVS_T_HOST, r->frame),
               *version = avs_frame_str(f, AVS_T_VERSION, r->frame);
    snprintf(p->host, sizeof p->host, "%s", host ? host : "?");
    if (!version || strcmp(version, AVS_VERSION) != 0) {
        char text[400];
        snprintf(text, sizeof text, "node %s runs avsweep %s, this is %s: it is left out", p->host,
                 version ? version : "?", AVS_VERSION);
        dispatch_note(r, 'E', p->host, "version", text);
        dispatch_bare(r, agent, AVS_M_BYE, 0, 0);
        dispatch_step(r, (avs_event){.type = AVS_EV_AGENT_DOWN, .agent = agent});
        return;
    }
    size_t mark = dispatch_begin(r, agent, AVS_M_WELCOME, 0, 0);
    avs_frame_put_str(&p->out, AVS_T_ROOT, r->cfg->list->root);
    avs_frame_end(&p->out, mark);
    p->up = true;
    avs_node_info info;
    avs_gpu_inventory gpus;
    agent_inventory_read(f, &info, &gpus);
    if (gpus.n > 0 && !p->gpus && !(p->gpus = avs_xrealloc(NULL, sizeof gpus))) {
        r->failed = true;
        avs_fail(&r->err, AVS_ENOMEM, "the coordinator is out of memory");
        return;
    }
    if (p->gpus) *p->gpus = gpus;
    dispatch_tell_message(r, agent, "HELLO: %d cores in %d NUMA domains, %d MB, %d GPUs", info.cores,
                          info.n_numa > 1 ? info.n_numa : 1, info.mem_mb, info.n_gpus);
    dispatch_step(r, (avs_event){.type = AVS_EV_AGENT_UP, .agent = agent, .node = &info});
}

/* A latency trial that is done: what the agent saw of its node joins the samples. Suspect ones count as disturbed. */
static int64_t judge_latency(dispatch_run *r, avs_staged *g, const avs_frame *f)
{
    enum { SUSPECT = AVS_LAT_DRIFT | AVS_LAT_SHARED | AVS_LAT_THROTTLED };
    int flags = avs_staged_disturbed(g, (int)avs_frame_i64(f, AVS_T_FLAGS, 0),
                                     avs_frame_str(f, AVS_T_JSON, r->frame));
    if (!(flags & SUSPECT)) return AVS_OUT_DONE;
    r->ended_text =
        avs_arena_fmt(r->frame, "the latency is suspect:%s%s%s", flags & AVS_LAT_SHARED ? " shared" : "",
                      flags & AVS_LAT_THROTTLED ? " throttled" : "", flags & AVS_LAT_DRIFT ? " drift" : "");
    return AVS_OUT_DISTURBED;
}

/* Of a gang on several nodes the first end that tells a cause is kept: other nodes follow it. */
static void keep_cause(dispatch_run *r, live_trial *l, int agent, const avs_frame *f, int64_t outcome)
{
    bool follows = outcome == AVS_OUT_DONE || outcome == AVS_OUT_KILLED || outcome == AVS_OUT_STOPPED;
    if (!l || !l->spans || l->why || follows || l->epoch != f->epoch) return;
    const size_t n = r->ended_text ? strlen(r->ended_text) : 0;
    l->why = avs_xalloc(n + 1);
    if (l->why && n > 0) memcpy(l->why, r->ended_text, n);
    l->why_agent = agent;
    l->exit_code = (int)avs_frame_i64(f, AVS_T_CODE, -1);
    l->signal = (int)avs_frame_i64(f, AVS_T_SIGNAL, 0);
}

static void take_ended(dispatch_run *r, int agent, const avs_frame *f)
{
    const char *hex = avs_frame_str(f, AVS_T_TRIAL, r->frame);
    int64_t o = avs_frame_i64(f, AVS_T_OUTCOME, AVS_OUT_CRASH);
    live_trial *l = dispatch_live(r, f->attempt);
    avs_staged *g = avs_staging_find(r->staging, agent, f->attempt, f->epoch);
    char own[65];
    int32_t trial = l && hex && strcmp(avs_trial_hex(r->cfg->list, l->trial, own), hex) == 0 ? l->trial
                    : hex ? avs_trial_list_find(r->cfg->list, hex)
                          : -1;
    if (o < 0 || o >= AVS_OUT_COUNT) o = AVS_OUT_CRASH;
    r->ended = f;
    r->peers[agent].ended_ns = r->cfg->samples ? avs_now_ns() : 0;
    r->peers[agent].started = false;
    r->ended_agent = agent;
    r->ended_text = avs_frame_str(f, AVS_T_TEXT, r->frame);
    if (o == AVS_OUT_DONE && g && avs_staged_bad(g)) {
        o = AVS_OUT_ERROR;
        r->ended_text = avs_staged_bad(g);
    } else if (o == AVS_OUT_DONE && g && trial >= 0 &&
               strcmp(r->cfg->list->at[trial].trial->config->kind, "latency") == 0) {
        o = judge_latency(r, g, f);
    }
    keep_cause(r, l, agent, f, o);
    dispatch_step(r, (avs_event){.type = AVS_EV_ENDED,
                                 .agent = agent,
                                 .trial = trial,
                                 .attempt = f->attempt,
                                 .epoch = f->epoch,
                                 .outcome = (avs_outcome)o,
                                 .follower = avs_frame_i64(f, AVS_T_FIRST, 0) > 0,
                                 .text_hash = r->ended_text ? avs_fnv1a64_str(r->ended_text) : 0});
    r->ended = NULL;
    r->ended_text = NULL;
}

static void store_points(dispatch_run *r, live_trial *l, bool now)
{
    avs_err err = AVS_ERR_INIT;
    size_t n = 0;
    int64_t ms = dispatch_now_ms();
    avs_staged *g = avs_staging_find(r->staging, l->agent, l->attempt, l->epoch);
    if (!g || r->db_failed || (!now && ms - l->points_ms < POINTS_MS)) return;
    const avs_store_point *p = avs_staged_points(g, &n);
    l->points_ms = ms;
    if (n == 0) return;
    if (avs_store_points(r->cfg->db, (int64_t)l->attempt, p, n, &err) != AVS_OK) dispatch_db_trouble(r, &err);
    avs_staged_points_stored(g);
}

static void take_trial_frame(dispatch_run *r, int agent, const avs_frame *f)
{
    live_trial *l = dispatch_live(r, f->attempt);
    if (f->type == AVS_F_PROGRESS) {
        if (!l) return;
        char hex[65];
        snprintf(r->progress.running, sizeof r->progress.running, "%.6s step %lld/%lld",
                 avs_trial_hex(r->cfg->list, l->trial, hex), (long long)avs_frame_i64(f, AVS_T_STEP, 0),
                 (long long)avs_frame_i64(f, AVS_T_STEPS, 0));
        return;
    }
    if (avs_staging_add(r->staging, agent, f, &r->err) != AVS_OK) {
        r->failed = true;
        return;
    }
    if (f->type != AVS_F_POINT || !l || l->agent != agent || l->epoch != f->epoch) return;
    int32_t trial = l->trial;
    store_points(r, l, false);
    if (r->asha)
        dispatch_asha_point(r, trial, avs_frame_str(f, AVS_T_NAME, r->frame), avs_frame_i64(f, AVS_T_STEP, 0),
                            avs_frame_f64(f, AVS_T_VALUE, NAN));
}

static void take_beat(dispatch_run *r, int agent, const avs_frame *f)
{
    size_t n = 0;
    const uint8_t *p = avs_frame_get(f, AVS_T_HELD, &n);
    if (!p) n = 0;
    n /= AVS_HELD_BYTES;
    avs_held *held = AVS_NEW_N(r->frame, avs_held, n + 1);
    if (!held) return; /* the next beat tells the same */
    for (size_t k = 0; k < n; k++, p += AVS_HELD_BYTES) {
        uint32_t flags;
        memcpy(&held[k].attempt, p, 8);
        memcpy(&held[k].epoch, p + 8, 4);
        memcpy(&flags, p + 12, 4);
        const live_trial *l = dispatch_live(r, held[k].attempt);
        bool tells_more =
            l && l->spans && l->agent == agent; /* its READY, said again with every beat, counts */
        held[k].ready = (flags & AVS_HELD_READY) != 0 && !tells_more;
        held[k].going = (flags & AVS_HELD_GOING) != 0;
    }
    dispatch_step(r, (avs_event){.type = AVS_EV_BEAT,
                                 .agent = agent,
                                 .heard_ms = avs_frame_i64(f, AVS_T_HEARD_MS, 0),
                                 .held = held,
                                 .n_held = (int32_t)n});
}

/* Where rank 0 lets ranks of other nodes in goes with GO. */
static void take_ready(dispatch_run *r, int agent, const avs_frame *f)
{
    live_trial *l = dispatch_live(r, f->attempt);
    size_t n = 0;
    const uint8_t *ring = avs_frame_get(f, AVS_T_RING, &n);
    if (l && l->spans && l->agent == agent && l->epoch == f->epoch && ring && n < AVS_FRAME_RING &&
        !l->ring) {
        l->ring = avs_xalloc(n + 1);
        if (!l->ring) return; /* said again at the next beat */
        memcpy(l->ring, ring, n);
    }
    dispatch_step(
        r, (avs_event){.type = AVS_EV_READY, .agent = agent, .attempt = f->attempt, .epoch = f->epoch});
}

static void drain(dispatch_run *r, int signal)
{
    if (r->draining) return;
    r->draining = true;
    avs_progress_say(&r->progress, "%s: running trials write a checkpoint and stop; the same command resumes",
                     signal == SIGINT ? "interrupted" : "asked to stop");
    dispatch_step(r, (avs_event){.type = AVS_EV_DRAIN});
}

static void take(dispatch_run *r, int agent, const avs_frame *f)
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
    case AVS_M_STARTED:
        if (r->cfg->samples && r->cfg->samples->spawned) dispatch_sample(r, &r->peers[agent]);
        break;
    case AVS_M_READY:
        take_ready(r, agent, f);
        break;
    case AVS_M_SIGNAL:
        drain(r, (int)avs_frame_i64(f, AVS_T_CODE, SIGTERM));
        break;
    case AVS_M_BYE:
        r->peers[agent].said_bye = true;
        break;
    case AVS_M_BEAT:
        if (!r->finished) take_beat(r, agent, f);
        break;
    default:
        break;
    }
}

static void agent_gone(dispatch_run *r, int agent)
{
    if (r->peers[agent].closed) return;
    r->peers[agent].closed = true;
    avs_buf_clear(&r->peers[agent].out);
    if (!r->finished) dispatch_step(r, (avs_event){.type = AVS_EV_AGENT_DOWN, .agent = agent});
}

static void heard(dispatch_run *r, int agent, const void *data, size_t n)
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
        dispatch_step(r, (avs_event){.type = AVS_EV_SEEN, .agent = agent});
    }
}

/* A link speaks of its own peers; its first agent's number tells them apart. */
typedef struct {
    dispatch_run *r;
    int first;
} listener;

static void heard_on(void *ctx, int peer_id, const void *data, size_t n)
{
    const listener *l = ctx;
    heard(l->r, l->first + peer_id, data, n);
}

static bool poll_links(dispatch_run *r)
{
    listener l = {r, 0};
    for (int k = 0; k < r->cfg->n_links && !r->failed; k++) {
        avs_transport *t = r->cfg->links[k];
        if (t->poll(t, heard_on, &l, &r->err) != AVS_OK) r->failed = true;
        l.first += t->n_peers;
    }
    return !r->failed;
}

/* ---- a turn ---- */

void dispatch_sample(dispatch_run *r, peer *p)
{
    avs_dispatch_samples *s = r->cfg->samples;
    if (p->ended_ns && p->started && s->n < s->cap) s->ns[s->n++] = avs_now_ns() - p->ended_ns;
    p->ended_ns = 0;
}

/* One transaction for all of the turn, then the word to the agents. A flush that fails takes back everything of the
 * turn: starts are as if they never were, results stay with the agents. */
static void settle(dispatch_run *r)
{
    avs_err err = AVS_ERR_INIT;
    while (!r->failed) {
        bool was_failed = r->db_failed;
        if (!was_failed && avs_store_unflushed(r->cfg->db) > 0) {
            bool slow = avs_store_group_ns(r->cfg->db) > 5000000;
            if (slow && avs_store_unflushed_ns(r->cfg->db) < avs_store_group_ns(r->cfg->db) && !r->finished)
                return;
            if (avs_store_flush(r->cfg->db, &err) != AVS_OK) dispatch_db_trouble(r, &err);
        }
        if (r->db_failed && !r->db_told) {
            r->draining = r->db_told = true;
            for (int i = 0; i < r->n_peers; i++) avs_buf_clear(&r->peers[i].out);
            dispatch_step(r, (avs_event){.type = AVS_EV_DB_FAILED});
        }
        if (r->n_pending == 0) break;
        int n = r->n_pending;
        avs_action *done = r->pending;
        r->pending = NULL;
        r->n_pending = r->cap_pending = 0;
        for (int i = 0; i < n; i++) {
            bool is_start = done[i].type == AVS_ACT_START;
            avs_event ev = {.type = AVS_EV_COMMITTED, .trial = done[i].trial, .attempt = done[i].attempt};
            if (!is_start && !r->db_failed) {
                dispatch_tell_end(r, &done[i], "done", NULL);
                dispatch_asha_over(r, done[i].trial);
            }
            if (is_start) { /* matters only when the database failed: then its START never left */
                ev.type = AVS_EV_ENDED;
                ev.agent = done[i].agent;
                ev.epoch = done[i].epoch;
                ev.outcome = AVS_OUT_KILLED;
            }
            if (r->db_failed == is_start) dispatch_step(r, ev);
        }
        free(done);
    }
    for (int i = 0; i < r->n_peers && !r->failed; i++) {
        peer *p = &r->peers[i];
        if (p->out.len == 0) continue;
        if (!avs_buf_ok(&p->out)) {
            r->failed = true;
            avs_fail(&r->err, AVS_ENOMEM, "the coordinator is out of memory");
        } else if (!p->closed && p->link->send(p->link, p->at, p->out.data, p->out.len, &r->err) != AVS_OK) {
            r->failed = true;
        }
        if (r->cfg->samples && !r->cfg->samples->spawned) dispatch_sample(r, p);
        avs_buf_clear(&p->out);
    }
}

static void take_signals(dispatch_run *r)
{
    struct signalfd_siginfo si;
    while (read(r->signals, &si, sizeof si) == (ssize_t)sizeof si) {
        int s = (int)si.ssi_signo;
        if (r->draining && (s == SIGINT || s == SIGTERM)) {
            avs_progress_say(&r->progress, "interrupted again: running trials are killed");
            dispatch_step(r, (avs_event){.type = AVS_EV_KILL});
        } else {
            drain(r, s);
        }
    }
}

static int64_t wait_ns(dispatch_run *r)
{
    int64_t now = dispatch_now_ms(), until = r->beat_ms;
    int64_t next = avs_coord_next_ms(r->coord), draw = avs_progress_next(&r->progress);
    if (next < until) until = next;
    if (draw < until) until = draw;
    if (r->wish_ms < until) until = r->wish_ms;
    int64_t ns = until > now ? (until - now) * 1000000 : 0;
    if (avs_store_unflushed(r->cfg->db) > 0 && !r->db_failed) {
        int64_t left = avs_store_group_ns(r->cfg->db) - avs_store_unflushed_ns(r->cfg->db);
        if (left < ns) ns = left > 0 ? left : 0;
    }
    for (int k = 0; k < r->cfg->n_links; k++)
        if (r->cfg->links[k]->wait_ns < ns) ns = r->cfg->links[k]->wait_ns;
    return ns;
}

/* One per link that has a descriptor, then the signals. */
static int fill_fds(dispatch_run *r)
{
    int n = 0;
    for (int k = 0; k < r->cfg->n_links; k++) {
        const avs_transport *t = r->cfg->links[k];
        if (t->fd >= 0)
            r->fds[n++] = (struct pollfd){t->fd, (short)(POLLIN | (t->want_write ? POLLOUT : 0)), 0};
    }
    r->fds[n++] = (struct pollfd){r->signals, POLLIN, 0};
    return n;
}

static void turn(dispatch_run *r)
{
    int64_t ns = wait_ns(r);
    struct timespec ts = {ns / SECOND, ns % SECOND};
    if (ppoll(r->fds, (nfds_t)fill_fds(r), &ts, NULL) < 0 && errno != EINTR) {
        r->failed = true;
        avs_fail(&r->err, AVS_EIO, "ppoll: %s", strerror(errno));
        return;
    }
    take_signals(r);
    if (r->failed || !poll_links(r)) return;
    int64_t now = dispatch_now_ms();
    if (now >= avs_coord_next_ms(r->coord) && !r->finished)
        dispatch_step(r, (avs_event){.type = AVS_EV_TICK});
    if (now >= r->beat_ms) {
        r->beat_ms = now + BEAT_MS;
        avs_lease_touch(r->cfg->lease);
        for (int i = 0; i < r->n_peers; i++) {
            if (!r->peers[i].up || r->peers[i].closed) continue;
            size_t mark = dispatch_begin(r, i, AVS_M_BEAT, 0, 0);
            avs_frame_put_i64(&r->peers[i].out, AVS_T_HEARD_MS, now);
            avs_frame_end(&r->peers[i].out, mark);
        }
    }
    if (!r->finished && !r->failed) dispatch_wishes(r, now);
    settle(r);
    avs_coord_counts c = avs_coord_count(r->coord);
    avs_progress_show(&r->progress, &c, now, false);
    if (now >= r->tell_ms) { /* a turn comes with every beat at the latest */
        r->tell_ms = now + TELL_MS;
        dispatch_tell_counts(r, "progress");
    }
}

/* Every agent gets its BYE and a moment to say its own, also one whose HELLO is still under way: MPI_Finalize would
 * wait for it for ever. */
static void farewell(dispatch_run *r)
{
    int64_t begin_ms = dispatch_now_ms();
    for (;;) {
        bool all = true, early = false;
        settle(r);
        for (int i = 0; i < r->n_peers; i++) {
            const peer *p = &r->peers[i];
            bool counts = !p->closed && !p->said_bye && (p->up || (p->link->fd < 0 && !p->host[0]));
            all &= !counts;
            early |= counts && !p->up;
        }
        if (all || r->failed || dispatch_now_ms() - begin_ms >= (early ? HELLO_MS : FAREWELL_MS)) break;
        const struct timespec ts = {0, 2000000};
        ppoll(r->fds, (nfds_t)fill_fds(r) - 1, &ts, NULL);
        (void)poll_links(r);
    }
    r->lost = 0;
    for (int i = 0; i < r->n_peers; i++) r->lost += r->peers[i].link->fd < 0 && !r->peers[i].said_bye;
}

static void free_run(dispatch_run *r)
{
    for (int i = 0; i < r->n_peers && r->peers; i++) {
        avs_frame_reader_free(&r->peers[i].in);
        avs_buf_free(&r->peers[i].out);
        free(r->peers[i].gpus);
    }
    avs_id_free(&r->by_attempt);
    avs_id_free(&r->by_row);
    dispatch_asha_free(r);
    free(r->peers);
    free(r->fds);
    for (int i = 0; i < r->n_live; i++) {
        avs_xfree(r->live[i].ring);
        avs_xfree(r->live[i].why);
    }
    free(r->live);
    free(r->pending);
    avs_coord_free(r->coord);
    avs_staging_free(r->staging);
    if (r->signals >= 0) close(r->signals);
}

static bool name_peers(dispatch_run *r)
{
    int n = 0;
    for (int k = 0; k < r->cfg->n_links; k++) n += r->cfg->links[k]->n_peers;
    r->peers = avs_xrealloc(NULL, sizeof *r->peers * (size_t)(n + 1));
    r->fds = avs_xrealloc(NULL, sizeof *r->fds * (size_t)(r->cfg->n_links + 1));
    if (!r->peers || !r->fds) return false;
    for (int k = 0; k < r->cfg->n_links; k++)
        for (int j = 0; j < r->cfg->links[k]->n_peers; j++)
            r->peers[r->n_peers++] = (peer){.link = r->cfg->links[k], .at = j};
    return true;
}

int avs_dispatch(const avs_dispatch_cfg *cfg, avs_dispatch_result *out, avs_err *e)
{
    dispatch_run r = {.cfg = cfg, .signals = -1};
    sigset_t set;
    sigemptyset(&set);
    for (const int *s = (const int[]){SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGHUP, 0}; *s; s++)
        sigaddset(&set, *s);
    int rc = avs_coord_new(&r.coord, &cfg->coord, cfg->list->classes, cfg->list->n_classes, cfg->list->coord,
                           cfg->list->n, e);
    r.staging = avs_staging_new();
    if (rc == AVS_OK && (!r.staging || !name_peers(&r)))
        rc = avs_fail(e, AVS_ENOMEM, "no memory for the coordinator");
    if (rc == AVS_OK && (r.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        rc = avs_fail(e, AVS_EIO, "signalfd: %s", strerror(errno));
    if (rc == AVS_OK) {
        avs_progress_begin(&r.progress, STDERR_FILENO, cfg->quiet, dispatch_now_ms());
        r.beat_ms = dispatch_now_ms() + BEAT_MS;
        dispatch_held(&r);
        dispatch_asha_begin(&r);
        avs_trial_list_told(cfg->list);
        dispatch_wishes(&r, dispatch_now_ms());
        dispatch_step(&r, (avs_event){.type = AVS_EV_TICK});
        while (!r.finished && !r.failed) turn(&r);
        farewell(&r);
        avs_coord_counts c = avs_coord_count(r.coord);
        avs_progress_show(&r.progress, &c, dispatch_now_ms(), true);
        avs_progress_end(&r.progress);
        dispatch_tell_counts(&r, "run");
        *out = (avs_dispatch_result){.code = r.code, .lost_agents = r.lost, .counts = c};
        if (r.failed) {
            rc = r.err.code != AVS_OK ? (int)r.err.code : AVS_ENOMEM;
            if (e) *e = r.err;
        }
    }
    free_run(&r);
    return rc;
}
