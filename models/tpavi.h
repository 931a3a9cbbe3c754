/* AVSBench's own model (arXiv 2207.05042, OpenNLPLab/AVSBench): a pyramid reduced to one width, temporal pixel-wise
 * audio-visual interaction (TPAVI) at its stages, a decoder of residual units. */
#ifndef AVS_MODELS_TPAVI_H
#define AVS_MODELS_TPAVI_H

#include "models/avm.h"
#include "models/model.h"

extern const avs_model_rule avs_tpavi_rule;

/* Total of the mask loss and the configured matching loss, from io's logits, target and row_weight: sets io->loss. Public
 * so that golden cases can run the losses alone. */
void avs_tpavi_losses(avs_graph *g, const avs_cfg *cfg, avs_model_io *io, const avs_avm_input *in);

#endif
