/* How the weights of a net start: initial values, then what the configuration names. */
#ifndef AVS_WORKERS_START_H
#define AVS_WORKERS_START_H

#include "models/schema.h"
#include "workers/net.h"

/* backbone_weights, audio_weights (a path, `pretrained` or `random`) and init of the configuration, in that order over the
 * initial values. `pretrained` is NAME.safetensors, NAME.pth or NAME.pt, the first that there is, in the folder
 * $AVSWEEP_WEIGHTS (default: weights). Differences of keys: see weights.h; where no training follows (kind eval), extents
 * must agree. A line per file goes to stderr. Errors name file and key; AVS_EMISSING where `pretrained` finds none. */
int avs_weights_start(avs_net *n, const avs_cfg *cfg, avs_err *e);
/* audio_weights alone. */
int avs_weights_start_audio(avs_net *n, const avs_cfg *cfg, avs_err *e);
/* Initial values again, as avs_net_open gave them. */
int avs_init_again(avs_net *n, uint64_t seed, avs_err *e);

#endif
