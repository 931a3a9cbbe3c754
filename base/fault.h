/* Faults on purpose, for tests: AVSWEEP_FAULT is a list, separated by spaces, of
 *
 *   kill:WHO:after=TIME     WHO (coordinator, agent, spawner, trial) is killed with SIGKILL TIME after its start ("1.5s")
 *   kill:trial=N:after=TIME only the trial with seed N
 *   eio:db:after=N          every write of the database fails with EIO after N of them (orchestrator/fault_db.c)
 *   enospc:db:after=N       the same with a full disk
 *   drop:MESSAGE:after=N    an agent does not get its message number N+1 of this kind (start, go, stop)
 *
 * A word that is none of these is an error of the command line. Without the variable nothing here does anything. */
#ifndef AVS_BASE_FAULT_H
#define AVS_BASE_FAULT_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

typedef enum { AVS_FAULT_NONE, AVS_FAULT_EIO, AVS_FAULT_ENOSPC } avs_fault_kind;

int avs_fault_check(avs_err *e); /* AVS_ERANGE: AVSWEEP_FAULT is malformed */
/* Called by a process as it starts: arms its end if that was asked for. number: the seed of a trial, else -1. */
void avs_fault_arm(const char *who, int64_t number);
/* Called for every message of a kind that has arrived; true: take it as lost on the way. One thread. */
bool avs_fault_drops(const char *message);
/* What was asked of the database; *after: so many writes go well. */
avs_fault_kind avs_fault_db(int64_t *after);

#endif
