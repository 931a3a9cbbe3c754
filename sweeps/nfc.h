/* Unicode normal form C: one byte sequence for texts that are the same to a reader, whether the accents of their letters
 * are written with them or after them. Identities are hashed in it (identity.h); what a trial is given stays as written,
 * because a file name is its bytes. Unicode promises that the form of an assigned character never changes. */
#ifndef AVS_SWEEPS_NFC_H
#define AVS_SWEEPS_NFC_H

#include <stdbool.h>
#include "base/buf.h"

bool avs_is_ascii(const char *s, size_t n); /* which is its own normal form */
/* Appends the normal form of n bytes of UTF-8; bytes that are none are appended as they are. false: no memory. */
bool avs_nfc(avs_buf *out, const char *s, size_t n);

#endif
