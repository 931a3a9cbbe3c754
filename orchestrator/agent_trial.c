/* Life of one attempt at the agent: start, frames in, limits, verdict. */
#include "orchestrator/agent_trial.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/log.h"

#define SECOND INT64_C(1000000000)
enum { HELLO_S = 60, KILL_AFTER_S = 5, PASS_MS = 250, TAIL = 8 << 10 };

static int write_job(const char *path, const char *text, size_t n, avs_err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return avs_fail(e, AVS_EIO, "%s: %s", path, strerror(errno));
    bool ok = avs_fs_full_write(fd, text, n) == 0;
    int err = errno;
    if (close(fd) != 0 && ok) {
        ok = false;
        err = errno;
    }
    return ok ? AVS_OK : avs_fail(e, AVS_EIO, "%s: %s", path, strerror(err));
}

int agent_trial_start(agent_trial *t, avs_spawner *s, const char *program, const avs_frame *start, avs_err *e)
{
    char cwd[2048], job[2100];
    int pair[2] = {-1, -1}, log_fd = -1, rc;
    size_t n = 0, m = 0;
    avs_arena *a = avs_arena_new();
    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory to start a trial");
    const char *work = avs_frame_str(start, AVS_T_WORK, a), *log = avs_frame_str(start, AVS_T_LOG, a);
    const uint8_t *text = avs_frame_get(start, AVS_T_JSON, &n), *hash = avs_frame_get(start, AVS_T_TRIAL, &m);
    t->attempt = start->attempt;
    t->epoch = start->epoch;
    t->fd = -1;
    t->time_ns = avs_frame_i64(start, AVS_T_TIME_MS, 0) * 1000000;
    t->hang_ns = avs_frame_i64(start, AVS_T_HANG_MS, 0) * 1000000;
    t->quiet = (avs_frame_i64(start, AVS_T_FLAGS, 0) & 1) != 0;
    if (hash && m == 64) memcpy(t->trial, hash, 64);
    if (!work || !log || !text || !hash || m != 64 || strlen(work) >= sizeof cwd ||
        strlen(log) >= sizeof t->log_path) {
        rc = avs_fail(e, AVS_EPARSE,
                      "a START message lacks its trial, job, folder or log, or they are too long");
        goto out;
    }
    snprintf(cwd, sizeof cwd, "%s", work);
    snprintf(job, sizeof job, "%s/job.json", cwd);
    snprintf(t->log_path, sizeof t->log_path, "%s", log);
    AVS_TRY(avs_fs_mkdirs(cwd, e));
    AVS_TRY(avs_fs_mkdirs_for(t->log_path, e));
    AVS_TRY(write_job(job, (const char *)text, n, e));
    log_fd = open(t->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log_fd < 0) {
        rc = avs_fail(e, AVS_EIO, "%s: %s", t->log_path, strerror(errno));
        goto out;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        rc = avs_fail(e, AVS_EIO, "socket pair for a trial: %s", strerror(errno));
        goto out;
    }
    avs_spawn_request q = {.id = t->attempt,
                           .program = program,
                           .job = job,
                           .cwd = cwd,
                           .control_fd = pair[1],
                           .log_fd = log_fd,
                           .threads = (int)avs_frame_i64(start, AVS_T_CORES, 1),
                           .cpus = t->cpus};
    AVS_TRY(avs_spawner_start(s, &q, e));
    t->start_ns = t->progress_ns = avs_now_ns();
    t->forced = AVS_OUT_DONE;
    t->fd = pair[0];
    pair[0] = -1;
out:
    if (pair[0] >= 0) close(pair[0]);
    if (pair[1] >= 0) close(pair[1]);
    if (log_fd >= 0) close(log_fd);
    avs_arena_free(a);
    return rc;
}

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

static void take(agent_trial *t, const avs_frame *f, avs_buf *pass, int64_t now)
{
    if (f->attempt != t->attempt || f->epoch != t->epoch) {
        t->dropped++;
        return;
    }
    t->progress_ns = now;
    switch (f->type) {
    case AVS_F_PROGRESS:
        if (now - t->passed_ns < (int64_t)PASS_MS * 1000000) return;
        t->passed_ns = now;
        pass_on(f, pass);
        return;
    case AVS_F_DONE:
        t->said_done = true;
        return;
    case AVS_F_FAIL:
        t->said_fail = true;
        t->fail_code = avs_frame_i64(f, AVS_T_CODE, 1);
        if (t->forced == AVS_OUT_DONE) copy_text(t->text, sizeof t->text, f); /* else we know better why */
        return;
    case AVS_F_STOPPED:
        t->said_stopped = true;
        t->stopped_step = avs_frame_i64(f, AVS_T_STEP, -1);
        return;
    case AVS_F_HELLO:
        t->hello = true;
        break;
    default:
        if (f->type >= AVS_F_STOP) { /* not a word of a trial */
            t->dropped++;
            return;
        }
        break;
    }
    pass_on(f, pass);
    pass_on(f, &t->spool);
}

void agent_trial_read(agent_trial *t, avs_spawner *s, avs_buf *pass, int64_t now)
{
    char chunk[64 << 10];
    while (t->fd >= 0) {
        ssize_t k = recv(t->fd, chunk, sizeof chunk, MSG_DONTWAIT);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
        if (k <= 0) {
            close(t->fd);
            t->fd = -1;
            break;
        }
        avs_frame_feed(&t->in, chunk, (size_t)k);
        avs_frame f;
        avs_err err = AVS_ERR_INIT;
        bool got = false;
        int rc;
        while ((rc = avs_frame_next(&t->in, &f, &got, &err)) == AVS_OK && got) take(t, &f, pass, now);
        if (rc != AVS_OK) {
            t->broken = true;
            snprintf(t->text, sizeof t->text, "the trial sent a broken frame: %s", err.msg);
            close(t->fd);
            t->fd = -1;
            avs_spawner_signal(s, t->attempt, SIGKILL, NULL);
        }
    }
}

void agent_trial_write(agent_trial *t)
{
    if (t->fd < 0 || t->out.len == 0) return;
    ssize_t k = send(t->fd, t->out.data, t->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (k <= 0) return; /* a dead peer shows when it is reaped */
    memmove(t->out.data, t->out.data + k, t->out.len - (size_t)k);
    t->out.len -= (size_t)k;
}

void agent_trial_stop(agent_trial *t, avs_spawner *s, const char *reason, bool kill)
{
    if (kill) {
        if (t->forced == AVS_OUT_DONE) t->forced = AVS_OUT_KILLED;
        avs_spawner_signal(s, t->attempt, SIGKILL, NULL);
        return;
    }
    size_t mark = avs_frame_begin(&t->out, AVS_F_STOP, t->epoch, t->attempt);
    avs_frame_put_str(&t->out, AVS_T_REASON, reason);
    avs_frame_put_str(&t->out, AVS_T_KIND, "checkpoint");
    avs_frame_end(&t->out, mark);
    agent_trial_write(t);
}

int64_t agent_trial_limits(agent_trial *t, avs_spawner *s, int64_t now)
{
    if (t->kill_ns) {
        if (now < t->kill_ns) return t->kill_ns;
        avs_spawner_signal(s, t->attempt, SIGKILL, NULL);
        t->kill_ns = INT64_MAX;
        return INT64_MAX;
    }
    if (t->forced != AVS_OUT_DONE) return INT64_MAX;
    int64_t time = t->time_ns ? t->start_ns + t->time_ns : INT64_MAX;
    int64_t hang = t->hang_ns ? t->progress_ns + t->hang_ns : INT64_MAX;
    if (!t->hello && t->start_ns + HELLO_S * SECOND < hang) hang = t->start_ns + HELLO_S * SECOND;
    if (now < time && now < hang) return time < hang ? time : hang;
    bool late = now >= time;
    t->forced = late ? AVS_OUT_TIMEOUT : AVS_OUT_HANG;
    snprintf(t->text, sizeof t->text,
             late       ? "the time limit of %.0f s is over"
             : t->hello ? "no progress for %.0f s (limits.hang)"
                        : "no HELLO on fd 3 within %.0f s of the start",
             (double)(late       ? t->time_ns
                      : t->hello ? t->hang_ns
                                 : now - t->start_ns) /
                 (double)SECOND);
    avs_spawner_signal(s, t->attempt, late ? SIGTERM : SIGABRT, NULL);
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

static avs_outcome verdict(agent_trial *t, const avs_spawn_report *r)
{
    bool clean = WIFEXITED(r->status), by_signal = WIFSIGNALED(r->status);
    int code = clean ? WEXITSTATUS(r->status) : -1;
    if (t->said_done && code == 0 && !t->broken) return AVS_OUT_DONE;
    if (t->forced == AVS_OUT_HANG || t->forced == AVS_OUT_TIMEOUT) return t->forced;
    if (t->said_stopped && code == 75) return AVS_OUT_STOPPED;
    if (t->forced == AVS_OUT_KILLED) {
        snprintf(t->text, sizeof t->text, "killed on request");
        return AVS_OUT_KILLED;
    }
    if (t->broken) return AVS_OUT_CRASH;
    if (t->said_fail) return AVS_OUT_ERROR;
    char words[600];
    last_words(t->log_path, words, sizeof words);
    const char *join = words[0] ? "; its log ends: " : "";
    if (by_signal)
        snprintf(t->text, sizeof t->text, "killed by signal %d (%s)%s%s", WTERMSIG(r->status),
                 strsignal(WTERMSIG(r->status)), join, words);
    else
        snprintf(t->text, sizeof t->text, "exit status %d%s%s%s", code,
                 t->said_done ? " after DONE" : " without DONE, FAIL or STOPPED", join, words);
    return AVS_OUT_CRASH;
}

avs_outcome agent_trial_end(agent_trial *t, const avs_spawn_report *r, avs_buf *out, int64_t now)
{
    avs_outcome o = verdict(t, r);
    size_t mark = avs_frame_begin(out, AVS_M_ENDED, t->epoch, t->attempt);
    avs_frame_put_str(out, AVS_T_TRIAL, t->trial);
    avs_frame_put_i64(out, AVS_T_OUTCOME, o);
    avs_frame_put_i64(out, AVS_T_CODE, WIFEXITED(r->status) ? WEXITSTATUS(r->status) : -1);
    avs_frame_put_i64(out, AVS_T_SIGNAL, WIFSIGNALED(r->status) ? WTERMSIG(r->status) : 0);
    if (o != AVS_OUT_DONE) avs_frame_put_str(out, AVS_T_TEXT, t->text);
    if (o == AVS_OUT_STOPPED) avs_frame_put_i64(out, AVS_T_STEP, t->stopped_step);
    avs_frame_put_f64(out, AVS_T_SECONDS, (double)(now - t->start_ns) / (double)SECOND);
    avs_frame_put_i64(out, AVS_T_MAX_RSS, r->max_rss);
    avs_frame_end(out, mark);
    return o;
}

void agent_trial_never(uint64_t attempt, uint32_t epoch, const char *trial, const char *why, avs_buf *out)
{
    size_t mark = avs_frame_begin(out, AVS_M_ENDED, epoch, attempt);
    avs_frame_put_str(out, AVS_T_TRIAL, trial);
    avs_frame_put_i64(out, AVS_T_OUTCOME, AVS_OUT_INFRA);
    avs_frame_put_i64(out, AVS_T_CODE, -1);
    avs_frame_put_str(out, AVS_T_TEXT, why);
    avs_frame_end(out, mark);
}

void agent_trial_free(agent_trial *t)
{
    if (t->fd >= 0) close(t->fd);
    avs_frame_reader_free(&t->in);
    avs_buf_free(&t->out);
    avs_buf_free(&t->spool);
}
