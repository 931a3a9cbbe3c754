/* The table, and the matching of its patterns. */
#include "models/key_rules.h"

#include <stddef.h>

// clang-format off
static const avs_key_rule RULES[] = {
    {"*",            AVS_KEY_RENAME,      "module.",                                 "", "DataParallel puts it in front of every key"},
    {"*",            AVS_KEY_UNEXPECTED,  "*num_batches_tracked",                    "", "counts steps of BatchNorm, used by no formula here"},
    {"*",            AVS_KEY_UNEXPECTED,  "opt.m.*",                                 "", "optimiser state of a resumable checkpoint"},
    {"*",            AVS_KEY_UNEXPECTED,  "opt.v.*",                                 "", "optimiser state of a resumable checkpoint"},
    {"resnet*",      AVS_KEY_UNEXPECTED,  "fc.*",                                    "", "ImageNet classifier"},
    {"resnet50",     AVS_KEY_FROM,        "layer3_1.",                               "layer3.", "tpavi and avsegformer hold the upper stages twice"},
    {"resnet50",     AVS_KEY_FROM,        "layer3_2.",                               "layer3.", "tpavi and avsegformer hold the upper stages twice"},
    {"resnet50",     AVS_KEY_FROM,        "layer4_1.",                               "layer4.", "tpavi and avsegformer hold the upper stages twice"},
    {"resnet50",     AVS_KEY_FROM,        "layer4_2.",                               "layer4.", "tpavi and avsegformer hold the upper stages twice"},
    {"pvt_v2*",      AVS_KEY_UNEXPECTED,  "head.*",                                  "", "ImageNet classifier"},
    {"seaformer*",   AVS_KEY_UNEXPECTED,  "linear.*",                                "", "ImageNet classifier"},
    {"mobilenet*",   AVS_KEY_UNEXPECTED,  "classifier.*",                            "", "ImageNet classifier"},
    {"mobilenet*",   AVS_KEY_MISSING,     "embed.*",                                 "", "our projection behind the features, not in torchvision"},
    {"swin*",        AVS_KEY_INSIDE,      "model.pixel_level_module.encoder.",       "", "Mask2Former of transformers"},
    {"swin*",        AVS_KEY_INSIDE,      "swin.",                                   "", "image classifiers of transformers"},
    {"swin*",        AVS_KEY_UNEXPECTED,  "layernorm.*",                             "", "norm in front of the classifier"},
    {"swin*",        AVS_KEY_UNEXPECTED,  "*relative_position_index",                "", "follows from the size of the window"},
    {"swin*",        AVS_KEY_MISSING,     "hidden_states_norms.*",                   "", "norms of the outputs, not in image classifiers"},
    {"swin*",        AVS_KEY_MISSING,     "*swin_adapt_*",                           "", "adapters, not in public checkpoints"},
    {"sam_vit*",     AVS_KEY_INSIDE,      "image_encoder.",                          "", "Segment Anything"},
    {"sam_vit*",     AVS_KEY_RESIZE,      "pos_embed",                               "", "grid of 64x64 positions to the grid of the input"},
    {"sam_vit*",     AVS_KEY_RESIZE,      "blocks.*.attn.rel_pos_h",                 "", "127 relative rows to twice the grid less one"},
    {"sam_vit*",     AVS_KEY_RESIZE,      "blocks.*.attn.rel_pos_w",                 "", "127 relative columns to twice the grid less one"},
    {"vggish",       AVS_KEY_UNEXPECTED,  "pproc.*",                                 "", "post-processing of torchvggish, not part of the encoder"},
    {"avesformer*",  AVS_KEY_MISSING,     "vggish.*",                                "", "checkpoints leave the frozen audio encoder to audio_weights"},
    {"avesformer*",  AVS_KEY_UNEXPECTED,  "vggish.*",                                "", "the model trains on cached features and holds no encoder"},
    {"avesformer",   AVS_KEY_SHAPE,       "mask_head.fc.2.weight",                   "", "num_classes differs between tasks"},
    {"avesformer_mini", AVS_KEY_SHAPE,    "mask_head.fc.*",                          "", "num_classes differs between tasks"},
    {"avesformer*",  AVS_KEY_SHAPE,       "generator.query",                         "", "num_queries differs; the learnable queries start anew"},
    {"avesformer*",  AVS_KEY_SHAPE,       "mask_head.mlp.0.weight",                  "", "num_queries differs; takes one map per query"},
    {"sa*/sam_vit*",  AVS_KEY_RESIZE,      "image_encoder.pos_embed",                 "", "grid of 64x64 positions to the grid of the input"},
    {"sa*/sam_vit*",  AVS_KEY_RESIZE,      "image_encoder.blocks.*.attn.rel_pos_h",   "", "127 relative rows to twice the grid less one"},
    {"sa*/sam_vit*",  AVS_KEY_RESIZE,      "image_encoder.blocks.*.attn.rel_pos_w",   "", "127 relative columns to twice the grid less one"},
    {"sa*/sam_vit*",  AVS_KEY_MISSING,     "vggish.*",                                "", "the frozen audio encoder has a file of its own"},
    {"save/sam_vit*", AVS_KEY_MISSING,     "image_encoder.blocks.*.Adapter.*",        "", "image adapters, not in public checkpoints"},
    {"save/sam_vit*", AVS_KEY_MISSING,     "audio_adapter.*",                         "", "audio adapters, not in public checkpoints"},
    {"sama/sam_vit*", AVS_KEY_MISSING,     "image_encoder.prompt_generator.*",        "", "audio adapters, not in public checkpoints"},
    {"sama/sam_vit*", AVS_KEY_MISSING,     "pe_layer.*",                              "", "drawn anew, as the reference does, without load_prompt_embedding"},
    {"sama/sam_vit*", AVS_KEY_MISSING,     "no_mask_embed.*",                         "", "drawn anew, as the reference does, without load_prompt_embedding"},
    {"sama/sam_vit*", AVS_KEY_UNEXPECTED,  "prompt_encoder.*",                        "", "the system has no prompt encoder"},
    {"save",          AVS_KEY_MISSING,     "vggish.*",                                "", "checkpoints leave the frozen audio encoder to audio_weights"},
    {"save",          AVS_KEY_UNEXPECTED,  "vggish.*",                                "", "the model trains on cached features and holds no encoder"},
    {"save",          AVS_KEY_RESIZE,      "image_encoder.pos_embed",                 "", "resolution differs"},
    {"save",          AVS_KEY_RESIZE,      "image_encoder.blocks.*.attn.rel_pos_h",   "", "resolution differs"},
    {"save",          AVS_KEY_RESIZE,      "image_encoder.blocks.*.attn.rel_pos_w",   "", "resolution differs"},
    {"sama",          AVS_KEY_MISSING,     "vggish.*",                                "", "checkpoints leave the frozen audio encoder to audio_weights"},
    {"sama",          AVS_KEY_UNEXPECTED,  "vggish.*",                                "", "the model trains on cached features and holds no encoder"},
    {"sama",          AVS_KEY_RESIZE,      "image_encoder.pos_embed",                 "", "resolution differs"},
    {"sama",          AVS_KEY_RESIZE,      "image_encoder.blocks.*.attn.rel_pos_h",   "", "resolution differs"},
    {"sama",          AVS_KEY_RESIZE,      "image_encoder.blocks.*.attn.rel_pos_w",   "", "resolution differs"},
    {"avsegformer",   AVS_KEY_MISSING,     "vggish.*",                                "", "checkpoints leave the frozen audio encoder to audio_weights"},
    {"avsegformer",   AVS_KEY_UNEXPECTED,  "vggish.*",                                "", "the model trains on cached features and holds no encoder"},
    {"avsegformer",   AVS_KEY_SHAPE,       "head.fc.4.weight",                        "", "num_classes differs between tasks"},
    {"avsegformer",   AVS_KEY_SHAPE,       "head.attn_fc.4.weight",                   "", "num_classes differs between tasks"},
    {"avsegformer",   AVS_KEY_SHAPE,       "head.learnable_query.weight",             "", "num_queries differs; the learnable queries start anew"},
    {"avsegformer",   AVS_KEY_SHAPE,       "head.query_generator.query.weight",       "", "num_queries differs; the learnable queries start anew"},
    {"avsegformer",   AVS_KEY_SHAPE,       "head.mlp.layers.0.weight",                "", "num_queries differs; takes one map per query"},
    {"lightavseg",   AVS_KEY_MISSING,     "audio.*",                                 "", "checkpoints leave the frozen audio encoder to audio_weights"},
    {"lightavseg",   AVS_KEY_UNEXPECTED,  "audio.*",                                 "", "the model trains on cached features and holds no encoder"},
    {"lightavseg",   AVS_KEY_SHAPE,       "head_cls.*",                              "", "num_classes differs between tasks"},
    {"tpavi",        AVS_KEY_MISSING,     "vggish.*",                                "", "checkpoints leave the frozen audio encoder to audio_weights"},
    {"tpavi",        AVS_KEY_UNEXPECTED,  "vggish.*",                                "", "the model trains on cached features and holds no encoder"},
    {"tpavi",        AVS_KEY_SHAPE,       "output_conv.4.*",                         "", "num_classes differs between tasks"},
    {"tpavi",        AVS_KEY_UNEXPECTED,  "tpavi_b*.align_channel.bias",             "", "avss has none"},
    {"aavs", AVS_KEY_MISSING, "vggish.*", "", "checkpoints leave the frozen audio encoder to audio_weights"},
    {"aavs", AVS_KEY_UNEXPECTED, "vggish.*", "", "the model trains on cached features and holds no encoder"},
    {"aavs", AVS_KEY_UNEXPECTED, "*relative_position_index", "", "follows from the size of the window"},
    {"aavs", AVS_KEY_UNEXPECTED, "model.criterion.empty_weight", "", "follows from no_object_weight"},
    {"aavs", AVS_KEY_SHAPE, "model.class_predictor.*", "", "num_classes differs between stages"},
    {"aavs", AVS_KEY_SHAPE, "model.model.transformer_module.queries_*.weight", "", "num_queries differs between stages"},
    {"aavs", AVS_KEY_MISSING, "model.model.transformer_module.audio_embed.weight", "", "states of keys, not in stage one"},
    {"aavs", AVS_KEY_UNEXPECTED, "model.model.transformer_module.audio_embed.weight", "", "states of keys, not in stage one"},
    {"aavs", AVS_KEY_MISSING, "model.model.transformer_module.silence_embed.weight", "", "states of keys, not in stage one"},
    {"aavs", AVS_KEY_UNEXPECTED, "model.model.transformer_module.silence_embed.weight", "", "states of keys, not in stage one"},
    {"aavs", AVS_KEY_MISSING, "model.model.transformer_module.uncertain_embed.weight", "", "states of keys, not in stage one"},
    {"aavs", AVS_KEY_UNEXPECTED, "model.model.transformer_module.uncertain_embed.weight", "", "states of keys, not in stage one"},
    {"aavs/swin*", AVS_KEY_RENAME, "model.", "model.model.", "Mask2Former of transformers"},
    {"aavs/swin*", AVS_KEY_RENAME, "class_predictor.", "model.class_predictor.", "Mask2Former of transformers"},
    {"aavs/swin*", AVS_KEY_UNEXPECTED, "criterion.*", "", "follows from no_object_weight"},
    {"aavs/swin*", AVS_KEY_UNEXPECTED, "*relative_position_index", "", "follows from the size of the window"},
    {"aavs/swin*", AVS_KEY_SHAPE, "model.class_predictor.*", "", "num_classes differs from that of ADE20K"},
    {"aavs/swin*", AVS_KEY_SHAPE, "model.model.transformer_module.queries_*.weight", "", "num_queries may differ; the queries start anew"},
    {"aavs/swin*", AVS_KEY_MISSING, "audio_proj.*", "", "audio projection, not in Mask2Former"},
    {"aavs/swin*", AVS_KEY_MISSING, "*avs_adapt*", "", "adapters, not in Mask2Former"},
    {"aavs/swin*", AVS_KEY_MISSING, "*swin_adapt_*", "", "adapters, not in Mask2Former"},
    {"aavs/swin*", AVS_KEY_MISSING, "model.model.transformer_module.audio_embed.weight", "", "states of keys, not in Mask2Former"},
    {"aavs/swin*", AVS_KEY_MISSING, "model.model.transformer_module.silence_embed.weight", "", "states of keys, not in Mask2Former"},
    {"aavs/swin*", AVS_KEY_MISSING, "model.model.transformer_module.uncertain_embed.weight", "", "states of keys, not in Mask2Former"},
    {"aavs/swin*", AVS_KEY_MISSING, "vggish.*", "", "the frozen audio encoder has a file of its own"},
};
// clang-format on

const avs_key_rule *avs_key_rules(int *n)
{
    *n = (int)(sizeof RULES / sizeof *RULES);
    return RULES;
}

/* Greedy with one point of return: the last star. Time is at most the product of the lengths. */
bool avs_key_matches(const char *pattern, const char *key)
{
    const char *star = NULL, *again = NULL;
    while (*key) {
        if (*pattern == '*') {
            star = pattern++;
            again = key;
        } else if (*pattern == *key) {
            pattern++;
            key++;
        } else if (star) {
            pattern = star + 1;
            key = ++again;
        } else {
            return false;
        }
    }
    while (*pattern == '*') pattern++;
    return !*pattern;
}
