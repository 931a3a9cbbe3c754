/* The loss of Stepping Stones: that of Mask2Former on every prediction, each matched on its own. */
#include "models/aavs.h"

avs_set_losses avs_aavs_set_loss(avs_graph *g, const avs_cfg *cfg, const avs_val in[7], int clip_rows)
{
    const double points = (double)avs_cfg_int(cfg, "train_num_points");
    const avs_set_loss_attr attr = {.points = (int32_t)points,
                                    .candidates = (int32_t)(points * avs_cfg_num(cfg, "oversample_ratio")),
                                    .uncertain =
                                        (int32_t)(points * avs_cfg_num(cfg, "importance_sample_ratio")),
                                    .clip_rows = clip_rows,
                                    .no_object = (float)avs_cfg_num(cfg, "no_object_weight"),
                                    .w_class = (float)avs_cfg_num(cfg, "class_weight"),
                                    .w_mask = (float)avs_cfg_num(cfg, "bce_weight"),
                                    .w_dice = (float)avs_cfg_num(cfg, "dice_weight")};
    return avs_set_loss(g, in, attr);
}

/* Given points of the l-th loss, as inputs under the names that golden cases have. */
static void given_points(avs_graph *g, const avs_cfg *cfg, const avs_build *b, int l, avs_val out[3])
{
    const int64_t points = avs_cfg_int(cfg, "train_num_points");
    const int64_t candidates = (int64_t)((double)points * avs_cfg_num(cfg, "oversample_ratio"));
    const int64_t uncertain = (int64_t)((double)points * avs_cfg_num(cfg, "importance_sample_ratio"));
    char name[48];
    for (int r = 0; r < b->rows; r++) {
        snprintf(name, sizeof name, "points_match.%d.%d", l, r);
        avs_val row = avs_input(g, name, AVS_F32T(1, points, 2));
        out[0] = r ? avs_concat(g, (avs_val[]){out[0], row}, 2, 0) : row;
    }
    snprintf(name, sizeof name, "points_oversample.%d", l);
    out[1] = avs_input(g, name, AVS_F32T(b->given_points, candidates, 2));
    snprintf(name, sizeof name, "points_random.%d", l);
    out[2] = avs_input(g, name, AVS_F32T(b->given_points, points - uncertain, 2));
}

static void tap_terms(avs_graph *g, const avs_cfg *cfg, const avs_set_losses *s, int l)
{
    static const char *const names[3] = {"cross_entropy", "mask", "dice"}, *const weights[3] = {
                                                                               "class_weight", "bce_weight",
                                                                               "dice_weight"};
    for (int i = 0; i < 3; i++) {
        avs_val term = avs_scale(g, avs_slice(g, s->terms, 0, 1 + i, 1), (float)avs_cfg_num(cfg, weights[i]));
        if (l)
            avs_nn_tap(g, term, "/loss:loss_%s_%d", names[i], l - 1);
        else
            avs_nn_tap(g, term, "/loss:loss_%s", names[i]);
    }
    avs_nn_tap(g, avs_ew_imm(g, AVS_EW_ADD, s->match, 0.F), "/match%d", l);
}

void avs_aavs_losses(avs_graph *g, const avs_cfg *cfg, const avs_build *b, const avs_aavs_predictions *p,
                     avs_model_io *io)
{
    /* clips of silence alone train nothing in this subset */
    const bool skips = avs_cfg_is(cfg, "stage", "one") && avs_cfg_is(cfg, "task", "ms3");
    const int n = avs_cfg_bool(cfg, "deep_supervision") ? p->n : 1;
    avs_val total = 0;
    avs_model_targets(g, cfg, b, io);
    if (!p->E) return;
    for (int l = 0; l < n; l++) { /* the last prediction, then the others in order */
        const int i = l ? l - 1 : p->n - 1;
        if (!p->masks[i]) return;
        const avs_type t =
            AVS_F32T(b->rows, avs_dim(g, p->masks[i], 1), avs_dim(g, p->E, 1), avs_dim(g, p->E, 2));
        avs_val in[7] = {p->classes[i], avs_reshape(g, p->masks[i], t), io->target, io->row_weight};
        if (b->given_points) given_points(g, cfg, b, l, in + 4);
        const avs_set_losses s = avs_aavs_set_loss(g, cfg, in,
                                                   !skips         ? 0
                                                   : b->clip_rows ? b->clip_rows
                                                                  : b->rows);
        tap_terms(g, cfg, &s, l);
        avs_val part = avs_slice(g, s.terms, 0, 0, 1);
        total = total ? avs_add(g, total, part) : part;
    }
    io->loss = avs_tap(g, "/loss:total", total);
    avs_graph_output(g, "loss", io->loss);
}
