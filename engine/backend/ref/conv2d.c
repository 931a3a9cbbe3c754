/* CONV2D and its gradients. The three differ only in which of x, w, y is written: one loop nest serves all.
 *
 *   y[b,oy,ox,o] = sum over ky,kx,i of x[b, oy s - p + ky d, ox s - p + kx d, i] w[o,i,ky,kx] */
#include "engine/backend/ref/io.h"

typedef enum { WRITE_Y, WRITE_X, WRITE_W } target;

/* One tap at one output position: all channels. Pointers are to channel 0 (w: to its tap). */
static void tap(const avs_conv_attr *c, int Ci, int Co, const double *x, const double *w, const double *y,
                double *acc, target t)
{
    int Ig = Ci / c->groups, Og = Co / c->groups, kk = c->kh * c->kw;
    for (int o = 0; o < Co; o++) {
        int first = o / Og * Ig;
        int64_t wo = (int64_t)o * Ig * kk;
        if (t == WRITE_Y) {
            double s = 0;
            for (int i = 0; i < Ig; i++) s += x[first + i] * w[wo + (int64_t)i * kk];
            acc[o] += s;
        } else if (t == WRITE_X)
            for (int i = 0; i < Ig; i++) acc[first + i] += y[o] * w[wo + (int64_t)i * kk];
        else /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): only w is NULL here */
            for (int i = 0; i < Ig; i++) acc[wo + (int64_t)i * kk] += y[o] * x[first + i];
    }
}

/* The operand that is written is NULL among x, w, y. */
static void nest(const avs_conv_attr *c, const avs_type *tx, const avs_type *ty, const double *x,
                 const double *w, const double *y, double *acc, target t)
{
    int Ci = tx->d[3], Co = ty->d[3];
    int64_t n_pos = (int64_t)ty->d[0] * ty->d[1] * ty->d[2];
    for (int64_t pos = 0; pos < n_pos; pos++) {
        int64_t b = pos / ty->d[2] / ty->d[1];
        int oy = (int)(pos / ty->d[2] % ty->d[1]), ox = (int)(pos % ty->d[2]);
        for (int k = 0; k < c->kh * c->kw; k++) {
            int iy = oy * c->sh - c->ph + k / c->kw * c->dh, ix = ox * c->sw - c->pw + k % c->kw * c->dw;
            if (iy < 0 || iy >= c->in_h || ix < 0 || ix >= c->in_w) continue;
            int64_t xo = ((b * c->in_h + iy) * c->in_w + ix) * Ci, yo = pos * Co;
            double *to = acc + (t == WRITE_X ? xo : t == WRITE_Y ? yo : k);
            tap(c, Ci, Co, x ? x + xo : NULL, w ? w + k : NULL, y ? y + yo : NULL, to, t);
        }
    }
}

int avs_ref_conv2d(const avs_kernel_args *a)
{
    const avs_conv_attr *c = a->attr;
    const avs_type *ty = &a->out[0].type;
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    nest(c, &a->in[0].type, ty, io.in[0], io.in[1], NULL, io.out[0], WRITE_Y);
    for (int64_t i = 0, n = avs_type_count(ty); i < n; i++) {
        double v = io.out[0][i];
        if (io.in[2]) v += io.in[2][i % ty->d[3]];
        if (io.in[3]) v += io.in[3][i];
        io.out[0][i] = ref_act(c->act, v);
    }
    return ref_end(&io, AVS_OK);
}

int avs_ref_conv2d_bwd_x(const avs_kernel_args *a)
{
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    nest(a->attr, &a->out[0].type, &a->in[0].type, NULL, io.in[1], io.in[0], io.out[0], WRITE_X);
    return ref_end(&io, AVS_OK);
}

int avs_ref_conv2d_bwd_w(const avs_kernel_args *a)
{
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    nest(a->attr, &a->in[0].type, &a->in[1].type, io.in[0], NULL, io.in[1], io.out[0], WRITE_W);
    return ref_end(&io, AVS_OK);
}
