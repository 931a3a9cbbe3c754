/* Dissipation of attention maps, in float64. D is one minus the mutual information of query position and key,
 * relative to the most it could be. */
#include "metrics/dissipation.h"

#include <math.h>
#include "base/arena.h"

static double plogp(double p)
{
    return p > 0 ? p * log(p) : 0;
}

/* Adds row i of a map to mean (as a distribution) and returns its entropy; NaN for a bad value. */
static double row_entropy(const float *row, int64_t K, double weight, double *mean)
{
    double sum = 0, H = 0;
    for (int64_t j = 0; j < K; j++) {
        if (!(row[j] >= 0.0f) || isinf(row[j])) return (double)NAN;
        sum += (double)row[j];
    }
    for (int64_t j = 0; j < K; j++) {
        double a = sum > 0 ? (double)row[j] / sum : 1.0 / (double)K;
        mean[j] += weight * a;
        H -= plogp(a);
    }
    return H;
}

int avs_attention_dissipation(const float *A, int64_t maps, int64_t N, int64_t K, avs_dissipation *out,
                              avs_err *e)
{
    *out = (avs_dissipation){0};
    if (maps < 1 || N < 1 || K < 1)
        return avs_fail(e, AVS_ERANGE,
                        "attention of %lld maps of %lld x %lld has no dissipation: extents are >= 1",
                        (long long)maps, (long long)N, (long long)K);
    double *mean = avs_xalloc((size_t)K * sizeof *mean);
    if (!mean) return avs_fail(e, AVS_ENOMEM, "no memory for a row of %lld keys", (long long)K);
    const int64_t least = N < K ? N : K;
    for (int64_t m = 0; m < maps; m++) {
        double H = 0, Hbar = 0;
        for (int64_t j = 0; j < K; j++) mean[j] = 0;
        for (int64_t i = 0; i < N; i++) {
            double h = row_entropy(A + (m * N + i) * K, K, 1.0 / (double)N, mean);
            if (isnan(h)) {
                avs_xfree(mean);
                *out = (avs_dissipation){0};
                return avs_fail(e, AVS_ERANGE,
                                "attention map %lld, query %lld holds a negative or infinite weight",
                                (long long)m, (long long)i);
            }
            H += h / (double)N;
        }
        for (int64_t j = 0; j < K; j++) Hbar -= plogp(mean[j]);
        out->entropy += H / (double)maps;
        out->normalised_entropy += (K == 1 ? 1.0 : H / log((double)K)) / (double)maps;
        out->dissipation +=
            (least == 1 ? 1.0 : 1.0 - fmax(0.0, Hbar - H) / log((double)least)) / (double)maps;
    }
    avs_xfree(mean);
    return AVS_OK;
}

int avs_replication_index(const float *o, int64_t frames, int64_t N, int64_t C, double *out, avs_err *e)
{
    *out = 0;
    if (frames < 1 || N < 1 || C < 1)
        return avs_fail(e, AVS_ERANGE,
                        "an output of %lld frames of %lld x %lld has no replication: extents are >= 1",
                        (long long)frames, (long long)N, (long long)C);
    for (int64_t f = 0; f < frames; f++) {
        double of_mean = 0, mean_of = 0;
        for (int64_t c = 0; c < C; c++) {
            double sum = 0;
            for (int64_t i = 0; i < N; i++) {
                double v = (double)o[(f * N + i) * C + c];
                sum += v;
                mean_of += v * v / (double)N;
            }
            of_mean += sum / (double)N * (sum / (double)N);
        }
        *out += (mean_of > 0 ? of_mean / mean_of : 1.0) / (double)frames;
    }
    return AVS_OK;
}
