/* The zip container of torch.save: X/data.pkl and X/data/KEY, every entry stored as it is.
 *
 * The central directory is believed, never a scan for local headers; of a local header only its length is used, which
 * the directory does not tell. Entries must lie before the directory and must not overlap. */
#include "engine/tensor/pth_blob.h"

#include <stdlib.h>
#include <string.h>

enum { EOCD = 22, LOCATOR = 20, EOCD64 = 56, CENTRAL = 46, LOCAL = 30, MAX_ENTRIES = 1 << 20 };

typedef struct {
    const char *name;
    uint64_t local, bytes; /* local: byte of the local header */
    uint32_t crc;
    size_t data, listed; /* bytes of the data and of the entry in the directory */
} entry;

typedef struct {
    uint64_t n, bytes, at;
} directory;

static uint64_t get(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

/* Eight tables, so that a gigabyte takes about a second. */
uint32_t avs_pth_crc32(const uint8_t *p, size_t n)
{
    uint32_t t[8][256], c = 0xFFFFFFFFu;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t v = i;
        for (int k = 0; k < 8; k++) v = v >> 1 ^ (v & 1 ? 0xEDB88320u : 0);
        t[0][i] = v;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++) t[k][i] = t[k - 1][i] >> 8 ^ t[0][t[k - 1][i] & 255];
    for (; n >= 8; n -= 8, p += 8) {
        const uint32_t a = (uint32_t)get(p, 4) ^ c;
        c = t[7][a & 255] ^ t[6][a >> 8 & 255] ^ t[5][a >> 16 & 255] ^ t[4][a >> 24] ^ t[3][p[4]] ^
            t[2][p[5]] ^ t[1][p[6]] ^ t[0][p[7]];
    }
    for (; n; n--, p++) c = c >> 8 ^ t[0][(c ^ *p) & 255];
    return ~c;
}

/* The end record: the last one whose comment reaches exactly to the end of the file. */
static int find_end(const avs_pth_source *s, size_t *at, avs_err *e)
{
    const size_t lowest = s->n > EOCD + 65535 ? s->n - EOCD - 65535 : 0;
    if (s->n >= EOCD)
        for (size_t i = s->n - EOCD;; i--) {
            if (!memcmp(s->data + i, "PK\5\6", 4) && i + EOCD + get(s->data + i + 20, 2) == s->n) {
                *at = i;
                return AVS_OK;
            }
            if (i == lowest) break;
        }
    return avs_fail(
        e, AVS_EPARSE,
        "%s: begins like a zip file but has no zip directory at its end (byte %zu): it is cut off or "
        "damaged",
        s->what, s->n);
}

/* The 64-bit record in front of the end record, if there is one; the short fields must agree or be all ones. */
static int find_end64(const avs_pth_source *s, size_t end, directory *d, bool *is_64, avs_err *e)
{
    const uint8_t *loc = end >= LOCATOR ? s->data + end - LOCATOR : NULL;
    *is_64 = loc && !memcmp(loc, "PK\6\7", 4);
    if (!*is_64) return AVS_OK;
    const uint64_t at = get(loc + 8, 8);
    if (end < LOCATOR + EOCD64 || at > end - LOCATOR - EOCD64 || memcmp(s->data + at, "PK\6\6", 4) != 0)
        return avs_fail(
            e, AVS_EPARSE,
            "%s: byte %zu: the zip64 directory is said to begin at byte %llu, where there is none", s->what,
            end - LOCATOR, (unsigned long long)at);
    const uint8_t *r = s->data + at;
    const directory wide = {.n = get(r + 32, 8), .bytes = get(r + 40, 8), .at = get(r + 48, 8)};
    if ((d->n != 0xFFFF && d->n != wide.n) || (d->bytes != 0xFFFFFFFF && d->bytes != wide.bytes) ||
        (d->at != 0xFFFFFFFF && d->at != wide.at))
        return avs_fail(e, AVS_EPARSE, "%s: byte %llu: the zip64 directory and the zip directory disagree",
                        s->what, (unsigned long long)at);
    *d = wide;
    return AVS_OK;
}

static int find_directory(const avs_pth_source *s, directory *d, avs_err *e)
{
    size_t end = 0;
    bool is_64 = false;
    int rc = find_end(s, &end, e);
    if (rc != AVS_OK) return rc;
    const uint8_t *r = s->data + end;
    *d = (directory){.n = get(r + 10, 2), .bytes = get(r + 12, 4), .at = get(r + 16, 4)};
    if (get(r + 4, 4) != 0 || get(r + 8, 2) != d->n)
        return avs_fail(e, AVS_EPARSE, "%s: byte %zu: a zip file of several volumes", s->what, end);
    rc = find_end64(s, end, d, &is_64, e);
    if (rc != AVS_OK) return rc;
    if (d->at > end || d->bytes > end - d->at)
        return avs_fail(e, AVS_EPARSE,
                        "%s: byte %zu: the zip directory of %llu bytes at byte %llu does not lie in the file",
                        s->what, end, (unsigned long long)d->bytes, (unsigned long long)d->at);
    if (d->n > MAX_ENTRIES || d->n > d->bytes / CENTRAL)
        return avs_fail(e, AVS_EPARSE, "%s: byte %zu: %llu zip entries in a directory of %llu bytes", s->what,
                        end, (unsigned long long)d->n, (unsigned long long)d->bytes);
    return AVS_OK;
}

/* 64-bit values of the extra field stand for those that are all ones, in this order. */
static int read_extra(const avs_pth_source *s, const uint8_t *x, size_t n, uint64_t *const wide[3],
                      const entry *it, avs_err *e)
{
    const uint8_t *end = x + n, *v = NULL, *v_end = NULL;
    while (end - x >= 4) {
        const size_t len = (size_t)get(x + 2, 2);
        if (len > (size_t)(end - x) - 4) break;
        if (get(x, 2) == 1 && !v) {
            v = x + 4;
            v_end = v + len;
        }
        x += 4 + len;
    }
    for (int k = 0; k < 3; k++) {
        if (*wide[k] != 0xFFFFFFFF) continue;
        if (!v || v_end - v < 8)
            return avs_fail(e, AVS_EPARSE, "%s: byte %zu: zip entry %.200s lacks its 64-bit sizes", s->what,
                            it->listed, it->name);
        *wide[k] = get(v, 8);
        v += 8;
    }
    return AVS_OK;
}

/* Name, sizes and method of one entry of the directory; *at moves over it. */
static int read_entry(const avs_pth_source *s, size_t *at, size_t end, entry *it, avs_err *e)
{
    const uint8_t *r = s->data + *at;
    it->listed = *at;
    if (end - *at < CENTRAL || memcmp(r, "PK\1\2", 4) != 0)
        return avs_fail(e, AVS_EPARSE, "%s: byte %zu: a zip directory entry is expected", s->what, *at);
    const size_t nn = (size_t)get(r + 28, 2), nx = (size_t)get(r + 30, 2), nc = (size_t)get(r + 32, 2);
    if (nn + nx + nc > end - *at - CENTRAL || nn == 0 || memchr(r + CENTRAL, 0, nn))
        return avs_fail(e, AVS_EPARSE, "%s: byte %zu: a zip directory entry with a damaged name or length",
                        s->what, *at);
    it->name = avs_arena_strn(s->arena, (const char *)r + CENTRAL, nn);
    if (!it->name) return avs_fail(e, AVS_ENOMEM, "%s: no memory for the zip directory", s->what);
    const unsigned flags = (unsigned)get(r + 8, 2), method = (unsigned)get(r + 10, 2);
    if (method != 0 || flags & 0x2041)
        return avs_fail(
            e, AVS_EPARSE,
            "%s: byte %zu: zip entry %.200s is compressed (method %u) or encrypted; torch.save stores "
            "entries as they are",
            s->what, *at, it->name, method);
    uint64_t packed = get(r + 20, 4);
    it->crc = (uint32_t)get(r + 16, 4);
    it->bytes = get(r + 24, 4);
    it->local = get(r + 42, 4);
    uint64_t *const wide[3] = {&it->bytes, &packed, &it->local};
    int rc = read_extra(s, r + CENTRAL + nn, nx, wide, it, e);
    if (rc != AVS_OK) return rc;
    if (packed != it->bytes)
        return avs_fail(e, AVS_EPARSE,
                        "%s: byte %zu: zip entry %.200s is stored, but %llu bytes are said to be %llu",
                        s->what, *at, it->name, (unsigned long long)packed, (unsigned long long)it->bytes);
    *at += CENTRAL + nn + nx + nc;
    return AVS_OK;
}

static int place_entry(const avs_pth_source *s, const directory *d, entry *it, avs_err *e)
{
    const uint64_t end = d->at;
    if (it->local > end || end - it->local < LOCAL || memcmp(s->data + it->local, "PK\3\4", 4) != 0)
        return avs_fail(e, AVS_EPARSE,
                        "%s: byte %zu: zip entry %.200s is said to begin at byte %llu, where "
                        "there is no entry",
                        s->what, it->listed, it->name, (unsigned long long)it->local);
    const uint8_t *r = s->data + it->local;
    const uint64_t head = LOCAL + get(r + 26, 2) + get(r + 28, 2), room = end - it->local;
    if (head > room || it->bytes > room - head)
        return avs_fail(
            e, AVS_EPARSE,
            "%s: byte %zu: zip entry %.200s: %llu bytes at byte %llu do not lie before the directory at "
            "byte %llu",
            s->what, it->listed, it->name, (unsigned long long)it->bytes,
            (unsigned long long)(it->local + head), (unsigned long long)end);
    it->data = (size_t)(it->local + head);
    return AVS_OK;
}

static int by_place(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    return x->local < y->local ? -1 : x->local > y->local;
}

static int read_entries(const avs_pth_source *s, const directory *d, entry *all, avs_err *e)
{
    size_t at = (size_t)d->at;
    const size_t end = (size_t)(d->at + d->bytes);
    int rc = AVS_OK;
    for (uint64_t i = 0; i < d->n && rc == AVS_OK; i++) {
        rc = read_entry(s, &at, end, &all[i], e);
        if (rc == AVS_OK) rc = place_entry(s, d, &all[i], e);
    }
    if (rc != AVS_OK) return rc;
    if (at != end)
        return avs_fail(e, AVS_EPARSE, "%s: byte %zu: the zip directory has entries beyond its count",
                        s->what, at);
    qsort(all, (size_t)d->n, sizeof *all, by_place);
    for (uint64_t i = 1; i < d->n; i++)
        if (all[i - 1].data + all[i - 1].bytes > all[i].local)
            return avs_fail(e, AVS_EPARSE, "%s: byte %llu: zip entries %.150s and %.150s overlap", s->what,
                            (unsigned long long)all[i].local, all[i - 1].name, all[i].name);
    return AVS_OK;
}

/* X of the one X/data.pkl. */
static int find_root(const avs_pth_source *s, const entry *all, size_t n, const entry **pickle,
                     size_t *prefix, avs_err *e)
{
    static const char tail[] = "/data.pkl";
    *pickle = NULL;
    for (size_t i = 0; i < n; i++) {
        const size_t len = strlen(all[i].name), cut = sizeof tail - 1;
        if (len <= cut || strcmp(all[i].name + len - cut, tail) != 0 ||
            strchr(all[i].name, '/') != all[i].name + len - cut)
            continue;
        if (*pickle) {
            (void)avs_fail(e, AVS_EPARSE, "%s: two pickles, %.200s and %.200s", s->what, (*pickle)->name,
                           all[i].name);
            return AVS_EPARSE;
        }
        *pickle = &all[i];
        *prefix = len - cut + 1;
    }
    if (*pickle) return AVS_OK;
    (void)avs_fail(e, AVS_EPARSE,
                   "%s: a zip file without NAME/data.pkl (%zu entries%s%.200s): no checkpoint of "
                   "torch.save",
                   s->what, n, n ? ", the first is " : "", n ? all[0].name : "");
    return AVS_EPARSE;
}

static int by_name(const void *a, const void *b)
{
    const avs_pth_blob *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* X/data/KEY become blobs; X/byteorder, where there is one, must be little. */
static int take_blobs(avs_pth_source *s, const entry *all, size_t n, const char *root, size_t prefix,
                      avs_err *e)
{
    s->blobs = AVS_NEW_N(s->arena, avs_pth_blob, n);
    if (!s->blobs) return avs_fail(e, AVS_ENOMEM, "%s: no memory for %zu zip entries", s->what, n);
    for (size_t i = 0; i < n; i++) {
        const char *name = all[i].name;
        if (strncmp(name, root, prefix) != 0) continue;
        name += prefix;
        if (!strcmp(name, "constants.pkl"))
            return avs_fail(
                e, AVS_EPARSE,
                "%s: a TorchScript program (entry %.200s); save the state_dict of the module instead",
                s->what, all[i].name);
        if (!strcmp(name, "byteorder") &&
            (all[i].bytes != 6 || memcmp(s->data + all[i].data, "little", 6) != 0))
            return avs_fail(e, AVS_EPARSE, "%s: byte %zu: entry %.200s is not \"little\"", s->what,
                            all[i].data, all[i].name);
        if (strncmp(name, "data/", 5) != 0) continue;
        s->blobs[s->n_blobs++] = (avs_pth_blob){.name = name + 5,
                                                .data = s->data + all[i].data,
                                                .bytes = (size_t)all[i].bytes,
                                                .at = all[i].data,
                                                .crc = all[i].crc};
    }
    qsort(s->blobs, (size_t)s->n_blobs, sizeof *s->blobs, by_name);
    for (int i = 1; i < s->n_blobs; i++)
        if (!strcmp(s->blobs[i - 1].name, s->blobs[i].name))
            return avs_fail(e, AVS_EPARSE, "%s: byte %zu: a second zip entry %.*sdata/%.200s", s->what,
                            s->blobs[i].at, (int)prefix, root, s->blobs[i].name);
    return AVS_OK;
}

int avs_pth_read_zip(avs_pth_source *s, avs_err *e)
{
    directory d;
    const entry *pickle = NULL;
    size_t prefix = 0;
    int rc = find_directory(s, &d, e);
    if (rc != AVS_OK) return rc;
    entry *all = AVS_NEW_N(s->arena, entry, d.n + 1);
    if (!all) return avs_fail(e, AVS_ENOMEM, "%s: no memory for the zip directory", s->what);
    rc = read_entries(s, &d, all, e);
    if (rc == AVS_OK) rc = find_root(s, all, (size_t)d.n, &pickle, &prefix, e);
    if (rc == AVS_OK) rc = take_blobs(s, all, (size_t)d.n, pickle->name, prefix, e);
    if (rc != AVS_OK) return rc;
    if (pickle->crc && avs_pth_crc32(s->data + pickle->data, (size_t)pickle->bytes) != pickle->crc)
        return avs_fail(e, AVS_EPARSE, "%s: byte %zu: entry %.200s does not have its checksum: it is damaged",
                        s->what, pickle->data, pickle->name);
    const char *what = avs_arena_fmt(s->arena, "%s: %s", s->what, pickle->name);
    if (!what) return avs_fail(e, AVS_ENOMEM, "%s: no memory", s->what);
    s->pickle = (avs_pk){.arena = s->arena,
                         .what = what,
                         .data = s->data + pickle->data,
                         .n = (size_t)pickle->bytes,
                         .base = pickle->data};
    rc = avs_pk_run(&s->pickle, &s->root, e);
    if (rc == AVS_OK && s->pickle.at != s->pickle.n)
        rc = avs_fail(e, AVS_EPARSE, "%s: %zu bytes behind the end of the pickle", what,
                      s->pickle.n - s->pickle.at);
    return rc;
}
