/* Parameter schemas: the single source for names, types, ranges, defaults and help of every option a user may
 * write.
 *
 * One declarative table per model plus the common ones (problem, training, evaluation, latency). Used for
 * validation, did-you-mean, `avsweep show --schema`, documentation and the canonical configuration that is
 * hashed. Includes base alone, so that the orchestrator can link it without the engine.
 *
 * A resolved configuration (avs_cfg) holds every active parameter of one model with its final value: defaults
 * filled in
 * (`auto` and task defaults resolved), inactive parameters dropped. Its canonical JSON is avs_cfg_json.
 * Ownership: everything belongs to the arena passed in. */
#ifndef AVS_MODELS_SCHEMA_H
#define AVS_MODELS_SCHEMA_H

#include <stdbool.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

typedef enum {
    AVS_P_BOOL,
    AVS_P_INT,
    AVS_P_FLOAT,
    AVS_P_CHOICE,
    AVS_P_STRING,
    AVS_P_SIZE, /* int, or [height, width]      */
    AVS_P_INT_LIST,
    AVS_P_INT_OR_LIST
} avs_ptype;

/* What a parameter is for decides the kinds of trial in which it is active. `noop` has those of `train`. */
typedef enum {
    AVS_G_MODEL,      /* every kind                                            */
    AVS_G_TRAINING,   /* train                                                 */
    AVS_G_EVALUATION, /* train, eval                                           */
    AVS_G_LATENCY,    /* latency                                               */
    AVS_G_SIZES       /* every kind, only with a `_custom` backbone            */
} avs_pgroup;

typedef struct {
    const char *name;
    avs_ptype type;
    double min, max;      /* INT, FLOAT, SIZE and list elements        */
    const char *choices;  /* CHOICE: "s4|ms3|avss"                     */
    const char *fallback; /* default as text; NULL: required; "auto": by the rules of schema_rules.c */
    const char *serves;   /* published table whose rows differ in it, or "-" */
    const char *help;     /* one line; says "our choice" where the papers leave it open */
    avs_pgroup group;
} avs_param_spec;

/* NULL-name terminated. model: "avesformer", ..; NULL if there is no such model. The list of one model is the
 * common tables followed by its own. */
const avs_param_spec *avs_schema_of(const char *model);
const avs_param_spec *avs_schema_find(const char *model, const char *name); /* NULL: no such parameter */
/* Names of all models, NULL-terminated. */
const char *const *avs_schema_models(void);
enum { AVS_SCHEMA_VERSION = 1 };

/* The schema as documentation. format: "text" (for a terminal), "md" (a Markdown table), "json" (one object).
 * AVS_EMISSING: no such model; AVS_ERANGE: no such format. */
int avs_schema_write(avs_buf *out, const char *model, const char *format, avs_err *e);

/* Whether the parameter stands alone: one value, which no rule of the model looks at, so that changing it changes the
 * resolved configuration in this one place. A sweep of a million points resolves the rest once (schema_free.c). */
bool avs_schema_is_free(const char *model, const char *name);
/* The value that a resolved configuration has where `given` is given for a free parameter. False when it would be
 * refused, or stands for something else (`auto`): then resolve as a whole. */
bool avs_schema_value(const avs_param_spec *spec, const avs_json *given, avs_json *out);

typedef struct avs_cfg avs_cfg;

typedef enum {
    AVS_P_UNKNOWN,  /* no such parameter in the model                                   */
    AVS_P_NO_MODEL, /* `model` is missing or names no model                             */
    AVS_P_TYPE,     /* a value of another type                                          */
    AVS_P_OPTION,   /* not one of the choices                                           */
    AVS_P_RANGE,    /* outside its range, or no multiple of what it must be             */
    AVS_P_MISSING,  /* required by another parameter                                    */
    AVS_P_INACTIVE, /* given, not the default, and switched off by another parameter    */
    AVS_P_CONFLICT, /* a rule between two parameters is broken                          */
    AVS_P_RESERVED  /* set elsewhere (seed)                                             */
} avs_problem_kind;

/* One problem found while resolving; key is the offending parameter, other the second of a pair (or NULL). */
typedef struct avs_problem {
    avs_problem_kind kind;
    const char *key, *other;
    const char *text, *help; /* help: "did you mean ..", may be NULL */
    struct avs_problem *next;
} avs_problem;

/* given: an object of parameter -> value (as JSON). kind: "train", "eval", "latency", "noop", or "exec", whose
 * parameters have any names (schema_exec.c); decides the
 * defaults that depend on it (frames 1 in latency). On AVS_EPARSE *problems lists everything that is wrong,
 * in order of the keys. */
int avs_cfg_resolve(avs_arena *a, const char *kind, const avs_json *given, avs_cfg **out,
                    avs_problem **problems, avs_err *e);
/* Parameters that belong to another kind of trial (batch in `latency`, latency_warmup in `train`) are checked and
 * dropped without a word, because the stages of a sweep share one base. */

/* The object {name: value, ..} of every active parameter, for the trial. Resolving it again gives the same. */
const avs_json *avs_cfg_json(const avs_cfg *c);
/* The same without data_root: what is hashed. */
const avs_json *avs_cfg_identity_json(const avs_cfg *c);
const char *avs_cfg_kind(const avs_cfg *c);
const avs_param_spec *avs_cfg_specs(const avs_cfg *c);

/* Getters. Asking for a name that the model's schema does not have is a bug of ours (assert); an inactive
 * parameter gives its default. */
bool avs_cfg_has(const avs_cfg *c, const char *name); /* active and present */
int64_t avs_cfg_int(const avs_cfg *c, const char *name);
double avs_cfg_num(const avs_cfg *c, const char *name);
bool avs_cfg_bool(const avs_cfg *c, const char *name);
const char *avs_cfg_str(const avs_cfg *c, const char *name); /* CHOICE and STRING */
bool avs_cfg_is(const avs_cfg *c, const char *name, const char *value);
void avs_cfg_size(const avs_cfg *c, const char *name, int *h, int *w);
int avs_cfg_list(const avs_cfg *c, const char *name, const int64_t **items); /* number of items */

/* Nearest name of the list by Damerau-Levenshtein distance (at most 3 and less than half the length), or
 * NULL. */
const char *avs_nearest(const char *word, const char *const *names, int n);

#endif
