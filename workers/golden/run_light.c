/* Golden cases of LightAVSeg beyond the taps of the model: every auxiliary loss on one forward, the totals of all choices,
 * and the gradients of the totals that the case's configuration does not choose. */
#include <string.h>

#include "engine/graph/ops.h"
#include "models/lightavseg.h"
#include "models/losses.h"
#include "workers/golden/run.h"

/* The value of a tap, 0 if there is none. */
static avs_val tapped(const avs_graph *g, const char *name)
{
    for (uint32_t i = g->n_tap; i-- > 0;)
        if (!strcmp(g->tap[i].name, name)) return g->tap[i].val;
    return 0;
}

static void tap_once(avs_graph *g, const char *name, avs_val v)
{
    if (!tapped(g, name)) avs_tap(g, name, v);
}

void avs_golden_extend_lightavseg(avs_golden_case *c, avs_graph *g, const avs_cfg *cfg,
                                  const avs_model_io *io)
{
    static const struct {
        const char *name;
        float weight;
    } aux[] = {{"msa", 0.5F}, {"avm", 0.5F}, {"mix", 0.1F}, {"msa_kl", 0.5F}};
    avs_val dec[4], up[4];
    for (int i = 0; i < 4; i++) {
        dec[i] = tapped(g, avs_arena_fmt(c->arena, "dec%d", i + 1));
        up[i] = tapped(g, avs_arena_fmt(c->arena, "ahat%d", i + 1));
    }
    if (!io->loss || !up[0]) return;
    const avs_alignment in = avs_lightavseg_alignment(g, cfg, io, dec, up);
    avs_tap(g, "sim3", avs_alignment_cosine(g, &in, 2));
    avs_tap(g, "sim2", avs_alignment_cosine(g, &in, 1));
    for (int i = 0; i < 3; i++)
        avs_tap(g, avs_arena_fmt(c->arena, "loss:msa_level%d", i + 1), avs_alignment_level(g, &in, i, false));
    if (!tapped(g, "loss:bce")) return;
    avs_val seg = avs_add(g, tapped(g, "loss:bce"), tapped(g, "loss:dice"));
    avs_tap(g, "loss:total_seg", seg);
    for (size_t i = 0; i < sizeof aux / sizeof *aux; i++) {
        avs_val term = avs_lightavseg_aux(g, aux[i].name, io, &in);
        tap_once(g, avs_arena_fmt(c->arena, "loss:%s", aux[i].name), term);
        avs_tap(g, avs_arena_fmt(c->arena, "loss:total_%s", aux[i].name),
                avs_add(g, seg, avs_scale(g, term, aux[i].weight)));
    }
}

/* config with another auxiliary loss at its default weight. */
static avs_json *with_aux(avs_arena *a, const avs_json *config, const char *kind)
{
    avs_json *out = avs_json_new(a, AVS_J_OBJ);
    for (const avs_json *o = out ? config->first : NULL; o; o = o->next) {
        if (!strncmp(o->key, "aux_", 4) || !strcmp(o->key, "align_temperature")) continue;
        avs_json *copy = AVS_NEW(a, avs_json);
        if (!copy) return NULL;
        *copy = *o;
        copy->next = NULL;
        avs_json_add(a, out, o->key, copy);
    }
    if (out) avs_json_add_str(a, out, "aux_loss", kind);
    return out;
}

int avs_golden_other_totals(avs_golden_case *c, avs_err *e)
{
    const avs_json *all = avs_json_get(c->root, "gradients_of_other_totals");
    const char *outer = c->report->case_name;
    int rc = AVS_OK;
    for (const avs_json *o = all ? all->first : NULL; o && rc == AVS_OK; o = o->next) {
        char name[160];
        (void)snprintf(name, sizeof name, "%s/%s", outer, o->key);
        avs_json *node = avs_json_new(c->arena, AVS_J_OBJ), *digests = AVS_NEW(c->arena, avs_json);
        avs_json *config =
            with_aux(c->arena, avs_json_get(c->root, "config"), strcmp(o->key, "seg") ? o->key : "none");
        if (!node || !digests || !config) return avs_fail(e, AVS_ENOMEM, "out of memory for a configuration");
        *digests = *o;
        digests->next = NULL;
        avs_json_add(c->arena, node, "gradients", digests);
        c->report->case_name = name;
        rc = avs_golden_run_node(c, node, config, e);
        c->report->case_name = outer;
    }
    return rc;
}
