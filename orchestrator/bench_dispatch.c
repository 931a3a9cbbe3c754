/* Each row is a sweep of no-ops through avs_dispatch with two agents on this machine, in a folder that is removed:
 * rates on tmpfs, durable commits on disk ($TMPDIR). What is timed begins with the agents connected to nothing and ends
 * with the last ACK; reading, expanding and registering the sweep are not in it. Those have rows of their own
 * (bench_scale.c). */
#include "orchestrator/bench_dispatch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "avs_version.h"
#include "base/arena.h"
#include "base/fs.h"
#include "base/log.h"
#include "orchestrator/bench_scale.h"
#include "orchestrator/command_io.h"
#include "orchestrator/dispatch.h"
#include "orchestrator/own_agent.h"
#include "orchestrator/run.h"
#include "orchestrator/self.h"

enum { AGENTS = 2, SAMPLES = 1 << 16, IDLE_MS = 5000 };

typedef struct {
    const char *name, *unit;
    int trials, agents, cores, ranks; /* cores: no-ops at one time on an agent */
    bool is_inline, each, on_disk, sampled, idle;
    double target;
    bool at_most; /* the target is an upper bound */
} row;

typedef struct {
    double seconds, self_cpu, agent_cpu; /* shares of a core, the worst agent              */
    double cpu_s;                        /* of coordinator and agents, not of trials       */
    avs_dispatch_samples samples;
} measured;

static double cpu_of(pid_t pid)
{
    char path[64], line[96];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
    FILE *f = fopen(path, "re");
    if (f && fgets(line, sizeof line, f)) ns = strtoull(line, NULL, 10);
    if (f) (void)fclose(f);
    return (double)ns * 1e-9;
}

typedef struct {
    avs_arena *arena;
    avs_trial_list list;
    avs_store *db;
    avs_lease lease;
    avs_own_agent helper[AGENTS];
    avs_transport *link[AGENTS];
} stand;

static int prepare(stand *s, const row *r, const char *folder, avs_err *e)
{
    char text[512], db[600];
    avs_diag d;
    int rc;
    avs_diag_init(&d, s->arena);
    int n = snprintf(text, sizeof text,
                     "avsweep: 1\nname: bench\nkind: noop\nbase: {model: avesformer, task: s4}\n"
                     "seeds: %d\nresources: {cpus: 1}\n",
                     r->trials);
    avs_sweep *sweep =
        avs_sweep_parse(s->arena, "bench.yaml", text, (size_t)n, &(avs_sweep_options){0}, &d, e);
    if (!sweep) return avs_fail(e, AVS_EPARSE, "the sweep of the measurement is not understood");
    snprintf(db, sizeof db, "%s/bench.db", folder);
    AVS_TRY(avs_trial_list_make(&s->list, s->arena, sweep, &(avs_trial_list_options){0}, e));
    s->list.root = avs_arena_fmt(s->arena, "%s/work", folder);
    if (!s->list.root) return avs_fail(e, AVS_ENOMEM, "no memory to measure");
    for (int32_t k = 0; k < s->list.n_classes; k++) s->list.classes[k].ranks = r->ranks;
    AVS_TRY(avs_lease_take(&s->lease, db, false, e));
    AVS_TRY(avs_store_open(db, AVS_STORE_WRITE, AVS_VERSION, &s->db, e));
    AVS_TRY(avs_trial_list_register(&s->list, s->arena, sweep, s->db, &(avs_trial_list_options){0}, e));
out:
    return rc;
}

static int run_row(const row *r, const char *program, const char *folder, measured *m, avs_err *e)
{
    stand s = {.arena = avs_arena_new(), .lease = {.fd = -1}};
    int rc = s.arena ? prepare(&s, r, folder, e) : avs_fail(e, AVS_ENOMEM, "no memory to measure");
    for (int k = 0; rc == AVS_OK && k < r->agents; k++) {
        rc = avs_own_agent_start(&s.helper[k], program, s.list.root, r->cores, e);
        if (rc == AVS_OK) rc = avs_transport_local(&s.link[k], s.helper[k].fd, e);
    }
    if (rc == AVS_OK) {
        avs_dispatch_cfg d = {.list = &s.list,
                              .db = s.db,
                              .lease = &s.lease,
                              .links = s.link,
                              .n_links = r->agents,
                              .coord = avs_coord_cfg_default(),
                              .quiet = true,
                              .inline_noops = r->is_inline,
                              .commit_each = r->each,
                              .samples = r->sampled ? &m->samples : NULL};
        avs_dispatch_result out = {0};
        d.coord.agents_expected = r->agents + r->idle; /* idle: they wait for one who never comes */
        if (r->idle) d.coord.hold_ms = IDLE_MS;
        m->samples.spawned = !r->is_inline;
        struct rusage u0, u1;
        getrusage(RUSAGE_SELF, &u0);
        int64_t t0 = avs_now_ns();
        rc = avs_dispatch(&d, &out, e);
        m->seconds = (double)(avs_now_ns() - t0) * 1e-9;
        getrusage(RUSAGE_SELF, &u1);
        m->self_cpu =
            ((double)(u1.ru_utime.tv_sec - u0.ru_utime.tv_sec + u1.ru_stime.tv_sec - u0.ru_stime.tv_sec) +
             1e-6 * (double)(u1.ru_utime.tv_usec - u0.ru_utime.tv_usec + u1.ru_stime.tv_usec -
                             u0.ru_stime.tv_usec)) /
            m->seconds;
        for (int k = 0; k < r->agents; k++) {
            double cpu = cpu_of(s.helper[k].pid);
            m->agent_cpu = fmax(m->agent_cpu, cpu / m->seconds);
            m->cpu_s += cpu;
        }
        m->cpu_s += m->self_cpu * m->seconds;
        if (rc == AVS_OK && out.counts.done != r->trials)
            rc = avs_fail(e, AVS_EIO, "%s: %d of %d trials were done", r->name, out.counts.done, r->trials);
    }
    for (int k = 0; k < r->agents; k++) {
        if (s.link[k]) s.link[k]->close(s.link[k]);
        avs_own_agent_wait(&s.helper[k]);
    }
    avs_store_close(s.db);
    avs_lease_drop(&s.lease);
    avs_trial_list_told(&s.list);
    avs_arena_free(s.arena);
    return rc;
}

static int make_folder(char folder[256], bool on_disk, avs_err *e)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, 256, "%s/avs-bench.XXXXXX", !on_disk ? "/dev/shm" : tmp && *tmp ? tmp : "/var/tmp");
    return mkdtemp(folder) ? AVS_OK : avs_fail(e, AVS_EIO, "%s: no folder to measure in", folder);
}

static int measure(const row *r, const char *program, measured *m, avs_err *e)
{
    char folder[256];
    int made = make_folder(folder, r->on_disk, e);
    if (made != AVS_OK) return made;
    int rc = run_row(r, program, folder, m, e);
    avs_fs_remove_tree(folder);
    return rc;
}

static int by_size(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

static double percentile(const avs_dispatch_samples *s, double p)
{
    return s->n ? (double)s->ns[(size_t)(p * (double)(s->n - 1))] * 1e-3 : (double)NAN;
}

static void tell(const avs_options *o, avs_buf *b, const char *name, double value, const char *unit,
                 double target, bool at_most)
{
    bool met = at_most ? value <= target : value >= target;
    if (o->json)
        avs_buf_fmt(
            b,
            "{\"type\":\"bench\",\"v\":1,\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\",\"target\":%.6g,"
            "\"met\":%s}\n",
            name, value, unit, target, met ? "true" : "false");
    else
        avs_buf_fmt(b, "%-44s %12.6g %-6s %s %g%s\n", name, value, unit, at_most ? "<=" : ">=", target,
                    met ? "" : "  MISSED");
}

static void machine(const avs_options *o, avs_buf *b)
{
    struct utsname u;
    double load[1] = {-1};
    uname(&u);
    if (getloadavg(load, 1) != 1) load[0] = -1;
    avs_buf_fmt(b,
                o->json ? "{\"type\":\"machine\",\"v\":1,\"cores\":%ld,\"kernel\":\"%s\",\"version\":\"%s\","
                          "\"load\":%.2f}\n"
                        : "%ld cores, Linux %s, avsweep %s, load average %.2f\n",
                sysconf(_SC_NPROCESSORS_ONLN), u.release, AVS_VERSION, load[0]);
}

static const row table[] = {
    {.name = "no-ops in agents, committed in groups",
     .unit = "1/s",
     .trials = 20000,
     .agents = 2,
     .cores = 512,
     .ranks = 1,
     .is_inline = true,
     .target = 20000},
    {.name = "no-ops in agents, a commit each, on disk",
     .unit = "1/s",
     .trials = 4000,
     .agents = 2,
     .cores = 16,
     .ranks = 1,
     .is_inline = true,
     .each = true,
     .on_disk = true,
     .target = 4000},
    {.name = "no-ops as processes",
     .unit = "1/s",
     .trials = 1000,
     .agents = 2,
     .cores = 2,
     .ranks = 1,
     .target = 1000},
    {.name = "end to next start, in agent",
     .unit = "us",
     .trials = 4000,
     .agents = 1,
     .cores = 1,
     .ranks = 1,
     .is_inline = true,
     .sampled = true,
     .target = 150,
     .at_most = true},
    {.name = "end to next process",
     .unit = "us",
     .trials = 500,
     .agents = 1,
     .cores = 1,
     .ranks = 1,
     .sampled = true,
     .target = 1500,
     .at_most = true},
    {.name = "gang of 4: start to end, with its commit",
     .unit = "ms",
     .trials = 50,
     .agents = 1,
     .cores = 4,
     .ranks = 4,
     .target = 40,
     .at_most = true},
    {.name = "idle",
     .unit = "%",
     .trials = 1,
     .agents = 2,
     .cores = 1,
     .ranks = 1,
     .is_inline = true,
     .idle = true,
     .target = 0.5,
     .at_most = true},
};

/* What one row measured, as one line or two. */
static void tell_row(const avs_options *o, avs_buf *b, const row *r, measured *m)
{
    char name[96];
    if (r->sampled) {
        qsort(m->samples.ns, m->samples.n, sizeof *m->samples.ns, by_size);
        snprintf(name, sizeof name, "%s, p50", r->name);
        tell(o, b, name, percentile(&m->samples, 0.5), r->unit, r->target, true);
        snprintf(name, sizeof name, "%s, p99", r->name);
        if (r->is_inline) tell(o, b, name, percentile(&m->samples, 0.99), r->unit, 2000, true);
    } else if (r->idle) {
        tell(o, b, "idle coordinator", 100 * m->self_cpu, r->unit, r->target, true);
        tell(o, b, "idle agent", 100 * m->agent_cpu, r->unit, r->target, true);
    } else {
        double rate = (double)r->trials / m->seconds;
        tell(o, b, r->name, r->at_most ? 1000 / rate : rate, r->unit, r->target, r->at_most);
        tell(o, b, "  processor time of avsweep per trial", 1e6 * m->cpu_s / r->trials, "us",
             r->at_most ? 1e3 * r->target : 2e6 / r->target, true);
    }
}

static int rows(const avs_options *o, const char *program, avs_buf *b, avs_err *e)
{
    int64_t *ns = avs_xrealloc(NULL, sizeof *ns * SAMPLES);
    int rc = ns ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory to measure");
    machine(o, b);
    for (size_t i = 0; rc == AVS_OK && i < sizeof table / sizeof *table; i++) {
        measured m = {.samples = {.ns = ns, .cap = SAMPLES}};
        if (o->n_words > 0 && strncmp(table[i].name, o->words[0], strlen(o->words[0])) != 0) continue;
        rc = measure(&table[i], program, &m, e);
        if (rc == AVS_OK) tell_row(o, b, &table[i], &m);
    }
    free(ns);
    return rc;
}

static const char scale_word[] = "1e6 trials";

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

/* Whether some row begins with the word; all names go into list. */
static bool names_row(const char *word, avs_buf *list)
{
    bool any = begins(scale_word, word);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        any |= begins(table[i].name, word);
        avs_buf_fmt(list, " '%s'", table[i].name);
    }
    avs_buf_fmt(list, " '%s'", scale_word);
    return any;
}

/* The rows of a million trials, under one word. */
static int scale_rows(const avs_options *o, const char *program, avs_buf *b, avs_err *e)
{
    char folder[256];
    avs_scale x;
    if (o->n_words > 0 && !begins(scale_word, o->words[0])) return AVS_OK;
    int rc = make_folder(folder, true, e);
    if (rc != AVS_OK) return rc;
    rc = avs_bench_scale(folder, program, &x, e);
    avs_fs_remove_tree(folder);
    if (rc != AVS_OK) return rc;
    tell(o, b, "1e6 trials, new: to the first start", x.fresh.first_s, "s", 16, true);
    tell(o, b, "  processor time of the coordinator", x.fresh.cpu_s, "s", 16, true);
    tell(o, b, "1e6 trials, resumed: to the first start", x.resumed.first_s, "s", 5, true);
    tell(o, b, "  processor time of the coordinator", x.resumed.cpu_s, "s", 5, true);
    tell(o, b, "1e6 trials, new: memory over a small run", x.fresh.rss_mb - x.empty.rss_mb, "MB", 160, true);
    tell(o, b, "1e6 trials, resumed: memory over it", x.resumed.rss_mb - x.empty.rss_mb, "MB", 160, true);
    return AVS_OK;
}

int avs_bench_dispatch(const avs_options *o)
{
    char program[4096];
    avs_err err = AVS_ERR_INIT;
    avs_buf b = AVS_BUF_INIT;
    if (o->n_words > 0 && !names_row(o->words[0], &b)) {
        avs_fail(&err, AVS_ERANGE, "no row begins with '%s'; there are:%s", o->words[0], avs_buf_cstr(&b));
        avs_buf_free(&b);
        return avs_complain(AVS_EXIT_USAGE, &err);
    }
    avs_buf_free(&b);
    avs_self_block_signals();
    int rc = avs_trial_program(o->trial_program, program, sizeof program, &err);
    if (rc == AVS_OK) rc = rows(o, program, &b, &err);
    if (rc == AVS_OK) rc = scale_rows(o, program, &b, &err);
    int code = avs_print(&b);
    return rc == AVS_OK ? code : avs_complain(AVS_EXIT_INTERNAL, &err);
}
