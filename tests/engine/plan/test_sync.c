/* Batch statistics over ranks: ranks with a share of the rows each, whose sums are added, compute what one plan computes
 * over all rows: outputs, loss, gradients, running statistics; with any backend, with and without the passes that fuse, make
 * again and recompute. Without the sums they do not, so the comparison can fail.
 *
 * The ranks are plans of this process that run one after the other: as what a rank hands over does not depend on what it gets
 * back for it, round k gives every rank the totals of its first k sums and learns the next one. */
#include "tests/engine/plan/nets.h"

#include "engine/plan/plan.h"

enum { ROWS = 8, SIDE = 6, RANKS = 4, SUMS = 64, LENGTH = 64 };

typedef struct {
    double own[RANKS][SUMS][LENGTH];
    int64_t length[SUMS];
    int rank, ranks, known, at;
} table;

static int hand_over(void *ctx, double *x, int64_t n, avs_err *e)
{
    table *t = ctx;
    const int i = t->at++;
    if (i >= SUMS || n > LENGTH) return avs_fail(e, AVS_ERANGE, "sum %d of %lld numbers", i, (long long)n);
    if (t->rank == 0) t->length[i] = n;
    if (t->length[i] != n)
        return avs_fail(e, AVS_ESHAPE, "rank %d hands over %lld numbers in sum %d", t->rank, (long long)n, i);
    memcpy(t->own[t->rank][i], x, (size_t)n * sizeof *x);
    for (int64_t k = 0; k < n && i < t->known; k++) {
        x[k] = t->own[0][i][k];
        for (int r = 1; r < t->ranks; r++) x[k] += t->own[r][i][k];
    }
    return AVS_OK;
}

/* Normalised maps with and without a ReLU behind them, a residual, and one layer that is called twice. The input is far
 * from the running means. */
static avs_graph *net(avs_arena *a, int rows, bool is_sync)
{
    avs_graph *g = avs_graph_new(a, true);
    g->is_bn_sync = is_sync;
    const avs_init one = {AVS_INIT_ONE, 0, 0, 0}, zero = {AVS_INIT_ZERO, 0, 0, 0};
    avs_val x = avs_input(g, "x", AVS_F32T(rows, SIDE, SIDE, 3));
    x = avs_relu(g, net_conv_bn(g, "stem", x, 8, 3, 1, 1, true));
    for (int i = 0; i < 2; i++) {
        avs_scope_push(g, "block%d", i);
        avs_val y = avs_relu(g, net_conv_bn(g, "1", x, 8, 3, 1, 1, true));
        x = avs_relu(g, avs_add(g, x, net_conv_bn(g, "2", y, 8, 1, 1, 1, true)));
        avs_scope_pop(g);
    }
    const avs_val gamma = avs_param(g, "last.weight", AVS_F32T(8), one),
                  beta = avs_param(g, "last.bias", AVS_F32T(8), zero),
                  mean = avs_buffer(g, "last.running_mean", AVS_F32T(8), zero),
                  var = avs_buffer(g, "last.running_var", AVS_F32T(8), one);
    for (int i = 0; i < 2; i++)
        x = avs_gelu(g, avs_batchnorm(g, x, gamma, beta, mean, var, 1e-5f, 0.1f, true));
    avs_graph_output(g, "y", x);
    const avs_val loss = net_loss(g, net_linear(g, "head", x, 3));
    avs_graph_output(g, "loss", loss);
    avs_backward(g, loss);
    return g;
}

/* Rows of rank r differ from the others' in mean and width, so its own statistics are far from those of all. */
static void fill(avs_plan *p, int first, int rows)
{
    avs_type t;
    float *x = avs_plan_input(p, "x", &t), *all = malloc(sizeof(float) * ROWS * SIDE * SIDE * 3);
    avs_probe_tensor("x", (int64_t)ROWS * SIDE * SIDE * 3, 1.0, 0.0, all);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < SIDE * SIDE * 3; i++)
            x[r * SIDE * SIDE * 3 + i] =
                20.F + (float)(first + r) + all[(first + r) * SIDE * SIDE * 3 + i] * (float)(1 + first + r);
    free(all);
}

static avs_plan *open_plan(avs_arena *a, const avs_graph *g, const avs_plan_cfg *cfg, int first, int rows)
{
    avs_err e = AVS_ERR_INIT;
    avs_plan *p = NULL;
    (void)a;
    if (avs_plan_build(&p, g, cfg, &e) != AVS_OK) fail_msg("%s", e.msg);
    net_load(p, g);
    fill(p, first, rows);
    return p;
}

/* Every rank once. Between runs running statistics are set back. Returns how many sums there were. */
static int run_ranks(avs_plan **p, const avs_graph *g, table *t)
{
    for (t->rank = 0; t->rank < t->ranks; t->rank++) {
        avs_err e = AVS_ERR_INIT;
        t->at = 0;
        net_load(p[t->rank], g);
        fill(p[t->rank], t->rank * ROWS / t->ranks, ROWS / t->ranks);
        if (avs_plan_run(p[t->rank], &e) != AVS_OK) fail_msg("%s", e.msg);
    }
    return t->at;
}

static double distance(const float *have, const float *want, int64_t n)
{
    double d = 0, s = 0;
    for (int64_t i = 0; i < n; i++) {
        d += ((double)have[i] - (double)want[i]) * ((double)have[i] - (double)want[i]);
        s += (double)want[i] * (double)want[i];
    }
    return sqrt(d) / (sqrt(s) + 1e-3 * sqrt((double)n));
}

/* One named result of all ranks: rows one behind the other for y, running statistics (the same bits on all), else means. */
static void gather(avs_plan **p, int ranks, const char *name, bool is_update, int64_t n, float *out)
{
    float *one = malloc((size_t)n * sizeof *one);
    const bool is_rows = !strcmp(name, "y");
    const int64_t part = is_rows ? n / ranks : n;
    for (int r = 0; r < ranks; r++) {
        if (is_update)
            assert_int_equal(avs_plan_param_get(p[r], name, one, NULL), AVS_OK);
        else
            net_output(p[r], name, part, one);
        if (is_rows)
            memcpy(out + r * part, one, (size_t)part * sizeof *out);
        else if (is_update && r)
            assert_memory_equal(out, one, (size_t)n * sizeof *out);
        else
            for (int64_t i = 0; i < n; i++)
                out[i] = (r ? out[i] : 0) + one[i] / (is_update ? 1.F : (float)ranks);
    }
    free(one);
}

/* Largest distance of any result of `ranks` plans from those of one over all rows, on the oracle. *n_sums: per step. */
static double worst(const avs_plan_cfg *cfg, int ranks, bool is_sync, int *n_sums)
{
    avs_arena *a = avs_arena_new();
    avs_err e = AVS_ERR_INIT;
    avs_graph *g = net(a, ROWS, false), *share = net(a, ROWS / ranks, is_sync);
    const avs_plan_cfg oracle = {.backend = "ref", .prec = AVS_PREC_F64, .training = true};
    avs_plan *whole = open_plan(a, g, &oracle, 0, ROWS), *p[RANKS] = {NULL};
    table *t = calloc(1, sizeof *t);
    double far = 0;
    assert_non_null(t);
    t->ranks = ranks;
    if (avs_plan_run(whole, &e) != AVS_OK) fail_msg("%s", e.msg);
    for (int r = 0; r < ranks; r++) {
        p[r] = open_plan(a, share, cfg, r * ROWS / ranks, ROWS / ranks);
        avs_plan_on_sum(p[r], hand_over, t);
    }
    *n_sums = run_ranks(p, share, t);
    for (t->known = 1; t->known <= *n_sums; t->known++) assert_int_equal(run_ranks(p, share, t), *n_sums);
    for (uint32_t i = 0; i < g->n_output + g->n_update; i++) {
        const bool is_update = i >= g->n_output;
        const avs_val v = is_update ? g->update[i - g->n_output].buffer : g->output[i].val;
        const char *name = is_update ? g->v[v].name : g->output[i].name;
        const int64_t n = avs_type_count(avs_t(g, v));
        float *have = malloc((size_t)n * sizeof *have), *want = malloc((size_t)n * sizeof *want);
        if (is_update && !is_sync) { /* every rank has its own */
            free(have);
            free(want);
            continue;
        }
        gather(&whole, 1, name, is_update, n, want);
        gather(p, ranks, name, is_update, n, have);
        const double d = distance(have, want, n);
        if (!(d <= far)) far = d;
        free(have);
        free(want);
    }
    for (int r = 0; r < ranks; r++) avs_plan_free(p[r]);
    avs_plan_free(whole);
    avs_arena_free(a);
    free(t);
    return far;
}

static void ranks_with_common_statistics_are_one_large_batch(void **state)
{
    (void)state;
    static const struct {
        const char *backend;
        avs_prec prec;
        double bound;
    } all[] = {{"ref", AVS_PREC_F64, 1e-6}, {"cpu", AVS_PREC_F32, 1e-4}, {"cuda-emul", AVS_PREC_F32, 1e-4}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int ranks = 2; ranks <= RANKS; ranks += 2) {
            int n_sums;
            const avs_plan_cfg cfg = {.backend = all[i].backend, .prec = all[i].prec, .training = true};
            const double d = worst(&cfg, ranks, true, &n_sums);
            printf("%s, %d ranks: %d sums, %.2g from one batch\n", all[i].backend, ranks, n_sums, d);
            assert_true(n_sums >= 14); /* seven calls of a normalisation, forward and backward */
            if (!(d <= all[i].bound)) fail_msg("%s, %d ranks: %.3g", all[i].backend, ranks, d);
        }
}

static void each_rank_with_its_own_statistics_is_far_from_one_batch(void **state)
{
    (void)state;
    int n_sums;
    const avs_plan_cfg cfg = {.backend = "cpu", .training = true};
    const double d = worst(&cfg, 2, false, &n_sums);
    assert_int_equal(n_sums, 0);
    assert_true(d > 0.05);
}

/* Recomputed forwards hand over their moments again, in the order of the steps. */
static void passes_and_a_memory_budget_change_nothing(void **state)
{
    (void)state;
    int n_sums, n_more;
    const double plain =
        worst(&(avs_plan_cfg){.backend = "cpu", .training = true, .passes_off = ~0U}, 2, true, &n_sums);
    const double small =
        worst(&(avs_plan_cfg){.backend = "cpu", .training = true, .mem_budget = 1}, 2, true, &n_more);
    assert_true(plain <= 1e-4);
    assert_true(small <= 1e-4);
    assert_int_equal(n_sums, 14);
    assert_true(n_more > n_sums);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): an avs_sum_fn */
static int refuse(void *ctx, double *x, int64_t n, avs_err *e)
{
    (void)x;
    (void)n;
    return ++*(int *)ctx == 3 ? avs_fail(e, AVS_ECANCEL, "the other rank is gone") : AVS_OK;
}

static void a_sum_that_fails_ends_the_run_with_its_own_words(void **state)
{
    (void)state;
    static const char *const backends[] = {"ref", "cpu", "cuda-emul"};
    avs_arena *a = avs_arena_new();
    const avs_graph *g = net(a, ROWS, true);
    for (int i = 0; i < 3; i++) {
        int calls = 0;
        avs_err e = AVS_ERR_INIT;
        avs_plan *p = open_plan(a, g, &(avs_plan_cfg){.backend = backends[i], .training = true}, 0, ROWS);
        avs_plan_on_sum(p, refuse, &calls);
        assert_int_equal(avs_plan_run(p, &e), AVS_ECANCEL);
        assert_non_null(strstr(e.msg, "the other rank is gone"));
        assert_non_null(strstr(e.msg, "batchnorm"));
        avs_plan_on_sum(p, NULL, NULL);
        if (avs_plan_run(p, &e) != AVS_OK) fail_msg("%s", e.msg);
        avs_plan_free(p);
    }
    avs_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_with_common_statistics_are_one_large_batch),
        cmocka_unit_test(each_rank_with_its_own_statistics_is_far_from_one_batch),
        cmocka_unit_test(passes_and_a_memory_budget_change_nothing),
        cmocka_unit_test(a_sum_that_fails_ends_the_run_with_its_own_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
