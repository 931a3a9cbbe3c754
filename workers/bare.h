/* A backbone alone, without the system around it: for timings and profiles of bench-forward and explain. */
#ifndef AVS_WORKERS_BARE_H
#define AVS_WORKERS_BARE_H

#include "engine/plan/plan.h"

#define AVS_BARE_NAMES                                                                                       \
    "resnet18, resnet34, resnet50, pvt_v2_b0..b5, swin_b, sam_vit_b, _l, _h, seaformer_t, _s, _b, _l, "      \
    "mobilenet_v2, vggish"

typedef struct {
    const char *name;    /* of AVS_BARE_NAMES */
    int rows;            /* frames, or patches of sound                                */
    int height, width;   /* of frames; audio backbones take [rows,96,64,1]             */
    avs_prec prec;       /* AVS_PREC_F32 or AVS_PREC_BF16 */
    bool training;       /* forward and backward of the mean square of all outputs     */
    unsigned passes_off; /* as in avs_plan_cfg */
    size_t mem_budget;
    bool check_nan;
} avs_bare_cfg;

typedef struct {
    avs_arena *arena;
    avs_graph *graph; /* input "frames" or "audio"; outputs "out0".. */
    avs_plan *plan;
    int64_t macs; /* of the forward */
} avs_bare;

/* Appends the backbone; out[0..*n-1] are its outputs. Errors: AVS_EMISSING names what is built in. */
int avs_bare_append(avs_graph *g, const avs_bare_cfg *cfg, avs_val out[4], int *n, avs_err *e);
/* Builds the plan with seeded parameters; the input holds N(0,1). Errors: AVS_EMISSING names what is built in. On
 * failure nothing is left to close. */
int avs_bare_open(avs_bare *b, const avs_bare_cfg *cfg, avs_err *e);
void avs_bare_close(avs_bare *b);

/* Each of `runs` runs after `warmup` others, in units of *unit_ns nanoseconds (avs_latency_put). samples: the caller's. */
int avs_bare_time(avs_bare *b, int warmup, int runs, uint32_t *samples, double *unit_ns, avs_err *e);

#endif
