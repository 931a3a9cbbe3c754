/* A configured model as graph and plan: what training, evaluation, latency runs and prediction run. */
#ifndef AVS_WORKERS_NET_H
#define AVS_WORKERS_NET_H

#include "engine/plan/plan.h"
#include "models/model.h"

typedef struct {
    avs_arena *arena; /* owns the graph */
    avs_graph *graph;
    avs_plan *plan;
    avs_build build;
    int classes;          /* channels of the logits */
    int label_h, label_w; /* of the logits */
    bool is_binary;       /* predictions are masks; with two channels of scores each */
    float *frames, *audio, *target_f32, *row_weight; /* plan inputs; NULL where the graph has none */
    float *frame_mask;                               /* likewise; starts as all ones */
    float *stage1_mask;                              /* likewise [rows,label_h,label_w] */
    int32_t *target_i32;
    int64_t audio_width; /* floats per row of audio */
} avs_net;

typedef struct {
    int rows, height, width;
    int clip_rows; /* rows of one clip; 0: all are one */
    bool training; /* with loss and backward; else inference */
    int phase;     /* of training: 1, or else the last one */
    bool features; /* audio enters as cached encoder output   */
    bool taps;
    bool bare;           /* no initial values: the caller sets every parameter and buffer */
    bool attention;      /* taps PATH:attn and PATH:out become outputs of those names */
    uint64_t seed;       /* of the trial: initial values and dropout */
    unsigned passes_off; /* as in avs_plan_cfg */
    size_t mem_budget;
    bool check_nan;
} avs_net_cfg;

/* The backend of this process: "cpu" unless AVSWEEP_BACKEND (or JOB.json, or --backend) names another. */
const char *avs_net_backend(void);
/* The precision that the option's value names. Whether the backend has it is told when a plan is built. */
int avs_net_precision(const char *name, avs_prec *prec, avs_err *e);
/* Builds graph and plan and, unless `bare`, gives every parameter its initial value. AVS_EMISSING: the processor has no bf16. */
int avs_net_open(avs_net *n, const avs_cfg *cfg, const avs_net_cfg *nc, avs_err *e);
void avs_net_close(avs_net *n);
/* Every parameter and buffer of `to` from the one of the same key in `from`. */
int avs_net_copy(avs_net *to, avs_net *from, avs_err *e);

#endif
