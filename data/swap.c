/* Partners for the swapped-sound protocol. Names of the sidecar are turned into bits in order of appearance. */
#include "data/swap.h"

#include "base/arena.h"
#include "base/fs.h"
#include "data/csv.h"
#include "data/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int partners(const uint64_t *sounding, int n, int32_t *partner)
{
    int fallbacks = 0;
    for (int i = 0; i < n; i++) {
        int d = 1;
        while (d < n && (sounding[i] & sounding[(i + d) % n])) d++;
        if (d >= n) {
            fallbacks++;
            d = 1;
        }
        partner[i] = (i + d) % n;
    }
    return fallbacks;
}

void avs_swap_partners_of(const uint64_t *sounding, int n, int32_t *partner)
{
    partners(sounding, n, partner);
}

typedef struct {
    const char *name[64];
    int n;
} classes;

static int class_bit(classes *c, avs_arena *a, const char *s, size_t n, uint64_t *bits, const avs_csv *csv,
                     int row, avs_err *e)
{
    int k = 0;
    while (k < c->n && (strlen(c->name[k]) != n || memcmp(c->name[k], s, n) != 0)) k++;
    if (k == 64)
        return avs_fail(e, AVS_ERANGE, "%s:%d: more than 64 sounding classes", csv->what, csv->line[row]);
    if (k == c->n) {
        c->name[k] = avs_arena_strn(a, s, n);
        if (!c->name[k]) return avs_fail(e, AVS_ENOMEM, "no memory for a class name");
        c->n++;
    }
    *bits |= (uint64_t)1 << k;
    return AVS_OK;
}

/* "dog+frog|dog||" : classes of a second are joined by '+', seconds by '|'. */
static int parse_sounding(classes *c, avs_arena *a, const avs_csv *csv, int row, int col, uint64_t *bits,
                          avs_err *e)
{
    const char *s = avs_csv_at(csv, row, col);
    *bits = 0;
    while (*s) {
        const size_t n = strcspn(s, "+|");
        if (n) {
            int rc = class_bit(c, a, s, n, bits, csv, row, e);
            if (rc != AVS_OK) return rc;
        }
        s += n;
        if (*s) s++;
    }
    return AVS_OK;
}

static int compare_rows(const void *a, const void *b, void *ctx)
{
    const avs_csv *csv = ctx;
    return strcmp(avs_csv_at(csv, *(const int *)a, 0), avs_csv_at(csv, *(const int *)b, 0));
}

/* Row of the sidecar with this name (column 0), or -1. */
static int find_row(const avs_csv *csv, const int *order, const char *name)
{
    int lo = 0, hi = csv->n_rows;
    while (lo < hi) {
        const int mid = (lo + hi) / 2, c = strcmp(avs_csv_at(csv, order[mid], 0), name);
        if (c == 0) return order[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1;
}

int avs_swap_partners(const avs_dataset *ds, int32_t *partner, int *fallbacks, avs_err *e)
{
    char path[AVS_PATH_MAX];
    avs_csv csv;
    classes names = {.n = 0};
    uint64_t *bits = NULL;
    int *order = NULL;
    int col, rc = AVS_ENOMEM;
    avs_arena *a = avs_arena_new();
    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory for the sidecar");
    const int m = snprintf(path, sizeof path, "%s/%s", ds->cfg.root, ds->layout->sidecar);
    if (m < 0 || m >= (int)sizeof path || !avs_fs_exists(path)) {
        rc = avs_fail(e, AVS_EMISSING, "%s: no sidecar %s: the swapped-sound protocol needs composed data",
                      ds->cfg.root, ds->layout->sidecar);
        goto out;
    }
    AVS_TRY(avs_csv_read(&csv, a, path, e));
    AVS_TRY(avs_layout_col(path, avs_csv_col(&csv, "sounding"), "sounding", &col, e));
    bits = avs_arena_alloc(a, sizeof *bits * (size_t)(ds->n + 1));
    order = avs_arena_alloc(a, sizeof *order * (size_t)(csv.n_rows + 1));
    if (!bits || !order) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for %d clips", ds->n);
        goto out;
    }
    for (int r = 0; r < csv.n_rows; r++) order[r] = r;
    qsort_r(order, (size_t)csv.n_rows, sizeof *order, compare_rows, &csv);
    for (int i = 0; i < ds->n; i++) {
        const int row = find_row(&csv, order, ds->clips[i].pub.name);
        if (row < 0) {
            rc = avs_fail(e, AVS_EMISSING, "%s: clip %s is not in it", path, ds->clips[i].pub.name);
            goto out;
        }
        AVS_TRY(parse_sounding(&names, a, &csv, row, col, &bits[i], e));
    }
    const int f = partners(bits, ds->n, partner);
    if (fallbacks) *fallbacks = f;
    rc = AVS_OK;
out:
    avs_arena_free(a);
    return rc;
}
