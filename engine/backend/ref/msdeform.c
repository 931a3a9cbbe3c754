/* MSDEFORM core, forward and backward, with the symbols of arXiv 2010.04159: each sampling point of a query reads four
 * corners of one level; corners outside the level count as 0, points without a corner inside are skipped. */
#include "engine/backend/ref/io.h"

#include <math.h>

typedef struct {
    int64_t row[4];      /* corner rows inside the batch item; -1: outside */
    double wt[4];        /* bilinear weights                               */
    double dx[4], dy[4]; /* derivatives of the weights by x and y          */
} corners;

/* false: the point is skipped. */
static bool find_corners(int64_t start, int H, int W, double px, double py, corners *k)
{
    double x = px * W - 0.5, y = py * H - 0.5;
    if (!(x > -1 && y > -1 && x < W && y < H)) return false;
    int64_t x0 = (int64_t)floor(x), y0 = (int64_t)floor(y);
    double fx = x - (double)x0, fy = y - (double)y0;
    for (int c = 0; c < 4; c++) {
        int64_t i = y0 + c / 2, j = x0 + c % 2;
        double wy = c / 2 ? fy : 1 - fy, wx = c % 2 ? fx : 1 - fx;
        k->row[c] = i >= 0 && i < H && j >= 0 && j < W ? start + i * W + j : -1;
        k->wt[c] = wy * wx;
        k->dx[c] = c % 2 ? wy : -wy;
        k->dy[c] = c / 2 ? wx : -wx;
    }
    return true;
}

typedef struct {
    const avs_msdeform_attr *m;
    const double *value, *loc, *weight, *gy; /* gy: NULL in the forward */
    double *out, *gvalue, *gloc, *gweight;
    int64_t S, C, D;
} job;

/* Point `at` (its place in weight) of head h, level l; q is the row of queries, b the batch item. */
static void point(const job *j, int64_t b, int64_t q, int h, int l, int64_t start, int64_t at)
{
    corners k;
    int H = j->m->h[l], W = j->m->w[l];
    if (!find_corners(start, H, W, j->loc[2 * at], j->loc[2 * at + 1], &k)) return;
    double a = j->weight[at], s = 0, sx = 0, sy = 0;
    for (int64_t d = 0; d < j->D; d++) {
        int64_t o = q * j->C + h * j->D + d;
        for (int c = 0; c < 4; c++) {
            if (k.row[c] < 0) continue;
            int64_t v = (b * j->S + k.row[c]) * j->C + h * j->D + d;
            if (!j->gy) {
                j->out[o] += a * k.wt[c] * j->value[v];
                continue;
            }
            j->gvalue[v] += a * k.wt[c] * j->gy[o];
            s += j->gy[o] * k.wt[c] * j->value[v];
            sx += j->gy[o] * k.dx[c] * j->value[v];
            sy += j->gy[o] * k.dy[c] * j->value[v];
        }
    }
    if (!j->gy) return;
    j->gweight[at] = s;
    j->gloc[2 * at] = W * a * sx;
    j->gloc[2 * at + 1] = H * a * sy;
}

static void all_points(const job *j, const avs_type *loc)
{
    const avs_msdeform_attr *m = j->m;
    int64_t at = 0, rows = (int64_t)loc->d[0] * loc->d[1];
    for (int64_t q = 0; q < rows; q++)
        for (int h = 0; h < m->heads; h++)
            for (int64_t l = 0, start = 0; l < m->levels; start += (int64_t)m->h[l] * m->w[l], l++)
                for (int p = 0; p < m->points; p++) point(j, q / loc->d[1], q, h, (int)l, start, at++);
}

int avs_ref_msdeform(const avs_kernel_args *a)
{
    const avs_msdeform_attr *m = a->attr;
    const avs_type *t = &a->in[0].type;
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    job j = {.m = m, .value = io.in[0], .loc = io.in[1], .weight = io.in[2], .out = io.out[0]};
    j.S = t->d[1], j.C = t->d[2], j.D = j.C / m->heads;
    all_points(&j, &a->in[1].type);
    return ref_end(&io, AVS_OK);
}

int avs_ref_msdeform_bwd(const avs_kernel_args *a)
{
    const avs_msdeform_attr *m = a->attr;
    const avs_type *t = &a->in[1].type;
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    job j = {.m = m, .gy = io.in[0], .value = io.in[1], .loc = io.in[2], .weight = io.in[3]};
    j.gvalue = io.out[0], j.gloc = io.out[1], j.gweight = io.out[2];
    j.S = t->d[1], j.C = t->d[2], j.D = j.C / m->heads;
    all_points(&j, &a->in[2].type);
    return ref_end(&io, AVS_OK);
}
