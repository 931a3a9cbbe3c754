/* Golden cases of aavs: what the whole model's cases name beyond the model's taps, and its parts alone (queries, keys,
 * scores). The reference keeps tokens and queries first, rows second: those taps are turned here. */
#include <stdlib.h>
#include <string.h>

#include "engine/graph/ops.h"
#include "metrics/mask.h"
#include "metrics/semantic.h"
#include "models/aavs.h"
#include "workers/golden/run.h"

/* Taps whose name begins with `from`, put under `to` with what follows; turned: [R,N,C] as [N,R,C]. rows: R. */
static void rename_taps(avs_golden_case *c, avs_graph *g, const char *from, const char *to, bool turned,
                        int rows)
{
    const uint32_t n = g->n_tap;
    const size_t len = strlen(from);
    for (uint32_t i = 0; i < n; i++) {
        if (strncmp(g->tap[i].name, from, len) != 0) continue;
        avs_val v = g->tap[i].val;
        const char *name = avs_arena_fmt(c->arena, "/%s%s", to, g->tap[i].name + len);
        avs_type t = *avs_t(g, v);
        if (turned && t.rank == 3) {
            t.d[0] = rows;
            v = avs_permute(g, avs_expand(g, v, t), (const int[]){1, 0, 2});
        } else if (turned && t.rank == 2) {
            v = avs_permute(g, v, (const int[]){1, 0});
        }
        avs_tap(g, name, v);
    }
}

static avs_val tapped(const avs_graph *g, const char *name)
{
    for (uint32_t i = 0; name && i < g->n_tap; i++)
        if (!strcmp(g->tap[i].name, name)) return g->tap[i].val;
    return 0;
}

/* `mask_logits_kept`: "all", or "queries A,B,.." in equal steps. */
static avs_val kept_masks(avs_golden_case *c, avs_graph *g, avs_val masks)
{
    const char *kept = avs_json_str(c->root, "mask_logits_kept", "all");
    char *end = NULL;
    int n = 0;
    if (!masks || strncmp(kept, "queries ", 8) != 0) return masks;
    const int first = (int)strtol(kept + 8, &end, 10);
    const int second = *end == ',' ? (int)strtol(end + 1, NULL, 10) : 0;
    if (first < 0 || second <= first) return masks;
    const int Q = avs_dim(g, masks, 1);
    int32_t *index = AVS_NEW_N(c->arena, int32_t, Q);
    for (int q = first; index && q < Q; q += second - first) index[n++] = q;
    return index ? avs_gather_rows(g, masks, avs_const(g, AVS_TYPE(AVS_I32, n), index)) : 0;
}

/* The last prediction and the masks of the first layers, under the names of the whole outputs. */
static void whole_outputs(avs_golden_case *c, avs_graph *g)
{
    int last = 0;
    while (tapped(g, avs_arena_fmt(c->arena, "class_logits%d", last + 1))) last++;
    avs_tap(g, "/class_logits", tapped(g, avs_arena_fmt(c->arena, "class_logits%d", last)));
    avs_tap(g, "/mask_logits",
            kept_masks(c, g, tapped(g, avs_arena_fmt(c->arena, "decoder.mask_logits%d", last))));
    for (int i = 0; i < AVS_AAVS_LEVELS; i++)
        avs_tap(g, avs_arena_fmt(c->arena, "/attn_mask_layer%d", i),
                tapped(g, avs_arena_fmt(c->arena, "decoder.layer%d.attn_mask", i)));
}

void avs_golden_extend_aavs(avs_golden_case *c, avs_graph *g, const avs_model_io *io)
{
    const avs_type t = *avs_t(g, io->logits);
    rename_taps(c, g, "model.model.pixel_level_module.encoder.", "swin.", false, t.d[0]);
    rename_taps(c, g, "transformer.", "decoder.", true, t.d[0]);
    whole_outputs(c, g);
    avs_tap(g, "/post.class_scores", io->logits);
    if (t.rank != 4) return;
    if (t.d[3] == 2) { /* mask and probability of stage one */
        avs_val s0 = avs_slice(g, io->logits, 3, 0, 1), s1 = avs_slice(g, io->logits, 3, 1, 1);
        avs_val mask = avs_ew_imm(g, AVS_EW_GT, avs_sub(g, s1, s0), 0.F);
        avs_val prob = avs_sigmoid(g, avs_sub(g, avs_scale(g, s1, 2.F), s0));
        avs_tap(g, "/pred_mask", avs_reshape(g, mask, AVS_F32T(t.d[0], t.d[1], t.d[2])));
        avs_tap(g, "/post.fmeasure_prob", avs_reshape(g, prob, AVS_F32T(t.d[0], t.d[1], t.d[2])));
    }
}

/* Rows of one loss: each [queries, targets], the targets by their place in the row. */
static void matching(avs_golden_case *c, avs_golden_net *net, int l, const avs_json *rows)
{
    const char *name = avs_arena_fmt(c->arena, "match%d", l);
    avs_type t;
    const float *got = avs_plan_output(net->plan, avs_arena_fmt(c->arena, "act:%s", name), &t);
    int64_t wrong = 0;
    if (!got || t.rank != 2) {
        avs_golden_miss(c->report, "matching", name, "the model matches nothing there");
        return;
    }
    int b = 0;
    for (const avs_json *row = rows->first; row && b < t.d[0]; row = row->next, b++) {
        const avs_json *q = avs_json_at(row, 0), *m = avs_json_at(row, 1);
        int64_t pairs = 0;
        for (int i = 0; i < t.d[1]; i++) pairs += got[b * t.d[1] + i] >= 0.F;
        for (size_t i = 0; q && m && i < q->len && i < m->len; i++) {
            const int64_t n = avs_golden_item(q, i)->i, want = avs_golden_item(m, i)->i;
            wrong += n < 0 || n >= t.d[1] || (int64_t)got[(int64_t)b * t.d[1] + n] != want;
        }
        wrong += !q || pairs != (int64_t)q->len;
    }
    avs_golden_number(c->report, "matching", name, (double)wrong + (rows->len != (size_t)t.d[0]), 0, 0, 0);
}

void avs_golden_matching(avs_golden_case *c, avs_golden_net *net, const avs_json *want)
{
    int l = 0;
    for (const avs_json *rows = want ? want->first : NULL; rows; rows = rows->next)
        matching(c, net, l++, rows);
}

/* ------------------------------------------------------------------ parts alone */

typedef struct {
    avs_golden_inputs in;
    avs_golden_net net;
    avs_cfg *cfg;
} part;

static int open_part(avs_golden_case *c, part *p, avs_err *e)
{
    int rc = avs_golden_inputs_of(c, &p->in, e);
    if (rc == AVS_OK) rc = avs_golden_config(c, avs_json_get(c->root, "config"), false, false, &p->cfg, e);
    if (rc == AVS_OK && !(p->net.graph = avs_golden_graph(c, false, e))) rc = AVS_ENOMEM;
    return rc;
}

/* All stored outputs that are taps of their name, then what every case may hold. */
static void check_part(avs_golden_case *c, part *p)
{
    for (int i = 0; i < c->files.n; i++) {
        const char *name = c->files.t[i].name;
        if (strncmp(name, "grad", 4) != 0)
            avs_golden_stored(c, &p->net, name, avs_arena_fmt(c->arena, "act:%s", name));
    }
    avs_golden_activations(c, &p->net, avs_json_get(c->root, "activations"));
    avs_golden_loss(c, &p->net, "probe");
    avs_golden_gradients(c, &p->net, c->root);
}

int avs_golden_run_aavs_queries(avs_golden_case *c, avs_err *e)
{
    part p = {0};
    const avs_golden_tensor *feature;
    avs_val loss = 0, position = 0;
    int rc = open_part(c, &p, e);
    if (rc == AVS_OK) rc = avs_golden_need(&p.in, "audio_feature", &feature, e);
    if (rc == AVS_OK) {
        avs_graph *g = p.net.graph;
        avs_val a = avs_aavs_audio(g, p.cfg, avs_golden_input(g, "audio_feature", feature));
        avs_tap(g, "audio_emb", a);
        avs_val x = avs_aavs_queries(g, p.cfg, a, &position);
        rename_taps(c, g, "transformer.", "", true, avs_dim(g, a, 0));
        avs_golden_probe_loss(c, g, "grad_output", tapped(g, "query_init"), &loss);
        rc = x ? avs_golden_run_net(c, &p.net, &p.in, loss, e) : avs_graph_check(g, e);
    }
    if (rc == AVS_OK) check_part(c, &p);
    avs_golden_net_free(&p.net);
    return rc;
}

/* Level l of h x w tokens: its mask, states and blocked keys as maps, its keys and values, the loss of its keys. */
static int key_level(avs_golden_case *c, part *p, avs_val masks, int l, avs_val *loss, avs_err *e)
{
    avs_graph *g = p->net.graph;
    const avs_golden_tensor *level;
    avs_val states = 0;
    int rc = avs_golden_need(&p->in, avs_arena_fmt(c->arena, "level%d", l), &level, e);
    if (rc != AVS_OK) return rc;
    if (level->rank != 4) return avs_fail(e, AVS_ESHAPE, "level%d has %d axes, expected 4", l, level->rank);
    const int R = (int)level->d[0], C = (int)level->d[1], h = (int)level->d[2], w = (int)level->d[3];
    const avs_type map = AVS_F32T(R, h, w);
    avs_val at = avs_aavs_key_position(g, p->cfg, masks, h, w, &states);
    avs_val value = avs_aavs_value(g, l, avs_golden_input(g, level->role, level));
    avs_nn_tap(g, avs_reshape(g, avs_resize(g, masks, h, w, AVS_RESIZE_BILINEAR, false), map), "mask_level%d",
               l);
    if (states) {
        static const float code[3] = {2, 0, 1}; /* sounding, silent, uncertain */
        avs_val s = avs_matmul(g, states, avs_const(g, AVS_F32T(3, 1), code), (avs_matmul_attr){0});
        avs_nn_tap(g, avs_reshape(g, s, map), "state_level%d", l);
    }
    avs_nn_tap(g, avs_reshape(g, avs_aavs_first_blocked(g, masks, h, w), map), "blocked_level%d", l);
    avs_nn_tap(g, avs_reshape(g, avs_aavs_sine(g, h, w, C), AVS_F32T(1, h, w, C)), "sine_level%d_frame0", l);
    at = avs_permute(g, avs_expand(g, at, AVS_F32T(R, (int64_t)h * w, C)), (const int[]){1, 0, 2});
    avs_nn_tap(g, at, "key_pos%d", l);
    avs_nn_tap(g, avs_permute(g, value, (const int[]){1, 0, 2}), "value%d", l);
    avs_golden_probe_loss(c, g, avs_arena_fmt(c->arena, "grad_output.%d", l), at, loss);
    return AVS_OK;
}

int avs_golden_run_aavs_keys(avs_golden_case *c, avs_err *e)
{
    part p = {0};
    const avs_golden_tensor *masks;
    avs_val loss = 0;
    int rc = open_part(c, &p, e);
    if (rc == AVS_OK) rc = avs_golden_need(&p.in, "stage1_mask", &masks, e);
    if (rc == AVS_OK && masks->rank != 3)
        rc = avs_fail(e, AVS_ESHAPE, "stage1_mask has %d axes, expected 3", masks->rank);
    if (rc == AVS_OK) {
        avs_graph *g = p.net.graph;
        avs_val S = avs_golden_input(g, "stage1_mask", masks);
        S = avs_reshape(g, S, AVS_F32T(masks->d[0], masks->d[1], masks->d[2], 1));
        for (int l = 0; rc == AVS_OK && l < AVS_AAVS_LEVELS; l++) rc = key_level(c, &p, S, l, &loss, e);
    }
    if (rc == AVS_OK) rc = avs_golden_run_net(c, &p.net, &p.in, loss, e);
    if (rc == AVS_OK) check_part(c, &p);
    avs_golden_net_free(&p.net);
    return rc;
}

/* ------------------------------------------------------------------ loss */

static avs_val flat_input(avs_graph *g, const avs_golden_tensor *t, avs_type as)
{
    avs_val v = avs_input(g, t->role, AVS_F32T(t->d[0], t->d[1], t->n / (t->d[0] * t->d[1])));
    avs_graph_want_grad(g, v);
    return avs_reshape(g, v, as);
}

/* Operands of the loss; *rows: B. Points may be left out together. */
static int loss_inputs(avs_golden_case *c, part *p, avs_val in[7], int *rows, avs_err *e)
{
    static const char *const more[2] = {"points_oversample", "points_random"};
    const avs_golden_tensor *classes, *masks, *target, *t;
    avs_graph *g = p->net.graph;
    int rc;
    if ((rc = avs_golden_need(&p->in, "class_logits", &classes, e)) != AVS_OK ||
        (rc = avs_golden_need(&p->in, "mask_logits", &masks, e)) != AVS_OK ||
        (rc = avs_golden_need(&p->in, "target", &target, e)) != AVS_OK)
        return rc;
    if (classes->rank != 3 || masks->rank != 4 || target->rank != 3)
        return avs_fail(e, AVS_ESHAPE,
                        "logits of classes, masks and the target have 3, 4 and 3 axes, not %d, %d and %d",
                        classes->rank, masks->rank, target->rank);
    *rows = (int)classes->d[0];
    in[0] = flat_input(g, classes, AVS_F32T(classes->d[0], classes->d[1], classes->d[2]));
    in[1] = flat_input(g, masks, AVS_F32T(masks->d[0], masks->d[1], masks->d[2], masks->d[3]));
    in[2] = avs_input(g, "target", AVS_TYPE(AVS_I32, target->d[0], target->d[1], target->d[2]));
    in[3] = avs_input(g, "row_weight", AVS_F32T(*rows));
    for (int r = 0; r < *rows; r++) {
        t = avs_golden_find(&p->in, avs_arena_fmt(c->arena, "points_match.%d", r));
        if (!t || t->rank != 3) continue;
        avs_val row = avs_input(g, t->role, AVS_F32T(t->d[0], t->d[1], t->d[2]));
        in[4] = in[4] ? avs_concat(g, (avs_val[]){in[4], row}, 2, 0) : row;
    }
    for (int i = 0; i < 2; i++)
        if ((t = avs_golden_find(&p->in, more[i])) && t->rank == 3)
            in[5 + i] = avs_input(g, t->role, AVS_F32T(t->d[0], t->d[1], t->d[2]));
    return AVS_OK;
}

/* cost_matrix_frameB [Q,M]: columns of the classes that the row holds. */
static void check_costs(avs_golden_case *c, part *p, int rows)
{
    const avs_json *classes = avs_json_get(c->root, "classes_per_frame");
    avs_type t;
    const float *cost = avs_plan_output(p->net.plan, "cost", &t);
    for (int b = 0; cost && b < rows; b++) {
        const char *name = avs_arena_fmt(c->arena, "cost_matrix_frame%d", b);
        const avs_json *of = avs_json_at(classes, (size_t)b);
        if (!of || !avs_st_find(&c->files, name)) continue;
        const int64_t Q = t.d[1], K = t.d[2], M = (int64_t)of->len;
        float *m = AVS_NEW_N(c->arena, float, Q *M);
        for (int64_t i = 0; m && i < Q * M; i++) {
            const int64_t k = avs_golden_item(of, (size_t)(i % M))->i;
            m[i] = k >= 0 && k < K ? cost[(b * Q + i / M) * K + k] : 0.F;
        }
        const avs_type want = AVS_F32T(Q, M);
        if (m) avs_golden_output(c, name, NULL, m, &want);
    }
}

int avs_golden_run_aavs_loss(avs_golden_case *c, avs_err *e)
{
    static const char *const names[3] = {"loss_cross_entropy (unweighted)", "loss_mask (unweighted)",
                                         "loss_dice (unweighted)"};
    part p = {0};
    avs_val in[7] = {0};
    avs_type t;
    int rows = 0, rc = open_part(c, &p, e);
    avs_graph *g = p.net.graph;
    if (rc == AVS_OK) rc = loss_inputs(c, &p, in, &rows, e);
    if (rc == AVS_OK) {
        const avs_set_losses s = avs_aavs_set_loss(g, p.cfg, in, 0);
        avs_graph_output(g, "cost", s.cost);
        avs_graph_output(g, "terms", s.terms);
        avs_tap(g, "match0", avs_ew_imm(g, AVS_EW_ADD, s.match, 0.F));
        avs_val total = avs_slice(g, s.terms, 0, 0, 1);
        rc = avs_backward(g, total);
        if (avs_graph_check(g, e) != AVS_OK) rc = e->code;
    }
    if (rc == AVS_OK) rc = avs_golden_plan(c, &p.net, true, e);
    float *weight = rc == AVS_OK ? avs_plan_input(p.net.plan, "row_weight", &t) : NULL;
    for (int i = 0; weight && i < rows; i++) weight[i] = 1.F;
    for (int i = 0; rc == AVS_OK && i < p.in.n; i++)
        rc = avs_golden_set(&p.net, p.in.t[i].role, &p.in.t[i], e);
    if (rc == AVS_OK) rc = avs_plan_run(p.net.plan, e);
    if (rc == AVS_OK) {
        const float *terms = avs_plan_output(p.net.plan, "terms", &t);
        const avs_json *losses = avs_json_get(c->root, "losses");
        for (int i = 0; terms && i < 3; i++) {
            const avs_json *want = avs_json_get(losses, names[i]);
            if (want)
                avs_golden_number(c->report, "loss", names[i], (double)terms[1 + i], want->d, 1e-3,
                                  c->report->forward);
        }
        avs_golden_stored(c, &p.net, "grad_class_logits", "grad:class_logits");
        avs_golden_stored(c, &p.net, "grad_mask_logits", "grad:mask_logits");
        check_costs(c, &p, rows);
        const avs_json *match = avs_json_get(c->root, "matching");
        if (match && match->kind == AVS_J_ARR) matching(c, &p.net, 0, match);
    }
    avs_golden_net_free(&p.net);
    return rc;
}

/* ------------------------------------------------------------------ scores and metrics */

static void metric(avs_golden_case *c, const char *name, double got)
{
    const avs_json *want = avs_json_get(avs_json_get(c->root, "metrics"), name);
    if (want) avs_golden_number(c->report, "metric", name, got, want->d, 0, c->report->forward);
}

/* scores [R,K,S,S] of stage one against 0/1 masks. */
static int binary_metrics(avs_golden_case *c, const float *scores, const avs_golden_tensor *target,
                          avs_err *e)
{
    const int64_t R = target->d[0], H = target->d[1], W = target->d[2];
    avs_mask_score s;
    avs_mask_result r = {0};
    int64_t on = 0;
    int rc = AVS_OK;
    avs_mask_score_init(&s, 1);
    for (int64_t i = 0; i < R && rc == AVS_OK; i++) {
        const float *x = scores + i * 2 * H * W;
        rc = avs_mask_score_add_two_channel(&s, x, target->v + i * H * W, H, W, e);
        for (int64_t k = 0; k < H * W; k++) on += x[H * W + k] > x[k];
    }
    avs_mask_score_end_clip(&s);
    if (rc == AVS_OK) rc = avs_mask_score_finish(&s, &r, e);
    metric(c, "binary_miou", r.miou);
    metric(c, "binary_fscore", r.fscore);
    metric(c, "binary_foreground_fraction", (double)on / (double)(R * H * W));
    avs_mask_score_fini(&s);
    return rc;
}

/* The map that the case keeps, where the scores leave the choice open within the bound. */
static void settle(avs_golden_case *c, const float *scores, int64_t R, int64_t K, int64_t n, int32_t *map)
{
    const avs_st_tensor *want = avs_st_find(&c->files, "semantic_map");
    float *kept = want && want->count == R * n ? AVS_NEW_N(c->arena, float, R *n) : NULL;
    avs_err err = AVS_ERR_INIT;
    int64_t wrong = 0;
    if (!kept || avs_st_f32(want, kept, &err) != AVS_OK) return;
    for (int64_t i = 0; i < R * n; i++) {
        const float *x = scores + i / n * K * n + i % n;
        const int64_t k = (int64_t)kept[i];
        const float most = x[map[i] * n];
        const bool fits = k >= 0 && k < K && most - x[k * n] <= (float)c->report->forward * most;
        wrong += !fits;
        if (fits) map[i] = (int32_t)k;
    }
    avs_golden_number(c->report, "output", "semantic_map", (double)wrong, 0, 0, 0);
}

static void class_sums(avs_golden_case *c, const avs_semantic_score *s)
{
    const avs_type t = AVS_F32T(s->classes);
    float *count = AVS_NEW_N(c->arena, float, s->classes);
    int counted = 0;
    for (int k = 0; count && k < s->classes; k++) {
        count[k] = (float)s->count[k];
        counted += s->count[k] > 0;
    }
    if (avs_st_find(&c->files, "iou_sum_per_class"))
        avs_golden_output(c, "iou_sum_per_class", NULL, s->iou, &t);
    if (avs_st_find(&c->files, "fscore_sum_per_class"))
        avs_golden_output(c, "fscore_sum_per_class", NULL, s->f, &t);
    if (count && avs_st_find(&c->files, "count_per_class"))
        avs_golden_output(c, "count_per_class", NULL, count, &t);
    metric(c, "classes_counted", counted);
}

/* scores [R,K,S,S] of stage two against class maps. */
static int semantic_metrics(avs_golden_case *c, const float *scores, int K, const avs_golden_tensor *target,
                            avs_err *e)
{
    const int64_t R = target->d[0], H = target->d[1], W = target->d[2], n = H * W;
    avs_semantic_score s = {0};
    avs_semantic_result r;
    int32_t *map = AVS_NEW_N(c->arena, int32_t, R * n), *want = AVS_NEW_N(c->arena, int32_t, R * n);
    int rc =
        map && want ? avs_semantic_init(&s, K, e) : avs_fail(e, AVS_ENOMEM, "out of memory for class maps");
    if (rc == AVS_OK) {
        for (int64_t i = 0; i < R; i++) avs_argmax_chw(scores + i * K * n, K, H, W, map + i * n);
        settle(c, scores, R, K, n, map);
        for (int64_t i = 0; i < R * n; i++) want[i] = (int32_t)target->v[i];
    }
    for (int64_t i = 0; i < R && rc == AVS_OK; i++)
        rc = avs_semantic_add(&s, map + i * n, want + i * n, H, W, e);
    if (rc == AVS_OK) {
        int distinct = 0;
        for (int k = 0; k < K; k++) {
            bool found = false;
            for (int64_t i = 0; i < R * n && !found; i++) found = map[i] == k;
            distinct += found;
        }
        metric(c, "distinct_predicted", distinct);
        class_sums(c, &s);
        rc = avs_semantic_finish(&s, &r, NULL, NULL, e);
    }
    if (rc == AVS_OK) {
        metric(c, "semantic_miou", r.miou);
        metric(c, "semantic_miou_no_background", r.miou_no_first);
        metric(c, "semantic_fscore", r.f);
        metric(c, "semantic_fscore_no_background", r.f_no_first);
    }
    avs_semantic_fini(&s);
    return rc;
}

int avs_golden_run_aavs_post(avs_golden_case *c, avs_err *e)
{
    static const char *const suffix[2] = {"", "71"};
    part p = {0};
    const avs_golden_tensor *classes, *masks, *target[2];
    const int size = (int)avs_json_int(avs_json_get(c->root, "extra_config"), "target_size", AVS_AAVS_SIZE);
    avs_type t;
    int64_t n = 0;
    int rc = open_part(c, &p, e);
    for (int i = 0; i < 2 && rc == AVS_OK; i++) {
        avs_graph *g = p.net.graph;
        rc = avs_golden_need(&p.in, avs_arena_fmt(c->arena, "class_logits%s", suffix[i]), &classes, e);
        if (rc == AVS_OK)
            rc = avs_golden_need(&p.in, avs_arena_fmt(c->arena, "mask_logits%s", suffix[i]), &masks, e);
        if (rc == AVS_OK)
            rc = avs_golden_need(&p.in, avs_arena_fmt(c->arena, "target%s", suffix[i]), &target[i], e);
        if (rc == AVS_OK && (target[i]->rank != 3 || target[i]->d[1] != size || target[i]->d[2] != size))
            rc = avs_fail(e, AVS_ESHAPE, "target%s is not [rows,%d,%d]", suffix[i], size, size);
        if (rc == AVS_OK)
            avs_graph_output(g, i ? "semantic_scores" : "binary_logits",
                             avs_aavs_scores(g, avs_golden_input(g, classes->role, classes),
                                             avs_golden_input(g, masks->role, masks), size));
    }
    if (rc == AVS_OK) rc = avs_golden_run_net(c, &p.net, &p.in, 0, e);
    if (rc == AVS_OK) {
        avs_golden_stored(c, &p.net, "binary_logits", "binary_logits");
        const float *x = avs_golden_get(c, &p.net, "binary_logits", &t, &n);
        rc = x && t.d[1] == 2 ? binary_metrics(c, x, target[0], e)
                              : avs_fail(e, AVS_ESHAPE, "the binary part has %d classes", t.d[1]);
    }
    if (rc == AVS_OK) {
        const float *x = avs_golden_get(c, &p.net, "semantic_scores", &t, &n);
        rc = x ? semantic_metrics(c, x, t.d[1], target[1], e)
               : avs_fail(e, AVS_ENOMEM, "out of memory for scores");
    }
    avs_golden_net_free(&p.net);
    return rc;
}
