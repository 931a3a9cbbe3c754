/* A writer killed at any instant: the file passes its checks and holds exactly what flush had promised, each trial once.
 * The child reports a trial through a pipe only after its flush returned; the parent kills it at a seeded random moment after
 * a seeded number of reports, so that a loaded machine sees the same work done as an idle one. */
#include "tests/results/sample.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include "base/rng.h"

enum { TRIALS = 400, KILLS = 12 };

static void write_until_killed(avs_store *s, int64_t first_trial, int ack)
{
    for (int i = 0; i < TRIALS; i++) {
        int64_t trial = first_trial + i;
        avs_err bad = AVS_ERR_INIT;
        avs_store_start st = {.trial_id = trial};
        int64_t attempt;
        int rc = avs_store_attempt_begin(s, &st, &attempt, NULL, NULL, &bad);
        if (rc == AVS_ERANGE) continue; /* done in an earlier life */
        avs_store_result r = {"miou", "test", (double)trial / 1024, "fraction", 1};
        avs_store_end end = {.reason = AVS_END_OK, .results = &r, .n_results = 1};
        if (rc != AVS_OK || avs_store_attempt_end(s, attempt, &end, NULL, &bad) != AVS_OK) _exit(3);
        if (i % 3 == 2) continue; /* groups of one and of two trials */
        if (avs_store_flush(s, &bad) != AVS_OK) _exit(4);
        if (write(ack, &trial, sizeof trial) != sizeof trial) _exit(5);
    }
    _exit(0);
}

/* The next report; false when the child is gone. */
static bool heard(int ack, int64_t *last)
{
    int64_t trial;
    if (read(ack, &trial, sizeof trial) != (ssize_t)sizeof trial) return false;
    assert_true(trial > *last);
    *last = trial;
    return true;
}

static void a_killed_writer_loses_nothing_that_was_promised(void **state)
{
    (void)state;
    avs_store *s = sample_open("crash.db");
    int64_t sweep = sample_sweep(s, "x", NULL), stage = sample_stage(s, sweep, "train", "train"),
            promised = 0;
    avs_rng r = avs_rng_seed(20);
    for (int i = 0; i < TRIALS; i++)
        sample_register(s, sweep, sample_trial(stage, i, "train", "m", "s4", "{}", i));
    OK(avs_store_flush(s, e));
    avs_store_close(s);

    int64_t last = 0;
    for (int kill_at = 0; kill_at < KILLS; kill_at++) {
        int ack[2];
        assert_int_equal(pipe(ack), 0);
        pid_t child = fork();
        if (child == 0) {
            avs_err bad = AVS_ERR_INIT;
            close(ack[0]);
            if (avs_store_open(sample_path("crash.db"), AVS_STORE_WRITE, "t", &s, &bad) != AVS_OK) _exit(2);
            if (avs_store_lose_orphans(s, NULL, &bad) != AVS_OK) _exit(2);
            write_until_killed(s, 1, ack[1]);
        }
        close(ack[1]);
        /* every fourth is killed while it opens the file, the others within their work */
        const int64_t reports = kill_at % 4 == 3 ? 0 : avs_rng_range(&r, 1, 40);
        for (int64_t i = 0; i < reports && heard(ack[0], &last); i++) continue;
        struct timespec moment = {0, avs_rng_range(&r, 0, reports ? 2000000 : 10000000)};
        nanosleep(&moment, NULL); /* the random instant at which the power fails */
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        while (heard(ack[0], &last)) continue;
        close(ack[0]);

        OK(avs_store_open(sample_path("crash.db"), AVS_STORE_WRITE, "t", &s, e));
        OK(avs_store_check(s, e));
        int64_t counts[AVS_TRIAL_STATES];
        OK(avs_store_counts(s, NULL, counts, e));
        /* Trials finish in order, so the last promise covers all before it; a group in flight may add two more. */
        if (counts[AVS_TRIAL_DONE] < last || counts[AVS_TRIAL_DONE] > last + 2)
            fail_msg("kill %d: %lld done, %lld promised", kill_at, (long long)counts[AVS_TRIAL_DONE],
                     (long long)last);
        if (counts[AVS_TRIAL_DONE] > promised) promised = counts[AVS_TRIAL_DONE];
        last = counts[AVS_TRIAL_DONE];
        avs_store_close(s);
    }
    assert_true(promised >= KILLS / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_killed_writer_loses_nothing_that_was_promised)};
    return cmocka_run_group_tests(tests, sample_setup, sample_teardown);
}
