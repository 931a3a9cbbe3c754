/* The planner's promise on what is built in: activations take at most 1.10 of the largest sum of values that live at a
 * time, for every model and backbone, in inference and in training, with a budget and without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "engine/graph/ops.h"
#include "models/model.h"
#include "workers/bare.h"

static void check(const avs_graph *g, const char *what, bool training, size_t budget)
{
    avs_err e = AVS_ERR_INIT;
    avs_plan *p = NULL;
    const avs_plan_cfg cfg = {.backend = "cpu", .training = training, .mem_budget = budget};
    if (avs_plan_build(&p, g, &cfg, &e) != AVS_OK) fail_msg("%s: %s", what, e.msg);
    const avs_plan_stats s = avs_plan_get_stats(p);
    avs_plan_free(p);
    printf("%-20s %-9s budget %zu: %9zu of %9zu B, %.3f\n", what, training ? "training" : "inference", budget,
           s.arena_bytes, s.lower_bound_bytes, (double)s.arena_bytes / (double)s.lower_bound_bytes);
    assert_true(s.arena_bytes >= s.lower_bound_bytes && s.lower_bound_bytes > 0);
    if ((double)s.arena_bytes > 1.10 * (double)s.lower_bound_bytes)
        fail_msg("%s: %zu B", what, s.arena_bytes);
}

static void backbones_stay_within_a_tenth_of_the_lower_bound(void **state)
{
    (void)state;
    const char *const names[] = {"resnet18",    "resnet34",    "resnet50",     "pvt_v2_b0",
                                 "pvt_v2_b2",   "pvt_v2_b5",   "swin_b",       "sam_vit_b",
                                 "seaformer_t", "seaformer_l", "mobilenet_v2", "vggish"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int way = 0; way < 3; way++) {
            avs_err e = AVS_ERR_INIT;
            avs_arena *a = avs_arena_new();
            avs_graph *g = avs_graph_new(a, way > 0);
            const avs_bare_cfg cfg = {
                .name = names[i], .rows = 2, .height = 64, .width = 64, .training = way > 0};
            avs_val out[4] = {0}, loss = 0;
            int n = 0;
            if (avs_bare_append(g, &cfg, out, &n, &e) != AVS_OK) fail_msg("%s", e.msg);
            for (int k = 0; k < n; k++) {
                char name[16];
                snprintf(name, sizeof name, "out%d", k);
                avs_graph_output(g, name, out[k]);
                avs_val part =
                    avs_reduce(g, avs_ew_unary(g, AVS_EW_SQUARE, out[k]), 0, avs_t(g, out[k])->rank, true);
                part = avs_reshape(g, part, AVS_F32T(1));
                loss = loss ? avs_add(g, loss, part) : part;
            }
            if (way > 0) avs_backward(g, loss);
            check(g, names[i], way > 0, way == 2);
            avs_arena_free(a);
        }
}

static void models_stay_within_a_tenth_of_the_lower_bound(void **state)
{
    (void)state;
    for (int i = 0; avs_model_at(i); i++)
        for (int way = 0; way < 3; way++) {
            avs_err e = AVS_ERR_INIT;
            avs_arena *a = avs_arena_new();
            avs_json *given = avs_json_new(a, AVS_J_OBJ);
            avs_cfg *cfg = NULL;
            avs_problem *problem = NULL;
            avs_model_io io = {0};
            const avs_model_rule *rule = avs_model_at(i);
            int h, w;
            avs_json_add_str(a, given, "model", rule->name);
            /* small: some systems take 1024 x 1024 by default, and then gigabytes */
            avs_json_add_int(a, given, "frames", 2);
            avs_json_add_int(a, given, "resolution", 256);
            if (avs_cfg_resolve(a, "latency", given, &cfg, &problem, &e) != AVS_OK)
                fail_msg("%s: %s", rule->name, problem ? problem->text : e.msg);
            avs_cfg_size(cfg, "resolution", &h, &w);
            const avs_build b = {.rows = (int)avs_cfg_int(cfg, "frames"),
                                 .height = h,
                                 .width = w,
                                 .training = way > 0,
                                 .with_loss = way > 0};
            avs_graph *g = avs_graph_new(a, way > 0);
            if (rule->build(g, cfg, &b, &io, &e) != AVS_OK) fail_msg("%s: %s", rule->name, e.msg);
            if (way > 0) avs_backward(g, io.loss);
            check(g, rule->name, way > 0, way == 2);
            avs_arena_free(a);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backbones_stay_within_a_tenth_of_the_lower_bound),
        cmocka_unit_test(models_stay_within_a_tenth_of_the_lower_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
