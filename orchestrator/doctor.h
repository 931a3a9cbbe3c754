/* `doctor`: can this node run sweeps? Cores, memory, GPUs, the ring, scratch, locks and clock of the database's file
 * system, what a kill -9 leaves of SQLite, and whether mpirun passes signals on. Under mpirun every rank looks at its node,
 * and rank 0 adds clocks and an all-reduce between the ranks. */
#ifndef AVS_ORCHESTRATOR_DOCTOR_H
#define AVS_ORCHESTRATOR_DOCTOR_H

#include "orchestrator/cli.h"

/* Exit 0: nothing fails; 1: something does (warnings do not count). */
int avs_command_doctor(const avs_options *o);

/* Word of the internal subcommand `avsweep __probe`: says ready, then which signal came. */
#define AVS_PROBE_WORD "__probe"
int avs_doctor_probe(void);

/* ---- between the files of the doctor ---- */

typedef enum { AVS_DOC_OK, AVS_DOC_WARN, AVS_DOC_FAIL, AVS_DOC_SKIP } avs_doc_state;
typedef struct {
    const avs_options *o;
    char host[256];
    int failures, warnings;
    avs_buf out;
} avs_doctor;
void avs_doc_say(avs_doctor *d, avs_doc_state state, const char *check, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

void avs_doc_storage(avs_doctor *d,
                     const char *folder); /* doctor_disk.c: file system, locks, clock of a folder */
void avs_doc_scratch(avs_doctor *d);      /* doctor_disk.c */
void avs_doc_sqlite(avs_doctor *d,
                    const char *folder); /* doctor_disk.c: commits that were told survive kill -9 */
void avs_doc_ranks(avs_doctor *d,
                   bool (*local)(avs_doctor *d)); /* doctor_mpi.c: between the ranks of mpirun */

#endif
