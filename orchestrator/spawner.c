/* Both ends of the spawner socket: the agent's calls and the serving process. */
#include "orchestrator/spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/fault.h"
#include "orchestrator/self.h"

extern char **environ;

enum { STRINGS = 4 * 4096 };

typedef struct {
    uint64_t id;
    int signal; /* 0: start a process; else: send it */
    int threads;
    cpu_set_t cpus;
    uint32_t at_job, at_cwd, at_gpus; /* offsets of the strings; program lies at 0; at_gpus 0: none */
    char text[STRINGS];
} request;

/* ---- the agent's side ---- */

int avs_spawner_open(avs_spawner *s, avs_err *e)
{
    char name[] = "avsweep", word[] = AVS_SPAWNER_WORD;
    char *argv[] = {name, word, NULL};
    return avs_self_start(SOCK_SEQPACKET, argv, "the spawner", &s->pid, &s->fd, e);
}

void avs_spawner_close(avs_spawner *s)
{
    if (s->fd < 0) return;
    close(s->fd);
    while (s->pid > 0 && waitpid(s->pid, NULL, 0) < 0 && errno == EINTR) {}
    *s = (avs_spawner){-1, 0};
}

static int send_request(avs_spawner *s, const request *r, size_t text, const int *fds, int n_fds, avs_err *e)
{
    struct iovec io = {(void *)(uintptr_t)r, offsetof(request, text) + text};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1};
    if (n_fds > 0) {
        m.msg_control = control.room;
        m.msg_controllen = CMSG_SPACE((size_t)n_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN((size_t)n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, (size_t)n_fds * sizeof(int));
    }
    ssize_t k;
    do k = sendmsg(s->fd, &m, MSG_NOSIGNAL);
    while (k < 0 && errno == EINTR);
    return k < 0 ? avs_fail(e, AVS_EIO, "the spawner does not answer: %s", strerror(errno)) : AVS_OK;
}

int avs_spawner_start(avs_spawner *s, const avs_spawn_request *r, avs_err *e)
{
    size_t a = strlen(r->program) + 1, b = strlen(r->job) + 1, c = strlen(r->cwd) + 1;
    const size_t d = r->gpus ? strlen(r->gpus) + 1 : 0;
    if (a + b + c + d > STRINGS) return avs_fail(e, AVS_ERANGE, "the paths of %s are too long", r->job);
    request q = {.id = r->id, .threads = r->threads, .cpus = r->cpus};
    q.at_job = (uint32_t)a;
    q.at_cwd = (uint32_t)(a + b);
    memcpy(q.text, r->program, a);
    memcpy(q.text + a, r->job, b);
    memcpy(q.text + a + b, r->cwd, c);
    if (d) {
        q.at_gpus = (uint32_t)(a + b + c);
        memcpy(q.text + a + b + c, r->gpus, d);
    }
    return send_request(s, &q, a + b + c + d, (const int[]){r->control_fd, r->log_fd}, 2, e);
}

int avs_spawner_signal(avs_spawner *s, uint64_t id, int signal, avs_err *e)
{
    request q = {.id = id, .signal = signal};
    return send_request(s, &q, 0, NULL, 0, e);
}

int avs_spawner_next(avs_spawner *s, avs_spawn_report *r)
{
    ssize_t k;
    do k = recv(s->fd, r, sizeof *r, MSG_DONTWAIT);
    while (k < 0 && errno == EINTR);
    if (k == (ssize_t)sizeof *r) return 1;
    return k < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : -1;
}

/* ---- the serving process ---- */

typedef struct {
    uint64_t id;
    pid_t pid;
} child;

typedef struct {
    int fd, signals;
    child *at;
    int n, cap;
    char **env; /* the clean environment; two more slots before NULL: OMP_NUM_THREADS, CUDA_VISIBLE_DEVICES */
    size_t env_n;
    char *gpus; /* the inherited CUDA_VISIBLE_DEVICES; NULL: none */
    cpu_set_t own;
} server;

static bool is_launcher_variable(const char *v)
{
    static const char *const prefix[] = {"OMPI_", "PMI", "SLURM_", "ORTE_", "PRTE_", "OMP_NUM_THREADS="};
    for (size_t i = 0; i < sizeof prefix / sizeof *prefix; i++)
        if (strncmp(v, prefix[i], strlen(prefix[i])) == 0) return true;
    return false;
}

static bool clean_environment(server *s)
{
    size_t n = 0;
    while (environ[n]) n++;
    s->env = avs_xrealloc(NULL, sizeof *s->env * (n + 3));
    if (!s->env) return false;
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "CUDA_VISIBLE_DEVICES=", 21) == 0)
            s->gpus = environ[i];
        else if (!is_launcher_variable(environ[i]))
            s->env[s->env_n++] = environ[i];
    s->env[s->env_n] = s->env[s->env_n + 1] = s->env[s->env_n + 2] = NULL;
    return true;
}

static int spawn_child(server *s, request *q, int control_fd, int log_fd, pid_t *pid)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    /* Both descriptors lie above 3 (serve moved its own there), so no dup2 overwrites the next one's source. */
    posix_spawn_file_actions_adddup2(&fa, log_fd, 1);
    posix_spawn_file_actions_adddup2(&fa, log_fd, 2);
    posix_spawn_file_actions_adddup2(&fa, control_fd, 3);
    posix_spawn_file_actions_addclosefrom_np(&fa, 4);
    posix_spawn_file_actions_addchdir_np(&fa, q->text + q->at_cwd);
    posix_spawnattr_init(&at);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&at, &none);
    posix_spawnattr_setsigdefault(&at, &all);
    char threads[40], run[] = "run";
    snprintf(threads, sizeof threads, "OMP_NUM_THREADS=%d", q->threads);
    s->env[s->env_n] = threads;
    s->env[s->env_n + 1] = q->at_gpus ? q->text + q->at_gpus : s->gpus;
    char *argv[] = {q->text, run, q->text + q->at_job, NULL};
    /* posix_spawn has no attribute for it: the child inherits the binding of this single-threaded process. */
    bool bound = CPU_COUNT(&q->cpus) > 0 && sched_setaffinity(0, sizeof q->cpus, &q->cpus) == 0;
    int err = posix_spawn(pid, q->text, &fa, &at, argv, s->env);
    if (bound) sched_setaffinity(0, sizeof s->own, &s->own);
    s->env[s->env_n] = s->env[s->env_n + 1] = NULL;
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&at);
    return err;
}

static bool report(const server *s, const avs_spawn_report *r)
{
    ssize_t k;
    do k = send(s->fd, r, sizeof *r, MSG_NOSIGNAL);
    while (k < 0 && errno == EINTR);
    return k >= 0;
}

static bool start_child(server *s, request *q, const int fds[2])
{
    avs_spawn_report r = {.id = q->id, .what = AVS_SPAWN_FAILED};
    if (s->n == s->cap) {
        int cap = s->cap ? 2 * s->cap : 32;
        child *at = avs_xrealloc(s->at, sizeof *at * (size_t)cap);
        if (!at) {
            r.error = ENOMEM;
            return report(s, &r);
        }
        s->at = at;
        s->cap = cap;
    }
    r.error = spawn_child(s, q, fds[0], fds[1], &r.pid);
    if (r.error == 0) {
        r.what = AVS_SPAWN_STARTED;
        s->at[s->n++] = (child){q->id, r.pid};
    }
    return report(s, &r);
}

/* One request. false: the agent is gone. */
static bool take_request(server *s)
{
    request q;
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct iovec io = {&q, sizeof q};
    struct msghdr m = {
        .msg_iov = &io, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    ssize_t k;
    do k = recvmsg(s->fd, &m, MSG_CMSG_CLOEXEC);
    while (k < 0 && errno == EINTR);
    if (k < (ssize_t)offsetof(request, text)) return false;
    int fds[2] = {-1, -1};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof fds))
        memcpy(fds, CMSG_DATA(c), sizeof fds);
    bool ok = true;
    if (q.signal != 0) {
        /* The process is ours and not yet waited for, so its number cannot belong to somebody else. */
        for (int i = 0; i < s->n; i++)
            if (s->at[i].id == q.id) kill(-s->at[i].pid, q.signal);
    } else if (fds[0] >= 0) {
        ok = start_child(s, &q, fds);
    }
    if (fds[0] >= 0) close(fds[0]);
    if (fds[1] >= 0) close(fds[1]);
    return ok;
}

static bool reap(server *s)
{
    struct signalfd_siginfo si;
    while (read(s->signals, &si, sizeof si) == (ssize_t)sizeof si) {}
    for (int i = s->n - 1; i >= 0; i--) {
        struct rusage ru;
        avs_spawn_report r = {.id = s->at[i].id, .what = AVS_SPAWN_EXITED, .pid = s->at[i].pid};
        siginfo_t peek = {0};
        if (waitid(P_PID, (id_t)s->at[i].pid, &peek, WEXITED | WNOHANG | WNOWAIT) != 0 || peek.si_pid == 0)
            continue;
        kill(-s->at[i].pid, SIGKILL); /* what the trial left behind; before its number can be used again */
        if (wait4(s->at[i].pid, &r.status, 0, &ru) != s->at[i].pid) continue;
        r.max_rss = (int64_t)ru.ru_maxrss * 1024;
        s->at[i] = s->at[--s->n];
        if (!report(s, &r)) return false;
    }
    return true;
}

int avs_spawner_serve(int fd)
{
    server s = {.fd = fcntl(fd, F_DUPFD_CLOEXEC, 10)};
    close(fd);
    avs_fault_arm("spawner", -1);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGINT); /* signals to the group are the coordinator's to judge */
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    int sfd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
    s.signals = sfd < 0 ? -1 : fcntl(sfd, F_DUPFD_CLOEXEC, 10);
    if (sfd >= 0) close(sfd);
    if (s.fd < 0 || s.signals < 0 || !clean_environment(&s)) return 70;
    sched_getaffinity(0, sizeof s.own, &s.own);
    prctl(PR_SET_NAME, "avs-spawner");

    for (bool ok = true; ok;) {
        struct pollfd p[2] = {{s.fd, POLLIN, 0}, {s.signals, POLLIN, 0}};
        if (poll(p, 2, -1) < 0 && errno != EINTR) break;
        if (p[1].revents) ok = reap(&s);
        if (ok && p[0].revents) ok = take_request(&s);
    }
    for (int i = 0; i < s.n; i++) kill(-s.at[i].pid, SIGKILL);
    for (int i = 0; i < s.n; i++) waitpid(s.at[i].pid, NULL, 0);
    free(s.at);
    free(s.env);
    return 0;
}
