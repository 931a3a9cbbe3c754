/* Protocol buffers (varints, length-delimited fields) and CRC-32 in two polynomials, bit by bit over a table of 16. */
#include "results/export_wire.h"

#include <string.h>

static void varint(avs_buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) avs_buf_u8(b, (uint8_t)(v | 0x80));
    avs_buf_u8(b, (uint8_t)v);
}

static void tag(avs_buf *b, int field, int type)
{
    varint(b, (uint64_t)field << 3 | (uint64_t)type);
}

void avs_pb_int(avs_buf *b, int field, int64_t v)
{
    tag(b, field, 0);
    varint(b, (uint64_t)v);
}

void avs_pb_bytes(avs_buf *b, int field, const void *p, size_t n)
{
    tag(b, field, 2);
    varint(b, n);
    avs_buf_put(b, p, n);
}

void avs_pb_str(avs_buf *b, int field, const char *text)
{
    avs_pb_bytes(b, field, text, strlen(text));
}

void avs_pb_sub(avs_buf *b, int field, const avs_buf *message)
{
    if (!avs_buf_ok(message)) b->failed = true;
    avs_pb_bytes(b, field, avs_buf_cstr(message), message->len);
}

void avs_pb_f64(avs_buf *b, int field, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    tag(b, field, 1);
    avs_buf_u64(b, bits);
}

void avs_pb_f32(avs_buf *b, int field, double v)
{
    const float f = (float)v;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    tag(b, field, 5);
    avs_buf_u32(b, bits);
}

static uint32_t crc(uint32_t polynomial, uint32_t c, const void *p, size_t n)
{
    const unsigned char *byte = p;
    uint32_t table[16];
    for (uint32_t i = 0; i < 16; i++) {
        table[i] = i;
        for (int k = 0; k < 4; k++) table[i] = table[i] & 1 ? table[i] >> 1 ^ polynomial : table[i] >> 1;
    }
    c = ~c;
    for (size_t i = 0; i < n; i++) {
        c ^= byte[i];
        c = c >> 4 ^ table[c & 15];
        c = c >> 4 ^ table[c & 15];
    }
    return ~c;
}

uint32_t avs_crc32(uint32_t c, const void *p, size_t n)
{
    return crc(0xedb88320U, c, p, n);
}

uint32_t avs_crc32c(const void *p, size_t n)
{
    return crc(0x82f63b78U, 0, p, n);
}

uint32_t avs_crc32c_masked(const void *p, size_t n)
{
    const uint32_t c = avs_crc32c(p, n);
    return (c >> 15 | c << 17) + 0xa282ead8U;
}
