/* Running a plan, and saying what it consists of. The plain loop calls one function per step; the timed one is apart,
 * so that profiling costs nothing when off. */
#include "engine/plan/plan_impl.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"

static const char *op_name(const avs_plan *p, const avs_plan_step *s)
{
    return s->kind == AVS_STEP_NODE ? avs_op_rules[p->g->node[s->node].op].name : s->step.impl;
}

static const char *scope_name(const avs_plan *p, const avs_plan_step *s)
{
    const char *scope = s->kind == AVS_STEP_NODE ? p->g->node[s->node].scope : s->copy.key;
    return scope ? scope : "";
}

static int run_step(avs_plan *p, const avs_plan_step *s, avs_err *e)
{
    if (s->kind == AVS_STEP_COPY) {
        memcpy(s->copy.dst, s->copy.src, s->copy.bytes);
        return AVS_OK;
    }
    int rc = s->step.run(s->step.ctx, p->work);
    if (rc == AVS_OK) return AVS_OK;
    return avs_fail(e, (avs_code)rc, "step %s (%s) in '%s' failed: %s", op_name(p, s), s->step.impl,
                    scope_name(p, s),
                    rc == AVS_ERANGE ? "a target class lies outside the classes of the prediction"
                                     : avs_code_name((avs_code)rc));
}

static int prepare(avs_plan *p, const avs_plan_step *s, avs_err *e)
{
    if (!s->step.prepare) return AVS_OK;
    int rc = s->step.prepare(s->step.ctx, p->work);
    return rc == AVS_OK ? rc
                        : avs_fail(e, (avs_code)rc, "packing the weight of %s in '%s' failed", op_name(p, s),
                                   scope_name(p, s));
}

/* What depends on parameters and constants alone. */
static int run_prologue(avs_plan *p, avs_err *e)
{
    int rc = AVS_OK;
    for (int i = 0; i < p->n_prologue; i++) {
        AVS_TRY(prepare(p, &p->prologue[i], e));
        AVS_TRY(run_step(p, &p->prologue[i], e));
    }
    for (int i = 0; i < p->n_main; i++) AVS_TRY(prepare(p, &p->main[i], e));
    p->is_dirty = false;
out:
    return rc;
}

int avs_plan_run(avs_plan *p, avs_err *e)
{
    int rc = AVS_OK;
    if (p->is_dirty) AVS_TRY(run_prologue(p, e));
    avs_plan_io_begin(p);
    for (int i = 0; i < p->n_main; i++) AVS_TRY(run_step(p, &p->main[i], e));
    avs_plan_io_end(p);
out:
    return rc;
}

void avs_plan_set_step(avs_plan *p, int64_t step, int64_t sample0)
{
    p->rt.step = step;
    p->rt.sample0 = sample0;
}

avs_plan_stats avs_plan_get_stats(const avs_plan *p)
{
    return (avs_plan_stats){.arena_bytes = p->act_bytes,
                            .lower_bound_bytes = p->lower_bound,
                            .param_bytes = p->slab_bytes,
                            .workspace_bytes = p->work_bytes,
                            .n_steps = p->n_main,
                            .n_prologue = p->n_prologue,
                            .build_ms = p->build_ms};
}

/* ------------------------------------------------------------------ report */

/* Multiply-accumulates of one node; 0 for what is neither convolution nor matrix product. */
static int64_t node_macs(const avs_graph *g, const avs_node *n)
{
    const avs_type *w;
    switch (n->op) {
    case AVS_OP_CONV2D:
        w = avs_t(g, n->in[1]);
        return avs_type_count(avs_t(g, n->out[0])) * w->d[1] * w->d[2] * w->d[3];
    case AVS_OP_CONV2D_BWD_X:
        w = avs_t(g, n->in[1]);
        return avs_type_count(avs_t(g, n->in[0])) * w->d[1] * w->d[2] * w->d[3];
    case AVS_OP_CONV2D_BWD_W:
        w = avs_t(g, n->out[0]);
        return avs_type_count(avs_t(g, n->in[1])) * w->d[1] * w->d[2] * w->d[3];
    case AVS_OP_MATMUL: {
        const avs_matmul_attr *m = n->attr;
        const avs_type *a = avs_t(g, n->in[0]);
        int64_t K = m->ta ? a->d[a->rank - 2] : a->d[a->rank - 1];
        if (m->heads && m->a_split) K = m->ta ? a->d[1] : a->d[2] / m->heads;
        return avs_type_count(avs_t(g, n->out[0])) * K;
    }
    default:
        return 0;
    }
}

/* "g0.ew #12  ew  f32[1,56,56,64]" without a line end. */
static void describe(const avs_plan *p, const avs_plan_step *s, FILE *f)
{
    char shape[64] = "";
    if (s->kind == AVS_STEP_NODE) avs_type_text(avs_t(p->g, p->g->node[s->node].out[0]), shape, sizeof shape);
    fprintf(f, "%-14s %-24s %-22s %s", op_name(p, s), shape, s->step.impl, scope_name(p, s));
}

static void report_steps(const avs_plan *p, const char *title, const avs_plan_step *s, int n, FILE *f)
{
    fprintf(f, "%s: %d steps\n", title, n);
    for (int i = 0; i < n; i++) {
        if (s[i].kind == AVS_STEP_NODE) {
            const avs_node *node = &p->g->node[s[i].node];
            const avs_place *at = &p->place[node->out[0]];
            const char *in = node->out[0] && at->shares ? "in place" : "";
            fprintf(f, "%4d %12lld MAC %10zu B at %10td %-8s ", i, (long long)node_macs(p->g, node),
                    at->bytes, at->kind == AVS_AT_ARENA ? at->ptr - p->act : (ptrdiff_t)-1, in);
        } else {
            fprintf(f, "%4d %12d MAC %10zu B at %10d %-8s ", i, 0, s[i].copy.bytes, -1, "");
        }
        describe(p, &s[i], f);
        fputc('\n', f);
    }
}

void avs_plan_report(const avs_plan *p, FILE *f)
{
    report_steps(p, "prologue", p->prologue, p->n_prologue, f);
    report_steps(p, "main", p->main, p->n_main, f);
    fprintf(f,
            "activations %zu B (lower bound %zu B), parameters %zu B, fixed %zu B, workspace %zu B; built in "
            "%.0f ms\n",
            p->act_bytes, p->lower_bound, p->slab_bytes, p->fixed_bytes, p->work_bytes, p->build_ms);
}

/* ------------------------------------------------------------------ profile */

typedef struct {
    int64_t ns;
    int idx;
} timed;

static int by_time(const void *a, const void *b)
{
    const timed *x = a, *y = b;
    return x->ns != y->ns ? (x->ns > y->ns ? -1 : 1) : (x->idx > y->idx) - (x->idx < y->idx);
}

static void print_profile(const avs_plan *p, timed *t, FILE *f)
{
    int64_t total = 0, per_op[AVS_OP_COUNT + 1] = {0};
    int count[AVS_OP_COUNT + 1] = {0};
    for (int i = 0; i < p->n_main; i++) {
        int op = p->main[i].kind == AVS_STEP_NODE ? p->g->node[p->main[i].node].op : AVS_OP_COUNT;
        per_op[op] += t[i].ns;
        count[op]++;
        total += t[i].ns;
    }
    fprintf(f, "total %.3f ms in %d steps\n", (double)total * 1e-6, p->n_main);
    for (int op = 0; op <= AVS_OP_COUNT; op++)
        if (count[op])
            fprintf(f, "  %-14s %4d x %10.3f ms  %5.1f%%\n",
                    op < AVS_OP_COUNT ? avs_op_rules[op].name : "copy", count[op], (double)per_op[op] * 1e-6,
                    100.0 * (double)per_op[op] / (double)(total ? total : 1));
    qsort(t, (size_t)p->n_main, sizeof *t, by_time);
    for (int i = 0; i < p->n_main && i < 30; i++) {
        const avs_plan_step *s = &p->main[t[i].idx];
        int64_t macs = s->kind == AVS_STEP_NODE ? node_macs(p->g, &p->g->node[s->node]) : 0;
        fprintf(f, "%9.3f ms %7.1f GFLOP/s  ", (double)t[i].ns * 1e-6,
                2.0 * (double)macs / (double)(t[i].ns ? t[i].ns : 1));
        describe(p, s, f);
        fputc('\n', f);
    }
}

int avs_plan_profile(avs_plan *p, int runs, FILE *f, avs_err *e)
{
    int rc = AVS_OK;
    timed *t = avs_xalloc(sizeof *t * (size_t)(p->n_main + 1));
    if (!t) return avs_fail(e, AVS_ENOMEM, "no memory for a profile");
    for (int i = 0; i < p->n_main; i++) t[i] = (timed){INT64_MAX, i};
    AVS_TRY(avs_plan_run(p, e)); /* warm, and the prologue done */
    for (int r = 0; r < runs; r++) {
        avs_plan_io_begin(p);
        for (int i = 0; i < p->n_main; i++) {
            int64_t start = avs_now_ns();
            AVS_TRY(run_step(p, &p->main[i], e));
            int64_t ns = avs_now_ns() - start;
            if (ns < t[i].ns) t[i].ns = ns;
        }
        avs_plan_io_end(p);
    }
    print_profile(p, t, f);
out:
    avs_xfree(t);
    return rc;
}
