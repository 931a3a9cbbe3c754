/* Whose sound a clip gets in the swapped-sound protocol (does the model listen?).
 *
 * The partner of clip i is the next clip (cyclic, in the order of the data set) that shares no sounding class
 * with i in any second, by the sidecar that the composer wrote beside the meta file; if there is none, simply
 * the next clip. */
#ifndef AVS_DATA_SWAP_H
#define AVS_DATA_SWAP_H

#include <stdint.h>
#include "base/err.h"
#include "data/dataset.h"

/* sounding [n] bit sets of classes that sound anywhere in the clip (class c is bit c); partner [n] out. n ==
 * 1: itself. */
void avs_swap_partners_of(const uint64_t *sounding, int n, int32_t *partner);
/* partner [avs_dataset_count]; *fallbacks (may be NULL): clips that had to take the plain next one.
 * Errors: AVS_EMISSING when the data set has no sidecar (it was not composed) or a clip is not in it. */
int avs_swap_partners(const avs_dataset *ds, int32_t *partner, int *fallbacks, avs_err *e);

#endif
