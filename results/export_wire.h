/* The two binary formats of trackers: protocol-buffer fields and the checksums of their record files. Private to this room. */
#ifndef AVS_RESULTS_EXPORT_WIRE_H
#define AVS_RESULTS_EXPORT_WIRE_H

#include "base/buf.h"

void avs_pb_int(avs_buf *b, int field, int64_t v); /* int32, int64, enum */
void avs_pb_bytes(avs_buf *b, int field, const void *p, size_t n);
void avs_pb_str(avs_buf *b, int field, const char *text);
void avs_pb_sub(avs_buf *b, int field, const avs_buf *message); /* an embedded message */
void avs_pb_f64(avs_buf *b, int field, double v);
void avs_pb_f32(avs_buf *b, int field, double v);

uint32_t avs_crc32(uint32_t crc, const void *p, size_t n); /* zlib's; begin with 0, feed its result back */
uint32_t avs_crc32c(const void *p, size_t n);              /* Castagnoli */
uint32_t avs_crc32c_masked(const void *p, size_t n);       /* as TFRecord and LevelDB store it */

#endif
