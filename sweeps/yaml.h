/* YAML 1.2 (core schema) with the place of every node, read from libyaml's events.
 *
 * Refused with a diagnostic: text that is no UTF-8, tabs, tags, duplicate keys, keys that are no scalars, unknown
 * aliases, aliases that grow the document above a million nodes, nesting deeper than 64 (checked at each start event
 * before anything else: libyaml takes quadratic time in the depth of flow collections), several documents, files over
 * 16 MiB. `yes`, `no`, `on`, `off` are strings, `1e-4` is a float.
 * Ownership: nodes and strings belong to the arena. Aliased nodes are shared, not copied. */
#ifndef AVS_SWEEPS_YAML_H
#define AVS_SWEEPS_YAML_H

#include "base/json.h"
#include "sweeps/diag.h"

enum { AVS_YAML_DEPTH = 64, AVS_YAML_NODES = 1000000, AVS_YAML_BYTES = 16 << 20 };

typedef enum { AVS_Y_NULL, AVS_Y_BOOL, AVS_Y_INT, AVS_Y_FLOAT, AVS_Y_STR, AVS_Y_SEQ, AVS_Y_MAP } avs_ykind;

typedef struct avs_ynode {
    avs_ykind kind;
    avs_pos pos;
    bool plain;    /* scalar without quotes                                             */
    const char *s; /* text of a scalar as written (without quotes); "" for collections  */
    size_t len;
    bool b;
    int64_t i;  /* INT                                                               */
    double d;   /* INT and FLOAT                                                     */
    uint32_t n; /* SEQ: items; MAP: pairs                                            */
    struct avs_ynode **keys, **items;
    uint32_t size, height; /* nodes below and including this one with aliases expanded; levels */
} avs_ynode;

/* NULL after at least one error in d (or d->no_memory). An empty text gives a NULL-kind node. */
avs_ynode *avs_yaml_parse(avs_arena *a, const avs_source *src, avs_diag *d);

/* Look-ups accept NULL and other kinds. */
avs_ynode *avs_yaml_get(const avs_ynode *map, const char *key);
avs_ynode *avs_yaml_key(const avs_ynode *map, const char *key); /* the key's own node, for its place */
const char *avs_yaml_kind(const avs_ynode *n);                  /* "a list", "a string", .. for messages */

/* Maps deep-merge, everything else of `over` replaces. Either may be NULL. NULL only when memory is out. */
avs_ynode *avs_yaml_merge(avs_arena *a, avs_ynode *base, avs_ynode *over);
avs_ynode *avs_yaml_map(avs_arena *a, const char *key, avs_pos pos, avs_ynode *item); /* {key: item} */
avs_json *avs_yaml_json(avs_arena *a, const avs_ynode *n);

/* Gives a scalar the kind that its plain text has in the core schema. */
void avs_yaml_resolve(avs_ynode *n);

#endif
