/* Frames: header and tag-length-value fields. The reader checks magic and length before it waits for a body,
 * so that a broken stream fails at once instead of swallowing 4 GiB, and checks crc and field lengths before
 * it hands a frame out, so that the field look-ups need no error path. */
#include "base/frame.h"

#include <string.h>

static const uint32_t MAGIC = 0x46535641u; /* "AVSF" read as little endian */

enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_TYPE = 6,
    AT_EPOCH = 8,
    AT_ATTEMPT = 12,
    AT_LENGTH = 20,
    AT_CRC = 24
};
enum { FIELD_HEADER = 6 };

/* CRC-32 of IEEE 802.3 (reflected 0xEDB88320), four bits at a time. */
static uint32_t crc32_of(const uint8_t *p, size_t n)
{
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                       0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t c = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        c = (c >> 4) ^ table[c & 15];
        c = (c >> 4) ^ table[c & 15];
    }
    return ~c;
}

static uint64_t get_le(const uint8_t *p, size_t bytes)
{
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static void set_le32(char *p, uint32_t v)
{
    for (size_t i = 0; i < 4; i++) p[i] = (char)(uint8_t)(v >> (8 * i));
}

size_t avs_frame_begin(avs_buf *b, uint16_t type, uint32_t epoch, uint64_t attempt)
{
    size_t mark = b->len;
    avs_buf_u32(b, MAGIC);
    avs_buf_u16(b, AVS_FRAME_VERSION);
    avs_buf_u16(b, type);
    avs_buf_u32(b, epoch);
    avs_buf_u64(b, attempt);
    avs_buf_u32(b, 0); /* length and crc: avs_frame_end */
    avs_buf_u32(b, 0);
    return mark;
}

void avs_frame_put(avs_buf *b, uint16_t tag, const void *data, size_t n)
{
    if (n > AVS_FRAME_MAX) {
        b->failed = true;
        return;
    }
    avs_buf_u16(b, tag);
    avs_buf_u32(b, (uint32_t)n);
    avs_buf_put(b, data, n);
}

void avs_frame_put_str(avs_buf *b, uint16_t tag, const char *s)
{
    avs_frame_put(b, tag, s, s ? strlen(s) : 0);
}

void avs_frame_put_i64(avs_buf *b, uint16_t tag, int64_t v)
{
    avs_buf_u16(b, tag);
    avs_buf_u32(b, 8);
    avs_buf_u64(b, (uint64_t)v);
}

void avs_frame_put_f64(avs_buf *b, uint16_t tag, double v)
{
    int64_t bits;
    memcpy(&bits, &v, sizeof bits);
    avs_frame_put_i64(b, tag, bits);
}

void avs_frame_end(avs_buf *b, size_t mark)
{
    if (!avs_buf_ok(b)) return;
    size_t n = b->len - mark - AVS_FRAME_HEADER;
    if (n > AVS_FRAME_MAX - AVS_FRAME_HEADER) {
        b->failed = true;
        return;
    }
    char *p = b->data + mark;
    set_le32(p + AT_LENGTH, (uint32_t)n);
    set_le32(p + AT_CRC, crc32_of((const uint8_t *)p + AVS_FRAME_HEADER, n));
}

void avs_frame_feed(avs_frame_reader *r, const void *data, size_t n)
{
    avs_buf_put(&r->in, data, n);
}

void avs_frame_reader_free(avs_frame_reader *r)
{
    avs_buf_free(&r->in);
    r->used = 0;
}

/* Drops the frames already handed out, when that moves no more bytes than it frees. */
static void compact(avs_frame_reader *r)
{
    size_t rest = r->in.len - r->used;
    if (r->used == 0 || rest > r->used) return;
    if (rest) memmove(r->in.data, r->in.data + r->used, rest);
    r->in.len = rest;
    r->in.data[rest] = '\0';
    r->used = 0;
}

static int check_fields(const uint8_t *body, size_t n, avs_err *e)
{
    for (size_t at = 0; at < n;) {
        if (n - at < FIELD_HEADER)
            return avs_fail(e, AVS_EPARSE, "frame: %zu bytes follow the last field, a field has at least 6",
                            n - at);
        size_t len = (size_t)get_le(body + at + 2, 4);
        at += FIELD_HEADER;
        if (len > n - at)
            return avs_fail(e, AVS_EPARSE, "frame: a field of %zu bytes, only %zu are left in the body", len,
                            n - at);
        at += len;
    }
    return AVS_OK;
}

int avs_frame_next(avs_frame_reader *r, avs_frame *f, bool *got, avs_err *e)
{
    *got = false;
    if (!avs_buf_ok(&r->in))
        return avs_fail(e, AVS_ENOMEM, "frame: no memory for the %zu bytes that wait", r->in.len - r->used);
    compact(r);
    size_t have = r->in.len - r->used;
    if (have == 0) return AVS_OK;
    const uint8_t *p = (const uint8_t *)r->in.data + r->used;
    for (size_t i = 0; i < 4 && i < have; i++)
        if (p[i] != (uint8_t)(MAGIC >> (8 * i)))
            return avs_fail(e, AVS_EPARSE, "frame: magic byte %zu is 0x%02x, 0x%02x is expected", i, p[i],
                            (uint8_t)(MAGIC >> (8 * i)));
    if (have < AVS_FRAME_HEADER) return AVS_OK;
    unsigned version = (unsigned)get_le(p + AT_VERSION, 2);
    if (version != AVS_FRAME_VERSION)
        return avs_fail(e, AVS_EPARSE, "frame: version %u, this program speaks %d", version,
                        AVS_FRAME_VERSION);
    size_t len = (size_t)get_le(p + AT_LENGTH, 4);
    if (len > AVS_FRAME_MAX - AVS_FRAME_HEADER)
        return avs_fail(e, AVS_EPARSE, "frame: a body of %zu bytes, at most %d are accepted", len,
                        AVS_FRAME_MAX - AVS_FRAME_HEADER);
    if (have < AVS_FRAME_HEADER + len) return AVS_OK;
    const uint8_t *body = p + AVS_FRAME_HEADER;
    uint32_t crc = (uint32_t)get_le(p + AT_CRC, 4), found = crc32_of(body, len);
    if (crc != found)
        return avs_fail(e, AVS_EPARSE, "frame: crc of the body is %08x, the header says %08x", found, crc);
    int rc = check_fields(body, len, e);
    if (rc != AVS_OK) return rc;
    *f = (avs_frame){.type = (uint16_t)get_le(p + AT_TYPE, 2),
                     .epoch = (uint32_t)get_le(p + AT_EPOCH, 4),
                     .attempt = get_le(p + AT_ATTEMPT, 8),
                     .body = body,
                     .len = len};
    r->used += AVS_FRAME_HEADER + len;
    *got = true;
    return AVS_OK;
}

const uint8_t *avs_frame_get(const avs_frame *f, uint16_t tag, size_t *n)
{
    for (size_t at = 0; f->len - at >= FIELD_HEADER;) {
        size_t len = (size_t)get_le(f->body + at + 2, 4);
        uint16_t found = (uint16_t)get_le(f->body + at, 2);
        at += FIELD_HEADER;
        if (len > f->len - at) break;
        if (found == tag) {
            if (n) *n = len;
            return f->body + at;
        }
        at += len;
    }
    if (n) *n = 0;
    return NULL;
}

int64_t avs_frame_i64(const avs_frame *f, uint16_t tag, int64_t fallback)
{
    size_t n;
    const uint8_t *p = avs_frame_get(f, tag, &n);
    return p && n == 8 ? (int64_t)get_le(p, 8) : fallback;
}

double avs_frame_f64(const avs_frame *f, uint16_t tag, double fallback)
{
    size_t n;
    const uint8_t *p = avs_frame_get(f, tag, &n);
    if (!p || n != 8) return fallback;
    uint64_t bits = get_le(p, 8);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

char *avs_frame_str(const avs_frame *f, uint16_t tag, avs_arena *a)
{
    size_t n;
    const uint8_t *p = avs_frame_get(f, tag, &n);
    return p ? avs_arena_strn(a, (const char *)p, n) : NULL;
}
