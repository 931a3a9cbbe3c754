/* Growable byte buffers and string building. A failed growth is sticky: later writes are ignored and
 * avs_buf_ok() says so once at the end, so that writers need no check per call. */
#ifndef AVS_BASE_BUF_H
#define AVS_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *data; /* always NUL-terminated when not NULL; owner: the buf, until avs_buf_free */
    size_t len; /* without the NUL */
    size_t cap;
    bool failed;
} avs_buf;

#define AVS_BUF_INIT ((avs_buf){0})
void avs_buf_free(avs_buf *b);  /* leaves an empty, reusable buffer */
void avs_buf_clear(avs_buf *b); /* keeps the memory */
bool avs_buf_ok(const avs_buf *b);
void avs_buf_put(avs_buf *b, const void *p, size_t n);
void avs_buf_str(avs_buf *b, const char *s);
void avs_buf_char(avs_buf *b, char c);
void avs_buf_fmt(avs_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *avs_buf_cstr(const avs_buf *b); /* "" when empty */
/* Little-endian integers, for wire frames and file headers. */
void avs_buf_u8(avs_buf *b, uint8_t v);
void avs_buf_u16(avs_buf *b, uint16_t v);
void avs_buf_u32(avs_buf *b, uint32_t v);
void avs_buf_u64(avs_buf *b, uint64_t v);

#endif
