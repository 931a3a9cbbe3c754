/* Graph and plan of a configuration. */
#include "workers/net.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/graph/ops.h"
#include "workers/init.h"

static void attention_outputs(avs_graph *g)
{
    for (uint32_t i = 0; i < g->n_tap; i++) {
        const char *what = strrchr(g->tap[i].name, ':');
        if (what && (!strcmp(what, ":attn") || !strcmp(what, ":out")))
            avs_graph_output(g, g->tap[i].name, g->tap[i].val);
    }
}

static int build(avs_net *n, const avs_cfg *cfg, const avs_net_cfg *nc, avs_err *e)
{
    const avs_model_rule *rule = avs_model_find(avs_cfg_str(cfg, "model"));
    avs_model_io io = {0};
    if (!rule)
        return avs_fail(e, AVS_EMISSING,
                        "model '%s' is not built in yet (avsweep models lists those that are)",
                        avs_cfg_str(cfg, "model"));
    n->build = (avs_build){.rows = nc->rows,
                           .clip_rows = nc->clip_rows,
                           .height = nc->height,
                           .width = nc->width,
                           .training = nc->training,
                           .with_loss = nc->training,
                           .with_frame_mask = avs_cfg_is(cfg, "task", "avss"),
                           .audio_input = nc->features ? AVS_AUDIO_FEATURE : AVS_AUDIO_MEL};
    n->graph->is_bn_sync = nc->training && avs_cfg_bool(cfg, "sync_batchnorm");
    int rc = rule->build(n->graph, cfg, &n->build, &io, e);
    avs_model_freeze(n->graph, rule, cfg, nc->phase == 1 ? 1 : 2);
    if (rc == AVS_OK && nc->training) rc = avs_backward(n->graph, io.loss);
    if (nc->attention) attention_outputs(n->graph);
    if (rc == AVS_OK) rc = avs_graph_check(n->graph, e);
    if (rc == AVS_OK) n->classes = avs_dim(n->graph, io.logits, 3);
    n->label_h = avs_dim(n->graph, io.logits, 1);
    n->label_w = avs_dim(n->graph, io.logits, 2);
    n->is_binary = avs_model_is_binary(cfg);
    return rc;
}

const char *avs_net_backend(void)
{
    const char *name = getenv("AVSWEEP_BACKEND");
    return name && *name ? name : "cpu";
}

int avs_net_precision(const char *name, avs_prec *prec, avs_err *e)
{
    if (!strcmp(name, "fp32"))
        *prec = AVS_PREC_F32;
    else if (!strcmp(name, "bf16"))
        *prec = AVS_PREC_BF16;
    else if (!strcmp(name, "tf32"))
        *prec = AVS_PREC_TF32;
    else
        return avs_fail(e, AVS_ERANGE, "precision is '%s', expected fp32, tf32 or bf16", name);
    return AVS_OK;
}

int avs_net_open(avs_net *n, const avs_cfg *cfg, const avs_net_cfg *nc, avs_err *e)
{
    *n = (avs_net){0};
    n->arena = avs_arena_new();
    n->graph = n->arena ? avs_graph_new(n->arena, nc->training) : NULL;
    avs_prec prec = AVS_PREC_F32;
    int rc = n->graph ? avs_net_precision(avs_cfg_str(cfg, "precision"), &prec, e)
                      : avs_fail(e, AVS_ENOMEM, "out of memory for a graph");
    if (rc == AVS_OK) rc = build(n, cfg, nc, e);
    const avs_plan_cfg pc = {.backend = avs_net_backend(),
                             .prec = prec,
                             .training = nc->training,
                             .taps = nc->taps,
                             .passes_off = nc->passes_off,
                             .mem_budget = nc->mem_budget,
                             .check_nan = nc->check_nan,
                             .no_winograd = getenv("AVSWEEP_NO_WINOGRAD") != NULL,
                             .dropout_seed = avs_stream_seed(nc->seed, "dropout")};
    if (rc == AVS_OK) rc = avs_plan_build(&n->plan, n->graph, &pc, e);
    if (rc == AVS_OK && !nc->bare)
        rc = avs_init_plan(n->plan, n->graph, avs_stream_seed(nc->seed, "init"), e);
    if (rc == AVS_OK) {
        avs_type t;
        n->frames = avs_plan_input(n->plan, "frames", &t);
        n->audio = avs_plan_input(n->plan, nc->features ? "audio_feature" : "audio", &t);
        n->audio_width = n->audio ? avs_type_count(&t) / nc->rows : 0;
        n->row_weight = avs_plan_input(n->plan, "row_weight", &t);
        n->frame_mask = avs_plan_input(n->plan, "frame_mask", &t);
        n->stage1_mask = avs_plan_input(n->plan, "stage1_mask", &t);
        for (int i = 0; n->frame_mask && i < nc->rows; i++) n->frame_mask[i] = 1.F;
        void *target = avs_plan_input(n->plan, "target", &t);
        if (target && t.dtype == AVS_I32)
            n->target_i32 = target;
        else
            n->target_f32 = target;
    }
    if (rc != AVS_OK) avs_net_close(n);
    return rc;
}

void avs_net_close(avs_net *n)
{
    avs_plan_free(n->plan);
    avs_arena_free(n->arena);
    *n = (avs_net){0};
}

int avs_net_copy(avs_net *to, avs_net *from, avs_err *e)
{
    int rc = AVS_OK;
    for (int i = 0; rc == AVS_OK && i < avs_plan_n_params(to->plan); i++) {
        const avs_plan_param *p = avs_plan_param_at(to->plan, i);
        float *x = avs_xalloc((size_t)avs_type_count(&p->type) * sizeof(float));
        rc = x ? avs_plan_param_get(from->plan, p->key, x, e)
               : avs_fail(e, AVS_ENOMEM, "out of memory for %s", p->key);
        if (rc == AVS_OK) rc = avs_plan_param_set(to->plan, p->key, x, e);
        avs_xfree(x);
    }
    return rc;
}
