/* What trials say becomes rows, or a reason why it cannot; spool files come back whole or not at all; one lease. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <math.h>
#include <cmocka.h>
#include "base/fs.h"
#include "orchestrator/lease.h"
#include "orchestrator/message.h"
#include "orchestrator/spool.h"
#include "orchestrator/staging.h"

typedef struct {
    avs_buf b;
    avs_frame_reader r;
    avs_staging *s;
} stage;

static void setup(stage *t)
{
    *t = (stage){.s = avs_staging_new()};
    assert_non_null(t->s);
}

/* Hands the frames written to t->b over as those of peer 0. */
static void hand_over(stage *t)
{
    avs_frame f;
    bool got = false;
    avs_frame_feed(&t->r, t->b.data, t->b.len);
    avs_buf_clear(&t->b);
    while (avs_frame_next(&t->r, &f, &got, NULL) == AVS_OK && got)
        assert_int_equal(avs_staging_add(t->s, 0, &f, NULL), AVS_OK);
}

static void tear_down(stage *t)
{
    avs_buf_free(&t->b);
    avs_frame_reader_free(&t->r);
    avs_staging_free(t->s);
}

static void put_result(stage *t, uint32_t epoch, const char *name, double v)
{
    size_t m = avs_frame_begin(&t->b, AVS_F_RESULT, epoch, 7);
    if (name) avs_frame_put_str(&t->b, AVS_T_NAME, name);
    avs_frame_put_f64(&t->b, AVS_T_VALUE, v);
    avs_frame_end(&t->b, m);
}

static void the_last_result_of_a_name_wins_and_epochs_do_not_mix(void **state)
{
    (void)state;
    stage t;
    avs_store_end end = {0};
    setup(&t);
    put_result(&t, 1, "miou", 0.5);
    put_result(&t, 2, "miou", 0.9);
    put_result(&t, 1, "miou", 0.6);
    put_result(&t, 1, "fscore", 0.7);
    hand_over(&t);
    avs_staged_fill(avs_staging_find(t.s, 0, 7, 1), &end);
    assert_int_equal(end.n_results, 2);
    assert_true(end.results[0].value == 0.6);
    assert_null(avs_staging_find(t.s, 1, 7, 1));
    avs_staging_drop(t.s, 0, 7, 1);
    assert_null(avs_staging_find(t.s, 0, 7, 1));
    assert_non_null(avs_staging_find(t.s, 0, 7, 2));
    tear_down(&t);
}

static void senseless_numbers_make_an_attempt_bad_in_words(void **state)
{
    (void)state;
    stage t;
    setup(&t);
    put_result(&t, 1, "miou", (double)INFINITY);
    put_result(&t, 2, NULL, 1);
    size_t m = avs_frame_begin(&t.b, AVS_F_LATENCY, 3, 7);
    avs_frame_put_str(&t.b, AVS_T_NAME, "latency");
    avs_frame_put(&t.b, AVS_T_BLOB, "12345", 5);
    avs_frame_end(&t.b, m);
    hand_over(&t);
    assert_non_null(strstr(avs_staged_bad(avs_staging_find(t.s, 0, 7, 1)), "miou"));
    assert_non_null(avs_staged_bad(avs_staging_find(t.s, 0, 7, 2)));
    assert_non_null(strstr(avs_staged_bad(avs_staging_find(t.s, 0, 7, 3)), "samples"));
    tear_down(&t);
}

static void samples_digests_and_points_arrive_as_sent(void **state)
{
    (void)state;
    static const uint8_t samples[8] = {1, 0, 0, 0, 0, 1, 0, 0};
    stage t;
    avs_store_end end = {0};
    setup(&t);
    size_t m = avs_frame_begin(&t.b, AVS_F_LATENCY, 1, 7);
    avs_frame_put_str(&t.b, AVS_T_NAME, "latency_e2e");
    avs_frame_put(&t.b, AVS_T_BLOB, samples, sizeof samples);
    avs_frame_put_str(&t.b, AVS_T_JSON, "{\"h2d_ns\": 12.5}");
    avs_frame_end(&t.b, m);
    m = avs_frame_begin(&t.b, AVS_F_CKPT, 1, 7);
    avs_frame_put_str(&t.b, AVS_T_PATH, "/w/a.safetensors");
    avs_frame_put_str(&t.b, AVS_T_SHA256, "00ff0000000000000000000000000000000000000000000000000000000000ab");
    avs_frame_put_i64(&t.b, AVS_T_STEP, 40);
    avs_frame_end(&t.b, m);
    for (int i = 0; i < 40; i++) {
        m = avs_frame_begin(&t.b, AVS_F_POINT, 1, 7);
        avs_frame_put_str(&t.b, AVS_T_NAME, "loss");
        avs_frame_put_i64(&t.b, AVS_T_STEP, i);
        avs_frame_put_f64(&t.b, AVS_T_VALUE, i == 20 ? (double)NAN : 1.0);
        avs_frame_end(&t.b, m);
    }
    m = avs_frame_begin(&t.b, AVS_F_ENV, 1, 7);
    avs_frame_put_str(&t.b, AVS_T_JSON, "{\"cpu\": ");
    avs_frame_end(&t.b, m);
    hand_over(&t);
    avs_staged *g = avs_staging_find(t.s, 0, 7, 1);
    avs_staged_fill(g, &end);
    assert_null(avs_staged_bad(g));
    assert_int_equal(end.latencies[0].n, 2);
    assert_int_equal(end.latencies[0].samples[1], 256);
    assert_true(end.latencies[0].h2d_ns == 12.5);
    assert_string_equal(end.artifacts[0].kind, "checkpoint");
    assert_int_equal(end.artifacts[0].sha256[1], 0xff);
    assert_int_equal(end.artifacts[0].sha256[31], 0xab);
    assert_int_equal(end.n_points, 39); /* the one that is no number is left out */
    assert_null(end.env_json);          /* half an object is none               */
    avs_staged_points_stored(g);
    avs_staged_fill(g, &end);
    assert_int_equal(end.n_points, 0);
    tear_down(&t);
}

typedef struct {
    int n;
    size_t bytes;
} heard;

static void on_spool(void *ctx, const void *frames, size_t n)
{
    heard *h = ctx;
    assert_non_null(frames);
    h->n++;
    h->bytes += n;
}

static void spool_files_come_back_whole_or_are_put_aside(void **state)
{
    (void)state;
    char dir[] = "/tmp/avs-spool-XXXXXX", path[64];
    stage t;
    heard h = {0};
    int bad = -1;
    setup(&t);
    assert_non_null(mkdtemp(dir));
    put_result(&t, 1, "miou", 0.5);
    size_t unfinished = t.b.len;
    avs_frame_end(&t.b, avs_frame_begin(&t.b, AVS_M_ENDED, 1, 7));
    assert_int_equal(avs_spool_put(dir, 7, 1, &t.b, NULL), AVS_OK);
    assert_int_equal(avs_spool_put(dir, 8, 1, &t.b, NULL), AVS_OK);
    snprintf(path, sizeof path, "%s/%020d-%010d.frames", dir, 9, 1);
    assert_int_equal(avs_fs_write_atomic(path, t.b.data, unfinished, NULL), AVS_OK); /* without its end */
    snprintf(path, sizeof path, "%s/%020d-%010d.frames", dir, 10, 1);
    assert_int_equal(avs_fs_write_atomic(path, t.b.data, t.b.len - 1, NULL), AVS_OK); /* cut short       */
    avs_spool_drop(dir, 8, 1);
    assert_int_equal(avs_spool_each(dir, on_spool, &h, &bad, NULL), AVS_OK);
    assert_int_equal(h.n, 1);
    assert_int_equal(h.bytes, t.b.len);
    assert_int_equal(bad, 2);
    h = (heard){0};
    assert_int_equal(avs_spool_each("/nowhere/at/all", on_spool, &h, &bad, NULL), AVS_OK);
    assert_int_equal(h.n, 0);
    char cmd[64];
    snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    assert_int_equal(system(cmd), 0);
    tear_down(&t);
}

static void a_lease_has_one_owner_and_passes_on_when_it_dies(void **state)
{
    (void)state;
    char dir[] = "/tmp/avs-lease-XXXXXX", db[64];
    avs_lease mine, other;
    avs_err e = AVS_ERR_INIT;
    assert_non_null(mkdtemp(dir));
    snprintf(db, sizeof db, "%s/r.db", dir);
    assert_int_equal(avs_lease_take(&mine, db, false, &e), AVS_OK);
    assert_int_equal(avs_lease_take(&other, db, false, &e), AVS_EDB);
    assert_non_null(strstr(e.msg, "in use by avsweep pid"));
    avs_lease_drop(&mine);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(avs_lease_take(&mine, db, false, &e) == AVS_OK ? 0 : 1); /* dies without dropping it */
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    char lock[80];
    snprintf(lock, sizeof lock, "%s.lock", db);
    assert_true(avs_fs_exists(lock));
    assert_int_equal(avs_lease_take(&other, db, false, &e), AVS_OK);
    /* A lock of another machine is believed, whatever flock says. */
    avs_lease_drop(&other);
    static const char far[] = "{\"host\":\"far\",\"pid\":1,\"started\":1,\"boot\":\"b\",\"job\":\"99\"}\n";
    assert_int_equal(avs_fs_write_atomic(lock, far, sizeof far - 1, NULL), AVS_OK);
    assert_int_equal(avs_lease_take(&other, db, false, &e), AVS_EDB);
    assert_non_null(strstr(e.msg, "on far, Slurm job 99"));
    assert_int_equal(avs_lease_take(&other, db, true, &e), AVS_OK);
    avs_lease_drop(&other);
    assert_false(avs_fs_exists(lock));
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_result_of_a_name_wins_and_epochs_do_not_mix),
        cmocka_unit_test(senseless_numbers_make_an_attempt_bad_in_words),
        cmocka_unit_test(samples_digests_and_points_arrive_as_sent),
        cmocka_unit_test(spool_files_come_back_whole_or_are_put_aside),
        cmocka_unit_test(a_lease_has_one_owner_and_passes_on_when_it_dies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
