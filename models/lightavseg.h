/* LightAVSeg (arXiv 2605.08805), a reconstruction: no public code; what is ours is marked in docs/models.md. */
#ifndef AVS_MODELS_LIGHTAVSEG_H
#define AVS_MODELS_LIGHTAVSEG_H

#include "models/alignment.h"
#include "models/model.h"

extern const avs_model_rule avs_lightavseg_rule;

/* Public so that golden cases can check every auxiliary loss on one forward. dec, up: maps and sounds of the decoder. */
avs_alignment avs_lightavseg_alignment(avs_graph *g, const avs_cfg *cfg, const avs_model_io *io,
                                       const avs_val dec[4], const avs_val up[4]);
/* kind: msa, msa_kl, avm or mix. */
avs_val avs_lightavseg_aux(avs_graph *g, const char *kind, const avs_model_io *io, const avs_alignment *in);

#endif
