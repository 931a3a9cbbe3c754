/* From the tree of a pickle to tensors: which mapping is meant, and every tensor of it checked against its storage. */
#include "engine/tensor/pth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "engine/tensor/pth_blob.h"

enum { MAX_DIMS = 8, MAX_NAMED = 8, MAX_REPEAT = 8 };

typedef struct {
    avs_pth_source src;
    avs_st_file *f;
    size_t total; /* dense bytes so far */
} reader;

/* ------------------------------------------------------------------ one tensor */

static int blob_name(const void *key, const void *at)
{
    return strcmp(key, ((const avs_pth_blob *)at)->name);
}

int avs_pth_find_blob(avs_pth_source *s, const char *key, avs_pth_blob **out, avs_err *e)
{
    avs_pth_blob *b =
        s->n_blobs ? bsearch(key, s->blobs, (size_t)s->n_blobs, sizeof *s->blobs, blob_name) : NULL;
    *out = b;
    if (!b || b->is_checked) return AVS_OK;
    if (b->crc && avs_pth_crc32(b->data, b->bytes) != b->crc)
        return avs_fail(e, AVS_EPARSE,
                        "storage %.100s at byte %zu does not have its checksum: the file is damaged", key,
                        b->at);
    b->is_checked = true;
    return AVS_OK;
}

/* Extents and strides; *last: index of the last element that is addressed. */
static int read_shape(const avs_pk_node *v, avs_st_tensor *t, int64_t stride[MAX_DIMS], int64_t *last,
                      avs_err *e)
{
    const avs_pk_item *d = v->size->first, *s = v->stride->first;
    if (v->size->n > MAX_DIMS)
        return avs_fail(e, AVS_EPARSE, "has %lld axes, at most %d are read", (long long)v->size->n, MAX_DIMS);
    t->count = 1;
    *last = v->offset;
    bool overflows = false;
    for (; d && s; d = d->next, s = s->next) {
        int64_t reach = 0;
        t->d[t->rank] = d->v->i;
        stride[t->rank++] = s->v->i;
        overflows |= __builtin_mul_overflow(t->count, d->v->i, &t->count);
        if (d->v->i > 0)
            overflows |= __builtin_mul_overflow(d->v->i - 1, s->v->i, &reach) ||
                         __builtin_add_overflow(*last, reach, last);
    }
    return overflows ? avs_fail(e, AVS_EPARSE, "has extents or strides whose product overflows") : AVS_OK;
}

static bool is_dense(const avs_st_tensor *t, const int64_t stride[MAX_DIMS])
{
    int64_t want = 1;
    for (int k = t->rank - 1; k >= 0; k--) {
        if (t->d[k] != 1 && stride[k] != want) return false;
        want *= t->d[k];
    }
    return true;
}

/* Row-major copy of a strided tensor; 16- and 8-bit integers become 32-bit ones. */
static void copy_strided(const avs_st_tensor *t, const int64_t stride[MAX_DIMS], const avs_pk_dtype *from,
                         const uint8_t *src, uint8_t *dst)
{
    const size_t size = (size_t)from->size;
    const bool is_16 = !strcmp(from->dtype, "I16"), is_8 = !strcmp(from->dtype, "I8");
    int64_t at[MAX_DIMS] = {0}, place = 0;
    for (int64_t i = 0; i < t->count; i++) {
        const uint8_t *x = src + (size_t)place * size;
        if (is_16 || is_8) {
            const int32_t v = is_8 ? (int8_t)x[0] : (int16_t)(uint16_t)(x[0] | (unsigned)x[1] << 8);
            memcpy(dst + (size_t)i * 4, &v, 4);
        } else {
            memcpy(dst + (size_t)i * size, x, size);
        }
        for (int k = t->rank - 1; k >= 0; k--) {
            place += stride[k];
            if (++at[k] < t->d[k]) break;
            place -= at[k] * stride[k];
            at[k] = 0;
        }
    }
}

/* Errors speak of the tensor; the caller puts file and key in front. */
static int read_tensor(reader *r, const avs_pk_node *v, avs_st_tensor *t, avs_err *e)
{
    const avs_pk_node *st = v->storage;
    const avs_pk_dtype *from = st->dtype;
    const size_t size = (size_t)from->size, widened = size < 4 && from->dtype[0] == 'I' ? 4 : size;
    int64_t stride[MAX_DIMS] = {0}, last = 0;
    avs_pth_blob *b = NULL;
    int rc = read_shape(v, t, stride, &last, e);
    if (rc == AVS_OK) rc = avs_pth_find_blob(&r->src, st->s, &b, e);
    if (rc != AVS_OK) return rc;
    if (!b) return avs_fail(e, AVS_EPARSE, "its storage %.100s is not in the file", st->s);
    if ((uint64_t)st->count != b->bytes / size || b->bytes % size)
        return avs_fail(
            e, AVS_EPARSE, "its storage %.100s at byte %zu has %zu bytes, %lld elements of %s need %lld",
            st->s, b->at, b->bytes, (long long)st->count, from->dtype, (long long)(st->count * from->size));
    t->dtype = widened == size ? from->dtype : "I32";
    t->data = b->data ? b->data : r->src.data;
    if (t->count == 0) return AVS_OK;
    if (last >= st->view_count)
        return avs_fail(e, AVS_EPARSE, "reaches element %lld of its storage %.100s, which has %lld",
                        (long long)last, st->s, (long long)st->view_count);
    const size_t room = r->src.n > SIZE_MAX / MAX_REPEAT ? SIZE_MAX : r->src.n * MAX_REPEAT;
    if ((uint64_t)t->count > r->src.n / size || (uint64_t)t->count * size > room - r->total)
        return avs_fail(
            e, AVS_EPARSE,
            "has %lld elements, more than the file of %zu bytes can hold (strides that repeat elements?)",
            (long long)t->count, r->src.n);
    r->total += (size_t)t->count * size;
    t->bytes = (size_t)t->count * widened;
    const uint8_t *src = b->data + (size_t)(st->view_at + v->offset) * size;
    t->data = src;
    if (is_dense(t, stride) && widened == size) return AVS_OK;
    uint8_t *copy = avs_arena_alloc(r->f->arena, t->bytes);
    if (!copy) return avs_fail(e, AVS_ENOMEM, "no memory for a copy of %zu bytes", t->bytes);
    copy_strided(t, stride, from, src, copy);
    t->data = copy;
    return AVS_OK;
}

/* ------------------------------------------------------------------ which mapping */

static int64_t direct_tensors(const avs_pk_node *dict)
{
    int64_t n = 0;
    if (dict->kind != AVS_PK_DICT) return 0;
    for (const avs_pk_item *it = dict->first; it; it = it->next) n += it->v->kind == AVS_PK_TENSOR;
    return n;
}

/* Names of the entries that could be taken, for messages. */
static void name_choices(const avs_pk_node *root, avs_buf *out)
{
    int n = 0;
    for (const avs_pk_item *it = root->first; it; it = it->next) {
        if (it->key->kind != AVS_PK_STR || !direct_tensors(it->v)) continue;
        if (++n <= MAX_NAMED) avs_buf_fmt(out, "%s%.40s", n > 1 ? ", " : "", it->key->s);
    }
    if (n > MAX_NAMED) avs_buf_fmt(out, ", .. (%d)", n);
    if (!n) avs_buf_str(out, "none");
}

static int no_mapping(const char *what, const avs_pk_node *root, const char *why, avs_err *e)
{
    avs_buf names = AVS_BUF_INIT;
    name_choices(root, &names);
    int rc = avs_fail(e, AVS_EMISSING, "%s: %s; mappings of tensors at the top level: %s", what, why,
                      avs_buf_cstr(&names));
    avs_buf_free(&names);
    return rc;
}

static int choose(const char *what, avs_pk_node *root, const char *key, avs_pk_node **taken,
                  const char **name, avs_err *e)
{
    static const char *const usual[] = {"state_dict", "model", "model_state_dict"};
    char text[160], why[240];
    *taken = NULL;
    *name = "";
    if (root->kind != AVS_PK_DICT)
        return avs_fail(
            e, AVS_EPARSE,
            "%s: byte %zu: a mapping of names to tensors is expected at the top level, found %s%s", what,
            root->at, avs_pk_text(root, text, sizeof text),
            root->kind == AVS_PK_OPAQUE ? "; save the state_dict of a module, not the module" : "");
    if (key) {
        *taken = avs_pk_get(root, key);
        *name = key;
        if (*taken && direct_tensors(*taken)) return AVS_OK;
        (void)snprintf(why, sizeof why, "'%.80s' is %s%s", key,
                       *taken ? avs_pk_text(*taken, text, 100) : "not there",
                       *taken ? " without tensors" : "");
        return no_mapping(what, root, why, e);
    }
    if (direct_tensors(root)) {
        *taken = root;
        return AVS_OK;
    }
    int n = 0;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        avs_pk_node *v = avs_pk_get(root, usual[i]);
        if (!v || !direct_tensors(v)) continue;
        *taken = v;
        *name = usual[i];
        n++;
    }
    if (n == 1) return AVS_OK;
    return no_mapping(
        what, root,
        n ? "several mappings could be meant; choose one with convert --key NAME"
          : "no tensors at the top level nor under state_dict, model or model_state_dict (convert "
            "--key NAME takes another)",
        e);
}

/* ------------------------------------------------------------------ the mapping's entries */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_names(const reader *r, avs_err *e)
{
    const avs_st_file *f = r->f;
    const char **names = AVS_NEW_N(f->arena, const char *, f->n + 1);
    if (!names) return avs_fail(e, AVS_ENOMEM, "%s: no memory for %d names", r->src.what, f->n);
    for (int i = 0; i < f->n; i++) names[i] = f->t[i].name;
    qsort(names, (size_t)f->n, sizeof *names, by_name);
    for (int i = 1; i < f->n; i++)
        if (!strcmp(names[i - 1], names[i]))
            return avs_fail(e, AVS_EPARSE, "%s: %.200s occurs twice", r->src.what, names[i]);
    return AVS_OK;
}

static int take_entry(reader *r, const avs_pk_item *it, avs_buf *skipped, int *n_skipped, avs_err *e)
{
    avs_st_file *f = r->f;
    char text[160];
    const char *name = it->key->kind == AVS_PK_STR ? it->key->s : "(no string)";
    if (it->v->kind != AVS_PK_TENSOR) {
        if (it->v->kind == AVS_PK_OPAQUE && it->v->has_tensor)
            return avs_fail(e, AVS_EPARSE, "%s: %.200s (byte %zu) is %s around a tensor, which is not read",
                            r->src.what, name, it->v->at, avs_pk_text(it->v, text, sizeof text));
        if (++*n_skipped <= MAX_NAMED)
            avs_buf_fmt(skipped, "%s%.60s (%s)", *n_skipped > 1 ? ", " : "", name,
                        avs_pk_text(it->v, text, sizeof text));
        return AVS_OK;
    }
    if (it->key->kind != AVS_PK_STR || !name[0])
        return avs_fail(e, AVS_EPARSE, "%s: byte %zu: the name of a tensor is %s, a string is expected",
                        r->src.what, it->v->at, name[0] ? avs_pk_text(it->key, text, sizeof text) : "empty");
    avs_st_tensor *t = &f->t[f->n];
    t->name = name;
    int rc = read_tensor(r, it->v, t, e);
    if (rc != AVS_OK) {
        (void)avs_ctx(e, "%s: %.200s (byte %zu of the file)", r->src.what, name, it->v->at);
        return rc;
    }
    f->n++;
    return AVS_OK;
}

static int take_mapping(reader *r, const avs_pk_node *map, avs_pth_info *info, avs_err *e)
{
    avs_st_file *f = r->f;
    avs_buf skipped = AVS_BUF_INIT;
    int n_skipped = 0, rc = AVS_OK;
    f->t = AVS_NEW_N(f->arena, avs_st_tensor, direct_tensors(map) + 1);
    if (!f->t) return avs_fail(e, AVS_ENOMEM, "%s: no memory for its tensors", r->src.what);
    for (const avs_pk_item *it = map->first; it && rc == AVS_OK; it = it->next)
        rc = take_entry(r, it, &skipped, &n_skipped, e);
    if (rc == AVS_OK) rc = check_names(r, e);
    if (rc == AVS_OK && info) {
        info->n_skipped = n_skipped;
        info->skipped = avs_arena_str(f->arena, avs_buf_cstr(&skipped));
        if (!info->skipped || skipped.failed) rc = avs_fail(e, AVS_ENOMEM, "%s: no memory", r->src.what);
    }
    avs_buf_free(&skipped);
    return rc;
}

bool avs_pth_is(const uint8_t *data, size_t n)
{
    if (n >= 4 && !memcmp(data, "PK\3\4", 4)) return true;
    /* The length of a safetensors header (at most 64 MiB, so four zero bytes, then '{') may begin like a pickle. */
    if (n > 8 && data[8] == '{' && !memcmp(data + 4, "\0\0\0\0", 4)) return false;
    return n >= 4 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5;
}

int avs_pth_parse(avs_st_file *f, const char *what, const uint8_t *data, size_t n, const char *key,
                  avs_pth_info *info, avs_err *e)
{
    reader r = {.f = f};
    avs_pk_node *map = NULL;
    const char *name = "";
    *f = (avs_st_file){0};
    if (info) *info = (avs_pth_info){.container = "", .taken = "", .skipped = ""};
    if (!avs_pth_is(data, n))
        return avs_fail(
            e, AVS_EPARSE,
            "%s: byte 0: neither a zip file (torch 1.6 and later) nor a pickle (before): no checkpoint of "
            "torch.save",
            what);
    f->arena = avs_arena_new();
    if (!f->arena) return avs_fail(e, AVS_ENOMEM, "%s: no memory", what);
    r.src = (avs_pth_source){.arena = f->arena, .what = what, .data = data, .n = n};
    const bool is_zip = data[0] == 'P';
    int rc = is_zip ? avs_pth_read_zip(&r.src, e) : avs_pth_read_legacy(&r.src, e);
    if (rc == AVS_OK) rc = choose(what, r.src.root, key, &map, &name, e);
    if (rc == AVS_OK && map) rc = take_mapping(&r, map, info, e);
    if (rc == AVS_OK && info) {
        info->container = is_zip ? "zip" : "legacy";
        info->taken = avs_arena_str(f->arena, name);
        if (!info->taken) rc = avs_fail(e, AVS_ENOMEM, "%s: no memory", what);
    }
    avs_pk_fini(&r.src.pickle);
    if (rc != AVS_OK) avs_st_close(f);
    return rc;
}

int avs_pth_open(avs_st_file *f, const char *path, const char *key, avs_pth_info *info, avs_err *e)
{
    avs_map map;
    *f = (avs_st_file){0};
    int rc = avs_map_open(&map, path, e);
    if (rc != AVS_OK) return rc;
    rc = avs_pth_parse(f, path, map.data, map.len, key, info, e);
    if (rc == AVS_OK)
        f->map = map;
    else
        avs_map_close(&map);
    return rc;
}
