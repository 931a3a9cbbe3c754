/* What `status` shows of a database: counts, what runs, how long it may take, why trials failed, which configurations are
 * best. Gathered in one read transaction by a handful of indexed queries, so that it stays below a tenth of a second on a
 * million trials. */
#ifndef AVS_RESULTS_STATUS_ROWS_H
#define AVS_RESULTS_STATUS_ROWS_H

#include "results/store.h"

enum { AVS_STATUS_CAUSES = 5, AVS_STATUS_BEST = 3, AVS_STATUS_RUNNING = 12 };

typedef struct {
    char sweep[80]; /* of the newest sweep that was asked for, "" none */
    int64_t count[AVS_TRIAL_STATES], total;
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
} avs_status_rows;

/* sweep: a name, whose newest sweep counts, or NULL: everything in the file. s is open for reading. AVS_EMISSING: there
 * is no such sweep. */
int avs_store_status(avs_store *s, const char *sweep, avs_status_rows *out, avs_err *e);

#endif
