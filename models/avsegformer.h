/* AVSegFormer (arXiv 2307.01146; public code vvvb-github/AVSegFormer).
 *
 * Two public variants: `paper` (the first arXiv version: the audio token repeated as queries, intermediate masks of every
 * decoder layer as auxiliary loss) and `released` (the last public code: a query generator, a loss on the mask feature).
 * docs/models.md says what differs and what is this project's definition. */
#ifndef AVS_MODELS_AVSEGFORMER_H
#define AVS_MODELS_AVSEGFORMER_H

#include "models/model.h"

extern const avs_model_rule avs_avsegformer_rule;

#endif
