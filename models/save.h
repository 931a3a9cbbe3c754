/* Systems on SAM: SAVE (arXiv 2407.02004, a reconstruction: docs/models.md) and SAMA-AVS (arXiv 2305.11019). */
#ifndef AVS_MODELS_SAVE_H
#define AVS_MODELS_SAVE_H

#include "models/model.h"

extern const avs_model_rule avs_save_rule, avs_sama_rule;

#endif
