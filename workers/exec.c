/* The keeper: starts the command in its own process group (so the agent's kill reaches both), reads descriptor 3 and,
 * if asked to, stdout, hands STOP on as SIGTERM, and judges the end.
 *
 * The keeper itself ignores SIGTERM and SIGABRT, which the agent sends to the whole group: a command that is too late
 * or hangs gets them and may dump its stacks, and the keeper is still there to see how it ended. */
#include "workers/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/hash.h"
#include "workers/exec_lines.h"

enum { PREEMPTED = 75, MAX_WORDS = 4096 };

typedef struct {
    const avs_job *job;
    avs_trial *trial;
    avs_arena *a;
    const char *cwd, *params_path;
    char **argv;
    bool reads_stdout, stopping;
    int fd3, out, child_end; /* read ends of the pipes; signalfd of SIGCHLD */
    pid_t pid;
    avs_exec_stream lines3, lines1;
    avs_exec_heard heard;
} keeper;

/* ---- the command ---- */

static bool reserved(const char *key)
{
    static const char *const keys[] = {"command", "metrics", "cwd", "code"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(key, keys[i]) == 0) return true;
    return false;
}

/* A parameter as it is written on a command line: text bare, everything else as JSON. */
static void put_value(avs_buf *b, const avs_json *v)
{
    if (v->kind == AVS_J_STR)
        avs_buf_put(b, v->s, v->len);
    else
        avs_json_write(b, v, true);
}

static bool put_named(const keeper *k, avs_buf *b, const char *name)
{
    const avs_job *j = k->job;
    const avs_json *v = avs_json_get(j->params, name);
    if (v)
        put_value(b, v);
    else if (strcmp(name, "seed") == 0)
        avs_buf_fmt(b, "%llu", (unsigned long long)j->seed);
    else if (strcmp(name, "params") == 0)
        avs_buf_str(b, k->params_path);
    else if (strcmp(name, "work_dir") == 0)
        avs_buf_str(b, j->work_dir);
    else if (strcmp(name, "trial") == 0)
        avs_buf_str(b, j->trial);
    else if (strcmp(name, "attempt") == 0)
        avs_buf_fmt(b, "%u", j->epoch);
    else if (strcmp(name, "threads") == 0)
        avs_buf_fmt(b, "%d", j->threads);
    else if (strcmp(name, "rank") == 0)
        avs_buf_fmt(b, "%d", j->rank);
    else if (strcmp(name, "ranks") == 0)
        avs_buf_fmt(b, "%d", j->ranks);
    else
        return false;
    return true;
}

static char *word(const keeper *k, const avs_json *w, avs_err *e)
{
    avs_buf b = AVS_BUF_INIT;
    char name[128], *out = NULL;
    if (w->kind != AVS_J_STR) {
        put_value(&b, w);
    } else {
        for (const char *p = w->s; *p;) {
            const size_t n = strncmp(p, "${", 2) == 0 ? strcspn(p + 2, "}") : 0;
            if (n == 0 || p[2 + n] != '}' || n >= sizeof name) {
                avs_buf_char(&b, *p++);
                continue;
            }
            memcpy(name, p + 2, n);
            name[n] = '\0';
            if (!put_named(k, &b, name)) {
                avs_fail(e, AVS_EMISSING, "the command names ${%s}, which is no parameter", name);
                goto done;
            }
            p += n + 3;
        }
    }
    out = avs_buf_ok(&b) ? avs_arena_str(k->a, avs_buf_cstr(&b)) : NULL;
    if (!out) avs_fail(e, AVS_ENOMEM, "no memory for the command");
done:
    avs_buf_free(&b);
    return out;
}

/* The parameters as a file: what `${params}` and AVSWEEP_PARAMS name. */
static int write_params(keeper *k, avs_err *e)
{
    char folder[4096];
    avs_buf b = AVS_BUF_INIT;
    if (!getcwd(folder, sizeof folder))
        return avs_fail(e, AVS_EIO, "the folder of the attempt: %s", strerror(errno));
    k->params_path = avs_arena_fmt(k->a, "%s/params.json", folder);
    if (!k->params_path) return avs_fail(e, AVS_ENOMEM, "no memory for the parameters");
    avs_buf_fmt(&b, "{\"seed\":%llu", (unsigned long long)k->job->seed);
    for (const avs_json *v = k->job->params->first; v; v = v->next) {
        if (reserved(v->key)) continue;
        avs_buf_char(&b, ',');
        avs_json_write_str(&b, v->key);
        avs_buf_char(&b, ':');
        avs_json_write(&b, v, true);
    }
    avs_buf_str(&b, "}\n");
    int rc = avs_buf_ok(&b) ? avs_fs_write_atomic(k->params_path, b.data, b.len, e)
                            : avs_fail(e, AVS_ENOMEM, "no memory for the parameters");
    avs_buf_free(&b);
    return rc;
}

static int make_command(keeper *k, avs_err *e)
{
    const avs_json *command = avs_json_get(k->job->params, "command");
    const char *cwd = avs_json_str(k->job->params, "cwd", "");
    if (!command || command->kind != AVS_J_ARR || command->len == 0 || command->len > MAX_WORDS)
        return avs_fail(e, AVS_EPARSE, "params.command: a list of 1 to %d words is expected", MAX_WORDS);
    k->cwd = cwd[0] == '/' ? cwd : avs_arena_fmt(k->a, "%s/%s", k->job->dir, cwd);
    k->argv = AVS_NEW_N(k->a, char *, command->len + 1);
    if (!k->cwd || !k->argv) return avs_fail(e, AVS_ENOMEM, "no memory for the command");
    if (!avs_fs_is_dir(k->cwd)) return avs_fail(e, AVS_EMISSING, "cwd is %s, which is no folder", k->cwd);
    size_t n = 0;
    for (const avs_json *w = command->first; w; w = w->next)
        if (!(k->argv[n++] = word(k, w, e))) return e ? (int)e->code : AVS_ENOMEM;
    return AVS_OK;
}

/* ---- its process ---- */

static void setting(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void setting(const char *name, const char *fmt, ...)
{
    char text[4200];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    (void)setenv(name, text, 1);
}

static void set_environment(const keeper *k)
{
    const avs_job *j = k->job;
    setting("AVSWEEP_PARAMS", "%s", k->params_path);
    setting("AVSWEEP_WORK_DIR", "%s", j->work_dir);
    setting("AVSWEEP_TRIAL_HASH", "%s", j->trial);
    setting("AVSWEEP_SEED", "%llu", (unsigned long long)j->seed);
    setting("AVSWEEP_ATTEMPT", "%u", j->epoch);
    setting("AVSWEEP_THREADS", "%d", j->threads);
    setting("AVSWEEP_RANK", "%d", j->rank);
    setting("AVSWEEP_RANKS", "%d", j->ranks);
    setting("AVSWEEP_METRICS_FD", "3");
}

/* Between fork and exec; only calls that are safe there. fail: tells the keeper errno when the program does not start. */
static void become(const keeper *k, pid_t parent, int metrics, int out, int fail)
{
    sigset_t none;
    sigemptyset(&none);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    const int null = open("/dev/null", O_RDONLY);
    if (chdir(k->cwd) == 0 && dup2(null, 0) >= 0 && (out < 0 || dup2(out, 1) >= 0) && dup2(metrics, 3) >= 0) {
        (void)signal(SIGTERM, SIG_DFL);
        (void)signal(SIGABRT, SIG_DFL);
        (void)signal(SIGPIPE, SIG_DFL);
        sigprocmask(SIG_SETMASK, &none, NULL);
        execvp(k->argv[0], k->argv);
    }
    const int err = errno;
    if (write(fail, &err, sizeof err) != (ssize_t)sizeof err) _exit(126);
    _exit(127);
}

/* A pipe whose ends lie above 10, clear of the numbers that the child's are moved to. */
static int high_pipe(int ends[2], avs_err *e)
{
    int low[2];
    if (pipe2(low, O_CLOEXEC) != 0) return avs_fail(e, AVS_EIO, "pipe: %s", strerror(errno));
    for (int i = 0; i < 2; i++) {
        ends[i] = fcntl(low[i], F_DUPFD_CLOEXEC, 10);
        close(low[i]);
    }
    return ends[0] < 0 || ends[1] < 0 ? avs_fail(e, AVS_EIO, "pipe: %s", strerror(errno)) : AVS_OK;
}

static int start(keeper *k, avs_err *e)
{
    int metrics[2] = {-1, -1}, out[2] = {-1, -1}, fail[2] = {-1, -1}, err = 0, rc;
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    AVS_TRY(high_pipe(metrics, e));
    AVS_TRY(high_pipe(fail, e));
    if (k->reads_stdout) AVS_TRY(high_pipe(out, e));
    sigprocmask(SIG_BLOCK, &child, NULL);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGABRT, SIG_IGN);
    k->child_end = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    set_environment(k);
    (void)fflush(NULL);
    const pid_t self = getpid();
    k->pid = k->child_end < 0 ? -1 : fork();
    if (k->pid == 0) become(k, self, metrics[1], out[1], fail[1]);
    if (k->pid < 0) {
        rc = avs_fail(e, AVS_EIO, "the command cannot be started: %s", strerror(errno));
        goto out;
    }
    close(fail[1]);
    fail[1] = -1;
    if (read(fail[0], &err, sizeof err) == (ssize_t)sizeof err) {
        (void)waitpid(k->pid, NULL, 0);
        k->pid = 0;
        rc = avs_fail(e, AVS_EMISSING, "%s: %s (in %s)", k->argv[0], strerror(err), k->cwd);
        goto out;
    }
    k->fd3 = metrics[0];
    k->out = out[0];
    metrics[0] = out[0] = -1;
    (void)fcntl(k->fd3, F_SETFL, O_NONBLOCK);
    if (k->out >= 0) (void)fcntl(k->out, F_SETFL, O_NONBLOCK);
out:
    for (int i = 0; i < 2; i++) {
        if (metrics[i] >= 0) close(metrics[i]);
        if (out[i] >= 0) close(out[i]);
        if (fail[i] >= 0) close(fail[i]);
    }
    return rc;
}

/* ---- while it runs ---- */

/* Takes what has arrived; closes the descriptor at its end. stdout goes to the log first, as it is. */
static void hear(keeper *k, int *fd, avs_exec_stream *s, bool copy)
{
    char chunk[64 << 10];
    ssize_t n;
    while (*fd >= 0) {
        do n = read(*fd, chunk, sizeof chunk);
        while (n < 0 && errno == EINTR);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            close(*fd);
            *fd = -1;
            return;
        }
        if (copy) (void)avs_fs_full_write(STDOUT_FILENO, chunk, (size_t)n);
        avs_exec_feed(s, &k->heard, chunk, (size_t)n);
        avs_control_progress(&k->trial->control, k->heard.step, k->heard.steps, 0, "",
                             false); /* a sign of life */
    }
}

/* The command's end, as waitpid has it. */
static int watch(keeper *k)
{
    int status = 0;
    for (;;) {
        struct pollfd p[4] = {{k->child_end, POLLIN, 0},
                              {k->fd3, POLLIN, 0},
                              {k->out, POLLIN, 0},
                              {k->trial->control.fd, POLLIN, 0}};
        if (k->stopping) p[3].fd = -1;
        if (poll(p, 4, -1) < 0 && errno != EINTR) break;
        hear(k, &k->fd3, &k->lines3, false);
        hear(k, &k->out, &k->lines1, true);
        if (!k->stopping && k->trial->control.fd >= 0 && avs_control_poll(&k->trial->control)) {
            k->stopping = true;
            fprintf(stderr, "avsweep: the command is asked to stop (SIGTERM)\n");
            (void)kill(0, SIGTERM); /* the whole group; this process ignores it */
        }
        struct signalfd_siginfo si;
        while (read(k->child_end, &si, sizeof si) == (ssize_t)sizeof si) {}
        if (waitpid(k->pid, &status, WNOHANG) == k->pid) break;
    }
    hear(k, &k->fd3, &k->lines3, false); /* what it said last; others may still hold the pipe open */
    hear(k, &k->out, &k->lines1, true);
    avs_exec_end(&k->lines3, &k->heard);
    avs_exec_end(&k->lines1, &k->heard);
    return status;
}

static bool heard_result(const keeper *k, const char *name)
{
    for (int i = 0; i < k->heard.n_names; i++)
        if (strcmp(k->heard.names[i].name, name) == 0) return true;
    return false;
}

static int judge(keeper *k, int status, avs_err *e)
{
    const avs_exec_heard *h = &k->heard;
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
              sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    const char *objective = avs_json_str(k->job->objective, "metric", NULL);
    k->trial->stopped_at = h->step;
    if (code == PREEMPTED) return avs_fail(e, AVS_ECANCEL, "the command was preempted");
    if (k->stopping && (sig == SIGTERM || code == 128 + SIGTERM))
        return avs_fail(e, AVS_ECANCEL, "the command ended without a checkpoint");
    if (h->error[0]) return avs_fail(e, AVS_ELIB, "%s", h->error);
    k->trial->crashed = sig != 0;
    if (sig) return avs_fail(e, AVS_ELIB, "%s was killed by signal %d (%s)", k->argv[0], sig, strsignal(sig));
    if (code != 0) return avs_fail(e, AVS_ELIB, "%s ended with status %d", k->argv[0], code);
    if (objective && k->job->rank == 0 && !heard_result(k, objective))
        return avs_fail(e, AVS_EMISSING, "%s ended with status 0 but never reported the objective '%s'",
                        k->argv[0], objective);
    for (int i = 0; i < h->n_names && h->n_results == 0; i++) /* no result line: the last values count */
        avs_control_result(&k->trial->control, h->names[i].name, "", h->names[i].value, "", 0);
    return AVS_OK;
}

int avs_exec_run(avs_trial *t, avs_err *e)
{
    int rc;
    keeper k = {.job = t->job, .trial = t, .a = t->job->arena, .fd3 = -1, .out = -1, .child_end = -1};
    AVS_TRY(avs_fs_mkdirs(t->job->work_dir, e));
    AVS_TRY(write_params(&k, e));
    AVS_TRY(make_command(&k, e));
    k.reads_stdout = strcmp(avs_json_str(t->job->params, "metrics", "fd3"), "stdout") == 0;
    k.lines3 = (avs_exec_stream){.control = &t->control, .what = "fd 3", .folder = k.cwd};
    k.lines1 =
        (avs_exec_stream){.control = &t->control, .what = "stdout", .folder = k.cwd, .only_objects = true};
    AVS_TRY(start(&k, e));
    rc = judge(&k, watch(&k), e);
out:
    if (k.fd3 >= 0) close(k.fd3);
    if (k.out >= 0) close(k.out);
    if (k.child_end >= 0) close(k.child_end);
    return rc;
}

/* ---- provenance ---- */

static void add_file(avs_sha256 *s, const char *folder, const char *name, int *n)
{
    char path[4096], hex[65];
    uint8_t hash[32];
    struct stat st;
    const int len = name[0] == '/' ? snprintf(path, sizeof path, "%s", name)
                                   : snprintf(path, sizeof path, "%s/%s", folder, name);
    if (len >= (int)sizeof path || stat(path, &st) != 0 || !S_ISREG(st.st_mode) ||
        avs_sha256_file(path, hash, NULL) != AVS_OK)
        return;
    avs_hex(hash, 32, hex);
    avs_sha256_put(s, name, strlen(name) + 1);
    avs_sha256_put(s, hex, 64);
    ++*n;
}

int avs_exec_env(const avs_job *job, const char *base_json, avs_buf *out, avs_err *e)
{
    avs_arena *a = avs_arena_new();
    avs_json *base = NULL;
    avs_sha256 sum;
    uint8_t hash[32];
    char hex[65];
    int n = 0;
    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory for the environment");
    int rc = avs_json_parse(a, "environment", base_json, strlen(base_json), &base, e);
    const avs_json *command = avs_json_get(job->params, "command"), *code = avs_json_get(job->params, "code");
    const char *cwd = avs_json_str(job->params, "cwd", "");
    const char *folder = cwd[0] == '/' ? cwd : avs_arena_fmt(a, "%s/%s", job->dir, cwd);
    const bool given = code && code->kind == AVS_J_ARR && code->len > 0;
    avs_sha256_init(&sum);
    for (const avs_json *w = given ? code->first : command ? command->first : NULL; w && folder; w = w->next)
        if (w->kind == AVS_J_STR) add_file(&sum, folder, w->s, &n);
    avs_sha256_end(&sum, hash);
    avs_hex(hash, 32, hex);
    if (rc == AVS_OK) {
        avs_buf_char(out, '{');
        for (const avs_json *m = base->first; m; m = m->next) {
            avs_json_write_str(out, m->key);
            avs_buf_char(out, ':');
            avs_json_write(out, m, false);
            avs_buf_char(out, ',');
        }
        avs_buf_fmt(out, "\"code_fp\":\"%s\",\"code_files\":%d,\"command\":", n ? hex : "", n);
        if (command)
            avs_json_write(out, command, false);
        else
            avs_buf_str(out, "null");
        avs_buf_char(out, '}');
    }
    avs_arena_free(a);
    return rc;
}
