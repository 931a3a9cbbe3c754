/* What a trained or loaded model is reported with: scores on the evaluation split, the listening protocol, counts, and a
 * sheet of predictions. */
#ifndef AVS_WORKERS_REPORT_TRIAL_H
#define AVS_WORKERS_REPORT_TRIAL_H

#include "workers/evaluate.h"
#include "workers/trial.h"

/* Sends miou, fscore, .. of checkpoint (NULL: initial weights) on eval_split, the protocol's rows, macs, the artifact predictions.png and, from
 * stage one of aavs, the artifact masks (stage1.h). train: the training split, opened here when NULL and needed. */
int avs_report_scores(avs_trial *t, const avs_cfg *cfg, const char *checkpoint, const avs_dataset *train,
                      avs_err *e);

#endif
