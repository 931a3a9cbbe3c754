/* A plan in words: its steps with their places, the memory at its fullest, where the multiplications are, the buckets. */
#include "engine/plan/plan_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *avs_plan_step_op(const avs_plan *p, const avs_plan_step *s)
{
    return s->kind == AVS_STEP_NODE ? avs_op_rules[p->g->node[s->node].op].name : s->step.impl;
}

const char *avs_plan_step_scope(const avs_plan *p, const avs_plan_step *s)
{
    const char *scope = s->kind == AVS_STEP_NODE ? p->g->node[s->node].scope : s->copy.key;
    return scope ? scope : "";
}

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

int64_t avs_plan_step_macs(const avs_plan *p, const avs_plan_step *s)
{
    return s->kind == AVS_STEP_NODE ? node_macs(p->g, &p->g->node[s->node]) : 0;
}

void avs_plan_describe(const avs_plan *p, const avs_plan_step *s, FILE *f)
{
    char shape[64] = "";
    if (s->kind == AVS_STEP_NODE) avs_type_text(avs_t(p->g, p->g->node[s->node].out[0]), shape, sizeof shape);
    fprintf(f, "%-14s %-24s %-22s %s", avs_plan_step_op(p, s), shape, s->step.impl,
            avs_plan_step_scope(p, s));
}

/* ------------------------------------------------------------------ non-finite values */

/* Element i of a value in the host's memory. */
static double element(const void *x, size_t i, bool is_wide)
{
    return is_wide ? ((const double *)x)[i] : (double)((const float *)x)[i];
}

static int check_output(const avs_plan *p, const avs_plan_step *s, int k, const void *x, avs_err *e)
{
    const avs_node *n = &p->g->node[s->node];
    const bool is_wide = p->cfg.prec == AVS_PREC_F64;
    const size_t count = p->place[n->out[k]].bytes / (is_wide ? sizeof(double) : sizeof(float));
    for (size_t i = 0; i < count; i++) {
        const double v = element(x, i, is_wide);
        if (isfinite(v)) continue;
        char shape[64];
        return avs_fail(e, AVS_ERANGE, "step %s (%s) in '%s' made %g: element %zu of output %d, %s",
                        avs_plan_step_op(p, s), s->step.impl, avs_plan_step_scope(p, s), v, i, k,
                        avs_type_text(avs_t(p->g, n->out[k]), shape, sizeof shape));
    }
    return AVS_OK;
}

int avs_plan_check_finite(avs_plan *p, const avs_plan_step *s, avs_err *e)
{
    int rc = AVS_OK;
    const avs_node *n = &p->g->node[s->node];
    for (int k = 0; k < n->n_out && rc == AVS_OK; k++) {
        const avs_place *at = &p->place[n->out[k]];
        if (!at->ptr || avs_t(p->g, n->out[k])->dtype != AVS_F32) continue;
        if (!p->ops->device) {
            rc = check_output(p, s, k, at->ptr, e);
            continue;
        }
        void *x = avs_xalloc(at->bytes);
        rc =
            x ? avs_plan_read(p, x, at->ptr, at->bytes, e) : avs_fail(e, AVS_ENOMEM, "no memory for a check");
        if (rc == AVS_OK) rc = check_output(p, s, k, x, e);
        avs_xfree(x);
    }
    return rc;
}

/* ------------------------------------------------------------------ steps */

static void report_place(const avs_plan *p, const avs_node *n, FILE *f)
{
    const avs_place *at = &p->place[n->out[0]];
    fprintf(f, "%11zu ", at->bytes);
    if (at->kind == AVS_AT_ARENA)
        fprintf(f, "%11td %s %-5d ", at->ptr - p->act, at->shares ? "over" : "  to", at->last);
    else
        fprintf(f, "%11s %10s ", at->kind == AVS_AT_GRAD ? "gradients" : "kept", "");
}

static void report_steps(const avs_plan *p, const char *title, const avs_plan_step *s, int n, FILE *f)
{
    fprintf(f, "%s: %d steps\n%5s %13s %11s %11s %10s %-14s %-24s %-22s %s\n", title, n, "step", "MAC",
            "bytes", "offset", "until", "op", "result", "kernel", "scope");
    for (int i = 0; i < n; i++) {
        fprintf(f, "%5d %13lld ", i, (long long)avs_plan_step_macs(p, &s[i]));
        if (s[i].kind == AVS_STEP_NODE)
            report_place(p, &p->g->node[s[i].node], f);
        else
            fprintf(f, "%11zu %11s %10s ", s[i].copy.bytes, "kept", "");
        avs_plan_describe(p, &s[i], f);
        (void)fputc('\n', f);
    }
}

/* ------------------------------------------------------------------ memory at its fullest */

typedef struct {
    ptrdiff_t off;
    size_t bytes;
    avs_val holds; /* the value that lies there at this step */
} lying;

static int by_offset(const void *a, const void *b)
{
    const lying *x = a, *y = b;
    return (x->off > y->off) - (x->off < y->off);
}

/* What lies in the activation slab at main step `step`, by offset; the number of entries. */
static int find_lying(const avs_plan *p, int step, lying *out)
{
    int n = 0;
    for (avs_val v = 1; v < p->g->n_v; v++) {
        const avs_place *at = &p->place[v];
        avs_val top = v;
        if (at->kind != AVS_AT_ARENA || at->first > step) continue;
        while (p->place[top].shares) top = p->place[top].shares;
        if (p->place[top].last < step) continue;
        const ptrdiff_t off = at->ptr - p->act;
        int k = 0;
        while (k < n && out[k].off != off) k++;
        if (k == n) out[n++] = (lying){off, at->bytes, v};
        if (at->first > p->place[out[k].holds].first) out[k].holds = v;
    }
    qsort(out, (size_t)n, sizeof *out, by_offset);
    return n;
}

static double megabytes(size_t bytes)
{
    return (double)bytes * 1e-6;
}

static void report_memory(const avs_plan *p, FILE *f)
{
    lying *at = avs_xalloc(sizeof *at * p->g->n_v);
    if (!at || !p->n_main) {
        avs_xfree(at);
        return;
    }
    const avs_plan_step *s = &p->main[p->peak_step];
    const int n = find_lying(p, p->peak_step, at);
    size_t sum = 0;
    for (int i = 0; i < n; i++) sum += at[i].bytes;
    fprintf(f,
            "memory at the fullest step, %d (%s%s%s): %.2f MB in %d places\n%11s %11s %13s %-14s %-24s %s\n",
            p->peak_step, avs_plan_step_op(p, s), *avs_plan_step_scope(p, s) ? " in " : "",
            avs_plan_step_scope(p, s), megabytes(sum), n, "offset", "bytes", "steps", "made by", "value",
            "scope");
    for (int i = 0; i < n; i++) {
        const avs_value *v = &p->g->v[at[i].holds];
        const avs_place *place = &p->place[at[i].holds];
        char shape[64];
        fprintf(f, "%11td %11zu %6d..%-5d %-14s %-24s %s\n", at[i].off, at[i].bytes, place->first,
                place->last, avs_op_rules[p->g->node[v->node].op].name,
                avs_type_text(&v->type, shape, sizeof shape),
                p->g->node[v->node].scope ? p->g->node[v->node].scope : "");
    }
    avs_xfree(at);
}

/* ------------------------------------------------------------------ scopes */

typedef struct {
    const char *scope;
    size_t len; /* of the part of it that counts: the first two words */
    int steps;
    int64_t macs;
} scope_row;

static size_t first_words(const char *scope)
{
    size_t n = strcspn(scope, ".");
    if (scope[n]) n += 1 + strcspn(scope + n + 1, ".");
    return n;
}

static void report_scopes(const avs_plan *p, FILE *f)
{
    scope_row *row = avs_xalloc(sizeof *row * (size_t)(p->n_main + 1));
    int n = 0;
    int64_t total = 0;
    for (int i = 0; row && i < p->n_main; i++) {
        const char *scope = p->main[i].kind == AVS_STEP_NODE ? avs_plan_step_scope(p, &p->main[i]) : "";
        const size_t len = first_words(scope);
        int k = 0;
        while (k < n && (row[k].len != len || strncmp(row[k].scope, scope, len) != 0)) k++;
        if (k == n) row[n++] = (scope_row){.scope = scope, .len = len};
        row[k].steps++;
        row[k].macs += avs_plan_step_macs(p, &p->main[i]);
        total += avs_plan_step_macs(p, &p->main[i]);
    }
    fprintf(f, "MACs per scope%s\n%10s %6s %6s  scope\n", p->cfg.training ? ", forward and backward" : "",
            "GMAC", "%", "steps");
    for (int k = 0; k < n; k++)
        fprintf(f, "%10.4f %6.2f %6d  %.*s\n", (double)row[k].macs * 1e-9,
                total ? 100.0 * (double)row[k].macs / (double)total : 0.0, row[k].steps,
                row[k].len ? (int)row[k].len : 7, row[k].len ? row[k].scope : "(none)");
    fprintf(f, "%10.4f %6.2f %6d  total\n", (double)total * 1e-9, total ? 100.0 : 0.0, p->n_main);
    avs_xfree(row);
}

void avs_plan_report(const avs_plan *p, FILE *f)
{
    report_steps(p, "prologue, after parameters were set", p->prologue, p->n_prologue, f);
    report_steps(p, "main", p->main, p->n_main, f);
    report_memory(p, f);
    report_scopes(p, f);
    for (int i = 0; i < p->n_bucket; i++)
        fprintf(f, "gradient bucket %d: %.2f MB from %lld, complete after step %d of %d\n", i,
                (double)p->bucket[i].len * 4e-6, (long long)p->bucket[i].off, p->bucket[i].step, p->n_main);
    fprintf(f, "slabs\n%10.2f MB  activations, %.3f of the lower bound of %.2f MB\n", megabytes(p->act_bytes),
            p->lower_bound ? (double)p->act_bytes / (double)p->lower_bound : 1.0, megabytes(p->lower_bound));
    if (p->slab_bytes)
        fprintf(f, "%10.2f MB  trained parameters\n%10.2f MB  their gradients\n", megabytes(p->slab_bytes),
                megabytes(p->slab_bytes));
    fprintf(f, "%10.2f MB  kept: other parameters, buffers, constants, inputs\n%10.2f MB  workspace\n",
            megabytes(p->fixed_bytes), megabytes(p->work_bytes));
    fprintf(f, "built in %.0f ms\n", p->build_ms);
}
