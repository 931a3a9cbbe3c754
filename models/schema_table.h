/* Between the files of the schema: the rules that are data beside the parameter tables, and the condition language
 * they share.
 *
 * A condition is a list of clauses separated by spaces, all of which must hold: `name=a|b`, `name!=a|b`, `name>=n`,
 * `name<n`. Names are parameters of the model, or `kind`. The empty condition holds. */
#ifndef AVS_MODELS_SCHEMA_TABLE_H
#define AVS_MODELS_SCHEMA_TABLE_H

#include "models/schema.h"

/* Defaults: where `when` holds, the defaults of `sets` ("name=value name=value") replace earlier ones; the last row
 * that matches wins. models: "a|b", or "*" for all. A value `N*name` is N times another parameter. */
typedef struct {
    const char *models, *when, *sets;
} avs_default_rule;
extern const avs_default_rule avs_default_rules[]; /* ends with models == NULL */

/* Inactivity: the parameters of `names` ("a b c") act only where `when` holds. */
typedef struct {
    const char *models, *when, *names;
} avs_active_rule;
extern const avs_active_rule avs_active_rules[];

/* Constraints: where `when` holds, `then` must hold. key and other are the two parameters that are named. */
typedef struct {
    const char *models, *when, *then, *key, *other, *text;
} avs_constraint_rule;
extern const avs_constraint_rule avs_constraint_rules[];

/* Multiples: key is a multiple of n, or of the value of the parameter `of` when n is 0. */
typedef struct {
    const char *models, *key;
    int n;
    const char *of;
} avs_multiple_rule;
extern const avs_multiple_rule avs_multiple_rules[];

bool avs_schema_lists(const char *models, const char *model); /* "a|b" or "*" */
/* Next "name=value" or name of a list separated by spaces; *at moves on. False at the end. */
bool avs_schema_word(const char **at, const char **word, size_t *len);

#endif
