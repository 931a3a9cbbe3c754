/* Golden cases of parts: backbones, VGGish, the query generator, one ELF block, deformable attention. */
#include <math.h>
#include <string.h>

#include "engine/graph/ops.h"
#include "base/probe.h"
#include "models/attention.h"
#include "models/avesformer.h"
#include "models/backbones/backbones.h"
#include "workers/golden/run.h"
#include "workers/init.h"

int avs_golden_inputs_of(avs_golden_case *c, avs_golden_inputs *in, avs_err *e)
{
    const avs_golden_source src = {.arena = c->arena,
                                   .root = c->root,
                                   .list = avs_json_get(c->root, "inputs"),
                                   .config = avs_json_get(c->root, "config"),
                                   .files = &c->files};
    return avs_golden_make(&src, in, e);
}

avs_graph *avs_golden_graph(avs_golden_case *c, bool training, avs_err *e)
{
    avs_graph *g = avs_graph_new(c->arena, training);
    if (!g) avs_fail(e, AVS_ENOMEM, "out of memory for a graph");
    return g;
}

avs_val avs_golden_input(avs_graph *g, const char *name, const avs_golden_tensor *t)
{
    if (t->rank == 4) return avs_input(g, name, AVS_F32T(t->d[0], t->d[2], t->d[3], t->d[1]));
    return avs_input(g, name, avs_type_of(AVS_F32, t->rank, t->d));
}

/* backward from loss, plan, every input, run */
int avs_golden_run_net(avs_golden_case *c, avs_golden_net *net, const avs_golden_inputs *in, avs_val loss,
                       avs_err *e)
{
    int rc = AVS_OK;
    if (loss) {
        avs_graph_output(net->graph, "loss", loss);
        rc = avs_backward(net->graph, loss);
    }
    if (avs_graph_check(net->graph, e) != AVS_OK) return e->code;
    if (rc == AVS_OK) rc = avs_golden_plan(c, net, loss != 0, e);
    for (int i = 0; rc == AVS_OK && i < in->n; i++) rc = avs_golden_set(net, in->t[i].role, &in->t[i], e);
    return rc == AVS_OK ? avs_plan_run(net->plan, e) : rc;
}

void avs_golden_stored(avs_golden_case *c, avs_golden_net *net, const char *stored, const char *output_name)
{
    avs_type t;
    int64_t n = 0;
    if (!avs_st_find(&c->files, stored)) return;
    const float *got = avs_golden_get(c, net, output_name, &t, &n);
    if (got)
        avs_golden_output(c, stored, output_name, got, &t);
    else
        avs_golden_miss(c->report, "output", stored, "is not made");
}

void avs_golden_loss(avs_golden_case *c, avs_golden_net *net, const char *name)
{
    const avs_json *want = avs_json_get(avs_json_get(c->root, "losses"), name);
    avs_type t;
    const float *got = avs_plan_output(net->plan, "loss", &t);
    /* a probe loss is a sum with both signs: its rounding is that of its terms, not of itself */
    if (want && got)
        avs_golden_number(c->report, "loss", name, (double)got[0], want->d, 1e-2, c->report->gradient);
}

/* ------------------------------------------------------------------ backbones */

typedef struct {
    const char *outputs; /* prefix of stored outputs: "eval.", "train." or "" */
    const char *frames;  /* input role                                        */
    const char *activations;
    bool training, backward;
} backbone_part;

static int backbone_part_run(avs_golden_case *c, const backbone_part *p, const avs_golden_inputs *in,
                             avs_err *e)
{
    const char *name =
        avs_json_str(avs_json_get(c->root, "config"), "backbone", avs_json_str(c->root, "model", ""));
    const avs_golden_tensor *frames;
    avs_golden_net net = {0};
    avs_val f[4], loss = 0;
    int rc = avs_golden_need(in, p->frames, &frames, e);
    if (rc != AVS_OK) return rc;
    if (!(net.graph = avs_golden_graph(c, p->training, e))) return AVS_ENOMEM;
    avs_val x = avs_golden_input(net.graph, p->frames, frames);
    if (p->backward) avs_graph_want_grad(net.graph, x);
    avs_backbone(net.graph, name, x, 0.F, f);
    for (int i = 0; i < 4; i++) {
        avs_graph_output(net.graph, avs_arena_fmt(c->arena, "stage%d", i), f[i]);
        if (p->backward)
            avs_golden_probe_loss(c, net.graph, avs_arena_fmt(c->arena, "grad_output.%d", i), f[i], &loss);
    }
    rc = avs_golden_run_net(c, &net, in, p->backward ? loss : 0, e);
    if (rc == AVS_OK) {
        avs_golden_activations(c, &net, avs_json_get(c->root, p->activations));
        for (int i = 0; i < 4; i++) {
            const char *stage = avs_arena_fmt(c->arena, "stage%d", i);
            avs_golden_stored(c, &net, avs_arena_fmt(c->arena, "%slayer%d", p->outputs, i + 1), stage);
            avs_golden_stored(c, &net, avs_arena_fmt(c->arena, "%slayer%d_stride", p->outputs, i + 1), stage);
            avs_golden_stored(c, &net, avs_arena_fmt(c->arena, "%sout.%d", p->outputs, i), stage);
        }
        if (p->backward) {
            avs_golden_stored(c, &net, avs_arena_fmt(c->arena, "%sgrad_frames", p->outputs),
                              avs_arena_fmt(c->arena, "grad:%s", p->frames));
            avs_golden_loss(c, &net, p->training ? "train" : "loss");
            avs_golden_gradients(c, &net, c->root);
            const avs_json *want = avs_json_get(c->root, "running_statistics_after");
            for (const avs_json *w = want ? want->first : NULL; w; w = w->next) {
                const avs_plan_param *b = avs_plan_param_find(net.plan, w->key);
                float *v = b ? AVS_NEW_N(c->arena, float, avs_type_count(&b->type)) : NULL;
                if (v && avs_plan_param_get(net.plan, w->key, v, e) == AVS_OK)
                    avs_golden_summary(c->report, "running statistic", w->key, v, avs_type_count(&b->type), w,
                                       c->report->forward);
                else
                    avs_golden_miss(c->report, "running statistic", w->key, "the model has no such buffer");
            }
            const avs_json *count = avs_json_get(avs_json_get(c->root, "parameters"), "features");
            if (count)
                avs_golden_number(c->report, "parameter count", "features",
                                  (double)avs_graph_param_count(net.graph, false), count->d, 0, 0);
        }
    }
    avs_golden_net_free(&net);
    return rc;
}

int avs_golden_run_backbone(avs_golden_case *c, avs_err *e)
{
    avs_golden_inputs in;
    int rc = avs_golden_inputs_of(c, &in, e);
    if (rc != AVS_OK) return rc;
    if (!avs_golden_find(&in, "frames_train")) /* one part: features and gradients in eval mode */
        return backbone_part_run(c, &(backbone_part){"", "frames", "activations", false, true}, &in, e);
    rc = backbone_part_run(c, &(backbone_part){"eval.", "frames", "activations", false, false}, &in, e);
    if (rc != AVS_OK) return rc;
    return backbone_part_run(c, &(backbone_part){"train.", "frames_train", "activations_train", true, true},
                             &in, e);
}

/* y = E (x - mean), clamped to [-2,2], (y+2)*255/4 rounded half to even. Not used by any AVS code. */
static void check_postprocess(avs_golden_case *c, const float *x, int64_t rows)
{
    const int64_t d[2] = {128, 128}, dm[2] = {128, 1};
    float *E = AVS_NEW_N(c->arena, float, 128 * 128), *mean = AVS_NEW_N(c->arena, float, 128),
          *y = AVS_NEW_N(c->arena, float, rows * 128);
    if (!E || !mean || !y || !avs_st_find(&c->files, "postprocessed")) return;
    avs_probe_param("pproc.pca_eigen_vectors", d, 2, E);
    avs_probe_param("pproc.pca_means", dm, 2, mean);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < 128; i++) {
            double s = 0;
            for (int64_t k = 0; k < 128; k++)
                s += (double)E[i * 128 + k] * (double)(x[r * 128 + k] - mean[k]);
            s = s < -2 ? -2 : s > 2 ? 2 : s;
            y[r * 128 + i] = (float)nearbyint((s + 2) * 255.0 / 4.0);
        }
    const avs_type t = AVS_F32T(rows, 128);
    avs_golden_output(c, "postprocessed", NULL, y, &t);
}

int avs_golden_run_vggish(avs_golden_case *c, avs_err *e)
{
    avs_golden_inputs in;
    const avs_golden_tensor *audio;
    avs_golden_net net = {0};
    avs_val loss = 0;
    int rc = avs_golden_inputs_of(c, &in, e);
    if (rc == AVS_OK) rc = avs_golden_need(&in, "audio", &audio, e);
    if (rc != AVS_OK) return rc;
    if (!(net.graph = avs_golden_graph(c, false, e))) return AVS_ENOMEM;
    avs_val y = avs_vggish(net.graph, avs_golden_input(net.graph, "audio", audio));
    avs_graph_output(net.graph, "embedding", y);
    avs_golden_probe_loss(c, net.graph, "grad_output", y, &loss);
    rc = avs_golden_run_net(c, &net, &in, loss, e);
    if (rc == AVS_OK) {
        avs_type t;
        int64_t n = 0;
        avs_golden_activations(c, &net, avs_json_get(c->root, "activations"));
        avs_golden_stored(c, &net, "embedding", "embedding");
        avs_golden_stored(c, &net, "pool4_first", "act:features.15");
        const float *x = avs_golden_get(c, &net, "embedding", &t, &n);
        if (x) check_postprocess(c, x, n / 128);
        avs_golden_loss(c, &net, "probe_dot");
        avs_golden_gradients(c, &net, c->root);
        const avs_json *total = avs_json_get(avs_json_get(c->root, "parameters"), "total");
        if (total)
            avs_golden_number(c->report, "parameter count", "total",
                              (double)avs_graph_param_count(net.graph, false), total->d, 0, 0);
    }
    avs_golden_net_free(&net);
    return rc;
}

/* ------------------------------------------------------------------ AVESFormer's parts */

static int config_int(avs_golden_case *c, const char *key, int fallback)
{
    return (int)avs_json_int(avs_json_get(c->root, "config"), key, fallback);
}

int avs_golden_run_generator(avs_golden_case *c, avs_err *e)
{
    avs_golden_inputs in;
    const avs_golden_tensor *audio;
    avs_golden_net net = {0};
    avs_val loss = 0;
    const char *kind = avs_json_str(avs_json_get(c->root, "config"), "query_generator", "pqg");
    const bool qg = !strcmp(kind, "qg");
    const avs_generator_cfg cfg = {.kind = kind,
                                   .num_queries = config_int(c, "num_queries", qg ? 300 : 16),
                                   .layers = config_int(c, "num_generator_layers", qg ? 6 : 3),
                                   .heads = config_int(c, "num_heads", 8),
                                   .ffn_dim = config_int(c, "generator_ffn_dim", 1024)};
    int rc = avs_golden_inputs_of(c, &in, e);
    if (rc == AVS_OK) rc = avs_golden_need(&in, "audio_token", &audio, e);
    if (rc != AVS_OK) return rc;
    if (!(net.graph = avs_golden_graph(c, false, e))) return AVS_ENOMEM;
    avs_val token = avs_golden_input(net.graph, "audio_token", audio);
    avs_graph_want_grad(net.graph, token);
    avs_val y = avs_query_generator(net.graph, token, &cfg);
    avs_graph_output(net.graph, "output", y);
    avs_golden_probe_loss(c, net.graph, "grad_output", y, &loss);
    rc = avs_golden_run_net(c, &net, &in, loss, e);
    if (rc == AVS_OK) {
        avs_golden_stored(c, &net, "output", "output");
        avs_golden_stored(c, &net, "grad.audio", "grad:audio_token");
        avs_golden_gradients(c, &net, c->root);
        avs_golden_dissipation(c, &net, avs_json_get(c->root, "attention_statistics"));
    }
    avs_golden_net_free(&net);
    return rc;
}

enum { MOST_TOKENS = 4096 }; /* of a side of a level */

static int read_levels(avs_golden_case *c, avs_msdeform_attr *lv, avs_err *e)
{
    const avs_json *sizes = avs_json_get(avs_json_get(c->root, "extra_config"), "level_sizes");
    for (const avs_json *s = sizes ? sizes->first : NULL; s; s = s->next) {
        const avs_json *h = avs_json_at(s, 0), *w = avs_json_at(s, 1);
        if (lv->levels >= AVS_MAX_LEVELS || s->len != 2 || !h || !w || h->kind != AVS_J_INT ||
            w->kind != AVS_J_INT || h->i < 1 || w->i < 1 || h->i > MOST_TOKENS || w->i > MOST_TOKENS)
            return avs_fail(e, AVS_EPARSE, "'level_sizes' must be at most %d pairs of sides from 1 to %d",
                            AVS_MAX_LEVELS, MOST_TOKENS);
        lv->h[lv->levels] = (int32_t)h->i;
        lv->w[lv->levels++] = (int32_t)w->i;
    }
    return lv->levels ? AVS_OK : avs_fail(e, AVS_EMISSING, "the case has no 'level_sizes'");
}

int avs_golden_run_elf_block(avs_golden_case *c, avs_err *e)
{
    avs_golden_inputs in;
    const avs_golden_tensor *x, *gen = NULL, *pos = NULL, *audio = NULL;
    avs_golden_net net = {0};
    avs_val loss = 0, vg = 0, vp = 0, va = 0;
    avs_elf_cfg cfg = {.kind = avs_json_str(avs_json_get(c->root, "extra_config"), "block", "T")[0],
                       .fusion = avs_json_str(avs_json_get(c->root, "config"), "fusion", "cross"),
                       .heads = config_int(c, "num_heads", 8),
                       .points = config_int(c, "num_points", 4),
                       .ffn_dim = config_int(c, "ffn_dim", 2048)};
    int rc = avs_golden_inputs_of(c, &in, e);
    if (rc == AVS_OK) rc = read_levels(c, &cfg.levels, e);
    if (rc == AVS_OK) rc = avs_golden_need(&in, "x", &x, e);
    if (rc == AVS_OK && cfg.kind == 'T') rc = avs_golden_need(&in, "queries", &gen, e);
    if (rc == AVS_OK && cfg.kind == 'T') rc = avs_golden_need(&in, "position", &pos, e);
    if (rc != AVS_OK) return rc;
    audio = avs_golden_find(&in, "audio_token");
    if (!(net.graph = avs_golden_graph(c, false, e))) return AVS_ENOMEM;
    avs_val vx = avs_golden_input(net.graph, "x", x);
    avs_graph_want_grad(net.graph, vx);
    if (gen) avs_graph_want_grad(net.graph, vg = avs_golden_input(net.graph, "queries", gen));
    if (pos) vp = avs_golden_input(net.graph, "position", pos);
    if (audio) avs_graph_want_grad(net.graph, va = avs_golden_input(net.graph, "audio_token", audio));
    avs_val y = avs_elf_block(net.graph, vx, vp, vg, va ? va : vg, &cfg);
    avs_graph_output(net.graph, "output", y);
    avs_golden_probe_loss(c, net.graph, "grad_output", y, &loss);
    rc = avs_golden_run_net(c, &net, &in, loss, e);
    if (rc == AVS_OK) {
        avs_golden_stored(c, &net, "output", "output");
        avs_golden_stored(c, &net, "grad.x", "grad:x");
        avs_golden_stored(c, &net, "grad.gen", "grad:queries");
        avs_golden_stored(c, &net, "grad.audio", "grad:audio_token");
        avs_golden_gradients(c, &net, c->root);
        const avs_json *stats = avs_json_get(c->root, "attention_statistics");
        if (stats && cfg.kind == 'T') avs_golden_dissipation_one(c, &net, "fuse", stats);
    }
    avs_golden_net_free(&net);
    return rc;
}

/* ------------------------------------------------------------------ deformable attention */

static int msdeform_core(avs_golden_case *c, const avs_golden_inputs *in, const avs_msdeform_attr *attr,
                         avs_err *e)
{
    const avs_golden_tensor *value, *loc, *weight;
    avs_golden_net net = {0};
    avs_val loss = 0;
    int rc = avs_golden_need(in, "value", &value, e);
    if (rc == AVS_OK) rc = avs_golden_need(in, "sampling_locations", &loc, e);
    if (rc == AVS_OK) rc = avs_golden_need(in, "attention_weights", &weight, e);
    if (rc != AVS_OK) return rc;
    if (!(net.graph = avs_golden_graph(c, false, e))) return AVS_ENOMEM;
    avs_graph *g = net.graph;
    const int64_t B = value->d[0], Q = loc->d[1], n = (int64_t)attr->heads * attr->levels * attr->points;
    avs_val v = avs_input(g, "value", AVS_F32T(B, value->d[1], value->n / (B * value->d[1])));
    avs_val l = avs_input(g, "sampling_locations", AVS_F32T(B, Q, 2 * n));
    avs_val w = avs_input(g, "attention_weights", AVS_F32T(B, Q, n));
    avs_graph_want_grad(g, v);
    avs_graph_want_grad(g, l);
    avs_graph_want_grad(g, w);
    avs_val y = avs_msdeform(g, v, l, w, attr);
    avs_graph_output(g, "output", y);
    avs_golden_probe_loss(c, g, "grad_output", y, &loss);
    rc = avs_golden_run_net(c, &net, in, loss, e);
    if (rc == AVS_OK) {
        static const char *const names[4][2] = {{"output", "output"},
                                                {"grad_value", "grad:value"},
                                                {"grad_sampling_locations", "grad:sampling_locations"},
                                                {"grad_attention_weights", "grad:attention_weights"}};
        for (int i = 0; i < 4; i++) avs_golden_stored(c, &net, names[i][0], names[i][1]);
    }
    avs_golden_net_free(&net);
    return rc;
}

static void module_gradients(avs_golden_case *c, avs_golden_net *net)
{
    for (int i = 0; i < c->files.n; i++) {
        const avs_st_tensor *t = &c->files.t[i];
        if (strncmp(t->name, "module_grad.", 12) != 0) continue;
        int64_t n = 0;
        avs_err err = AVS_ERR_INIT;
        const float *g = avs_golden_grad(c, net, t->name + 12, &n);
        float *w = AVS_NEW_N(c->arena, float, t->count);
        if (g && w && n == t->count && avs_st_f32(t, w, &err) == AVS_OK)
            avs_golden_array(c->report, "gradient", t->name, g, w, n, c->report->gradient);
        else
            avs_golden_miss(c->report, "gradient", t->name, "the module has no such parameter");
    }
}

/* sampling_offsets.bias of head m: the direction of angle 2 pi m / M on the unit square, times k+1 for point k. */
static void check_initial_bias(avs_golden_case *c, const avs_msdeform_attr *a)
{
    const int64_t n = 2 * (int64_t)a->heads * a->levels * a->points;
    float *b = AVS_NEW_N(c->arena, float, n);
    if (!b || !avs_st_find(&c->files, "init.sampling_offsets.bias")) return;
    const avs_init init = {
        .kind = AVS_INIT_MSDEFORM_BIAS, .a = (float)a->heads, .b = (float)a->levels, .c = (float)a->points};
    const avs_type t = AVS_F32T(n);
    avs_init_fill(&init, &t, 0, "sampling_offsets.bias", b);
    avs_golden_output(c, "init.sampling_offsets.bias", NULL, b, &t);
}

static int msdeform_module(avs_golden_case *c, const avs_golden_inputs *in, const avs_msdeform_attr *attr,
                           avs_err *e)
{
    const avs_golden_tensor *query, *x, *ref;
    avs_golden_net net = {0};
    avs_val loss = 0;
    int rc = avs_golden_need(in, "query", &query, e);
    if (rc == AVS_OK) rc = avs_golden_need(in, "input_flatten", &x, e);
    if (rc == AVS_OK) rc = avs_golden_need(in, "reference_points", &ref, e);
    if (rc != AVS_OK) return rc;
    if (!(net.graph = avs_golden_graph(c, false, e))) return AVS_ENOMEM;
    avs_graph *g = net.graph;
    avs_val q = avs_golden_input(g, "query", query), vx = avs_golden_input(g, "input_flatten", x);
    avs_val r =
        avs_input(g, "reference_points", AVS_F32T(ref->d[0], ref->d[1], ref->n / (ref->d[0] * ref->d[1])));
    avs_graph_want_grad(g, q);
    avs_graph_want_grad(g, vx);
    avs_graph_want_grad(g, r);
    avs_val y = avs_deformable_at(g, "", q, r, vx, attr->heads, attr->points, attr);
    avs_graph_output(g, "output", y);
    avs_golden_probe_loss(c, g, "grad_output", y, &loss);
    rc = avs_golden_run_net(c, &net, in, loss, e);
    if (rc == AVS_OK) {
        static const char *const names[4][2] = {{"module_output", "output"},
                                                {"module_grad_query", "grad:query"},
                                                {"module_grad_input_flatten", "grad:input_flatten"},
                                                {"module_grad_reference_points", "grad:reference_points"}};
        for (int i = 0; i < 4; i++) avs_golden_stored(c, &net, names[i][0], names[i][1]);
        module_gradients(c, &net);
        const avs_json *count = avs_json_get(avs_json_get(c->root, "parameters"), "module");
        if (count)
            avs_golden_number(c->report, "parameter count", "module", (double)avs_graph_param_count(g, false),
                              count->d, 0, 0);
    }
    avs_golden_net_free(&net);
    return rc;
}

int avs_golden_run_msdeform(avs_golden_case *c, avs_err *e)
{
    avs_golden_inputs in;
    avs_msdeform_attr attr = {.heads = config_int(c, "num_heads", 8),
                              .points = config_int(c, "num_points", 4)};
    int rc = avs_golden_inputs_of(c, &in, e);
    if (rc == AVS_OK) rc = read_levels(c, &attr, e);
    if (rc == AVS_OK) rc = msdeform_core(c, &in, &attr, e);
    if (rc == AVS_OK && avs_golden_find(&in, "query")) rc = msdeform_module(c, &in, &attr, e);
    if (rc == AVS_OK) check_initial_bias(c, &attr);
    return rc;
}
