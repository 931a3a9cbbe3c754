/* The result store: one SQLite file that holds sweeps, trials, attempts and every number they produced.
 *
 * Concepts
 *   config   a canonical parameter set without its seed;   trial = config + seed, identified by a 32-byte
 * hash attempt  one run of a trial by a process; a trial may have several, at most one of which counts sweep
 * one expansion of a sweep file; it names trials by (stage, ordinal), trials are shared between sweeps
 *
 * Writing. Every write function opens a transaction ("group") if none is open; avs_store_flush commits it
 * with synchronous=FULL. Nothing is durable before flush returned AVS_OK: a coordinator sends ACK only after
 * it. A write function that fails leaves the group as it was before the call. If flush fails the group is
 * rolled back and everything since the previous flush is gone from the file: the caller offers it again.
 *   local file systems: journal_mode=WAL; network file systems: journal_mode=TRUNCATE,
 * locking_mode=EXCLUSIVE, and every minute and at the end a copy in NAME.snapshot.db for readers elsewhere.
 *
 * Reading. Reports open the file with AVS_STORE_READ: nothing is ever written, and a running coordinator is
 * not disturbed.
 *
 * Numbers stored as they are: fractions 0..1, seconds, counts. Times are microseconds UTC. Strings are UTF-8
 * and are always bound, never pasted into SQL. Errors: AVS_EDB with SQLite's own text and the path, unless
 * said otherwise. Thread rules: one store, one thread at a time. Ownership: the caller keeps everything it
 * passes in. */
#ifndef AVS_RESULTS_STORE_H
#define AVS_RESULTS_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "metrics/latency.h" /* AVS_LAT_*, which the runner sets */

#define AVS_STORE_SNAPSHOT_SUFFIX ".snapshot.db"
enum { AVS_STORE_SCHEMA_VERSION = 2, AVS_STORE_APPLICATION_ID = 0x41565357 /* "AVSW" */ };

typedef struct avs_store avs_store;

typedef enum {
    AVS_TRIAL_PENDING,
    AVS_TRIAL_RUNNING,
    AVS_TRIAL_DONE,
    AVS_TRIAL_FAILED,
    AVS_TRIAL_PAUSED,
    AVS_TRIAL_PREEMPTED,
    AVS_TRIAL_BLOCKED,
    AVS_TRIAL_CANCELLED,
    AVS_TRIAL_PRUNED,
    AVS_TRIAL_STATES /* how many */
} avs_trial_state;
const char *avs_trial_state_name(avs_trial_state s); /* "pending", ..; "?" outside */

typedef enum {
    AVS_END_NONE, /* still running */
    AVS_END_OK,
    AVS_END_CRASH, /* signal                                   */
    AVS_END_ERROR, /* the trial reported FAIL or a non-zero exit */
    AVS_END_OOM_GPU,
    AVS_END_OOM_HOST,
    AVS_END_HANG,
    AVS_END_TIMEOUT,
    AVS_END_INFRA, /* node, spawn, file system                 */
    AVS_END_PREEMPTED,
    AVS_END_PAUSED,
    AVS_END_PRUNED,
    AVS_END_CANCELLED,
    AVS_END_LOST,   /* the coordinator died or lost sight of it */
    AVS_END_REASONS /* how many */
} avs_end_reason;
const char *avs_end_reason_name(avs_end_reason r);

/* ---- open and close
 * ------------------------------------------------------------------------------------------- */
typedef enum { AVS_STORE_READ, AVS_STORE_WRITE /* creates the file when absent */ } avs_store_mode;

/* Refuses, with one sentence and without writing a byte: a file that is not an SQLite database, a database of another
 * application, for WRITE one of an older (migrate it, results/maintain.h) or newer schema version or one that cannot be
 * written, for READ an absent file (AVS_EMISSING). Older and newer files can be read, as far as their tables are known.
 * READ on network storage opens the snapshot while somebody writes. tool_version is recorded on creation ("0.1.0"). *out
 * is NULL on failure. */
int avs_store_open(const char *path, avs_store_mode mode, const char *tool_version, avs_store **out,
                   avs_err *e);
/* Rolls back what was not flushed. Accepts NULL. */
void avs_store_close(avs_store *s);
int avs_store_version(const avs_store *s);             /* of the file's schema */
int64_t avs_store_snapshot_age_us(const avs_store *s); /* of the snapshot that was opened instead; 0: none */
const char *avs_store_path(const avs_store *s);        /* as given to open; owner: store */
const char *avs_store_journal(const avs_store *s);     /* "wal", "truncate" (network file system), "read" */

/* ---- groups
 * --------------------------------------------------------------------------------------------------- */
/* Commits everything since the last flush, durably. Nothing open: AVS_OK at no cost. */
int avs_store_flush(avs_store *s, avs_err *e);
size_t avs_store_unflushed(const avs_store *s); /* write calls in the open group; 0: none open   */
int64_t avs_store_unflushed_ns(
    const avs_store *s); /* age of the open group, 0: none. Flush at 5 ms (local) or 250 ms */
int64_t avs_store_group_ns(const avs_store *s); /* that limit for this file system               */

/* ---- sweeps
 * --------------------------------------------------------------------------------------------------- */
typedef struct {
    const char *path;
    const char *text; /* verbatim */
    size_t len;
} avs_store_source;

typedef struct {
    const char *name;      /* of the sweep                                   */
    uint8_t file_hash[32]; /* over the merged document                       */
    const avs_store_source *sources;
    size_t n_sources;
    const char *argv_json;   /* JSON array of the command line; NULL: []       */
    const char *report_json; /* the sweep's report block as JSON object or NULL */
    const char *tool_version;
    const char *git_commit; /* NULL: unknown */
    bool git_dirty;
} avs_store_sweep;

/* The newest sweep of this name with the same file_hash is resumed (*resumed = true, its id returned);
 * otherwise a new row that supersedes the newest of the name. `published` rows of report_json are stored too
 * (results/published.h). resumed may be NULL. */
int avs_store_sweep_begin(avs_store *s, const avs_store_sweep *w, int64_t *sweep_id, bool *resumed,
                          avs_err *e);
int avs_store_sweep_end(avs_store *s, int64_t sweep_id, avs_err *e); /* stamps the end */
typedef struct {
    const char *name, *kind;                                   /* kind: "train", .., "exec"                */
    const char *objective_json, *limits_json, *resources_json; /* may be NULL                              */
} avs_store_stage_def;

/* Finds or adds a stage by name. */
int avs_store_stage(avs_store *s, int64_t sweep_id, const avs_store_stage_def *d, int64_t *stage_id,
                    avs_err *e);

/* ---- trials
 * --------------------------------------------------------------------------------------------------- */
typedef struct {
    uint8_t hash[32];        /* of the trial (config + seed + kind + data)   */
    uint8_t config_hash[32]; /* of the config: equal for all seeds           */
    const char *kind, *model, *task;
    const char *params_json; /* canonical parameters of the config, a JSON object without the seed */
    int model_schema;        /* version of the parameter schema              */
    const uint8_t *data_fp;  /* 32 bytes: fingerprint of the data, or NULL   */
    int64_t seed;
    int64_t stage_id, ordinal; /* place in the sweep, ordinals dense from 0 in each stage */
    double priority;           /* in: of the file; out: the stored one, of a trial that was there before */
    /* filled by avs_store_register: */
    int64_t trial_id;
    avs_trial_state state;
    int attempts; /* attempts so far, of any end  */
    int epoch;    /* last epoch used; 0: never run */
    bool reused;  /* the trial was there before this call (from this or another sweep) */
} avs_store_trial;

/* Registers n trials of a sweep. Idempotent: the same hash is the same trial, whatever the sweep. All or
 * nothing. Errors: AVS_EPARSE when params_json is not a JSON object; AVS_ERANGE when (stage, ordinal) is
 * taken by another trial of this sweep. */
int avs_store_register(avs_store *s, int64_t sweep_id, avs_store_trial *trials, size_t n, avs_err *e);

/* Around many calls of avs_store_register: on, a page cache that holds the indexes of a million trials; off, the usual
 * one, and the memory goes back to the system. Nothing depends on it but speed. */
void avs_store_bulk(avs_store *s, bool on);

/* Attempts without an end belong to a coordinator that is gone: they end as `lost`, their trials are pending
 * again. Call once after open, before the first start. *n may be NULL. */
int avs_store_lose_orphans(avs_store *s, int64_t *n, avs_err *e);
int avs_store_set_state(avs_store *s, int64_t trial_id, avs_trial_state state, avs_err *e);
int avs_store_set_priority(avs_store *s, int64_t trial_id, double priority, avs_err *e);

/* ---- what a changed file lists no more (superseded.c) ---- */

enum { AVS_STORE_GONE_NAMED = 5 };
typedef struct {
    int64_t n, n_open; /* trials; those that are neither done nor failed, cancelled or pruned */
    char hex[AVS_STORE_GONE_NAMED][13]; /* the first ones */
} avs_store_gone;

/* Trials of the sweep that sweep_id supersedes which the newest sweep of no name lists any more. cancel: the open ones
 * become cancelled. */
int avs_store_superseded(avs_store *s, int64_t sweep_id, bool cancel, avs_store_gone *out, avs_err *e);

/* ---- trials that build on others (upstream.c) ---- */
/* Trial trial_id needs upstream_id under this alias. Idempotent. */
int avs_store_dep(avs_store *s, int64_t trial_id, int64_t upstream_id, const char *alias, avs_err *e);
/* Path of an artifact of the attempt that made the trial done, the newest of that name; *out NULL: none. "best" and
 * "checkpoint" are those of training. Owner: the arena. */
int avs_store_artifact_path(avs_store *s, int64_t trial_id, const char *name, avs_arena *a, const char **out,
                            avs_err *e);
/* A final result as its shortest text; split "" before "test" before others. *out NULL: none. */
int avs_store_result_text(avs_store *s, int64_t trial_id, const char *metric, avs_arena *a, const char **out,
                          avs_err *e);
/* Why the newest attempt ended; AVS_END_NONE without attempts. */
int avs_store_last_reason(avs_store *s, int64_t trial_id, avs_end_reason *out, avs_err *e);
/* Fingerprint of the code that made the trial done; *out NULL: not recorded. Owner: the arena. */
int avs_store_code_of(avs_store *s, int64_t trial_id, avs_arena *a, const char **out, avs_err *e);
/* Whether any attempt was run by code other than this. */
int avs_store_has_other_code(avs_store *s, const char *code, bool *out, avs_err *e);
/* The state of the trial with this hash; *found false: it is not there. */
int avs_store_state_of(avs_store *s, const uint8_t hash[32], bool *found, avs_trial_state *out, avs_err *e);

/* What one attempt took that made its trial done. */
typedef struct {
    uint8_t config_hash[32];
    const char *kind, *model, *task, *gpu; /* gpu: "" without one */
    double seconds, pixels;                /* pixels: of one input frame, 0: unknown */
} avs_store_past;
/* The newest 100,000 of them. Owner: the arena. */
int avs_store_past_attempts(avs_store *s, avs_arena *a, avs_store_past **out, size_t *n, avs_err *e);
/* A done trial is pending again, its results stay with their attempt alone; artifacts below the folder `from` (NULL:
 * none) are now below `to`. */
int avs_store_forget_done(avs_store *s, int64_t trial_id, const char *from, const char *to, avs_err *e);

/* ---- attempts
 * ------------------------------------------------------------------------------------------------- */
typedef struct {
    int rank;                 /* the rank that it is given to; the first of a rank is recorded as its own */
    const char *uuid, *model; /* uuid NULL: a rank without a GPU that is known */
    int64_t mem_bytes;
    int sm;           /* 90 for sm_90; 0 or less: unknown */
    const char *host; /* of the rank; NULL: that of the attempt */
} avs_store_gpu;

typedef struct {
    int64_t trial_id;
    int64_t run_id;    /* of this coordinator process; any number           */
    int64_t queued_us; /* 0: now                                            */
    const char *host;  /* NULL: unknown                                     */
    const char *cpus;  /* core list "0-3" or NULL                           */
    int gpus;
    const avs_store_gpu *gpu; /* ranks and their GPUs, by rank                 */
    int n_gpu;
    const char *log_path; /* NULL: none                                        */
} avs_store_start;
/* Starts an attempt: the trial runs, its epoch grows by one. Out: attempt_id, its number n (1..) and the
 * epoch to put into frames (each may be NULL). Errors: AVS_ERANGE when the trial is done or an attempt of it
 * still runs. */
int avs_store_attempt_begin(avs_store *s, const avs_store_start *st, int64_t *attempt_id, int *n, int *epoch,
                            avs_err *e);

typedef struct {
    const char *name, *split; /* split: "test", "val" or ""; NULL counts as "" */
    double value;
    const char *unit; /* "fraction", "count", "s", "ns", "" or NULL    */
    int better;       /* +1 more is better, -1 less is better, 0       */
} avs_store_result;

typedef struct {
    const char *name;
    int64_t step;
    double value;
} avs_store_point;

typedef struct {
    const char *name;        /* "latency" (device-resident) or "latency_e2e"    */
    const uint32_t *samples; /* host order, in time order                       */
    int64_t n;
    double unit_ns;
    int flags;             /* AVS_LAT_* the runner saw; drift and short are added here */
    double h2d_ns, d2h_ns; /* median transfer times; NaN: not measured        */
    const char *json;      /* clocks and protocol (JSON object) or NULL       */
} avs_store_latency;

typedef struct {
    const char *name;
    const char *kind; /* "checkpoint", "prediction" (PNG sheet), "log"   */
    const char *path;
    int64_t bytes;
    const uint8_t *sha256; /* 32 bytes or NULL */
    int64_t step;          /* -1: none */
} avs_store_artifact;

typedef struct {
    avs_end_reason reason;
    avs_trial_state next;  /* state of the trial afterwards; ignored for AVS_END_OK (done) */
    const char *message;   /* NULL: none */
    int exit_code, signal; /* -1 / 0: none */
    const avs_store_result *results;
    size_t n_results;
    const avs_store_point *points;
    size_t n_points;
    const avs_store_latency *latencies;
    size_t n_latencies;
    const avs_store_artifact *artifacts;
    size_t n_artifacts;
    const char *env_json; /* ENV frame: JSON object; known keys become columns (schema in results/schema.c);
                             NULL: none */
    const char *resumed_from; /* path of the checkpoint that the attempt went on from, or NULL */
    const char *host;         /* host and pid of rank 0; NULL / 0: unknown */
    int64_t pid;
    int64_t ended_us;      /* 0: now */
    int64_t max_rss_bytes; /* 0: unknown */
    int64_t max_gpu_bytes; /* most memory held on GPUs; 0: none, or unknown */
} avs_store_end;

/* Ends an attempt with everything it produced, in one piece. AVS_END_OK: results are stored and the trial is done.
 * Otherwise points, latencies and artifacts are kept with the attempt, results are not. Saying the same end twice is
 * AVS_OK and changes nothing (a DONE that was offered again). An OK of an attempt that was called lost counts if no
 * other attempt of the trial has finished; if one has, *stale is true: the attempt is closed and keeps its data (its
 * results in table attempt_result), the trial keeps its earlier results. stale may be NULL. Results that are not finite are AVS_ERANGE (SQLite would store
 * NaN as NULL). An attempt that does not exist is AVS_EMISSING. */
int avs_store_attempt_end(avs_store *s, int64_t attempt_id, const avs_store_end *end, bool *stale,
                          avs_err *e);

/* Live series while the attempt runs; a point with the same (name, step) is replaced. Points that are not
 * finite are skipped. */
int avs_store_points(avs_store *s, int64_t attempt_id, const avs_store_point *points, size_t n, avs_err *e);
/* Values of NAME or val_NAME in all attempts of a trial, by step. Owner: the arena. */
int avs_store_objective_points(avs_store *s, int64_t trial_id, const char *name, avs_arena *a,
                               avs_store_point **out, size_t *n, avs_err *e);
int avs_store_artifact_add(avs_store *s, int64_t attempt_id, const avs_store_artifact *a, avs_err *e);

/* A decision or notice: level 'E','W','I','D'; attempt_id 0: none; host may be NULL. */
int avs_store_event(avs_store *s, char level, const char *host, int64_t attempt_id, const char *code,
                    const char *text, avs_err *e);

/* ---- reading for `status`
 * ---------------------------------------------------------------------------------------- */
/* Trials by state; sweep: name of a sweep (its newest row) or NULL for the whole file. */
int avs_store_counts(avs_store *s, const char *sweep, int64_t counts[AVS_TRIAL_STATES], avs_err *e);

typedef struct {
    uint8_t trial_hash[32];
    int64_t trial_id, attempt_id;
    int n;
    int64_t ended_us;
    avs_end_reason reason;
    int exit_code, signal;
    const char *message, *host, *log_path; /* "" when none; owner: arena */
} avs_store_failure;
/* The newest attempts that ended otherwise than ok, at most limit. */
int avs_store_failures(avs_store *s, const char *sweep, size_t limit, avs_arena *a, avs_store_failure **out,
                       size_t *n, avs_err *e);

/* A series of an attempt in step order, with the steps that only earlier attempts of its trial recorded (it resumed
 * from them); *steps and *values are n numbers in the arena. Unknown names give n = 0. */
int avs_store_series(avs_store *s, int64_t attempt_id, const char *name, avs_arena *a, int64_t **steps,
                     double **values, size_t *n, avs_err *e);

/* PRAGMA integrity_check plus the store's own invariants; the first violation is the error. All of them: maintain.h. */
int avs_store_check(avs_store *s, avs_err *e);

#endif
