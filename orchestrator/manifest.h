/* Fingerprints of data folders, read from the manifest that `avsweep-trial data index ROOT` leaves there
 * (ROOT/.avsweep-manifest, first line `avs-manifest-1 FINGERPRINT N_FILES`; data/index.h). The orchestrator never
 * reads data itself. */
#ifndef AVS_ORCHESTRATOR_MANIFEST_H
#define AVS_ORCHESTRATOR_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

/* Signature of avs_sweep_options.fingerprint; ctx is unused. false: no manifest, or one that is not whole. */
bool avs_manifest_fingerprint(void *ctx, const char *data_root, uint8_t out[32]);

#endif
