/* Commands that show what a model is: `explain` (graph, plan, memory), `bench-forward` (one timing),
 * `bench-step` (training steps: forward, backward, AdamW; every sample, and the process's peak of memory). */
#ifndef AVS_WORKERS_EXPLAIN_H
#define AVS_WORKERS_EXPLAIN_H

int avs_explain_command(int argc, char **argv);
int avs_bench_forward_command(int argc, char **argv);
int avs_bench_step_command(int argc, char **argv);

#endif
