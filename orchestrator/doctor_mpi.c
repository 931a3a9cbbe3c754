/* Between the ranks of one mpirun: whose clock differs, and whether an all-reduce around the ring of ranks adds up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/log.h"
#include "orchestrator/doctor.h"

#if AVS_HAVE_MPI
#include <mpi.h>

enum { N = 1 << 17, PINGS = 20, TAG = 72 };

static double wall(void)
{
    return (double)avs_wall_us() / 1e6;
}

/* The offset of this rank's clock to rank 0's, by the fastest of some round trips. */
static double offset(int rank, int size)
{
    double best = 1e9, found = 0;
    for (int r = 1; r < size; r++)
        for (int k = 0; k < PINGS; k++) {
            double mine = 0, theirs = 0;
            if (rank == r) {
                const double begin = wall();
                MPI_Sendrecv(&begin, 1, MPI_DOUBLE, 0, TAG, &theirs, 1, MPI_DOUBLE, 0, TAG, MPI_COMM_WORLD,
                             MPI_STATUS_IGNORE);
                const double end = wall();
                if (end - begin < best) {
                    best = end - begin;
                    found = (begin + end) / 2 - theirs;
                }
            } else if (rank == 0) {
                MPI_Recv(&mine, 1, MPI_DOUBLE, r, TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
                theirs = wall();
                MPI_Send(&theirs, 1, MPI_DOUBLE, r, TAG, MPI_COMM_WORLD);
            }
        }
    return found;
}

/* Sum over ranks, each adding its numbers to what comes from the left: size-1 steps around the ring. */
static long long ring_errors(int rank, int size, double *ms)
{
    long long *sum = calloc(N, sizeof *sum), *pass = calloc(N, sizeof *pass), *in = calloc(N, sizeof *in),
              wrong = 0;
    if (!sum || !pass || !in) {
        free(sum);
        free(pass);
        free(in);
        return N;
    }
    for (int i = 0; i < N; i++) sum[i] = pass[i] = (long long)i * (rank + 1);
    const int64_t begin = avs_now_ns();
    for (int k = 1; k < size; k++) {
        MPI_Sendrecv(pass, N, MPI_LONG_LONG, (rank + 1) % size, TAG, in, N, MPI_LONG_LONG,
                     (rank + size - 1) % size, TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        for (int i = 0; i < N; i++) {
            sum[i] += in[i];
            pass[i] = in[i];
        }
    }
    *ms = (double)(avs_now_ns() - begin) / 1e6;
    for (int i = 0; i < N; i++) wrong += sum[i] != (long long)i * size * (size + 1) / 2;
    free(sum);
    free(pass);
    free(in);
    return wrong;
}

void avs_doc_ranks(avs_doctor *d, bool (*local)(avs_doctor *d))
{
    int given, rank = 0, size = 1;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given) != MPI_SUCCESS) {
        avs_doc_say(d, AVS_DOC_FAIL, "mpi", "MPI_Init failed");
        return;
    }
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Comm node;
    int place = 0;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &place);
    MPI_Comm_free(&node);
    if (place == 0) (void)local(d); /* one rank looks at a node */
    double ms = 0;
    const double off = offset(rank, size);
    const long long wrong = ring_errors(rank, size, &ms);
    avs_doc_say(d, off > 1 || off < -1 ? AVS_DOC_WARN : AVS_DOC_OK, "clock", "rank %d is %.4f s off rank 0",
                rank, off);
    avs_doc_say(d, wrong ? AVS_DOC_FAIL : AVS_DOC_OK, "ring",
                "rank %d of %d: all-reduce of 1 MiB over MPI %s, %.1f ms", rank, size,
                wrong ? "is wrong" : "is right", ms);
    for (int r = 0; r < size; r++) { /* one after the other, so that lines do not mix */
        MPI_Barrier(MPI_COMM_WORLD);
        if (r != rank || d->out.len == 0) continue;
        avs_fs_full_write(1, d->out.data, d->out.len);
        avs_buf_clear(&d->out);
    }
    int failures = d->failures, all = 0;
    MPI_Allreduce(&failures, &all, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    d->failures = all;
    MPI_Finalize();
}
#else
void avs_doc_ranks(avs_doctor *d, bool (*local)(avs_doctor *d))
{
    (void)local(d);
    avs_doc_say(d, AVS_DOC_SKIP, "mpi", "built without MPI");
}
#endif
