/* Latency cells: the median over processes of a statistic of each process's samples, with a bootstrap over processes and then
 * over samples. Only cells of two or more processes have an interval, so only their samples are read. */
#include "results/query.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "results/db.h"
#include "results/stat_bootstrap.h"

static int ascending(const void *x, const void *y)
{
    double a, b;
    memcpy(&a, x, sizeof a);
    memcpy(&b, y, sizeof b);
    return (a > b) - (a < b);
}

static int by_count(const void *x, const void *y)
{
    uint32_t a, b;
    memcpy(&a, x, sizeof a);
    memcpy(&b, y, sizeof b);
    return (a > b) - (a < b);
}

/* The sorted samples of an attempt, from little-endian bytes; free r->sorted with avs_xfree. n = 0: there are none. */
static int read_samples(avs_store *s, int64_t attempt, const char *name, avs_boot_repeat *r, avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int rc;

    *r = (avs_boot_repeat){.unit_ns = 1};
    AVS_TRY(avs_db_bind(s, &q, e, "SELECT samples, unit_ns FROM latency WHERE attempt_id=? AND name=?", "it",
                        attempt, name));
    AVS_TRY(avs_db_step(s, q, &row, e));
    if (!row) return AVS_OK;
    const unsigned char *p = sqlite3_column_blob(q, 0);
    const int64_t n = sqlite3_column_bytes(q, 0) / 4;
    uint32_t *sorted = n ? avs_xalloc((size_t)n * sizeof *sorted) : NULL;
    if (n && !sorted) rc = avs_fail(e, AVS_ENOMEM, "no memory for %lld samples", (long long)n);
    for (int64_t i = 0; sorted && i < n; i++, p += 4)
        sorted[i] = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    if (sorted) qsort(sorted, (size_t)n, sizeof *sorted, by_count);
    *r = (avs_boot_repeat){sorted, sorted ? n : 0, sqlite3_column_double(q, 1)};
    sqlite3_reset(q);
out:
    return rc;
}

static int interval(avs_store *s, const avs_table *t, const avs_q_column *c, const avs_q_row *r,
                    avs_q_cell *x, avs_err *e)
{
    avs_boot_repeat *repeat = avs_xalloc((size_t)x->n * sizeof *repeat);
    int rc = AVS_OK, n = 0;

    if (!repeat) return avs_fail(e, AVS_ENOMEM, "no memory for the samples of %d processes", x->n);
    for (int i = r->first_trial; i < r->first_trial + r->n_trials && n < x->n; i++) {
        if (isnan(c->value[i]) || !avs_q_where_holds(&c->pin, &t->trial[i])) continue;
        AVS_TRY(read_samples(s, t->trial[i].attempt, c->latency, &repeat[n], e));
        n += repeat[n].n > 0;
    }
    x->lo = x->hi = (double)NAN;
    if (n == x->n) AVS_TRY(avs_boot_latency(repeat, n, c->stat, t->ci / 100, &x->lo, &x->hi, e));
    x->half = (x->hi - x->lo) / 2;
out:
    for (int i = 0; i < n; i++) avs_xfree((void *)(uintptr_t)repeat[i].sorted);
    avs_xfree(repeat);
    return rc;
}

int avs_q_latency_medians(const avs_table *t, avs_q_cell *cell, avs_err *e)
{
    int most = 0;
    for (int r = 0; r < t->n_rows; r++) most = cell[r].n > most ? cell[r].n : most;
    double *sorted = avs_xalloc(((size_t)most + 1) * sizeof *sorted);
    if (!sorted) return avs_fail(e, AVS_ENOMEM, "no memory for %d latencies", most);
    for (int r = 0; r < t->n_rows; r++) {
        avs_q_cell *x = &cell[r];
        if (x->n == 0) continue;
        memcpy(sorted, x->value, (size_t)x->n * sizeof *sorted);
        qsort(sorted, (size_t)x->n, sizeof *sorted, ascending);
        x->mean = x->n % 2 ? sorted[x->n / 2] : (sorted[x->n / 2 - 1] + sorted[x->n / 2]) / 2;
        x->lo = x->hi = x->half = (double)NAN;
    }
    avs_xfree(sorted);
    return AVS_OK;
}

int avs_q_latency_intervals(avs_store *s, avs_table *t, int col, avs_err *e)
{
    for (int r = 0; r < t->n_rows; r++) {
        avs_q_cell *x = &t->row[r].cell[col];
        int rc = x->n < 2 ? AVS_OK : interval(s, t, &t->column[col], &t->row[r], x, e);
        if (rc != AVS_OK) return rc;
    }
    return AVS_OK;
}
