/* Sweeps: a YAML file in, stages with their trials and identities out.
 *
 *   avs_diag d;
 *   avs_diag_init(&d, arena);
 *   avs_sweep *s = avs_sweep_load(arena, "sweeps/demo.yaml", &(avs_sweep_options){0}, &d, &err);
 *   avs_diag_write(&d, &text);    // errors and warnings, ready to print; s is NULL after an error
 *
 * Expansion is a pure function of the file's bytes, included bytes, allowed environment values, --set and this
 * binary; order is defined and stable: stages in file order, first block slowest, seeds fastest.
 * Ownership: everything belongs to the arena passed to avs_sweep_load. */
#ifndef AVS_SWEEPS_SWEEP_H
#define AVS_SWEEPS_SWEEP_H

#include "base/err.h"
#include "base/json.h"
#include "sweeps/diag.h"

enum { AVS_SWEEP_LANGUAGE = 1, AVS_SWEEP_MAX_TRIALS = 10000000 };

typedef struct {
    int gpus, cpus;        /* cpus: cores of a trial; 0: gpus * cpus_per_gpu, or 1 without a GPU   */
    int cpus_per_gpu;      /* 0: not stated                                                        */
    double mem_gb;         /* 0: not stated                                                        */
    const char *pack;      /* node | numa | spread | any                                           */
    const char *gpu_model; /* regular expression, "any"                                            */
    const char *exclusive; /* none | gpu | numa | node                                             */
    const char *prefer;    /* any | nvlink                                                         */
} avs_sweep_resources;

enum {
    AVS_RETRY_CRASH = 1,
    AVS_RETRY_HANG = 2,
    AVS_RETRY_INFRA = 4,
    AVS_RETRY_OOM = 8,
    AVS_RETRY_ERROR = 16
};

typedef struct {
    double time_s, hang_s, grace_s; /* 0: no bound; grace default 120              */
    int retries, max_failures;      /* default 2; 0: no bound                      */
    unsigned retry_on;              /* default crash, hang, infra                  */
    double checkpoint_every_s;      /* 0: only at epochs and at the end            */
    int64_t checkpoint_every_steps; /* 0: by time only                             */
} avs_sweep_limits;

typedef struct {
    const char *mode;  /* file | shuffle | seeds-last | longest-first */
    const char *group; /* none | config | repeat                      */
    uint64_t seed;
} avs_sweep_order;

/* Early stopping by successive halving (orchestrator/asha.h). */
typedef struct {
    int eta;          /* 0: none                                                       */
    int64_t min, max; /* of the resource                                               */
    bool by_step;     /* the resource is optimiser steps; else validations, one per epoch */
    bool promote;     /* pause at rungs; else stop there for good                      */
} avs_sweep_stop;

/* A configuration: one point of a stage, without the seed. */
typedef struct {
    uint8_t hash[32]; /* config_hash */
    const char *kind; /* train | eval | latency | noop */
    const char *model, *task;
    const char *data_root;        /* "" when none is given                                            */
    const char *data_fingerprint; /* 64 hex digits, or "" when the data is not indexed or not read    */
    avs_sweep_resources resources;
    double priority;               /* larger first; 0 without order.priority */
    struct avs_setting **settings; /* what the blocks set here; avs_sweep_params and avs_sweep_axes read it */
    int32_t n_settings, stage;     /* stage: whose base and `let` belong to it */
    int32_t seen;                  /* while expanding */
} avs_sweep_config;

struct avs_sweep_trial;
typedef struct {
    const char *alias;                      /* the word in ${alias.checkpoint.best} */
    const struct avs_sweep_trial *upstream; /* must be done before                  */
} avs_sweep_need;

typedef struct avs_sweep_trial {
    uint8_t hash[32]; /* trial_hash */
    const avs_sweep_config *config;
    const avs_sweep_need *needs;
    uint32_t seed;
    uint32_t ordinal; /* place in avs_sweep.trials                        */
    int stage;        /* first stage that lists it                        */
    int n_needs;
} avs_sweep_trial;

typedef struct {
    const char *text; /* the expression                 */
    bool is_require;
    avs_pos pos;
    int64_t dropped; /* points                         */
} avs_sweep_rule;

typedef struct {
    const char *name, *kind; /* name: of the stage, or "main" without stages          */
    const char *metric;      /* objective; NULL: none                                 */
    bool maximise;
    avs_sweep_limits limits;
    avs_sweep_order order;
    avs_sweep_stop stop;
    const avs_json *base_from; /* object: key of base -> "FILE:LINE" or "--set"           */
    const avs_json *resources_json, *limits_json, *objective_json; /* as written; empty objects when absent */
    avs_sweep_trial **trials;              /* in order; a trial may be listed by two stages        */
    int64_t n_trials, n_configs, n_points; /* n_points: before exclude and require    */
    avs_sweep_rule *rules;
    int n_rules;
} avs_sweep_stage;

typedef struct {
    const avs_source *src;
    uint8_t sha256[32];
} avs_sweep_source;

typedef struct {
    const char *name;
    avs_sweep_stage *stages;
    int n_stages;
    avs_sweep_trial **trials; /* every trial once */
    int64_t n_trials;
    uint8_t digest[32]; /* SHA-256 over the hashes of all trials in order */
    /* Object with by, metrics, baseline, pareto, published, where, sort, top, ci, title as far as given. `by`,
     * `metrics` are lists of strings; `published` is a list of {source, rows: [{where: {..}, METRIC: value, ..}]}. */
    const avs_json *report;
    const avs_sweep_source *sources; /* the file and what it includes, in order of reading */
    int n_sources;
    uint8_t file_hash[32];   /* SHA-256 over the hashes of the sources */
    const avs_json *env;     /* object: recorded values of ${env:NAME} */
    bool data_indexed;       /* every data_root that is read had a fingerprint */
    struct avs_parse *parse; /* what is needed to write the texts of a configuration */
} avs_sweep;

typedef struct {
    bool allow_env;
    const char *const
        *sets; /* "key=value": base.KEY, vars.NAME, profile, or a bare name (a var if there is one, else
                                base); value is YAML */
    int n_sets;
    int64_t max_trials; /* 0: AVS_SWEEP_MAX_TRIALS */
    bool count_only;    /* trials are counted and hashed, not listed (unless stages need each other) */
    /* Fingerprint of the data at a data_root: true and out filled, or false when it is not indexed. May be NULL. */
    bool (*fingerprint)(void *ctx, const char *data_root, uint8_t out[32]);
    void *ctx;
} avs_sweep_options;

/* NULL after an error: AVS_EPARSE when diag says why, AVS_EIO when the file cannot be read, AVS_ENOMEM. */
avs_sweep *avs_sweep_load(avs_arena *a, const char *path, const avs_sweep_options *o, avs_diag *d,
                          avs_err *e);
/* The same for text at hand; path names it in messages and is where includes are relative to. */
avs_sweep *avs_sweep_parse(avs_arena *a, const char *path, const char *text, size_t n,
                           const avs_sweep_options *o, avs_diag *d, avs_err *e);

/* The texts of a configuration are written when they are asked for; they belong to a. NULL: no memory. One thread. */
/* Canonical JSON of every active parameter: what a trial gets. */
const char *avs_sweep_params(const avs_sweep *s, const avs_sweep_config *c, avs_arena *a);
/* What is hashed: {data_fingerprint, kind, model, model_schema, params, task}. */
const char *avs_sweep_identity(const avs_sweep *s, const avs_sweep_config *c, avs_arena *a);
/* Object: what the sweep blocks and `let` set here, in file order. */
const avs_json *avs_sweep_axes(const avs_sweep *s, const avs_sweep_config *c, avs_arena *a);

/* Trial whose hash begins with the hex prefix (6 digits or more). NULL: none, or several with *ambiguous set. */
const avs_sweep_trial *avs_sweep_find(const avs_sweep *s, const char *prefix, bool *ambiguous);

#endif
