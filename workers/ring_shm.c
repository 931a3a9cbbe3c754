/* The ring inside a node, over POSIX shared memory. Layout: a header with a sense-counting barrier, then one slot per rank. An
 * all-reduce goes through the slots in pieces: write own piece, barrier, sum all pieces in rank order, barrier. */
#include "workers/ring_table.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"

enum { MAX_RANKS = 64, SLOT = 1 << 18 /* floats */, MAGIC = 0x52565341 };

typedef struct {
    _Atomic uint32_t magic; /* set last by rank 0 */
    uint32_t ranks;
    _Atomic uint32_t arrived, generation, given_up;
    _Atomic int32_t pid[MAX_RANKS];
} header;

typedef struct {
    avs_ring base; /* first */
    header *h;
    float *slots;
    size_t bytes;
    char name[256];
} shm_ring;

static size_t slots_offset(void)
{
    return (sizeof(header) + 4095) & ~(size_t)4095;
}

/* Sleeps until *word differs from seen, or 50 ms. */
static void nap(_Atomic uint32_t *word, uint32_t seen)
{
    const struct timespec slice = {.tv_nsec = 50000000};
    syscall(SYS_futex, word, FUTEX_WAIT, seen, &slice, NULL, 0);
}

static bool shm_gone(const avs_ring *base)
{
    const shm_ring *r = (const shm_ring *)base;
    if (atomic_load(&r->h->given_up)) return true;
    for (int i = 0; i < base->ranks; i++) {
        const int32_t pid = atomic_load(&r->h->pid[i]);
        if (pid > 0 && kill(pid, 0) && errno == ESRCH) return true;
    }
    return false;
}

static int shm_barrier(avs_ring *base, avs_err *e)
{
    header *h = ((shm_ring *)base)->h;
    const uint32_t gen = atomic_load(&h->generation);
    if (atomic_fetch_add(&h->arrived, 1) + 1 == (uint32_t)base->ranks) {
        atomic_store(&h->arrived, 0);
        atomic_fetch_add(&h->generation, 1);
        syscall(SYS_futex, &h->generation, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
        return AVS_OK;
    }
    while (atomic_load(&h->generation) == gen) {
        nap(&h->generation, gen);
        if (atomic_load(&h->generation) == gen && shm_gone(base))
            return avs_fail(e, AVS_ECANCEL, "rank %d: another rank of this trial ended", base->rank);
    }
    return AVS_OK;
}

static void shm_close(avs_ring *base)
{
    shm_ring *r = (shm_ring *)base;
    if (r->h) {
        atomic_store(&r->h->given_up, 1);
        syscall(SYS_futex, &r->h->generation, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
        munmap(r->h, r->bytes);
    }
    avs_xfree(r);
}

static int shm_mean(avs_ring *base, float *x, int64_t n, avs_err *e)
{
    const shm_ring *r = (const shm_ring *)base;
    const float scale = 1.F / (float)base->ranks;
    for (int64_t off = 0; off < n; off += SLOT) {
        const int64_t m = n - off < SLOT ? n - off : SLOT;
        memcpy(r->slots + (int64_t)base->rank * SLOT, x + off, (size_t)m * sizeof(float));
        int rc = shm_barrier(base, e);
        if (rc != AVS_OK) return rc;
        for (int64_t i = 0; i < m; i++) {
            float s = r->slots[i];
            for (int k = 1; k < base->ranks; k++) s += r->slots[(int64_t)k * SLOT + i];
            x[off + i] = s * scale;
        }
        rc = shm_barrier(base, e);
        if (rc != AVS_OK) return rc;
    }
    return AVS_OK;
}

static int shm_sum(avs_ring *base, double *x, int64_t n, avs_err *e)
{
    enum { PIECE = SLOT / 2 };
    const shm_ring *r = (const shm_ring *)base;
    for (int64_t off = 0; off < n; off += PIECE) {
        const int64_t m = n - off < PIECE ? n - off : PIECE;
        memcpy(r->slots + (int64_t)base->rank * SLOT, x + off, (size_t)m * sizeof *x);
        int rc = shm_barrier(base, e);
        if (rc != AVS_OK) return rc;
        const double *slots = (const double *)r->slots; /* pages and slots are multiples of 8 bytes */
        for (int64_t i = 0; i < m; i++) {
            double s = slots[i];
            for (int k = 1; k < base->ranks; k++) s += slots[(int64_t)k * PIECE + i];
            x[off + i] = s;
        }
        rc = shm_barrier(base, e);
        if (rc != AVS_OK) return rc;
    }
    return AVS_OK;
}

static int shm_agree(avs_ring *base, double *value, bool largest, avs_err *e)
{
    const shm_ring *r = (const shm_ring *)base;
    memcpy(r->slots + (int64_t)base->rank * SLOT, value, sizeof *value);
    int rc = shm_barrier(base, e);
    if (rc != AVS_OK) return rc;
    double best;
    memcpy(&best, r->slots, sizeof best);
    for (int k = 1; k < base->ranks && largest; k++) {
        double v;
        memcpy(&v, r->slots + (int64_t)k * SLOT, sizeof v);
        best = v > best ? v : best;
    }
    *value = best;
    return shm_barrier(base, e);
}

static const avs_ring_ops shm_ops = {shm_mean, shm_sum, shm_barrier, shm_agree, shm_gone, shm_close};

static int map(shm_ring *r, int fd, avs_err *e)
{
    r->bytes = slots_offset() + sizeof(float) * (size_t)SLOT * (size_t)r->base.ranks;
    if (r->base.rank == 0 && ftruncate(fd, (off_t)r->bytes))
        return avs_fail(e, AVS_EIO, "%s: %s", r->name, strerror(errno));
    void *p = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) return avs_fail(e, AVS_EIO, "%s: %s", r->name, strerror(errno));
    r->h = p;
    r->slots = (float *)((char *)p + slots_offset());
    return AVS_OK;
}

/* Waits for rank 0's object: complete (size) and announced (magic). */
static int attach(shm_ring *r, int timeout_ms, avs_err *e)
{
    const int64_t end = avs_now_ns() + (int64_t)timeout_ms * 1000000;
    _Atomic uint32_t tick = 0;
    while (avs_now_ns() < end) {
        struct stat st;
        const int fd = shm_open(r->name, O_RDWR, 0);
        const size_t want = slots_offset() + sizeof(float) * (size_t)SLOT * (size_t)r->base.ranks;
        if (fd >= 0 && fstat(fd, &st) == 0 && (size_t)st.st_size == want) {
            int rc = map(r, fd, e);
            close(fd);
            if (rc != AVS_OK) return rc;
            while (atomic_load(&r->h->magic) != MAGIC && avs_now_ns() < end) nap(&r->h->magic, 0);
            if (atomic_load(&r->h->magic) == MAGIC) return AVS_OK;
            break;
        }
        if (fd >= 0) close(fd);
        nap(&tick, 0); /* nothing to be woken by yet: look again in 50 ms */
    }
    return avs_fail(e, AVS_EMISSING, "rank %d: rank 0 did not open %s within %d ms", r->base.rank, r->name,
                    timeout_ms);
}

int avs_ring_open(avs_ring **out, const char *name, int rank, int ranks, int timeout_ms, avs_err *e)
{
    *out = NULL;
    if (ranks == 1) return AVS_OK;
    if (ranks > MAX_RANKS)
        return avs_fail(e, AVS_ERANGE, "%d ranks, the host ring takes at most %d", ranks, MAX_RANKS);
    shm_ring *r = avs_xalloc(sizeof *r);
    if (!r) return avs_fail(e, AVS_ENOMEM, "out of memory for the host ring");
    r->base = (avs_ring){.ops = &shm_ops, .rank = rank, .ranks = ranks};
    snprintf(r->name, sizeof r->name, "%s", name);
    int rc;
    if (rank == 0) {
        shm_unlink(name); /* left by an attempt that was killed */
        const int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        rc = fd < 0 ? avs_fail(e, AVS_EIO, "%s: %s", name, strerror(errno)) : map(r, fd, e);
        if (fd >= 0) close(fd);
        if (rc == AVS_OK) {
            r->h->ranks = (uint32_t)ranks;
            atomic_store(&r->h->magic, MAGIC);
            syscall(SYS_futex, &r->h->magic, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
        }
    } else {
        rc = attach(r, timeout_ms, e);
    }
    if (rc == AVS_OK) {
        atomic_store(&r->h->pid[rank], (int32_t)getpid());
        rc = shm_barrier(&r->base, e);
        if (rank == 0) shm_unlink(name); /* all hold a map; nothing stays behind */
    }
    if (rc != AVS_OK) {
        shm_close(&r->base);
        return rc;
    }
    *out = &r->base;
    return AVS_OK;
}
