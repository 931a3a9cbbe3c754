/* Messages between coordinator and agents: frames of base/frame.h with the types and tags below.
 *
 * A connection is a byte stream of frames, over a socket pair (the agent of the coordinator's own node) or over MPI
 * (every other node; chunks of at most 64 KiB, tag 71). Frames of a trial (types 1..63) are passed on unchanged by
 * the agent, except DONE, FAIL and STOPPED, which become one M_ENDED when the process is gone, and PROGRESS, which
 * is thinned to four a second.
 *
 *   agent                     coordinator
 *     M_HELLO  ------------->            host, cores, GPUs, program version
 *              <-------------  M_WELCOME
 *              <-------------  M_START   attempt, epoch, trial, cores, job text, limits
 *     M_STARTED ------------>            pid
 *     M_READY  ------------->            gangs: every rank here is up; where rank 0 lets ranks of other nodes in
 *              <-------------  M_GO      gangs: every rank everywhere is up; where rank 0 is
 *     trial frames ---------->
 *     M_ENDED  ------------->            how it ended, of a latency trial also how quiet the node was; results lie in the spool until
 *              <-------------  M_ACK     the result is committed, the spool file may go
 *              <-------------  M_STOP    checkpoint and stop, or kill
 *     M_BEAT   <------------>            every 5 s: the coordinator tells its time, the agent echoes the last one it heard
 *                                        and lists what it holds, so that what was lost on the way is made good
 *     M_SIGNAL ------------->            the agent was asked to drain (SIGTERM, SIGUSR1, ..)
 *     M_BYE    <------------>            no more work: the agent ends, and says so itself when it leaves */
#ifndef AVS_ORCHESTRATOR_MESSAGE_H
#define AVS_ORCHESTRATOR_MESSAGE_H

#include "base/frame.h"

enum { AVS_MPI_TAG = 71, AVS_MPI_CHUNK = 64 << 10 };

typedef enum {
    AVS_M_HELLO = 128, /* a->c HOST, CORES, MEM_MB, NUMA, GPUS, VERSION, PID                   */
    AVS_M_WELCOME,     /* c->a ROOT work root                                                  */
    AVS_M_START, /* c->a TRIAL, CORES, JSON job, LOG, WORK, TIME_MS, HANG_MS, FLAGS; gangs: RANKS, FIRST, PLACES */
    AVS_M_STARTED, /* a->c PID                                                             */
    AVS_M_ENDED, /* a->c OUTCOME, CODE, SIGNAL, TEXT, TRIAL, SECONDS, MAX_RSS, MAX_GPU, STEP; latency: FLAGS, JSON */
    AVS_M_ACK,    /* c->a                                                                 */
    AVS_M_STOP,   /* c->a REASON, KIND "checkpoint" or "kill"                             */
    AVS_M_BEAT,   /* both, every 5 s: HEARD_MS; a->c HELD                                 */
    AVS_M_SIGNAL, /* a->c CODE signal number                                              */
    AVS_M_BYE,    /* both                                                                 */
    AVS_M_READY,  /* a->c RING; every rank of a gang on this node has said HELLO          */
    AVS_M_GO      /* c->a RING; every rank of the gang is up on every node: they may communicate */
} avs_message_type;

typedef enum {
    AVS_T_HOST = AVS_T_FIRST_FREE,
    AVS_T_CORES,   /* i64 */
    AVS_T_ROOT,    /* work root */
    AVS_T_TRIAL,   /* hash, 64 hex digits */
    AVS_T_LOG,     /* log file of the attempt */
    AVS_T_WORK,    /* folder of the attempt: cwd and JOB.json */
    AVS_T_TIME_MS, /* i64, 0: no limit */
    AVS_T_HANG_MS, /* i64, 0: no limit */
    AVS_T_OUTCOME, /* i64, avs_outcome */
    AVS_T_SIGNAL,  /* i64 */
    AVS_T_SECONDS, /* f64, wall time of the attempt */
    AVS_T_MAX_RSS, /* i64, bytes */
    AVS_T_RANKS,   /* i64, of the gang; absent: 1 */
    AVS_T_FIRST,   /* i64, first rank on this node; in M_ENDED above 0: results lie with another node */
    AVS_T_PLACES, /* per rank on this node: GPU bits u32 (bit g: entry g of GPUS in M_HELLO), cores u32, NUMA domain u32, little-endian */
    AVS_T_NUMA,   /* cores per NUMA domain, u32 each */
    AVS_T_MEM_MB, /* i64 */
    AVS_T_GPUS, /* JSON list as avs_gpu_inventory_json writes it; absent: no GPU. An agent of another version is left
                   out, so no older one can misread GPU bits */
    AVS_T_MAX_GPU,  /* i64, bytes of all ranks here */
    AVS_T_HEARD_MS, /* i64: c->a the coordinator's time; a->c the latest of these that was heard */
    AVS_T_HELD /* attempts with processes: attempt u64, epoch u32, flags u32 (1 ready, 2 going), little-endian */
} avs_message_tag;

enum { AVS_HELD_READY = 1, AVS_HELD_GOING = 2, AVS_HELD_BYTES = 16 };

/* FLAGS of M_START. */
enum {
    AVS_START_QUIET = 1, /* a latency trial: the agent disturbs it as little as it can      */
    AVS_START_INLINE = 2 /* a no-op that the agent answers itself, without a process        */
};

/* How an attempt ended. Only done, error, crash, hang and timeout are the trial's own doing. */
typedef enum {
    AVS_OUT_DONE = 0,  /* DONE and exit 0                                            */
    AVS_OUT_ERROR,     /* FAIL with its text                                         */
    AVS_OUT_CRASH,     /* a signal, or an exit without DONE or FAIL, or broken frames */
    AVS_OUT_HANG,      /* no PROGRESS for limits.hang                                */
    AVS_OUT_TIMEOUT,   /* limits.time                                                */
    AVS_OUT_STOPPED,   /* STOP was obeyed: checkpoint written, exit 75               */
    AVS_OUT_KILLED,    /* killed on request of the coordinator                       */
    AVS_OUT_INFRA,     /* could not be started: no program, no memory, no folder     */
    AVS_OUT_LOST,      /* the agent is gone                                          */
    AVS_OUT_OOM,       /* the kernel killed it for want of memory                    */
    AVS_OUT_OOM_GPU,   /* it said that the memory of a GPU does not suffice           */
    AVS_OUT_DISTURBED, /* a latency that is suspect; measured again twice, then it counts as done */
    AVS_OUT_COUNT
} avs_outcome;

/* "done", "error", ..: the word stored as the reason of an attempt. */
const char *avs_outcome_name(avs_outcome o);

#endif
