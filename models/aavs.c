/* Stepping Stones: backbone, pixel decoder and decoder put together, scores for evaluation, loss for training, and which
 * parameters train. */
#include "models/aavs.h"

#include <string.h>

#include "models/backbones/backbones.h"
#include "models/backbones/swin.h"

static void read_four(const avs_cfg *cfg, const char *name, int out[4])
{
    const int64_t *items;
    const int n = avs_cfg_list(cfg, name, &items);
    for (int i = 0; i < 4; i++) out[i] = (int)items[i < n ? i : n - 1];
}

/* Windows, depths and heads of a Swin from the configuration; false: the backbone is no Swin. */
static bool swin_of(const avs_cfg *cfg, const avs_build *b, avs_swin_cfg *swin)
{
    if (avs_cfg_is(cfg, "backbone", "swin_custom")) {
        *swin = (avs_swin_cfg){.patch = (int)avs_cfg_int(cfg, "backbone_patch_size"),
                               .dim = (int)avs_cfg_int(cfg, "backbone_embed_dim"),
                               .window = (int)avs_cfg_int(cfg, "backbone_window_size"),
                               .mlp_ratio = (float)avs_cfg_num(cfg, "backbone_mlp_ratio")};
        read_four(cfg, "backbone_depths", swin->depth);
        read_four(cfg, "backbone_num_heads", swin->heads);
    } else if (!avs_swin_named(avs_cfg_str(cfg, "backbone"), swin)) {
        return false;
    }
    swin->adapter = !avs_cfg_is(cfg, "backbone_adapter", "off");
    swin->drop_path = b->training ? (float)avs_cfg_num(cfg, "drop_path") : 0.F;
    swin->tap_windows = b->with_reference_taps;
    return true;
}

static void backbone(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_val frames, avs_val f[4])
{
    avs_swin_cfg swin;
    avs_scope_push(g, "model.model.pixel_level_module.encoder");
    if (swin_of(cfg, b, &swin))
        avs_swin(g, &swin, frames, f);
    else
        avs_backbone(g, avs_cfg_str(cfg, "backbone"), frames,
                     b->training ? (float)avs_cfg_num(cfg, "drop_path") : 0.F, f);
    avs_scope_pop(g);
}

avs_val avs_aavs_scores(avs_graph *g, avs_val classes, avs_val masks, int size)
{
    if (!classes || !masks) return 0;
    const int R = avs_dim(g, classes, 0), K = avs_dim(g, classes, 2) - 1;
    /* the second resize is linear and so may stand before the sum over the queries */
    avs_val m = avs_resize(g, masks, AVS_AAVS_MASK, AVS_AAVS_MASK, AVS_RESIZE_BILINEAR, false);
    m = avs_resize(g, avs_sigmoid(g, m), size, size, AVS_RESIZE_BILINEAR, false);
    avs_val p = avs_slice(g, avs_softmax(g, classes), 2, 0, K);
    avs_val s = avs_matmul(g, avs_nn_tokens(g, m), p, (avs_matmul_attr){0});
    return avs_reshape(g, s, AVS_F32T(R, size, size, K));
}

static int build(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_model_io *io, avs_err *e)
{
    avs_val f[4] = {0}, level[AVS_AAVS_LEVELS] = {0}, S = 0;
    avs_aavs_predictions *p = AVS_NEW(g->arena, avs_aavs_predictions);
    if (!p) return avs_fail(e, AVS_ENOMEM, "out of memory for predictions");
    io->frames = avs_input(g, "frames", AVS_F32T(b->rows, b->height, b->width, 3));
    avs_val a = avs_aavs_audio(g, cfg, avs_model_vggish(g, b, io));
    if (avs_cfg_is(cfg, "stage", "two")) {
        const int h = b->mask_height ? b->mask_height : AVS_AAVS_SIZE,
                  w = b->mask_width ? b->mask_width : AVS_AAVS_SIZE;
        S = avs_reshape(g, avs_input(g, "stage1_mask", AVS_F32T(b->rows, h, w)), AVS_F32T(b->rows, h, w, 1));
    }
    backbone(g, cfg, b, io->frames, f);
    avs_val E = avs_aavs_pixel_decoder(g, cfg, f, level);
    avs_aavs_decoder(g, cfg, level, E, a, S, p);
    avs_val e_last = p->embedding[p->n - 1];
    if (p->E && e_last) { /* the last mask once more, queries last, as resizing wants it */
        avs_val z = avs_matmul(g, avs_nn_tokens(g, p->E), e_last, (avs_matmul_attr){.tb = 1});
        z = avs_nn_map(g, z, avs_dim(g, p->E, 1), avs_dim(g, p->E, 2));
        io->logits = avs_tap(g, "/post.logits", avs_aavs_scores(g, p->classes[p->n - 1], z, AVS_AAVS_SIZE));
        if (!b->training) avs_graph_output(g, "logits", io->logits);
    }
    if (b->with_loss) avs_aavs_losses(g, cfg, b, p, io);
    return avs_graph_check(g, e);
}

/* The published recipe: queries, adapters, class predictor, audio; the backbone's adapters in phase two. Stage two keeps
 * the object queries. Without freeze_backbone everything trains. */
static bool trains(const avs_cfg *cfg, int phase, const char *key)
{
    static const char *const words[] = {"queries_embedder", "avs_adapt",     "class_predictor", "audio_proj",
                                        "audio_embed",      "silence_embed", "uncertain_embed"};
    if (strstr(key, "swin_adapt")) return phase > 1 || avs_cfg_is(cfg, "backbone_adapter", "always");
    if (!avs_cfg_bool(cfg, "freeze_backbone") || !strncmp(key, "vggish.", 7)) return true;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(key, words[i])) return true;
    return !avs_cfg_is(cfg, "stage", "two") && strstr(key, "queries_features");
}

const avs_model_rule avs_aavs_rule = {.name = "aavs",
                                      .build = build,
                                      .backbone_prefix = "model.model.pixel_level_module.encoder.",
                                      .audio_prefix = "vggish.",
                                      .adapters = "*.swin_adapt_*",
                                      .trains = trains,
                                      .whole_checkpoint = "swin*"};
