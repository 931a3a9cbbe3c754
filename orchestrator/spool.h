/* The spool: finished results that the coordinator has not acknowledged yet, one file per attempt.
 *
 * A file holds the frames of an attempt and its M_ENDED, as they went over the wire. It is written before M_ENDED is
 * sent and removed on M_ACK. What is left after a crash is offered by the coordinator's own agent at the next start.
 * Files appear by rename but are not synced: a kill loses nothing, a power cut only repeats the trial. */
#ifndef AVS_ORCHESTRATOR_SPOOL_H
#define AVS_ORCHESTRATOR_SPOOL_H

#include "base/buf.h"
#include "base/err.h"
#include "base/frame.h"

/* dir is created when absent. */
int avs_spool_put(const char *dir, uint64_t attempt, uint32_t epoch, const avs_buf *frames, avs_err *e);
void avs_spool_drop(const char *dir, uint64_t attempt, uint32_t epoch);

/* Calls got for every whole file, oldest attempt first; files that are not whole are renamed to *.bad and counted
 * in *bad. An absent dir is an empty spool. */
int avs_spool_each(const char *dir, void (*got)(void *ctx, const void *frames, size_t n), void *ctx, int *bad,
                   avs_err *e);

#endif
