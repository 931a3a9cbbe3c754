/* The list of checks, and those that start other programs. */
#include "orchestrator/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "orchestrator/agent.h"
#include "orchestrator/command_io.h"
#include "orchestrator/gpu_inventory.h"
#include "orchestrator/run.h"
#include "orchestrator/transport.h"

extern char **environ;

void avs_doc_say(avs_doctor *d, avs_doc_state state, const char *check, const char *fmt, ...)
{
    static const char *const words[] = {"ok", "warn", "FAIL", "skip"}, *const json[] = {"ok", "warning",
                                                                                        "failure", "skipped"};
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    d->failures += state == AVS_DOC_FAIL;
    d->warnings += state == AVS_DOC_WARN;
    if (d->o->json) {
        avs_buf_fmt(&d->out, "{\"type\":\"check\",\"v\":1,\"host\":");
        avs_json_write_str(&d->out, d->host);
        avs_buf_fmt(&d->out, ",\"check\":\"%s\",\"state\":\"%s\",\"text\":", check, json[state]);
        avs_json_write_str(&d->out, text);
        avs_buf_str(&d->out, "}\n");
    } else if (!d->o->quiet || state == AVS_DOC_FAIL) {
        avs_buf_fmt(&d->out, "%-4s  %-10s %-8s %s\n", words[state], d->host, check, text);
    }
}

/* Starts a program with stdout in a pipe; the read end, or -1. */
static int start(const char *program, char *const argv[], char *const env[], pid_t *pid)
{
    int out[2];
    posix_spawn_file_actions_t fa;
    if (pipe2(out, O_CLOEXEC) != 0) return -1;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&fa, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    const int err = posix_spawnp(pid, program, &fa, NULL, argv, env);
    posix_spawn_file_actions_destroy(&fa);
    close(out[1]);
    if (!err) return out[0];
    close(out[0]);
    return -1;
}

/* Reads until the text holds `word`, the end, or the time is over. */
static bool hears(int fd, const char *word, int seconds, char *text, size_t cap)
{
    const int64_t until = avs_now_ns() + (int64_t)seconds * 1000000000;
    size_t n = strlen(text);
    while (!strstr(text, word) && n + 1 < cap) {
        const int64_t left = (until - avs_now_ns()) / 1000000;
        struct pollfd p = {fd, POLLIN, 0};
        if (left <= 0 || poll(&p, 1, (int)left) <= 0) return false;
        const ssize_t k = read(fd, text + n, cap - 1 - n);
        if (k <= 0) return false;
        n += (size_t)k;
        text[n] = '\0';
    }
    return strstr(text, word) != NULL;
}

static void check_gpu(avs_doctor *d, int i, const avs_gpu *g)
{
    const double gib = 1024.0 * 1024 * 1024;
    char warm[32] = "";
    if (g->fault[0]) {
        avs_doc_say(d, AVS_DOC_FAIL, "gpu", "GPU %d does not answer: %s", i, g->fault);
        return;
    }
    /* Another process's memory: the GPU is not ours alone. */
    const bool used = g->mem_bytes > 0 && (double)g->mem_used > 0.1 * (double)g->mem_bytes;
    if (g->celsius >= 0) snprintf(warm, sizeof warm, ", %d C", (int)g->celsius);
    avs_doc_say(d, used ? AVS_DOC_WARN : AVS_DOC_OK, "gpu", "%d %s, %s, %.1f of %.1f GiB free%s%s", i,
                g->model, g->uuid, (double)g->mem_free / gib, (double)g->mem_bytes / gib,
                used ? " (somebody uses it)" : "", warm);
}

/* GPUs of one island reach each other by NVLink; between islands ranks talk over PCIe and the host. */
static void check_links(avs_doctor *d, const avs_gpu_inventory *g)
{
    avs_buf b = AVS_BUF_INIT;
    for (int i = 0; i < g->n; i++) {
        bool first = true, joined = false;
        for (int k = 0; k < g->n; k++) {
            if (g->gpu[i].fault[0] || g->gpu[k].fault[0] || g->gpu[k].island != g->gpu[i].island) continue;
            first &= k >= i;
            joined |= k != i;
        }
        if (!first || !joined) continue;
        avs_buf_str(&b, b.len ? ";" : "");
        for (int k = 0; k < g->n; k++)
            if (!g->gpu[k].fault[0] && g->gpu[k].island == g->gpu[i].island) avs_buf_fmt(&b, " %d", k);
    }
    if (b.len)
        avs_doc_say(d, AVS_DOC_OK, "p2p", "NVLink joins GPUs%s", avs_buf_cstr(&b));
    else
        avs_doc_say(d, AVS_DOC_OK, "p2p", "no NVLink between the %d GPUs", (int)g->n);
    avs_buf_free(&b);
}

static void check_gpus(avs_doctor *d)
{
    avs_err err = AVS_ERR_INIT;
    avs_gpu_inventory g;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (avs_gpu_inventory_read(&g, NULL, NULL, &err) != AVS_OK) {
        avs_doc_say(d, AVS_DOC_FAIL, "gpu", "%s", err.msg);
        return;
    }
    if (!g.is_there) {
        avs_doc_say(d, AVS_DOC_SKIP, "gpu", "no libnvidia-ml.so.1 on this node: no NVIDIA driver");
        return;
    }
    avs_doc_say(d, g.n ? AVS_DOC_OK : AVS_DOC_WARN, "gpu", "%d GPUs, driver %s%s%s", (int)g.n,
                g.driver[0] ? g.driver : "?", visible ? ", CUDA_VISIBLE_DEVICES=" : "",
                visible ? visible : "");
    for (int i = 0; i < g.n; i++) check_gpu(d, i, &g.gpu[i]);
    if (g.n > 1) check_links(d, &g);
}

/* over: how ranks of several nodes meet, tried on this one; "": through memory. */
static void check_ring(avs_doctor *d, const char *over)
{
    char program[4096], text[512] = "", word[] = "ring", ranks[] = "2", how[8];
    char *argv[] = {program, word, ranks, over[0] ? how : NULL, NULL};
    avs_err err = AVS_ERR_INIT;
    pid_t pid = 0;
    int status = 0;
    if (avs_trial_program(d->o->trial_program, program, sizeof program, &err) != AVS_OK) {
        avs_doc_say(d, AVS_DOC_FAIL, "ring", "%s", err.msg);
        return;
    }
    snprintf(how, sizeof how, "%s", over);
    const int fd = start(program, argv, environ, &pid);
    const bool said = fd >= 0 && hears(fd, "\n", 30, text, sizeof text);
    if (fd >= 0) close(fd);
    if (pid > 0 && !said) kill(pid, SIGKILL);
    if (pid > 0) waitpid(pid, &status, 0);
    text[strcspn(text, "\n")] = '\0';
    avs_doc_say(d, said && status == 0 ? AVS_DOC_OK : AVS_DOC_FAIL, "ring", "host ring: %s%s",
                said && status == 0 ? text : "the all-reduce between two processes failed",
                (said && status == 0) || !over[0] ? "" : " over TCP");
}

/* mpirun -n 1 of ourselves; USR1 to mpirun must reach the rank. */
static void check_signals(avs_doctor *d)
{
    char self[4096], text[512] = "", word[] = AVS_PROBE_WORD, mpirun[] = "mpirun", one[] = "1", n[] = "-n",
                     root[] = "--allow-run-as-root", over[] = "--oversubscribe";
    char *argv[] = {mpirun, root, over, n, one, self, word, NULL};
    pid_t pid = 0;
    const ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[len > 0 ? len : 0] = '\0';
    if (strstr(avs_mpi_version(), "Open MPI") == NULL) {
        avs_doc_say(d, AVS_DOC_SKIP, "signals", "built without Open MPI");
        return;
    }
    if (avs_launch_read().under_launcher) { /* mpirun does not start inside mpirun */
        avs_doc_say(d, AVS_DOC_SKIP, "signals",
                    "started by a launcher; run doctor without it to try mpirun itself");
        return;
    }
    const int fd = start("mpirun", argv, environ, &pid);
    if (fd < 0) {
        avs_doc_say(d, AVS_DOC_SKIP, "signals", "no mpirun in PATH");
        return;
    }
    const bool ready = hears(fd, "ready", 20, text, sizeof text);
    const int64_t begin = avs_now_ns();
    if (ready) kill(pid, SIGUSR1);
    const bool came = ready && hears(fd, "signal 10", 5, text, sizeof text);
    if (!came) kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(fd);
    if (came)
        avs_doc_say(d, AVS_DOC_OK, "signals", "mpirun passes USR1 on within %.0f ms",
                    (double)(avs_now_ns() - begin) / 1e6);
    else
        avs_doc_say(d, ready ? AVS_DOC_FAIL : AVS_DOC_WARN, "signals",
                    ready ? "mpirun does not pass USR1 on: a run cannot be drained before the wall time"
                          : "mpirun does not start a program on this node");
}

int avs_doctor_probe(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    printf("ready\n");
    (void)fflush(stdout);
    const struct timespec most = {20, 0};
    const int s = sigtimedwait(&set, NULL, &most);
    printf("signal %d\n", s);
    return s > 0 ? 0 : 1;
}

/* ---- the list ---- */

static bool look_at_node(avs_doctor *d)
{
    cpu_set_t set;
    struct sysinfo s;
    char folder[4096] = ".";
    const int cores = avs_agent_cores(&set);
    if (sysinfo(&s) == 0)
        avs_doc_say(d, AVS_DOC_OK, "node", "%d cores, %.1f GiB memory, load %.2f", cores,
                    (double)s.totalram * s.mem_unit / (1024.0 * 1024 * 1024), (double)s.loads[0] / 65536);
    check_gpus(d);
    check_ring(d, "");
    check_ring(d, "tcp");
    avs_doc_scratch(d);
    if (d->o->db) {
        snprintf(folder, sizeof folder, "%s", d->o->db);
        char *slash = strrchr(folder, '/');
        if (slash)
            slash[slash == folder] = '\0';
        else
            snprintf(folder, sizeof folder, ".");
    }
    avs_doc_storage(d, folder);
    check_signals(d);
    return true;
}

int avs_command_doctor(const avs_options *o)
{
    avs_doctor d = {.o = o, .out = AVS_BUF_INIT};
    avs_agent_host(d.host, sizeof d.host);
    if (avs_launch_read().under_launcher)
        avs_doc_ranks(&d, look_at_node);
    else
        (void)look_at_node(&d);
    if (!o->json && d.out.len) avs_buf_fmt(&d.out, "%d failures, %d warnings\n", d.failures, d.warnings);
    const int code = avs_print(&d.out);
    return code != AVS_EXIT_OK ? code : d.failures ? AVS_EXIT_FAILED : AVS_EXIT_OK;
}
