/* Makes operands: the f64 copy holds the values that the f32 operand has after rounding. */
#include "tests/engine/kernel/op_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

void *op_call_alloc(op_call *c, size_t bytes)
{
    void *p = NULL;
    assert_true(c->n_owned < 64);
    assert_int_equal(posix_memalign(&p, 64, bytes ? bytes : 1), 0);
    memset(p, 0xff, bytes);
    c->owned[c->n_owned++] = p;
    return p;
}

static float draw(avs_rng *r, op_fill fill)
{
    switch (fill) {
    case FILL_OFFSET:
        return (float)(100 + avs_rng_normal(r));
    case FILL_UNIT:
        return (float)avs_rng_uniform(r, 0, 1);
    case FILL_POSITIVE:
        return (float)avs_rng_uniform(r, 0.5, 2);
    case FILL_MASK:
        return (float)(avs_rng_u64(r) >> 63);
    case FILL_LOC:
        return (float)avs_rng_uniform(r, -0.3, 1.3);
    default:
        return (float)avs_rng_normal(r);
    }
}

static void make_input(op_call *c, int i, const op_case *k, avs_rng *r, bool with_f64)
{
    avs_tensor *a = &c->f32.in[i], *b = &c->f64.in[i];
    const int64_t n = avs_type_count(&k->in[i]);
    a->type = b->type = k->in[i];
    a->data = op_call_alloc(c, (size_t)n * avs_dtype_size((avs_dtype)a->type.dtype));
    if (a->type.dtype != AVS_F32) {
        for (int64_t j = 0; j < n; j++) {
            const int64_t v = avs_rng_range(r, 0, k->limit - 1);
            if (a->type.dtype == AVS_I32) ((int32_t *)a->data)[j] = (int32_t)v;
            if (a->type.dtype == AVS_U8) ((uint8_t *)a->data)[j] = (uint8_t)v;
        }
        b->data = a->data;
        return;
    }
    for (int64_t j = 0; j < n; j++) ((float *)a->data)[j] = draw(r, k->fill[i]);
    if (!with_f64) return;
    b->type.dtype = AVS_F64;
    b->data = op_call_alloc(c, (size_t)n * sizeof(double));
    for (int64_t j = 0; j < n; j++) ((double *)b->data)[j] = (double)((float *)a->data)[j];
}

void op_call_init(op_call *c, const op_case *k, uint64_t seed, bool with_f64)
{
    avs_rng r = avs_rng_seed(seed);
    avs_type out[AVS_MAX_OUT];
    avs_err e = {0};
    memset(c, 0, sizeof(*c));
    c->rt = (avs_runtime){.seed = 0x123456789abcdefull, .step = 41, .sample0 = 1003};
    c->f32.n_in = k->n_in;
    c->f32.n_out = avs_op_rules[k->op].n_out;
    c->f32.attr = k->attr;
    c->f32.rt = &c->rt;
    c->f64 = c->f32;
    for (int i = 0; i < k->n_in; i++)
        if (k->in[i].rank != 255) make_input(c, i, k, &r, with_f64);
    if (avs_op_rules[k->op].infer(k->in, k->n_in, k->attr, out, &e) != AVS_OK)
        fail_msg("%s (%s): %s", avs_op_rules[k->op].name, k->note, e.msg);
    for (int i = 0; i < c->f32.n_out; i++) {
        const size_t n = (size_t)avs_type_count(&out[i]);
        c->f32.out[i].type = c->f64.out[i].type = out[i];
        c->f32.out[i].data = op_call_alloc(c, n * avs_dtype_size((avs_dtype)out[i].dtype));
        if (!with_f64) continue;
        if (out[i].dtype == AVS_F32) c->f64.out[i].type.dtype = AVS_F64;
        c->f64.out[i].data = op_call_alloc(c, n * sizeof(double));
    }
}

void op_call_fini(op_call *c)
{
    for (int i = 0; i < c->n_owned; i++) free(c->owned[i]);
    c->n_owned = 0;
}

int op_call_run(op_call *c, const avs_cpu_kernel *kernel)
{
    const int mark = c->n_owned;
    avs_cpu_call call = {.k = c->f32};
    const size_t bytes = kernel->work ? kernel->work(&c->f32) : 0;
    if (bytes) call.work = op_call_alloc(c, bytes);
    for (int i = 0; i < c->f32.n_out; i++) {
        const avs_type *t = &c->f32.out[i].type;
        memset(c->f32.out[i].data, 0xff, (size_t)avs_type_count(t) * avs_dtype_size((avs_dtype)t->dtype));
    }
    const int rc = kernel->fn(&call);
    while (c->n_owned > mark) free(c->owned[--c->n_owned]);
    return rc;
}
