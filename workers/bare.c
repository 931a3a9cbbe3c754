/* A bare backbone: its graph, a plan with seeded parameters, one input of normal numbers. */
#include "workers/bare.h"
#include "workers/net.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/rng.h"
#include "metrics/latency.h"
#include "models/backbones/backbones.h"
#include "models/backbones/sam_vit.h"
#include "workers/init.h"

/* Appends the named backbone; the number of its outputs, 0 if there is none of that name. */
static int append(avs_graph *g, const avs_bare_cfg *cfg, avs_val out[4])
{
    const bool is_sea = !strncmp(cfg->name, "seaformer_", 10) && cfg->name[10] && !cfg->name[11];
    if (!strcmp(cfg->name, "vggish") || !strcmp(cfg->name, "mobilenet_v2")) {
        avs_val x = avs_input(g, "audio", AVS_F32T(cfg->rows, 96, 64, 1));
        out[0] = cfg->name[0] == 'v' ? avs_vggish(g, x) : avs_mobilenet_v2(g, x);
        return 1;
    }
    avs_sam_vit_cfg sam;
    const bool is_sam = avs_sam_vit_named(cfg->name, &sam);
    if (!is_sea && !is_sam && !avs_backbone_known(cfg->name)) return 0;
    avs_val x = avs_input(g, "frames", AVS_F32T(cfg->rows, cfg->height, cfg->width, 3));
    if (is_sam) {
        out[0] = avs_sam_vit(g, &sam, x);
        return 1;
    }
    if (is_sea) return avs_seaformer(g, cfg->name[10], x, 0.F, out);
    avs_backbone(g, cfg->name, x, 0.F, out);
    return 4;
}

int avs_bare_append(avs_graph *g, const avs_bare_cfg *cfg, avs_val out[4], int *n, avs_err *e)
{
    memset(out, 0, 4 * sizeof *out);
    *n = append(g, cfg, out);
    return *n ? avs_graph_check(g, e)
              : avs_fail(e, AVS_EMISSING, "backbone '%s' is not built in (" AVS_BARE_NAMES ")", cfg->name);
}

static int build(avs_bare *b, const avs_bare_cfg *cfg, avs_err *e)
{
    avs_graph *g = b->graph;
    avs_val out[4], loss = 0;
    int n, rc = avs_bare_append(g, cfg, out, &n, e);
    if (rc != AVS_OK) return rc;
    for (int i = 0; i < n && out[i]; i++) {
        char name[16];
        snprintf(name, sizeof name, "out%d", i);
        avs_graph_output(g, name, out[i]);
    }
    b->macs = avs_graph_macs(g);
    for (int i = 0; cfg->training && i < n && out[i]; i++) {
        avs_val part = avs_reduce(g, avs_ew_unary(g, AVS_EW_SQUARE, out[i]), 0, avs_t(g, out[i])->rank, true);
        part = avs_reshape(g, part, AVS_F32T(1));
        loss = loss ? avs_add(g, loss, part) : part;
    }
    if (loss) avs_backward(g, loss);
    return avs_graph_check(g, e);
}

int avs_bare_open(avs_bare *b, const avs_bare_cfg *cfg, avs_err *e)
{
    *b = (avs_bare){.arena = avs_arena_new()};
    b->graph = b->arena ? avs_graph_new(b->arena, cfg->training) : NULL;
    int rc = b->graph ? build(b, cfg, e) : avs_fail(e, AVS_ENOMEM, "out of memory for a graph");
    const avs_plan_cfg pc = {.backend = avs_net_backend(),
                             .prec = cfg->prec,
                             .training = cfg->training,
                             .passes_off = cfg->passes_off,
                             .mem_budget = cfg->mem_budget,
                             .check_nan = cfg->check_nan};
    if (rc == AVS_OK) rc = avs_plan_build(&b->plan, b->graph, &pc, e);
    if (rc == AVS_OK) rc = avs_init_plan(b->plan, b->graph, 0, e);
    if (rc == AVS_OK) {
        avs_type t;
        float *x = avs_plan_input(b->plan, "frames", &t);
        if (!x) x = avs_plan_input(b->plan, "audio", &t);
        avs_rng r = avs_rng_seed(1);
        for (int64_t i = 0; i < avs_type_count(&t); i++) x[i] = (float)avs_rng_normal(&r);
    }
    if (rc != AVS_OK) avs_bare_close(b);
    return rc;
}

void avs_bare_close(avs_bare *b)
{
    avs_plan_free(b->plan);
    avs_arena_free(b->arena);
    *b = (avs_bare){0};
}

int avs_bare_time(avs_bare *b, int warmup, int runs, uint32_t *samples, double *unit_ns, avs_err *e)
{
    int rc = AVS_OK;
    *unit_ns = 1;
    for (int i = 0; i < warmup + runs && rc == AVS_OK; i++) {
        const int64_t t0 = avs_now_ns();
        rc = avs_plan_run(b->plan, e);
        const int64_t t = avs_now_ns() - t0;
        if (i >= warmup) avs_latency_put(samples, i - warmup, unit_ns, t);
    }
    return rc;
}
