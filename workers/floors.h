/* What scores without a model: floors and a ceiling that a trained system is read against.
 *
 *   constant  one answer for all frames, chosen on the training labels and scored on this split. One class: the best mask
 *             of thresholds on the mean training mask. Classes: the better of background everywhere and the most
 *             frequent class of every pixel
 *   objects   every pixel of any visible object: about the ceiling of a model that cannot hear (one class, composed data) */
#ifndef AVS_WORKERS_FLOORS_H
#define AVS_WORKERS_FLOORS_H

#include "data/dataset.h"

/* mIoU on ds, a fraction. classes: of the system, 1 or more. */
int avs_floor_constant(const avs_dataset *train, const avs_dataset *ds, int classes, int threads,
                       double *miou, avs_err *e);
int avs_floor_objects(const avs_dataset *ds, double *miou, avs_err *e);

#endif
