/* `slurm FILE`: the sbatch script that runs a sweep on a cluster, printed. */
#ifndef AVS_ORCHESTRATOR_SLURM_H
#define AVS_ORCHESTRATOR_SLURM_H

#include "orchestrator/cli.h"

int avs_command_slurm(const avs_options *o);

#endif
