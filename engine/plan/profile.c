/* Where the time of a run goes: the least of several timings per step, by kind and by step, and one run as a trace for a
 * browser's timeline (chrome://tracing, Perfetto). */
#include "engine/plan/plan_impl.h"

#include <stdlib.h>
#include "base/log.h"

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
        const int64_t macs = avs_plan_step_macs(p, s);
        fprintf(f, "%9.3f ms %7.1f GFLOP/s  ", (double)t[i].ns * 1e-6,
                2.0 * (double)macs / (double)(t[i].ns ? t[i].ns : 1));
        avs_plan_describe(p, s, f);
        (void)fputc('\n', f);
    }
}

/* Inputs and counters, as in a run. */
static int begin(avs_plan *p, avs_err *e)
{
    int rc = avs_plan_io_begin(p, e);
    if (rc == AVS_OK && p->ops->device) rc = p->ops->device->begin(p->be, &p->rt, e);
    return rc == AVS_OK ? avs_plan_wait(p, e) : rc;
}

int avs_plan_profile(avs_plan *p, int runs, FILE *f, avs_err *e)
{
    int rc = AVS_OK;
    timed *t = avs_xalloc(sizeof *t * (size_t)(p->n_main + 1));
    if (!t) return avs_fail(e, AVS_ENOMEM, "no memory for a profile");
    for (int i = 0; i < p->n_main; i++) t[i] = (timed){INT64_MAX, i};
    AVS_TRY(avs_plan_run(p, e)); /* warm, and the prologue done */
    for (int r = 0; r < runs; r++) {
        AVS_TRY(begin(p, e));
        for (int i = 0; i < p->n_main; i++) {
            int64_t start = avs_now_ns();
            AVS_TRY(avs_plan_step_run(p, &p->main[i], e));
            AVS_TRY(avs_plan_wait(p, e));
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

/* Keys and scopes hold no quotes or control characters; any that did would be left out. */
static void put_text(const char *s, FILE *f)
{
    for (; *s; s++)
        if (*s >= ' ' && *s != '"' && *s != '\\') (void)fputc(*s, f);
}

int avs_plan_trace(avs_plan *p, FILE *f, avs_err *e)
{
    int rc = AVS_OK;
    int64_t *at = avs_xalloc(sizeof *at * (size_t)(p->n_main + 1));
    if (!at) return avs_fail(e, AVS_ENOMEM, "no memory for a trace");
    AVS_TRY(avs_plan_run(p, e));
    AVS_TRY(begin(p, e));
    for (int i = 0; i < p->n_main; i++) {
        at[i] = avs_now_ns();
        AVS_TRY(avs_plan_step_run(p, &p->main[i], e));
        AVS_TRY(avs_plan_wait(p, e));
    }
    at[p->n_main] = avs_now_ns();
    avs_plan_io_end(p);
    fprintf(f, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[");
    for (int i = 0; i < p->n_main; i++) {
        const avs_plan_step *s = &p->main[i];
        fprintf(f,
                "%s\n{\"name\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":%.3f,\"dur\":%.3f,\"args\":{",
                i ? "," : "", avs_plan_step_op(p, s), (double)(at[i] - at[0]) * 1e-3,
                (double)(at[i + 1] - at[i]) * 1e-3);
        fprintf(f, "\"step\":%d,\"macs\":%lld,\"impl\":\"", i, (long long)avs_plan_step_macs(p, s));
        put_text(s->step.impl, f);
        fprintf(f, "\",\"scope\":\"");
        put_text(avs_plan_step_scope(p, s), f);
        fprintf(f, "\"}}");
    }
    fprintf(f, "\n]}\n");
    if (ferror(f)) rc = avs_fail(e, AVS_EIO, "the trace could not be written");
out:
    avs_xfree(at);
    return rc;
}
