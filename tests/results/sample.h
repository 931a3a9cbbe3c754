/* Stores with known content, for the tests of this folder: a folder below the build tree, trials by number, ends with
 * chosen results. */
#ifndef AVS_TESTS_RESULTS_SAMPLE_H
#define AVS_TESTS_RESULTS_SAMPLE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/hash.h"
#include "results/store.h"

#define OK(call)                                                                                             \
    do {                                                                                                     \
        avs_err ok_e = AVS_ERR_INIT;                                                                         \
        avs_err *e = &ok_e;                                                                                  \
        if ((call) != AVS_OK) fail_msg("%s: %s", #call, ok_e.msg);                                           \
    } while (0)

static char sample_folder[256];

static inline int sample_setup(void **state)
{
    (void)state;
    snprintf(sample_folder, sizeof sample_folder, "%s/tests/store-XXXXXX", AVS_BINARY_DIR);
    return mkdtemp(sample_folder) ? 0 : -1;
}

static inline int sample_teardown(void **state)
{
    char cmd[300];
    (void)state;
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", sample_folder);
    return system(cmd);
}

static inline const char *sample_path(const char *name)
{
    static char path[4][512]; /* the last four stay valid */
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", sample_folder, name);
    return p;
}

static inline avs_store *sample_open(const char *name)
{
    avs_store *s = NULL;
    OK(avs_store_open(sample_path(name), AVS_STORE_WRITE, "0.1.0-test", &s, e));
    return s;
}

static inline int64_t sample_sweep(avs_store *s, const char *name, const char *report_json)
{
    avs_store_source src = {.path = "sweeps/x.yaml", .text = "avsweep: 1\n", .len = 11};
    avs_store_sweep w = {.name = name,
                         .sources = &src,
                         .n_sources = 1,
                         .argv_json = "[\"avsweep\",\"run\"]",
                         .report_json = report_json,
                         .tool_version = "0.1.0-test",
                         .git_commit = "0123abcd"};
    int64_t id = 0;
    avs_sha256_of(name, strlen(name), w.file_hash);
    OK(avs_store_sweep_begin(s, &w, &id, NULL, e));
    return id;
}

static inline int64_t sample_stage(avs_store *s, int64_t sweep, const char *name, const char *kind)
{
    int64_t id = 0;
    OK(avs_store_stage(s, sweep, &(avs_store_stage_def){.name = name, .kind = kind}, &id, e));
    return id;
}

/* A trial description whose hashes follow from params and seed. */
static inline avs_store_trial sample_trial(int64_t stage, int64_t ordinal, const char *kind,
                                           const char *model, const char *task, const char *params,
                                           int64_t seed)
{
    avs_buf text = AVS_BUF_INIT;
    avs_store_trial t = {.kind = kind,
                         .model = model,
                         .task = task,
                         .params_json = params,
                         .model_schema = 1,
                         .seed = seed,
                         .stage_id = stage,
                         .ordinal = ordinal};
    avs_buf_fmt(&text, "%s %s", kind, params);
    avs_sha256_of(text.data, text.len, t.config_hash);
    avs_buf_fmt(&text, " %lld", (long long)seed);
    avs_sha256_of(text.data, text.len, t.hash);
    avs_buf_free(&text);
    return t;
}

static inline int64_t sample_register(avs_store *s, int64_t sweep, avs_store_trial t)
{
    OK(avs_store_register(s, sweep, &t, 1, e));
    return t.trial_id;
}

static inline int64_t sample_begin(avs_store *s, int64_t trial)
{
    avs_store_start st = {.trial_id = trial, .run_id = 1, .host = "n01", .log_path = "logs/1"};
    int64_t id = 0;
    OK(avs_store_attempt_begin(s, &st, &id, NULL, NULL, e));
    return id;
}

/* A finished trial with miou, fscore and params. */
static inline int64_t sample_done(avs_store *s, int64_t trial, double miou, double fscore)
{
    int64_t attempt = sample_begin(s, trial);
    avs_store_result r[] = {{"miou", "test", miou, "fraction", 1},
                            {"fscore", "test", fscore, "fraction", 1},
                            {"params", "", 12345678, "count", -1},
                            {"train_seconds", "", 61.25, "s", -1}};
    avs_store_end end = {.reason = AVS_END_OK,
                         .results = r,
                         .n_results = 4,
                         .host = "n01",
                         .exit_code = 0,
                         .env_json = "{\"cpu\":\"Test CPU\",\"code_fp\":\"abc\",\"threads\":2}"};
    OK(avs_store_attempt_end(s, attempt, &end, NULL, e));
    return attempt;
}

static inline void sample_failed(avs_store *s, int64_t trial, const char *why)
{
    avs_store_end end = {.reason = AVS_END_CRASH,
                         .next = AVS_TRIAL_FAILED,
                         .message = why,
                         .exit_code = -1,
                         .signal = 11,
                         .host = "n01"};
    int64_t attempt = sample_begin(s, trial);
    OK(avs_store_attempt_end(s, attempt, &end, NULL, e));
}

/* A latency trial: n samples around ms milliseconds, in microseconds. */
static inline void sample_latency(avs_store *s, int64_t trial, double ms, int n, const char *env)
{
    uint32_t *x = calloc((size_t)n, sizeof *x);
    for (int i = 0; i < n; i++) x[i] = (uint32_t)(ms * 1000) + (uint32_t)((i * 7919) % 101);
    avs_store_latency l = {
        .name = "latency", .samples = x, .n = n, .unit_ns = 1000, .h2d_ns = (double)NAN, .d2h_ns = 0};
    avs_store_result r[] = {{"params", "", 12345678, "count", -1}};
    avs_store_end end = {.reason = AVS_END_OK,
                         .results = r,
                         .n_results = 1,
                         .latencies = &l,
                         .n_latencies = 1,
                         .host = "n01",
                         .env_json = env};
    int64_t attempt = sample_begin(s, trial);
    OK(avs_store_attempt_end(s, attempt, &end, NULL, e));
    free(x);
}

#endif
