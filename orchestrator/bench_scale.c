/* The coordinator is watched from outside, as a user would: the first trial has started when the folder of logs holds
 * something. Then its figures are read from /proc and it is asked to stop. */
#include "orchestrator/bench_scale.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/fs.h"
#include "base/log.h"

extern char **environ;
enum { LOOK_MS = 2, START_S = 400, STOP_S = 60, PATH = 700 };

static bool has_entries(const char *folder)
{
    DIR *d = opendir(folder);
    bool any = false;
    if (!d) return false;
    for (const struct dirent *x; !any && (x = readdir(d));) any = x->d_name[0] != '.';
    closedir(d);
    return any;
}

static int start(const char *sweep, const char *db, const char *program, pid_t *pid, avs_err *e)
{
    char name[] = "avsweep", run[] = "run", o_db[] = "--db", quiet[] = "--quiet", most[] = "--max-parallel",
         one[] = "1", trial[] = "--trial-program";
    char *argv[] = {name, run,   (char *)(uintptr_t)sweep,   o_db, (char *)(uintptr_t)db, quiet, most,
                    one,  trial, (char *)(uintptr_t)program, NULL};
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&fa, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&at);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&at, &none);
    int err = posix_spawn(pid, "/proc/self/exe", &fa, &at, argv, environ);
    posix_spawnattr_destroy(&at);
    posix_spawn_file_actions_destroy(&fa);
    return err ? avs_fail(e, AVS_EIO, "avsweep run: %s", strerror(err)) : AVS_OK;
}

static void read_figures(pid_t pid, avs_scale_figures *f)
{
    char path[64], line[256];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
    FILE *in = fopen(path, "re");
    if (in && fscanf(in, "%llu", &ns) != 1) ns = 0;
    if (in) fclose(in);
    f->cpu_s = (double)ns * 1e-9;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    in = fopen(path, "re");
    while (in && fgets(line, sizeof line, in)) {
        long long kb;
        if (sscanf(line, "VmRSS: %lld", &kb) == 1) f->rss_mb = (double)kb * 1.024e-3;
    }
    if (in) fclose(in);
}

/* Whether the process is over within so many seconds. */
static bool over(pid_t pid, int64_t seconds)
{
    const struct timespec look = {0, LOOK_MS * 1000000};
    const int64_t until = avs_now_ns() + seconds * 1000000000;
    for (;;) {
        pid_t k = waitpid(pid, NULL, WNOHANG);
        if (k == pid || (k < 0 && errno != EINTR)) return true;
        if (avs_now_ns() >= until) return false;
        nanosleep(&look, NULL);
    }
}

static int watch(const char *folder, const char *name, const char *db, const char *program,
                 avs_scale_figures *f, avs_err *e)
{
    char sweep[PATH], file[PATH], logs[PATH + 16], work[PATH + 16];
    const struct timespec look = {0, LOOK_MS * 1000000};
    pid_t pid = -1;
    snprintf(sweep, sizeof sweep, "%s/%s.yaml", folder, name);
    snprintf(file, sizeof file, "%s/%s.db", folder, db);
    snprintf(work, sizeof work, "%s.work", file);
    snprintf(logs, sizeof logs, "%s.work/logs", file);
    avs_fs_remove_tree(work);
    const int64_t t0 = avs_now_ns();
    int rc = start(sweep, file, program, &pid, e);
    if (rc != AVS_OK) return rc;
    while (!has_entries(logs)) {
        const double s = (double)(avs_now_ns() - t0) * 1e-9;
        if (s < START_S && waitpid(pid, NULL, WNOHANG) == 0) {
            nanosleep(&look, NULL);
            continue;
        }
        kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return avs_fail(e, AVS_EIO, "avsweep run %s: no trial was started in %.0f s", sweep, s);
    }
    f->first_s = (double)(avs_now_ns() - t0) * 1e-9;
    read_figures(pid, f);
    kill(pid, SIGTERM);
    if (over(pid, STOP_S)) return AVS_OK;
    kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    return avs_fail(e, AVS_EIO, "avsweep run %s did not stop in %d s", sweep, STOP_S);
}

static int write_sweep(const char *folder, const char *name, int points, int seeds, avs_err *e)
{
    char path[PATH], text[400];
    snprintf(path, sizeof path, "%s/%s.yaml", folder, name);
    int n = snprintf(text, sizeof text,
                     "avsweep: 1\nname: %s\nkind: noop\nbase: {model: avesformer, task: s4}\n"
                     "sweep: [{grid: {lr: {logspace: [1e-5, 1e-3, %d]}}}]\nseeds: %d\nresources: {cpus: 1}\n",
                     name, points, seeds);
    return avs_fs_write_atomic(path, text, (size_t)n, e);
}

int avs_bench_scale(const char *folder, const char *trial_program, avs_scale *out, avs_err *e)
{
    *out = (avs_scale){0};
    int rc = write_sweep(folder, "empty", 2, 500, e);
    if (rc == AVS_OK) rc = write_sweep(folder, "million", 1000, 1000, e);
    if (rc == AVS_OK) rc = watch(folder, "empty", "empty", trial_program, &out->empty, e);
    if (rc == AVS_OK) rc = watch(folder, "million", "million", trial_program, &out->fresh, e);
    if (rc == AVS_OK) rc = watch(folder, "million", "million", trial_program, &out->resumed, e);
    return rc;
}
