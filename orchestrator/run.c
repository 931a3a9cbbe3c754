/* `avsweep run` before and after the event loop: the file, the data, the lease, the database, the helper agent, MPI. */
#include "orchestrator/run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include "avs_version.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "orchestrator/agent.h"
#include "orchestrator/command_io.h"
#include "orchestrator/commands.h"
#include "orchestrator/dispatch.h"
#include "orchestrator/fault_db.h"
#include "orchestrator/own_agent.h"
#include "orchestrator/estimate.h"
#include "orchestrator/manifest.h"
#include "orchestrator/self.h"

extern char **environ;

int avs_trial_program(const char *wanted, char *out, size_t n, avs_err *e)
{
    char self[4096];
    if (wanted && *wanted) {
        char *whole = realpath(wanted, NULL);
        bool ok = whole && access(whole, X_OK) == 0 && (size_t)snprintf(out, n, "%s", whole) < n;
        free(whole);
        return ok ? AVS_OK : avs_fail(e, AVS_EMISSING, "the trial program %s: %s", wanted, strerror(errno));
    }
    ssize_t k = readlink("/proc/self/exe", self, sizeof self - 1);
    if (k <= 0) return avs_fail(e, AVS_EIO, "/proc/self/exe: %s", strerror(errno));
    self[k] = '\0';
    *strrchr(self, '/') = '\0';
    if ((size_t)snprintf(out, n, "%s/avsweep-trial", self) < n && access(out, X_OK) == 0) return AVS_OK;
    return avs_fail(e, AVS_EMISSING, "avsweep-trial is not beside avsweep in %s", self);
}

/* ---- data ---- */

static int index_data(const char *program, const char *root, avs_err *e)
{
    char *argv[] = {(char *)(uintptr_t) "avsweep-trial", (char *)(uintptr_t) "data",
                    (char *)(uintptr_t) "index", (char *)(uintptr_t)root, NULL};
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    sigset_t none; /* Ctrl-C ends it, also after an earlier file of the same command has run */
    pid_t pid;
    int status = 0;
    sigemptyset(&none);
    posix_spawnattr_init(&at);
    posix_spawnattr_setsigmask(&at, &none);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, STDERR_FILENO, STDOUT_FILENO); /* stdout is for results */
    int err = posix_spawn(&pid, program, &fa, &at, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&at);
    if (err) return avs_fail(e, AVS_EIO, "%s: %s", program, strerror(err));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return AVS_OK;
    return avs_fail(e, AVS_EMISSING, "indexing the data in %s did not succeed (see above)", root);
}

/* Makes the manifests that are missing. *made: the sweep must be read again. */
static int index_missing(const avs_sweep *s, const char *program, bool *made, avs_err *e)
{
    *made = false;
    for (int64_t i = 0; i < s->n_trials; i++) {
        const avs_sweep_config *c = s->trials[i]->config;
        uint8_t fp[32];
        bool reads = strcmp(c->kind, "train") == 0 || strcmp(c->kind, "eval") == 0;
        if (!reads || !c->data_root[0] || c->data_fingerprint[0] ||
            avs_manifest_fingerprint(NULL, c->data_root, fp))
            continue;
        if (!avs_fs_is_dir(c->data_root))
            return avs_fail(e, AVS_EMISSING, "data_root is %s, which is no folder", c->data_root);
        avs_say("indexing the data in %s (once; avsweep data index %s)", c->data_root, c->data_root);
        int rc = index_data(program, c->data_root, e);
        if (rc != AVS_OK) return rc;
        if (!avs_manifest_fingerprint(NULL, c->data_root, fp))
            return avs_fail(e, AVS_EMISSING, "%s: no manifest after indexing", c->data_root);
        *made = true;
    }
    return AVS_OK;
}

/* ---- the sweep ---- */

static const char *argv_json(avs_arena *a, int argc, char **argv)
{
    avs_buf b = AVS_BUF_INIT;
    for (int i = 0; i < argc; i++) {
        avs_buf_char(&b, i ? ',' : '[');
        avs_json_write_str(&b, argv[i]);
    }
    avs_buf_char(&b, ']');
    const char *out = avs_buf_ok(&b) ? avs_arena_str(a, avs_buf_cstr(&b)) : NULL;
    avs_buf_free(&b);
    return out;
}

/* ROOT is DB.work beside the database, absolute because trials run in folders of their own. */
static int work_root(avs_arena *a, const char *db, const char **out, avs_err *e)
{
    char *folder = avs_arena_fmt(a, "%s.work", db);
    if (!folder) return avs_fail(e, AVS_ENOMEM, "no memory");
    int rc = avs_fs_mkdirs(folder, e);
    if (rc != AVS_OK) return rc;
    char *whole = realpath(folder, NULL);
    *out = whole ? avs_arena_str(a, whole) : NULL;
    free(whole);
    return *out ? AVS_OK : avs_fail(e, AVS_EIO, "%s: %s", folder, strerror(errno));
}

static void write_exit(const char *db, int code)
{
    char path[4096], text[16];
    avs_err err = AVS_ERR_INIT;
    snprintf(path, sizeof path, "%s.exit", db);
    int n = snprintf(text, sizeof text, "%d\n", code);
    if (avs_fs_write_atomic(path, text, (size_t)n, &err) != AVS_OK) avs_say("warning: %s", err.msg);
}

static void remove_exit(const char *db)
{
    char path[4096];
    snprintf(path, sizeof path, "%s.exit", db);
    unlink(path);
}

/* ---- agents ---- */

int avs_run_agent(int argc, char **argv)
{
    avs_err err = AVS_ERR_INIT;
    avs_spawner s = {.fd = -1};
    avs_transport *t = NULL;
    char *end = NULL;
    const long cores = argc == 5 ? strtol(argv[4], &end, 10) : 0; /* 0: those of the machine */
    if (!end || *end || cores < 0 || cores > INT_MAX) {
        avs_say("agent: started with wrong arguments; it is no command for users");
        return AVS_EXIT_USAGE;
    }
    avs_fault_arm("agent", -1);
    avs_agent_cfg cfg = {.program = argv[2],
                         .root = argv[3],
                         .offer_spool = true,
                         .cores = (int)cores,
                         .log = {.fd = STDERR_FILENO, .level = AVS_LOG_W, .tag = "agent"}};
    fcntl(3, F_SETFD, FD_CLOEXEC);
    int rc = avs_spawner_open(&s, &err);
    if (rc == AVS_OK) rc = avs_transport_local(&t, 3, &err);
    if (rc == AVS_OK) rc = avs_agent_run(t, &s, &cfg, &err);
    if (rc != AVS_OK && rc != AVS_ECANCEL) avs_say("agent: %s", err.msg);
    avs_spawner_close(&s);
    if (t) t->close(t);
    return rc == AVS_OK ? 0 : AVS_EXIT_INTERNAL;
}

/* Ranks other than 0: an agent, or parked. */
static int serve_rank(const avs_options *o)
{
    char program[4096];
    avs_err err = AVS_ERR_INIT;
    avs_spawner s = {.fd = -1};
    avs_transport *t = NULL;
    avs_role role;
    int parked, rc;
    avs_self_block_signals();
    avs_fault_arm("agent", -1);
    rc = avs_trial_program(o->trial_program, program, sizeof program, &err);
    if (rc == AVS_OK) rc = avs_spawner_open(&s, &err); /* before MPI_Init */
    if (rc == AVS_OK) rc = avs_transport_mpi(&t, &role, &parked, &err);
    if (rc == AVS_OK && role == AVS_ROLE_AGENT) {
        avs_agent_cfg cfg = {.program = program,
                             .cores = o->cores,
                             .log = {.fd = STDERR_FILENO, .level = AVS_LOG_W, .tag = "agent"}};
        rc = avs_agent_run(t, &s, &cfg, &err);
    } else if (rc == AVS_OK) {
        avs_spawner_close(&s);
        avs_mpi_park();
    }
    avs_spawner_close(&s);
    if (rc != AVS_OK) {
        avs_say("agent: %s", err.msg);
        return AVS_EXIT_INTERNAL;
    }
    if (t) t->close(t);
    avs_mpi_end(role, 0);
    return 0;
}

/* ---- rank 0 ---- */

typedef struct {
    const avs_options *o;
    avs_arena *arena;
    avs_sweep *sweep;
    avs_trial_list list;
    avs_trial_list_options choice;
    avs_estimates estimates;
    avs_estimate_sum sum;
    avs_lease lease;
    avs_store *db;
    avs_own_agent helper;
    avs_transport *local, *mpi;
    char program[4096];
    bool under_mpi;
    int max_failures; /* that ended the run, counting earlier ones; 0: no number does */
    avs_dispatch_result result;
} session;

static int connect_agents(session *s, const avs_launch *launch, avs_err *e)
{
    int rc = avs_own_agent_start(&s->helper, s->program, s->list.root, s->o->cores, e);
    if (rc == AVS_OK) rc = avs_transport_local(&s->local, s->helper.fd, e);
    if (rc != AVS_OK || !launch->under_launcher) return rc;
    avs_role role;
    int parked = 0;
    rc = avs_transport_mpi(&s->mpi, &role, &parked, e);
    if (rc != AVS_OK) return rc;
    s->under_mpi = true;
    if (avs_launch_emulates_nodes())
        avs_say("AVSWEEP_EMULATE_NODES: %d agents of this machine act as nodes of their own",
                s->mpi->n_peers + 1);
    if (parked > 0)
        avs_say("warning: %d ranks are parked: one agent per node is enough (use --ntasks-per-node=1)",
                parked);
    return AVS_OK;
}

static int coordinator_cfg(const session *s, avs_coord_cfg *c, avs_err *e)
{
    const avs_options *o = s->o;
    *c = avs_coord_cfg_default();
    c->agents_expected = 1 + (s->mpi ? s->mpi->n_peers : 0);
    c->max_parallel = o->max_parallel;
    if (o->backoff_ms) c->backoff_ms = o->backoff_ms;
    int tenth = s->list.n / 10, stated = 0;
    for (int i = 0; i < s->sweep->n_stages; i++)
        if (s->sweep->stages[i].limits.max_failures > stated)
            stated = s->sweep->stages[i].limits.max_failures;
    c->max_failures = stated ? stated : tenth > 20 ? tenth : 20;
    c->max_failures += s->list.failed_before;
    if (o->fail_fast) c->max_failures = s->list.failed_before + 1;
    if (o->keep_going) c->max_failures = 0;
    int64_t now = avs_now_ns() / 1000000;
    double seconds = 0;
    if (o->lost_after) {
        int rc = avs_cli_duration(o->lost_after, &seconds, e);
        if (rc != AVS_OK) {
            (void)avs_ctx(e, "--lost-after");
            return rc;
        }
        c->lost_ms = (int64_t)(seconds * 1000);
        if (c->suspect_ms > c->lost_ms / 2) c->suspect_ms = c->lost_ms / 2;
    }
    if (o->walltime) {
        int rc = avs_cli_duration(o->walltime, &seconds, e);
        if (rc != AVS_OK) {
            (void)avs_ctx(e, "--walltime");
            return rc;
        }
        c->end_ms = now + (int64_t)(seconds * 1000);
    } else if (o->end_time) {
        char *end = NULL;
        double at = strtod(o->end_time, &end);
        if (end == o->end_time || *end || !isfinite(at))
            return avs_fail(e, AVS_ERANGE, "--end-time is '%s', expected seconds since 1970 UTC",
                            o->end_time);
        c->end_ms = now + (int64_t)(at * 1000) - avs_wall_us() / 1000;
        if (c->end_ms <= 0) c->end_ms = 1;
    }
    return AVS_OK;
}

/* ---- estimates ---- */

/* Whether anything asks how long trials take: reading the past of a large database is not free. The coordinator does
 * when there is an end of the run, and when trials of several sizes compete, for then it fills gaps. */
static bool wants_lengths(const session *s)
{
    bool wants = s->o->walltime || s->o->end_time;
    const avs_sweep_resources *last = NULL;
    for (int i = 0; i < s->sweep->n_stages; i++)
        wants |= strcmp(s->sweep->stages[i].order.mode, "longest-first") == 0;
    for (int64_t i = 0; i < s->sweep->n_trials && !wants; i++) {
        const avs_sweep_resources *r = &s->sweep->trials[i]->config->resources;
        wants = last && (r->gpus != last->gpus || r->cpus != last->cpus || r->mem_gb != last->mem_gb ||
                         r->cpus_per_gpu != last->cpus_per_gpu);
        last = r;
    }
    return wants;
}

/* The list of the run and what it will take; refuses what takes too much. db may be NULL. */
static int plan(session *s, avs_store *db)
{
    avs_err err = AVS_ERR_INIT;
    bool summed = s->o->dry_run || s->o->max_gpu_hours > 0;
    int rc = summed || wants_lengths(s)
                 ? avs_estimates_make(&s->estimates, s->arena, s->sweep, db, summed, &err)
                 : AVS_OK;
    s->choice.seconds = s->estimates.seconds;
    s->choice.basis = s->estimates.basis;
    if (rc == AVS_OK) rc = avs_trial_list_make(&s->list, s->arena, s->sweep, &s->choice, &err);
    if (rc == AVS_OK && summed) rc = avs_estimates_sum(&s->estimates, &s->list, &s->choice, &s->sum, &err);
    if (rc != AVS_OK) {
        avs_say("error: %s: %s", s->o->words[0], err.msg);
        return rc == AVS_EDB ? AVS_EXIT_DB : AVS_EXIT_SWEEP;
    }
    double hours = s->sum.gpu_seconds / 3600;
    if (s->o->max_gpu_hours > 0 && hours > s->o->max_gpu_hours) {
        avs_say("error[R008]: the sweep is estimated to take %.1f GPU-hours, --max-gpu-hours allows %.1f. "
                "Nothing was "
                "started.",
                hours, s->o->max_gpu_hours);
        return AVS_EXIT_SWEEP;
    }
    return 0;
}

/* Trials of an earlier version of the file that are not in it any more. */
static int tell_superseded(const session *s, avs_err *e)
{
    avs_store_gone g;
    if (s->list.resumed && !s->o->prune) return AVS_OK;
    int rc = avs_store_superseded(s->db, s->list.sweep_id, s->o->prune, &g, e);
    if (rc == AVS_OK && s->o->prune) rc = avs_store_flush(s->db, e);
    if (rc != AVS_OK || g.n_open == 0) return rc;
    avs_buf b = AVS_BUF_INIT;
    for (int i = 0; i < g.n && i < AVS_STORE_GONE_NAMED; i++) avs_buf_fmt(&b, " %s", g.hex[i]);
    if (g.n > AVS_STORE_GONE_NAMED) avs_buf_str(&b, " ..");
    avs_say("the file lists %lld earlier trials no more:%s; %lld of them are open%s", (long long)g.n,
            avs_buf_cstr(&b), (long long)g.n_open,
            s->o->prune ? " and cancelled now" : " (--prune cancels them)");
    avs_buf_free(&b);
    return AVS_OK;
}

static int register_trials(session *s, avs_err *e)
{
    int rc;
    int64_t orphans = 0;
    s->choice.argv_json = argv_json(s->arena, s->o->argc, s->o->argv);
    AVS_TRY(avs_store_lose_orphans(s->db, &orphans, e));
    AVS_TRY(work_root(s->arena, s->o->db, &s->list.root, e));
    AVS_TRY(avs_trial_list_register(&s->list, s->arena, s->sweep, s->db, &s->choice, e));
    AVS_TRY(tell_superseded(s, e));
    if (orphans > 0) avs_say("%lld attempts of a run that died are queued again", (long long)orphans);
    if (s->list.n_stale > 0 && s->choice.stale == AVS_STALE_WARN)
        avs_say(
            "warning[W034]: %d finished trials were run by another version of the code; --stale-code=rerun "
            "runs "
            "them again, --stale-code=keep keeps them without a word",
            s->list.n_stale);
out:
    return rc;
}

static void summary(const session *s)
{
    const avs_coord_counts *c = &s->result.counts;
    if (s->o->quiet) return;
    avs_say("%s: %d of %d trials done (%d before), %d failed, %d blocked, %d left", s->sweep->name, c->done,
            c->total, c->done_before, c->failed, c->blocked, c->pending + c->waiting + c->running);
    if (c->pruned > 0) avs_say("%d trials were stopped early", c->pruned);
    const bool enough = s->max_failures > 0 && c->failed >= s->max_failures;
    if (s->result.code == 1 && enough && c->pending + c->waiting + c->running > 0)
        avs_say("stopped: %d trials failed in this run, %s; --keep-going never stops early",
                c->failed - s->list.failed_before,
                s->o->fail_fast ? "and --fail-fast allows none" : "as many as limits.max_failures allows");
    if (s->result.code == 75 || s->result.code == 130) avs_say("run the same command again for the rest");
    if (c->failed > 0)
        avs_say("'avsweep status --db %s' shows why trials failed; --retry failed tries them again",
                s->o->db);
}

static double mib_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (double)st.st_size / 1048576 : 0;
}

/* After the database failed for want of room: how much is there, and how much the rest takes if it is like the past. */
static void tell_room(const session *s)
{
    const avs_coord_counts *c = &s->result.counts;
    struct statvfs v;
    char log[4100];
    const int left = c->total - c->done;
    snprintf(log, sizeof log, "%.4090s-wal", s->o->db);
    const double size = mib_of(s->o->db), each = c->done > 0 ? size / c->done : size / (c->total + 1);
    const double needs = each * left + 2 * mib_of(log) + 1;
    if (statvfs(s->o->db, &v) != 0) return;
    const double room = (double)v.f_bavail * (double)v.f_frsize / 1048576;
    if (room < needs)
        avs_say("%s: %.1f MiB are free on its volume; the %d trials that are left need about %.1f MiB there",
                s->o->db, room, left, needs);
}

static int run_sweep(session *s, const avs_launch *launch)
{
    avs_err err = AVS_ERR_INIT;
    avs_dispatch_cfg d = {.list = &s->list,
                          .lease = &s->lease,
                          .quiet = s->o->quiet,
                          .verbose = s->o->verbose,
                          .json = s->o->json};
    int rc = avs_store_open(s->o->db, AVS_STORE_WRITE, AVS_VERSION, &s->db, &err), code = AVS_EXIT_DB;
    if (rc == AVS_OK) {
        code = plan(s, s->db);
        if (code != 0) return code;
        code = AVS_EXIT_DB;
        rc = register_trials(s, &err);
    }
    if (rc == AVS_OK) {
        code = AVS_EXIT_INTERNAL;
        rc = connect_agents(s, launch, &err);
    }
    if (rc == AVS_OK) {
        code = AVS_EXIT_USAGE;
        rc = coordinator_cfg(s, &d.coord, &err);
    }
    if (rc == AVS_OK) {
        if (!s->o->quiet && s->list.reused)
            avs_say("%d of %d trials are done already%s", s->list.reused, s->list.n,
                    s->list.resumed ? "; resuming" : "");
        d.db = s->db;
        avs_transport *const links[] = {s->local, s->mpi};
        d.links = links;
        d.n_links = s->mpi ? 2 : 1;
        code = AVS_EXIT_INTERNAL;
        rc = avs_dispatch(&d, &s->result, &err);
    }
    if (rc == AVS_OK) {
        code = s->result.code;
        s->max_failures = d.coord.max_failures;
        summary(s);
        if (code == AVS_EXIT_DB) tell_room(s);
        if ((code == 0 || code == 1) && !s->o->only) {
            rc = avs_store_sweep_end(s->db, s->list.sweep_id, &err);
            if (rc == AVS_OK) rc = avs_store_flush(s->db, &err);
            if (rc != AVS_OK) code = AVS_EXIT_DB;
        }
    }
    if (rc != AVS_OK && code == AVS_EXIT_DB && s->db) {
        avs_say("error[D001]: %s", err.msg);
        avs_say("help: nothing committed is lost; make room or repair, then run the same command again");
    } else if (rc != AVS_OK) {
        avs_say("error: %s", err.msg);
    }
    return code;
}

static void close_session(session *s)
{
    if (s->local)
        s->local->close(s->local);
    else if (s->helper.fd >= 0)
        close(s->helper.fd);
    avs_own_agent_wait(&s->helper);
    if (s->mpi) s->mpi->close(s->mpi);
    avs_store_close(s->db);
}

static int dry_run(session *s)
{
    avs_buf b = AVS_BUF_INIT;
    avs_store *db = NULL;
    avs_err err = AVS_ERR_INIT;
    if (s->o->db && avs_fs_exists(s->o->db) &&
        avs_store_open(s->o->db, AVS_STORE_READ, AVS_VERSION, &db, &err) != AVS_OK) {
        avs_say("error: %s", err.msg);
        return AVS_EXIT_DB;
    }
    int code = plan(s, db);
    if (code == 0) avs_dry_run_text(&b, &s->estimates, &s->list, &s->sum, s->o);
    if (code == 0) avs_fs_full_write(STDOUT_FILENO, b.data, b.len);
    avs_store_close(db);
    avs_buf_free(&b);
    return code;
}

/* The file and its data, before anything is touched. */
static int prepare(session *s)
{
    avs_err err = AVS_ERR_INIT;
    bool again = false;
    s->sweep = avs_load_sweep(s->arena, s->o);
    if (!s->sweep) return AVS_EXIT_SWEEP;
    if (!s->o->dry_run) {
        if (avs_trial_program(s->o->trial_program, s->program, sizeof s->program, &err) != AVS_OK) {
            avs_say("error: %s", err.msg);
            return AVS_EXIT_INTERNAL;
        }
        if (index_missing(s->sweep, s->program, &again, &err) != AVS_OK) {
            avs_say("error: %s: %s", s->o->words[0], err.msg);
            return AVS_EXIT_SWEEP;
        }
        if (again && !(s->sweep = avs_load_sweep(s->arena, s->o))) return AVS_EXIT_SWEEP;
    }
    return 0;
}

/* What the command line says about which trials run. Exit code 2 after a complaint. */
static int read_choice(session *s)
{
    avs_trial_list_options *c = &s->choice;
    const char *stale = s->o->stale_code ? s->o->stale_code : "warn", *w = s->o->retry;
    c->only = s->o->only;
    c->fresh = s->o->fresh;
    c->stale = strcmp(stale, "keep") == 0    ? AVS_STALE_KEEP
               : strcmp(stale, "rerun") == 0 ? AVS_STALE_RERUN
                                             : AVS_STALE_WARN;
    while (w && *w) {
        size_t n = strcspn(w, ",");
        if (n == 6 && strncmp(w, "failed", n) == 0)
            c->retry_failed = true;
        else if (n == 4 && strncmp(w, "lost", n) == 0)
            c->retry_lost = true;
        else {
            avs_say("error: --retry is '%s', expected failed, lost or failed,lost", s->o->retry);
            return AVS_EXIT_USAGE;
        }
        w += n + (w[n] == ',');
    }
    return 0;
}

/* One file, from reading it to its exit status. */
static int run_file(const avs_options *o, const avs_launch *launch)
{
    avs_err err = AVS_ERR_INIT;
    session s = {.o = o, .arena = avs_arena_new(), .helper = {0, -1}, .lease = {.fd = -1}};
    if (!s.arena) return AVS_EXIT_INTERNAL;
    int code = read_choice(&s);
    if (code == 0) code = prepare(&s);
    if (code == 0 && o->dry_run) {
        code = dry_run(&s);
    } else if (code == 0) {
        static bool is_set_up;
        if (!is_set_up) {
            avs_self_block_signals();
            avs_fault_arm("coordinator", -1);
            avs_fault_db_install();
        }
        is_set_up = true;
        int rc = avs_fs_mkdirs_for(o->db, &err);
        if (rc == AVS_OK) rc = avs_lease_take(&s.lease, o->db, o->steal_lease, &err);
        if (rc != AVS_OK) { /* somebody else's, or a folder that cannot be written */
            avs_say("error[%s]: %s", rc == AVS_EDB ? "D002" : "D001", err.msg);
            code = AVS_EXIT_DB;
        } else {
            remove_exit(o->db);
            code = run_sweep(&s, launch);
            close_session(&s);
            write_exit(o->db, code);
            avs_lease_drop(&s.lease);
            if (s.under_mpi)
                avs_mpi_end(AVS_ROLE_COORDINATOR, s.result.lost_agents > 0 ? (code ? code : 1) : 0);
        }
    }
    avs_trial_list_told(&s.list);
    avs_arena_free(s.arena);
    return code;
}

/* Every file must be right before the first one starts; what they warn of is said when their turn comes. */
static int check_files(const avs_options *o)
{
    avs_options quiet = *o;
    int code = 0;
    quiet.quiet = true;
    for (int i = 0; i < o->n_words; i++) {
        avs_arena *a = avs_arena_new();
        quiet.words[0] = o->words[i];
        if (!a || !avs_load_sweep(a, &quiet)) code = a ? AVS_EXIT_SWEEP : AVS_EXIT_INTERNAL;
        avs_arena_free(a);
    }
    return code;
}

/* The files one after the other, each as a run of its own. What stops a run stops the rest; failed trials do not. */
static int run_files(const avs_options *o, const avs_launch *launch)
{
    avs_options one = *o;
    const int64_t begin = avs_now_ns();
    double limit = 0;
    char left[32];
    int code = o->n_words > 1 ? check_files(o) : 0, last = 0;
    if (o->walltime) (void)avs_cli_duration(o->walltime, &limit, NULL);
    one.n_words = 1;
    for (int i = 0; i < o->n_words && (code == 0 || (code == AVS_EXIT_FAILED && !o->fail_fast)); i++) {
        if (o->walltime && i > 0) { /* what the files before have left of it */
            const double rest = limit - (double)(avs_now_ns() - begin) / 1e9;
            snprintf(left, sizeof left, "%.3f", rest > 0.001 ? rest : 0.001);
            one.walltime = left;
        }
        one.words[0] = o->words[i];
        last = run_file(&one, launch);
        if (last != 0) code = last;
    }
    if (code != last && !o->dry_run) write_exit(o->db, code);
    return code;
}

int avs_run(const avs_options *o)
{
    const avs_launch launch = avs_launch_read();
    avs_err err = AVS_ERR_INIT;
    double seconds;
    if (launch.under_launcher && o->n_words > 1 && !o->dry_run) {
        if (launch.rank <= 0)
            avs_say("error: under mpirun or srun a run takes one FILE; start avsweep once for each of the %d",
                    o->n_words);
        return AVS_EXIT_USAGE;
    }
    if (launch.rank > 0 && !o->dry_run) return serve_rank(o);
    if (!o->db && !o->dry_run) {
        avs_say("error: run needs --db DB (or AVSWEEP_DB)");
        return AVS_EXIT_USAGE;
    }
    int rc = avs_fault_check(&err);
    if (rc == AVS_OK && o->walltime) rc = avs_cli_duration(o->walltime, &seconds, &err);
    if (rc == AVS_OK && o->lost_after) rc = avs_cli_duration(o->lost_after, &seconds, &err);
    if (rc != AVS_OK) {
        avs_say("error: %s", err.msg);
        return AVS_EXIT_USAGE;
    }
    return run_files(o, &launch);
}
