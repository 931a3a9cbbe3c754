/* Nodes whose kernels run over elements: elementwise programs, sums, moves, rows by index, dropout, losses. */
#include "engine/backend/cuda/cuda.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static int64_t extent(const avs_type *t, int from, int to)
{
    int64_t n = 1;
    for (int i = from; i < to; i++) n *= t->d[i];
    return n;
}

static int64_t size_of(const avs_type *t)
{
    return (int64_t)avs_dtype_size((avs_dtype)t->dtype);
}

static const void *attr_of(const avs_lower_req *r)
{
    return r->g->node[r->node].attr;
}

static int ew(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    const avs_node *n = &r->g->node[r->node];
    const avs_ew_attr *at = n->attr;
    avs_ew_p p = {.y = r->out[0].data, .n = at->n};
    memcpy(p.instr, at->instr, sizeof p.instr);
    for (int i = 0; i < n->n_in; i++) {
        p.s[i] = (avs_ew_stream){
            .data = r->in[i].data, .mid = 1, .inner = 1, .is_i32 = r->in[i].type.dtype == AVS_I32};
        if (!avs_ew_broadcast(&r->in[i].type, &r->out[0].type, &p.s[i].mid, &p.s[i].inner))
            return avs_fail(e, AVS_ESHAPE, "operand %d does not broadcast", i);
    }
    return avs_cuda_step(be, AVS_CUDA_LAUNCH(be, ew, p, avs_type_count(&r->out[0].type), e), 0, "ew", out, e);
}

static int reduce(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    const avs_reduce_attr *at = attr_of(r);
    const avs_type *t = &r->in[0].type;
    avs_reduce_p p = {.x = r->in[0].data,
                      .y = r->out[0].data,
                      .outer = extent(t, 0, at->from),
                      .mid = extent(t, at->from, at->to),
                      .inner = extent(t, at->to, t->rank)};
    p.scale = at->mean ? 1.f / (float)p.mid : 1.f;
    const size_t work = (size_t)avs_reduce_work(p.outer, p.mid, p.inner) * sizeof(float);
    avs_cuda_launch *l = AVS_CUDA_LAUNCH(be, reduce, p, 0, e);
    if (l && work) l->work_at = offsetof(avs_reduce_p, work);
    return avs_cuda_step(be, l, work, "reduce", out, e);
}

/* The widest unit of 16, 4 or 1 bytes in which all lengths are whole and both addresses aligned. */
static int unit_of(uint64_t lengths_and_addresses)
{
    return lengths_and_addresses % 16 == 0 ? 16 : lengths_and_addresses % 4 == 0 ? 4 : 1;
}

/* Lengths in bytes, to be brought to units. */
static int finish_move(avs_backend *be, avs_move_p *p, int64_t bytes, const char *impl, avs_step *out,
                       avs_err *e)
{
    uint64_t all = (uint64_t)(uintptr_t)p->y | (uint64_t)p->y_run | (uint64_t)p->skip;
    for (int i = 0; i < p->n_parts; i++)
        all |=
            (uint64_t)(uintptr_t)p->x[i] | (uint64_t)p->run[i] | (uint64_t)p->at[i] | (uint64_t)p->at[i + 1];
    p->unit = unit_of(all);
    p->y_run /= p->unit;
    p->skip /= p->unit;
    for (int i = 0; i < p->n_parts; i++) p->run[i] /= p->unit;
    for (int i = 0; i <= p->n_parts; i++) p->at[i] /= p->unit;
    return avs_cuda_step(be, AVS_CUDA_LAUNCH(be, move, *p, bytes / p->unit, e), 0, impl, out, e);
}

static int move(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    const avs_node *n = &r->g->node[r->node];
    const avs_axis_attr *at = n->attr;
    const avs_type *y = &r->out[0].type;
    const int64_t size = size_of(y), row = extent(y, at->axis + 1, y->rank) * size;
    avs_move_p p = {.y = r->out[0].data, .y_run = y->d[at->axis] * row, .n_parts = n->n_in};
    if (n->op == AVS_OP_SLICE) p.skip = at->before * row;
    if (n->op == AVS_OP_PAD) p.at[0] = at->before * row;
    for (int i = 0; i < n->n_in; i++) {
        p.x[i] = r->in[i].data;
        p.run[i] = r->in[i].type.d[at->axis] * row;
        p.at[i + 1] = n->op == AVS_OP_SLICE ? p.y_run : p.at[i] + p.run[i];
    }
    return finish_move(be, &p, avs_type_count(y) * size, "move", out, e);
}

static int permute(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    const avs_permute_attr *at = attr_of(r);
    const avs_type *x = &r->in[0].type;
    int64_t stride[AVS_MAX_RANK], s = size_of(x);
    avs_permute_p p = {.x = r->in[0].data, .y = r->out[0].data};
    for (int i = x->rank - 1; i >= 0; i--) {
        stride[i] = s;
        s *= x->d[i];
    }
    /* neighbours that stay neighbours become one axis; the last one ends as runs of bytes */
    for (int i = 0; i < x->rank; i++) {
        const int64_t d = x->d[at->perm[i]], xs = stride[at->perm[i]];
        if (d == 1) continue;
        if (p.rank > 0 && p.stride[p.rank - 1] == xs * d) {
            p.d[p.rank - 1] *= d;
            p.stride[p.rank - 1] = xs;
        } else {
            p.d[p.rank] = d;
            p.stride[p.rank++] = xs;
        }
    }
    if (p.rank == 0) {
        p.d[0] = 1;
        p.stride[p.rank++] = size_of(x);
    }
    const bool is_run = p.stride[p.rank - 1] == size_of(x);
    uint64_t all = (uint64_t)(uintptr_t)p.x | (uint64_t)(uintptr_t)p.y;
    for (int i = 0; i + 1 < p.rank; i++) all |= (uint64_t)p.stride[i];
    if (is_run) all |= (uint64_t)(p.d[p.rank - 1] * size_of(x));
    p.unit = is_run ? unit_of(all) : (int32_t)size_of(x);
    for (int i = 0; i < p.rank; i++) p.stride[i] /= p.unit;
    if (is_run) {
        p.d[p.rank - 1] = p.d[p.rank - 1] * size_of(x) / p.unit;
        p.stride[p.rank - 1] = 1;
    }
    const int64_t n = avs_type_count(x) * size_of(x) / p.unit;
    return avs_cuda_step(be, AVS_CUDA_LAUNCH(be, permute, p, n, e), 0, "permute", out, e);
}

static int gather(avs_backend *be, const avs_lower_req *r, bool is_bwd, avs_step *out, avs_err *e)
{
    const avs_type *x = &r->in[0].type;
    const avs_gather_p p = {.x = r->in[0].data,
                            .index = r->in[1].data,
                            .y = r->out[0].data,
                            .status = &be->words->status,
                            .R = ((const avs_gather_attr *)attr_of(r))->rows,
                            .Q = r->in[1].type.d[0],
                            .C = x->d[2]};
    be->has_status = true;
    return is_bwd ? avs_cuda_step(be, AVS_CUDA_LAUNCH(be, gather_rows_bwd, p, x->d[0] * p.R, e), 0,
                                  "gather_rows_bwd", out, e)
                  : avs_cuda_step(be, AVS_CUDA_LAUNCH(be, gather_rows, p, x->d[0] * p.Q, e), 0, "gather_rows",
                                  out, e);
}

static int row_max(avs_backend *be, const avs_lower_req *r, bool is_bwd, avs_step *out, avs_err *e)
{
    const avs_type *map = is_bwd ? &r->out[0].type : &r->in[0].type;
    const avs_row_max_p p = {.x = r->in[0].data,
                             .y = r->out[0].data,
                             .index = is_bwd ? r->in[1].data : r->out[1].data,
                             .status = &be->words->status,
                             .R = map->d[1],
                             .C = map->d[2]};
    be->has_status |= is_bwd;
    return is_bwd
               ? avs_cuda_step(be, AVS_CUDA_LAUNCH(be, row_max_bwd, p, avs_type_count(map), e), 0,
                               "row_max_bwd", out, e)
               : avs_cuda_step(be, AVS_CUDA_LAUNCH(be, row_max, p, map->d[0] * p.C, e), 0, "row_max", out, e);
}

static int dropout(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    const avs_dropout_attr *at = attr_of(r);
    const avs_type *t = &r->in[0].type;
    const int64_t rows = t->rank ? t->d[0] : 1;
    const double limit = (1.0 - (double)at->p) * 4294967296.0;
    const avs_dropout_p p = {.x = r->in[0].data,
                             .y = r->out[0].data,
                             .width = avs_type_count(t) / rows,
                             .key = {(uint32_t)r->rt->seed, (uint32_t)(r->rt->seed >> 32)},
                             .stream = at->stream,
                             .counters = be->words->counters,
                             .limit = limit > 4294967295.0 ? 0 : (uint32_t)ceil(limit),
                             .is_all = limit > 4294967295.0,
                             .per_row = at->per_row,
                             .scale = (float)(1.0 / (1.0 - (double)at->p))};
    be->has_counters = true;
    return avs_cuda_step(be, AVS_CUDA_LAUNCH(be, dropout, p, rows * ((p.width + 3) / 4), e), 0, "dropout",
                         out, e);
}

static int loss(avs_backend *be, const avs_lower_req *r, bool is_bwd, avs_step *out, avs_err *e)
{
    const int at = is_bwd;
    const avs_type *t = &r->in[at].type;
    avs_loss_p p = {.pred = r->in[at].data,
                    .g = is_bwd ? r->in[0].data : NULL,
                    .target = r->in[at + 1].data,
                    .y = r->out[0].data,
                    .status = &be->words->status,
                    .B = t->d[0],
                    .a = *(const avs_loss_attr *)attr_of(r)};
    p.K = p.a.kind == AVS_LOSS_CE ? t->d[t->rank - 1] : 1;
    p.n = avs_type_count(t) / p.B / p.K;
    be->has_status |= p.a.kind == AVS_LOSS_CE;
    const size_t work = (size_t)avs_loss_work(p.B, p.n) * sizeof(double);
    avs_cuda_launch *l = is_bwd ? AVS_CUDA_LAUNCH(be, loss_bwd, p, 0, e) : AVS_CUDA_LAUNCH(be, loss, p, 0, e);
    if (l) l->work_at = offsetof(avs_loss_p, part);
    return avs_cuda_step(be, l, work, is_bwd ? "loss_bwd" : "loss", out, e);
}

static int set_loss(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    const avs_type *c = &r->in[0].type, *m = &r->in[1].type, *t = &r->in[2].type;
    const int n_in = r->g->node[r->node].n_in;
    avs_set_loss_p p = {.classes = r->in[0].data,
                        .masks = r->in[1].data,
                        .target = r->in[2].data,
                        .weight = r->in[3].data,
                        .terms = r->out[0].data,
                        .gclasses = r->out[1].data,
                        .gmasks = r->out[2].data,
                        .match = r->out[3].data,
                        .cost = r->out[4].data,
                        .status = &be->words->status,
                        .counters = be->words->counters,
                        .key = {(uint32_t)r->rt->seed, (uint32_t)(r->rt->seed >> 32)},
                        .a = *(const avs_set_loss_attr *)attr_of(r),
                        .B = c->d[0],
                        .Q = c->d[1],
                        .K = c->d[2] - 1,
                        .h = m->d[2],
                        .w = m->d[3],
                        .H = t->d[1],
                        .W = t->d[2]};
    for (int i = 0; i < 3 && 4 + i < n_in; i++) {
        p.given[i] = r->in[4 + i].data;
        if (i > 0 && p.given[i]) p.given_pairs[i - 1] = r->in[4 + i].type.d[0];
    }
    be->has_status = be->has_counters = true;
    const size_t work = avs_set_loss_layout(&p);
    avs_cuda_launch *l = AVS_CUDA_LAUNCH(be, set_loss, p, 0, e);
    if (l) l->work_at = offsetof(avs_set_loss_p, work);
    return avs_cuda_step(be, l, work, "set_loss", out, e);
}

int avs_cuda_lower_moves(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    switch (r->g->node[r->node].op) {
    case AVS_OP_EW:
        return ew(be, r, out, e);
    case AVS_OP_REDUCE:
        return reduce(be, r, out, e);
    case AVS_OP_CONCAT:
    case AVS_OP_SLICE:
    case AVS_OP_PAD:
        return move(be, r, out, e);
    case AVS_OP_PERMUTE:
        return permute(be, r, out, e);
    case AVS_OP_GATHER_ROWS:
        return gather(be, r, false, out, e);
    case AVS_OP_GATHER_ROWS_BWD:
        return gather(be, r, true, out, e);
    case AVS_OP_ROW_MAX:
        return row_max(be, r, false, out, e);
    case AVS_OP_ROW_MAX_BWD:
        return row_max(be, r, true, out, e);
    case AVS_OP_DROPOUT:
        return dropout(be, r, out, e);
    case AVS_OP_LOSS:
        return loss(be, r, false, out, e);
    case AVS_OP_LOSS_BWD:
        return loss(be, r, true, out, e);
    case AVS_OP_SET_LOSS:
        return set_loss(be, r, out, e);
    default:
        return avs_fail(e, AVS_EMISSING, "op %s is no op over elements",
                        avs_op_rules[r->g->node[r->node].op].name);
    }
}
