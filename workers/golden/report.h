/* What a golden case found: one line per failed check, one summary line per case.
 *
 * Distances (FORMAT.md, Comparing): tensors ||got - want|| / ||want||; summaries the same for l2 and samples, and the
 * inner product against norm * sqrt(n/3); digests of gradients likewise.
 *
 * A golden is float32 itself. Where a check fails, the same value is computed once more in float64 (exact), and the
 * golden's own distance from it is its rounding noise: up to twice that is allowed, and the line says so. */
#ifndef AVS_WORKERS_GOLDEN_REPORT_H
#define AVS_WORKERS_GOLDEN_REPORT_H

#include <stdbool.h>
#include <stdio.h>
#include "base/json.h"
#include "engine/tensor/safetensors.h"

typedef struct {
    double forward, gradient; /* bounds: outputs, activations, losses; gradients and optimiser steps */
    bool verbose;             /* print every check                                                    */
    FILE *out;
    const char *case_name;
    /* float64 value of what is being checked (reference layout, n elements), or NULL; may be absent */
    const float *(*exact)(void *ctx, const char *key, int64_t n);
    void *exact_ctx;
    const char *exact_key; /* set by the caller before each check; NULL: no float64 value */
    int noisy;             /* checks that passed only by the golden's own noise */
    int checks, failed;
    double worst; /* largest distance over its bound */
    char worst_name[160], first_failed[160];
} avs_golden_report;

/* Values are reference layout. what: "output", "activation", .. Each returns true if within the bound. */
bool avs_golden_number(avs_golden_report *r, const char *what, const char *name, double got, double want,
                       double scale, double bound);
bool avs_golden_array(avs_golden_report *r, const char *what, const char *name, const float *got,
                      const float *want, int64_t n, double bound);
/* want: {shape, l2, dot, stride, samples}; dot is taken with unit("act:" + name). */
bool avs_golden_summary(avs_golden_report *r, const char *what, const char *name, const float *got, int64_t n,
                        const avs_json *want, double bound);
/* want: [l2, dot]; dot with unit(prefix + name). */
bool avs_golden_digest(avs_golden_report *r, const char *what, const char *prefix, const char *name,
                       const float *got, int64_t n, const avs_json *want, double bound);
/* A check that cannot be made (wrong size, missing): fails with the text. */
void avs_golden_miss(avs_golden_report *r, const char *what, const char *name, const char *text);

#endif
