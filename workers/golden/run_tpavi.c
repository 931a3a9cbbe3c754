/* Golden cases of AVSBench-TPAVI: what its cases name beyond the taps of the model (variants of the matching loss, parts of
 * outputs, modules of PVT under their own names), and the cases of the losses alone. */
#include <string.h>

#include "engine/graph/ops.h"
#include "models/layers.h"
#include "models/losses.h"
#include "models/tpavi.h"
#include "workers/golden/run.h"

static avs_val tapped(const avs_graph *g, const char *name)
{
    for (uint32_t i = g->n_tap; i-- > 0;)
        if (!strcmp(g->tap[i].name, name)) return g->tap[i].val;
    return 0;
}

static avs_avm_input matched(avs_golden_case *c, const avs_graph *g, const avs_model_io *io)
{
    avs_avm_input in = {.logits = io->logits, .row_weight = io->row_weight};
    for (int i = 0; i < 4; i++) {
        in.v_map[i] = tapped(g, avs_arena_fmt(c->arena, "v_map.%d", i));
        in.a_fea[i] = tapped(g, avs_arena_fmt(c->arena, "a_fea.%d", i));
    }
    return in;
}

/* Whether some stage hears, without which nothing can be matched. */
static bool hears(const avs_avm_input *in)
{
    for (int i = 0; i < 4; i++)
        if (in->a_fea[i]) return true;
    return false;
}

static void variants(avs_graph *g, const avs_avm_input *in)
{
    static const struct {
        const char *name;
        avs_avm_cfg cfg;
    } all[] = {{"avm_kl", {0}},
               {"variant.avm_kl_norm", {.normalize = true}},
               {"variant.avm_kl_threshold", {.threshold = true}},
               {"variant.avm_kl_maxpool", {.max_pooling = true}},
               {"variant.avm_euclid", {.normalize = true, .is_euclidean = true}},
               {"variant.avm_vv_kl", {.normalize = true, .to_nearest = true}},
               {"variant.avm_vv_euclid", {.normalize = true, .to_nearest = true, .is_euclidean = true}}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        avs_avm_cfg cfg = all[i].cfg;
        for (int k = 0; k < 4; k++) cfg.stage[cfg.n_stages++] = k;
        avs_nn_tap(g, avs_loss_avm(g, in, &cfg), "loss:%s", all[i].name);
    }
}

/* Class of each pixel, and parts of the logits as the cases keep them. */
static void parts_of_logits(avs_graph *g, avs_val logits)
{
    const avs_type t = *avs_t(g, logits);
    const int last = t.d[0] - 1;
    avs_val index;
    avs_row_max(g, avs_reshape(g, logits, AVS_F32T((int64_t)t.d[0] * t.d[1] * t.d[2], t.d[3], 1)), &index);
    avs_tap(g, "class_map",
            avs_reshape(g, avs_ew_imm(g, AVS_EW_ADD, index, 0.F), AVS_F32T(t.d[0], t.d[1], t.d[2])));
    for (int i = 0; i < 2; i++) {
        avs_val row =
            avs_reshape(g, avs_slice(g, logits, 0, i ? last : 0, 1), AVS_F32T(t.d[1], t.d[2], t.d[3]));
        avs_tap(g, i ? "logits_last_masked_frame" : "logits_frame0_stride2",
                avs_permute(g, row, (const int[]){2, 0, 1}));
    }
}

static void pvt_names(avs_golden_case *c, avs_graph *g)
{
    for (int s = 0; s < 4; s++) {
        avs_val v = tapped(g, avs_arena_fmt(c->arena, "encoder_backbone.patch_embed%d", s + 1));
        if (!v) return;
        avs_nn_tap(g, v, "encoder_backbone.patch_embed%d.out0", s + 1);
        avs_val block = 0;
        for (int i = 0; !i || block; i++) { /* to the last block of the stage */
            v = block ? block : v;
            block = tapped(g, avs_arena_fmt(c->arena, "encoder_backbone.block%d.%d", s + 1, i));
        }
        avs_nn_tap(g, v, "encoder_backbone.block%d.last", s + 1);
    }
}

/* The mask loss of the first frame of each clip, which is what the single-source setting trains on. */
static void first_frames(avs_golden_case *c, avs_graph *g, const avs_model_io *io)
{
    const int rows = avs_dim(g, io->logits, 0),
              T = (int)avs_json_int(avs_json_get(c->root, "config"), "frames", 1);
    float *first = AVS_NEW_N(c->arena, float, rows);
    for (int i = 0; first && i < rows; i += T) first[i] = 1.F;
    if (first && io->target)
        avs_tap(g, "loss:bce_first_frame",
                avs_loss_bce(g, io->logits, io->target, avs_const(g, AVS_F32T(rows), first)));
}

void avs_golden_extend_tpavi(avs_golden_case *c, avs_graph *g, const avs_model_io *io)
{
    const avs_avm_input in = matched(c, g, io);
    if (io->loss && hears(&in)) variants(g, &in);
    if (avs_dim(g, io->logits, 3) > 1) {
        parts_of_logits(g, io->logits);
    } else {
        first_frames(c, g, io);
        if (hears(&in))
            avs_tap(g, "loss:avm_cos_avg (not used by the published command)", avs_loss_cosine(g, &in));
    }
    pvt_names(c, g);
}

/* ------------------------------------------------------------------ losses alone */

typedef struct {
    const avs_json *node;
    avs_cfg *cfg;
    avs_golden_inputs in;
    avs_golden_net net;
} loss_run;

static avs_val wanted(avs_graph *g, const avs_golden_inputs *in, const char *role)
{
    const avs_golden_tensor *t = avs_golden_find(in, role);
    if (!t) return 0;
    avs_val v = avs_golden_input(g, role, t);
    avs_graph_want_grad(g, v);
    return v;
}

static int build_losses(avs_golden_case *c, loss_run *r, avs_err *e)
{
    avs_model_io io = {0};
    avs_avm_input in = {0};
    avs_graph *g = r->net.graph = avs_graph_new(c->arena, true);
    if (!g) return avs_fail(e, AVS_ENOMEM, "out of memory for a graph");
    io.logits = in.logits = wanted(g, &r->in, "logits");
    const avs_type t = *avs_t(g, io.logits);
    io.target = avs_input(g, "target", AVS_TYPE(t.d[3] > 1 ? AVS_I32 : AVS_F32, t.d[0], t.d[1], t.d[2]));
    io.row_weight = in.row_weight = avs_input(g, "row_weight", AVS_F32T(t.d[0]));
    for (int i = 0; i < 4; i++) {
        in.v_map[i] = wanted(g, &r->in, avs_arena_fmt(c->arena, "v_map.%d", i));
        in.a_fea[i] = wanted(g, &r->in, avs_arena_fmt(c->arena, "a_fea.%d", i));
    }
    avs_tpavi_losses(g, r->cfg, &io, &in);
    int rc = avs_backward(g, io.loss);
    if (rc == AVS_OK) rc = avs_graph_check(g, e);
    return rc == AVS_OK ? avs_golden_plan(c, &r->net, true, e) : avs_graph_check(g, e);
}

/* The target holds all rows, or the first frame of each clip alone. */
static int fill_target(loss_run *r, avs_err *e)
{
    const avs_golden_tensor *target, *labels = avs_golden_find(&r->in, "label_mask");
    avs_type t;
    int rc = avs_golden_need(&r->in, "target", &target, e);
    if (rc != AVS_OK) return rc;
    void *dst = avs_plan_input(r->net.plan, "target", &t);
    const int64_t rows = t.d[0], per_row = avs_type_count(&t) / rows, given = target->n / per_row;
    if (given < 1 || rows % given || given * per_row != target->n)
        return avs_fail(e, AVS_ESHAPE, "the target holds %lld of %lld rows", (long long)given,
                        (long long)rows);
    const bool is_f32 = t.dtype == AVS_F32;
    float *weight = avs_plan_input(r->net.plan, "row_weight", &t);
    for (int64_t i = 0; i < rows; i++) {
        const int64_t step = rows / given;
        weight[i] = i % step == 0 && (!labels || labels->v[i] > 0.F) ? 1.F : 0.F;
        for (int64_t k = 0; k < per_row && i % step == 0; k++) {
            const float v = target->v[i / step * per_row + k];
            if (is_f32)
                ((float *)dst)[i * per_row + k] = v;
            else
                ((int32_t *)dst)[i * per_row + k] = (int32_t)v;
        }
    }
    for (int i = 0; i < r->in.n && rc == AVS_OK; i++)
        if (strcmp(r->in.t[i].role, "target") != 0)
            rc = avs_golden_set(&r->net, r->in.t[i].role, &r->in.t[i], e);

    return rc;
}

static void check_terms(avs_golden_case *c, loss_run *r)
{
    const avs_json *losses = avs_json_get(r->node, "losses");
    for (const avs_json *l = losses ? losses->first : NULL; l; l = l->next) {
        avs_type t;
        const float *got = avs_plan_output(r->net.plan, avs_arena_fmt(c->arena, "act:loss:%s", l->key), &t);
        double value = got ? (double)got[0] : 0;
        if (!strcmp(l->key, "lambda"))
            value = avs_cfg_num(r->cfg, "aux_weight");
        else if (!got && !avs_cfg_is(r->cfg, "aux_loss", "none")) {
            avs_golden_miss(c->report, "loss", l->key, "the model has no such term");
            continue;
        }
        avs_golden_number(c->report, "loss", l->key, value, l->d, 1e-3, c->report->forward);
    }
    const avs_json *digests = avs_json_get(r->node, "gradients");
    for (const avs_json *d = digests ? digests->first : NULL; d; d = d->next) {
        avs_type t;
        int64_t n = 0;
        const char *key = avs_arena_fmt(c->arena, "grad:%s", d->key);
        const float *g = avs_golden_get(c, &r->net, key, &t, &n);
        c->report->exact_key = key;
        if (g)
            avs_golden_digest(c->report, "gradient", "grad:", d->key, g, n, d, c->report->gradient);
        else
            avs_golden_miss(c->report, "gradient", d->key, "the loss does not depend on it");
        c->report->exact_key = NULL;
    }
}

static int run_losses(avs_golden_case *c, const avs_json *node, avs_err *e)
{
    loss_run r = {.node = node};
    const avs_json *config = avs_json_get(node, "config");
    const avs_golden_source src = {.arena = c->arena,
                                   .root = c->root,
                                   .list = avs_json_get(node, "inputs"),
                                   .config = config,
                                   .files = &c->files};
    int rc = avs_golden_config(c, config, true, false, &r.cfg, e);
    if (rc == AVS_OK) rc = avs_golden_make(&src, &r.in, e);
    if (rc == AVS_OK) rc = build_losses(c, &r, e);
    if (rc == AVS_OK) rc = fill_target(&r, e);
    if (rc == AVS_OK) rc = avs_plan_run(r.net.plan, e);
    if (rc == AVS_OK) check_terms(c, &r);
    avs_golden_net_free(&r.net);
    return rc;
}

int avs_golden_run_matching(avs_golden_case *c, avs_err *e)
{
    const avs_json *cases = avs_json_get(c->root, "cases");
    const char *outer = c->report->case_name;
    avs_arena *arena = c->arena;
    int rc = AVS_OK;
    for (const avs_json *v = cases ? cases->first : NULL; v && rc == AVS_OK; v = v->next) {
        char name[160];
        (void)snprintf(name, sizeof name, "%s/%s", outer, v->key);
        c->report->case_name = name;
        c->arena = avs_arena_new();
        rc = c->arena ? run_losses(c, v, e) : avs_fail(e, AVS_ENOMEM, "out of memory");
        if (rc != AVS_OK) avs_ctx(e, "%s", v->key);
        avs_arena_free(c->arena);
        c->arena = arena;
        c->report->case_name = outer;
    }
    return rc;
}
