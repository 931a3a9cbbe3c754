/* Every number of golden case `metrics`: curves bit for bit, counts exactly, means to float rounding. The maker below
 * builds the inputs this case uses (FORMAT.md); tensors of the case come from its safetensors file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/fs.h"
#include "base/json.h"
#include "base/probe.h"
#include "metrics/mask.h"
#include "metrics/semantic.h"
#include "tests/metrics/near.h"

typedef struct {
    float *x;
    int64_t d[4], n;
    int rank;
} array;

typedef struct {
    avs_arena *a;
    avs_json *root;
    avs_buf file;
    avs_json *index;
    size_t data;
} fixture;

static int load(void **state)
{
    static fixture f;
    avs_err e = AVS_ERR_INIT;
    f = (fixture){.a = avs_arena_new()};
    if (avs_json_file(f.a, AVS_SOURCE_DIR "/tests/golden/metrics.json", &f.root, &e) != AVS_OK) return -1;
    if (avs_fs_read(AVS_SOURCE_DIR "/tests/golden/metrics.safetensors", 0, &f.file, &e) != AVS_OK) return -1;
    uint64_t n;
    memcpy(&n, f.file.data, 8);
    f.data = 8 + (size_t)n;
    if (avs_json_parse(f.a, "metrics.safetensors", f.file.data + 8, (size_t)n, &f.index, &e) != AVS_OK)
        return -1;
    *state = &f;
    return 0;
}

static int unload(void **state)
{
    fixture *f = *state;
    avs_buf_free(&f->file);
    avs_arena_free(f->a);
    return 0;
}

static const float *stored(const fixture *f, const char *name, size_t want)
{
    const avs_json *t = avs_json_get(f->index, name);
    assert_non_null(t);
    int64_t from = avs_json_at(avs_json_get(t, "data_offsets"), 0)->i;
    int64_t to = avs_json_at(avs_json_get(t, "data_offsets"), 1)->i;
    assert_int_equal(to - from, (int64_t)(want * sizeof(float)));
    float *x = avs_arena_alloc(f->a, want * sizeof *x);
    memcpy(x, f->file.data + f->data + from, want * sizeof *x);
    return x;
}

static array make(const fixture *f, const avs_json *all, const avs_json *what);

static const avs_json *by_role(const avs_json *inputs, const char *role)
{
    for (const avs_json *i = inputs->first; i; i = i->next)
        if (strcmp(avs_json_str(i, "role", ""), role) == 0) return i;
    fail_msg("no input %s", role);
    return NULL;
}

/* Elements under index list `at` (or a plain index) of the leading axes. */
static void fill_rows(array *y, const avs_json *rows, float value)
{
    for (const avs_json *r = rows->first; r; r = r->next) {
        int64_t block = y->n, start = 0;
        int axis = 0;
        if (r->kind == AVS_J_INT) {
            block /= y->d[axis];
            start = r->i * block;
        } else {
            for (const avs_json *i = r->first; i; i = i->next, axis++) {
                block /= y->d[axis];
                start += i->i * block;
            }
        }
        for (int64_t i = 0; i < block; i++) y->x[start + i] = value;
    }
}

static void step_fill(array *y, const avs_json *s)
{
    float v = (float)avs_json_num(s, "value", 0);
    const avs_json *rows = avs_json_get(s, "rows"), *band = avs_json_get(s, "image_rows");
    if (rows) {
        fill_rows(y, rows, v);
    } else if (band) {
        int64_t W = y->d[y->rank - 1], H = y->d[y->rank - 2];
        for (int64_t i = 0; i < y->n; i++) {
            int64_t row = i / W % H;
            if (row >= avs_json_at(band, 0)->i && row < avs_json_at(band, 1)->i) y->x[i] = v;
        }
    } else {
        int64_t per = y->n / y->d[0] / y->d[1], c = avs_json_int(s, "channel", -1);
        assert_in_range(c, 0, y->d[1] - 1);
        for (int64_t b = 0; b < y->d[0]; b++)
            for (int64_t i = 0; i < per; i++) y->x[(b * y->d[1] + c) * per + i] = v;
    }
}

static void step(const fixture *f, const avs_json *all, array *y, const avs_json *s)
{
    const char *what = avs_json_str(s, "do", "");
    if (strcmp(what, "affine") == 0) {
        double scale = avs_json_num(s, "scale", 1), offset = avs_json_num(s, "offset", 0);
        for (int64_t i = 0; i < y->n; i++) y->x[i] = (float)((double)y->x[i] * scale + offset);
    } else if (strcmp(what, "add") == 0) {
        array o = make(f, all, avs_json_get(s, "of"));
        double times = avs_json_num(s, "times", 1);
        assert_int_equal(o.n, y->n);
        for (int64_t i = 0; i < y->n; i++) y->x[i] = (float)((double)y->x[i] + times * (double)o.x[i]);
    } else if (strcmp(what, "modulo") == 0) {
        double m = avs_json_num(s, "value", 1);
        for (int64_t i = 0; i < y->n; i++) y->x[i] = (float)fmod((double)y->x[i], m);
    } else if (strcmp(what, "fill") == 0) {
        step_fill(y, s);
    } else if (strcmp(what, "rows") == 0) {
        int64_t per = y->n / y->d[0], k = 0;
        for (const avs_json *r = avs_json_get(s, "rows")->first; r; r = r->next, k++)
            memmove(y->x + k * per, y->x + r->i * per, (size_t)per * sizeof(float));
        y->d[0] = k;
        y->n = k * per;
    } else if (strcmp(what, "add_at_class") == 0) {
        array c = make(f, all, avs_json_get(s, "classes"));
        int64_t per = y->n / y->d[0] / y->d[1];
        for (int64_t i = 0; i < y->d[0] * per; i++) {
            int64_t at = i / per % c.d[0] * per + i % per;
            y->x[(i / per * y->d[1] + (int64_t)c.x[at]) * per + i % per] +=
                (float)avs_json_num(s, "value", 0);
        }
    } else {
        fail_msg("step %s is not known", what);
    }
}

static array make(const fixture *f, const avs_json *all, const avs_json *what)
{
    const char *kind = avs_json_str(what, "make", ""), *name = avs_json_str(what, "name", "");
    const avs_json *shape = avs_json_get(what, "shape"), *then = avs_json_get(what, "then");
    array y = {.n = 1};

    if (strcmp(kind, "input") == 0) {
        y = make(f, all, by_role(all, avs_json_str(what, "role", "")));
    } else if (strcmp(kind, "copy") == 0) {
        y = make(f, all, avs_json_get(what, "of"));
    } else {
        for (const avs_json *d = shape->first; d; d = d->next) y.n *= y.d[y.rank++] = d->i;
        y.x = avs_arena_alloc(f->a, (size_t)y.n * sizeof(float));
        int64_t W = y.d[y.rank - 1], H = y.d[y.rank - 2], lead = y.n / (H * W),
                cell = avs_json_int(what, "cell", 1);
        if (strcmp(kind, "tensor") == 0) {
            avs_probe_tensor(name, y.n, avs_json_num(what, "scale", 1), avs_json_num(what, "offset", 0), y.x);
        } else if (strcmp(kind, "mask") == 0) {
            avs_probe_mask(name, lead, H, W, avs_json_num(what, "fraction", 0), cell, y.x);
        } else if (strcmp(kind, "classes") == 0) {
            int32_t *c = avs_arena_alloc(f->a, (size_t)y.n * sizeof *c);
            avs_probe_classes(name, lead, H, W, avs_json_int(what, "count", 1), cell, c);
            for (int64_t i = 0; i < y.n; i++) y.x[i] = (float)c[i];
        } else if (strcmp(kind, "constant") == 0) {
            for (int64_t i = 0; i < y.n; i++) y.x[i] = (float)avs_json_num(what, "value", 0);
        } else {
            fail_msg("input of kind %s is not known", kind);
        }
    }
    for (const avs_json *s = then ? then->first : NULL; s; s = s->next) step(f, all, &y, s);
    return y;
}

static void thresholds_are_the_reference_table(void **state)
{
    assert_memory_equal(stored(*state, "thresholds", 255), avs_f_thresholds, sizeof avs_f_thresholds);
    assert_true(avs_f_thresholds[127] == 0.5f);
}

/* Mean curve and mIoU of one batch. */
static void check_binary(const fixture *f, const avs_json *c, const array *l, const array *t, int two)
{
    int64_t H = t->d[1], W = t->d[2], N = t->d[0], counted = 0;
    float mean[AVS_F_THRESHOLDS] = {0};
    avs_mask_score s;
    avs_mask_result r;
    const avs_json *ious = avs_json_get(c, "mask_iou_per_frame"), *fs = avs_json_get(c, "per_frame_f");

    avs_mask_score_init(&s, 1);
    for (int64_t i = 0; i < N; i++) {
        const float *lf = l->x + i * H * W * (two ? 2 : 1), *tf = t->x + i * H * W;
        avs_mask_frame m;
        float curve[AVS_F_THRESHOLDS];
        if (two) {
            assert_int_equal(avs_mask_frame_two_channel(lf, tf, H, W, &m, curve, NULL), AVS_OK);
            assert_int_equal(avs_mask_score_add_two_channel(&s, lf, tf, H, W, NULL), AVS_OK);
        } else {
            assert_int_equal(avs_mask_frame_logits(lf, tf, H, W, &m, curve, NULL), AVS_OK);
            assert_int_equal(avs_mask_score_add(&s, lf, tf, H, W, NULL), AVS_OK);
        }
        if (ious) assert_true(m.iou == (float)avs_json_at(ious, (size_t)i)->d);
        const avs_json *pf = fs ? avs_json_at(fs, (size_t)i) : NULL;
        if (pf && pf->kind == AVS_J_OBJ) {
            assert_true(m.f_max == (float)avs_json_num(pf, "max", -1));
            assert_true(curve[avs_json_int(pf, "argmax", 0)] == m.f_max);
            assert_true(m.f_at_half == (float)avs_json_num(pf, "f_127", -1));
        }
        if (fs) assert_int_equal(m.target_is_empty, pf->kind == AVS_J_NULL);
        if (m.target_is_empty) continue;
        for (int k = 0; k < AVS_F_THRESHOLDS; k++) mean[k] += curve[k];
        counted++;
    }
    avs_mask_score_end_clip(&s);
    assert_int_equal(avs_mask_score_finish(&s, &r, NULL), AVS_OK);
    for (int k = 0; k < AVS_F_THRESHOLDS && counted; k++) mean[k] /= (float)counted;
    const char *curve_name = two ? avs_arena_fmt(f->a, "fcurve.two%c", c->key[strlen(c->key) - 1])
                                 : avs_arena_fmt(f->a, "fcurve.%s", c->key);
    if (avs_json_get(f->index, curve_name))
        assert_memory_equal(stored(f, curve_name, AVS_F_THRESHOLDS), mean, sizeof mean);
    else
        assert_int_equal(counted, 0);
    assert_true((float)r.fscore == (float)avs_json_num(c, "f_max", -1));
    assert_true(mean[avs_json_int(c, "f_argmax", 0)] == (float)r.fscore);
    assert_near(r.miou_published, avs_json_num(c, "mask_iou", -1), 6e-8);
    assert_near(r.miou, avs_json_num(c, "mask_iou", -1), 6e-8);
    if (avs_json_get(c, "frames_counted")) assert_int_equal(counted, avs_json_int(c, "frames_counted", -1));
    avs_mask_score_fini(&s);
}

static void every_binary_case_is_reproduced_bit_for_bit(void **state)
{
    const fixture *f = *state;
    int cases = 0;
    for (const avs_json *c = avs_json_get(f->root, "binary")->first; c; c = c->next, cases++) {
        const avs_json *in = avs_json_get(c, "inputs");
        array l = make(f, in, by_role(in, "logits")), t = make(f, in, by_role(in, "target"));
        check_binary(f, c, &l, &t, 0);
    }
    assert_int_equal(cases, 12);
}

static void every_two_channel_case_is_reproduced_bit_for_bit(void **state)
{
    const fixture *f = *state;
    int cases = 0;
    for (const avs_json *c = avs_json_get(f->root, "two_channel")->first; c; c = c->next, cases++) {
        const avs_json *in = avs_json_get(c, "inputs");
        array l = make(f, in, by_role(in, "logits")), t = make(f, in, by_role(in, "target"));
        check_binary(f, c, &l, &t, 1);
    }
    assert_int_equal(cases, 2);
}

static void the_fscore_follows_the_test_batch_as_published(void **state)
{
    const fixture *f = *state;
    const avs_json *b = avs_json_get(f->root, "batching"), *in = avs_json_get(b, "inputs");
    array l = make(f, in, by_role(in, "logits")), t = make(f, in, by_role(in, "target"));
    int64_t clips = t.d[0], T = t.d[1], HW = t.d[2] * t.d[3];
    int runs = 0;

    for (const avs_json *r = avs_json_get(b, "runs")->first; r; r = r->next, runs++) {
        avs_mask_score s;
        avs_mask_result got;
        int batch = r->key[0] - '0', done = 0;
        avs_mask_score_init(&s, batch);
        for (int64_t c = 0; c < clips; c++) {
            for (int64_t i = 0; i < T; i++)
                assert_int_equal(avs_mask_score_add(&s, l.x + (c * T + i) * HW, t.x + (c * T + i) * HW,
                                                    t.d[2], t.d[3], NULL),
                                 AVS_OK);
            double before = s.f_sum;
            avs_mask_score_end_clip(&s);
            if (s.clips_in_batch != 0) continue;
            assert_near(s.f_sum - before, avs_json_at(avs_json_get(r, "batch_f"), (size_t)done)->d, 1e-12);
            done++;
        }
        assert_int_equal(avs_mask_score_finish(&s, &got, NULL), AVS_OK);
        assert_int_equal(got.n_batches, (clips + batch - 1) / batch);
        assert_near(got.fscore, avs_json_num(r, "f", -1), 1e-12);
        assert_near(got.miou_published, avs_json_num(r, "mask_iou", -1), 4e-8);
        avs_mask_score_fini(&s);
    }
    assert_int_equal(runs, 5);
}

static void pair(const avs_json *c, const char *name, double miou, double fv)
{
    const avs_json *p = avs_json_get(c, name);
    assert_non_null(p);
    assert_near(miou, avs_json_num(p, "miou", -1), 1e-8);
    assert_near(fv, avs_json_num(p, "f", -1), 1e-8);
}

static void every_semantic_case_is_reproduced(void **state)
{
    const fixture *f = *state;
    int cases = 0;
    for (const avs_json *c = avs_json_get(f->root, "semantic")->first; c; c = c->next, cases++) {
        const avs_json *in = avs_json_get(c, "inputs");
        array l = make(f, in, by_role(in, "logits")), t = make(f, in, by_role(in, "target"));
        int C = (int)avs_json_int(c, "classes", 0);
        int64_t HW = t.d[1] * t.d[2];
        avs_semantic_score s;
        avs_semantic_result r;
        int32_t *map = avs_arena_alloc(f->a, (size_t)HW * sizeof *map);

        assert_int_equal(avs_semantic_init(&s, C, NULL), AVS_OK);
        for (int64_t i = 0; i < t.d[0]; i++) {
            for (int64_t k = 0; k < HW; k++) map[k] = (int32_t)t.x[i * HW + k];
            assert_int_equal(avs_semantic_add_logits(&s, l.x + i * C * HW, map, t.d[1], t.d[2], NULL),
                             AVS_OK);
        }
        for (int k = 0; k < C; k++) {
            assert_near((double)s.iou[k], avs_json_at(avs_json_get(c, "miou_sum_per_class"), (size_t)k)->d,
                        5e-7);
            assert_near((double)s.f[k], avs_json_at(avs_json_get(c, "f_sum_per_class"), (size_t)k)->d, 5e-7);
            assert_true((double)s.count[k] == avs_json_at(avs_json_get(c, "count_per_class"), (size_t)k)->d);
        }
        assert_int_equal(avs_semantic_finish(&s, &r, NULL, NULL, NULL), AVS_OK);
        assert_near(r.miou, avs_json_num(c, "miou", -1), 1e-8);
        assert_near(r.f, avs_json_num(c, "f", -1), 1e-8);
        assert_int_equal(r.classes_absent, avs_json_int(c, "classes_absent", -1));
        pair(c, "avsbench_noBg_drops_last", r.miou_no_last, r.f_no_last);
        pair(c, "stepping_stones_noBg_drops_first", r.miou_no_first, r.f_no_first);
        pair(c, "running_over_present", r.miou_present, r.f_present);
        avs_semantic_fini(&s);
    }
    assert_int_equal(cases, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thresholds_are_the_reference_table),
        cmocka_unit_test(every_binary_case_is_reproduced_bit_for_bit),
        cmocka_unit_test(every_two_channel_case_is_reproduced_bit_for_bit),
        cmocka_unit_test(the_fscore_follows_the_test_batch_as_published),
        cmocka_unit_test(every_semantic_case_is_reproduced),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
