/* Kernels of one frame, as the plans of inference record them for a GPU: how many nodes the graph of a launch has, counted
 * on the emulated device without running them. A product or a convolution of a library counts as one. The lines "nodes .."
 * are what scripts/cuda-compile.sh --report makes its tables of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/backend/emul/emul.h"
#include "engine/plan/plan_impl.h"
#include "models/model.h"
#include "workers/net.h"

/* Steps and kernels of each kind of op; returns all kernels. */
static int64_t count_kinds(const char *model, avs_plan *p)
{
    int64_t total = 0;
    avs_err e = AVS_ERR_INIT;
    for (int op = 0; op < AVS_OP_COUNT; op++) {
        const int64_t before = emul_launches();
        int n_steps = 0;
        for (int i = 0; i < p->n_main; i++) {
            if (p->main[i].kind != AVS_STEP_NODE || p->g->node[p->main[i].node].op != op) continue;
            if (avs_plan_step_run(p, &p->main[i], &e) != AVS_OK) fail_msg("%s", e.msg);
            n_steps++;
        }
        const int64_t n = emul_launches() - before;
        if (n_steps) printf("nodes %s %s %d %lld\n", model, avs_op_rules[op].name, n_steps, (long long)n);
        total += n;
    }
    return total;
}

static avs_plan_stats recorded(const char *model)
{
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    avs_json *given = NULL;
    avs_cfg *cfg = NULL;
    avs_problem *problem = NULL;
    avs_net net;
    int h, w;
    const char *options = avs_arena_fmt(
        a, "{\"model\":\"%s\",\"task\":\"s4\",\"backbone\":\"resnet50\",\"resolution\":224}", model);
    if (avs_json_parse(a, "options", options, strlen(options), &given, &e) != AVS_OK ||
        avs_cfg_resolve(a, "latency", given, &cfg, &problem, &e) != AVS_OK)
        fail_msg("%s: %s", options, problem ? problem->text : e.msg);
    avs_cfg_size(cfg, "resolution", &h, &w);
    const avs_net_cfg nc = {.rows = 1, .clip_rows = 1, .height = h, .width = w, .bare = true};
    if (avs_net_open(&net, cfg, &nc, &e) != AVS_OK) fail_msg("%s: %s", options, e.msg);
    emul_count_only(true);
    for (int run = 0; run < 2; run++) /* the first one queues, the second records */
        if (avs_plan_run(net.plan, &e) != AVS_OK) fail_msg("%s: %s", options, e.msg);
    const avs_plan_stats s = avs_plan_get_stats(net.plan);
    assert_int_equal(count_kinds(model, net.plan), s.n_kernels);
    emul_count_only(false);
    printf("nodes %s all %d %d\n", model, s.n_steps, s.n_kernels);
    avs_net_close(&net);
    avs_arena_free(a);
    return s;
}

static void avsegformer_with_resnet50_is_one_launch_of_at_most_300_kernels(void **state)
{
    (void)state;
    const avs_plan_stats s = recorded("avsegformer");
    assert_true(s.n_kernels >= s.n_steps);
    assert_true(s.n_kernels <= 300);
}

static void avesformer_with_resnet50_is_one_launch_of_at_most_250_kernels(void **state)
{
    (void)state;
    const avs_plan_stats s = recorded("avesformer");
    assert_true(s.n_kernels >= s.n_steps);
    assert_true(s.n_kernels <= 250);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(avsegformer_with_resnet50_is_one_launch_of_at_most_300_kernels),
        cmocka_unit_test(avesformer_with_resnet50_is_one_launch_of_at_most_250_kernels),
    };
    setenv("AVSWEEP_BACKEND", "cuda-emul", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
