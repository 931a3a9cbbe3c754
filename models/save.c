/* SAVE and SAMA-AVS: SAM's image encoder hears through a vector that is added to all tokens before every block, and SAM's
 * mask decoder draws the first of its masks from an audio token (SAVE) or from no prompt at all (SAMA). Frames never mix.
 *
 * SAVE's audio adapters: s_i = s_{i-1} + MLP_i(s_{i-1}) from the VGGish feature on (each MLP_i(feature) alone without
 * audio_residual); block i gets inject(s_i), the decoder prompt(s_last). SAMA's: shared_mlp(GELU(lightweight_mlp_i(feature))).
 * No public code of SAVE is known; docs/models.md says what is the paper's and what is ours. */
#include "models/save.h"

#include <string.h>

#include "models/backbones/sam_vit.h"
#include "models/layers.h"
#include "models/losses.h"
#include "models/sam.h"

enum { FEATURE = 128, MAX_DEPTH = 128 };

/* ---------------------------------------------------------------- configuration */

static int read_encoder(avs_graph *g, const avs_cfg *cfg, avs_sam_vit_cfg *vit)
{
    const int64_t *list;
    const bool is_named = avs_sam_vit_named(avs_cfg_str(cfg, "backbone"), vit);
    if (!is_named) {
        (void)avs_sam_vit_named("sam_vit_b", vit);
        vit->patch = (int)avs_cfg_int(cfg, "backbone_patch_size");
        vit->dim = (int)avs_cfg_int(cfg, "backbone_embed_dim");
        vit->window = (int)avs_cfg_int(cfg, "backbone_window_size");
        vit->mlp_ratio = (float)avs_cfg_num(cfg, "backbone_mlp_ratio");
        const int depths = avs_cfg_list(cfg, "backbone_depths", &list);
        if (depths == 1) vit->depth = (int)list[0];
        const int heads = avs_cfg_list(cfg, "backbone_num_heads", &list);
        if (heads == 1) vit->heads = (int)list[0];
        vit->n_global = avs_cfg_list(cfg, "backbone_global_blocks", &list);
        if (depths != 1 || heads != 1 || vit->n_global > AVS_SAM_GLOBALS || vit->dim % vit->heads) {
            avs_graph_fail(g, AVS_ERANGE,
                           "SAM has one stage: backbone_depths and backbone_num_heads are one number each, "
                           "the width %d is a multiple of the heads, and at most %d blocks are global",
                           vit->dim, AVS_SAM_GLOBALS);
            return AVS_ERANGE;
        }
        for (int i = 0; i < vit->n_global; i++) vit->global_block[i] = (int)list[i];
    }
    vit->out = (int)avs_cfg_int(cfg, "embed_dim");
    return AVS_OK;
}

static avs_sam_cfg read_decoder(const avs_cfg *cfg)
{
    return (avs_sam_cfg){.dim = (int)avs_cfg_int(cfg, "embed_dim"),
                         .heads = (int)avs_cfg_int(cfg, "num_heads"),
                         .layers = (int)avs_cfg_int(cfg, "num_decoder_layers"),
                         .mlp_dim = (int)avs_cfg_int(cfg, "ffn_dim"),
                         .iou_hidden = (int)avs_cfg_int(cfg, "iou_hidden_dim"),
                         .mask_channels = (int)avs_cfg_int(cfg, "mask_channels")};
}

/* ---------------------------------------------------------------- sound */

/* [R,128] -> [R,1,out] */
static avs_val as_token(avs_graph *g, avs_val x, const char *name, int out)
{
    avs_val y = avs_nn_linear(g, x, name, out, true, AVS_NN_TRUNC02);
    return y ? avs_reshape(g, y, AVS_F32T(avs_dim(g, y, 0), 1, out)) : 0;
}

/* inject[i] for every block and *prompt, each 0 where the configuration leaves it out. */
static void save_audio(avs_graph *g, const avs_cfg *cfg, avs_val feature, const avs_sam_vit_cfg *vit,
                       avs_val *inject, avs_val *prompt)
{
    const bool chained = avs_cfg_bool(cfg, "audio_residual");
    const int hidden = (int)avs_cfg_int(cfg, "audio_hidden_dim");
    avs_val state = feature;
    avs_scope_push(g, "audio_adapter");
    for (int i = 0; i < vit->depth; i++) {
        avs_scope_push(g, "mlps.%d", i);
        avs_val y = avs_nn_linear(g, chained ? state : feature, "lin1", hidden, true, AVS_NN_TRUNC02);
        y = avs_nn_linear(g, avs_gelu(g, y), "lin2", FEATURE, true, AVS_NN_TRUNC02);
        avs_scope_pop(g);
        state = chained ? avs_add(g, state, y) : y;
        avs_nn_tap(g, state, "/audio.state%d", i);
        inject[i] = as_token(g, state, "inject", vit->dim);
    }
    avs_tap(g, "/audio.inject0", inject[0]);
    *prompt = as_token(g, state, "prompt", vit->out);
    avs_tap(g, "/audio.prompt", *prompt);
    avs_scope_pop(g);
    if (!avs_cfg_bool(cfg, "audio_inject")) memset(inject, 0, (size_t)vit->depth * sizeof *inject);
    if (!avs_cfg_bool(cfg, "audio_prompt")) *prompt = 0;
}

static void sama_audio(avs_graph *g, const avs_cfg *cfg, avs_val feature, const avs_sam_vit_cfg *vit,
                       avs_val *inject)
{
    const int hidden = (int)avs_cfg_int(cfg, "audio_hidden_dim");
    char name[40];
    avs_scope_push(g, "image_encoder.prompt_generator");
    for (int i = 0; i < vit->depth; i++) {
        snprintf(name, sizeof name, "lightweight_mlp_%d.0", i);
        avs_val y = avs_gelu(g, avs_nn_linear(g, feature, name, hidden, true, AVS_NN_TRUNC02));
        inject[i] = as_token(g, y, "shared_mlp", vit->dim);
        avs_nn_tap(g, inject[i], "/prompt%d", i);
    }
    avs_scope_pop(g);
}

/* ---------------------------------------------------------------- the whole */

static void losses(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_model_io *io)
{
    avs_loss_sum sum = {0};
    avs_model_targets(g, cfg, b, io);
    avs_val prob = avs_foreground_prob(g, io->logits);
    avs_loss_add(g, &sum, "bce", avs_loss_bce(g, io->logits, io->target, io->row_weight),
                 avs_cfg_num(cfg, "bce_weight"));
    avs_loss_add(g, &sum, "iou", avs_loss_soft_iou(g, prob, io->target, io->row_weight, 0.F),
                 avs_cfg_num(cfg, "iou_weight"));
    io->loss = avs_tap(g, "loss:total", sum.total);
    avs_graph_output(g, "loss", io->loss);
}

/* From the image embedding to logits of the frame's size. gaussian and prompted: by the caller's keys. */
static void decode(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_model_io *io, avs_val image,
                   avs_val gaussian, const avs_sam_prompted *prompted)
{
    const avs_sam_cfg sam = read_decoder(cfg);
    avs_tap(g, "image_embedding", image);
    if (!image) return;
    const int G = avs_dim(g, image, 1);
    avs_val position = avs_sam_dense_position(g, gaussian, G);
    avs_tap(g, "dense_pe", avs_nn_map(g, position, G, G));
    avs_scope_push(g, "mask_decoder");
    const avs_sam_masks m = avs_sam_mask_decoder(g, &sam, image, position, prompted, (const int[]){0, 1}, "");
    avs_scope_pop(g);
    avs_tap(g, "mask_logits_low", m.masks);
    avs_tap(g, "iou", m.iou);
    io->logits = avs_resize(g, m.masks, b->height, b->width, AVS_RESIZE_BILINEAR, false);
    avs_tap(g, "mask_logits", io->logits);
    avs_graph_output(g, "logits", io->logits);
    if (b->with_loss) losses(g, cfg, b, io);
}

static avs_val encode(avs_graph *g, const avs_build *b, avs_model_io *io, const avs_sam_vit_cfg *vit)
{
    io->frames = avs_input(g, "frames", AVS_F32T(b->rows, b->height, b->width, 3));
    avs_scope_push(g, "image_encoder");
    avs_val image = avs_sam_vit(g, vit, io->frames);
    avs_scope_pop(g);
    return image;
}

static int build_save(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_model_io *io, avs_err *e)
{
    avs_sam_vit_cfg vit;
    avs_val inject[MAX_DEPTH] = {0};
    avs_sam_prompted prompted;
    if (read_encoder(g, cfg, &vit) != AVS_OK) return avs_graph_check(g, e);
    const avs_sam_cfg sam = read_decoder(cfg);
    avs_val prompt = 0, feature = avs_model_vggish(g, b, io);
    if (avs_cfg_bool(cfg, "audio_adapter")) save_audio(g, cfg, feature, &vit, inject, &prompt);
    vit.inject = inject;
    vit.adapter_ratio = avs_cfg_bool(cfg, "image_adapter") ? avs_cfg_num(cfg, "adapter_ratio") : 0;
    vit.adapter_zero = avs_cfg_bool(cfg, "image_adapter") && avs_cfg_bool(cfg, "adapter_zero_init");
    if (avs_cfg_bool(cfg, "freeze_prompt_encoder")) avs_graph_freeze(g, "prompt_encoder.");
    if (avs_cfg_bool(cfg, "freeze_mask_decoder")) avs_graph_freeze(g, "mask_decoder.");
    avs_val image = encode(g, b, io, &vit);
    avs_scope_push(g, "prompt_encoder");
    avs_val gaussian = avs_sam_gaussian(g, sam.dim);
    prompted = avs_sam_prompt_encoder(g, &sam, &(avs_sam_prompts){0}, gaussian, b->height);
    avs_scope_pop(g);
    prompted.sparse = prompt;
    decode(g, cfg, b, io, image, gaussian, &prompted);
    return avs_graph_check(g, e);
}

static int build_sama(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_model_io *io, avs_err *e)
{
    avs_sam_vit_cfg vit;
    avs_val inject[MAX_DEPTH] = {0};
    if (read_encoder(g, cfg, &vit) != AVS_OK) return avs_graph_check(g, e);
    const int E = vit.out;
    avs_val feature = avs_model_vggish(g, b, io);
    sama_audio(g, cfg, feature, &vit, inject);
    vit.inject = inject;
    if (avs_cfg_bool(cfg, "freeze_mask_decoder")) avs_graph_freeze(g, "mask_decoder.");
    avs_val image = encode(g, b, io, &vit);
    avs_val gaussian = avs_sam_gaussian(g, E);
    avs_val no_mask =
        avs_param(g, "no_mask_embed.weight", AVS_F32T(1, E), (avs_init){.kind = AVS_INIT_NORMAL, .a = 1.F});
    const avs_sam_prompted prompted = {.dense = avs_reshape(g, no_mask, AVS_F32T(1, 1, 1, E))};
    decode(g, cfg, b, io, image, gaussian, &prompted);
    return avs_graph_check(g, e);
}

/* ---------------------------------------------------------------- rules */

/* With load_prompt_embedding the two tensors that SAMA keeps at the top come from the checkpoint's prompt encoder. */
static const avs_key_rule *sama_weight_rules(const avs_cfg *cfg, int *n)
{
    static const avs_key_rule renamed[] = {
        {"*", AVS_KEY_RENAME, "prompt_encoder.pe_layer.", "pe_layer.", "kept at the top"},
        {"*", AVS_KEY_RENAME, "prompt_encoder.no_mask_embed.", "no_mask_embed.", "kept at the top"}};
    *n = avs_cfg_bool(cfg, "load_prompt_embedding") ? 2 : 0;
    return renamed;
}

const avs_model_rule avs_save_rule = {.name = "save",
                                      .build = build_save,
                                      .backbone_prefix = "image_encoder.",
                                      .audio_prefix = "vggish.",
                                      .adapters = "*.Adapter.*",
                                      .whole_checkpoint = "sam_vit*"};
const avs_model_rule avs_sama_rule = {.name = "sama",
                                      .build = build_sama,
                                      .backbone_prefix = "image_encoder.",
                                      .audio_prefix = "vggish.",
                                      .adapters = "image_encoder.prompt_generator.*",
                                      .whole_checkpoint = "sam_vit*",
                                      .weight_rules = sama_weight_rules};
