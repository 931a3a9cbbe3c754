/* Weight files of either kind, and how their keys meet those of a model.
 *
 * A file is safetensors or a checkpoint of torch.save, told apart by its content. Its keys are renamed by the rules of
 * models/key_rules.h, then compared with what the model wants; every difference is either allowed by a rule or an error,
 * and a report lists them. Memory of a match belongs to the arena given. */
#ifndef AVS_WORKERS_WEIGHTS_H
#define AVS_WORKERS_WEIGHTS_H

#include "engine/plan/plan.h"
#include "engine/tensor/pth.h"
#include "models/key_rules.h"

/* key: of a mapping inside a .pth (NULL: the usual one). info may be NULL; its container is "safetensors" for those.
 * Errors name the file; AVS_EPARSE what is neither, AVS_ERANGE a key for safetensors, others of the readers. */
int avs_weights_open(avs_st_file *f, const char *path, const char *key, avs_pth_info *info, avs_err *e);

typedef struct {
    const char *key; /* as the model says it, `prefix` included */
    avs_type type;
} avs_weights_want;

typedef struct {
    const char *path;          /* for messages */
    const char *part;          /* for the rules: "resnet50", "vggish", "avesformer" */
    const char *prefix;        /* of the part inside the model ("backbone."), "" for a whole model */
    const avs_key_rule *extra; /* rules of the user, before the table's; may be NULL */
    int n_extra;
    bool exact; /* no training follows: rules of AVS_KEY_SHAPE do not count */
} avs_weights_cfg;

typedef struct {
    const char **name; /* per tensor of the file: its key after renaming; NULL: it does not count */
    const avs_st_tensor **source;         /* per want; NULL: keeps its value */
    int n_taken, n_resized;               /* the second are part of the first */
    int n_missing, n_unexpected, n_shape; /* not allowed by any rule */
    const char *report;                   /* lines, each ended by a newline */
} avs_weights_match;

/* Keys after renaming alone. AVS_ERANGE if two become the same. */
int avs_weights_rename(avs_arena *a, const avs_st_file *f, const avs_weights_cfg *cfg, bool with_table,
                       avs_weights_match *m, avs_err *e);
/* A file of a whole model serves one of its parts too: then its keys below cfg->prefix, or below the prefix of a rule
 * AVS_KEY_INSIDE, count alone. AVS_ESHAPE if a difference is not in the rules (m->report has the first 20 of each kind),
 * AVS_EMISSING if nothing at all would be taken. */
int avs_weights_compare(avs_arena *a, const avs_st_file *f, const avs_weights_cfg *cfg,
                        const avs_weights_want *want, int n, avs_weights_match *m, avs_err *e);
/* The value of a want from its source: F32 in canonical layout, interpolated where the extents differ. out holds
 * avs_type_count(&want->type) floats. */
int avs_weights_value(const avs_st_tensor *source, const avs_weights_want *want, float *out, avs_err *e);
/* Opens the file and gives every parameter of the plan below cfg->prefix its value; prints the report to `log` (may be
 * NULL), all of it on failure and one line on success. On failure no parameter was changed, but for lack of memory. */
int avs_weights_load(avs_plan *p, const avs_weights_cfg *cfg, FILE *log, avs_err *e);

#endif
