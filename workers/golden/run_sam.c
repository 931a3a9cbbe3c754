/* Golden cases of SAM: the interpolation of its position tables; the whole model under four sets of prompts in one
 * graph, with losses and all gradients. */
#include <stdlib.h>
#include <string.h>

#include "models/backbones/sam_vit.h"
#include "models/layers.h"
#include "models/losses.h"
#include "models/sam.h"
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
    x = thin(g, x, 0, (int)((nq + want->d[0] - 1) / want->d[0]));
    avs_graph_output(g, name, thin(g, x, 1, (int)((nk + want->d[1] - 1) / want->d[1])));
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

/* ---------------------------------------------------------------- the whole model */

enum { MOST_PIXELS = 16384 }; /* of a side of an image */

static int read_config(const avs_json *j, avs_sam_vit_cfg *vit, avs_sam_cfg *sam, avs_err *e)
{
    const avs_json *blocks = avs_json_get(j, "backbone_global_blocks");
    if (!avs_sam_vit_named(avs_json_str(j, "backbone", ""), vit)) (void)avs_sam_vit_named("sam_vit_b", vit);
    *sam = avs_sam_default();
    const struct {
        const char *key;
        int *v;
    } sizes[] = {{"backbone_patch_size", &vit->patch},
                 {"backbone_embed_dim", &vit->dim},
                 {"backbone_depths", &vit->depth},
                 {"backbone_num_heads", &vit->heads},
                 {"backbone_window_size", &vit->window},
                 {"embed_dim", &sam->dim},
                 {"num_heads", &sam->heads},
                 {"num_decoder_layers", &sam->layers},
                 {"ffn_dim", &sam->mlp_dim},
                 {"iou_hidden_dim", &sam->iou_hidden},
                 {"mask_channels", &sam->mask_channels}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int rc = avs_golden_size(j, sizes[i].key, sizes[i].v, e);
        if (rc != AVS_OK) return rc;
    }
    vit->out = sam->dim;
    if (blocks) vit->n_global = 0;
    for (const avs_json *b = blocks ? blocks->first : NULL; b && vit->n_global < AVS_SAM_GLOBALS; b = b->next)
        vit->global_block[vit->n_global++] = (int)b->i;
    vit->tap_windows = true;
    return AVS_OK;
}

typedef struct {
    avs_golden_case *c;
    avs_graph *g;
    const avs_golden_inputs *in;
    const avs_sam_cfg *cfg;
    avs_val image, gaussian, position, loss;
    int side;
} prompted;

static avs_val plain_input(const prompted *p, const char *role)
{
    const avs_golden_tensor *t = avs_golden_find(p->in, role);
    return t ? avs_input(p->g, role, avs_type_of(AVS_F32, t->rank, t->d)) : 0;
}

/* One loss term "SET.NAME" into the total. */
static void add_loss(prompted *p, const char *set, const char *name, avs_val term)
{
    avs_nn_tap(p->g, term, "loss:%s.%s", set, name);
    p->loss = p->loss && term ? avs_add(p->g, p->loss, term) : term;
}

static void losses(prompted *p, const char *set, const avs_sam_masks *multi, const avs_sam_masks *one)
{
    avs_graph *g = p->g;
    const avs_golden_tensor *target = avs_golden_find(p->in, avs_arena_fmt(g->arena, "target.%s", set)),
                            *weight = avs_golden_find(p->in, avs_arena_fmt(g->arena, "weight.%s", set));
    if (!target || !weight) return;
    avs_val t = avs_input(g, target->role, AVS_F32T(target->d[0], p->side, p->side));
    avs_val z = avs_resize(g, one->masks, p->side, p->side, AVS_RESIZE_BILINEAR, false);
    add_loss(p, set, "bce", avs_loss_bce(g, z, t, 0));
    avs_val w = avs_golden_input(g, weight->role, weight),
            v = plain_input(p, avs_arena_fmt(g->arena, "iou_weight.%s", set));
    avs_val dot = avs_reduce(g, avs_mul(g, multi->masks, w), 0, 4, true),
            iou = avs_reduce(g, avs_mul(g, multi->iou, v), 0, 2, true);
    add_loss(p, set, "dot", avs_add(g, avs_reshape(g, dot, AVS_F32T(1)), avs_reshape(g, iou, AVS_F32T(1))));
}

/* SET.upscaled_HxW: the first mask at the size HxW of an image that was resized to 5/8 x 7/8 of the input and padded. */
static void post_processed(prompted *p, const char *set, avs_val masks)
{
    avs_graph *g = p->g;
    const char *begin = avs_arena_fmt(g->arena, "%s.upscaled_", set);
    for (int i = 0; begin && i < p->c->files.n; i++) {
        const char *name = p->c->files.t[i].name;
        if (strncmp(name, begin, strlen(begin)) != 0) continue;
        char *end;
        const long H = strtol(name + strlen(begin), &end, 10),
                   W = *end == 'x' ? strtol(end + 1, &end, 10) : 0;
        if (*end || H < 1 || W < 1 || H > MOST_PIXELS || W > MOST_PIXELS)
            continue; /* told as an output that is not made */
        avs_val z = avs_slice(g, masks, 0, 0, 1);
        z = avs_resize(g, z, p->side, p->side, AVS_RESIZE_BILINEAR, false);
        z = avs_slice(g, avs_slice(g, z, 1, 0, 5 * p->side / 8), 2, 0, 7 * p->side / 8);
        avs_tap(g, name, avs_resize(g, z, (int)H, (int)W, AVS_RESIZE_BILINEAR, false));
    }
}

/* nth set of prompts on image nth mod batch. */
static void run_prompts(prompted *p, int nth, const char *set, const avs_sam_prompts *prompts, int T)
{
    avs_graph *g = p->g;
    const int B = avs_dim(g, p->image, 0), G = avs_dim(g, p->image, 1), E = p->cfg->dim;
    avs_scope_push(g, "prompt_encoder");
    const avs_sam_prompted in = avs_sam_prompt_encoder(g, p->cfg, prompts, p->gaussian, p->side);
    avs_scope_pop(g);
    avs_nn_tap(g, in.sparse, "%s.sparse", set);
    avs_nn_tap(g, avs_expand(g, in.dense, AVS_F32T(T, G, G, E)), "%s.dense", set);
    avs_val image = avs_expand(g, avs_slice(g, p->image, 0, nth % B, 1), AVS_F32T(T, G, G, E));
    avs_scope_push(g, "mask_decoder");
    const avs_sam_masks all = avs_sam_mask_decoder(g, p->cfg, image, p->position, &in, (const int[]){0, 4},
                                                   avs_arena_fmt(g->arena, "%s.", set));
    avs_scope_pop(g);
    const avs_sam_masks multi = {avs_slice(g, all.masks, 3, 1, 3), avs_slice(g, all.iou, 1, 1, 3)},
                        one = {avs_slice(g, all.masks, 3, 0, 1), avs_slice(g, all.iou, 1, 0, 1)};
    avs_nn_tap(g, multi.masks, "%s.multi_low", set);
    avs_nn_tap(g, multi.iou, "%s.multi_iou", set);
    avs_nn_tap(g, one.masks, "%s.low", set);
    avs_nn_tap(g, one.iou, "%s.iou", set);
    post_processed(p, set, one.masks);
    losses(p, set, &multi, &one);
}

static void build_sam(prompted *p, const avs_sam_vit_cfg *vit, const avs_golden_tensor *frames)
{
    static const char *const sets[4] = {"none", "points", "boxes", "mask"};
    avs_graph *g = p->g;
    p->side = (int)frames->d[2];
    avs_scope_push(g, "image_encoder");
    p->image = avs_sam_vit(g, vit, avs_golden_input(g, "frames", frames));
    avs_scope_pop(g);
    avs_tap(g, "image_embedding", p->image);
    avs_scope_push(g, "prompt_encoder");
    p->gaussian = avs_sam_gaussian(g, p->cfg->dim);
    avs_scope_pop(g);
    if (!p->image) return;
    const int G = avs_dim(g, p->image, 1);
    p->position = avs_sam_dense_position(g, p->gaussian, G);
    avs_tap(g, "dense_pe", avs_nn_map(g, p->position, G, G));
    const avs_val points = plain_input(p, "points"), labels = plain_input(p, "point_labels"),
                  boxes = plain_input(p, "boxes"),
                  mask = avs_golden_input(g, "mask_input", avs_golden_find(p->in, "mask_input"));
    const avs_sam_prompts prompts[4] = {{0},
                                        {.points = points, .labels = labels},
                                        {.boxes = boxes},
                                        {.points = avs_slice(g, points, 0, 0, 1),
                                         .labels = avs_slice(g, labels, 0, 0, 1),
                                         .boxes = avs_slice(g, boxes, 0, 0, 1),
                                         .mask = mask}};
    for (int i = 0; i < 4; i++)
        run_prompts(p, i, sets[i], &prompts[i], i == 1 || i == 2 ? avs_dim(g, points, 0) : 1);
    avs_tap(g, "loss:total", p->loss);
}

int avs_golden_run_sam(avs_golden_case *c, avs_err *e)
{
    avs_golden_inputs in;
    const avs_golden_tensor *frames, *t;
    avs_golden_net net = {0};
    avs_sam_vit_cfg vit;
    avs_sam_cfg sam;
    int rc = avs_golden_inputs_of(c, &in, e);
    if (rc == AVS_OK) rc = avs_golden_need(&in, "frames", &frames, e);
    static const char *const roles[] = {"points", "point_labels", "boxes", "mask_input"};
    for (int i = 0; rc == AVS_OK && i < 4; i++) rc = avs_golden_need(&in, roles[i], &t, e);
    if (rc == AVS_OK) rc = read_config(avs_json_get(c->root, "config"), &vit, &sam, e);
    if (rc != AVS_OK) return rc;
    if (!(net.graph = avs_golden_graph(c, false, e))) return AVS_ENOMEM;
    prompted p = {.c = c, .g = net.graph, .in = &in, .cfg = &sam};
    build_sam(&p, &vit, frames);
    rc = avs_golden_run_net(c, &net, &in, p.loss, e);
    if (rc == AVS_OK) {
        avs_golden_activations(c, &net, avs_json_get(c->root, "activations"));
        for (int i = 0; i < c->files.n; i++)
            avs_golden_stored(c, &net, c->files.t[i].name,
                              avs_arena_fmt(c->arena, "act:%s", c->files.t[i].name));
        avs_golden_losses(c, &net, avs_json_get(c->root, "losses"));
        avs_golden_gradients(c, &net, c->root);
        avs_golden_counts(c, &net, avs_json_get(c->root, "parameters"));
    }
    avs_golden_net_free(&net);
    return rc;
}
