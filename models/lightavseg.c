/* LightAVSeg. One sound vector per frame walks down the pyramid (gated by what is seen) and is added to each map before the
 * next stage sees it; a second one walks up the decoder. All interaction is between vectors and maps, so its cost is linear
 * in the pixels. Index 0 is the finest level, stride 4, in every list. */
#include "models/lightavseg.h"

#include <string.h>

#include "models/avm.h"
#include "models/backbones/backbones.h"
#include "models/layers.h"
#include "models/losses.h"

typedef struct {
    const avs_cfg *cfg;
    int D;
    bool is_resnet, agve, har, cmfd, context;
    float drop_path;
    avs_val a0, A[4]; /* sound [R,1,1,C_i]                           */
    avs_val E[4];     /* what the encoder hands to the decoder       */
    avs_val up[4];    /* Ah of the decoder; 0 without cmfd           */
    avs_val dec[4];
} model;

static const char *key(char *buf, size_t n, const char *name, int i)
{
    (void)snprintf(buf, n, "%s.%d", name, i);
    return buf;
}
#define KEY(name, i) key((char[24]){0}, 24, (name), (i))

/* 1x1 convolution with bias of a vector or map. */
static avs_val conv1(avs_graph *g, avs_val x, const char *name, int out)
{
    return avs_nn_conv(g, x, name, out, 1, 1, 0, true, AVS_NN_TORCH);
}

/* Convolution without bias and BatchNorm; depthwise if kernel is 3. */
static avs_val conv_bn(avs_graph *g, avs_val x, const char *name, int out, int kernel)
{
    avs_scope_push(g, "%s", name);
    x = kernel == 3 ? avs_nn_depthwise(g, x, "c", 3, 1, false, AVS_NN_TORCH)
                    : avs_nn_conv(g, x, "c", out, 1, 1, 0, false, AVS_NN_TORCH);
    x = avs_nn_batchnorm(g, x, "bn");
    avs_scope_pop(g);
    return x;
}

/* The global descriptor of a map [R,h,w,C]: [R,1,1,C]. */
static avs_val pooled(avs_graph *g, const model *m, avs_val x)
{
    if (!x) return 0;
    if (avs_cfg_is(m->cfg, "pooling", "avg")) return avs_reduce(g, x, 1, 3, true);
    return avs_reshape(g, avs_row_max(g, avs_nn_tokens(g, x), NULL),
                       AVS_F32T(avs_dim(g, x, 0), 1, 1, avs_dim(g, x, 3)));
}

static avs_val resized_to(avs_graph *g, avs_val x, avs_val like)
{
    return avs_resize(g, x, avs_dim(g, like, 1), avs_dim(g, like, 2), AVS_RESIZE_BILINEAR, false);
}

/* ------------------------------------------------------------------ encoder */

static avs_val stage(avs_graph *g, const model *m, avs_val x, int i)
{
    const char *name = avs_cfg_str(m->cfg, "backbone");
    avs_scope_push(g, "visual");
    x = m->is_resnet ? avs_resnet_stage(g, 50, i, x)
                     : avs_seaformer_stage(g, name[strlen(name) - 1], i, x, m->drop_path);
    avs_scope_pop(g);
    return x;
}

/* Declares the stride-64 stage that nothing reads: its weights belong to the backbone. */
static void declare_stage5(avs_graph *g, const model *m)
{
    const bool training = g->training;
    const uint32_t taps = g->n_tap;
    g->training = false; /* no statistics to update */
    (void)stage(g, m, m->E[3], 5);
    g->training = training;
    g->n_tap = taps;
}

/* E_4 = local(Ve_4) * hsig(glob(V_5)), SeaFormer's own fusion. */
static void add_context(avs_graph *g, model *m)
{
    avs_val x = m->E[3];
    if (m->is_resnet || !x) return;
    if (!m->context) {
        declare_stage5(g, m);
        return;
    }
    const int C = avs_dim(g, x, 3);
    avs_val deep = avs_tap(g, "v5", stage(g, m, x, 5));
    avs_scope_push(g, "ctx");
    avs_val local = conv_bn(g, x, "local", C, 1);
    avs_val glob = avs_hardsigmoid(g, conv_bn(g, deep, "glob", C, 1));
    avs_scope_pop(g);
    m->E[3] = avs_tap(g, "ctx", avs_mul(g, local, resized_to(g, glob, x)));
}

static void encoder(avs_graph *g, model *m, avs_val x)
{
    const bool walks = m->agve || m->har || m->cmfd; /* else no sound goes down the pyramid */
    avs_val a = m->a0;
    for (int i = 0; i < 4; i++) {
        avs_val v = avs_nn_tap(g, stage(g, m, x, i + 1), "v%d", i + 1);
        if (!v) return;
        const int C = avs_dim(g, v, 3);
        if (walks) {
            a = conv1(g, a, KEY("enc_audio", i), C);
            if (m->har)
                a = avs_mul(g, a, avs_hardsigmoid(g, conv1(g, pooled(g, m, v), KEY("enc_gate", i), C)));
            m->A[i] = avs_nn_tap(g, a, "a%d", i + 1);
        }
        m->E[i] = x = avs_nn_tap(g, m->agve ? avs_add(g, v, a) : v, "enc%d", i + 1);
    }
    add_context(g, m);
}

/* ------------------------------------------------------------------ decoder */

/* Sound of level i: mixed with that of the level above, gated by what is seen. */
static avs_val decoder_sound(avs_graph *g, const model *m, int i)
{
    avs_val a = m->A[i];
    if (i < 3) a = avs_concat(g, (avs_val[]){m->up[i + 1], a}, 2, 3);
    a = avs_relu(g, conv1(g, a, KEY("mix", i), m->D));
    avs_val gate = conv1(g, pooled(g, m, m->E[i]), KEY("gate", i), m->D);
    return avs_nn_tap(g, avs_mul(g, a, avs_hardsigmoid(g, gate)), "ahat%d", i + 1);
}

/* The sound repeated over the finest map and concatenated: what interaction replaces. */
static avs_val static_merge(avs_graph *g, const model *m, avs_val x)
{
    if (!x) return 0;
    avs_val a = avs_expand(g, conv1(g, m->a0, "static_audio", m->D), *avs_t(g, x));
    return avs_relu(g, conv_bn(g, avs_concat(g, (avs_val[]){x, a}, 2, 3), "static_merge", m->D, 1));
}

static void decoder(avs_graph *g, model *m)
{
    for (int i = 3; i >= 0; i--) {
        if (!m->E[i]) return;
        avs_val p = conv_bn(g, m->E[i], KEY("lateral", i), m->D, 1);
        if (i < 3) p = avs_add(g, p, resized_to(g, m->dec[i + 1], p));
        if (m->cmfd) {
            m->up[i] = decoder_sound(g, m, i);
            p = avs_add(g, p, conv1(g, m->up[i], KEY("inject", i), m->D));
        } else if (i == 0) {
            p = static_merge(g, m, p);
        }
        m->dec[i] = avs_nn_tap(g, p, "dec%d", i + 1);
    }
}

static avs_val head(avs_graph *g, const model *m, avs_val x, int H, int W)
{
    x = avs_relu(g, conv_bn(g, x, "head_dw", m->D, 3));
    x = avs_tap(g, "head", avs_relu(g, conv_bn(g, x, "head_pw", 64, 1)));
    x = avs_tap(g, "logits_low", conv1(g, x, "head_cls", (int)avs_cfg_int(m->cfg, "num_classes")));
    return avs_tap(g, "logits", avs_resize(g, x, H, W, AVS_RESIZE_BILINEAR, false));
}

/* ------------------------------------------------------------------ whole */

avs_alignment avs_lightavseg_alignment(avs_graph *g, const avs_cfg *cfg, const avs_model_io *io,
                                       const avs_val dec[4], const avs_val up[4])
{
    const bool classes = avs_dim(g, io->logits, 3) > 1;
    avs_alignment in = {.mask = classes ? avs_foreground(g, io->target) : io->target,
                        .row_weight = io->row_weight,
                        .temperature = (float)avs_cfg_num(cfg, "align_temperature")};
    memcpy(in.map, dec, sizeof in.map);
    memcpy(in.sound, up, sizeof in.sound);
    return in;
}

avs_val avs_lightavseg_aux(avs_graph *g, const char *kind, const avs_model_io *io, const avs_alignment *in)
{
    if (!strcmp(kind, "msa") || !strcmp(kind, "msa_kl")) return avs_loss_alignment(g, in, kind[3] != '\0');
    if (!strcmp(kind, "avm")) {
        const avs_avm_cfg avm = {.normalize = true, .n_stages = 3, .stage = {0, 1, 2}};
        avs_avm_input matched = {.logits = io->logits, .row_weight = io->row_weight};
        memcpy(matched.v_map, in->map, sizeof matched.v_map);
        memcpy(matched.a_fea, in->sound, sizeof matched.a_fea);
        return avs_loss_avm(g, &matched, &avm);
    }
    avs_val mean = avs_reduce(g, in->map[0], 3, 4, true);
    mean = avs_resize(g, mean, avs_dim(g, in->mask, 1), avs_dim(g, in->mask, 2), AVS_RESIZE_BILINEAR, false);
    return avs_loss_dice(g, avs_sigmoid(g, mean), in->mask, io->row_weight, true, 1e-3F);
}

static void losses(avs_graph *g, const avs_cfg *cfg, avs_model_io *io, const model *m)
{
    avs_loss_sum sum = {0};
    if (!io->logits) return;
    const bool classes = avs_dim(g, io->logits, 3) > 1;
    const avs_alignment in = avs_lightavseg_alignment(g, cfg, io, m->dec, m->up);
    avs_loss_add(g, &sum, classes ? "ce" : "bce",
                 classes ? avs_loss_ce(g, io->logits, io->target, io->row_weight)
                         : avs_loss_bce(g, io->logits, io->target, io->row_weight),
                 avs_cfg_num(cfg, "bce_weight"));
    avs_loss_add(g, &sum, "dice",
                 classes
                     ? avs_loss_dice_classes(g, io->logits, io->target, io->row_weight, 1.F)
                     : avs_loss_dice(g, avs_sigmoid(g, io->logits), io->target, io->row_weight, false, 1.F),
                 avs_cfg_num(cfg, "dice_weight"));
    const char *aux = avs_cfg_str(cfg, "aux_loss");
    if (strcmp(aux, "none") != 0)
        avs_loss_add(g, &sum, aux, avs_lightavseg_aux(g, aux, io, &in), avs_cfg_num(cfg, "aux_weight"));
    io->loss = avs_tap(g, "loss:total", sum.total);
    avs_graph_output(g, "loss", io->loss);
}

static int build(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_model_io *io, avs_err *e)
{
    model m = {.cfg = cfg,
               .D = (int)avs_cfg_int(cfg, "embed_dim"),
               .is_resnet = avs_cfg_is(cfg, "backbone", "resnet50"),
               .agve = avs_cfg_bool(cfg, "agve"),
               .har = avs_cfg_bool(cfg, "har"),
               .cmfd = avs_cfg_bool(cfg, "cmfd"),
               .context = avs_cfg_bool(cfg, "context"),
               .drop_path = b->training ? (float)avs_cfg_num(cfg, "drop_path") : 0.F};
    io->frames = avs_input(g, "frames", AVS_F32T(b->rows, b->height, b->width, 3));
    avs_val sound = avs_model_mobilenet(g, cfg, b, io);
    m.a0 = avs_tap(g, "a0", avs_reshape(g, sound, AVS_F32T(b->rows, 1, 1, avs_dim(g, sound, 1))));
    encoder(g, &m, io->frames);
    decoder(g, &m);
    io->logits = head(g, &m, m.dec[0], b->height, b->width);
    avs_graph_output(g, "logits", io->logits);
    if (b->with_loss) {
        avs_model_targets(g, cfg, b, io);
        losses(g, cfg, io, &m);
    }
    return avs_graph_check(g, e);
}

const avs_model_rule avs_lightavseg_rule = {
    .name = "lightavseg", .build = build, .backbone_prefix = "visual.", .audio_prefix = "audio."};
