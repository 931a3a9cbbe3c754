/* The scheduler: one pass over the fibres after another; a pass in which nothing moved is a deadlock and is reported.
 *
 * A barrier opens when every thread of its set (block or warp) stands at it; a thread that has exited is missing. */
#include "engine/backend/emul/emul.h"
#include "base/arena.h"
#include "base/err.h"

#include <stdio.h>
#include <string.h>
#include <ucontext.h>

enum { STACK_BYTES = 32 * 1024 };

typedef enum { RUNNING, AT_BLOCK, AT_WARP, EXITED } fibre_state;

typedef struct {
    ucontext_t context;
    fibre_state state;
    int n_barriers; /* block barriers met so far */
} fibre;

/* The launch in progress. The state is static because CUDA's built-in variables are: kernels take no context. */
static struct {
    fibre *f;
    char *stacks;
    ucontext_t scheduler;
    void (*fn)(const void *args);
    const void *args;
    int64_t block, grid;
    int n, current, dropped;
    bool is_reversed;
    float slot[EMUL_MAX_THREADS];
    char error[256];
} E;

int emul_thread(void)
{
    return E.current;
}
int emul_block_dim(void)
{
    return E.n;
}
int64_t emul_block(void)
{
    return E.block;
}
int64_t emul_grid_dim(void)
{
    return E.grid;
}
int emul_lane(void)
{
    return E.current % EMUL_WARP;
}
const char *emul_error(void)
{
    return E.error;
}
void emul_set_reversed(bool is_reversed)
{
    E.is_reversed = is_reversed;
}

static void wait_at(fibre_state where)
{
    const int me = E.current;
    E.f[me].state = where;
    swapcontext(&E.f[me].context, &E.scheduler);
}

void emul_drop_barrier(int nth)
{
    E.dropped = nth;
}

void emul_syncthreads(void)
{
    if (++E.f[E.current].n_barriers != E.dropped) wait_at(AT_BLOCK);
}

float emul_shfl_xor(float v, int mask)
{
    const int me = E.current;
    E.slot[me] = v;
    wait_at(AT_WARP);
    const float other = E.slot[me ^ mask];
    wait_at(AT_WARP);
    return other;
}

uint32_t emul_ballot(bool is)
{
    const int me = E.current, first = me - me % EMUL_WARP;
    uint32_t mask = 0;
    E.slot[me] = is ? 1.f : 0.f;
    wait_at(AT_WARP);
    for (int i = first; i < first + EMUL_WARP && i < E.n; i++)
        mask |= (uint32_t)(E.slot[i] != 0.f) << (i - first);
    wait_at(AT_WARP);
    return mask;
}

static void fibre_main(void)
{
    E.fn(E.args);
    E.f[E.current].state = EXITED; /* uc_link goes back to the scheduler */
}

static int count(int from, int to, fibre_state s)
{
    int n = 0;
    for (int i = from; i < to; i++) n += E.f[i].state == s;
    return n;
}

/* Lets the threads [from, to) go on if all of them stand at the barrier. */
static bool release(int from, int to, fibre_state barrier)
{
    if (count(from, to, barrier) != to - from) return false;
    for (int i = from; i < to; i++) E.f[i].state = RUNNING;
    return true;
}

static int warp_end(int from)
{
    return from + EMUL_WARP < E.n ? from + EMUL_WARP : E.n;
}

/* No thread can move: names the barrier that part of the threads reached. */
static int report_deadlock(void)
{
    for (int w = 0; w < E.n; w += EMUL_WARP) {
        const int end = warp_end(w), here = count(w, end, AT_WARP);
        if (!here) continue;
        snprintf(E.error, sizeof(E.error),
                 "block %lld: a shuffle or ballot is reached by %d of %d lanes of warp %d; %d have exited, "
                 "%d wait at "
                 "a barrier",
                 (long long)E.block, here, end - w, w / EMUL_WARP, count(w, end, EXITED),
                 count(w, end, AT_BLOCK));
        return AVS_ECUDA;
    }
    snprintf(E.error, sizeof(E.error),
             "block %lld: a barrier is reached by %d of %d threads, the others have exited",
             (long long)E.block, count(0, E.n, AT_BLOCK), E.n);
    return AVS_ECUDA;
}

/* A call of its own, because getcontext may return twice as far as the compiler knows. */
static int fresh_context(ucontext_t *c)
{
    return getcontext(c);
}

static int start_block(void)
{
    for (int i = 0; i < E.n; i++) {
        fibre *f = &E.f[i];
        if (fresh_context(&f->context) != 0) {
            snprintf(E.error, sizeof(E.error), "getcontext failed for thread %d", i);
            return AVS_ELIB;
        }
        f->state = RUNNING;
        f->n_barriers = 0;
        f->context.uc_stack.ss_sp = E.stacks + (size_t)i * STACK_BYTES;
        f->context.uc_stack.ss_size = STACK_BYTES;
        f->context.uc_link = &E.scheduler;
        makecontext(&f->context, fibre_main, 0);
    }
    return AVS_OK;
}

static int run_block(void)
{
    const int rc = start_block();
    if (rc != AVS_OK) return rc;
    while (count(0, E.n, EXITED) < E.n) {
        bool has_moved = false;
        for (int k = 0; k < E.n; k++) {
            const int i = E.is_reversed ? E.n - 1 - k : k;
            if (E.f[i].state != RUNNING) continue;
            E.current = i;
            swapcontext(&E.scheduler, &E.f[i].context);
            has_moved = true;
        }
        for (int w = 0; w < E.n; w += EMUL_WARP) has_moved |= release(w, warp_end(w), AT_WARP);
        has_moved |= release(0, E.n, AT_BLOCK);
        if (!has_moved) return report_deadlock();
    }
    return AVS_OK;
}

int emul_launch(void (*fn)(const void *args), const void *args, int64_t grid, int block)
{
    int rc = AVS_OK;
    E.error[0] = 0;
    if (block < 1 || block > EMUL_MAX_THREADS || grid < 1) {
        snprintf(E.error, sizeof(E.error), "a launch of %lld blocks of %d threads; a block has 1 to %d",
                 (long long)grid, block, EMUL_MAX_THREADS);
        return AVS_ERANGE;
    }
    E.fn = fn;
    E.args = args;
    E.grid = grid;
    E.n = block;
    E.f = avs_xalloc((size_t)block * sizeof(fibre));
    E.stacks = avs_xalloc((size_t)block * STACK_BYTES);
    if (!E.f || !E.stacks) {
        snprintf(E.error, sizeof(E.error), "no memory for %d fibres", block);
        rc = AVS_ENOMEM;
    }
    for (E.block = 0; rc == AVS_OK && E.block < grid; E.block++) rc = run_block();
    avs_xfree(E.f);
    avs_xfree(E.stacks);
    E.f = NULL;
    E.stacks = NULL;
    return rc;
}
