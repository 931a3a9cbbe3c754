/* NCCL as a table of collectives: buckets on a stream of their own, each behind an event of the plan's queue, so that
 * they overlap with the rest of the backward; the plan's queue goes on behind the last one.
 *
 * The library is loaded at run time. Its communicator is non-blocking: starting it and waiting for buckets poll, and a
 * rank that died (seen through the ring) or an error of NCCL ends with ncclCommAbort instead of a hang. */
#include "workers/comm.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nccl.h>
#include <sched.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"

// clang-format off
#define CALLS(X)                                                                                             \
    X(ncclGetUniqueId) X(ncclCommInitRankConfig) X(ncclCommGetAsyncError) X(ncclCommAbort)                   \
    X(ncclCommDestroy) X(ncclCommFinalize) X(ncclAllReduce) X(ncclGetErrorString) X(ncclGetVersion)
// clang-format on

enum { START_SECONDS = 60 };

typedef struct {
    avs_comm base;
    void *lib;
/* NOLINTNEXTLINE(bugprone-macro-parentheses): a declarator */
#define X(name) __typeof__(&name) name;
    CALLS(X)
#undef X
    ncclComm_t comm;
    cudaStream_t stream;
    cudaEvent_t ready, done;
    bool is_waiting; /* something was started since the last wait */
} nccl;

static int load(nccl *c, avs_err *e)
{
    static const struct {
        const char *name;
        size_t at;
    } calls[] = {
#define X(f) {#f, offsetof(nccl, f)},
        CALLS(X)
#undef X
    };
    c->lib = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!c->lib) return avs_fail(e, AVS_EMISSING, "libnccl.so.2 was not found: %s", dlerror());
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        void *f = dlsym(c->lib, calls[i].name);
        if (!f) return avs_fail(e, AVS_EMISSING, "libnccl.so.2 has no %s: it is too old", calls[i].name);
        memcpy((char *)c + calls[i].at, &f, sizeof f);
    }
    return AVS_OK;
}

static int told(const nccl *c, ncclResult_t r, const char *what, avs_err *e)
{
    return r == ncclSuccess || r == ncclInProgress
               ? AVS_OK
               : avs_fail(e, AVS_ELIB, "rank %d: %s: %s", c->base.rank, what, c->ncclGetErrorString(r));
}

static int cuda(cudaError_t s, const char *what, avs_err *e)
{
    return s == cudaSuccess ? AVS_OK : avs_fail(e, AVS_ECUDA, "%s: %s", what, cudaGetErrorString(s));
}

static void give_up(nccl *c)
{
    if (c->comm) (void)c->ncclCommAbort(c->comm);
    c->comm = NULL;
}

/* One look at NCCL and at the other ranks. *is_pending: NCCL is still at its last call. */
static int look(nccl *c, bool *is_pending, avs_err *e)
{
    ncclResult_t state = ncclSuccess;
    int rc = told(c, c->ncclCommGetAsyncError(c->comm, &state), "ncclCommGetAsyncError", e);
    if (rc == AVS_OK) rc = told(c, state, "NCCL", e);
    if (rc == AVS_OK && avs_ring_peer_is_gone(c->base.ring))
        rc = avs_fail(e, AVS_ECANCEL, "rank %d: another rank of this trial ended", c->base.rank);
    *is_pending = state == ncclInProgress;
    if (rc != AVS_OK) give_up(c);
    return rc;
}

static int settle(nccl *c, avs_err *e)
{
    const int64_t end = avs_now_ns() + (int64_t)START_SECONDS * 1000000000;
    for (bool is_pending = true; is_pending;) {
        const int rc = look(c, &is_pending, e);
        if (rc != AVS_OK) return rc;
        if (is_pending && avs_now_ns() > end) {
            give_up(c);
            return avs_fail(e, AVS_ELIB, "rank %d: NCCL did not answer within %d s", c->base.rank,
                            START_SECONDS);
        }
        if (is_pending) sched_yield();
    }
    return AVS_OK;
}

/* Rank 0's id reaches the others as numbers over the ring. */
static int share_id(nccl *c, ncclUniqueId *id, avs_err *e)
{
    double word[sizeof *id / sizeof(double)];
    memcpy(word, id, sizeof word);
    for (size_t i = 0; i < sizeof word / sizeof *word; i++) {
        const int rc = avs_ring_broadcast(c->base.ring, &word[i], e);
        if (rc != AVS_OK) return rc;
    }
    memcpy(id, word, sizeof word);
    return AVS_OK;
}

/* Queued behind what the plan has queued and what this stream holds. */
static int reduce(nccl *c, void *x, int64_t n, ncclDataType_t type, ncclRedOp_t op, avs_err *e)
{
    int rc = AVS_OK;
    bool is_pending;
    AVS_TRY(look(c, &is_pending, e));
    AVS_TRY(cuda(cudaEventRecord(c->ready, avs_plan_queue(c->base.plan)), "cudaEventRecord", e));
    AVS_TRY(cuda(cudaStreamWaitEvent(c->stream, c->ready, 0), "cudaStreamWaitEvent", e));
    AVS_TRY(told(c, c->ncclAllReduce(x, x, (size_t)n, type, op, c->comm, c->stream), "ncclAllReduce", e));
    AVS_TRY(settle(c, e));
    c->is_waiting = true;
out:
    return rc;
}

static int nccl_start(avs_comm *base, float *slab, int64_t n, avs_err *e)
{
    return reduce((nccl *)base, slab, n, ncclFloat, ncclAvg, e);
}

static int nccl_wait(avs_comm *base, avs_err *e)
{
    nccl *c = (nccl *)base;
    int rc = AVS_OK;
    if (!c->is_waiting) return AVS_OK;
    AVS_TRY(cuda(cudaEventRecord(c->done, c->stream), "cudaEventRecord", e));
    for (;;) { /* the host waits here, so that a dead peer is seen; the queue could wait alone */
        bool is_pending;
        const cudaError_t s = cudaEventQuery(c->done);
        if (s == cudaSuccess) break;
        if (s != cudaErrorNotReady) AVS_TRY(cuda(s, "all-reduce", e));
        AVS_TRY(look(c, &is_pending, e));
        sched_yield();
    }
    AVS_TRY(cuda(cudaStreamWaitEvent(avs_plan_queue(base->plan), c->done, 0), "cudaStreamWaitEvent", e));
    c->is_waiting = false;
out:
    return rc;
}

/* The host waits, as in nccl_wait: a rank that dies between two layers must not leave this one in the queue for ever. */
static int nccl_sum(avs_comm *base, double *x, int64_t n, avs_err *e)
{
    const int rc = reduce((nccl *)base, x, n, ncclDouble, ncclSum, e);
    return rc == AVS_OK ? nccl_wait(base, e) : rc;
}

static void nccl_close(avs_comm *base)
{
    nccl *c = (nccl *)base;
    bool is_pending;
    if (c->comm && !c->is_waiting && c->ncclCommFinalize(c->comm) != ncclInvalidArgument &&
        settle(c, NULL) == AVS_OK && look(c, &is_pending, NULL) == AVS_OK) {
        (void)c->ncclCommDestroy(c->comm);
        c->comm = NULL;
    }
    give_up(c);
    if (c->ready) (void)cudaEventDestroy(c->ready);
    if (c->done) (void)cudaEventDestroy(c->done);
    if (c->stream) (void)cudaStreamDestroy(c->stream);
    if (c->lib) (void)dlclose(c->lib);
    avs_xfree(c);
}

static const avs_comm_ops nccl_ops = {"nccl", nccl_start, nccl_wait, nccl_sum, nccl_close};

int avs_comm_nccl_open(avs_comm **out, avs_ring *ring, int rank, int ranks, avs_plan *plan, avs_err *e)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId id = {0};
    nccl *c = avs_xalloc(sizeof *c);
    if (!c) return avs_fail(e, AVS_ENOMEM, "out of memory for NCCL");
    c->base = (avs_comm){.ops = &nccl_ops, .ring = ring, .plan = plan, .rank = rank, .ranks = ranks};
    config.blocking = 0;
    int rc = load(c, e);
    if (rc == AVS_OK && rank == 0) rc = told(c, c->ncclGetUniqueId(&id), "ncclGetUniqueId", e);
    double failed = rc == AVS_OK ? 0 : 1;
    int shared =
        avs_ring_max(ring, &failed, rc == AVS_OK ? e : NULL); /* nobody waits for a rank without NCCL */
    if (rc == AVS_OK) rc = shared;
    if (rc == AVS_OK && failed > 0) rc = avs_fail(e, AVS_EMISSING, "another rank has no NCCL");
    if (rc == AVS_OK) rc = share_id(c, &id, e);
    if (rc == AVS_OK) rc = cuda(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking), "a stream", e);
    if (rc == AVS_OK) rc = cuda(cudaEventCreateWithFlags(&c->ready, cudaEventDisableTiming), "an event", e);
    if (rc == AVS_OK) rc = cuda(cudaEventCreateWithFlags(&c->done, cudaEventDisableTiming), "an event", e);
    if (rc == AVS_OK)
        rc = told(c, c->ncclCommInitRankConfig(&c->comm, ranks, id, rank, &config), "ncclCommInitRankConfig",
                  e);
    if (rc == AVS_OK) rc = settle(c, e);
    if (rc != AVS_OK) {
        nccl_close(&c->base);
        return rc;
    }
    *out = &c->base;
    return AVS_OK;
}
