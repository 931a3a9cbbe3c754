/* Deformable attention core against the golden of the public implementation: output and the three gradients. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/probe.h"
#include "engine/backend/ref/eval.h"
#include "engine/tensor/safetensors.h"

typedef struct {
    avs_arena *arena;
    avs_json *json;
    avs_st_file st;
    avs_graph *g;
    avs_ref_run *run;
} golden;

/* The probe tensor that plays `role`, as an input of type t with a gradient wanted. */
static avs_val input(golden *c, const char *role, avs_type t)
{
    avs_val v = avs_input(c->g, role, t);
    avs_graph_want_grad(c->g, v);
    return v;
}

static void fill(golden *c, const char *role)
{
    const avs_json *list = avs_json_get(c->json, "inputs"), *in = NULL;
    for (size_t i = 0; i < list->len && !in; i++)
        if (strcmp(avs_json_str(avs_json_at(list, i), "role", ""), role) == 0) in = avs_json_at(list, i);
    assert_non_null(in);
    avs_val v = avs_graph_find(c->g, role);
    int64_t n = avs_type_count(avs_t(c->g, v)), want = 1;
    const avs_json *shape = avs_json_get(in, "shape");
    for (size_t i = 0; i < shape->len; i++) want *= avs_json_at(shape, i)->i;
    assert_int_equal(n, want);
    float *x = calloc((size_t)n, sizeof(*x));
    avs_probe_tensor(avs_json_str(in, "name", ""), n, avs_json_num(in, "scale", 0),
                     avs_json_num(in, "offset", 0), x);
    avs_ref_set_f32(c->run, v, x);
    free(x);
}

static void compare(golden *c, const char *tensor, avs_val v)
{
    const avs_st_tensor *t = avs_st_find(&c->st, tensor);
    assert_non_null(t);
    assert_int_equal(t->count, avs_type_count(avs_t(c->g, v)));
    float *want = calloc((size_t)t->count, sizeof(*want));
    double diff = 0, norm = 0;
    assert_int_equal(avs_st_f32(t, want, NULL), AVS_OK);
    for (int64_t i = 0; i < t->count; i++) {
        double d = avs_ref_at(c->run, v, i) - (double)want[i];
        diff += d * d;
        norm += (double)want[i] * (double)want[i];
    }
    free(want);
    if (!(norm > 0 && sqrt(diff / norm) < 1e-6))
        fail_msg("%s is off by %g of %g", tensor, sqrt(diff), sqrt(norm));
}

static void the_core_agrees_with_the_golden(void **state)
{
    golden c = {.arena = avs_arena_new()};
    avs_err e = AVS_ERR_INIT;
    (void)state;
    if (avs_json_file(c.arena, AVS_SOURCE_DIR "/tests/golden/ms-deform-attn.json", &c.json, &e) != AVS_OK ||
        avs_st_open(&c.st, AVS_SOURCE_DIR "/tests/golden/ms-deform-attn.safetensors", &e) != AVS_OK)
        fail_msg("%s", e.msg);
    c.g = avs_graph_new(c.arena, true);
    avs_msdeform_attr m = {.heads = 4, .levels = 3, .points = 4, .h = {6, 3, 2}, .w = {5, 4, 2}};
    avs_val y = avs_msdeform(c.g, input(&c, "value", AVS_F32T(2, 46, 32)),
                             input(&c, "sampling_locations", AVS_F32T(2, 7, 96)),
                             input(&c, "attention_weights", AVS_F32T(2, 7, 48)), &m);
    avs_val gy = avs_input(c.g, "grad_output", AVS_F32T(2, 7, 32));
    avs_backward(c.g, avs_reduce(c.g, avs_reshape(c.g, avs_mul(c.g, y, gy), AVS_F32T(448)), 0, 1, false));
    if (avs_ref_open(&c.run, c.g, AVS_F64, NULL, &e) != AVS_OK) fail_msg("%s", e.msg);
    fill(&c, "value");
    fill(&c, "sampling_locations");
    fill(&c, "attention_weights");
    fill(&c, "grad_output");
    assert_int_equal(avs_ref_exec(c.run, 0, &e), AVS_OK);
    compare(&c, "output", y);
    compare(&c, "grad_value", avs_graph_find_output(c.g, "grad:value"));
    compare(&c, "grad_sampling_locations", avs_graph_find_output(c.g, "grad:sampling_locations"));
    compare(&c, "grad_attention_weights", avs_graph_find_output(c.g, "grad:attention_weights"));
    avs_ref_close(c.run);
    avs_st_close(&c.st);
    avs_arena_free(c.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_core_agrees_with_the_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
