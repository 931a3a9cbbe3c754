/* The lease: one coordinator per database. DB.lock is made by link(2), which is atomic on every file system, names its
 * owner (host, pid, start, boot) and is held with flock for as long as the process lives.
 *
 * A lock whose owner is dead is taken over: on the same boot of the same kernel a free flock proves it (across PID
 * name spaces too), after a reboot of the same host the other boot id does. A lock of another host stays until
 * `--steal-lease`. The owner touches the file, so that others can say how fresh it is. */
#ifndef AVS_ORCHESTRATOR_LEASE_H
#define AVS_ORCHESTRATOR_LEASE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

typedef struct {
    int fd;
    char path[4096];
} avs_lease;

/* Errors: AVS_EDB when somebody else holds it (the message names host, pid, job and age), AVS_EIO. */
int avs_lease_take(avs_lease *l, const char *db_path, bool steal, avs_err *e);
/* Who holds a database, for `status`: nothing is changed. */
typedef struct {
    bool held, alive; /* a lock file is there; its owner lives (another host's counts as alive) */
    char host[256], job[64];
    int64_t pid, started_s; /* seconds since 1970 */
    double silent_s;        /* since its last sign of life */
} avs_lease_owner;
avs_lease_owner avs_lease_look(const char *db_path);
void avs_lease_touch(const avs_lease *l);
void avs_lease_drop(avs_lease *l); /* accepts a lease that was never taken ({-1}) */

#endif
