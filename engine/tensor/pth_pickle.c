/* The machine: one loop over opcodes, a stack of nodes, a stack of marks, a memo. What an opcode reads is taken through
 * avs_pkm_avs_pkm_take, which alone moves on and refuses to pass the end; what it allocates is in proportion to the bytes it read. */
#include "engine/tensor/pth_pickle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tensor/pth_machine.h"
#include "engine/tensor/pth_reduce.h"

enum { MAX_STACK = 1 << 20, MAX_MEMO = 1 << 20, MAX_NODES = 4 << 20, MAX_DEPTH = 64 };

/* Room for one more element of an array that doubles; false when memory is out. */
static bool grow(void *array, int n, int *cap, size_t size)
{
    void *at, *more;
    if (n < *cap) return true;
    memcpy(&at, array, sizeof at);
    const int want = *cap ? *cap * 2 : 64;
    more = avs_xrealloc(at, (size_t)want * size);
    if (!more) return false;
    memcpy(array, &more, sizeof more);
    *cap = want;
    return true;
}

int avs_pkm_take(avs_pkm *m, size_t n, const uint8_t **out, avs_err *e)
{
    avs_pk *p = m->p;
    if (n > p->n - p->at) {
        (void)avs_fail(e, AVS_EPARSE,
                       "%s: byte %zu, pickle opcode 0x%02x wants %zu bytes, the pickle has %zu left", p->what,
                       p->base + m->op_at, (unsigned)m->op, n, p->n - p->at);
        return AVS_EPARSE;
    }
    *out = p->data + p->at;
    p->at += n;
    return AVS_OK;
}

int avs_pkm_take_le(avs_pkm *m, int n, uint64_t *v, avs_err *e)
{
    const uint8_t *p = NULL;
    int rc = avs_pkm_take(m, (size_t)n, &p, e);
    *v = rc == AVS_OK ? avs_pkm_le(p, n) : 0;
    return rc;
}

static int push(avs_pkm *m, avs_pk_node *v, avs_err *e)
{
    if (!v) return avs_pkm_no_memory(m, e);
    if (m->n >= MAX_STACK) return avs_pkm_fail(m, e, "more than 1048576 values on the stack");
    if (!grow(&m->stack, m->n, &m->cap, sizeof(avs_pk_node *))) return avs_pkm_no_memory(m, e);
    m->stack[m->n++] = v;
    return AVS_OK;
}

int avs_pkm_push_new(avs_pkm *m, avs_pk_kind kind, avs_pk_node **out, avs_err *e)
{
    avs_pk *p = m->p;
    if (p->n_nodes >= MAX_NODES) return avs_pkm_fail(m, e, "more than 4194304 values");
    avs_pk_node *v = AVS_NEW(p->arena, avs_pk_node);
    if (!v) return avs_pkm_no_memory(m, e);
    p->n_nodes++;
    v->kind = (uint8_t)kind;
    v->depth = 1;
    v->at = p->base + m->op_at;
    *out = v;
    return push(m, v, e);
}

/* The topmost value above the last mark. */
int avs_pkm_pop(avs_pkm *m, avs_pk_node **out, avs_err *e)
{
    const int floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    if (m->n <= floor) return avs_pkm_fail(m, e, "a value is expected on the stack, there is none");
    *out = m->stack[--m->n];
    return AVS_OK;
}

static int pop_mark(avs_pkm *m, int *from, avs_err *e)
{
    if (!m->n_marks) return avs_pkm_fail(m, e, "a mark is expected on the stack, there is none");
    *from = m->marks[--m->n_marks];
    return AVS_OK;
}

/* ------------------------------------------------------------------ containers */

static int holds(avs_pkm *m, avs_pk_node *outer, const avs_pk_node *inner, avs_err *e)
{
    if (inner->depth >= outer->depth) {
        if (inner->depth >= MAX_DEPTH) return avs_pkm_fail(m, e, "values nested deeper than 64");
        outer->depth = (uint8_t)(inner->depth + 1);
    }
    outer->has_tensor = outer->has_tensor || inner->has_tensor;
    return AVS_OK;
}

static int add_item(avs_pkm *m, avs_pk_node *outer, avs_pk_node *key, avs_pk_node *v, avs_err *e)
{
    if (m->p->n_nodes >= MAX_NODES) return avs_pkm_fail(m, e, "more than 4194304 values");
    avs_pk_item *it = AVS_NEW(m->p->arena, avs_pk_item);
    if (!it) return avs_pkm_no_memory(m, e);
    m->p->n_nodes++;
    it->key = key;
    it->v = v;
    if (outer->last)
        outer->last->next = it;
    else
        outer->first = it;
    outer->last = it;
    outer->n++;
    return holds(m, outer, v, e);
}

/* Stack elements from..n as items of a new tuple, list or dict, or of the container below them. */
static int fill(avs_pkm *m, avs_pk_node *outer, int from, avs_err *e)
{
    const int end = m->n, step = outer->kind == AVS_PK_DICT ? 2 : 1;
    int rc = AVS_OK;
    if ((end - from) % step) return avs_pkm_fail(m, e, "a key without a value");
    for (int i = from; i < end && rc == AVS_OK; i += step)
        rc = step == 2 ? add_item(m, outer, m->stack[i], m->stack[i + 1], e)
                       : add_item(m, outer, NULL, m->stack[i], e);
    m->n = from;
    return rc;
}

static int tuple(avs_pkm *m, int n, avs_err *e)
{
    avs_pk_node *t = NULL;
    const int floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    if (n > m->n - floor) return avs_pkm_fail(m, e, "fewer values on the stack than the tuple has");
    const int from = m->n - n;
    int rc = avs_pkm_push_new(m, AVS_PK_TUPLE, &t, e);
    if (rc != AVS_OK) return rc;
    m->n--;
    rc = fill(m, t, from, e);
    return rc == AVS_OK ? push(m, t, e) : rc;
}

/* A container from everything above the last mark: TUPLE, LIST, DICT, FROZENSET. */
static int from_mark(avs_pkm *m, avs_pk_kind kind, avs_err *e)
{
    avs_pk_node *t = NULL;
    int from = 0, rc = pop_mark(m, &from, e);
    if (rc == AVS_OK) rc = avs_pkm_push_new(m, kind, &t, e);
    if (rc != AVS_OK) return rc;
    m->n--;
    rc = fill(m, t, from, e);
    return rc == AVS_OK ? push(m, t, e) : rc;
}

/* SETITEMS, APPENDS, ADDITEMS (from < 0: up to the mark), SETITEM, APPEND. An opaque object swallows them. */
static int extend(avs_pkm *m, avs_pk_kind want, int n, avs_err *e)
{
    const int floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    int from = m->n - n, rc = AVS_OK;
    if (n >= 0 && n > m->n - floor) return avs_pkm_fail(m, e, "fewer values on the stack than wanted");
    if (n < 0) rc = pop_mark(m, &from, e);
    if (rc != AVS_OK) return rc;
    if (from <= (m->n_marks ? m->marks[m->n_marks - 1] : 0))
        return avs_pkm_fail(m, e, "a list or dict is expected on the stack, there is none");
    avs_pk_node *outer = m->stack[from - 1];
    if (outer->kind == (uint8_t)want) return fill(m, outer, from, e);
    if (outer->kind != AVS_PK_OPAQUE)
        return avs_pkm_fail(m, e,
                            want == AVS_PK_DICT ? "items are set in a value that is no dict"
                                                : "a value is appended to what is no list");
    for (int i = from; i < m->n && rc == AVS_OK; i++) rc = holds(m, outer, m->stack[i], e);
    m->n = from;
    return rc;
}

/* ------------------------------------------------------------------ calls and memo */

/* REDUCE, NEWOBJ (two values) and NEWOBJ_EX (three): what an allowed global makes of its arguments, or OPAQUE. */
static int call(avs_pkm *m, bool has_keywords, avs_err *e)
{
    avs_pk_node *keywords = NULL, *args = NULL, *f = NULL, *out = NULL;
    int rc = has_keywords ? avs_pkm_pop(m, &keywords, e) : AVS_OK;
    if (rc == AVS_OK) rc = avs_pkm_pop(m, &args, e);
    if (rc == AVS_OK) rc = avs_pkm_pop(m, &f, e);
    if (rc != AVS_OK) return rc;
    if (f->kind != AVS_PK_GLOBAL && f->kind != AVS_PK_OPAQUE)
        return avs_pkm_fail(m, e, "what is called is no global");
    if (args->kind != AVS_PK_TUPLE) return avs_pkm_fail(m, e, "the arguments of a call are no tuple");
    rc = avs_pkm_push_new(m, AVS_PK_OPAQUE, &out, e);
    if (rc == AVS_OK && f->kind == AVS_PK_GLOBAL) {
        avs_pk_node *given = NULL;
        const char *why = avs_pk_reduce(f, args, out, &given);
        if (why) return avs_pkm_fail(m, e, why);
        if (given) {
            m->stack[m->n - 1] = given;
            return AVS_OK;
        }
        if (out->kind == AVS_PK_DICT) /* OrderedDict([[key, value], ..]), as Python 2 writes it */
            for (const avs_pk_item *pair = args->first ? args->first->v->first : NULL; pair && rc == AVS_OK;
                 pair = pair->next)
                rc = add_item(m, out, pair->v->first->v, pair->v->last->v, e);
        return rc;
    }
    if (rc == AVS_OK) out->s = f->s;
    if (rc == AVS_OK) rc = holds(m, out, f, e);
    if (rc == AVS_OK) rc = holds(m, out, args, e);
    if (rc == AVS_OK && keywords) rc = holds(m, out, keywords, e);
    return rc;
}

/* Attributes of an object: of no use to a reader, but tensors in those of an opaque object are remembered. */
static int build(avs_pkm *m, avs_err *e)
{
    avs_pk_node *state = NULL, *object = NULL;
    int rc = avs_pkm_pop(m, &state, e);
    if (rc == AVS_OK) rc = avs_pkm_pop(m, &object, e);
    if (rc != AVS_OK) return rc;
    if (object->kind == AVS_PK_OPAQUE)
        rc = holds(m, object, state, e);
    else if (object->kind != AVS_PK_DICT && object->kind != AVS_PK_TENSOR)
        return avs_pkm_fail(m, e, "attributes are set on a value that has none");
    return rc == AVS_OK ? push(m, object, e) : rc;
}

static int persistent(avs_pkm *m, avs_err *e)
{
    avs_pk *p = m->p;
    avs_pk_node *id = NULL, *x = NULL;
    int rc = avs_pkm_pop(m, &id, e);
    if (rc == AVS_OK) rc = avs_pkm_push_new(m, AVS_PK_STORAGE, &x, e);
    if (rc != AVS_OK) return rc;
    const char *why = avs_pk_storage(id, x);
    if (why) return avs_pkm_fail(m, e, why);
    if (!grow(&p->storages, p->n_storages, &p->cap_storages, sizeof(avs_pk_node *)))
        return avs_pkm_no_memory(m, e);
    p->storages[p->n_storages++] = x;
    return AVS_OK;
}

static int memo_put(avs_pkm *m, uint64_t at, avs_err *e)
{
    const int floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    if (m->n <= floor) return avs_pkm_fail(m, e, "there is no value to remember");
    if (at >= MAX_MEMO) return avs_pkm_fail(m, e, "more than 1048576 values are remembered");
    while ((int)at >= m->cap_memo)
        if (!grow(&m->memo, m->cap_memo, &m->cap_memo, sizeof(avs_pk_node *))) return avs_pkm_no_memory(m, e);
    for (; m->n_memo <= (int)at; m->n_memo++) m->memo[m->n_memo] = NULL;
    m->memo[at] = m->stack[m->n - 1];
    return AVS_OK;
}

static int memo_get(avs_pkm *m, uint64_t at, avs_err *e)
{
    if (at >= (uint64_t)m->n_memo || !m->memo[at])
        return avs_pkm_fail(m, e, "a value that was never remembered");
    return push(m, m->memo[at], e);
}

static int mark(avs_pkm *m, avs_err *e)
{
    if (m->n_marks >= MAX_STACK) return avs_pkm_fail(m, e, "more than 1048576 marks on the stack");
    if (!grow(&m->marks, m->n_marks, &m->cap_marks, sizeof *m->marks)) return avs_pkm_no_memory(m, e);
    m->marks[m->n_marks++] = m->n;
    return AVS_OK;
}

/* POP takes the mark itself where nothing lies above it. */
static int drop(avs_pkm *m, avs_err *e)
{
    avs_pk_node *gone;
    if (m->n_marks && m->marks[m->n_marks - 1] == m->n) {
        m->n_marks--;
        return AVS_OK;
    }
    return avs_pkm_pop(m, &gone, e);
}

static int drop_to_mark(avs_pkm *m, avs_err *e)
{
    int from = 0, rc = pop_mark(m, &from, e);
    if (rc == AVS_OK) m->n = from;
    return rc;
}

static int constant(avs_pkm *m, avs_pk_kind kind, int64_t v, avs_err *e)
{
    avs_pk_node *x = NULL;
    int rc = avs_pkm_push_new(m, kind, &x, e);
    if (rc == AVS_OK && kind == AVS_PK_BOOL) x->i = v;
    return rc;
}

static int protocol(avs_pkm *m, avs_err *e)
{
    uint64_t v;
    int rc = avs_pkm_take_le(m, 1, &v, e);
    if (rc == AVS_OK && (v < 2 || v > 5)) rc = avs_pkm_fail(m, e, "only pickle protocols 2 to 5 are read");
    return rc;
}

/* Opcodes with a fixed number of operand bytes that are an index, a length or a value. */
static int with_operand(avs_pkm *m, avs_err *e)
{
    static const struct {
        uint8_t op, bytes;
    } sizes[] = {{'K', 1}, {'M', 2}, {'J', 4}, {'q', 1}, {'r', 4}, {'h', 1}, {'j', 4}, {'G', 8}, {0x95, 8}};
    uint64_t v = 0;
    int bytes = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].op == m->op) bytes = sizes[i].bytes;
    if (!bytes) return avs_pkm_fail(m, e, "this opcode is not one that torch.save writes");
    int rc = avs_pkm_take_le(m, bytes, &v, e);
    if (rc != AVS_OK) return rc;
    switch (m->op) {
    case 'K': /* BININT1 */
    case 'M': /* BININT2 */
        return avs_pkm_integer(m, (int64_t)v, e);
    case 'J': /* BININT */
        return avs_pkm_integer(m, (int32_t)(uint32_t)v, e);
    case 'q': /* BINPUT */
    case 'r': /* LONG_BINPUT */
        return memo_put(m, v, e);
    case 'h': /* BINGET */
    case 'j': /* LONG_BINGET */
        return memo_get(m, v, e);
    case 'G': /* BINFLOAT */
        return constant(m, AVS_PK_FLOAT, 0, e);
    default: /* FRAME: a hint of length only */
        return AVS_OK;
    }
}

// clang-format off
static int step(avs_pkm *m, avs_err *e)
{
    switch (m->op) {
    case 0x80: return protocol(m, e);
    case '(': return mark(m, e);
    case 'N': return constant(m, AVS_PK_NONE, 0, e);
    case 0x88: return constant(m, AVS_PK_BOOL, 1, e);
    case 0x89: return constant(m, AVS_PK_BOOL, 0, e);
    case 0x8a: return avs_pkm_long(m, 1, e);
    case 0x8b: return avs_pkm_long(m, 4, e);
    case 'X': return avs_pkm_string(m, 4, false, e); /* BINUNICODE */
    case 0x8c: return avs_pkm_string(m, 1, false, e); /* SHORT_BINUNICODE */
    case 0x8d: return avs_pkm_string(m, 8, false, e); /* BINUNICODE8 */
    case 'T': return avs_pkm_string(m, 4, false, e); /* BINSTRING */
    case 'U': return avs_pkm_string(m, 1, false, e); /* SHORT_BINSTRING */
    case 'B': return avs_pkm_string(m, 4, true, e); /* BINBYTES */
    case 'C': return avs_pkm_string(m, 1, true, e); /* SHORT_BINBYTES */
    case 0x8e: return avs_pkm_string(m, 8, true, e); /* BINBYTES8 */
    case '}': return constant(m, AVS_PK_DICT, 0, e);
    case ']': return constant(m, AVS_PK_LIST, 0, e);
    case ')': return constant(m, AVS_PK_TUPLE, 0, e);
    case 0x8f: return constant(m, AVS_PK_LIST, 0, e); /* EMPTY_SET */
    case 't': return from_mark(m, AVS_PK_TUPLE, e);
    case 'l': return from_mark(m, AVS_PK_LIST, e);
    case 'd': return from_mark(m, AVS_PK_DICT, e);
    case 0x91: return from_mark(m, AVS_PK_LIST, e); /* FROZENSET */
    case 0x85: return tuple(m, 1, e);
    case 0x86: return tuple(m, 2, e);
    case 0x87: return tuple(m, 3, e);
    case 'a': return extend(m, AVS_PK_LIST, 1, e);
    case 0x90: /* ADDITEMS */
    case 'e': return extend(m, AVS_PK_LIST, -1, e);
    case 's': return extend(m, AVS_PK_DICT, 2, e);
    case 'u': return extend(m, AVS_PK_DICT, -1, e);
    case 0x94: return memo_put(m, (uint64_t)m->n_memo, e); /* MEMOIZE */
    case 'c': return avs_pkm_global(m, e);
    case 0x93: return avs_pkm_stack_global(m, e);
    case 0x81: /* NEWOBJ */
    case 'R': return call(m, false, e);
    case 0x92: return call(m, true, e); /* NEWOBJ_EX */
    case 'b': return build(m, e);
    case 'Q': return persistent(m, e);
    case '0': return drop(m, e);
    case '1': return drop_to_mark(m, e);
    default: return with_operand(m, e);
    }
}
// clang-format on

int avs_pk_run(avs_pk *p, avs_pk_node **root, avs_err *e)
{
    avs_pkm m = {.p = p};
    int rc = AVS_OK;
    *root = NULL;
    while (rc == AVS_OK) {
        m.op_at = p->at;
        if (p->at >= p->n) {
            rc = avs_fail(e, AVS_EPARSE, "%s: the pickle ends at byte %zu without STOP", p->what,
                          p->base + p->at);
            break;
        }
        m.op = p->data[p->at++];
        if (m.op == '.') {
            if (m.n != 1 || m.n_marks) rc = avs_pkm_fail(&m, e, "STOP, but not with exactly one value left");
            if (rc == AVS_OK) *root = m.stack[0];
            break;
        }
        rc = step(&m, e);
    }
    free(m.stack);
    free(m.memo);
    free(m.marks);
    return rc;
}

void avs_pk_fini(avs_pk *p)
{
    free(p->storages);
    p->storages = NULL;
    p->n_storages = p->cap_storages = 0;
}
