/* Between hash.c and the body that needs the SHA instructions of x86. */
#ifndef AVS_BASE_SHA256_NI_H
#define AVS_BASE_SHA256_NI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool avs_sha256_has_ni(void);
/* h: state; k: the 64 round constants. Only where avs_sha256_has_ni. */
void avs_sha256_ni(uint32_t h[8], const uint8_t *p, size_t blocks, const uint32_t k[64]);
/* hash.c: plain C from now on, or what the machine has (the default). For tests of both. */
void avs_sha256_choose(bool plain);

#endif
