/* What a plan promises beyond its numbers: memory, slabs, packing, repeatability, errors. */
#include <omp.h>
#include "base/json.h"
#include "tests/engine/plan/nets.h"

typedef struct {
    avs_arena *arena;
    avs_graph *g;
    avs_plan *p;
} built;

static built build(net_fn net, avs_plan_cfg cfg)
{
    avs_err e = AVS_ERR_INIT;
    built b = {.arena = avs_arena_new()};
    b.g = net(b.arena);
    if (avs_plan_build(&b.p, b.g, &cfg, &e) != AVS_OK) fail_msg("%s", e.msg);
    net_load(b.p, b.g);
    avs_plan_set_step(b.p, 3, 7);
    return b;
}

static void drop(built *b)
{
    avs_plan_free(b->p);
    avs_arena_free(b->arena);
}

static const avs_plan_cfg train_cfg = {.backend = "cpu", .training = true, .dropout_seed = 5};
static const avs_plan_cfg eval_cfg = {.backend = "cpu"};

static void must_run(avs_plan *p)
{
    avs_err e = AVS_ERR_INIT;
    if (avs_plan_run(p, &e) != AVS_OK) fail_msg("%s", e.msg);
}

/* ------------------------------------------------------------------ repeatability */

static void running_twice_gives_the_same_bytes(void **state)
{
    (void)state;
    const net_fn nets[] = {net_conv_train, net_mixed_train, net_attention_train};
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        built b = build(nets[i], train_cfg);
        int64_t n;
        const float *grad = avs_plan_slab(b.p, AVS_SLAB_GRAD, &n);
        float *first = malloc((size_t)n * sizeof *first);
        must_run(b.p);
        memcpy(first, grad, (size_t)n * sizeof *first);
        float loss = *(const float *)avs_plan_output(b.p, "loss", NULL);
        net_load(b.p, b.g); /* running statistics moved on */
        must_run(b.p);
        assert_memory_equal(first, grad, (size_t)n * sizeof *first);
        assert_memory_equal(&loss, avs_plan_output(b.p, "loss", NULL), sizeof loss);
        free(first);
        drop(&b);
    }
}

static void thread_count_does_not_change_the_forward(void **state)
{
    (void)state;
    float y[2][2 * 13 * 32], grad[2][40 * 32];
    int before = omp_get_max_threads();
    for (int t = 0; t < 2; t++) {
        omp_set_num_threads(t + 1);
        built b = build(net_attention_train, train_cfg);
        must_run(b.p);
        net_output(b.p, "y", 2 * 13 * 32, y[t]);
        assert_int_equal(avs_plan_grad_get(b.p, "f1.weight", grad[t], NULL), AVS_OK);
        drop(&b);
    }
    omp_set_num_threads(before);
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    double want[40 * 32];
    for (int i = 0; i < 40 * 32; i++) want[i] = (double)grad[0][i];
    assert_true(net_rel_l2(grad[1], want, 40 * 32) < 1e-6);
}

/* ------------------------------------------------------------------ memory */

static void activations_stay_within_a_tenth_of_the_lower_bound(void **state)
{
    (void)state;
    const net_fn nets[] = {net_conv_eval, net_conv_train, net_mixed_train, net_attention_eval,
                           net_attention_train};
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        built b = build(nets[i], i == 0 || i == 3 ? eval_cfg : train_cfg);
        avs_plan_stats s = avs_plan_get_stats(b.p);
        assert_true(s.arena_bytes >= s.lower_bound_bytes);
        assert_true((double)s.arena_bytes <= 1.10 * (double)s.lower_bound_bytes);
        drop(&b);
    }
}

static void sharing_memory_needs_less_than_keeping_all(void **state)
{
    (void)state;
    avs_plan_cfg keep = eval_cfg;
    keep.keep_all = true;
    built a = build(net_conv_eval, eval_cfg), b = build(net_conv_eval, keep);
    assert_true(4 * avs_plan_get_stats(a.p).arena_bytes < 3 * avs_plan_get_stats(b.p).arena_bytes);
    drop(&a);
    drop(&b);
}

static void a_budget_lowers_the_memory_of_training(void **state)
{
    (void)state;
    avs_plan_cfg tight = train_cfg;
    built a = build(net_tower_train, train_cfg);
    const size_t all = avs_plan_get_stats(a.p).arena_bytes;
    tight.mem_budget = 1;
    built b = build(net_tower_train, tight);
    tight.mem_budget = all;
    built c = build(net_tower_train, tight);
    assert_true(2 * avs_plan_get_stats(b.p).arena_bytes < all); /* four layers, one of them at a time */
    assert_true(avs_plan_get_stats(c.p).arena_bytes <= all);
    assert_true(avs_plan_get_stats(c.p).n_steps < avs_plan_get_stats(b.p).n_steps);
    drop(&a);
    drop(&b);
    drop(&c);
}

static void the_schedule_keeps_every_bit(void **state)
{
    (void)state;
    const net_fn nets[] = {net_conv_train, net_mixed_train, net_attention_train, net_tower_train};
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        avs_plan_cfg given = train_cfg;
        given.passes_off = AVS_PASS_SCHEDULE;
        built a = build(nets[i], train_cfg), b = build(nets[i], given);
        must_run(a.p);
        must_run(b.p);
        assert_true(avs_plan_get_stats(a.p).arena_bytes <= avs_plan_get_stats(b.p).arena_bytes);
        assert_memory_equal(avs_plan_output(a.p, "loss", NULL), avs_plan_output(b.p, "loss", NULL),
                            sizeof(float));
        for (int k = 0; k < avs_plan_n_params(a.p); k++) {
            const avs_plan_param *q = avs_plan_param_at(a.p, k);
            const size_t bytes = (size_t)avs_type_count(&q->type) * sizeof(float);
            float *x = malloc(bytes), *y = malloc(bytes);
            assert_int_equal(avs_plan_grad_get(a.p, q->key, x, NULL), AVS_OK);
            assert_int_equal(avs_plan_grad_get(b.p, q->key, y, NULL), AVS_OK);
            assert_memory_equal(x, y, bytes);
            free(x);
            free(y);
        }
        drop(&a);
        drop(&b);
    }
}

static void passes_shorten_the_plan(void **state)
{
    (void)state;
    avs_plan_cfg plain = eval_cfg;
    plain.passes_off = AVS_PASS_EVERY;
    built a = build(net_conv_eval, eval_cfg), b = build(net_conv_eval, plain);
    /* 7 convolutions with their epilogues, pooling, resizing */
    assert_int_equal(avs_plan_get_stats(a.p).n_steps, 9);
    assert_true(avs_plan_get_stats(b.p).n_steps > 20);
    drop(&a);
    drop(&b);
}

/* ------------------------------------------------------------------ parameters */

static void the_slab_holds_every_gradient_apart_and_aligned(void **state)
{
    (void)state;
    built b = build(net_conv_train, train_cfg);
    int64_t n, n_grad, end_of[64][2];
    int k = 0;
    float *param = avs_plan_slab(b.p, AVS_SLAB_PARAM, &n), *grad = avs_plan_slab(b.p, AVS_SLAB_GRAD, &n_grad);
    assert_int_equal(n, n_grad);
    assert_int_equal((uintptr_t)param % 64, 0);
    assert_int_equal((uintptr_t)grad % 64, 0);
    for (int i = 0; i < avs_plan_n_params(b.p); i++) {
        const avs_plan_param *q = avs_plan_param_at(b.p, i);
        assert_int_equal(q->is_trainable, q->kind == AVS_V_PARAM);
        if (!q->is_trainable) continue;
        assert_int_equal(q->slab_off % 16, 0);
        assert_true(q->slab_len >= avs_type_count(&q->type));
        assert_true(q->slab_off >= 0 && q->slab_off + q->slab_len <= n);
        for (int j = 0; j < k; j++)
            assert_true(end_of[j][1] <= q->slab_off || q->slab_off + q->slab_len <= end_of[j][0]);
        end_of[k][0] = q->slab_off;
        end_of[k++][1] = q->slab_off + q->slab_len;
    }
    assert_true(k > 15);
    drop(&b);
}

/* Backward reaches the last layer first, so its gradient comes first. */
static void the_slab_is_in_order_of_completion(void **state)
{
    (void)state;
    built b = build(net_attention_train, train_cfg);
    assert_true(avs_plan_param_find(b.p, "f2.weight")->slab_off <
                avs_plan_param_find(b.p, "f1.weight")->slab_off);
    assert_true(avs_plan_param_find(b.p, "f1.weight")->slab_off <
                avs_plan_param_find(b.p, "q.weight")->slab_off);
    drop(&b);
}

static void parameters_come_back_as_they_were_set(void **state)
{
    (void)state;
    built b = build(net_conv_train, train_cfg);
    int64_t n;
    const float *slab = avs_plan_slab(b.p, AVS_SLAB_PARAM, &n);
    int n_packed = 0;
    for (int i = 0; i < avs_plan_n_params(b.p); i++) {
        const avs_plan_param *q = avs_plan_param_at(b.p, i);
        size_t bytes = (size_t)avs_type_count(&q->type) * sizeof(float);
        float *want = malloc(bytes), *have = malloc(bytes), *copy = malloc((size_t)n * sizeof(float));
        net_values(q->key, q->kind, &q->type, want);
        assert_int_equal(avs_plan_param_get(b.p, q->key, have, NULL), AVS_OK);
        assert_memory_equal(have, want, bytes);
        if (q->is_trainable) {
            memset(have, 0, bytes);
            assert_int_equal(avs_plan_unpack(b.p, q->key, slab, have, NULL), AVS_OK);
            assert_memory_equal(have, want, bytes);
            assert_int_equal(avs_plan_pack(b.p, q->key, want, copy, NULL), AVS_OK);
            assert_memory_equal(copy + q->slab_off, slab + q->slab_off, (size_t)q->slab_len * sizeof(float));
            n_packed += memcmp(slab + q->slab_off, want, bytes) != 0;
        }
        free(want);
        free(have);
        free(copy);
    }
    assert_true(n_packed > 0); /* some weights do lie in oneDNN's layout */
    drop(&b);
}

static void weights_of_inference_come_back_as_they_were_set(void **state)
{
    (void)state;
    built b = build(net_attention_eval, eval_cfg);
    for (int i = 0; i < avs_plan_n_params(b.p); i++) {
        const avs_plan_param *q = avs_plan_param_at(b.p, i);
        size_t bytes = (size_t)avs_type_count(&q->type) * sizeof(float);
        float *want = malloc(bytes), *have = malloc(bytes);
        net_values(q->key, q->kind, &q->type, want);
        assert_int_equal(avs_plan_param_get(b.p, q->key, have, NULL), AVS_OK);
        assert_memory_equal(have, want, bytes);
        free(want);
        free(have);
    }
    drop(&b);
}

static void padding_of_packed_gradients_is_zero(void **state)
{
    (void)state;
    built b = build(net_conv_train, train_cfg);
    int64_t n;
    const float *grad = avs_plan_slab(b.p, AVS_SLAB_GRAD, &n);
    float *again = calloc((size_t)n, sizeof *again);
    must_run(b.p);
    for (int i = 0; i < avs_plan_n_params(b.p); i++) {
        const avs_plan_param *q = avs_plan_param_at(b.p, i);
        if (!q->is_trainable) continue;
        float *canon = malloc((size_t)avs_type_count(&q->type) * sizeof *canon);
        assert_int_equal(avs_plan_grad_get(b.p, q->key, canon, NULL), AVS_OK);
        assert_int_equal(avs_plan_pack(b.p, q->key, canon, again, NULL), AVS_OK); /* writes padding as 0 */
        free(canon);
    }
    assert_memory_equal(grad, again, (size_t)n * sizeof *again);
    free(again);
    drop(&b);
}

/* A step on the slab moves the loss; nothing else has to be told. */
static void a_step_on_the_slab_is_seen_by_the_next_run(void **state)
{
    (void)state;
    built b = build(net_conv_train, train_cfg);
    int64_t n;
    float *w = avs_plan_slab(b.p, AVS_SLAB_PARAM, &n), *g = avs_plan_slab(b.p, AVS_SLAB_GRAD, &n);
    must_run(b.p);
    float before = *(const float *)avs_plan_output(b.p, "loss", NULL);
    for (int64_t i = 0; i < n; i++) w[i] -= 0.5f * g[i];
    avs_plan_params_changed(b.p);
    must_run(b.p);
    assert_true(*(const float *)avs_plan_output(b.p, "loss", NULL) < before - 1e-4f);
    drop(&b);
}

static void setting_a_parameter_runs_the_prologue_again(void **state)
{
    (void)state;
    built b = build(net_conv_eval, eval_cfg);
    float gamma[24], first[9 * 7 * 5];
    assert_true(avs_plan_get_stats(b.p).n_prologue > 0);
    must_run(b.p);
    memcpy(first, avs_plan_output(b.p, "logits", NULL), sizeof first);
    for (int i = 0; i < 24; i++) gamma[i] = 2;
    assert_int_equal(avs_plan_param_set(b.p, "pw.bn.weight", gamma, NULL), AVS_OK);
    must_run(b.p);
    assert_memory_not_equal(first, avs_plan_output(b.p, "logits", NULL), sizeof first);
    drop(&b);
}

static void frozen_and_unreached_parameters_have_no_gradient(void **state)
{
    (void)state;
    built b = build(net_mixed_train, train_cfg);
    float g[16 * 3 * 3 * 3];
    must_run(b.p);
    const char *const keys[] = {"frozen.weight", "unused"};
    for (int i = 0; i < 2; i++) {
        const avs_plan_param *q = avs_plan_param_find(b.p, keys[i]);
        assert_false(q->is_trainable);
        assert_int_equal(q->slab_off, -1);
        memset(g, 1, sizeof g);
        assert_int_equal(avs_plan_grad_get(b.p, keys[i], g, NULL), AVS_OK);
        for (int64_t k = 0; k < avs_type_count(&q->type); k++) assert_true(g[k] == 0.0f);
        assert_int_not_equal(avs_plan_unpack(b.p, keys[i], g, g, NULL), AVS_OK);
    }
    drop(&b);
}

static void running_statistics_move_with_each_run(void **state)
{
    (void)state;
    built b = build(net_conv_train, train_cfg);
    float first[16], second[16];
    must_run(b.p);
    assert_int_equal(avs_plan_param_get(b.p, "stem.bn.running_mean", first, NULL), AVS_OK);
    must_run(b.p);
    assert_int_equal(avs_plan_param_get(b.p, "stem.bn.running_mean", second, NULL), AVS_OK);
    assert_memory_not_equal(first, second, sizeof first);
    drop(&b);
}

/* ------------------------------------------------------------------ buckets */

typedef struct {
    const float *slab;
    float *seen;
    int64_t next; /* where the next bucket must begin */
    int calls, step, fail_at;
} watcher;

static int watch(void *ctx, const avs_plan_bucket *b, avs_err *e)
{
    watcher *w = ctx;
    if (w->calls++ == w->fail_at) return avs_fail(e, AVS_ECANCEL, "a peer is gone");
    assert_true(b->off == w->next && b->len > 0 && b->step >= w->step);
    memcpy(w->seen + b->off, w->slab + b->off, (size_t)b->len * sizeof(float));
    w->next = b->off + b->len;
    w->step = b->step;
    return AVS_OK;
}

/* What a bucket holds when it is called complete is what the slab holds after the run. */
static void buckets_are_complete_when_they_are_called(void **state)
{
    (void)state;
    const net_fn nets[] = {net_conv_train, net_mixed_train, net_attention_train, net_tower_train};
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        for (int way = 0; way < 3; way++) {
            avs_plan_cfg cfg = train_cfg;
            cfg.bucket_bytes = way == 2 ? 1 : 4096;
            cfg.mem_budget = way == 1;
            built b = build(nets[i], cfg);
            int64_t n;
            watcher w = {.slab = avs_plan_slab(b.p, AVS_SLAB_GRAD, &n), .step = -1, .fail_at = -1};
            w.seen = calloc((size_t)n, sizeof *w.seen);
            must_run(b.p); /* the second run must write everything again */
            memset(avs_plan_slab(b.p, AVS_SLAB_GRAD, &n), 0, (size_t)n * sizeof(float));
            avs_plan_on_bucket(b.p, watch, &w);
            must_run(b.p);
            assert_int_equal(w.next, n);
            assert_int_equal(w.calls, avs_plan_n_buckets(b.p));
            assert_true(w.calls > 1 && avs_plan_bucket_at(b.p, 0)->step < w.step);
            assert_memory_equal(w.seen, w.slab, (size_t)n * sizeof(float));
            free(w.seen);
            drop(&b);
        }
}

static void without_the_pass_there_is_one_bucket(void **state)
{
    (void)state;
    avs_plan_cfg cfg = train_cfg;
    cfg.bucket_bytes = 1;
    cfg.passes_off = AVS_PASS_BUCKET;
    built a = build(net_tower_train, cfg), b = build(net_attention_eval, eval_cfg);
    int64_t n;
    avs_plan_slab(a.p, AVS_SLAB_GRAD, &n);
    assert_int_equal(avs_plan_n_buckets(a.p), 1);
    assert_int_equal(avs_plan_bucket_at(a.p, 0)->len, n);
    assert_int_equal(avs_plan_n_buckets(b.p), 0);
    drop(&a);
    drop(&b);
}

static void an_error_of_the_reduction_ends_the_run(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_plan_cfg cfg = train_cfg;
    cfg.bucket_bytes = 1;
    built b = build(net_tower_train, cfg);
    watcher w = {.fail_at = 0};
    avs_plan_on_bucket(b.p, watch, &w);
    assert_int_equal(avs_plan_run(b.p, &e), AVS_ECANCEL);
    assert_string_equal(e.msg, "a peer is gone");
    avs_plan_on_bucket(b.p, NULL, NULL);
    must_run(b.p);
    drop(&b);
}

/* ------------------------------------------------------------------ looking into runs */

static void check_nan_names_the_first_bad_step(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_plan_cfg cfg = eval_cfg;
    cfg.check_nan = true;
    built b = build(net_conv_eval, cfg);
    avs_type t;
    float *x = avs_plan_input(b.p, "image", &t);
    must_run(b.p);
    x[avs_type_count(&t) / 2] = INFINITY; /* not NaN, which a fused ReLU may take for 0 */
    assert_int_equal(avs_plan_run(b.p, &e), AVS_ERANGE);
    assert_non_null(strstr(e.msg, "in 'stem' made "));
    drop(&b);
}

static void a_trace_is_json_with_one_event_per_step(void **state)
{
    (void)state;
    built b = build(net_tower_train, train_cfg);
    char *text = NULL;
    size_t n = 0;
    avs_json *root = NULL;
    avs_err e = AVS_ERR_INIT;
    FILE *f = open_memstream(&text, &n);
    assert_int_equal(avs_plan_trace(b.p, f, &e), AVS_OK);
    fclose(f);
    if (avs_json_parse(b.arena, "trace", text, n, &root, &e) != AVS_OK) fail_msg("%s", e.msg);
    const avs_json *events = avs_json_get(root, "traceEvents");
    assert_non_null(events);
    assert_int_equal(events->len, avs_plan_get_stats(b.p).n_steps);
    double end = 0;
    for (const avs_json *x = events->first; x; x = x->next) {
        assert_true(avs_json_num(x, "ts", -1) >= end - 1e-3 && avs_json_num(x, "dur", -1) >= 0);
        end = avs_json_num(x, "ts", -1) + avs_json_num(x, "dur", -1);
        assert_non_null(avs_json_get(avs_json_get(x, "args"), "scope"));
    }
    free(text);
    drop(&b);
}

/* ------------------------------------------------------------------ names, taps, errors */

static void taps_are_outputs_only_when_asked_for(void **state)
{
    (void)state;
    avs_plan_cfg taps = eval_cfg;
    taps.taps = true;
    built a = build(net_conv_eval, eval_cfg), b = build(net_conv_eval, taps);
    avs_type t;
    must_run(b.p);
    assert_null(avs_plan_output(a.p, "act:stem.out", NULL));
    const float *y = avs_plan_output(b.p, "act:stem.out", &t);
    assert_non_null(y);
    assert_int_equal(t.d[3], 16);
    bool any = false;
    for (int64_t i = 0; i < avs_type_count(&t); i++)
        any = any || y[i] < 0; /* before the ReLU that would fuse */
    assert_true(any);
    drop(&a);
    drop(&b);
}

static void unknown_names_are_errors_that_say_the_name(void **state)
{
    (void)state;
    built b = build(net_conv_eval, eval_cfg);
    avs_err e = AVS_ERR_INIT;
    float x[1] = {0};
    assert_null(avs_plan_input(b.p, "nothing", NULL));
    assert_null(avs_plan_output(b.p, "nothing", NULL));
    assert_null(avs_plan_param_find(b.p, "nothing"));
    assert_int_equal(avs_plan_param_set(b.p, "nothing.weight", x, &e), AVS_EMISSING);
    assert_non_null(strstr(e.msg, "nothing.weight"));
    drop(&b);
}

static void a_backend_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    avs_plan *p = NULL;
    avs_plan_cfg tpu = {.backend = "tpu"}, wide = {.backend = "cpu", .prec = AVS_PREC_F64};
    assert_int_equal(avs_plan_build(&p, net_conv_eval(a), &tpu, &e), AVS_EMISSING);
    assert_non_null(strstr(e.msg, "tpu"));
    assert_int_equal(avs_plan_build(&p, net_conv_eval(a), &wide, &e), AVS_ERANGE);
    assert_null(p);
    avs_arena_free(a);
}

static void a_graph_with_an_error_gives_that_error(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    avs_plan *p = NULL;
    avs_graph *g = avs_graph_new(a, false);
    avs_val x = avs_input(g, "x", AVS_F32T(2, 3)), y = avs_input(g, "y", AVS_F32T(4, 5));
    avs_add(g, x, y);
    assert_int_equal(avs_plan_build(&p, g, &eval_cfg, &e), AVS_ESHAPE);
    assert_null(p);
    avs_arena_free(a);
}

static void a_class_out_of_range_names_the_step(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, false);
    avs_scope_push(g, "criterion");
    avs_val x = avs_input(g, "x", AVS_F32T(2, 3, 4)), t = avs_input(g, "t", AVS_TYPE(AVS_I32, 2, 3));
    avs_graph_output(g, "loss", avs_loss(g, x, t, (avs_loss_attr){.kind = AVS_LOSS_CE}));
    avs_scope_pop(g);
    avs_plan *p = NULL;
    assert_int_equal(avs_plan_build(&p, g, &eval_cfg, &e), AVS_OK);
    int32_t *target = avs_plan_input(p, "t", NULL);
    must_run(p);
    target[4] = 9;
    assert_int_equal(avs_plan_run(p, &e), AVS_ERANGE);
    assert_non_null(strstr(e.msg, "criterion"));
    avs_plan_free(p);
    avs_arena_free(a);
}

/* The n-th allocation fails, for every n that matters: an error, never a leak (the sanitizer looks). */
static void every_failed_allocation_while_building_is_an_error(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    avs_graph *g = net_attention_train(a);
    int rc = AVS_ENOMEM;
    for (long n = 1; rc != AVS_OK && n < 200000; n += n < 40 ? 1 : 37) {
        avs_plan *p = NULL;
        avs_alloc_fail_after(n);
        rc = avs_plan_build(&p, g, &train_cfg, NULL);
        avs_alloc_fail_after(0);
        assert_true(rc == AVS_OK || (rc == AVS_ENOMEM && !p));
        avs_plan_free(p);
    }
    assert_int_equal(rc, AVS_OK);
    avs_arena_free(a);
}

static void f64_inputs_and_outputs_keep_their_digits(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, false);
    avs_graph_output(g, "y", avs_scale(g, avs_input(g, "x", AVS_F32T(2)), 1));
    avs_plan *p = NULL;
    avs_plan_cfg cfg = {.backend = "ref", .prec = AVS_PREC_F64};
    assert_int_equal(avs_plan_build(&p, g, &cfg, NULL), AVS_OK);
    const double x[2] = {1.0 / 3, 1e-9};
    double y[2];
    assert_int_equal(avs_plan_input_f64(p, "x", x), AVS_OK);
    must_run(p);
    assert_int_equal(avs_plan_output_f64(p, "y", y), AVS_OK);
    assert_memory_equal(x, y, sizeof x);
    ((float *)avs_plan_input(p, "x", NULL))[0] = 0.5f;
    must_run(p);
    assert_true(((const float *)avs_plan_output(p, "y", NULL))[0] == 0.5f);
    avs_plan_free(p);
    avs_arena_free(a);
}

static void report_and_profile_name_every_kind_of_step(void **state)
{
    (void)state;
    built b = build(net_conv_train, train_cfg);
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    avs_plan_report(b.p, f);
    assert_int_equal(avs_plan_profile(b.p, 1, f, NULL), AVS_OK);
    fclose(f);
    const char *const words[] = {"conv2d",         "conv2d_bwd_w",   "batchnorm_bwd", "copy",
                                 "lower bound",    "GFLOP/s",        "stem",          "fullest step",
                                 "MACs per scope", "gradient bucket"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strstr(text, words[i])) fail_msg("the report does not mention %s", words[i]);
    /* oneDNN's naive or im2col code must not be what runs */
    assert_null(strstr(text, " ref:any"));
    assert_null(strstr(text, " gemm:"));
    free(text);
    drop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(running_twice_gives_the_same_bytes),
        cmocka_unit_test(thread_count_does_not_change_the_forward),
        cmocka_unit_test(activations_stay_within_a_tenth_of_the_lower_bound),
        cmocka_unit_test(sharing_memory_needs_less_than_keeping_all),
        cmocka_unit_test(a_budget_lowers_the_memory_of_training),
        cmocka_unit_test(the_schedule_keeps_every_bit),
        cmocka_unit_test(passes_shorten_the_plan),
        cmocka_unit_test(the_slab_holds_every_gradient_apart_and_aligned),
        cmocka_unit_test(the_slab_is_in_order_of_completion),
        cmocka_unit_test(parameters_come_back_as_they_were_set),
        cmocka_unit_test(weights_of_inference_come_back_as_they_were_set),
        cmocka_unit_test(padding_of_packed_gradients_is_zero),
        cmocka_unit_test(a_step_on_the_slab_is_seen_by_the_next_run),
        cmocka_unit_test(setting_a_parameter_runs_the_prologue_again),
        cmocka_unit_test(frozen_and_unreached_parameters_have_no_gradient),
        cmocka_unit_test(running_statistics_move_with_each_run),
        cmocka_unit_test(buckets_are_complete_when_they_are_called),
        cmocka_unit_test(without_the_pass_there_is_one_bucket),
        cmocka_unit_test(an_error_of_the_reduction_ends_the_run),
        cmocka_unit_test(check_nan_names_the_first_bad_step),
        cmocka_unit_test(a_trace_is_json_with_one_event_per_step),
        cmocka_unit_test(taps_are_outputs_only_when_asked_for),
        cmocka_unit_test(unknown_names_are_errors_that_say_the_name),
        cmocka_unit_test(a_backend_that_is_not_there_is_an_error),
        cmocka_unit_test(a_graph_with_an_error_gives_that_error),
        cmocka_unit_test(a_class_out_of_range_names_the_step),
        cmocka_unit_test(every_failed_allocation_while_building_is_an_error),
        cmocka_unit_test(f64_inputs_and_outputs_keep_their_digits),
        cmocka_unit_test(report_and_profile_name_every_kind_of_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
