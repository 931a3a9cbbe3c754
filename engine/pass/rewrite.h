/* What passes share: who reads a value, substituting values, dropping nodes. */
#ifndef AVS_ENGINE_PASS_REWRITE_H
#define AVS_ENGINE_PASS_REWRITE_H

#include "engine/pass/pass.h"

/* Readers of each value, counted at the root of views; being an output or an update's value counts twice. */
typedef struct {
    uint32_t *n_read;
} avs_uses;

static inline avs_val avs_root(const avs_graph *g, avs_val v)
{
    return v && g->v[v].view_of ? g->v[v].view_of : v;
}

/* Whether y, a root, is an output or what an update writes. */
bool avs_is_kept(const avs_graph *g, avs_val y);
/* Tables of g->n_v entries in the graph's arena. */
int avs_uses_find(const avs_graph *g, avs_uses *u, avs_err *e);
/* The node that makes v (also seen through a view of all its elements), if v is its output 0, its op is op and v is
 * read once; 0: none. */
uint32_t avs_sole_producer(const avs_graph *g, const avs_uses *u, avs_val v, int op);
/* v seen with the extents of t; v itself where they are the same. */
avs_val avs_as(avs_graph *g, avs_val v, const avs_type *t);
/* y becomes a view of all of z: for a fused node that keeps the extents of its first part. */
void avs_make_view(avs_graph *g, avs_val y, avs_val z);
/* The other operand and the operation of a two-instruction program LOAD a; code b. */
typedef struct {
    int code;
    bool is_unary;
    avs_val a, b; /* b: binary over two streams only */
} avs_ew_simple;
bool avs_ew_is_simple(const avs_graph *g, uint32_t node, avs_ew_simple *out);
/* Marks a node as dropped; its outputs become values without a producer. */
void avs_drop_node(avs_graph *g, uint32_t node);
/* Closes the gaps that dropped nodes left. */
void avs_compact(avs_graph *g);
/* Restores topological order after nodes were appended that earlier ones read; stable otherwise. */
int avs_sort_nodes(avs_graph *g, avs_err *e);
/* A copy of n bytes as attributes; NULL and *e when memory is out. */
void *avs_new_attr(avs_graph *g, const void *attr, size_t n, avs_err *e);

#endif
