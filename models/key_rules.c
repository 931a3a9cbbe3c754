/* The table, and the matching of its patterns. */
#include "models/key_rules.h"

#include <stddef.h>

// clang-format off
static const avs_key_rule RULES[] = {
    {"*",            AVS_KEY_RENAME,     "module.",               "", "DataParallel puts it in front of every key"},
    {"*",            AVS_KEY_UNEXPECTED, "*num_batches_tracked",  "", "counts steps of BatchNorm, used by no formula here"},
    {"resnet*",      AVS_KEY_UNEXPECTED, "fc.*",                  "", "ImageNet classifier"},
    {"pvt_v2*",      AVS_KEY_UNEXPECTED, "head.*",                "", "ImageNet classifier"},
    {"swin*",        AVS_KEY_UNEXPECTED, "head.*",                "", "ImageNet classifier"},
    {"swin*",        AVS_KEY_UNEXPECTED, "*relative_position_index", "", "follows from the window's size"},
    {"swin*",        AVS_KEY_UNEXPECTED, "*attn_mask",            "", "follows from the map's size"},
    {"mobilenet*",   AVS_KEY_UNEXPECTED, "classifier.*",          "", "ImageNet classifier"},
    {"vggish",       AVS_KEY_UNEXPECTED, "pproc.*",               "", "post-processing of torchvggish, not part of the encoder"},
    {"avesformer*",  AVS_KEY_UNEXPECTED, "opt.*",                 "", "optimiser state of a resumable checkpoint"},
    {"avesformer*",  AVS_KEY_MISSING,    "vggish.*",              "", "checkpoints leave the frozen audio encoder to audio_weights"},
    {"avesformer*",  AVS_KEY_UNEXPECTED, "vggish.*",              "", "the model trains on cached features and holds no encoder"},
    {"avesformer",   AVS_KEY_SHAPE,      "mask_head.fc.2.weight", "", "num_classes differs between tasks"},
    {"avesformer*",  AVS_KEY_SHAPE,      "generator.query",       "", "num_queries differs; the learnable queries start anew"},
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
