/* The event loop of an agent: one ppoll over the coordinator, the spawner, signals and the sockets of the trials. */
#include "orchestrator/agent.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>
#include "avs_version.h"
#include "base/arena.h"
#include "base/fault.h"
#include "orchestrator/agent_inventory.h"
#include "orchestrator/agent_trial.h"
#include "orchestrator/spool.h"

#define SECOND INT64_C(1000000000)
enum { QUIET_WAIT_S = 10, BEAT_S = 5, SILENCE_S = 600, FAREWELL_MS = 2000, QUIET_NS = 100000000 };

typedef struct {
    avs_transport *net;
    avs_spawner *spawner;
    avs_agent_cfg cfg;
    char root[2048], spool_dir[2100];
    agent_trial **trial;
    int n, cap;
    agent_inventory inv;
    cpu_set_t busy; /* of inv.all */
    uint64_t next_process;
    long long memory_kills;
    avs_frame_reader in;
    avs_buf out;                         /* for the coordinator, sent once per turn */
    int64_t beat_ns, heard_ns, heard_ms; /* heard_ms: the coordinator's time in its last beat */
    bool bye, gone, spawner_gone;
} agent;

void avs_agent_host(char *out, size_t n)
{
    if (gethostname(out, n) != 0) snprintf(out, n, "localhost");
    out[n - 1] = '\0';
    size_t at = strlen(out);
    if (avs_launch_emulates_nodes()) snprintf(out + at, n - at, "-r%d", avs_launch_read().rank);
}

/* n free cores, those of the domain first. Fewer than n are free (cores were given twice): unbound. */
static void choose_cores(agent *g, agent_rank *r, int domain)
{
    int n = r->cores;
    CPU_ZERO(&r->cpus);
    for (int pass = 0; pass < 2; pass++)
        for (int c = 0; c < CPU_SETSIZE && n > 0; c++) {
            bool near = domain >= 0 && domain < g->inv.n_numa && CPU_ISSET(c, &g->inv.numa[domain]);
            if (near != (pass == 0) || !CPU_ISSET(c, &g->inv.all) || CPU_ISSET(c, &g->busy) ||
                CPU_ISSET(c, &r->cpus))
                continue;
            CPU_SET(c, &r->cpus);
            n--;
        }
    if (n > 0) CPU_ZERO(&r->cpus);
    CPU_OR(&g->busy, &g->busy, &r->cpus);
}

static agent_trial *find(const agent *g, uint64_t attempt)
{
    for (int i = 0; i < g->n; i++)
        if (g->trial[i]->attempt == attempt) return g->trial[i];
    return NULL;
}

static agent_trial *find_process(const agent *g, uint64_t id)
{
    for (int i = 0; i < g->n; i++)
        if (id - g->trial[i]->spawn_id < (uint64_t)g->trial[i]->n) return g->trial[i];
    return NULL;
}

static void forget(agent *g, agent_trial *t)
{
    for (int k = 0; k < t->n; k++) CPU_XOR(&g->busy, &g->busy, &t->rank[k].cpus);
    for (int i = 0; i < g->n; i++)
        if (g->trial[i] == t) {
            g->trial[i] = g->trial[--g->n];
            break;
        }
    agent_trial_free(t);
    free(t);
}

/* A no-op without a process: its result and its end at once. */
static void answer_inline(agent *g, const agent_trial *t)
{
    size_t mark = avs_frame_begin(&g->out, AVS_M_ENDED, t->epoch, t->attempt);
    avs_frame_put_str(&g->out, AVS_T_TRIAL, t->trial);
    avs_frame_put_i64(&g->out, AVS_T_OUTCOME, AVS_OUT_DONE);
    avs_frame_put_i64(&g->out, AVS_T_CODE, 0);
    avs_frame_end(&g->out, mark);
}

static bool room_for_one(agent *g)
{
    if (g->n < g->cap) return true;
    int cap = g->cap ? 2 * g->cap : 16;
    agent_trial **at = avs_xrealloc(g->trial, sizeof(agent_trial *) * (size_t)cap);
    if (!at) return false;
    g->trial = at;
    g->cap = cap;
    return true;
}

static double quiet_wait_s(void)
{
    const char *v = getenv("AVSWEEP_QUIET_WAIT");
    char *end = NULL;
    double s = v ? strtod(v, &end) : QUIET_WAIT_S;
    return v && (end == v || *end || !(s >= 0 && s < 1e6)) ? QUIET_WAIT_S : s;
}

static void begin(agent *g, agent_trial *t, const avs_frame *f)
{
    avs_err err = AVS_ERR_INIT;
    if (agent_trial_start(t, g->spawner, g->cfg.program, f, &err) == AVS_OK) return;
    agent_trial_never(t, err.msg, &g->out);
    forget(g, t);
}

static void start(agent *g, const avs_frame *f)
{
    avs_err err = AVS_ERR_INIT;
    agent_trial now;
    if (find(g, f->attempt)) return; /* said twice */
    int rc = agent_trial_read_start(&now, f, &err);
    bool is_inline = rc == AVS_OK && (avs_frame_i64(f, AVS_T_FLAGS, 0) & AVS_START_INLINE) != 0;
    agent_trial *t = rc == AVS_OK && !is_inline && room_for_one(g) ? avs_xrealloc(NULL, sizeof *t) : NULL;
    if (!t) {
        if (is_inline)
            answer_inline(g, &now);
        else
            agent_trial_never(&now, rc == AVS_OK ? "the agent is out of memory" : err.msg, &g->out);
        agent_trial_free(&now);
        return;
    }
    *t = now;
    t->spawn_id = g->next_process;
    t->memory_kills = &g->memory_kills;
    t->gpus = &g->inv.gpus;
    g->next_process += (uint64_t)t->n;
    size_t n = 0;
    const uint8_t *place = avs_frame_get(f, AVS_T_PLACES, &n);
    for (int k = 0; k < t->n; k++) {
        int32_t domain = -1;
        if (place) memcpy(&domain, place + (size_t)12 * (size_t)k + 8, sizeof domain);
        choose_cores(g, &t->rank[k], domain);
    }
    g->trial[g->n++] = t;
    if (t->quiet) {
        bool on_gpu = false;
        for (int k = 0; k < t->n; k++) on_gpu |= t->rank[k].gpus != 0;
        avs_buf_put(&t->start, f->body, f->len);
        avs_quiet_begin(&t->watch, "", quiet_wait_s(), on_gpu, avs_now_ns());
        t->waiting = avs_buf_ok(&t->start);
    }
    if (!t->waiting) begin(g, t, f);
}

/* Quiet trials: those that wait may start, those that run are watched. */
static void look_around(agent *g, int64_t now)
{
    for (int i = g->n - 1; i >= 0; i--) {
        agent_trial *t = g->trial[i];
        if (!agent_trial_look(t, now)) continue;
        const avs_frame f = {AVS_M_START, t->epoch, t->attempt, (const uint8_t *)t->start.data, t->start.len};
        t->waiting = false;
        t->start_ns = t->progress_ns = t->look_ns = now;
        begin(g, t, &f);
    }
}

static void stop(agent *g, agent_trial *t, bool kill)
{
    if (!t->waiting) {
        agent_trial_stop(t, g->spawner, "user", kill);
        return;
    }
    agent_trial_cancel(t, kill, &g->out);
    forget(g, t);
}

static void take(agent *g, const avs_frame *f)
{
    agent_trial *t;
    size_t n = 0;
    const uint8_t *p;
    switch (f->type) {
    case AVS_M_WELCOME:
        p = avs_frame_get(f, AVS_T_ROOT, &n);
        if (p && n < sizeof g->root) {
            memcpy(g->root, p, n);
            g->root[n] = '\0';
            snprintf(g->spool_dir, sizeof g->spool_dir, "%s/spool", g->root);
        }
        break;
    case AVS_M_START:
        if (!avs_fault_drops("start")) start(g, f);
        break;
    case AVS_M_GO:
        t = find(g, f->attempt);
        if (t && t->epoch == f->epoch && !avs_fault_drops("go")) agent_trial_go(t, f);
        break;
    case AVS_M_STOP:
        t = find(g, f->attempt);
        p = avs_frame_get(f, AVS_T_KIND, &n);
        if (t && t->epoch == f->epoch && !avs_fault_drops("stop"))
            stop(g, t, p && n == 4 && memcmp(p, "kill", 4) == 0);
        break;
    case AVS_M_ACK:
        if (g->spool_dir[0]) avs_spool_drop(g->spool_dir, f->attempt, f->epoch);
        break;
    case AVS_M_BYE:
        g->bye = true;
        break;
    case AVS_M_BEAT:
        g->heard_ms = avs_frame_i64(f, AVS_T_HEARD_MS, 0);
        break;
    default:
        break;
    }
}

static void heard(void *ctx, int peer, const void *data, size_t n)
{
    agent *g = ctx;
    (void)peer;
    if (!data) {
        g->gone = true;
        return;
    }
    g->heard_ns = avs_now_ns();
    avs_frame_feed(&g->in, data, n);
    avs_frame f;
    avs_err err = AVS_ERR_INIT;
    bool got = false;
    int rc;
    while ((rc = avs_frame_next(&g->in, &f, &got, &err)) == AVS_OK && got) take(g, &f);
    if (rc != AVS_OK) {
        avs_log_line(&g->cfg.log, AVS_LOG_E, "the coordinator sent a broken frame: %s", err.msg);
        g->gone = true;
    }
}

static void note(agent *g, uint16_t type, int64_t code)
{
    size_t mark = avs_frame_begin(&g->out, type, 0, 0);
    if (code) avs_frame_put_i64(&g->out, AVS_T_CODE, code);
    avs_frame_end(&g->out, mark);
}

static void beat(agent *g)
{
    avs_buf held = AVS_BUF_INIT;
    for (int i = 0; i < g->n; i++) {
        const agent_trial *t = g->trial[i];
        agent_trial_ready(t, &g->out); /* again, in case it was lost */
        avs_buf_u64(&held, t->attempt);
        avs_buf_u32(&held, t->epoch);
        avs_buf_u32(&held, (t->ready_said ? AVS_HELD_READY : 0U) | (t->going ? AVS_HELD_GOING : 0U));
    }
    size_t mark = avs_frame_begin(&g->out, AVS_M_BEAT, 0, 0);
    avs_frame_put_i64(&g->out, AVS_T_HEARD_MS, g->heard_ms);
    avs_frame_put(&g->out, AVS_T_HELD, held.data, held.len);
    avs_frame_end(&g->out, mark);
    if (!avs_buf_ok(&held)) g->out.failed = true;
    avs_buf_free(&held);
}

static void process_over(agent *g, agent_trial *t, const avs_spawn_report *r)
{
    avs_err err = AVS_ERR_INIT;
    int64_t now = avs_now_ns();
    agent_trial_read(t, g->spawner, &g->out, now);
    size_t from = g->out.len;
    if (!agent_trial_rank_gone(t, g->spawner, (int)(r->id - t->spawn_id), r, &g->out, now)) return;
    if (t->outcome == AVS_OUT_DONE && t->first_rank == 0 && g->spool_dir[0]) {
        avs_buf_put(&t->spool, g->out.data + from, g->out.len - from);
        if (avs_buf_ok(&t->spool) &&
            avs_spool_put(g->spool_dir, t->attempt, t->epoch, &t->spool, &err) != AVS_OK)
            avs_log_line(&g->cfg.log, AVS_LOG_W, "result not spooled: %s", err.msg);
    }
    forget(g, t);
}

static void take_reports(agent *g)
{
    avs_spawn_report r;
    int k;
    while ((k = avs_spawner_next(g->spawner, &r)) == 1) {
        agent_trial *t = find_process(g, r.id);
        if (!t) continue;
        if (r.what != AVS_SPAWN_STARTED) {
            process_over(g, t, &r);
            continue;
        }
        t->rank[r.id - t->spawn_id].pid = r.pid;
        size_t mark = avs_frame_begin(&g->out, AVS_M_STARTED, t->epoch, t->attempt);
        avs_frame_put_i64(&g->out, AVS_T_PID, r.pid);
        avs_frame_end(&g->out, mark);
    }
    if (k < 0) g->spawner_gone = true;
}

static void offer(void *ctx, const void *frames, size_t n)
{
    agent *g = ctx;
    avs_buf_put(&g->out, frames, n);
}

static int say_hello(agent *g, avs_err *e)
{
    char host[256];
    int bad = 0;
    avs_agent_host(host, sizeof host);
    agent_inventory_take(&g->inv, g->cfg.cores);
    g->memory_kills = agent_memory_kills();
    if (g->inv.gpu_fault[0])
        avs_log_line(&g->cfg.log, AVS_LOG_W, "a GPU of this node is left out: %s", g->inv.gpu_fault);
    /* First what an earlier run left, so that nothing of it is started again. */
    if (g->cfg.offer_spool && g->spool_dir[0]) {
        int rc = avs_spool_each(g->spool_dir, offer, g, &bad, e);
        if (rc != AVS_OK) return rc;
        if (bad)
            avs_log_line(&g->cfg.log, AVS_LOG_W, "%d damaged spool files put aside in %s", bad, g->spool_dir);
    }
    size_t mark = avs_frame_begin(&g->out, AVS_M_HELLO, 0, 0);
    avs_frame_put_str(&g->out, AVS_T_HOST, host);
    agent_inventory_put(&g->inv, &g->out);
    avs_frame_put_str(&g->out, AVS_T_VERSION, AVS_VERSION);
    avs_frame_put_i64(&g->out, AVS_T_PID, getpid());
    avs_frame_end(&g->out, mark);
    return AVS_OK;
}

static int send_out(agent *g, avs_err *e)
{
    if (g->out.len == 0) return AVS_OK;
    if (!avs_buf_ok(&g->out)) return avs_fail(e, AVS_ENOMEM, "the agent is out of memory");
    int rc = g->net->send(g->net, 0, g->out.data, g->out.len, e);
    avs_buf_clear(&g->out);
    return rc;
}

/* Waits for the next thing to happen; pollfds: coordinator, spawner, signals, then one per trial. */
static int wait_turn(agent *g, int signals, struct pollfd **fds, int *cap, avs_err *e)
{
    int64_t now = avs_now_ns(), until = g->beat_ns;
    bool quiet = false;
    struct pollfd *p = *fds;
    int n_ranks = 0, at_fd = 3;
    for (int i = 0; i < g->n; i++) n_ranks += g->trial[i]->n;
    if (!p || *cap < n_ranks + 3) {
        int want = 2 * n_ranks + 16;
        p = avs_xrealloc(*fds, sizeof *p * (size_t)want);
        if (!p) return avs_fail(e, AVS_ENOMEM, "the agent is out of memory");
        *fds = p;
        *cap = want;
    }
    p[0] = (struct pollfd){g->net->fd, (short)(POLLIN | (g->net->want_write ? POLLOUT : 0)), 0};
    p[1] = (struct pollfd){g->spawner->fd, POLLIN, 0};
    p[2] = (struct pollfd){signals, POLLIN, 0};
    for (int i = 0; i < g->n; i++) {
        agent_trial *t = g->trial[i];
        int64_t at = agent_trial_limits(t, g->spawner, now);
        if (at < until) until = at;
        quiet |= t->quiet;
        for (int k = 0; k < t->n; k++) {
            const agent_rank *r = &t->rank[k];
            p[at_fd++] = (struct pollfd){r->fd, (short)(POLLIN | (r->out.len ? POLLOUT : 0)), 0};
        }
    }
    int64_t ns = until > now ? until - now : 0, most = g->net->wait_ns;
    if (quiet && most < QUIET_NS) most = QUIET_NS; /* a latency run wants silence more than we want speed */
    if (ns > most) ns = most;
    struct timespec ts = {ns / SECOND, ns % SECOND};
    if (ppoll(p, (nfds_t)at_fd, &ts, NULL) < 0 && errno != EINTR)
        return avs_fail(e, AVS_EIO, "ppoll: %s", strerror(errno));
    return AVS_OK;
}

static int one_turn(agent *g, int signals, struct pollfd **fds, int *cap, avs_err *e)
{
    int rc = wait_turn(g, signals, fds, cap, e);
    if (rc != AVS_OK) return rc;
    int64_t now = avs_now_ns();
    struct signalfd_siginfo si;
    while (read(signals, &si, sizeof si) == (ssize_t)sizeof si) note(g, AVS_M_SIGNAL, (int64_t)si.ssi_signo);
    for (int i = 0; i < g->n; i++) {
        agent_trial_write(g->trial[i]);
        agent_trial_read(g->trial[i], g->spawner, &g->out, now);
    }
    take_reports(g);
    look_around(g, now);
    if (now >= g->beat_ns) {
        beat(g);
        g->beat_ns = now + BEAT_S * SECOND;
    }
    rc = send_out(g, e);
    if (rc == AVS_OK) rc = g->net->poll(g->net, heard, g, e);
    if (rc == AVS_OK) rc = send_out(g, e);
    if (now - g->heard_ns > SILENCE_S * SECOND) g->gone = true;
    return rc;
}

static void farewell(agent *g)
{
    int64_t until = avs_now_ns() + (int64_t)FAREWELL_MS * 1000000;
    note(g, AVS_M_BYE, 0);
    send_out(g, NULL);
    while (!g->gone && !g->net->idle(g->net) && avs_now_ns() < until) {
        const struct timespec ts = {0, 1000000};
        struct pollfd p = {g->net->fd, POLLOUT, 0};
        ppoll(&p, 1, &ts, NULL);
        if (g->net->poll(g->net, heard, g, NULL) != AVS_OK) break;
    }
}

int avs_agent_run(avs_transport *net, avs_spawner *s, const avs_agent_cfg *cfg, avs_err *e)
{
    agent g = {.net = net, .spawner = s, .cfg = *cfg, .heard_ns = avs_now_ns(), .next_process = 1};
    struct pollfd *fds = NULL;
    int cap = 0;
    if (cfg->root) {
        snprintf(g.root, sizeof g.root, "%s", cfg->root);
        snprintf(g.spool_dir, sizeof g.spool_dir, "%s/spool", g.root);
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    prctl(PR_SET_NAME, "avs-agent"); /* started as /proc/self/exe it would be called exe */
    int rc = signals < 0 ? avs_fail(e, AVS_EIO, "signalfd: %s", strerror(errno)) : say_hello(&g, e);
    if (rc == AVS_OK) rc = send_out(&g, e);
    g.beat_ns = avs_now_ns() + BEAT_S * SECOND;
    while (rc == AVS_OK && !g.bye && !g.gone) {
        rc = one_turn(&g, signals, &fds, &cap, e);
        if (rc == AVS_OK && g.spawner_gone) rc = avs_fail(e, AVS_EIO, "the spawner of this node is gone");
    }
    avs_spawner_close(s); /* ends what still runs */
    if (g.bye) farewell(&g);
    if (rc == AVS_OK && !g.bye) rc = avs_fail(e, AVS_ECANCEL, "the coordinator is gone");
    while (g.n > 0) forget(&g, g.trial[0]);
    free(g.trial);
    free(fds);
    avs_frame_reader_free(&g.in);
    avs_buf_free(&g.out);
    if (signals >= 0) close(signals);
    return rc;
}
