/* Runs golden cases (tests/golden/FORMAT.md): builds what the case names, fills probe weights and inputs, compares all
 * that the case holds. */
#ifndef AVS_WORKERS_GOLDEN_RUN_H
#define AVS_WORKERS_GOLDEN_RUN_H

#include "engine/graph/graph.h"
#include "engine/plan/plan.h"
#include "models/model.h"
#include "workers/golden/input.h"
#include "workers/golden/report.h"

typedef struct {
    avs_arena *arena;    /* of this case */
    const char *backend; /* "cpu", "cuda" or "ref" */
    avs_prec prec;
    unsigned passes_off; /* as in avs_plan_cfg */
    size_t mem_budget;
    const avs_json *root; /* the case       */
    avs_st_file files;    /* its safetensors; t == NULL if there is none */
    const char *prefix;   /* param_prefix   */
    avs_golden_report *report;
    const char
        *zero_suffix; /* gradients of parameters whose key ends so are zero in exact arithmetic: what the case
                              * holds is round-off. NULL: none */
    const char *sub;  /* "SUBCASE." that names of the case begin with, or NULL */
    struct avs_golden_net *net; /* asked for float64 values when a check fails */
} avs_golden_case;

/* `avsweep-trial golden [--backend B] [--precision fp32|bf16] [--tol X] [--grad-tol Y] [--no-pass NAMES]
 * [--mem-budget MB] [--verbose] CASE.json..`: returns the exit status. */
int avs_golden_main(int argc, char **argv);

/* Kinds of cases; each compares everything it knows of and misses what it cannot find. */
int avs_golden_run_model(avs_golden_case *c, avs_err *e);     /* whole systems, also sets of variants */
int avs_golden_run_backbone(avs_golden_case *c, avs_err *e);  /* resnet, pvt_v2                        */
int avs_golden_run_seaformer(avs_golden_case *c, avs_err *e); /* features in evaluation */
int avs_golden_run_swin(avs_golden_case *c, avs_err *e);
int avs_golden_run_sam(avs_golden_case *c, avs_err *e);      /* the whole of SAM, all kinds of prompts */
int avs_golden_run_position(avs_golden_case *c, avs_err *e); /* SAM's position tables */
int avs_golden_run_sea_attention(avs_golden_case *c, avs_err *e);
int avs_golden_run_mobilenet(avs_golden_case *c, avs_err *e);
int avs_golden_run_vggish(avs_golden_case *c, avs_err *e);
int avs_golden_run_matching(avs_golden_case *c, avs_err *e);     /* losses of tpavi alone */
int avs_golden_run_aavs_queries(avs_golden_case *c, avs_err *e); /* parts of aavs */
int avs_golden_run_aavs_keys(avs_golden_case *c, avs_err *e);
int avs_golden_run_aavs_loss(avs_golden_case *c, avs_err *e);
int avs_golden_run_aavs_post(avs_golden_case *c, avs_err *e);
int avs_golden_run_generator(avs_golden_case *c, avs_err *e);
int avs_golden_run_elf_block(avs_golden_case *c, avs_err *e);
int avs_golden_run_msdeform(avs_golden_case *c, avs_err *e);
int avs_golden_run_probe(avs_golden_case *c, avs_err *e);
int avs_golden_run_metrics(avs_golden_case *c, avs_err *e);
int avs_golden_run_mel(avs_golden_case *c, avs_err *e);
int avs_golden_run_preprocess(avs_golden_case *c, avs_err *e);

/* ---- shared by the kinds */

/* A graph with its plan, filled with probe weights. */
typedef struct avs_golden_net {
    avs_graph *graph;
    avs_plan *plan;
    avs_plan *exact; /* the same graph in float64 on ref, made when a failed check asks for it */
    bool training;
    bool has_no_exact; /* it could not be made */
} avs_golden_net;
void avs_golden_net_free(avs_golden_net *net);
/* Builds the plan (taps on) and gives every parameter and buffer its probe value. */
int avs_golden_plan(avs_golden_case *c, avs_golden_net *net, bool training, avs_err *e);
/* A size in a case's configuration: *v stays where j does not hold the key. AVS_ERANGE unless 1 to AVS_GOLDEN_SIZE. */
enum { AVS_GOLDEN_SIZE = 65536 };
int avs_golden_size(const avs_json *j, const char *key, int *v, avs_err *e);
/* The inputs that the case's `inputs` list makes. */
int avs_golden_inputs_of(avs_golden_case *c, avs_golden_inputs *in, avs_err *e);
/* The case's configuration with defaults filled in. training: without dropout and stochastic depth; thawed: nothing but the
 * audio encoder frozen. */
int avs_golden_config(avs_golden_case *c, const avs_json *config, bool training, bool thawed, avs_cfg **cfg,
                      avs_err *e);
/* One forward, and backward where node holds gradients, compared with all that node holds. */
int avs_golden_run_node(avs_golden_case *c, const avs_json *node, const avs_json *config, avs_err *e);
/* `gradients_of_other_totals`: the same step with another aux_loss each. Nothing if the case has none. */
int avs_golden_other_totals(avs_golden_case *c, avs_err *e);
/* Taps the auxiliary losses, totals and cosines that the cases of lightavseg hold. */
void avs_golden_extend_lightavseg(avs_golden_case *c, avs_graph *g, const avs_cfg *cfg,
                                  const avs_model_io *io);
/* Taps what the cases of tpavi name beyond the model's own taps. */
void avs_golden_extend_tpavi(avs_golden_case *c, avs_graph *g, const avs_model_io *io);
/* Taps what the cases of aavs name, in the reference's order of axes. */
void avs_golden_extend_aavs(avs_golden_case *c, avs_graph *g, const avs_model_io *io);
/* match0, match1, .. against [loss][row][queries, targets]. */
void avs_golden_matching(avs_golden_case *c, avs_golden_net *net, const avs_json *want);
/* An empty graph; NULL with *e set. */
avs_graph *avs_golden_graph(avs_golden_case *c, bool training, avs_err *e);
/* A graph input of t's extents: [B,C,H,W] becomes [B,H,W,C]. */
avs_val avs_golden_input(avs_graph *g, const char *name, const avs_golden_tensor *t);
/* Backward from loss (0: none), the plan, every input, one run. */
int avs_golden_run_net(avs_golden_case *c, avs_golden_net *net, const avs_golden_inputs *in, avs_val loss,
                       avs_err *e);
/* Compares plan output `key` with the stored tensor; nothing if the case has no such tensor. */
void avs_golden_stored(avs_golden_case *c, avs_golden_net *net, const char *stored, const char *output_name);
/* Compares the plan output "loss" with `losses.NAME`, if there is one. */
void avs_golden_loss(avs_golden_case *c, avs_golden_net *net, const char *name);
/* Copies a reference-layout tensor into a plan input: [R,C,H,W] to [R,H,W,C] where the input is a map of those extents. */
int avs_golden_set(avs_golden_net *net, const char *input, const avs_golden_tensor *t, avs_err *e);
/* A plan output as float32 in reference layout ([B,H,W,C] becomes [B,C,H,W]); *n elements in c->arena. NULL: none. */
const float *avs_golden_get(avs_golden_case *c, avs_golden_net *net, const char *output, avs_type *t,
                            int64_t *n);
/* Compares c's safetensors tensor `name` with `got` (plan output `key`, NULL if it is none); a smaller stored tensor is a
 * strided ("_stride") or leading part. */
void avs_golden_output(avs_golden_case *c, const char *name, const char *key, const float *got,
                       const avs_type *t);
/* Gradient of `key` as canonical floats. */
const float *avs_golden_grad(avs_golden_case *c, avs_golden_net *net, const char *key, int64_t *n);
/* All "grad.PREFIXKEY" outputs and the `gradients` digests of node. */
void avs_golden_gradients(avs_golden_case *c, avs_golden_net *net, const avs_json *node);
/* The taps loss:NAME against the object {NAME: value}. */
void avs_golden_losses(avs_golden_case *c, avs_golden_net *net, const avs_json *losses);
/* Parameter counts by the first word of the key; total, trainable and total_without_PREFIX besides. */
void avs_golden_counts(avs_golden_case *c, avs_golden_net *net, const avs_json *want);
/* A name of the case without its sub-case. */
const char *avs_golden_own(const avs_golden_case *c, const char *name);
void avs_golden_activations(avs_golden_case *c, avs_golden_net *net, const avs_json *activations);
/* Attention statistics: name -> {entropy, ..} from the taps NAME:attn and NAME:out. */
void avs_golden_dissipation(avs_golden_case *c, avs_golden_net *net, const avs_json *want);
void avs_golden_dissipation_one(avs_golden_case *c, avs_golden_net *net, const char *name,
                                const avs_json *want);
/* sum or mean (probe_loss) over all of y * cotangent (input `name`, reference layout): adds to *loss. */
void avs_golden_probe_loss(avs_golden_case *c, avs_graph *g, const char *name, avs_val y, avs_val *loss);

#endif
