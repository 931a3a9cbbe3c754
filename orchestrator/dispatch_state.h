/* What the two halves of the event loop share: dispatch.c (messages, turns) and dispatch_act.c (actions into rows and
 * messages). Private to them. */
#ifndef AVS_ORCHESTRATOR_DISPATCH_STATE_H
#define AVS_ORCHESTRATOR_DISPATCH_STATE_H

#include <poll.h>
#include "orchestrator/dispatch.h"
#include "orchestrator/gpu_inventory.h"
#include "orchestrator/id_map.h"
#include "orchestrator/staging.h"

typedef struct {
    avs_transport *link;
    int at; /* which peer of the link */
    char host[256];
    avs_frame_reader in;
    avs_buf out;
    bool up, closed, said_bye, started;
    avs_gpu_inventory *gpus; /* NULL: none */
    int64_t ended_ns;        /* when its last trial ended; for samples */
} peer;

typedef struct {
    uint64_t attempt;
    uint32_t epoch;
    int32_t trial;
    int agent;
    int64_t points_ms;
    bool spans; /* its ranks lie on several nodes */
    char *ring; /* then, when rank 0 has told: where it lets the others in */
    char *why;  /* and what the node said whose ranks were the cause of its end; NULL: none so far */
    int why_agent, exit_code, signal;
} live_trial;

typedef struct {
    const avs_dispatch_cfg *cfg;
    avs_coord *coord;
    avs_staging *staging;
    avs_progress progress;
    peer *peers;
    struct pollfd *fds;
    int n_peers;
    live_trial *live;
    int n_live, cap_live;
    avs_id_map by_attempt; /* -> place in live */
    avs_action *pending;   /* actions of the turn that wait for the flush: COMMITs and STARTs */
    int n_pending, cap_pending;
    uint64_t started;       /* provisional id of the attempt whose STARTs come */
    int64_t started_id;     /* and its row */
    avs_arena *frame;       /* strings of the frame at hand */
    const avs_frame *ended; /* the M_ENDED being handled */
    int ended_agent;
    const char *ended_text;
    bool stdout_gone; /* nobody reads the JSON any more */
    int64_t tell_ms;  /* when the counts are told next  */
    bool draining, db_failed, db_told, host_told, finished, failed;
    int signals, code, lost;
    int64_t beat_ms, wish_ms;    /* when to beat, when to look for wishes */
    int64_t wish_stamp;          /* of the folder of wishes, when last seen */
    struct stage_asha *asha;     /* one per stage of the sweep; NULL: no stage stops early */
    struct walked_trial *walked; /* how far each trial is, where stages stop early */
    avs_id_map by_row; /* number of a trial in the database -> place in the list; made at the first wish */
    avs_err err;
} dispatch_run;

int64_t dispatch_now_ms(void);
void dispatch_sample(dispatch_run *r, peer *p);
/* Hands an event to the machine and carries its actions out. */
void dispatch_step(dispatch_run *r, avs_event ev);
void dispatch_db_trouble(dispatch_run *r, const avs_err *err);
size_t dispatch_begin(dispatch_run *r, int agent, uint16_t type, uint32_t epoch, uint64_t attempt);
/* A message without fields. */
void dispatch_bare(dispatch_run *r, int agent, uint16_t type, uint32_t epoch, uint64_t attempt);

/* ---- dispatch_act.c ---- */
void dispatch_carry_out(dispatch_run *r, const avs_action *acts, int32_t n);
void dispatch_note(dispatch_run *r, char level, const char *host, const char *code, const char *text);
live_trial *dispatch_live(dispatch_run *r, uint64_t attempt);

/* ---- dispatch_tell.c ---- */
void dispatch_tell_start(dispatch_run *r, const avs_action *a);
/* state: what the trial is now; text: why, or NULL. */
void dispatch_tell_end(dispatch_run *r, const avs_action *a, const char *state, const char *text);
void dispatch_tell_counts(dispatch_run *r, const char *type);
void dispatch_tell_message(dispatch_run *r, int agent, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- dispatch_asha.c ---- */
void dispatch_asha_begin(dispatch_run *r); /* reads what earlier runs recorded */
void dispatch_asha_free(dispatch_run *r);
void dispatch_asha_point(dispatch_run *r, int32_t trial, const char *name, int64_t step, double value);
void dispatch_asha_over(dispatch_run *r, int32_t trial); /* done or failed for good */

/* ---- dispatch_wish.c ---- */
void dispatch_held(dispatch_run *r);                /* trials that an earlier command paused stay so */
void dispatch_wishes(dispatch_run *r, int64_t now); /* what retry, cancel, pause, prioritise left behind */

#endif
