/* Golden cases of SAM: the interpolation of its position tables. */
#include <stdlib.h>
#include <string.h>

#include "models/backbones/sam_vit.h"
#include "workers/golden/run.h"

/* ---------------------------------------------------------------- position tables */

/* Rows ::row_step and columns ::col_step of the first two axes, which is how large tables are stored. */
static avs_val thin(avs_graph *g, avs_val x, int axis, int step)
{
    if (!x || step == 1) return x;
    const int n = avs_dim(g, x, axis), keep = (n + step - 1) / step;
    avs_val part[64];
    if (keep > 64) return avs_graph_fail(g, AVS_ERANGE, "%d rows are too many", keep);
    for (int i = 0; i < keep; i++) part[i] = avs_slice(g, x, axis, i * step, 1);
    return avs_concat(g, part, keep, axis);
}

static void relative_output(avs_golden_case *c, avs_graph *g, avs_val table, const char *name, int nq, int nk)
{
    const avs_st_tensor *want = avs_st_find(&c->files, name);
    avs_val x = avs_sam_relative_rows(g, table, nq, nk);
    if (!want || !x) return;
    x = thin(g, x, 0, want->d[0] == nq ? 1 : 5);
    avs_graph_output(g, name, thin(g, x, 1, want->d[1] == nk ? 1 : 3));
}

/* The inputs of the case are plain tables, not maps: set as they are. */
static int run_tables(avs_golden_case *c, avs_golden_net *net, const avs_golden_inputs *in, avs_err *e)
{
    int rc = avs_graph_check(net->graph, e);
    if (rc == AVS_OK) rc = avs_golden_plan(c, net, false, e);
    for (int i = 0; rc == AVS_OK && i < in->n; i++) {
        avs_type t;
        float *dst = avs_plan_input(net->plan, in->t[i].role, &t);
        if (dst && avs_type_count(&t) == in->t[i].n)
            memcpy(dst, in->t[i].v, (size_t)in->t[i].n * sizeof(float));
    }
    if (rc == AVS_OK) rc = avs_plan_run(net->plan, e);
    for (int i = 0; rc == AVS_OK && i < c->files.n; i++) {
        const char *name = c->files.t[i].name;
        avs_type t;
        const float *got = avs_plan_output(net->plan, name, &t);
        if (got)
            avs_golden_output(c, name, name, got, &t);
        else
            avs_golden_miss(c->report, "output", name, "is not made");
    }
    return rc;
}

int avs_golden_run_position(avs_golden_case *c, avs_err *e)
{
    static const char *const roles[] = {"pos_embed", "rel_pos_global", "rel_pos_window", "q", "attn", "rh",
                                        "rw"};
    avs_golden_inputs in;
    avs_golden_net net = {0};
    avs_val v[7] = {0};
    int rc = avs_golden_inputs_of(c, &in, e);
    if (rc == AVS_OK && !(net.graph = avs_golden_graph(c, false, e))) rc = AVS_ENOMEM;
    avs_graph *g = net.graph;
    for (int i = 0; rc == AVS_OK && i < 7; i++) {
        const avs_golden_tensor *t;
        rc = avs_golden_need(&in, roles[i], &t, e);
        if (rc == AVS_OK) v[i] = avs_input(g, roles[i], avs_type_of(AVS_F32, t->rank, t->d));
    }
    const avs_json *sizes = avs_json_get(avs_json_get(c->root, "extra_config"), "sizes");
    for (const avs_json *s = sizes ? sizes->first : NULL; rc == AVS_OK && s; s = s->next) {
        const int n = (int)s->i;
        avs_graph_output(g, avs_arena_fmt(c->arena, "pos_embed.%d", n), avs_sam_position(g, v[0], n));
        avs_graph_output(g, avs_arena_fmt(c->arena, "rel_pos_global.%d", n),
                         avs_sam_relative_table(g, v[1], n, n));
        relative_output(c, g, v[1], avs_arena_fmt(c->arena, "get_rel_pos.%d", n), n, n);
    }
    if (rc == AVS_OK) {
        static const int window[] = {7, 14, 20};
        for (int i = 0; i < 3; i++)
            relative_output(c, g, v[2], avs_arena_fmt(c->arena, "rel_pos_window.%d", window[i]), window[i],
                            window[i]);
        relative_output(c, g, v[1], "get_rel_pos.q8k16", 8, 16);
        relative_output(c, g, v[1], "get_rel_pos.q16k8", 16, 8);
        avs_val score = avs_reshape(g, v[4], AVS_F32T(2, 1, 12, 12)); /* two images, one head */
        for (int i = 0; i < 2; i++) {
            avs_val y = avs_sam_add_relative(g, score, v[3], i ? v[1] : v[5], i ? v[1] : v[6], 3, 4);
            avs_graph_output(g, i ? "add_decomposed.3x4.from_global" : "add_decomposed.3x4",
                             avs_reshape(g, y, AVS_F32T(2, 12, 12)));
        }
        rc = run_tables(c, &net, &in, e);
    }
    avs_golden_net_free(&net);
    return rc;
}
