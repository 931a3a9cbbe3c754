/* Safetensors writing: tensors are laid down in the order they were added, the header is padded with spaces
 * to a multiple of 8. Nothing depends on time, addresses or the file name, so the same content gives the same
 * bytes. */
#include "engine/tensor/safetensors.h"

#include <string.h>
#include "base/hash.h"

enum { MAX_DIMS = 8, MAX_HEADER = 64 << 20, BUCKETS = 4096 };

typedef struct entry {
    struct entry *next, *same; /* same: next one in its bucket */
    const char *name, *dtype;
    int rank;
    int64_t d[MAX_DIMS];
    const void *data;
    size_t bytes;
} entry;

struct avs_st_writer {
    avs_arena *a;
    avs_json *meta;
    entry *first, *last;
    entry *bucket[BUCKETS]; /* by name */
    int failed;             /* first avs_code that an add returned: a file with a hole is never written */
};

avs_st_writer *avs_st_writer_new(avs_arena *a)
{
    avs_st_writer *w = AVS_NEW(a, avs_st_writer);
    avs_json *meta = avs_json_new(a, AVS_J_OBJ);
    if (!w || !meta) return NULL;
    w->a = a;
    w->meta = meta;
    return w;
}

static int refuse(avs_st_writer *w, avs_code code)
{
    if (w->failed == AVS_OK) w->failed = (int)code;
    return (int)code;
}

int avs_st_writer_meta(avs_st_writer *w, const char *key, const char *value)
{
    if (avs_json_get(w->meta, key)) return refuse(w, AVS_ERANGE);
    return avs_json_add_str(w->a, w->meta, key, value) ? (int)AVS_OK : refuse(w, AVS_ENOMEM);
}

int avs_st_writer_add(avs_st_writer *w, const char *name, const char *dtype, int rank, const int64_t *d,
                      const void *data)
{
    size_t size = avs_st_dtype_size(dtype);
    if (size == 0 || rank < 0 || rank > MAX_DIMS || strcmp(name, "__metadata__") == 0)
        return refuse(w, AVS_ERANGE);
    entry **bucket = &w->bucket[avs_fnv1a64_str(name) % BUCKETS];
    for (const entry *t = *bucket; t; t = t->same)
        if (strcmp(t->name, name) == 0) return refuse(w, AVS_ERANGE);
    int64_t bytes = (int64_t)size;
    for (int i = 0; i < rank; i++)
        if (d[i] < 0 || __builtin_mul_overflow(bytes, d[i], &bytes)) return refuse(w, AVS_ESHAPE);
    if (bytes > 0 && !data) return refuse(w, AVS_EMISSING);
    entry *t = AVS_NEW(w->a, entry);
    if (!t) return refuse(w, AVS_ENOMEM);
    t->name = avs_arena_str(w->a, name);
    t->dtype = avs_arena_str(w->a, dtype);
    if (!t->name || !t->dtype) return refuse(w, AVS_ENOMEM);
    t->rank = rank;
    for (int i = 0; i < rank; i++) t->d[i] = d[i];
    t->data = data;
    t->bytes = (size_t)bytes;
    t->same = *bucket;
    *bucket = t;
    if (w->last)
        w->last->next = t;
    else
        w->first = t;
    w->last = t;
    return AVS_OK;
}

static void header_text(const avs_st_writer *w, avs_buf *out)
{
    size_t at = 0;
    const char *comma = "";
    avs_buf_char(out, '{');
    if (w->meta->len) {
        avs_buf_str(out, "\"__metadata__\":");
        avs_json_write(out, w->meta, false);
        comma = ",";
    }
    for (const entry *t = w->first; t; t = t->next) {
        avs_buf_str(out, comma);
        avs_json_write_str(out, t->name);
        avs_buf_fmt(out, ":{\"dtype\":\"%s\",\"shape\":[", t->dtype);
        for (int i = 0; i < t->rank; i++) avs_buf_fmt(out, "%s%lld", i ? "," : "", (long long)t->d[i]);
        avs_buf_fmt(out, "],\"data_offsets\":[%zu,%zu]}", at, at + t->bytes);
        at += t->bytes;
        comma = ",";
    }
    avs_buf_char(out, '}');
    while (avs_buf_ok(out) && out->len % 8) avs_buf_char(out, ' ');
}

static int put(avs_fs_out *o, avs_sha256 *hash, const void *data, size_t n, avs_err *e)
{
    if (n == 0) return AVS_OK;
    avs_sha256_put(hash, data, n);
    return avs_fs_out_put(o, data, n, e);
}

int avs_st_writer_write(avs_st_writer *w, const char *path, uint8_t sha256[32], avs_err *e)
{
    avs_buf header = AVS_BUF_INIT, length = AVS_BUF_INIT;
    avs_fs_out o = {0};
    avs_sha256 hash;
    int rc = AVS_OK;
    if (w->failed != AVS_OK)
        return avs_fail(e, (avs_code)w->failed, "%s: not written, a tensor could not be added", path);
    header_text(w, &header);
    avs_buf_u64(&length, header.len);
    if (!avs_buf_ok(&header) || !avs_buf_ok(&length)) {
        rc = avs_fail(e, AVS_ENOMEM, "%s: no memory for the header", path);
        goto out;
    }
    if (header.len > MAX_HEADER) {
        rc = avs_fail(e, AVS_ERANGE, "%s: a header of %zu bytes, at most %d can be read back", path,
                      header.len, MAX_HEADER);
        goto out;
    }
    avs_sha256_init(&hash);
    AVS_TRY(avs_fs_out_open(&o, path, e));
    AVS_TRY(put(&o, &hash, length.data, length.len, e));
    AVS_TRY(put(&o, &hash, header.data, header.len, e));
    for (const entry *t = w->first; t; t = t->next) AVS_TRY(put(&o, &hash, t->data, t->bytes, e));
    AVS_TRY(avs_fs_out_commit(&o, e));
    if (sha256) avs_sha256_end(&hash, sha256);
out:
    avs_fs_out_abort(&o);
    avs_buf_free(&header);
    avs_buf_free(&length);
    return rc;
}
