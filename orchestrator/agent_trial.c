/* Life of one attempt at the agent: start, frames in, limits, verdict. */
#include "orchestrator/agent_trial.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/log.h"

#define SECOND INT64_C(1000000000)
enum { HELLO_S = 60, KILL_AFTER_S = 5, PASS_MS = 250, TAIL = 8 << 10, MAX_RANKS = 1024 };

/* ---- start ---- */

/* JOB.json: what the coordinator sent, with the rank in front. */
static int write_job(const char *path, int rank, const char *text, size_t n, avs_err *e)
{
    char front[32];
    int k = snprintf(front, sizeof front, "{\"rank\":%d,", rank);
    if (n < 2 || text[0] != '{') return avs_fail(e, AVS_EPARSE, "a START message carries no job");
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return avs_fail(e, AVS_EIO, "%s: %s", path, strerror(errno));
    bool ok = avs_fs_full_write(fd, front, (size_t)k) == 0 && avs_fs_full_write(fd, text + 1, n - 1) == 0;
    int err = errno;
    if (close(fd) != 0 && ok) {
        ok = false;
        err = errno;
    }
    return ok ? AVS_OK : avs_fail(e, AVS_EIO, "%s: %s", path, strerror(err));
}

int agent_trial_read_start(agent_trial *t, const avs_frame *start, avs_err *e)
{
    size_t m = 0, places = 0;
    const uint8_t *hash = avs_frame_get(start, AVS_T_TRIAL, &m),
                  *place = avs_frame_get(start, AVS_T_PLACES, &places);
    int64_t flags = avs_frame_i64(start, AVS_T_FLAGS, 0), now = avs_now_ns();
    *t = (agent_trial){.attempt = start->attempt,
                       .epoch = start->epoch,
                       .ranks = (int)avs_frame_i64(start, AVS_T_RANKS, 1),
                       .first_rank = (int)avs_frame_i64(start, AVS_T_FIRST, 0),
                       .n = place ? (int)(places / 12) : 1,
                       .time_ns = avs_frame_i64(start, AVS_T_TIME_MS, 0) * 1000000,
                       .hang_ns = avs_frame_i64(start, AVS_T_HANG_MS, 0) * 1000000,
                       .quiet = (flags & AVS_START_QUIET) != 0,
                       .start_ns = now,
                       .progress_ns = now,
                       .outcome = AVS_OUT_DONE,
                       .forced = AVS_OUT_DONE};
    if (hash && m == 64) memcpy(t->trial, hash, 64);
    if (!t->trial[0] || t->n < 1 || t->n > MAX_RANKS || t->ranks < t->first_rank + t->n ||
        t->first_rank < 0) {
        t->n = 0;
        return avs_fail(e, AVS_EPARSE, "a START message lacks its trial, or its ranks make no sense");
    }
    t->going = t->ranks == 1;
    t->rank = avs_xrealloc(NULL, sizeof *t->rank * (size_t)t->n);
    if (!t->rank) {
        t->n = 0;
        return avs_fail(e, AVS_ENOMEM, "the agent is out of memory");
    }
    for (int k = 0; k < t->n; k++) {
        uint32_t cores = 0, gpus = 0;
        if (place) memcpy(&gpus, place + (size_t)12 * (size_t)k, sizeof gpus);
        if (place) memcpy(&cores, place + (size_t)12 * (size_t)k + 4, sizeof cores);
        t->rank[k] = (agent_rank){.fd = -1, .cores = (int)cores, .gpus = gpus};
        if (!place) t->rank[k].cores = (int)avs_frame_i64(start, AVS_T_CORES, 1);
    }
    return AVS_OK;
}

/* What the rank may see, as "NAME=value": its GPUs by UUID, none where it was given none. On a node without GPUs of ours
 * the inherited variable stays (out ""). */
static int gpu_variable(const agent_trial *t, uint32_t bits, char *out, size_t cap, avs_err *e)
{
    const int32_t n = t->gpus ? t->gpus->n : 0;
    out[0] = '\0';
    if (n < AVS_GPUS_MAX && bits >> n)
        return avs_fail(e, AVS_ERANGE, "a START message names GPUs that this node does not have (it has %d)",
                        (int)n);
    if (n == 0) return AVS_OK;
    size_t at = (size_t)snprintf(out, cap, "CUDA_VISIBLE_DEVICES=");
    for (int32_t i = 0, k = 0; i < n && at < cap; i++)
        if (bits >> i & 1)
            at += (size_t)snprintf(out + at, cap - at, "%s%s", k++ ? "," : "", t->gpus->gpu[i].uuid);
    return at < cap ? AVS_OK : avs_fail(e, AVS_ERANGE, "the names of a trial's GPUs are too long");
}

static int start_rank(agent_trial *t, int k, avs_spawner *s, const char *program, const char *cwd,
                      const uint8_t *text, size_t n, avs_err *e)
{
    char job[2200], log[2200], visible[AVS_GPUS_MAX * 97 + 32];
    int pair[2] = {-1, -1}, log_fd = -1, rc, rank = t->first_rank + k;
    int stem = (int)strlen(t->log_path);
    if (stem > 4 && strcmp(t->log_path + stem - 4, ".log") == 0) stem -= 4;
    if (rank == 0) {
        snprintf(job, sizeof job, "%s/job.json", cwd);
        snprintf(log, sizeof log, "%s", t->log_path);
    } else {
        snprintf(job, sizeof job, "%s/job-r%d.json", cwd, rank);
        snprintf(log, sizeof log, "%.*s-r%d.log", stem, t->log_path, rank);
    }
    AVS_TRY(gpu_variable(t, t->rank[k].gpus, visible, sizeof visible, e));
    AVS_TRY(write_job(job, rank, (const char *)text, n, e));
    log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log_fd < 0) {
        rc = avs_fail(e, AVS_EIO, "%s: %s", log, strerror(errno));
        goto out;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        rc = avs_fail(e, AVS_EIO, "socket pair for a trial: %s", strerror(errno));
        goto out;
    }
    avs_spawn_request q = {.id = t->spawn_id + (uint64_t)k,
                           .program = program,
                           .job = job,
                           .cwd = cwd,
                           .control_fd = pair[1],
                           .log_fd = log_fd,
                           .threads = t->rank[k].cores > 0 ? t->rank[k].cores : 1,
                           .gpus = visible[0] ? visible : NULL,
                           .cpus = t->rank[k].cpus};
    AVS_TRY(avs_spawner_start(s, &q, e));
    t->rank[k].fd = pair[0];
    pair[0] = -1;
    t->n_left++;
out:
    if (pair[0] >= 0) close(pair[0]);
    if (pair[1] >= 0) close(pair[1]);
    if (log_fd >= 0) close(log_fd);
    return rc;
}

int agent_trial_start(agent_trial *t, avs_spawner *s, const char *program, const avs_frame *start, avs_err *e)
{
    char cwd[2048];
    int rc;
    size_t n = 0;
    avs_arena *a = avs_arena_new();
    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory to start a trial");
    const char *work = avs_frame_str(start, AVS_T_WORK, a), *log = avs_frame_str(start, AVS_T_LOG, a);
    const uint8_t *text = avs_frame_get(start, AVS_T_JSON, &n);
    if (!work || !log || !text || strlen(work) >= sizeof cwd || strlen(log) >= sizeof t->log_path) {
        rc = avs_fail(e, AVS_EPARSE, "a START message lacks its job, folder or log, or they are too long");
        goto out;
    }
    snprintf(cwd, sizeof cwd, "%s", work);
    snprintf(t->log_path, sizeof t->log_path, "%s", log);
    AVS_TRY(avs_fs_mkdirs(cwd, e));
    AVS_TRY(avs_fs_mkdirs_for(t->log_path, e));
    for (int k = 0; k < t->n; k++) {
        rc = start_rank(t, k, s, program, cwd, text, n, e);
        if (rc != AVS_OK && k > 0) { /* those that were started already tell the end when they are gone */
            t->outcome = AVS_OUT_INFRA;
            t->has_end = true;
            snprintf(t->text, sizeof t->text, "%s", e->msg);
            for (int j = k; j < t->n; j++) t->rank[j].ended = true;
            agent_trial_stop(t, s, "infra", true);
            rc = AVS_OK;
            break;
        }
        if (rc != AVS_OK) break;
    }
out:
    avs_arena_free(a);
    return rc;
}

/* ---- frames ---- */

static void copy_text(char *out, size_t cap, const avs_frame *f)
{
    size_t n = 0;
    const uint8_t *p = avs_frame_get(f, AVS_T_TEXT, &n);
    if (n >= cap) n = cap - 1;
    if (p) memcpy(out, p, n);
    out[p ? n : 0] = '\0';
}

/* Appends the frame unchanged. */
static void pass_on(const avs_frame *f, avs_buf *out)
{
    size_t mark = avs_frame_begin(out, f->type, f->epoch, f->attempt);
    avs_buf_put(out, f->body, f->len);
    avs_frame_end(out, mark);
}

void agent_trial_ready(const agent_trial *t, avs_buf *out)
{
    if (!t->ready_said || t->going) return;
    size_t mark = avs_frame_begin(out, AVS_M_READY, t->epoch, t->attempt);
    if (t->ring[0]) avs_frame_put_str(out, AVS_T_RING, t->ring);
    avs_frame_end(out, mark);
}

static void take_hello(agent_trial *t, agent_rank *r, const avs_frame *f, avs_buf *pass)
{
    size_t n = 0;
    const uint8_t *ring = avs_frame_get(f, AVS_T_RING, &n);
    if (r->hello) return;
    r->hello = true;
    if (ring && n < sizeof t->ring && t->first_rank == 0 && r == t->rank) memcpy(t->ring, ring, n);
    if (++t->n_hello < t->n || t->ranks == 1 || t->ready_said) return;
    t->ready_said = true;
    agent_trial_ready(t, pass);
}

static void take(agent_trial *t, agent_rank *r, const avs_frame *f, avs_buf *pass, int64_t now)
{
    bool leads = t->first_rank == 0 && r == t->rank;
    if (f->attempt != t->attempt || f->epoch != t->epoch) {
        t->dropped++;
        return;
    }
    t->progress_ns = now;
    switch (f->type) {
    case AVS_F_PROGRESS:
        if (!leads || now - t->passed_ns < (int64_t)PASS_MS * 1000000) return;
        t->passed_ns = now;
        pass_on(f, pass);
        return;
    case AVS_F_DONE:
        if (!r->said_done) t->max_gpu += avs_frame_i64(f, AVS_T_BYTES, 0);
        r->said_done = true;
        return;
    case AVS_F_FAIL:
        if (!r->said_fail) t->max_gpu += avs_frame_i64(f, AVS_T_BYTES, 0);
        r->said_fail = true;
        if (t->has_end) return; /* another rank told the cause */
        r->followed = t->ranks > 1 && avs_frame_i64(f, AVS_T_CODE, 1) == AVS_ECANCEL;
        if (r->followed && t->text[0]) return;
        t->fail_code = avs_frame_i64(f, AVS_T_CODE, 1);
        if (t->forced == AVS_OUT_DONE) copy_text(t->text, sizeof t->text, f); /* else we know better why */
        return;
    case AVS_F_STOPPED:
        if (!r->said_stopped) t->max_gpu += avs_frame_i64(f, AVS_T_BYTES, 0);
        r->said_stopped = true;
        t->stopped_step = avs_frame_i64(f, AVS_T_STEP, -1);
        return;
    case AVS_F_HELLO:
        take_hello(t, r, f, pass);
        break;
    default:
        if (f->type >= AVS_F_STOP) { /* not a word of a trial */
            t->dropped++;
            return;
        }
        break;
    }
    if (!leads) return; /* results are rank 0's to tell */
    pass_on(f, pass);
    pass_on(f, &t->spool);
}

static void read_rank(agent_trial *t, agent_rank *r, avs_spawner *s, avs_buf *pass, int64_t now)
{
    char chunk[64 << 10];
    while (r->fd >= 0) {
        ssize_t k = recv(r->fd, chunk, sizeof chunk, MSG_DONTWAIT);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
        if (k <= 0) {
            close(r->fd);
            r->fd = -1;
            break;
        }
        avs_frame_feed(&r->in, chunk, (size_t)k);
        avs_frame f;
        avs_err err = AVS_ERR_INIT;
        bool got = false;
        int rc;
        while ((rc = avs_frame_next(&r->in, &f, &got, &err)) == AVS_OK && got) take(t, r, &f, pass, now);
        if (rc != AVS_OK) {
            r->broken = true;
            if (!t->has_end) snprintf(t->text, sizeof t->text, "the trial sent a broken frame: %s", err.msg);
            close(r->fd);
            r->fd = -1;
            avs_spawner_signal(s, t->spawn_id + (uint64_t)(r - t->rank), SIGKILL, NULL);
        }
    }
}

void agent_trial_read(agent_trial *t, avs_spawner *s, avs_buf *pass, int64_t now)
{
    for (int k = 0; k < t->n; k++) read_rank(t, &t->rank[k], s, pass, now);
}

void agent_trial_write(agent_trial *t)
{
    for (int i = 0; i < t->n; i++) {
        agent_rank *r = &t->rank[i];
        if (r->fd < 0 || r->out.len == 0) continue;
        ssize_t k = send(r->fd, r->out.data, r->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k <= 0) continue; /* a dead peer shows when it is reaped */
        memmove(r->out.data, r->out.data + k, r->out.len - (size_t)k);
        r->out.len -= (size_t)k;
    }
}

void agent_trial_go(agent_trial *t, const avs_frame *go)
{
    size_t n = 0;
    const uint8_t *ring = avs_frame_get(go, AVS_T_RING, &n);
    if (t->going) return;
    t->going = true;
    t->progress_ns = avs_now_ns();
    for (int k = 0; k < t->n; k++) {
        avs_buf *out = &t->rank[k].out;
        size_t mark = avs_frame_begin(out, AVS_F_GO, t->epoch, t->attempt);
        if (ring) avs_frame_put(out, AVS_T_RING, ring, n);
        avs_frame_end(out, mark);
    }
    agent_trial_write(t);
}

/* ---- ends ---- */

static void signal_all(const agent_trial *t, avs_spawner *s, int signal)
{
    for (int k = 0; k < t->n; k++)
        if (!t->rank[k].ended) avs_spawner_signal(s, t->spawn_id + (uint64_t)k, signal, NULL);
}

void agent_trial_stop(agent_trial *t, avs_spawner *s, const char *reason, bool kill)
{
    if (kill) {
        if (t->forced == AVS_OUT_DONE) t->forced = AVS_OUT_KILLED;
        signal_all(t, s, SIGKILL);
        return;
    }
    for (int k = 0; k < t->n; k++) {
        avs_buf *out = &t->rank[k].out;
        size_t mark = avs_frame_begin(out, AVS_F_STOP, t->epoch, t->attempt);
        avs_frame_put_str(out, AVS_T_REASON, reason);
        avs_frame_put_str(out, AVS_T_KIND, "checkpoint");
        avs_frame_end(out, mark);
    }
    agent_trial_write(t);
}

bool agent_trial_look(agent_trial *t, int64_t now)
{
    int64_t pids[MAX_RANKS];
    if (!t->quiet || now < t->look_ns) return false;
    if (t->waiting) return avs_quiet_may_start(&t->watch, now, &t->look_ns);
    for (int k = 0; k < t->n; k++) pids[k] = t->rank[k].pid;
    t->look_ns = avs_quiet_look(&t->watch, pids, t->n, now);
    return false;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t process_limits(agent_trial *t, avs_spawner *s, int64_t now);

int64_t agent_trial_limits(agent_trial *t, avs_spawner *s, int64_t now)
{
    if (t->waiting) return t->look_ns;
    int64_t at = process_limits(t, s, now);
    return t->quiet ? sooner(at, t->look_ns) : at;
}

static int64_t process_limits(agent_trial *t, avs_spawner *s, int64_t now)
{
    if (t->kill_ns) {
        if (now < t->kill_ns) return t->kill_ns;
        signal_all(t, s, SIGKILL);
        t->kill_ns = INT64_MAX;
        return INT64_MAX;
    }
    if (t->forced != AVS_OUT_DONE || t->has_end) return INT64_MAX;
    bool hello = t->n_hello == t->n;
    int64_t time = t->time_ns ? t->start_ns + t->time_ns : INT64_MAX;
    bool tells = t->going && t->first_rank == 0; /* progress is rank 0's to tell */
    int64_t hang = t->hang_ns && tells ? t->progress_ns + t->hang_ns : INT64_MAX;
    if (!hello && t->start_ns + HELLO_S * SECOND < hang) hang = t->start_ns + HELLO_S * SECOND;
    if (now < time && now < hang) return time < hang ? time : hang;
    bool late = now >= time;
    t->forced = late ? AVS_OUT_TIMEOUT : AVS_OUT_HANG;
    snprintf(t->text, sizeof t->text,
             late    ? "the time limit of %.0f s is over"
             : hello ? "no progress for %.0f s (limits.hang)"
                     : "no HELLO on fd 3 within %.0f s of the start",
             (double)(late    ? t->time_ns
                      : hello ? t->hang_ns
                              : now - t->start_ns) /
                 (double)SECOND);
    signal_all(t, s, late ? SIGTERM : SIGABRT);
    t->kill_ns = now + KILL_AFTER_S * SECOND;
    return t->kill_ns;
}

/* The last line of the log that says something, for the message of a crash. */
static void last_words(const char *path, char *out, size_t cap)
{
    char tail[TAIL + 1];
    struct stat st;
    out[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t n = 0;
    if (fstat(fd, &st) == 0) n = pread(fd, tail, TAIL, st.st_size > TAIL ? st.st_size - TAIL : 0);
    close(fd);
    if (n <= 0) return;
    while (n > 0 && (unsigned char)tail[n - 1] <= ' ') n--;
    tail[n] = '\0';
    const char *line = strrchr(tail, '\n');
    line = line ? line + 1 : tail;
    size_t len = strlen(line) < cap ? strlen(line) : cap - 1;
    memcpy(out, line, len);
    out[len] = '\0';
}

long long agent_memory_kills(void)
{
    char line[128];
    long long n = -1;
    FILE *f = fopen("/proc/vmstat", "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "oom_kill ", 9) == 0) {
            n = strtoll(line + 9, NULL, 10);
            break;
        }
    if (f) (void)fclose(f);
    return n;
}

static void crash_text(agent_trial *t, const agent_rank *r, const avs_spawn_report *rep)
{
    char words[600], who[32] = "";
    last_words(t->log_path, words, sizeof words);
    const char *join = words[0] ? "; its log ends: " : "";
    if (t->ranks > 1) snprintf(who, sizeof who, "rank %d: ", t->first_rank + (int)(r - t->rank));
    if (WIFSIGNALED(rep->status))
        snprintf(t->text, sizeof t->text, "%skilled by signal %d (%s)%s%s", who, WTERMSIG(rep->status),
                 strsignal(WTERMSIG(rep->status)), join, words);
    else
        snprintf(t->text, sizeof t->text, "%sexit status %d%s%s%s", who, WEXITSTATUS(rep->status),
                 r->said_done ? " after DONE" : " without DONE, FAIL or STOPPED", join, words);
}

/* Whether a trial that has a GPU ended for want of its memory: the code of our own programs, the words of everybody's. */
static bool lacked_gpu_memory(const agent_trial *t, const agent_rank *r)
{
    if (!r->gpus) return false;
    return (r->said_fail && t->fail_code == AVS_ENOMEM) || strcasestr(t->text, "out of memory") ||
           strcasestr(t->text, "OutOfMemory");
}

static avs_outcome verdict(agent_trial *t, const agent_rank *r, const avs_spawn_report *rep)
{
    int code = WIFEXITED(rep->status) ? WEXITSTATUS(rep->status) : -1;
    if (r->said_done && code == 0 && !r->broken) return AVS_OUT_DONE;
    if (t->forced == AVS_OUT_HANG || t->forced == AVS_OUT_TIMEOUT) return t->forced;
    if (r->said_stopped && code == 75) return AVS_OUT_STOPPED;
    if (t->has_end) return t->outcome; /* taken along by the one that decided */
    if (t->forced == AVS_OUT_KILLED) {
        snprintf(t->text, sizeof t->text, "killed on request");
        return AVS_OUT_KILLED;
    }
    if (r->broken) return AVS_OUT_CRASH;
    if (r->followed) return AVS_OUT_KILLED;
    if (r->said_fail) return lacked_gpu_memory(t, r) ? AVS_OUT_OOM_GPU : AVS_OUT_ERROR;
    crash_text(t, r, rep);
    if (WIFEXITED(rep->status) && lacked_gpu_memory(t, r)) return AVS_OUT_OOM_GPU;
    if (!WIFSIGNALED(rep->status) || WTERMSIG(rep->status) != SIGKILL) return AVS_OUT_CRASH;
    long long before = *t->memory_kills;
    *t->memory_kills = agent_memory_kills();
    return *t->memory_kills > before ? AVS_OUT_OOM : AVS_OUT_CRASH;
}

static void put_ended(const agent_trial *t, avs_outcome o, int code, int signal, const char *text,
                      avs_buf *out, int64_t now)
{
    size_t mark = avs_frame_begin(out, AVS_M_ENDED, t->epoch, t->attempt);
    avs_frame_put_str(out, AVS_T_TRIAL, t->trial);
    avs_frame_put_i64(out, AVS_T_OUTCOME, o);
    avs_frame_put_i64(out, AVS_T_CODE, code);
    avs_frame_put_i64(out, AVS_T_SIGNAL, signal);
    if (t->first_rank > 0) avs_frame_put_i64(out, AVS_T_FIRST, t->first_rank);
    if (o != AVS_OUT_DONE) avs_frame_put_str(out, AVS_T_TEXT, text);
    if (o == AVS_OUT_STOPPED) avs_frame_put_i64(out, AVS_T_STEP, t->stopped_step);
    avs_frame_put_f64(out, AVS_T_SECONDS, (double)(now - t->start_ns) / (double)SECOND);
    avs_frame_put_i64(out, AVS_T_MAX_RSS, t->max_rss);
    if (t->max_gpu > 0) avs_frame_put_i64(out, AVS_T_MAX_GPU, t->max_gpu);
    if (t->quiet && t->first_rank == 0 && o == AVS_OUT_DONE) {
        avs_buf json = AVS_BUF_INIT;
        avs_quiet watch = t->watch;
        avs_frame_put_i64(out, AVS_T_FLAGS, avs_quiet_end(&watch, &json));
        avs_frame_put(out, AVS_T_JSON, json.data, json.len);
        avs_buf_free(&json);
    }
    avs_frame_end(out, mark);
}

bool agent_trial_rank_gone(agent_trial *t, avs_spawner *s, int k, const avs_spawn_report *r, avs_buf *out,
                           int64_t now)
{
    agent_rank *x = &t->rank[k];
    bool never = r->what == AVS_SPAWN_FAILED;
    if (x->ended) return false;
    x->ended = true;
    t->n_left--;
    if (!never) t->max_rss += r->max_rss;
    avs_outcome o = never ? AVS_OUT_INFRA : verdict(t, x, r);
    bool decides = !t->has_end && (o != AVS_OUT_DONE || (t->n_left == 0 && t->outcome == AVS_OUT_DONE));
    if (never && !t->has_end)
        snprintf(t->text, sizeof t->text, "cannot start a trial: %s", strerror(r->error));
    if (decides) {
        t->outcome = o;
        t->code = !never && WIFEXITED(r->status) ? WEXITSTATUS(r->status) : -1;
        t->signal = !never && WIFSIGNALED(r->status) ? WTERMSIG(r->status) : 0;
    }
    bool cause = o != AVS_OUT_STOPPED && o != AVS_OUT_DONE && !(o == AVS_OUT_KILLED && x->followed);
    if (decides && cause) { /* one that followed another leaves room for the one that it followed */
        t->has_end = true;
        if (t->forced == AVS_OUT_DONE && t->n_left > 0) signal_all(t, s, SIGKILL);
    }
    if (t->n_left > 0) return false;
    put_ended(t, t->outcome, t->code, t->signal, t->text, out, now);
    return true;
}

void agent_trial_never(const agent_trial *t, const char *why, avs_buf *out)
{
    put_ended(t, AVS_OUT_INFRA, -1, 0, why, out, t->start_ns);
}

void agent_trial_cancel(agent_trial *t, bool kill, avs_buf *out)
{
    t->stopped_step = -1;
    put_ended(t, kill ? AVS_OUT_KILLED : AVS_OUT_STOPPED, -1, 0, "stopped while it waited for a quiet node",
              out, t->start_ns);
}

void agent_trial_free(agent_trial *t)
{
    avs_quiet_free(&t->watch);
    avs_buf_free(&t->start);
    for (int k = 0; k < t->n; k++) {
        if (t->rank[k].fd >= 0) close(t->rank[k].fd);
        avs_frame_reader_free(&t->rank[k].in);
        avs_buf_free(&t->rank[k].out);
    }
    free(t->rank);
    avs_buf_free(&t->spool);
}
