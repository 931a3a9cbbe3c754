/* The graph: values and nodes in index tables, built once with static shapes.
 *
 * Builders (engine/graph/ops.h) append nodes and return the index of the new value; 0 means "none". A builder never
 * fails alone: the graph keeps the first error (with its scope path and shapes) and every later builder that is fed
 * a 0 where an operand is required returns 0. avs_graph_check reports that error once.
 *
 * Backward is ordinary graph: avs_backward appends nodes made by the vjp of each op.
 * Ownership: everything belongs to the arena that was passed to avs_graph_new. Not thread safe. */
#ifndef AVS_ENGINE_GRAPH_GRAPH_H
#define AVS_ENGINE_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "base/arena.h"
#include "base/err.h"
#include "engine/tensor/type.h"

typedef uint32_t avs_val; /* index of a value; 0 = none */

typedef enum { AVS_V_NONE, AVS_V_PARAM, AVS_V_BUFFER, AVS_V_INPUT, AVS_V_CONST, AVS_V_TMP } avs_vkind;

/* How a parameter starts from scratch (seed stream "init", one Philox stream per key). */
typedef enum {
    AVS_INIT_ZERO,
    AVS_INIT_ONE,
    AVS_INIT_NORMAL,         /* N(0, a^2)                                             */
    AVS_INIT_UNIFORM,        /* [-a, a)                                               */
    AVS_INIT_XAVIER_UNIFORM, /* bound sqrt(6/(fan_in+fan_out)), fans incl. kernel area */
    AVS_INIT_HE_FAN_OUT,     /* N(0, 2/fan_out)                                       */
    AVS_INIT_HE_FAN_IN,      /* N(0, 2/fan_in)                                        */
    AVS_INIT_HE_CENTRED, /* N(0, 2.93/fan_in) less the mean over each output's own weights: variances as the above
                                behind a ReLU, and what all inputs share adds nothing */
    AVS_INIT_FAN_IN_UNIFORM, /* +-1/sqrt(a) with a = fan_in given, or own fan_in if a = 0 */
    AVS_INIT_MSDEFORM_BIAS,  /* the released initialisation: a = heads, b = levels, c = points */
    AVS_INIT_TRUNC_NORMAL    /* N(0, a^2) cut at +-2                                  */
} avs_init_kind;
typedef struct {
    avs_init_kind kind;
    float a, b, c;
} avs_init;

typedef struct {
    avs_type type;
    avs_vkind kind;
    uint32_t node;     /* TMP: producing node; others: 0                                     */
    uint8_t out;       /* TMP: which output of that node                                     */
    uint8_t is_frozen; /* PARAM: gets no gradient                                           */
    uint8_t want_grad; /* INPUT: avs_backward also makes "grad:NAME"                        */
    avs_val view_of;   /* != 0: the same storage as that value, view_off elements further on. A view is a
                       * TMP with node 0; view_of is never itself a view (chains are flattened)          */
    int64_t view_off;  /* in elements                                                        */
    const char *name;  /* state_dict key, input name, or NULL                                */
    const char *scope; /* scope path where it was made                                      */
    avs_init init;     /* PARAM, BUFFER                                                      */
    const void *data;  /* CONST: elements (f32 or i32)                                       */
} avs_value;

enum { AVS_MAX_IN = 8, AVS_MAX_OUT = 5 };
typedef struct {
    uint16_t op; /* avs_op of ops.h */
    uint8_t n_in, n_out;
    avs_val in[AVS_MAX_IN], out[AVS_MAX_OUT];
    const void *attr; /* the op's attribute struct, in the graph's arena; NULL if it has none */
    const char *scope;
} avs_node;

typedef struct {
    const char *name;
    avs_val val;
} avs_named;

typedef struct avs_graph {
    avs_arena *arena;
    avs_value *v; /* v[0] is unused: index 0 means none */
    uint32_t n_v, cap_v;
    avs_node *node; /* node[0] is unused */
    uint32_t n_node, cap_node;
    avs_named *output; /* names asked for with avs_graph_output, "grad:KEY" included */
    uint32_t n_output, cap_output;
    avs_named *tap; /* named activations (avs_tap): cost nothing unless a plan is built with taps */
    uint32_t n_tap, cap_tap;
    struct {
        avs_val buffer, value;
    } * update; /* after a run, value is copied into buffer (running statistics) */
    uint32_t n_update, cap_update;
    const char *scope;  /* current path, "" at the top */
    const char **outer; /* paths of the enclosing scopes */
    uint32_t n_outer, cap_outer;
    const char **frozen; /* prefixes given to avs_graph_freeze, for parameters made later */
    uint32_t n_frozen, cap_frozen;
    avs_val first_grad; /* values from here on were made by avs_backward or after it; 0: no backward */
    bool training;      /* what builders of dropout and batch normalisation go by */
    bool is_bn_sync;    /* batch statistics are those of all ranks */
    uint32_t n_stream;  /* ordinal for dropout streams */
    avs_err err;        /* first error */
} avs_graph;

avs_graph *avs_graph_new(avs_arena *a, bool training);
int avs_graph_check(const avs_graph *g, avs_err *e); /* AVS_OK or the first error */

/* Parameters and buffers. The key is put behind the current scope ("backbone." + "conv1.weight"). Asking again for
 * the same full key with the same type returns the same value (shared weights). */
avs_val avs_param(avs_graph *g, const char *key, avs_type t, avs_init init);
avs_val avs_buffer(avs_graph *g, const char *key, avs_type t, avs_init init);
avs_val avs_input(avs_graph *g, const char *name, avs_type t); /* name is global, not scoped */
avs_val avs_const(avs_graph *g, avs_type t, const void *data); /* data is copied; f32 or i32 */
avs_val avs_const_scalar(avs_graph *g, float v);

void avs_scope_push(avs_graph *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void avs_scope_pop(avs_graph *g);
/* All parameters whose key starts with prefix, made before or after, get no gradient. */
void avs_graph_freeze(avs_graph *g, const char *prefix);
void avs_graph_want_grad(avs_graph *g, avs_val input);

int avs_graph_output(avs_graph *g, const char *name, avs_val v);
avs_val avs_graph_find_output(const avs_graph *g, const char *name); /* 0 if there is none */
avs_val avs_graph_find(const avs_graph *g, const char *key);         /* PARAM, BUFFER or INPUT by full name */
avs_val avs_tap(avs_graph *g, const char *name, avs_val v); /* returns v; name is put behind the scope,
                                                              * "/NAME" is NAME itself */
void avs_graph_update(avs_graph *g, avs_val buffer, avs_val value); /* again: the later value counts */

/* Appends the backward of the scalar loss: for each trainable parameter that the loss reaches the output "grad:KEY",
 * for each input with want_grad "grad:NAME". Parameters the loss does not reach get no output. */
int avs_backward(avs_graph *g, avs_val loss);

/* Deep copy into another arena; passes work on such a copy. */
avs_graph *avs_graph_clone(const avs_graph *g, avs_arena *a);

/* One line per node: stable text, diffed by tests. */
void avs_graph_dump(const avs_graph *g, FILE *f);

/* Multiply-accumulates of the CONV2D, CONV2D_BWD_X and MATMUL nodes that an output needs (of all nodes while the graph
 * has no output) at the time of the call, so the figure of the forward (convolutions, linear layers, attention products;
 * docs/models.md) is asked before avs_backward. */
int64_t avs_graph_macs(const avs_graph *g);
/* Elements of all parameters (buffers excluded); trainable: those that are not frozen. */
int64_t avs_graph_param_count(const avs_graph *g, bool trainable_only);
/* Elements of the parameters that an output needs: without the branches that a reference declares and never runs. */
int64_t avs_graph_param_used(const avs_graph *g);

/* For builders: records the first error with scope and returns 0. */
avs_val avs_graph_fail(avs_graph *g, avs_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* For op builders: appends a node, runs the op's infer, returns output 0 (all n_out outputs through out, which may be
 * NULL; zeros on failure). attr is copied; NULL stands for all zeros. Trailing absent operands are dropped. */
avs_val avs_graph_node(avs_graph *g, int op, const avs_val *in, int n_in, const void *attr, avs_val *out);
/* A view: same storage and dtype, other extents, first element `off` elements further on; `of` itself where nothing
 * changes. */
avs_val avs_graph_view(avs_graph *g, avs_val of, avs_type t, int64_t off);

#endif
