/* The systems that are built in, by name. */
#include "models/model.h"

#include <string.h>

#include "models/aavs.h"
#include "models/avesformer.h"
#include "models/avesformer_mini.h"
#include "models/avsegformer.h"
#include "models/backbones/backbones.h"
#include "models/lightavseg.h"
#include "models/save.h"
#include "models/tpavi.h"

static const avs_model_rule *const rules[] = {
    &avs_avesformer_rule, &avs_avesformer_mini_rule, &avs_avsegformer_rule, &avs_save_rule,
    &avs_sama_rule,       &avs_lightavseg_rule,      &avs_tpavi_rule,       &avs_aavs_rule};

const avs_model_rule *avs_model_find(const char *name)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (!strcmp(rules[i]->name, name)) return rules[i];
    return NULL;
}

bool avs_model_takes_whole(const avs_model_rule *rule, const avs_cfg *cfg)
{
    return rule->whole_checkpoint && avs_key_matches(rule->whole_checkpoint, avs_cfg_str(cfg, "backbone"));
}

const char *avs_model_backbone_prefix(const avs_model_rule *rule, const avs_cfg *cfg)
{
    const bool is_pvt = !strncmp(avs_cfg_str(cfg, "backbone"), "pvt_v2", 6);
    return is_pvt && rule->pvt_prefix ? rule->pvt_prefix : rule->backbone_prefix;
}

avs_val avs_model_vggish(avs_graph *g, const avs_build *b, avs_model_io *io)
{
    avs_val feature;
    if (b->audio_input == AVS_AUDIO_FEATURE) {
        feature = io->audio = avs_input(g, "audio_feature", AVS_F32T(b->rows, 128));
    } else {
        io->audio = avs_input(g, "audio", AVS_F32T(b->rows, 96, 64, 1));
        avs_scope_push(g, "vggish");
        feature = avs_vggish(g, io->audio);
        avs_scope_pop(g);
    }
    return avs_tap(g, "vggish", feature);
}

avs_val avs_model_encoder(avs_graph *g, const avs_cfg *cfg, avs_val logmel)
{
    if (!avs_cfg_is(cfg, "audio_backbone", "mobilenet_v2")) return avs_vggish(g, logmel);
    if (avs_cfg_int(cfg, "audio_channels") == 3 && avs_dim(g, logmel, 3) == 1)
        logmel = avs_concat(g, (avs_val[]){logmel, logmel, logmel}, 3, 3);
    return avs_mobilenet_v2(g, logmel);
}

avs_val avs_model_mobilenet(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_model_io *io)
{
    if (b->audio_input == AVS_AUDIO_FEATURE)
        return io->audio = avs_input(g, "audio_feature", AVS_F32T(b->rows, 1024));
    io->audio = avs_input(g, "audio", AVS_F32T(b->rows, 96, 64, b->audio_channels == 3 ? 3 : 1));
    avs_scope_push(g, "audio");
    avs_val feature = avs_model_encoder(g, cfg, io->audio);
    avs_scope_pop(g);
    return feature;
}

void avs_model_targets(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_model_io *io)
{
    const avs_dtype dtype = avs_cfg_int(cfg, "num_classes") > 1 ? AVS_I32 : AVS_F32;
    io->target = avs_input(g, "target", AVS_TYPE(dtype, b->rows, b->height, b->width));
    io->row_weight = avs_input(g, "row_weight", AVS_F32T(b->rows));
}

bool avs_model_is_backbone(const avs_model_rule *rule, const char *key)
{
    const char *const prefix[2] = {rule->backbone_prefix, rule->pvt_prefix};
    bool is_under = false;
    for (int i = 0; i < 2; i++) is_under |= prefix[i] && !strncmp(key, prefix[i], strlen(prefix[i]));
    return is_under && !(rule->adapters && avs_key_matches(rule->adapters, key));
}

void avs_model_freeze(avs_graph *g, const avs_model_rule *rule, const avs_cfg *cfg, int phase)
{
    const char *frozen;
    int width;
    const bool freezes = avs_cfg_bool(cfg, "freeze_backbone");
    if (avs_model_frozen_audio(cfg, &frozen, &width)) avs_graph_freeze(g, frozen);
    for (uint32_t i = 1; i < g->n_v; i++) {
        if (g->v[i].kind != AVS_V_PARAM) continue;
        if (freezes && avs_model_is_backbone(rule, g->v[i].name)) g->v[i].is_frozen = 1;
        if (rule->trains && !rule->trains(cfg, phase, g->v[i].name)) g->v[i].is_frozen = 1;
    }
}

void avs_model_label_size(const avs_cfg *cfg, int *h, int *w)
{
    avs_cfg_size(cfg, "resolution", h, w);
    if (avs_cfg_is(cfg, "model", "aavs")) *h = *w = AVS_AAVS_SIZE;
}

bool avs_model_takes_masks(const avs_cfg *cfg)
{
    return avs_cfg_is(cfg, "model", "aavs") && avs_cfg_is(cfg, "stage", "two");
}

bool avs_model_is_binary(const avs_cfg *cfg)
{
    return avs_cfg_int(cfg, "num_classes") == 1 ||
           (avs_cfg_is(cfg, "model", "aavs") && avs_cfg_is(cfg, "stage", "one"));
}

bool avs_model_has_phases(const avs_cfg *cfg)
{
    return avs_cfg_is(cfg, "model", "aavs");
}

const avs_model_rule *avs_model_at(int i)
{
    return i >= 0 && i < (int)(sizeof rules / sizeof *rules) ? rules[i] : NULL;
}

void avs_model_normalisation(const avs_cfg *cfg, float mean[3], float std[3])
{
    static const float imagenet_mean[3] = {0.485F, 0.456F, 0.406F},
                       imagenet_std[3] = {0.229F, 0.224F, 0.225F};
    const bool mini = avs_cfg_is(cfg, "model", "avesformer_mini");
    for (int c = 0; c < 3; c++) {
        mean[c] = mini ? 0.45F : imagenet_mean[c];
        std[c] = mini ? 0.25F : imagenet_std[c];
    }
}

bool avs_model_frozen_audio(const avs_cfg *cfg, const char **prefix, int *width)
{
    const bool is_mobilenet = avs_cfg_is(cfg, "audio_backbone", "mobilenet_v2");
    if (!is_mobilenet && !avs_cfg_is(cfg, "audio_backbone", "vggish")) return false;
    if (!avs_cfg_bool(cfg, "freeze_audio_backbone")) return false;
    *prefix = is_mobilenet ? "audio." : "vggish.";
    *width = is_mobilenet ? 1024 : 128;
    return true;
}
