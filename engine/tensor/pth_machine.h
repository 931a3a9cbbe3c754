/* The state of the pickle machine, and the steps its two files share. Private to the reader. Functions return an avs_code
 * and name the byte and the opcode when they fail. */
#ifndef AVS_ENGINE_TENSOR_PTH_MACHINE_H
#define AVS_ENGINE_TENSOR_PTH_MACHINE_H

#include "engine/tensor/pth_pickle.h"

typedef struct {
    avs_pk *p;
    avs_pk_node **stack, **memo;
    int *marks; /* heights of the stack; nothing below the last one can be reached */
    int n, cap, n_marks, cap_marks, n_memo, cap_memo;
    size_t op_at; /* byte of the current opcode */
    int op;
} avs_pkm;

static inline int avs_pkm_fail(const avs_pkm *m, avs_err *e, const char *text)
{
    (void)avs_fail(e, AVS_EPARSE, "%s: byte %zu, pickle opcode 0x%02x: %s", m->p->what, m->p->base + m->op_at,
                   (unsigned)m->op, text);
    return AVS_EPARSE;
}

static inline int avs_pkm_no_memory(const avs_pkm *m, avs_err *e)
{
    (void)avs_fail(e, AVS_ENOMEM, "%s: no memory for the pickle at byte %zu", m->p->what,
                   m->p->base + m->op_at);
    return AVS_ENOMEM;
}

/* The next n bytes of the input; moves over them. Nothing else reads the input. */
int avs_pkm_take(avs_pkm *m, size_t n, const uint8_t **out, avs_err *e);
int avs_pkm_take_le(avs_pkm *m, int n, uint64_t *v, avs_err *e);
static inline uint64_t avs_pkm_le(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}
int avs_pkm_push_new(avs_pkm *m, avs_pk_kind kind, avs_pk_node **out, avs_err *e);
/* The topmost value above the last mark. */
int avs_pkm_pop(avs_pkm *m, avs_pk_node **out, avs_err *e);

/* pth_values.c: each pushes one value. */
int avs_pkm_integer(avs_pkm *m, int64_t v, avs_err *e);
int avs_pkm_long(avs_pkm *m, int length_bytes, avs_err *e);
int avs_pkm_string(avs_pkm *m, int length_bytes, bool is_bytes, avs_err *e);
int avs_pkm_global(avs_pkm *m, avs_err *e);       /* GLOBAL: two lines of the input */
int avs_pkm_stack_global(avs_pkm *m, avs_err *e); /* STACK_GLOBAL: two strings of the stack */

#endif
