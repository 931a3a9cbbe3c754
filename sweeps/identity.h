/* Identities: what makes two trials the same trial.
 *
 *   config_hash = SHA-256("avsweep-config-1\n" + canonical JSON {data_fingerprint, kind, model, model_schema, params, task})
 *   (UTF-8 in normal form C: nfc.h)
 *   trial_hash  = SHA-256("avsweep-trial-1\n" + hex(config_hash) + "\n" + seed + ("\n" + hex(upstream hash))*)
 *
 * Not in the identity: resources, limits, order, host, file and sweep name, data_root (its fingerprint is). For
 * latency the requested GPU model is, and the data is not (nothing is read); data_fingerprint is null where none is
 * known. */
#ifndef AVS_SWEEPS_IDENTITY_H
#define AVS_SWEEPS_IDENTITY_H

#include "base/buf.h"
#include "base/hash.h"
#include "models/schema.h"

/* The canonical JSON that is hashed is what begin appends, the identity parameters, and what end appends.
 * fingerprint: 64 hex digits or "". */
void avs_identity_begin(avs_buf *out, const avs_cfg *cfg, const char *fingerprint, const char *gpu_model);
void avs_identity_end(avs_buf *out, const avs_cfg *cfg);
/* A hash that the text goes into. */
void avs_config_hash_begin(avs_sha256 *s);
/* upstream: n hashes of 32 bytes. */
void avs_trial_hash(const uint8_t config_hash[32], uint32_t seed, const uint8_t (*upstream)[32], int n,
                    uint8_t out[32]);

#endif
