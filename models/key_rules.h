/* Which keys of a weight file may differ from those of the model: one table for all models and backbones.
 *
 * Builders use the keys of the reference implementations, so a file fits as it is but for the rules here. Loading fails on
 * every difference that no rule allows. docs/weights.md shows the table for readers. */
#ifndef AVS_MODELS_KEY_RULES_H
#define AVS_MODELS_KEY_RULES_H

#include <stdbool.h>

/* Patterns hold for keys below the part's own prefix: "fc.*", not "backbone.fc.*". */
typedef enum {
    AVS_KEY_RENAME, /* a key of the file that begins with `key` begins with `to` instead                      */
    AVS_KEY_FROM, /* a key of the model that begins with `key` takes what the file has under `to`, if not its own */
    AVS_KEY_INSIDE, /* files of a larger model hold this part below the prefix `key`: nothing else of them counts */
    AVS_KEY_UNEXPECTED, /* pattern of keys of the file that the model has no use for                              */
    AVS_KEY_MISSING, /* pattern of keys that the file may lack, all of them together: they keep their values   */
    AVS_KEY_SHAPE, /* pattern of keys whose extents may differ where training goes on: they keep their values */
    AVS_KEY_RESIZE /* pattern of position tables that are interpolated to the model's extents                */
} avs_key_rule_kind;

typedef struct {
    const char *
        part; /* pattern of what is loaded: a backbone ("resnet50", "vggish"), a model ("avesformer"), or the network
                * that a model extends ("save/sam_vit_b") */
    avs_key_rule_kind kind;
    const char *key, *to; /* to: of RENAME and FROM, else "" */
    const char *why;
} avs_key_rule;

/* In the order of application. */
const avs_key_rule *avs_key_rules(int *n);
/* Patterns: `*` stands for any number of any characters, all else for itself. */
bool avs_key_matches(const char *pattern, const char *key);

#endif
