/* The host ring with real processes: exact means in rank order, broadcasts, and a peer that dies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "workers/ring.h"

enum { LENGTH = 600001 }; /* several pieces, the last one ragged */

static void ring_name(char *name, size_t n, int k)
{
    snprintf(name, n, "/avs-ring-%d-%d", (int)getpid(), k);
}

/* Small integers over a power of two: sums are exact, so any order must give the same bits. */
static float value_of(int rank, int64_t i)
{
    return (float)((i * 7 + rank * 13) % 101) / 64.F;
}

/* In double, where order would show: small beside large. */
static double term(int rank, int64_t i)
{
    return rank % 2 ? 1e17 + (double)i : 1.0 / (double)(rank + 3 + i % 7);
}

static int sums_are_in_rank_order(avs_ring *r, int rank, int ranks)
{
    avs_err e = AVS_ERR_INIT;
    double *x = malloc(sizeof(double) * LENGTH);
    int rc = x ? 0 : 1;
    for (int64_t i = 0; !rc && i < LENGTH; i++) x[i] = term(rank, i);
    if (!rc && avs_ring_sum(r, x, LENGTH, &e) != AVS_OK) rc = 2;
    for (int64_t i = 0; !rc && i < LENGTH; i++) {
        double want = term(0, i);
        for (int k = 1; k < ranks; k++) want += term(k, i);
        if (x[i] != want) rc = 3;
    }
    free(x);
    return rc;
}

static int sum_as_rank(const char *name, int rank, int ranks)
{
    avs_ring *r;
    avs_err e = AVS_ERR_INIT;
    float *x = malloc(sizeof(float) * LENGTH);
    if (!x || avs_ring_open(&r, name, rank, ranks, 20000, &e) != AVS_OK) return 10;
    for (int64_t i = 0; i < LENGTH; i++) x[i] = value_of(rank, i);
    if (avs_ring_mean(r, x, LENGTH, &e) != AVS_OK) return 11;
    for (int64_t i = 0; i < LENGTH; i++) {
        float want = 0;
        for (int k = 0; k < ranks; k++) want += value_of(k, i);
        if (x[i] != want * (1.F / (float)ranks)) return 12;
    }
    if (sums_are_in_rank_order(r, rank, ranks) != 0) return 16;
    double v = rank + 0.5, w = rank;
    if (avs_ring_broadcast(r, &v, &e) != AVS_OK || v != 0.5) return 13;
    if (avs_ring_max(r, &w, &e) != AVS_OK || w != ranks - 1) return 14;
    if (avs_ring_barrier(r, &e) != AVS_OK) return 15;
    avs_ring_close(r);
    free(x);
    return 0;
}

static void means_and_sums_are_exact_on_every_rank(void **state)
{
    (void)state;
    char name[64];
    for (int ranks = 2; ranks <= 4; ranks++) {
        pid_t child[4];
        ring_name(name, sizeof name, ranks);
        for (int k = 1; k < ranks; k++)
            if (!(child[k] = fork())) _exit(sum_as_rank(name, k, ranks));
        assert_int_equal(sum_as_rank(name, 0, ranks), 0);
        for (int k = 1; k < ranks; k++) {
            int status;
            assert_int_equal(waitpid(child[k], &status, 0), child[k]);
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), 0);
        }
    }
}

static void one_rank_needs_no_ring(void **state)
{
    (void)state;
    avs_ring *r;
    avs_err e = AVS_ERR_INIT;
    float x = 3;
    assert_int_equal(avs_ring_open(&r, "", 0, 1, 0, &e), AVS_OK);
    assert_null(r);
    assert_int_equal(avs_ring_mean(r, &x, 1, &e), AVS_OK);
    assert_true(x == 3);
}

static void a_dead_peer_ends_the_wait(void **state)
{
    (void)state;
    char name[64];
    avs_ring *r;
    avs_err e = AVS_ERR_INIT;
    float x[8] = {0};
    ring_name(name, sizeof name, 9);
    const pid_t child = fork();
    if (!child) {
        if (avs_ring_open(&r, name, 1, 2, 20000, NULL) != AVS_OK) _exit(1);
        raise(SIGKILL);
    }
    assert_int_equal(avs_ring_open(&r, name, 0, 2, 20000, &e), AVS_OK);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(avs_ring_mean(r, x, 8, &e), AVS_ECANCEL);
    assert_non_null(strstr(e.msg, "another rank"));
    avs_ring_close(r);
}

static void a_missing_rank_zero_is_said(void **state)
{
    (void)state;
    avs_ring *r;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(avs_ring_open(&r, "/avs-ring-nobody", 1, 2, 120, &e), AVS_EMISSING);
    assert_non_null(strstr(e.msg, "/avs-ring-nobody"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means_and_sums_are_exact_on_every_rank),
        cmocka_unit_test(one_rank_needs_no_ring),
        cmocka_unit_test(a_dead_peer_ends_the_wait),
        cmocka_unit_test(a_missing_rank_zero_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
