/* A model built from options, for tests that count or walk its graph. */
#ifndef AVS_TESTS_MODELS_NET_H
#define AVS_TESTS_MODELS_NET_H

#include <string.h>

#include "models/model.h"

typedef struct {
    avs_arena *arena; /* free it with avs_arena_free: everything else lies in it */
    avs_cfg *cfg;
    avs_graph *g;
    avs_model_io io;
} net;

/* options: JSON members without braces, the model among them; kind as in avs_cfg_resolve; b NULL: one frame at the
 * option's resolution, evaluation. Fails the test with what is wrong. */
static inline void open_net(net *n, const char *kind, const char *options, const avs_build *b)
{
    avs_err e = AVS_ERR_INIT;
    avs_problem *p = NULL;
    avs_json *given = NULL;
    avs_build one = {.rows = 1};
    *n = (net){.arena = avs_arena_new()};
    char *text = avs_arena_fmt(n->arena, "{%s}", options);
    if (avs_json_parse(n->arena, "case", text, strlen(text), &given, &e) != AVS_OK ||
        avs_cfg_resolve(n->arena, kind, given, &n->cfg, &p, &e) != AVS_OK)
        fail_msg("%s: %s", options, p ? p->text : e.msg);
    if (!b) {
        avs_cfg_size(n->cfg, "resolution", &one.height, &one.width);
        b = &one;
    }
    n->g = avs_graph_new(n->arena, b->training);
    if (avs_model_find(avs_cfg_str(n->cfg, "model"))->build(n->g, n->cfg, b, &n->io, &e) != AVS_OK)
        fail_msg("%s: %s", options, e.msg);
}

/* Elements of the parameters whose keys begin with prefix. */
static inline int64_t count_under(const avs_graph *g, const char *prefix)
{
    int64_t n = 0;
    for (uint32_t i = 1; i < g->n_v; i++)
        if (g->v[i].kind == AVS_V_PARAM && !g->v[i].view_of && !strncmp(g->v[i].name, prefix, strlen(prefix)))
            n += avs_type_count(&g->v[i].type);
    return n;
}

#endif
