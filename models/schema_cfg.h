/* Between the files of the schema: a configuration while it is being resolved, one slot per parameter. */
#ifndef AVS_MODELS_SCHEMA_CFG_H
#define AVS_MODELS_SCHEMA_CFG_H

#include "models/schema_table.h"

enum { AVS_CFG_MAX_LIST = 64, AVS_CFG_MAX_RULES = 64 };

typedef enum { AVS_SLOT_RAW, AVS_SLOT_BUSY, AVS_SLOT_DONE } avs_slot_state;

typedef struct {
    avs_slot_state state;
    bool given, bad, active, none; /* none: a required parameter without a value */
    int order;                     /* place among the given keys                 */
    int64_t i;                     /* BOOL, INT, SIZE (height)                   */
    double d;                      /* INT, FLOAT                                 */
    const char *s;                 /* CHOICE, STRING                             */
    const int64_t *list;           /* lists                                      */
    int n;                         /* items of a list; SIZE: width               */
} avs_slot;

struct avs_cfg {
    avs_arena *a;
    const char *model, *kind;
    const avs_param_spec *specs;
    avs_slot *slots;
    int n, n_given;
    avs_json *json, *identity;
    struct avs_ordered *problems;
    bool no_memory;
    int n_defaults, n_actives; /* rules of this model, so that each parameter looks at a dozen, not at all */
    const avs_default_rule *defaults[AVS_CFG_MAX_RULES];
    const avs_active_rule *actives[AVS_CFG_MAX_RULES];
};

typedef struct avs_ordered {
    int order;
    avs_problem p;
    struct avs_ordered *next;
} avs_ordered;

/* Notes a problem with a parameter; its slot is bad from then on. other, help: may be NULL. */
void avs_cfg_problem(avs_cfg *c, avs_problem_kind kind, const avs_param_spec *key, const char *other,
                     const char *text, const char *help);
/* The same for a key that is no parameter; order: its place among the given keys. */
void avs_cfg_problem_at(avs_cfg *c, avs_problem_kind kind, const char *key, int order, const char *other,
                        const char *text, const char *help);
int avs_cfg_find(const avs_cfg *c, const char *name, size_t len); /* index of a parameter, or -1 */
const char *avs_cfg_show(avs_arena *a, const avs_json *v);        /* a value in words, cut to 60 bytes */
/* schema_take.c: checks the given values and puts them into their slots. */
void avs_cfg_take_all(avs_cfg *c, const avs_json *given);
/* schema_exec.c: the same for kind exec, whose parameters have any names; makes the JSON too. */
void avs_cfg_take_exec(avs_cfg *c, const avs_json *given);

#endif
