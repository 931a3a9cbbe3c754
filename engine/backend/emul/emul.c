/* The scheduler: one pass over the threads after another; a pass in which nothing moved is a deadlock and is reported.
 *
 * A barrier opens when every thread of its set (block or warp) stands at it; a thread that has exited is missing.
 * Threads share a fibre as long as none of them waits: a fibre that has ended a thread goes on with the next that has
 * not begun, and only a thread that waits keeps its fibre. So a kernel without barriers costs plain calls. */
#include "engine/backend/emul/emul.h"
#include "base/arena.h"
#include "base/err.h"

#include <stdio.h>
#include <string.h>
#include <ucontext.h>

enum { STACK_BYTES = 32 * 1024 };

typedef enum { UNBORN, RUNNING, AT_BLOCK, AT_WARP, EXITED } fibre_state;

typedef struct {
    ucontext_t context;
    fibre_state state;
    int n_barriers; /* block barriers met so far */
    int stack;      /* which one the thread runs on  */
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
    int at;                             /* position in the order of this pass */
    int idle[EMUL_MAX_THREADS], n_idle; /* stacks without a thread */
    int cap;                            /* threads that f and stacks hold; both are kept between launches */
    bool is_reversed, is_counting;
    int64_t n_launches;
    double slot[EMUL_MAX_THREADS];
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

void emul_count_only(bool is_counting)
{
    E.is_counting = is_counting;
}
bool emul_counts_only(void)
{
    return E.is_counting;
}
void emul_count_one(void)
{
    E.n_launches++;
}
int64_t emul_launches(void)
{
    return E.n_launches;
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

double emul_shfl_xor_d(double v, int mask)
{
    const int me = E.current;
    E.slot[me] = v;
    wait_at(AT_WARP);
    const double other = E.slot[me ^ mask];
    wait_at(AT_WARP);
    return other;
}

float emul_shfl_xor(float v, int mask)
{
    return (float)emul_shfl_xor_d((double)v, mask);
}

uint32_t emul_ballot(bool is)
{
    const int me = E.current, first = me - me % EMUL_WARP;
    uint32_t mask = 0;
    E.slot[me] = is ? 1 : 0;
    wait_at(AT_WARP);
    for (int i = first; i < first + EMUL_WARP && i < E.n; i++)
        mask |= (uint32_t)(E.slot[i] != 0) << (i - first);
    wait_at(AT_WARP);
    return mask;
}

/* The thread at a position of the order in which threads run. */
static int ordered(int position)
{
    return E.is_reversed ? E.n - 1 - position : position;
}

static void fibre_main(void)
{
    const int stack = E.f[E.current].stack;
    for (;;) {
        E.fn(E.args);
        E.f[E.current].state = EXITED;
        if (E.at + 1 >= E.n || E.f[ordered(E.at + 1)].state != UNBORN) break;
        E.current = ordered(++E.at);
        E.f[E.current].state = RUNNING;
        E.f[E.current].stack = stack;
    }
    E.idle[E.n_idle++] = stack; /* uc_link goes back to the scheduler */
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

/* A fibre for thread i, which has not begun. */
static int start_thread(int i)
{
    fibre *f = &E.f[i];
    if (fresh_context(&f->context) != 0) {
        snprintf(E.error, sizeof(E.error), "getcontext failed for thread %d", i);
        return AVS_ELIB;
    }
    f->state = RUNNING;
    f->stack = E.idle[--E.n_idle];
    f->context.uc_stack.ss_sp = E.stacks + (size_t)f->stack * STACK_BYTES;
    f->context.uc_stack.ss_size = STACK_BYTES;
    f->context.uc_link = &E.scheduler;
    makecontext(&f->context, fibre_main, 0);
    return AVS_OK;
}

static void start_block(void)
{
    E.n_idle = 0;
    for (int i = 0; i < E.n; i++) {
        E.f[i].state = UNBORN;
        E.f[i].n_barriers = 0;
        E.idle[E.n_idle++] = E.n - 1 - i;
    }
}

static int run_block(void)
{
    start_block();
    while (count(0, E.n, EXITED) < E.n) {
        bool has_moved = false;
        for (E.at = 0; E.at < E.n; E.at++) {
            const int i = ordered(E.at), rc = E.f[i].state == UNBORN ? start_thread(i) : AVS_OK;
            if (rc != AVS_OK) return rc;
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
    E.n_launches++;
    if (E.is_counting) return AVS_OK;
    E.fn = fn;
    E.args = args;
    E.grid = grid;
    E.n = block;
    if (block > E.cap) {
        avs_xfree(E.f);
        avs_xfree(E.stacks);
        E.f = avs_xalloc((size_t)block * sizeof(fibre));
        E.stacks = avs_xalloc((size_t)block * STACK_BYTES);
        E.cap = E.f && E.stacks ? block : 0;
    }
    if (!E.cap) {
        snprintf(E.error, sizeof(E.error), "no memory for %d fibres", block);
        rc = AVS_ENOMEM;
    }
    for (E.block = 0; rc == AVS_OK && E.block < grid; E.block++) rc = run_block();
    return rc;
}
