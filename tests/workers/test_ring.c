/* The host ring with real processes, over shared memory and over TCP: means in rank order, broadcasts, peers that die, and
 * strangers at the door. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/rng.h"
#include "workers/ring.h"

enum { LENGTH = 600001 /* several pieces, the last one ragged */, MOST = 4, TIMEOUT = 20000 };

/* One ring of either kind. */
typedef struct {
    bool tcp;
    char name[AVS_RING_ADDRESS];
    avs_ring_meet *meet;
} place;

static void place_make(place *p, bool tcp)
{
    static int k;
    avs_err e = AVS_ERR_INIT;
    *p = (place){.tcp = tcp};
    snprintf(p->name, sizeof p->name, "/avs-ring-%d-%d", (int)getpid(), k++);
    if (tcp && avs_ring_listen(&p->meet, p->name, &e) != AVS_OK) fail_msg("%s", e.msg);
}

static int place_open(place *p, avs_ring **r, int rank, int ranks, int timeout_ms, avs_err *e)
{
    if (!p->tcp) return avs_ring_open(r, p->name, rank, ranks, timeout_ms, e);
    if (rank > 0) avs_ring_unlisten(p->meet); /* inherited */
    return avs_ring_open_tcp(r, rank == 0 ? p->meet : NULL, p->name, rank, ranks, timeout_ms, e);
}

/* Numbers of all sizes, so that another order of the sum has other bits. */
static float value_of(int rank, int64_t i)
{
    const uint64_t u = avs_splitmix64((uint64_t)i * 64 + (uint64_t)rank);
    const float mantissa = (float)(int32_t)(u >> 32) / 2147483648.F;
    return mantissa * (float)(1 << (u & 15));
}

/* The same numbers in double, small beside large. */
static int sums_are_in_rank_order(avs_ring *r, int rank, int ranks)
{
    avs_err e = AVS_ERR_INIT;
    double *x = malloc(sizeof(double) * LENGTH);
    int rc = x ? 0 : 1;
    for (int64_t i = 0; !rc && i < LENGTH; i++) x[i] = rank % 2 ? 1e17 : (double)value_of(rank, i) / 3;
    if (!rc && avs_ring_sum(r, x, LENGTH, &e) != AVS_OK) rc = 2;
    for (int64_t i = 0; !rc && i < LENGTH; i++) {
        double want = (double)value_of(0, i) / 3;
        for (int k = 1; k < ranks; k++) want += k % 2 ? 1e17 : (double)value_of(k, i) / 3;
        if (x[i] != want) rc = 3;
    }
    free(x);
    return rc;
}

/* Rank 0's numbers go to `out` [LENGTH]; every rank checks the rest itself. */
static int work_as_rank(place *p, int rank, int ranks, float *out)
{
    avs_ring *r;
    avs_err e = AVS_ERR_INIT;
    float *x = malloc(sizeof(float) * LENGTH);
    if (!x || place_open(p, &r, rank, ranks, TIMEOUT, &e) != AVS_OK) return 10;
    for (int64_t i = 0; i < LENGTH; i++) x[i] = value_of(rank, i);
    if (avs_ring_mean(r, x, LENGTH, &e) != AVS_OK) return 11;
    for (int64_t i = 0; i < LENGTH; i++) {
        float want = value_of(0, i);
        for (int k = 1; k < ranks; k++) want += value_of(k, i);
        if (x[i] != want * (1.F / (float)ranks)) return 12;
    }
    if (rank == 0) memcpy(out, x, sizeof(float) * LENGTH);
    if (sums_are_in_rank_order(r, rank, ranks) != 0) return 17;
    for (int k = 0; k < 20; k++) {
        double v = rank + 0.5, w = k % 2 ? rank : -rank;
        float one = (float)rank;
        if (avs_ring_broadcast(r, &v, &e) != AVS_OK || v != 0.5) return 13;
        if (avs_ring_max(r, &w, &e) != AVS_OK || w != (k % 2 ? ranks - 1 : 0)) return 14;
        if (avs_ring_mean(r, &one, 1, &e) != AVS_OK) return 15;
    }
    if (avs_ring_mean(r, x, 0, &e) != AVS_OK || avs_ring_barrier(r, &e) != AVS_OK) return 16;
    avs_ring_close(r);
    free(x);
    return 0;
}

static int status_of(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
    return WEXITSTATUS(status);
}

static void means_and_sums_are_those_of_rank_order_over_either_transport(void **state)
{
    (void)state;
    float *x[2] = {malloc(sizeof(float) * LENGTH), malloc(sizeof(float) * LENGTH)};
    assert_true(x[0] && x[1]);
    for (int ranks = 2; ranks <= MOST; ranks++) {
        for (int tcp = 0; tcp < 2; tcp++) {
            pid_t child[MOST];
            place p;
            place_make(&p, tcp);
            for (int k = 1; k < ranks; k++)
                if (!(child[k] = fork())) _exit(work_as_rank(&p, k, ranks, NULL));
            assert_int_equal(work_as_rank(&p, 0, ranks, x[tcp]), 0);
            for (int k = 1; k < ranks; k++) assert_int_equal(status_of(child[k]), 0);
        }
        assert_memory_equal(x[0], x[1], sizeof(float) * LENGTH);
    }
    free(x[0]);
    free(x[1]);
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
    assert_false(avs_ring_peer_is_gone(r));
}

/* Means without end, until a rank is gone; the victim dies after the tenth. */
static int endless(place *p, int rank, int ranks, int victim)
{
    avs_ring *r;
    avs_err e = AVS_ERR_INIT;
    float *x = calloc(LENGTH, sizeof *x);
    if (!x || place_open(p, &r, rank, ranks, TIMEOUT, &e) != AVS_OK) return 10;
    int rc = AVS_OK;
    for (int k = 0; rc == AVS_OK; k++) {
        if (k == 10 && rank == victim) raise(SIGKILL);
        rc = avs_ring_mean(r, x, LENGTH, &e);
    }
    const bool gone = avs_ring_peer_is_gone(r);
    avs_ring_close(r);
    free(x);
    return rc == AVS_ECANCEL && gone && strstr(e.msg, "another rank") ? 0 : 11;
}

static void a_killed_rank_ends_the_others_whichever_it_is(void **state)
{
    (void)state;
    for (int tcp = 0; tcp < 2; tcp++)
        for (int victim = 1; victim < MOST; victim++) {
            pid_t child[MOST];
            place p;
            place_make(&p, tcp);
            const int64_t begin = avs_now_ns();
            for (int k = 1; k < MOST; k++)
                if (!(child[k] = fork())) _exit(endless(&p, k, MOST, victim));
            (void)signal(SIGCHLD, SIG_IGN); /* shared memory takes a zombie for alive */
            assert_int_equal(endless(&p, 0, MOST, victim), 0);
            (void)signal(SIGCHLD, SIG_DFL);
            for (int k = 1; k < MOST; k++) (void)waitpid(child[k], NULL, 0);
            assert_true(avs_now_ns() - begin < INT64_C(15000000000));
        }
}

static void a_rank_that_waits_sees_the_end_of_its_peer(void **state)
{
    (void)state;
    avs_ring *r;
    avs_err e = AVS_ERR_INIT;
    float x[8] = {0};
    for (int tcp = 0; tcp < 2; tcp++)
        for (int mine = 0; mine < 2; mine++) { /* which rank stays */
            place p;
            place_make(&p, tcp);
            const pid_t child = fork();
            if (!child) {
                if (place_open(&p, &r, 1 - mine, 2, TIMEOUT, NULL) != AVS_OK) _exit(1);
                raise(SIGKILL);
            }
            assert_int_equal(place_open(&p, &r, mine, 2, TIMEOUT, &e), AVS_OK);
            int status;
            assert_int_equal(waitpid(child, &status, 0), child);
            assert_true(avs_ring_peer_is_gone(r));
            assert_int_equal(avs_ring_mean(r, x, 8, &e), AVS_ECANCEL);
            assert_non_null(strstr(e.msg, "another rank"));
            avs_ring_close(r);
        }
}

static void a_missing_rank_zero_is_said(void **state)
{
    (void)state;
    avs_ring *r;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(avs_ring_open(&r, "/avs-ring-nobody", 1, 2, 120, &e), AVS_EMISSING);
    assert_non_null(strstr(e.msg, "/avs-ring-nobody"));
    place p;
    place_make(&p, true); /* its port is free again afterwards */
    avs_ring_unlisten(p.meet);
    assert_int_equal(avs_ring_open_tcp(&r, NULL, p.name, 1, 2, 500, &e), AVS_EMISSING);
    assert_non_null(strstr(e.msg, "cannot reach rank 0"));
}

static void a_missing_rank_is_said_in_time(void **state)
{
    (void)state;
    avs_ring *r;
    avs_err e = AVS_ERR_INIT;
    place p;
    place_make(&p, true);
    const int64_t begin = avs_now_ns();
    assert_int_equal(place_open(&p, &r, 0, 3, 200, &e), AVS_EMISSING);
    assert_non_null(strstr(e.msg, "2 ranks did not connect"));
    assert_true(avs_now_ns() - begin < INT64_C(5000000000));
}

/* ---- strangers ---- */

static int knock(const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)strtoul(address, NULL, 10));
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* Reads until the other side closes (or 10 s pass). */
static bool is_shut_out(int fd)
{
    char sink[256];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, 10000) == 1)
        if (recv(fd, sink, sizeof sink, 0) <= 0) return true;
    return false;
}

/* A second ring's secret at the first one's door: the greeting is right, the proof is not. */
static int wrong_secret(const place *p)
{
    avs_ring *r;
    avs_err e = AVS_ERR_INIT;
    char address[AVS_RING_ADDRESS];
    snprintf(address, sizeof address, "%s", p->name);
    char *secret = strchr(address, '/') + 1;
    secret[0] = secret[0] == '0' ? '1' : '0';
    return avs_ring_open_tcp(&r, NULL, address, 1, 2, 3000, &e) == AVS_EMISSING ? 0 : 20;
}

static int garbage(const place *p, uint64_t seed)
{
    for (uint64_t k = 0; k < 40; k++) {
        uint8_t bytes[200];
        const int fd = knock(p->name);
        for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)avs_splitmix64(seed + k * 1000 + i);
        if (k % 4 == 1) memcpy(bytes, "AVSRING1\x04\x03\x02\x01\x01\0\0\0\x02\0\0\0", 20);
        if (k % 4 == 2) memcpy(bytes, "AVSRING1\x04\x03\x02\x01\xff\xff\xff\xff\xff\xff\xff\xff", 20);
        (void)send(fd, bytes, k % 4 == 3 ? 7 : sizeof bytes, MSG_NOSIGNAL);
        if (k % 4 == 3) shutdown(fd, SHUT_WR);
        const bool out = is_shut_out(fd);
        close(fd);
        if (!out) return 21;
    }
    return 0;
}

static void strangers_and_garbage_are_shut_out_and_the_ring_still_forms(void **state)
{
    (void)state;
    avs_ring *r;
    avs_err e = AVS_ERR_INIT;
    place p;
    place_make(&p, true);
    int silent[8];
    for (int k = 0; k < 8; k++) silent[k] = knock(p.name); /* these say nothing at all */
    const pid_t child = fork();
    if (!child) {
        int bad = garbage(&p, 1);
        if (!bad) bad = wrong_secret(&p);
        float x = 1;
        if (!bad &&
            (place_open(&p, &r, 1, 2, TIMEOUT, NULL) != AVS_OK || avs_ring_mean(r, &x, 1, NULL) != AVS_OK))
            bad = 22;
        _exit(bad ? bad : x == 2 ? 0 : 23);
    }
    assert_int_equal(place_open(&p, &r, 0, 2, TIMEOUT, &e), AVS_OK);
    float x = 3;
    assert_int_equal(avs_ring_mean(r, &x, 1, &e), AVS_OK);
    assert_true(x == 2);
    assert_int_equal(status_of(child), 0);
    avs_ring_close(r);
    for (int k = 0; k < 8; k++) {
        assert_true(is_shut_out(silent[k]));
        close(silent[k]);
    }
}

static void an_address_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "x",
        "0/",
        "70000/0123456789abcdef0123456789abcdef/127.0.0.1",
        "99/0123/127.0.0.1",
        "99/0123456789abcdef0123456789abcdef",
        "99/0123456789abcdef0123456789abcdef/",
        "99/0123456789abcdef0123456789abcdef/,",
        "-1/0123456789abcdef0123456789abcdef/127.0.0.1",
        "99/0123456789abcdef0123456789abcdeg/127.0.0.1",
        "99/0123456789abcdef0123456789abcdef/"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        avs_ring *r;
        avs_err e = AVS_ERR_INIT;
        assert_int_equal(avs_ring_open_tcp(&r, NULL, bad[k], 1, 2, 1000, &e), AVS_EPARSE);
        assert_null(r);
    }
}

static void the_environment_chooses_what_rank_zero_tells(void **state)
{
    (void)state;
    static const char *const names[] = {"127.0.0.1", "lo"};
    avs_ring_meet *m;
    avs_err e = AVS_ERR_INIT;
    char address[AVS_RING_ADDRESS];
    for (int k = 0; k < 2; k++) {
        setenv("AVSWEEP_RING_ADDRESS", names[k], 1);
        assert_int_equal(avs_ring_listen(&m, address, &e), AVS_OK);
        assert_non_null(strstr(address, "/127.0.0.1"));
        avs_ring_unlisten(m);
    }
    setenv("AVSWEEP_RING_ADDRESS", "no interface", 1);
    assert_int_equal(avs_ring_listen(&m, address, &e), AVS_EMISSING);
    assert_non_null(strstr(e.msg, "no interface"));
    unsetenv("AVSWEEP_RING_ADDRESS");
}

static int out_of_step(place *p, int rank)
{
    avs_ring *r;
    avs_err e = AVS_ERR_INIT;
    float x[2] = {0};
    double v = 0;
    if (place_open(p, &r, rank, 2, TIMEOUT, &e) != AVS_OK) return 30;
    const int rc = rank == 0 ? avs_ring_mean(r, x, 2, &e) : avs_ring_max(r, &v, &e);
    avs_ring_close(r);
    return rc;
}

static void ranks_at_different_places_of_the_program_are_found_out(void **state)
{
    (void)state;
    place p;
    place_make(&p, true);
    const pid_t child = fork();
    if (!child) _exit(out_of_step(&p, 1));
    assert_int_equal(out_of_step(&p, 0), AVS_ECANCEL);
    assert_int_equal(status_of(child), AVS_EPARSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means_and_sums_are_those_of_rank_order_over_either_transport),
        cmocka_unit_test(one_rank_needs_no_ring),
        cmocka_unit_test(a_killed_rank_ends_the_others_whichever_it_is),
        cmocka_unit_test(a_rank_that_waits_sees_the_end_of_its_peer),
        cmocka_unit_test(a_missing_rank_zero_is_said),
        cmocka_unit_test(a_missing_rank_is_said_in_time),
        cmocka_unit_test(strangers_and_garbage_are_shut_out_and_the_ring_still_forms),
        cmocka_unit_test(an_address_that_is_none_is_refused),
        cmocka_unit_test(the_environment_chooses_what_rank_zero_tells),
        cmocka_unit_test(ranks_at_different_places_of_the_program_are_found_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
