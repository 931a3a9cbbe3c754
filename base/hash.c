/* FNV-1a 64 for names; SHA-256 (FIPS 180-4): 64-byte blocks, big-endian words, in plain C or by instructions. */
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>
#include "base/sha256_ni.h"

uint64_t avs_fnv1a64(const void *data, size_t n)
{
    const uint8_t *p = data;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

uint64_t avs_fnv1a64_str(const char *s)
{
    return avs_fnv1a64(s, strlen(s));
}

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotr(uint32_t x, int n)
{
    return (x >> n) | (x << (32 - n));
}

static void sha256_block(uint32_t h[8], const uint8_t *p)
{
    uint32_t w[64];
    for (size_t i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 |
               p[4 * i + 3];
    for (size_t i = 16; i < 64; i++) {
        uint32_t s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
        uint32_t s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];
/* One round; the callers below rotate the names instead of the values. */
/* NOLINTBEGIN(bugprone-macro-parentheses): the arguments are names */
#define ROUND(a, b, c, d, e, f, g, h, i)                                                                     \
    do {                                                                                                     \
        uint32_t t1 = h + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i];     \
        d += t1;                                                                                             \
        h = t1 + (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));                   \
    } while (0)
    /* NOLINTEND(bugprone-macro-parentheses) */
    for (size_t i = 0; i < 64; i += 8) {
        ROUND(a, b, c, d, e, f, g, k, i);
        ROUND(k, a, b, c, d, e, f, g, i + 1);
        ROUND(g, k, a, b, c, d, e, f, i + 2);
        ROUND(f, g, k, a, b, c, d, e, i + 3);
        ROUND(e, f, g, k, a, b, c, d, i + 4);
        ROUND(d, e, f, g, k, a, b, c, i + 5);
        ROUND(c, d, e, f, g, k, a, b, i + 6);
        ROUND(b, c, d, e, f, g, k, a, i + 7);
    }
#undef ROUND
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
    h[5] += f;
    h[6] += g;
    h[7] += k;
}

enum { UNKNOWN, PLAIN, BY_INSTRUCTION };
static atomic_int body = UNKNOWN;

void avs_sha256_choose(bool plain)
{
    atomic_store(&body, !plain && avs_sha256_has_ni() ? BY_INSTRUCTION : PLAIN);
}

static void sha256_blocks(uint32_t h[8], const uint8_t *p, size_t n)
{
    if (atomic_load_explicit(&body, memory_order_relaxed) == UNKNOWN) avs_sha256_choose(false);
    if (atomic_load_explicit(&body, memory_order_relaxed) == BY_INSTRUCTION)
        avs_sha256_ni(h, p, n, K);
    else
        for (size_t i = 0; i < n; i++) sha256_block(h, p + 64 * i);
}

void avs_sha256_init(avs_sha256 *s)
{
    *s = (avs_sha256){.h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
                            0x1f83d9ab, 0x5be0cd19}};
}

void avs_sha256_put(avs_sha256 *s, const void *data, size_t n)
{
    const uint8_t *p = data;
    s->n += n;
    while (n) {
        if (s->fill == 0 && n >= 64) {
            sha256_blocks(s->h, p, n / 64);
            p += n & ~(size_t)63;
            n &= 63;
            continue;
        }
        size_t take = 64 - s->fill;
        if (take > n) take = n;
        memcpy(s->block + s->fill, p, take);
        s->fill += (uint32_t)take;
        p += take;
        n -= take;
        if (s->fill == 64) {
            sha256_blocks(s->h, s->block, 1);
            s->fill = 0;
        }
    }
}

void avs_sha256_end(avs_sha256 *s, uint8_t out[32])
{
    uint64_t bits = s->n * 8;
    uint8_t pad[72] = {0x80};
    size_t zeros = s->fill < 56 ? 56 - s->fill : 120 - s->fill; /* 0x80 and zeros up to 56 mod 64 */
    for (size_t i = 0; i < 8; i++) pad[zeros + i] = (uint8_t)(bits >> (56 - 8 * i));
    avs_sha256_put(s, pad, zeros + 8);
    for (size_t i = 0; i < 32; i++) out[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}

void avs_sha256_of(const void *data, size_t n, uint8_t out[32])
{
    avs_sha256 s;
    avs_sha256_init(&s);
    avs_sha256_put(&s, data, n);
    avs_sha256_end(&s, out);
}

int avs_sha256_file(const char *path, uint8_t out[32], avs_err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return avs_fail(e, AVS_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    uint8_t chunk[16384];
    avs_sha256 s;
    avs_sha256_init(&s);
    int rc = AVS_OK;
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) rc = avs_fail(e, AVS_EIO, "%s: read failed: %s", path, strerror(errno));
        if (n <= 0) break;
        avs_sha256_put(&s, chunk, (size_t)n);
    }
    (void)close(fd);
    if (rc == AVS_OK) avs_sha256_end(&s, out);
    return rc;
}

void avs_hex(const uint8_t *bytes, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * n] = '\0';
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool avs_unhex(const char *text, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i++) {
        const int hi = nibble(text[2 * i]), lo = hi < 0 ? -1 : nibble(text[2 * i + 1]);
        if (lo < 0) return false;
        out[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}
