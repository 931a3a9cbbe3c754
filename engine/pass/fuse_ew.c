/* Programs are concatenated: an EW node whose only reader is an EW node over the same elements runs inside it.
 *
 * When the reader starts by loading the producer's value, its program simply continues the producer's. When the value
 * is the operand of the reader's second instruction, the operation is turned round (a - p is p RSUB a). Otherwise the
 * producer's result goes to a free temp first. Constant producers stay apart: they run once, in the prologue. */
#include "engine/pass/rewrite.h"

#include <string.h>

typedef struct {
    avs_ew_attr prog;
    avs_val in[AVS_MAX_IN];
    int n_in;
    bool is_full; /* more streams or instructions than fit */
} joined;

static bool reads_operand(const avs_ew_instr *p)
{
    return p->code != AVS_EW_SAVE && !(p->code >= AVS_EW_NEG && p->code <= AVS_EW_ABS);
}

static void emit(joined *j, avs_ew_instr p)
{
    if (j->prog.n == AVS_EW_MAX_INSTR)
        j->is_full = true;
    else
        j->prog.instr[j->prog.n++] = p;
}

static uint8_t stream(joined *j, avs_val v)
{
    for (int i = 0; i < j->n_in; i++)
        if (j->in[i] == v) return (uint8_t)i;
    if (j->n_in == AVS_MAX_IN) {
        j->is_full = true;
        return 0;
    }
    j->in[j->n_in] = v;
    return (uint8_t)j->n_in++;
}

/* p with its stream renumbered. */
static avs_ew_instr translated(joined *j, avs_ew_instr p, const avs_val *in)
{
    if (reads_operand(&p) && p.src == AVS_EW_STREAM) p.arg = stream(j, in[p.arg]);
    return p;
}

/* OP with its two sides exchanged; 0 if there is no such code. */
static int mirrored(int code)
{
    switch (code) {
    case AVS_EW_ADD:
    case AVS_EW_MUL:
    case AVS_EW_MAX:
    case AVS_EW_MIN:
        return code;
    case AVS_EW_SUB:
        return AVS_EW_RSUB;
    case AVS_EW_RSUB:
        return AVS_EW_SUB;
    case AVS_EW_DIV:
        return AVS_EW_RDIV;
    case AVS_EW_RDIV:
        return AVS_EW_DIV;
    default:
        return 0;
    }
}

/* A temp that neither the reader nor, after its end, the producer needs. */
static int free_temp(const avs_ew_attr *reader)
{
    unsigned used = 0;
    for (int i = 0; i < reader->n; i++)
        if (reader->instr[i].code == AVS_EW_SAVE) used |= 1u << reader->instr[i].arg;
    for (int t = 0; t < AVS_EW_TEMPS; t++)
        if (!(used >> t & 1)) return t;
    return -1;
}

/* The reader's program behind the producer's, where the producer's value was stream k. */
static void continue_with(joined *j, const avs_ew_attr *reader, const avs_val *in, int k)
{
    int n_uses = 0, at = -1, next = 0;
    for (int i = 0; i < reader->n; i++)
        if (reads_operand(&reader->instr[i]) && reader->instr[i].src == AVS_EW_STREAM &&
            reader->instr[i].arg == k) {
            n_uses++;
            if (at < 0) at = i;
        }
    if (n_uses == 1 && at == 0) {
        next = 1;
    } else if (n_uses == 1 && at == 1 && mirrored(reader->instr[1].code)) {
        avs_ew_instr first = reader->instr[0];
        first.code = (uint8_t)mirrored(reader->instr[1].code);
        emit(j, translated(j, first, in));
        next = 2;
    } else {
        int t = free_temp(reader);
        if (t < 0) {
            j->is_full = true;
            return;
        }
        emit(j, (avs_ew_instr){.code = AVS_EW_SAVE, .arg = (uint8_t)t});
        if (at == 0) next = 1;
        for (int i = next; i < reader->n; i++) {
            avs_ew_instr p = reader->instr[i];
            if (reads_operand(&p) && p.src == AVS_EW_STREAM && p.arg == k)
                p = (avs_ew_instr){.code = p.code, .src = AVS_EW_TEMP, .arg = (uint8_t)t};
            emit(j, translated(j, p, in));
        }
        return;
    }
    for (int i = next; i < reader->n; i++) emit(j, translated(j, reader->instr[i], in));
}

/* v with the last axes of `to`, where they hold as many elements: a row over [..,192] is one over [..,8,24] too. */
static avs_val as_last_axes(avs_graph *g, avs_val v, const avs_type *to)
{
    const int64_t n = avs_type_count(avs_t(g, v));
    int64_t have = 1;
    for (int rank = 1; rank < to->rank; rank++) {
        avs_type t = *avs_t(g, v);
        have *= to->d[to->rank - rank];
        if (have != n) continue;
        t.rank = (uint8_t)rank;
        for (int i = 0; i < AVS_MAX_RANK; i++) t.d[i] = i < rank ? to->d[to->rank - rank + i] : 0;
        return avs_as(g, v, &t);
    }
    return 0;
}

/* Stream v of a program over `from`, for a program over `to` of the same elements; 0: not expressible. */
static avs_val respread(avs_graph *g, avs_val v, const avs_type *from, const avs_type *to)
{
    int64_t mid, inner, mid2, inner2;
    if (avs_type_same_shape(from, to)) return v;
    if (avs_type_count(avs_t(g, v)) == avs_type_count(to)) return avs_as(g, v, to);
    if (!avs_ew_broadcast(avs_t(g, v), from, &mid, &inner)) return 0;
    if (avs_ew_broadcast(avs_t(g, v), to, &mid2, &inner2)) return mid == mid2 && inner == inner2 ? v : 0;
    const avs_val w = as_last_axes(g, v, to);
    return w && avs_ew_broadcast(avs_t(g, w), to, &mid2, &inner2) && mid == mid2 && inner == inner2 ? w : 0;
}

/* Does it pay to keep this producer in the prologue? A constant that is only spread does not: the reader can spread. */
static bool runs_early(const avs_graph *g, const bool *is_const, uint32_t node)
{
    return is_const[g->node[node].out[0]] && ((const avs_ew_attr *)g->node[node].attr)->n > 1;
}

static int fuse_stream(avs_graph *g, const avs_uses *u, const bool *is_const, uint32_t reader, int k,
                       bool *done, avs_err *e)
{
    avs_node *n = &g->node[reader];
    const avs_ew_attr *tail = n->attr;
    uint32_t made = n->in[k] ? avs_sole_producer(g, u, n->in[k], AVS_OP_EW) : 0;
    if (!made || (runs_early(g, is_const, made) && !is_const[n->out[0]])) return AVS_OK;
    if (avs_type_count(avs_t(g, n->in[k])) != avs_type_count(&tail->out)) return AVS_OK;
    const avs_node *head_node = &g->node[made];
    const avs_ew_attr *head = head_node->attr;
    joined j = {.prog.out = tail->out};
    avs_val in[AVS_MAX_IN] = {0};
    for (int i = 0; i < head_node->n_in; i++) {
        in[i] = respread(g, head_node->in[i], &head->out, &tail->out);
        if (!in[i]) return AVS_OK;
    }
    for (int i = 0; i < head->n; i++) emit(&j, translated(&j, head->instr[i], in));
    continue_with(&j, tail, n->in, k);
    if (j.is_full) return AVS_OK;
    const void *attr = avs_new_attr(g, &j.prog, sizeof j.prog, e);
    if (!attr) return AVS_ENOMEM;
    n->attr = attr;
    n->n_in = (uint8_t)j.n_in;
    memset(n->in, 0, sizeof n->in);
    memcpy(n->in, j.in, sizeof(avs_val) * (size_t)j.n_in);
    avs_drop_node(g, made);
    *done = true;
    return AVS_OK;
}

int avs_pass_fuse_ew(avs_graph *g, avs_err *e)
{
    int rc = AVS_OK;
    avs_uses u;
    bool *is_const = AVS_NEW_N(g->arena, bool, g->n_v);
    if (!is_const) return avs_fail(e, AVS_ENOMEM, "no memory for a table of constants");
    AVS_TRY(avs_graph_const_values(g, is_const, e));
    AVS_TRY(avs_uses_find(g, &u, e));
    for (uint32_t i = 1; i < g->n_node; i++) {
        bool done = g->node[i].op == AVS_OP_EW;
        while (done) {
            done = false;
            for (int k = 0; k < g->node[i].n_in && !done; k++)
                AVS_TRY(fuse_stream(g, &u, is_const, i, k, &done, e));
        }
    }
    avs_compact(g);
    AVS_TRY(avs_graph_check(g, e));
out:
    return rc;
}
