/* Attention dissipation: how far an attention layer hands every query the same thing.
 *
 * Formulas of the AVESFormer specification section 11; natural logarithm, float64, 0 ln 0 = 0. Rows of A are
 * divided by their sums first (a row that sums to 0 counts as uniform). entropy               H = mean_i
 * -sum_j A_ij ln A_ij normalised entropy    E = H / ln K;                                    E = 1 when K = 1
 *   dissipation index     D = 1 - max(0, H(Abar) - mean_i H(A_i)) / ln min(N,K);   D = 1 when min(N,K) = 1
 *   replication index     |mean_i o_i|^2 / mean_i |o_i|^2 of the sublayer's output o */
#ifndef AVS_METRICS_DISSIPATION_H
#define AVS_METRICS_DISSIPATION_H

#include <stdint.h>
#include "base/err.h"

typedef struct {
    double entropy, normalised_entropy, dissipation; /* means over batch and heads */
} avs_dissipation;

/* A: maps,N,K f32, A >= 0; maps = batch * heads. Errors: AVS_ERANGE for extents < 1, negative or non-finite
 * A; AVS_ENOMEM. */
int avs_attention_dissipation(const float *A, int64_t maps, int64_t N, int64_t K, avs_dissipation *out,
                              avs_err *e);

/* o: frames,N,C f32, before the residual; mean over frames. A frame of zeros counts as 1. Errors: AVS_ERANGE.
 */
int avs_replication_index(const float *o, int64_t frames, int64_t N, int64_t C, double *out, avs_err *e);

#endif
