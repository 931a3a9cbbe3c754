/* Which keys of a weight file may differ from those of the model: one table for all models and backbones.
 *
 * Builders use the keys of the reference implementations, so a file fits as it is but for the rules here. Loading fails on
 * every difference that no rule allows. docs/models.md shows the table for readers. */
#ifndef AVS_MODELS_KEY_RULES_H
#define AVS_MODELS_KEY_RULES_H

#include <stdbool.h>

typedef enum {
    AVS_KEY_RENAME,     /* a key of the file that begins with `key` begins with `to` instead           */
    AVS_KEY_UNEXPECTED, /* a key of the file that the model has no use for; `key` is a pattern         */
    AVS_KEY_MISSING,    /* a key that the file may lack: the parameter keeps its value; a pattern      */
    AVS_KEY_SHAPE       /* a key whose extents may differ: the parameter keeps its value; a pattern    */
} avs_key_rule_kind;

typedef struct {
    const char
        *part; /* pattern of what is loaded: a backbone ("resnet50"), "vggish", or a model ("avesformer") */
    avs_key_rule_kind kind;
    const char *key, *to;
    const char *why;
} avs_key_rule;

/* In the order of application. */
const avs_key_rule *avs_key_rules(int *n);
/* Patterns: `*` stands for any number of any characters, all else for itself. */
bool avs_key_matches(const char *pattern, const char *key);

#endif
