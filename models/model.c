/* The systems that are built in, by name. */
#include "models/model.h"

#include <string.h>

#include "models/avesformer.h"
#include "models/avesformer_mini.h"

static const avs_model_rule *const rules[] = {&avs_avesformer_rule, &avs_avesformer_mini_rule};

const avs_model_rule *avs_model_find(const char *name)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (!strcmp(rules[i]->name, name)) return rules[i];
    return NULL;
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
    if (!avs_cfg_is(cfg, "audio_backbone", "vggish") || !avs_cfg_bool(cfg, "freeze_audio_backbone"))
        return false;
    *prefix = "vggish.";
    *width = 128;
    return true;
}
