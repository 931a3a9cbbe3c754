/* Convolutions: depthwise ones on own kernels, 1x1 ones as products (a map of pixels is a matrix), the others through the
 * device's library, which reads weights as [O][kh][kw][I].
 *
 * Parameters that convolutions alone read lie turned in the slab (avs_cuda_weight_layout), so nothing is turned at run
 * time; a constant plain weight (folded batch normalisation) is turned once by prepare, any other by every run. bf16:
 * operands are rounded into copies, constant weights once. Where the library does not add bias, residual and activation
 * itself, one elementwise pass does. */
#include "engine/backend/cuda/cuda.h"

#include <stddef.h>
#include <string.h>

static bool is_depthwise(const avs_conv_attr *a, const avs_type *w, int64_t Ci)
{
    return a->groups > 1 && a->groups == w->d[0] && w->d[1] == 1 && Ci == w->d[0];
}

static bool is_product(const avs_conv_attr *a)
{
    return a->kh == 1 && a->kw == 1 && a->sh == 1 && a->sw == 1 && a->ph == 0 && a->pw == 0 && a->groups == 1;
}

/* Does turning move anything? */
static bool turns(const avs_type *w)
{
    return w->d[1] > 1 && w->d[2] * w->d[3] > 1;
}

int avs_cuda_weight_layout(avs_backend *be, const avs_graph *g, uint32_t node, bool training,
                           const avs_layout **out, avs_err *e)
{
    const avs_node *n = &g->node[node];
    (void)training;
    *out = NULL;
    if (n->op != AVS_OP_CONV2D || !turns(avs_t(g, n->in[1]))) return AVS_OK;
    const avs_type *w = avs_t(g, n->in[1]);
    const int64_t O = w->d[0], I = w->d[1], A = (int64_t)w->d[2] * w->d[3];
    for (avs_cuda_layout *l = be->layouts; l; l = l->next) {
        if (l->O == O && l->I == I && l->A == A) {
            *out = &l->base;
            return AVS_OK;
        }
    }
    avs_cuda_layout *l = AVS_NEW(be->arena, avs_cuda_layout);
    if (!l) return avs_fail(e, AVS_ENOMEM, "no memory for a layout");
    *l = (avs_cuda_layout){.base.len = O * I * A, .O = O, .I = I, .A = A, .next = be->layouts};
    be->layouts = l;
    *out = &l->base;
    return AVS_OK;
}

/* Both sides are the host's. */
int avs_cuda_repack(avs_backend *be, const avs_layout *layout, const float *src, float *dst, bool to_canon,
                    avs_err *e)
{
    const avs_cuda_layout *l = (const avs_cuda_layout *)layout;
    (void)be;
    (void)e;
    for (int64_t o = 0; o < l->O; o++)
        for (int64_t i = 0; i < l->I; i++)
            for (int64_t a = 0; a < l->A; a++) {
                const int64_t in_file = (o * l->I + i) * l->A + a, turned = (o * l->A + a) * l->I + i;
                if (to_canon)
                    dst[in_file] = src[turned];
                else
                    dst[turned] = src[in_file];
            }
    return AVS_OK;
}

/* ------------------------------------------------------------------ depthwise */

/* x, w, y of the three kinds: the tensors of the forward's sides. */
typedef struct {
    avs_conv_kind kind;
    const avs_tensor *x, *w, *y;
    const avs_layout *w_layout;
    bool w_is_const;
} sides;

static sides sides_of(const avs_lower_req *r)
{
    switch (r->g->node[r->node].op) {
    case AVS_OP_CONV2D_BWD_X:
        return (sides){AVS_CONV_BWD_X, &r->out[0], &r->in[1], &r->in[0], r->in_layout[1], r->in_is_const[1]};
    case AVS_OP_CONV2D_BWD_W:
        return (sides){AVS_CONV_BWD_W, &r->in[0], &r->out[0], &r->in[1], r->out_layout[0], false};
    default:
        return (sides){AVS_CONV_FWD, &r->in[0], &r->in[1], &r->out[0], r->in_layout[1], r->in_is_const[1]};
    }
}

static int lower_depthwise(avs_backend *be, const avs_lower_req *r, const sides *s, avs_step *out, avs_err *e)
{
    const avs_type *x = &s->x->type, *y = &s->y->type;
    const avs_depthwise_p p = {.bias = s->kind == AVS_CONV_FWD ? r->in[2].data : NULL,
                               .residual = s->kind == AVS_CONV_FWD ? r->in[3].data : NULL,
                               .x = s->x->data,
                               .y = s->y->data,
                               .w = s->w->data,
                               .a = *(const avs_conv_attr *)r->g->node[r->node].attr,
                               .B = x->d[0],
                               .H = x->d[1],
                               .W = x->d[2],
                               .C = x->d[3],
                               .Ho = y->d[1],
                               .Wo = y->d[2]};
    if (s->kind == AVS_CONV_FWD)
        return avs_cuda_step(be, AVS_CUDA_LAUNCH(be, depthwise, p, p.B * p.Ho * p.Wo, e), 0, "depthwise", out,
                             e);
    if (s->kind == AVS_CONV_BWD_X)
        return avs_cuda_step(be, AVS_CUDA_LAUNCH(be, depthwise_bwd_x, p, p.B * p.H * p.W, e), 0,
                             "depthwise_bwd_x", out, e);
    avs_cuda_launch *l = AVS_CUDA_LAUNCH(be, depthwise_bwd_w, p, 0, e);
    if (l) l->work_at = offsetof(avs_depthwise_p, part);
    return avs_cuda_step(be, l, (size_t)avs_depthwise_work(p.B, &p.a, p.Ho, p.Wo, p.C) * sizeof(float),
                         "depthwise_bwd_w", out, e);
}

/* ------------------------------------------------------------------ library */

/* One operand on its way to the library: turned and rounded where it has to be, into the workspace (off) or, for a
 * constant weight, into memory of its own. */
typedef struct {
    avs_cuda_launch *turn, *round;
    size_t off_turn, off_round;
    bool is_own;
    void *at; /* where the library reads it; NULL: in the workspace, at off_round or off_turn */
} feed;

typedef struct {
    avs_backend *be;
    avs_cuda_call call;
    avs_conv_kind kind;
    bool is_gemm;
    feed x, w, y; /* the one that is written has no launches */
    const float *bias, *residual;
    size_t off_raw, off_lib;
    bool has_raw; /* the library writes to off_raw: a bf16 result, or a weight that is turned back */
    avs_cuda_launch *finish; /* reads off_raw where has_raw */
} conv_ctx;

static int feed_run(avs_backend *be, const feed *f, char *work)
{
    int rc = AVS_OK;
    if (f->turn) {
        if (!f->is_own) ((avs_turn_p *)f->turn->p)->y = (float *)(void *)(work + f->off_turn);
        rc = avs_cuda_launch_run(be, f->turn, NULL);
    }
    if (rc == AVS_OK && f->round) {
        avs_round_p *p = f->round->p;
        if (!f->is_own) {
            p->y = (uint16_t *)(void *)(work + f->off_round);
            if (f->turn) p->x = (const float *)(const void *)(work + f->off_turn);
        }
        rc = avs_cuda_launch_run(be, f->round, NULL);
    }
    return rc;
}

static void *feed_at(const feed *f, char *work)
{
    return f->at ? f->at : work + (f->round ? f->off_round : f->off_turn);
}

static int conv_run(void *ctx, void *workspace)
{
    conv_ctx *c = ctx;
    char *work = workspace;
    int rc = AVS_OK;
    if (!c->x.is_own) AVS_TRY(feed_run(c->be, &c->x, work));
    if (!c->w.is_own) AVS_TRY(feed_run(c->be, &c->w, work));
    if (!c->y.is_own) AVS_TRY(feed_run(c->be, &c->y, work));
    void *x = feed_at(&c->x, work), *w = feed_at(&c->w, work), *y = feed_at(&c->y, work);
    if (c->has_raw && c->kind == AVS_CONV_FWD) y = work + c->off_raw;
    if (c->has_raw && c->kind == AVS_CONV_BWD_X) x = work + c->off_raw;
    if (c->has_raw && c->kind == AVS_CONV_BWD_W) w = work + c->off_raw;
    const float *bias = c->call.is_fused ? c->bias : NULL, *residual = c->call.is_fused ? c->residual : NULL;
    if (!c->is_gemm) {
        AVS_TRY(c->be->ops->conv_run(c->be->dev, &c->call, x, w, y, bias, residual, work + c->off_lib));
    } else { /* y = x w^T; x = y w; w = y^T x */
        const void *a = c->kind == AVS_CONV_FWD ? x : y, *b = c->kind == AVS_CONV_BWD_W ? x : w;
        float *to = c->kind == AVS_CONV_FWD ? y : c->kind == AVS_CONV_BWD_X ? x : w;
        AVS_TRY(c->be->ops->gemm_run(c->be->dev, &c->call, a, b, bias, residual, to, work + c->off_lib));
    }
    if (c->finish) {
        void *raw = work + c->off_raw;
        if (c->has_raw) memcpy((char *)c->finish->p + c->finish->work_at, &raw, sizeof raw);
        avs_cuda_launch l = *c->finish;
        l.work_at = SIZE_MAX;
        AVS_TRY(avs_cuda_launch_run(c->be, &l, NULL));
    }
out:
    return rc;
}

static int conv_prepare(void *ctx, void *workspace)
{
    const conv_ctx *c = ctx;
    (void)workspace;
    return feed_run(c->be, &c->w, NULL);
}

/* Plans the way of operand t; *at: the end of the workspace so far. */
static int feed_new(avs_backend *be, feed *f, const avs_tensor *t, bool must_turn, bool must_round,
                    bool is_const, size_t *at, avs_err *e)
{
    const int64_t n = avs_type_count(&t->type);
    const size_t bytes = (size_t)n * sizeof(float);
    void *own = NULL;
    *f = (feed){.at = must_turn || must_round ? NULL : t->data,
                .is_own = is_const && (must_turn || must_round)};
    if (f->is_own) { /* both copies in one piece: turned in front, rounded behind */
        int rc = avs_cuda_alloc(be, 2 * avs_cuda_round(bytes), "a turned or rounded weight", &own, e);
        if (rc != AVS_OK) return rc;
        f->at = (char *)own + (must_round ? avs_cuda_round(bytes) : 0);
    }
    if (must_turn) {
        const avs_turn_p p = {
            .x = t->data, .y = own, .I = t->type.d[1], .A = (int64_t)t->type.d[2] * t->type.d[3]};
        f->turn = AVS_CUDA_LAUNCH(be, turn, p, n, e);
        if (!f->turn) return AVS_ENOMEM;
        f->off_turn = *at;
        if (!own) *at += avs_cuda_round(bytes);
    }
    if (must_round) {
        const avs_round_p p = {.x = must_turn ? own : t->data, .y = own ? f->at : NULL};
        f->round = AVS_CUDA_LAUNCH(be, round, p, n, e);
        if (!f->round) return AVS_ENOMEM;
        f->off_round = *at;
        if (!own) *at += avs_cuda_round(bytes / 2);
    }
    return AVS_OK;
}

static uint32_t alignment(uintptr_t u)
{
    uint32_t a = 256;
    while (a > 4 && u % a) a /= 2;
    return a;
}

static avs_cuda_gemm gemm_of(const sides *s, const conv_ctx *c, int act)
{
    const avs_type *x = &s->x->type, *y = &s->y->type;
    const int64_t P = (int64_t)x->d[0] * x->d[1] * x->d[2], Ci = x->d[3], Co = y->d[3];
    const uint32_t align = alignment((uintptr_t)s->x->data | (uintptr_t)s->w->data | (uintptr_t)s->y->data |
                                     (uintptr_t)c->residual);
    avs_cuda_gemm g = {0};
    switch (s->kind) {
    case AVS_CONV_FWD:
        g = (avs_cuda_gemm){.M = P, .N = Co, .K = Ci, .lda = Ci, .ldb = Ci, .ldc = Co, .tb = true};
        g.has_bias = c->bias != NULL;
        g.has_residual = c->residual != NULL;
        g.act = act;
        break;
    case AVS_CONV_BWD_X:
        g = (avs_cuda_gemm){.M = P, .N = Ci, .K = Co, .lda = Co, .ldb = Ci, .ldc = Ci};
        break;
    case AVS_CONV_BWD_W:
        g = (avs_cuda_gemm){.M = Co, .N = Ci, .K = P, .lda = Co, .ldb = Ci, .ldc = Ci, .ta = true};
        break;
    }
    g.batch = 1;
    g.alpha = 1.f;
    g.align_a = g.align_b = g.align_c = align;
    return g;
}

static avs_cuda_conv conv_of(const avs_lower_req *r, const sides *s, const conv_ctx *c, int act)
{
    const avs_type *x = &s->x->type, *y = &s->y->type;
    const bool is_fwd = s->kind == AVS_CONV_FWD;
    return (avs_cuda_conv){.kind = s->kind,
                           .a = *(const avs_conv_attr *)r->g->node[r->node].attr,
                           .B = x->d[0],
                           .H = x->d[1],
                           .W = x->d[2],
                           .Ci = x->d[3],
                           .Ho = y->d[1],
                           .Wo = y->d[2],
                           .Co = y->d[3],
                           .has_bias = is_fwd && c->bias,
                           .has_residual = is_fwd && c->residual,
                           .act = is_fwd ? act : AVS_ACT_NONE,
                           .align = alignment((uintptr_t)s->x->data | (uintptr_t)s->w->data |
                                              (uintptr_t)s->y->data | (uintptr_t)c->residual)};
}

/* The library's call, in bf16 where asked for and possible. */
static int make_call(avs_backend *be, const avs_lower_req *r, const sides *s, conv_ctx *c, int act,
                     bool turn_back, bool *is_bf16, avs_err *e)
{
    *is_bf16 = be->math == AVS_MATH_BF16;
    for (;;) {
        int rc;
        avs_err *told = *is_bf16 ? NULL : e;
        if (c->is_gemm) {
            avs_cuda_gemm g = gemm_of(s, c, act);
            g.is_bf16 = *is_bf16;
            rc = be->ops->gemm_new(be->dev, &g, &c->call, told);
            c->call.is_fused = true;
        } else {
            avs_cuda_conv g = conv_of(r, s, c, act);
            g.is_bf16 = *is_bf16;
            g.needs_f32 = turn_back;
            rc = be->ops->conv_new(be->dev, &g, &c->call, told);
        }
        if (rc == AVS_OK || !*is_bf16) return rc;
        *is_bf16 = false;
    }
}

/* What the library left to do; result: the tensor that is written. */
static int make_finish(avs_backend *be, const sides *s, conv_ctx *c, int act, bool turn_back, avs_err *e)
{
    const avs_tensor *result = s->kind == AVS_CONV_FWD ? s->y : s->kind == AVS_CONV_BWD_X ? s->x : s->w;
    const int64_t n = avs_type_count(&result->type);
    if (turn_back) {
        const avs_turn_p p = {.y = result->data,
                              .I = result->type.d[1],
                              .A = (int64_t)result->type.d[2] * result->type.d[3],
                              .to_files = 1};
        c->finish = AVS_CUDA_LAUNCH(be, turn, p, n, e);
        if (c->finish) c->finish->work_at = offsetof(avs_turn_p, x);
        return c->finish ? AVS_OK : AVS_ENOMEM;
    }
    const bool wants = !c->call.is_fused && (c->bias || c->residual || act != AVS_ACT_NONE);
    if (!wants && !c->call.gives_bf16) return AVS_OK;
    const avs_epilogue_p p = {.x = result->data,
                              .bias = wants ? c->bias : NULL,
                              .residual = wants ? c->residual : NULL,
                              .y = result->data,
                              .C = result->type.d[result->type.rank - 1],
                              .act = wants ? act : AVS_ACT_NONE,
                              .is_bf16 = c->call.gives_bf16};
    c->finish = AVS_CUDA_LAUNCH(be, epilogue, p, n, e);
    if (c->finish) c->finish->work_at = offsetof(avs_epilogue_p, x);
    return c->finish ? AVS_OK : AVS_ENOMEM;
}

int avs_cuda_lower_conv(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    int rc = AVS_OK;
    const avs_conv_attr *a = r->g->node[r->node].attr;
    const sides s = sides_of(r);
    const int act = s.kind == AVS_CONV_FWD ? a->act : AVS_ACT_NONE;
    /* the libraries know ReLU alone: any other is the last pass, together with bias and residual */
    const int fused_act = act == AVS_ACT_RELU ? act : AVS_ACT_NONE;
    const bool is_late = act != fused_act;
    if (is_depthwise(a, &s.w->type, s.x->type.d[3])) return lower_depthwise(be, r, &s, out, e);
    conv_ctx *c = AVS_NEW(be->arena, conv_ctx);
    if (!c) return avs_fail(e, AVS_ENOMEM, "no memory for a step");
    *c = (conv_ctx){.be = be, .kind = s.kind, .is_gemm = is_product(a)};
    if (s.kind == AVS_CONV_FWD) {
        c->bias = r->in[2].data;
        c->residual = r->in[3].data;
    }
    const float *bias = c->bias, *residual = c->residual;
    if (is_late) c->bias = c->residual = NULL; /* not for the library */
    bool is_bf16;
    const bool must_turn = !c->is_gemm && !s.w_layout && turns(&s.w->type);
    const bool turn_back = must_turn && s.kind == AVS_CONV_BWD_W;
    AVS_TRY(make_call(be, r, &s, c, fused_act, turn_back, &is_bf16, e));
    c->bias = bias;
    c->residual = residual;
    if (is_late) c->call.is_fused = false;
    size_t at = 0;
    AVS_TRY(feed_new(be, &c->x, s.x, false, is_bf16 && s.kind != AVS_CONV_BWD_X, false, &at, e));
    AVS_TRY(feed_new(be, &c->w, s.w, must_turn && !turn_back, is_bf16 && s.kind != AVS_CONV_BWD_W,
                     s.w_is_const, &at, e));
    AVS_TRY(feed_new(be, &c->y, s.y, false, is_bf16 && s.kind != AVS_CONV_FWD, false, &at, e));
    AVS_TRY(make_finish(be, &s, c, act, turn_back, e));
    c->has_raw = c->call.gives_bf16 || turn_back;
    c->off_raw = at;
    const avs_tensor *result = s.kind == AVS_CONV_FWD ? s.y : s.kind == AVS_CONV_BWD_X ? s.x : s.w;
    if (c->has_raw) at += avs_cuda_round((size_t)avs_type_count(&result->type) * sizeof(float));
    c->off_lib = at;
    *out = (avs_step){.run = conv_run,
                      .prepare = c->w.is_own ? conv_prepare : NULL,
                      .ctx = c,
                      .workspace = at + c->call.workspace,
                      .impl = c->call.impl};
out:
    return rc;
}
