/* LOSS and LOSS_BWD: per row of axis 0 a value, and its gradient by the prediction. With g null the value is formed,
 * otherwise gp receives g times the derivative. */
#include "engine/backend/ref/io.h"

#include <math.h>

static double bce(const double *x, const double *t, int64_t n, const double *g, double *gp)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = exp(-fabs(x[i])), s = x[i] >= 0 ? 1 / (1 + e) : e / (1 + e);
        if (g) gp[i] = *g * (s - t[i]) / (double)n;
        sum += (x[i] > 0 ? x[i] : 0) - x[i] * t[i] + log1p(e);
    }
    return sum / (double)n;
}

/* *rc becomes AVS_ERANGE when a class is outside 0..K-1. */
static double ce(const double *x, const double *t, int64_t n, int64_t K, const double *g, double *gp, int *rc)
{
    double total = 0;
    for (int64_t i = 0; i < n; i++, x += K) {
        double top = x[0], sum = 0;
        if (!(t[i] >= 0 && t[i] < (double)K)) {
            *rc = AVS_ERANGE;
            return 0;
        }
        int64_t cls = (int64_t)t[i];
        for (int64_t k = 1; k < K; k++) top = x[k] > top ? x[k] : top;
        for (int64_t k = 0; k < K; k++) sum += exp(x[k] - top);
        for (int64_t k = 0; g && k < K; k++)
            gp[i * K + k] = *g * (exp(x[k] - top) / sum - (k == cls ? 1 : 0)) / (double)n;
        total += top + log(sum) - x[cls];
    }
    return total / (double)n;
}

/* 1 - num/den with num = 2 I + s_num, den = P + T + s_den (dice) or I + s_num, P + T - I + s_den (iou). */
static double overlap(const avs_loss_attr *a, const double *p, const double *t, int64_t n, const double *g,
                      double *gp)
{
    bool is_dice = a->kind == AVS_LOSS_DICE, is_squared = is_dice && a->squared;
    double I = 0, P = 0, T = 0;
    for (int64_t i = 0; i < n; i++) {
        I += p[i] * t[i];
        P += is_squared ? p[i] * p[i] : p[i];
        T += is_squared ? t[i] * t[i] : t[i];
    }
    double num = (is_dice ? 2 * I : I) + (double)a->s_num, den = P + T - (is_dice ? 0 : I) + (double)a->s_den;
    for (int64_t i = 0; g && i < n; i++) {
        double dnum = is_dice ? 2 * t[i] : t[i], dden = is_squared ? 2 * p[i] : is_dice ? 1 : 1 - t[i];
        gp[i] = -*g * (dnum * den - num * dden) / (den * den);
    }
    return 1 - num / den;
}

static int rows(const avs_loss_attr *a, const avs_type *tp, const double *pred, const double *target,
                const double *g, double *out)
{
    int64_t B = tp->d[0], n = avs_type_count(tp) / B, K = a->kind == AVS_LOSS_CE ? tp->d[tp->rank - 1] : 1;
    int rc = AVS_OK;
    for (int64_t b = 0; b < B && rc == AVS_OK; b++) {
        const double *x = pred + b * n, *t = target + b * (n / K), *gb = g ? g + b : NULL;
        double *gp = g ? out + b * n : NULL, v;
        if (a->kind == AVS_LOSS_BCE)
            v = bce(x, t, n, gb, gp);
        else if (a->kind == AVS_LOSS_CE)
            v = ce(x, t, n / K, K, gb, gp, &rc);
        else
            v = overlap(a, x, t, n, gb, gp);
        if (!g) out[b] = v;
    }
    return rc;
}

int avs_ref_loss(const avs_kernel_args *a)
{
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    return ref_end(&io, rows(a->attr, &a->in[0].type, io.in[0], io.in[1], NULL, io.out[0]));
}

int avs_ref_loss_bwd(const avs_kernel_args *a)
{
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    return ref_end(&io, rows(a->attr, &a->in[1].type, io.in[1], io.in[2], io.in[0], io.out[0]));
}
