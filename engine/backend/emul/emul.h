/* CUDA threads as fibres, so that hand-tuned kernels run and are tested without a GPU.
 *
 * A kernel source compiled with AVS_EMUL is C: AVS_GLOBAL defines it, AVS_LAUNCH runs it. Each CUDA thread of a block
 * is a ucontext fibre (threads that never wait share one); they run one after another, in order or (emul_set_reversed)
 * from the last to the first, until they end or wait. Blocks run one after another, which is why AVS_SHARED can be plain static storage.
 *   __syncthreads  waits until every thread of the block has arrived.
 *   a shuffle      writes its slot, waits for the warp, reads the other lane's slot, waits for the warp.
 * A launch ends with a message (instead of hanging or inventing a result) when some threads wait at a barrier and the
 * others have exited or wait elsewhere, and when lanes shuffle while other lanes of the warp have exited.
 * A barrier missing for all threads is a race which one fixed order can hide: run every test in both orders.
 * One launch at a time, one host thread. AddressSanitizer warns once about swapcontext; that is expected. */
#ifndef AVS_ENGINE_BACKEND_EMUL_H
#define AVS_ENGINE_BACKEND_EMUL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EMUL_WARP = 32, EMUL_MAX_THREADS = 1024 };

/* Runs fn(args) as grid x block threads. AVS_OK, AVS_ENOMEM or AVS_ECUDA; the message is in emul_error(). */
int emul_launch(void (*fn)(const void *args), const void *args, int64_t grid, int block);
const char *emul_error(void); /* "" after a launch that ended well; static storage */
void emul_set_reversed(bool is_reversed);
/* While counting, launches only add to the number of all launches so far, and nothing runs. emul_count_one: a kernel that is
 * no source of this project. */
void emul_count_only(bool is_counting);
void emul_count_one(void);
bool emul_counts_only(void);
int64_t emul_launches(void);
/* Every thread goes through its nth block barrier (1: the first) of each block without waiting; 0: none. With it a test
 * shows that it would notice if a barrier were taken out of a kernel. */
void emul_drop_barrier(int nth);

/* Inside kernels. */
int emul_thread(void); /* threadIdx.x */
int emul_block_dim(void);
int64_t emul_block(void); /* blockIdx.x */
int64_t emul_grid_dim(void);
int emul_lane(void);
void emul_syncthreads(void);
float emul_shfl_xor(float v, int mask);
double emul_shfl_xor_d(double v, int mask);
uint32_t emul_ballot(bool is);

#endif
