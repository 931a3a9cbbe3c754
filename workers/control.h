/* The trial's line to its agent: frames on fd 3 (docs/trial-protocol.md), or readable lines on stdout when the program
 * was started by hand.
 *
 * Thread rules: one thread. A lost peer is seen by avs_control_poll, which then asks for an end. */
#ifndef AVS_WORKERS_CONTROL_H
#define AVS_WORKERS_CONTROL_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/frame.h"

typedef struct {
    int fd; /* -1: lines on stdout */
    uint32_t epoch;
    uint64_t attempt;
    bool is_quiet;             /* ranks other than 0 send nothing but HELLO and their end */
    bool go;                   /* GO was received */
    char ring[AVS_FRAME_RING]; /* with GO: where rank 0 lets the others in; "": all ranks are on one node */
    bool stop;                 /* STOP was received, or the peer is gone */
    int64_t last_progress_ns;
    int64_t device_peak; /* bytes on a GPU, told with the end; 0: none */
    avs_frame_reader reader;
    avs_buf out;
} avs_control;

/* use_fd: fd 3 is a socket of the agent (avs_control_present). */
bool avs_control_present(void);
void avs_control_open(avs_control *c, bool use_fd, uint32_t epoch, uint64_t attempt);
void avs_control_close(avs_control *c);

void avs_control_hello(avs_control *c, const char *ring); /* ring: rank 0 of a gang across nodes, else NULL */
void avs_control_env(avs_control *c, const char *json);
/* At most one frame in 200 ms unless force. */
void avs_control_progress(avs_control *c, int64_t step, int64_t steps, double rate, const char *phase,
                          bool force);
void avs_control_point(avs_control *c, const char *name, int64_t step, double value);
/* unit: "fraction", "count", "s"; better: +1, -1, 0. split may be "". */
void avs_control_result(avs_control *c, const char *name, const char *split, double value, const char *unit,
                        int better);
void avs_control_latency(avs_control *c, const char *name, const uint32_t *ns, int64_t n, double unit_ns,
                         int flags, const char *json);
/* Hashes the file and sends ARTIFACT (or CKPT with kind "checkpoint"). */
int avs_control_file(avs_control *c, const char *name, const char *kind, const char *path, int64_t step,
                     avs_err *e);
/* Sends ARTIFACT for a folder, with the size and the digest that its kind defines. */
void avs_control_folder(avs_control *c, const char *name, const char *kind, const char *path, int64_t bytes,
                        const uint8_t sha256[32]);
void avs_control_done(avs_control *c);
void avs_control_fail(avs_control *c, const avs_err *e);
/* The checkpoint that this attempt goes on from. */
void avs_control_resumed(avs_control *c, const char *path, int64_t step);
void avs_control_stopped(avs_control *c, int64_t step);

/* A rank of a gang: sleeps until every rank is up (GO). AVS_ECANCEL when it is asked to stop instead. */
int avs_control_await_go(avs_control *c, avs_err *e);
/* Reads what has arrived without waiting; true when the trial is asked to stop. */
bool avs_control_poll(avs_control *c);

#endif
