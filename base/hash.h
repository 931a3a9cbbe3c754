/* Hashes: FNV-1a 64 for names and stream ids, SHA-256 for identities and artefacts. */
#ifndef AVS_BASE_HASH_H
#define AVS_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

uint64_t avs_fnv1a64(const void *data, size_t n);
uint64_t avs_fnv1a64_str(const char *s);

typedef struct {
    uint32_t h[8];
    uint64_t n;
    uint8_t block[64];
    uint32_t fill;
} avs_sha256;

void avs_sha256_init(avs_sha256 *s);
void avs_sha256_put(avs_sha256 *s, const void *data, size_t n);
void avs_sha256_end(avs_sha256 *s, uint8_t out[32]);
void avs_sha256_of(const void *data, size_t n, uint8_t out[32]);
int avs_sha256_file(const char *path, uint8_t out[32], avs_err *e);

/* Lower-case hex of n bytes plus NUL into out (2n+1 bytes). */
void avs_hex(const uint8_t *bytes, size_t n, char *out);
/* The first 2n characters of text, lower-case hex, as n bytes; false where another character (or the end) is there. */
bool avs_unhex(const char *text, size_t n, uint8_t *out);

#endif
