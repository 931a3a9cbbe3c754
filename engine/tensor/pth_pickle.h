/* A pickle machine that builds data and never calls anything.
 *
 * It runs the opcodes that torch.save writes (protocols 2 to 5, also by Python 2) and builds a tree of nodes. Of all
 * globals it knows OrderedDict, the tensor rebuilders, the storage classes and torch.Size; any other name becomes an
 * OPAQUE node, which can be stored and built upon but is nothing else. Caps: stack 1M, memo 1M, 4M nodes, depth 64.
 * Ownership: nodes and strings belong to the arena. Every error names the byte of the file and the opcode. */
#ifndef AVS_ENGINE_TENSOR_PTH_PICKLE_H
#define AVS_ENGINE_TENSOR_PTH_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"

typedef enum {
    AVS_PK_NONE,
    AVS_PK_BOOL,  /* i                                                    */
    AVS_PK_INT,   /* i; a long beyond 64 bits has is_big                  */
    AVS_PK_FLOAT, /* (value not kept)                                     */
    AVS_PK_STR,   /* s, NUL-terminated, valid UTF-8 without NUL           */
    AVS_PK_BYTES, /* (value not kept, but for the first 16 in s)          */
    AVS_PK_TUPLE, /* items: v                                             */
    AVS_PK_LIST,
    AVS_PK_DICT,    /* items: key, v in order of insertion                */
    AVS_PK_GLOBAL,  /* what: an allowed global; s: "module name"          */
    AVS_PK_STORAGE, /* s: key; what: its dtype; count, view_at, view_count */
    AVS_PK_TENSOR,  /* storage, offset, size, stride                      */
    AVS_PK_OPAQUE   /* s: "module name" of the class or function          */
} avs_pk_kind;

typedef enum {
    AVS_PKG_ORDERED_DICT,
    AVS_PKG_REBUILD_TENSOR,
    AVS_PKG_REBUILD_TENSOR_V2,
    AVS_PKG_REBUILD_PARAMETER,
    AVS_PKG_SIZE,
    AVS_PKG_STORAGE
} avs_pk_global;

typedef struct {
    const char *torch; /* "FloatStorage" */
    const char *dtype; /* "F32", .., and "I16", "I8", which safetensors.h does not have */
    int size;          /* bytes of an element */
} avs_pk_dtype;

typedef struct avs_pk_node avs_pk_node;
typedef struct avs_pk_item {
    avs_pk_node *key, *v; /* key: of dicts */
    struct avs_pk_item *next;
} avs_pk_item;

struct avs_pk_node {
    uint8_t kind, what, depth;
    bool is_big, has_tensor; /* has_tensor: is or holds one */
    size_t at;               /* byte of the file where it was made */
    union {
        struct {
            avs_pk_item *first, *last;
            int64_t n;
        };
        struct {
            const char *s;
            const avs_pk_dtype *dtype;
            int64_t count, view_at, view_count; /* elements; without a view 0 and count */
        };
        struct {
            const avs_pk_node *storage, *size, *stride;
            int64_t offset; /* elements */
        };
        int64_t i;
    };
};

typedef struct {
    avs_arena *arena;
    const char *what;    /* file and entry, for messages */
    const uint8_t *data; /* the whole input .. */
    size_t n;
    size_t at;              /* .. where the machine stands; after a run the byte behind STOP */
    size_t base;            /* added to `at` in messages */
    avs_pk_node **storages; /* of all runs, in order of appearance; free with avs_pk_fini */
    int n_storages, cap_storages;
    int n_nodes;
} avs_pk;

/* Runs one pickle from p->at to STOP. */
int avs_pk_run(avs_pk *p, avs_pk_node **root, avs_err *e);
void avs_pk_fini(avs_pk *p); /* accepts a zeroed machine */

/* Value of a string key of a dict, the last one where it occurs twice; NULL: none. */
avs_pk_node *avs_pk_get(const avs_pk_node *dict, const char *key);
/* "a dict", "a tensor", "an object of module.Class", .. into buf; returns buf. */
const char *avs_pk_text(const avs_pk_node *v, char *buf, size_t n);

#endif
