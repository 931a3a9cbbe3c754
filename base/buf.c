/* Growth doubles; the first failure frees nothing and sticks, so that writers check once at the end. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"

void avs_buf_free(avs_buf *b)
{
    free(b->data);
    *b = AVS_BUF_INIT;
}

void avs_buf_clear(avs_buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data) b->data[0] = '\0';
}

bool avs_buf_ok(const avs_buf *b)
{
    return !b->failed;
}

/* Room for n more bytes and the NUL. */
static bool reserve(avs_buf *b, size_t n)
{
    if (b->failed) return false;
    if (n > SIZE_MAX / 4 || b->len > SIZE_MAX / 4) {
        b->failed = true;
        return false;
    }
    size_t need = b->len + n + 1;
    if (need <= b->cap) return true;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need) cap *= 2;
    char *p = avs_xrealloc(b->data, cap);
    if (!p) {
        b->failed = true;
        return false;
    }
    b->data = p;
    b->cap = cap;
    return true;
}

void avs_buf_put(avs_buf *b, const void *p, size_t n)
{
    if (!reserve(b, n)) return;
    if (n) memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = '\0';
}

void avs_buf_str(avs_buf *b, const char *s)
{
    avs_buf_put(b, s, strlen(s));
}
void avs_buf_char(avs_buf *b, char c)
{
    avs_buf_put(b, &c, 1);
}

void avs_buf_fmt(avs_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    char small[256];
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
    } else if ((size_t)n < sizeof small) {
        avs_buf_put(b, small, (size_t)n);
    } else if (reserve(b, (size_t)n)) {
        (void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

const char *avs_buf_cstr(const avs_buf *b)
{
    return b->data ? b->data : "";
}

static void put_le(avs_buf *b, uint64_t v, size_t bytes)
{
    uint8_t le[8];
    for (size_t i = 0; i < bytes; i++) le[i] = (uint8_t)(v >> (8 * i));
    avs_buf_put(b, le, bytes);
}

void avs_buf_u8(avs_buf *b, uint8_t v)
{
    put_le(b, v, 1);
}
void avs_buf_u16(avs_buf *b, uint16_t v)
{
    put_le(b, v, 2);
}
void avs_buf_u32(avs_buf *b, uint32_t v)
{
    put_le(b, v, 4);
}
void avs_buf_u64(avs_buf *b, uint64_t v)
{
    put_le(b, v, 8);
}
