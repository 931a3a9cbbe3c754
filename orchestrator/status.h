/* `status`: what a database says about its sweeps now, gathered once, shown as text, as JSON lines or by watch.c. */
#ifndef AVS_ORCHESTRATOR_STATUS_H
#define AVS_ORCHESTRATOR_STATUS_H

#include <sqlite3.h>
#include "base/buf.h"
#include "orchestrator/cli.h"
#include "orchestrator/lease.h"
#include "results/store.h"

enum { AVS_STATUS_CAUSES = 5, AVS_STATUS_BEST = 3, AVS_STATUS_RUNNING = 12 };

typedef struct {
    char sweep[80]; /* of the newest sweep that was asked for, "" none */
    int64_t count[AVS_TRIAL_STATES], total;
    avs_lease_owner owner;
    int64_t running, hosts, gpus_busy, gpus; /* gpus: that the database knows of */
    double eta_s;                            /* negative: unknown */
    char basis[120];                         /* of the ETA */
    struct {
        char reason[24], trial[16], host[64], text[160];
        int64_t count, ended_us;
    } cause[AVS_STATUS_CAUSES]; /* of recent failures, newest first */
    int n_causes;
    char metric[64], unit[24];
    bool maximise;
    struct {
        char label[160];
        double mean, sd; /* sd negative: one seed */
        int64_t n;
    } best[AVS_STATUS_BEST];
    int n_best;
    struct {
        char trial[16], what[80], host[64], point[80];
        double seconds;
    } live[AVS_STATUS_RUNNING];
    int n_live;
} avs_status;

/* sweep may be NULL: everything in the file. */
int avs_status_read(sqlite3 *db, const char *path, const char *sweep, avs_status *s, avs_err *e);
/* One screen; width in columns, bar and colours by it. with_live: the running trials too. */
void avs_status_text(const avs_status *s, int width, bool color, bool with_live, avs_buf *out);
void avs_status_line(const avs_status *s, avs_buf *out); /* one line, no newline */
void avs_status_json(const avs_status *s, avs_buf *out);

int avs_command_status(const avs_options *o); /* --watch: watch.c */

#endif
