/* What a trained or loaded model is reported with: scores on the evaluation split, the listening protocol, counts, and a
 * sheet of predictions. Also how weights start. */
#ifndef AVS_WORKERS_REPORT_TRIAL_H
#define AVS_WORKERS_REPORT_TRIAL_H

#include "workers/evaluate.h"
#include "workers/trial.h"

/* backbone_weights, audio_weights (path or pretrained) and init of the configuration, over the initial values. */
int avs_weights_start(avs_net *n, const avs_cfg *cfg, avs_err *e);
/* Initial values again, as avs_net_open gave them. */
int avs_init_again(avs_net *n, uint64_t seed, avs_err *e);

/* Sends miou, fscore, .. of checkpoint (NULL: initial weights) on eval_split, the protocol's rows, macs, and the artifact
 * predictions.png. train: the training split, opened here when NULL and needed. */
int avs_report_scores(avs_trial *t, const avs_cfg *cfg, const char *checkpoint, const avs_dataset *train,
                      avs_err *e);

#endif
