/* AVSBench-TPAVI. Clips of T frames stand frame after frame in the rows, so [B*T,h,w,C] is [B,T*h*w,C] without a copy.
 *
 * TPAVI divides theta^T phi by M = T*h*w and takes no softmax, so products are regrouped and the M x M matrix is never
 * made: sound is one vector per frame, hence y = theta (phi_t . sum over the frame of g); images give
 * y = theta (phi^T g). The decoder's ReLUs work in place in the reference, so skips add relu(x), and the maps that the
 * matching losses see are behind that ReLU. */
#include "models/tpavi.h"

#include "models/backbones/backbones.h"
#include "models/layers.h"
#include "models/losses.h"

typedef struct {
    const avs_cfg *cfg;
    int C, T;        /* width; frames that see each other        */
    bool is_avss;    /* no bias behind align_channel             */
    avs_val present; /* [R,1,1,1] 1 where the frame exists, or 0 */
} model;

static avs_val masked(avs_graph *g, const model *m, avs_val x)
{
    return m->present ? avs_mul(g, x, m->present) : x;
}

/* Frames that one attention spans. The reference's AVSS code groups by 5 although its clips have 10 frames. */
static int span_of(const avs_cfg *cfg, const avs_build *b)
{
    const int rows = b->clip_rows ? b->clip_rows : b->rows;
    return avs_cfg_is(cfg, "task", "avss") && rows % 5 == 0 ? 5 : rows;
}

/* [O,I,3,3] -> [O,I,1,1] */
static avs_val centre(avs_graph *g, avs_val w)
{
    return avs_slice(g, avs_slice(g, w, 2, 1, 1), 3, 1, 1);
}

/* Four 3x3 convolutions of dilation 3, 6, 12, 18, added. A dilation of the map's side or more leaves all taps but the middle
 * one outside, among zeros. */
static avs_val reduction(avs_graph *g, const model *m, avs_val x, int i)
{
    static const int dilation[4] = {3, 6, 12, 18};
    if (!x) return 0;
    const int in = avs_dim(g, x, 3);
    avs_val sum = 0;
    for (int k = 0; k < 4; k++) {
        avs_scope_push(g, "conv%d.conv2d_list.%d", i + 1, k);
        avs_val w =
            avs_param(g, "weight", AVS_F32T(m->C, in, 3, 3), (avs_init){.kind = AVS_INIT_NORMAL, .a = 0.01F});
        avs_val b = avs_param(g, "bias", AVS_F32T(m->C),
                              (avs_init){.kind = AVS_INIT_FAN_IN_UNIFORM, .a = 9.F * (float)in});
        avs_val y = avs_dim(g, x, 1) > dilation[k] || avs_dim(g, x, 2) > dilation[k]
                        ? avs_conv2d(g, x, w, b, 1, dilation[k], dilation[k], 1)
                        : avs_conv2d(g, x, centre(g, w), b, 1, 0, 1, 1);
        avs_scope_pop(g);
        sum = sum ? avs_add(g, sum, y) : y;
    }
    return masked(g, m, avs_nn_tap(g, sum, "conv%d", i + 1));
}

/* ------------------------------------------------------------------ TPAVI */

/* A 1x1x1 convolution on tokens: weight (out,in,1,1,1). */
static avs_val pointwise(avs_graph *g, avs_val x, const char *name, int out)
{
    if (!x) return 0;
    const int in = avs_dim(g, x, 2);
    avs_scope_push(g, "%s", name);
    avs_val w =
        avs_param(g, "weight", AVS_F32T(out, in, 1, 1, 1), (avs_init){.kind = AVS_INIT_FAN_IN_UNIFORM});
    avs_val b =
        avs_param(g, "bias", AVS_F32T(out), (avs_init){.kind = AVS_INIT_FAN_IN_UNIFORM, .a = (float)in});
    avs_scope_pop(g);
    return avs_linear(g, x, avs_reshape(g, w, AVS_F32T(out, in)), b);
}

/* x [B,M,C] and audio [B,T,C], or 0 for attention among the pixels -> [B,M,C]. name: of its activations, NULL: none. */
static avs_val interaction(avs_graph *g, const model *m, avs_val x, avs_val audio, const avs_type *map,
                           bool taps)
{
    if (!x) return 0;
    const int B = avs_dim(g, x, 0), M = avs_dim(g, x, 1), c = m->C / 2, T = m->T;
    const float inv = 1.F / (float)M;
    const avs_type inner = AVS_F32T(B, T, map->d[1], map->d[2], c),
                   outer = AVS_F32T(B, T, map->d[1], map->d[2], m->C);
    avs_val value = pointwise(g, x, "g", c), theta = pointwise(g, x, "theta", c);
    avs_val phi = pointwise(g, audio ? audio : x, "phi", c), y;
    if (audio) {
        avs_val G = avs_reduce(g, avs_reshape(g, value, AVS_F32T(B, T, M / T, c)), 2, 3, false);
        y = avs_matmul(g, theta, phi, (avs_matmul_attr){.tb = 1, .alpha = inv});
        y = avs_matmul(g, y, avs_reshape(g, G, AVS_F32T(B, T, c)), (avs_matmul_attr){0});
    } else {
        y = avs_matmul(g, theta, avs_matmul(g, phi, value, (avs_matmul_attr){.ta = 1, .alpha = inv}),
                       (avs_matmul_attr){0});
    }
    y = avs_nn_batchnorm_zero(g, pointwise(g, y, "W_z.0", m->C), "W_z.1");
    if (taps && audio) {
        avs_val each = avs_reshape(g, phi, AVS_F32T(B, T, 1, 1, c));
        avs_tap(g, "g", avs_reshape(g, value, inner));
        avs_tap(g, "theta", avs_reshape(g, theta, inner));
        avs_tap(g, "phi", avs_expand(g, each, inner));
        avs_tap(g, "W_z", avs_reshape(g, y, outer));
        avs_tap(g, "W_z:out", avs_reshape(g, y, AVS_F32T((int64_t)B * T, M / T, m->C))); /* frame by frame */
    }
    return avs_nn_layernorm(g, avs_add(g, y, x), "norm_layer", 1e-5F);
}

/* Stage i of the pyramid [R,h,w,C]; *a_fea gets the aligned sound [B,T,C] where the stage hears. */
static avs_val tpavi(avs_graph *g, const model *m, avs_val map, avs_val audio, int i, avs_val *a_fea)
{
    const bool hears = avs_cfg_bool(m->cfg, "tpavi_audio_visual"),
               sees = avs_cfg_bool(m->cfg, "tpavi_visual_visual");
    if (!map || !audio || (!hears && !sees)) return map;
    const avs_type t = *avs_t(g, map);
    const int B = t.d[0] / m->T;
    avs_val x = avs_reshape(g, map, AVS_F32T(B, (int64_t)m->T * t.d[1] * t.d[2], m->C)), z = 0;
    avs_scope_push(g, "tpavi_b%d", i + 1);
    audio = avs_nn_linear(g, avs_reshape(g, audio, AVS_F32T(B, m->T, avs_dim(g, audio, 1))), "align_channel",
                          m->C, !m->is_avss, AVS_NN_TORCH);
    if (sees) z = interaction(g, m, x, 0, &t, false);
    if (hears) {
        avs_val y = interaction(g, m, x, audio, &t, true);
        z = sees ? avs_scale(g, avs_add(g, z, y), 0.5F) : y;
        *a_fea = avs_tap(g, "align_channel", audio);
        avs_tap(g, "out1", audio);
    }
    avs_tap(g, "out0", avs_reshape(g, z, AVS_F32T(B, m->T, t.d[1], t.d[2], m->C)));
    avs_scope_pop(g);
    return masked(g, m, avs_reshape(g, z, t));
}

/* ------------------------------------------------------------------ decoder */

/* conv2(relu(conv1(x))) + x of x = relu(..) */
static avs_val unit(avs_graph *g, avs_val x, const char *name)
{
    const int C = avs_dim(g, x, 3);
    avs_scope_push(g, "%s", name);
    avs_val y = avs_nn_conv(g, x, "conv1", C, 3, 1, 1, true, AVS_NN_TORCH);
    y = avs_nn_conv(g, avs_relu(g, y), "conv2", C, 3, 1, 1, true, AVS_NN_TORCH);
    avs_scope_pop(g);
    return avs_tap(g, name, avs_add(g, y, x));
}

/* lateral is behind its ReLU; s is what comes from above, 0 at the top. Twice the size of lateral. */
static avs_val fusion(avs_graph *g, const model *m, avs_val s, avs_val lateral, int i)
{
    if (!lateral) return 0;
    avs_scope_push(g, "path%d", i + 1);
    /* the top has the unit of the lateral too, unused: it is declared so that checkpoints fit */
    avs_val side = unit(g, lateral, "resConfUnit1");
    s = unit(g, s ? avs_relu(g, avs_add(g, s, side)) : lateral, "resConfUnit2");
    avs_scope_pop(g);
    s = avs_resize(g, s, 2 * avs_dim(g, lateral, 1), 2 * avs_dim(g, lateral, 2), AVS_RESIZE_BILINEAR, true);
    return masked(g, m, avs_nn_tap(g, s, "path%d", i + 1));
}

static avs_val output_conv(avs_graph *g, const model *m, avs_val x)
{
    if (!x) return 0;
    avs_scope_push(g, "output_conv");
    x = avs_tap(g, "0", avs_nn_conv(g, x, "0", 128, 3, 1, 1, true, AVS_NN_TORCH));
    if (x) x = avs_resize(g, x, 2 * avs_dim(g, x, 1), 2 * avs_dim(g, x, 2), AVS_RESIZE_BILINEAR, false);
    avs_tap(g, "1", x);
    x = avs_tap(g, "2", avs_nn_conv(g, x, "2", 32, 3, 1, 1, true, AVS_NN_TORCH));
    x = avs_nn_conv(g, avs_relu(g, x), "4", (int)avs_cfg_int(m->cfg, "num_classes"), 1, 1, 0, true,
                    AVS_NN_TORCH);
    avs_scope_pop(g);
    return masked(g, m, avs_tap(g, "output_conv", x));
}

/* ------------------------------------------------------------------ whole */

void avs_tpavi_losses(avs_graph *g, const avs_cfg *cfg, avs_model_io *io, const avs_avm_input *in)
{
    avs_loss_sum sum = {0};
    if (!io->logits) return;
    const double weight = avs_cfg_num(cfg, "aux_weight");
    avs_val mask = avs_dim(g, io->logits, 3) > 1 ? avs_loss_ce(g, io->logits, io->target, io->row_weight)
                                                 : avs_loss_bce(g, io->logits, io->target, io->row_weight);
    avs_loss_add(g, &sum, "mask_loss", mask, avs_cfg_num(cfg, "bce_weight"));
    if (avs_cfg_is(cfg, "aux_loss", "avm")) {
        const avs_avm_cfg avm = avs_avm_cfg_of(cfg);
        avs_loss_add(g, &sum, "matching_loss", avs_loss_avm(g, in, &avm), weight);
    } else if (avs_cfg_is(cfg, "aux_loss", "cosine")) {
        avs_loss_add(g, &sum, "matching_loss", avs_loss_cosine(g, in), weight);
    }
    io->loss = avs_tap(g, "loss:total", sum.total);
    avs_graph_output(g, "loss", io->loss);
}

static void pyramid(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_val frames, avs_val out[4])
{
    const char *name = avs_cfg_str(cfg, "backbone");
    const bool is_resnet = name[0] == 'r';
    avs_scope_push(g, is_resnet ? "resnet" : "encoder_backbone");
    if (is_resnet)
        avs_resnet50_twin(g, frames, out);
    else
        avs_backbone(g, name, frames, b->training ? (float)avs_cfg_num(cfg, "drop_path") : 0.F, out);
    avs_scope_pop(g);
}

static int build(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_model_io *io, avs_err *e)
{
    model m = {.cfg = cfg,
               .C = (int)avs_cfg_int(cfg, "embed_dim"),
               .T = span_of(cfg, b),
               .is_avss = avs_cfg_is(cfg, "task", "avss")};
    avs_avm_input in = {0};
    avs_val map[4], s = 0;
    const int64_t *stage;
    const int n_stages = avs_cfg_list(cfg, "tpavi_stages", &stage);

    if (b->rows % m.T)
        return avs_fail(e, AVS_ESHAPE, "%d rows are no whole clips of %d frames", b->rows, m.T);
    io->frames = avs_input(g, "frames", AVS_F32T(b->rows, b->height, b->width, 3));
    avs_val audio = avs_model_vggish(g, b, io);
    if (b->with_frame_mask) {
        avs_val mask = avs_input(g, "frame_mask", AVS_F32T(b->rows));
        m.present = avs_reshape(g, mask, AVS_F32T(b->rows, 1, 1, 1));
        audio = avs_mul(g, audio, avs_reshape(g, mask, AVS_F32T(b->rows, 1)));
    }
    pyramid(g, cfg, b, io->frames, map);
    for (int i = 0; i < 4; i++) map[i] = reduction(g, &m, map[i], i);
    for (int k = 0; k < n_stages; k++) {
        const int i = (int)stage[k];
        map[i] = tpavi(g, &m, map[i], audio, i, &in.a_fea[i]);
        avs_nn_tap(g, in.a_fea[i], "a_fea.%d", i);
    }
    for (int i = 3; i >= 0; i--) {
        in.v_map[i] = avs_nn_tap(g, avs_relu(g, map[i]), "v_map.%d", i);
        s = fusion(g, &m, s, in.v_map[i], i);
    }
    io->logits = in.logits = output_conv(g, &m, s);
    avs_graph_output(g, "logits", io->logits);
    if (b->with_loss) {
        avs_model_targets(g, cfg, b, io);
        in.row_weight = io->row_weight;
        avs_tpavi_losses(g, cfg, io, &in);
    }
    return avs_graph_check(g, e);
}

const avs_model_rule avs_tpavi_rule = {.name = "tpavi",
                                       .build = build,
                                       .backbone_prefix = "resnet.",
                                       .audio_prefix = "vggish.",
                                       .pvt_prefix = "encoder_backbone."};
