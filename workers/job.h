/* One trial as the agent hands it over: JOB.json (docs/trial-protocol.md), read and checked. */
#ifndef AVS_WORKERS_JOB_H
#define AVS_WORKERS_JOB_H

#include <stdint.h>
#include "base/arena.h"
#include "base/json.h"
#include "models/schema.h"

typedef enum { AVS_JOB_TRAIN, AVS_JOB_EVAL, AVS_JOB_LATENCY, AVS_JOB_NOOP, AVS_JOB_EXEC } avs_job_kind;

typedef struct {
    avs_arena *arena;
    avs_job_kind kind;
    const char *kind_name;
    avs_cfg *cfg;              /* NULL for noop and exec */
    const avs_json *params;    /* as given */
    const avs_json *objective; /* {metric, mode} or NULL */
    const char *dir;           /* where `avsweep run` was called; exec starts its command there */
    uint64_t seed;
    const char *trial; /* hash, may be "" by hand */
    int64_t attempt;
    uint32_t epoch;
    int rank, ranks;
    const char *ring;
    const char *backend; /* "cpu" or "cuda"; "": what the environment says */
    int threads;
    const char *work_dir, *cache_dir; /* cache_dir may be "" */
    double checkpoint_every_s;        /* 0: only at the end and on request */
} avs_job;

/* Everything in *job belongs to a. Errors name the file and the key. */
int avs_job_read(avs_arena *a, const char *path, avs_job *job, avs_err *e);

#endif
