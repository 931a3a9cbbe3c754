/* The trials of a run: those of the sweep in queue order, registered in the database, described for the coordinator.
 *
 * Order of the queue: larger priority first, then stages in file order, then the order mode of the stage (seeds-last:
 * seed 0 of every configuration before seed 1; file; shuffle; longest-first by the estimates). Everything belongs to
 * the arena. */
#ifndef AVS_ORCHESTRATOR_TRIAL_LIST_H
#define AVS_ORCHESTRATOR_TRIAL_LIST_H

#include "orchestrator/coordinator.h"
#include "results/store.h"
#include "sweeps/sweep.h"

/* A million of these wait in a large sweep: what can be computed is not kept. */
typedef struct {
    const avs_sweep_trial *trial;
} avs_listed;

typedef struct {
    avs_listed *at;           /* n, in queue order */
    avs_coord_trial *coord;   /* n, the same order; NULL once avs_trial_list_told */
    bool *held;               /* n: `avsweep pause` holds it */
    avs_coord_class *classes; /* what trials have in common; coord[i].class_id points here */
    int32_t n_classes, cap_classes;
    int32_t n, reused, failed_before;
    int64_t sweep_id;
    bool resumed;
    const char *root; /* work root, absolute */
    const avs_sweep *sweep;
    avs_store *db;   /* from registration on */
    int64_t *ids;    /* trial_id of every trial of the sweep, by ordinal */
    int32_t n_stale; /* done with another version of the code */
} avs_trial_list;

/* Where the estimate of a trial's length comes from (estimate.h). CONFIG, LIKE and SCALED were measured. */
typedef enum {
    AVS_EST_NONE,
    AVS_EST_CONFIG,
    AVS_EST_LIKE,
    AVS_EST_SCALED,
    AVS_EST_LIMIT,
    AVS_EST_BASES
} avs_est_basis;

typedef enum { AVS_STALE_WARN, AVS_STALE_KEEP, AVS_STALE_RERUN } avs_stale;

typedef struct {
    const char *only; /* expression: only these trials and what they need; NULL: all        */
    const double
        *seconds; /* estimates by ordinal: for longest-first, for what the coordinator expects; NULL: none */
    const uint8_t *basis; /* avs_est_basis of them                                              */
    bool retry_failed;    /* failed ones get new attempts                                       */
    bool retry_lost;      /* those that failed because attempts were lost                       */
    bool fresh;           /* done ones too, and from the start: their folders are put aside     */
    avs_stale stale;      /* what to do with results of another version of the code             */
    const char *argv_json;
} avs_trial_list_options;

/* Chooses, sorts and describes; nothing is written. End with avs_trial_list_told, also after a failure. AVS_EPARSE:
 * `only` is no expression, or fails for a trial. */
int avs_trial_list_make(avs_trial_list *l, avs_arena *a, const avs_sweep *s, const avs_trial_list_options *o,
                        avs_err *e);
/* Registers sweep, stages and trials (also those that are not chosen) and takes over what the database knows. Flushed.
 * l->root is set before. */
int avs_trial_list_register(avs_trial_list *l, avs_arena *a, const avs_sweep *s, avs_store *db,
                            const avs_trial_list_options *o, avs_err *e);
/* The coordinator has its own copy of l->coord: the list gives it up. May be called again. */
void avs_trial_list_told(avs_trial_list *l);

/* Of trial i: its 64 hex digits into out (returned), its row in the database (0 before registration), its stage. */
const char *avs_trial_hex(const avs_trial_list *l, int32_t i, char out[65]);
int64_t avs_trial_row(const avs_trial_list *l, int32_t i);
const avs_sweep_stage *avs_trial_stage(const avs_trial_list *l, int32_t i);
/* Index of the trial with these 64 hex digits, -1 none. */
int32_t avs_trial_list_find(const avs_trial_list *l, const char *hex);

/* Folder of the trial: ROOT/trials/<hash12>. */
void avs_trial_work_dir(const avs_trial_list *l, int32_t i, char *out, size_t n);
/* ROOT/logs/<2 digits>/<hash12>-<epoch>.log */
void avs_trial_log(const avs_trial_list *l, int32_t i, uint32_t epoch, char *out, size_t n);
/* Appends JOB.json (docs/trial-protocol.md) without "rank", which the agent puts in front. start: its START action. */
int avs_trial_job(const avs_trial_list *l, const avs_action *start, uint64_t attempt, bool on_gpu,
                  avs_buf *out, avs_err *e);

#endif
