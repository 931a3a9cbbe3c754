/* The MPI connection: messages of at most 64 KiB with tag 71, sent without blocking and found by probing.
 *
 * A stream to a peer is the concatenation of its messages (MPI keeps the order of one sender and tag). Sends are
 * MPI_Isend from copies that live until MPI_Test says so; a send to a dead rank may succeed or never end, so nobody
 * waits for one and liveness rests on M_BEAT alone. Without MPI the file holds the launcher look-up only. */
#include "orchestrator/transport.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "orchestrator/message.h"

static int env_int(const char *const *names, int fallback)
{
    for (int i = 0; names[i]; i++) {
        const char *v = getenv(names[i]);
        char *end = NULL;
        const long n = v ? strtol(v, &end, 10) : 0;
        if (v && *v && !*end && n >= 0 && n <= INT_MAX) return (int)n;
    }
    return fallback;
}

avs_launch avs_launch_read(void)
{
    static const char *const ranks[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", NULL};
    static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", NULL};
    avs_launch l = {0, 1, false};
    int rank = env_int(ranks, -1);
    if (rank < 0 && getenv("SLURM_STEP_ID") &&
        env_int((const char *const[]){"SLURM_STEP_NUM_TASKS", NULL}, 1) > 1)
        rank = env_int((const char *const[]){"SLURM_PROCID", NULL}, -1);
    if (rank < 0) return l;
    l.under_launcher = true;
    l.rank = rank;
    l.size = env_int(sizes, env_int((const char *const[]){"SLURM_STEP_NUM_TASKS", NULL}, 1));
    return l;
}

bool avs_launch_emulates_nodes(void)
{
    const char *v = getenv("AVSWEEP_EMULATE_NODES");
    return v && strcmp(v, "1") == 0;
}

#if AVS_HAVE_MPI
#include <mpi.h>
#include <stdio.h>
#include <time.h>
#include "base/arena.h"
#include "base/log.h"

enum { PARK_TAG = 72, FAST_PROBES = 20, FIRST_WAIT_NS = 50000, LAST_WAIT_NS = 5000000, MAX_PER_POLL = 256 };

typedef struct pending {
    MPI_Request request;
    struct pending *next;
    char data[];
} pending;

typedef struct {
    avs_transport base;
    int *rank_of;   /* peer -> rank            */
    int *peer_of;   /* rank -> peer, -1 none   */
    pending *first; /* sends that are not over */
    int misses;
    char *chunk;
} mpi;

static int mpi_fail(avs_err *e, const char *what, int code)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    MPI_Error_string(code, text, &n);
    return avs_fail(e, AVS_EMPI, "%s: %s", what, text);
}
#define TRY_MPI(call, e)                                                                                     \
    do {                                                                                                     \
        int mpi_code = (call);                                                                               \
        if (mpi_code != MPI_SUCCESS) return mpi_fail((e), #call, mpi_code);                                  \
    } while (0)

static void drop_finished(mpi *t)
{
    for (pending **at = &t->first; *at;) {
        int over = 0;
        pending *p = *at;
        if (MPI_Test(&p->request, &over, MPI_STATUS_IGNORE) != MPI_SUCCESS) over = 1;
        if (over) {
            *at = p->next;
            free(p);
        } else {
            at = &p->next;
        }
    }
}

static int mpi_send(avs_transport *base, int peer, const void *data, size_t n, avs_err *e)
{
    mpi *t = (mpi *)base;
    const char *src = data;
    while (n > 0) {
        size_t k = n < AVS_MPI_CHUNK ? n : AVS_MPI_CHUNK;
        pending *p = avs_xrealloc(NULL, sizeof *p + k);
        if (!p) return avs_fail(e, AVS_ENOMEM, "no memory to queue a message of %zu bytes", n);
        memcpy(p->data, src, k);
        int rc =
            MPI_Isend(p->data, (int)k, MPI_BYTE, t->rank_of[peer], AVS_MPI_TAG, MPI_COMM_WORLD, &p->request);
        if (rc != MPI_SUCCESS) {
            free(p);
            return AVS_OK; /* the peer is gone: its silence will be noticed */
        }
        p->next = t->first;
        t->first = p;
        src += k;
        n -= k;
    }
    t->misses = 0;
    t->base.wait_ns = 0;
    drop_finished(t);
    return AVS_OK;
}

static int mpi_poll(avs_transport *base, avs_transport_got got, void *ctx, avs_err *e)
{
    mpi *t = (mpi *)base;
    bool any = false;
    drop_finished(t);
    for (int i = 0; i < MAX_PER_POLL; i++) {
        int there = 0, n = 0;
        MPI_Status st;
        TRY_MPI(MPI_Iprobe(MPI_ANY_SOURCE, AVS_MPI_TAG, MPI_COMM_WORLD, &there, &st), e);
        if (!there) break;
        any = true;
        TRY_MPI(MPI_Get_count(&st, MPI_BYTE, &n), e);
        if (n > AVS_MPI_CHUNK)
            return avs_fail(e, AVS_EMPI, "rank %d sent %d bytes at once", st.MPI_SOURCE, n);
        TRY_MPI(
            MPI_Recv(t->chunk, n, MPI_BYTE, st.MPI_SOURCE, AVS_MPI_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE),
            e);
        if (t->peer_of[st.MPI_SOURCE] >= 0) got(ctx, t->peer_of[st.MPI_SOURCE], t->chunk, (size_t)n);
    }
    if (any) {
        t->misses = 0;
        t->base.wait_ns = 0;
    } else if (++t->misses <= FAST_PROBES) {
        t->base.wait_ns = 0;
    } else {
        int64_t w = t->base.wait_ns < FIRST_WAIT_NS ? FIRST_WAIT_NS : 2 * t->base.wait_ns;
        t->base.wait_ns = w < LAST_WAIT_NS ? w : LAST_WAIT_NS;
    }
    return AVS_OK;
}

static bool mpi_idle(const avs_transport *base)
{
    return ((const mpi *)base)->first == NULL;
}

static void mpi_close(avs_transport *base)
{
    mpi *t = (mpi *)base;
    while (
        t->first) { /* sends that never ended: their buffers must outlive MPI, so they are left to the exit */
        pending *p = t->first;
        t->first = p->next;
        int over = 0;
        MPI_Test(&p->request, &over, MPI_STATUS_IGNORE);
        if (over) free(p);
    }
    free(t->rank_of);
    free(t->peer_of);
    free(t->chunk);
    free(t);
}

static int new_transport(mpi **out, int n_ranks, avs_err *e)
{
    mpi *t = avs_xrealloc(NULL, sizeof *t);
    if (!t) return avs_fail(e, AVS_ENOMEM, "no memory for the MPI connection");
    *t = (mpi){.base = {.fd = -1, .send = mpi_send, .poll = mpi_poll, .idle = mpi_idle, .close = mpi_close}};
    t->rank_of = avs_xrealloc(NULL, sizeof(int) * (size_t)n_ranks);
    t->peer_of = avs_xrealloc(NULL, sizeof(int) * (size_t)n_ranks);
    t->chunk = avs_xrealloc(NULL, AVS_MPI_CHUNK);
    *out = t;
    if (!t->rank_of || !t->peer_of || !t->chunk) {
        mpi_close(&t->base);
        *out = NULL;
        return avs_fail(e, AVS_ENOMEM, "no memory for the MPI connection");
    }
    for (int i = 0; i < n_ranks; i++) t->peer_of[i] = -1;
    return AVS_OK;
}

int avs_transport_mpi(avs_transport **out, avs_role *role, int *n_parked, avs_err *e)
{
    *out = NULL;
    *n_parked = 0;
    int level, rank, size, local_rank;
    TRY_MPI(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level), e);
    TRY_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), e);
    TRY_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &rank), e);
    TRY_MPI(MPI_Comm_size(MPI_COMM_WORLD, &size), e);
    MPI_Comm node;
    TRY_MPI(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node), e);
    TRY_MPI(MPI_Comm_rank(node, &local_rank), e);
    TRY_MPI(MPI_Comm_free(&node), e);
    const bool leads = local_rank == 0 || avs_launch_emulates_nodes();
    *role = rank == 0 ? AVS_ROLE_COORDINATOR : leads ? AVS_ROLE_AGENT : AVS_ROLE_PARKED;

    mpi *t = NULL;
    int rc = new_transport(&t, size, e);
    if (rc != AVS_OK) return rc;
    int mine = (int)*role, *roles = avs_xrealloc(NULL, sizeof(int) * (size_t)size);
    if (!roles) {
        mpi_close(&t->base);
        return avs_fail(e, AVS_ENOMEM, "no memory for %d ranks", size);
    }
    int code = MPI_Gather(&mine, 1, MPI_INT, roles, 1, MPI_INT, 0, MPI_COMM_WORLD);
    if (*role == AVS_ROLE_COORDINATOR) {
        for (int r = 1; r < size; r++) {
            if (roles[r] == AVS_ROLE_PARKED) ++*n_parked;
            if (roles[r] != AVS_ROLE_AGENT) continue;
            t->peer_of[r] = t->base.n_peers;
            t->rank_of[t->base.n_peers++] = r;
        }
    } else {
        t->base.n_peers = 1;
        t->rank_of[0] = 0;
        t->peer_of[0] = 0;
    }
    free(roles);
    if (code != MPI_SUCCESS || *role == AVS_ROLE_PARKED) {
        mpi_close(&t->base);
        return code == MPI_SUCCESS ? AVS_OK : mpi_fail(e, "MPI_Gather", code);
    }
    *out = &t->base;
    return AVS_OK;
}

void avs_mpi_park(void)
{
    const struct timespec pause = {0, 100000000};
    for (;;) {
        int there = 0;
        if (MPI_Iprobe(0, PARK_TAG, MPI_COMM_WORLD, &there, MPI_STATUS_IGNORE) != MPI_SUCCESS) return;
        if (there) {
            MPI_Recv(NULL, 0, MPI_BYTE, 0, PARK_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            return;
        }
        nanosleep(&pause, NULL);
    }
}

void avs_mpi_end(avs_role role, int abort_code)
{
    if (abort_code != 0) MPI_Abort(MPI_COMM_WORLD, abort_code);
    if (role == AVS_ROLE_COORDINATOR) {
        int size = 0;
        MPI_Comm_size(MPI_COMM_WORLD, &size);
        for (int r = 1; r < size; r++) {
            MPI_Request q; /* agents never look for it; a message of no bytes needs no partner to complete */
            MPI_Isend(NULL, 0, MPI_BYTE, r, PARK_TAG, MPI_COMM_WORLD, &q);
            MPI_Request_free(&q);
        }
    }
    MPI_Finalize();
}

const char *avs_mpi_version(void)
{
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int n = 0;
    if (MPI_Get_library_version(text, &n) != MPI_SUCCESS) return "unknown";
    text[strcspn(text, ",\n")] = '\0';
    return text;
}

#else

int avs_transport_mpi(avs_transport **out, avs_role *role, int *n_parked, avs_err *e)
{
    *out = NULL;
    *role = AVS_ROLE_COORDINATOR;
    *n_parked = 0;
    return avs_fail(e, AVS_EMISSING, "this avsweep was built without MPI: start it without mpirun");
}

void avs_mpi_park(void) {}

void avs_mpi_end(avs_role role, int abort_code)
{
    (void)role;
    (void)abort_code;
}

const char *avs_mpi_version(void)
{
    return "none";
}
#endif
