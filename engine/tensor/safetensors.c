/* Safetensors reading: the header is parsed by the strict JSON reader and then checked as a whole, so that
 * whoever walks the tensors can trust every pointer and length. Conversions to float32 go element by element
 * through memcpy, because data of a file need not be aligned. */
#include "engine/tensor/safetensors.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 64 << 20, MAX_DIMS = 8, MAX_DEPTH = 4, MAX_VALUES = 1 << 20 };

typedef struct {
    const char *name;
    size_t size;
} dtype_row;

static const dtype_row DTYPES[] = {{"F32", 4}, {"F64", 8}, {"BF16", 2}, {"F16", 2},
                                   {"I64", 8}, {"I32", 4}, {"U8", 1},   {"BOOL", 1}};

static const dtype_row *dtype_of(const char *name)
{
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++)
        if (strcmp(DTYPES[i].name, name) == 0) return &DTYPES[i];
    return NULL;
}

size_t avs_st_dtype_size(const char *dtype)
{
    const dtype_row *row = dtype_of(dtype);
    return row ? row->size : 0;
}

/* Depth, lengths of lists and number of values are counted on the raw text, before a node is made of any of them: a node
 * takes some fifty times the memory of its text. What is no JSON is left to the reader to tell. */
static int check_counts(const char *what, const char *text, size_t n, avs_err *e)
{
    int depth = 0, values = 0, items[MAX_DEPTH + 1] = {0};
    bool is_list[MAX_DEPTH + 1] = {false};
    for (size_t i = 0; i < n; i++) {
        const char c = text[i];
        if (c == '"') { /* to the end of the string */
            for (i++; i < n && text[i] != '"'; i++)
                if (text[i] == '\\') i++;
        } else if (c == '{' || c == '[') {
            if (++depth > MAX_DEPTH)
                return avs_fail(e, AVS_EPARSE, "%s: byte %zu: the header must be an object of depth <= %d",
                                what, i + 8, MAX_DEPTH);
            items[depth] = 1;
            is_list[depth] = c == '[';
            values++;
        } else if (c == '}' || c == ']') {
            if (--depth < 0) return AVS_OK;
        } else if (c == ',') {
            values++;
            if (++items[depth] > MAX_DIMS && is_list[depth])
                return avs_fail(e, AVS_EPARSE, "%s: byte %zu: a list in the header holds at most %d numbers",
                                what, i + 8, MAX_DIMS);
        }
        if (values > MAX_VALUES)
            return avs_fail(e, AVS_EPARSE, "%s: byte %zu: more than %d values in the header", what, i + 8,
                            MAX_VALUES);
    }
    return AVS_OK;
}

static int read_shape(const char *what, const avs_json *shape, avs_st_tensor *t, avs_err *e)
{
    if (!shape || shape->kind != AVS_J_ARR || shape->len > MAX_DIMS)
        return avs_fail(e, AVS_EPARSE, "%s: %s: \"shape\" must be a list of at most %d extents", what,
                        t->name, MAX_DIMS);
    t->count = 1;
    for (const avs_json *c = shape->first; c; c = c->next) {
        if (c->kind != AVS_J_INT || c->i < 0)
            return avs_fail(e, AVS_EPARSE, "%s: %s: extent %d is no non-negative integer", what, t->name,
                            t->rank);
        t->d[t->rank++] = c->i;
        if (__builtin_mul_overflow(t->count, c->i, &t->count))
            return avs_fail(e, AVS_EPARSE, "%s: %s: the product of the extents overflows", what, t->name);
    }
    return AVS_OK;
}

static int read_tensor(const char *what, const avs_json *v, const uint8_t *data, size_t size,
                       avs_st_tensor *t, avs_err *e)
{
    t->name = v->key;
    if (v->kind != AVS_J_OBJ) return avs_fail(e, AVS_EPARSE, "%s: %s: an object is expected", what, t->name);
    for (const avs_json *c = v->first; c; c = c->next)
        if (strcmp(c->key, "dtype") != 0 && strcmp(c->key, "shape") != 0 &&
            strcmp(c->key, "data_offsets") != 0)
            return avs_fail(e, AVS_EPARSE, "%s: %s: unknown key \"%.40s\"", what, t->name, c->key);
    t->dtype = avs_json_str(v, "dtype", "");
    const dtype_row *row = dtype_of(t->dtype);
    if (!row)
        return avs_fail(e, AVS_EPARSE, "%s: %s: dtype \"%.20s\" is none of F32 F64 BF16 F16 I64 I32 U8 BOOL",
                        what, t->name, t->dtype);
    t->dtype = row->name;
    int rc = read_shape(what, avs_json_get(v, "shape"), t, e);
    if (rc != AVS_OK) return rc;
    const avs_json *range = avs_json_get(v, "data_offsets");
    const avs_json *lo = avs_json_at(range, 0), *hi = avs_json_at(range, 1);
    if (!range || range->kind != AVS_J_ARR || range->len != 2 || lo->kind != AVS_J_INT ||
        hi->kind != AVS_J_INT)
        return avs_fail(e, AVS_EPARSE, "%s: %s: \"data_offsets\" must be two integers", what, t->name);
    if (lo->i < 0 || hi->i < lo->i || (uint64_t)hi->i > size)
        return avs_fail(e, AVS_EPARSE, "%s: %s: range %lld..%lld does not lie in the %zu data bytes", what,
                        t->name, (long long)lo->i, (long long)hi->i, size);
    t->bytes = (size_t)(hi->i - lo->i);
    int64_t want;
    if (__builtin_mul_overflow(t->count, (int64_t)row->size, &want) || (uint64_t)want != t->bytes)
        return avs_fail(e, AVS_EPARSE, "%s: %s: %lld elements of %s do not fill %zu bytes", what, t->name,
                        (long long)t->count, t->dtype, t->bytes);
    t->data = data + lo->i;
    return AVS_OK;
}

static int read_meta(const char *what, const avs_json *meta, avs_err *e)
{
    if (meta->kind != AVS_J_OBJ) return avs_fail(e, AVS_EPARSE, "%s: __metadata__ must be an object", what);
    for (const avs_json *c = meta->first; c; c = c->next)
        if (c->kind != AVS_J_STR)
            return avs_fail(e, AVS_EPARSE, "%s: __metadata__: \"%.80s\" must be a string", what, c->key);
    return AVS_OK;
}

/* By place in the file; an empty tensor comes before the one whose data begins at the same byte. */
static int by_place(const void *a, const void *b)
{
    const avs_st_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The ranges must tile the data: no gap, no overlap, nothing behind the last one. */
static int check_tiling(const char *what, const avs_st_file *f, const uint8_t *data, size_t size, avs_err *e)
{
    size_t end = 0;
    for (int i = 0; i < f->n; i++) {
        size_t begin = (size_t)(f->t[i].data - data);
        if (begin != end)
            return avs_fail(e, AVS_EPARSE,
                            "%s: %s: data begins at byte %zu, the tensor before it ends at %zu", what,
                            f->t[i].name, begin, end);
        end += f->t[i].bytes;
    }
    if (end != size)
        return avs_fail(e, AVS_EPARSE, "%s: the tensors end at byte %zu, the file has %zu bytes of data",
                        what, end, size);
    return AVS_OK;
}

static int read_header(avs_st_file *f, const char *what, const avs_json *root, const uint8_t *data,
                       size_t size, avs_err *e)
{
    int rc = AVS_OK;
    f->t = AVS_NEW_N(f->arena, avs_st_tensor, root->len);
    if (!f->t) return avs_fail(e, AVS_ENOMEM, "%s: no memory for %zu tensors", what, root->len);
    for (const avs_json *v = root->first; v && rc == AVS_OK; v = v->next) {
        if (strcmp(v->key, "__metadata__") == 0) {
            f->meta = v;
            rc = read_meta(what, v, e);
        } else {
            rc = read_tensor(what, v, data, size, &f->t[f->n++], e);
        }
    }
    if (rc != AVS_OK) return rc;
    qsort(f->t, (size_t)f->n, sizeof *f->t, by_place);
    return check_tiling(what, f, data, size, e);
}

int avs_st_parse(avs_st_file *f, const char *what, const uint8_t *data, size_t n, avs_err *e)
{
    *f = (avs_st_file){0};
    if (n < 8) return avs_fail(e, AVS_EPARSE, "%s: %zu bytes are too short for a safetensors file", what, n);
    uint64_t header = 0;
    for (size_t i = 0; i < 8; i++) header |= (uint64_t)data[i] << (8 * i);
    if (header > MAX_HEADER || header > n - 8)
        return avs_fail(e, AVS_EPARSE, "%s: a header of %llu bytes, the file has %zu and the limit is %d",
                        what, (unsigned long long)header, n, MAX_HEADER);
    if (header == 0 || data[8] != '{')
        return avs_fail(e, AVS_EPARSE, "%s: the header does not begin with '{'", what);
    f->arena = avs_arena_new();
    if (!f->arena) return avs_fail(e, AVS_ENOMEM, "%s: no memory for the header", what);
    avs_json *root;
    int rc = check_counts(what, (const char *)data + 8, (size_t)header, e);
    if (rc == AVS_OK) rc = avs_json_parse(f->arena, what, (const char *)data + 8, (size_t)header, &root, e);
    if (rc == AVS_OK) rc = read_header(f, what, root, data + 8 + header, n - 8 - (size_t)header, e);
    if (rc != AVS_OK) avs_st_close(f);
    return rc;
}

int avs_st_open(avs_st_file *f, const char *path, avs_err *e)
{
    avs_map map;
    *f = (avs_st_file){0};
    int rc = avs_map_open(&map, path, e);
    if (rc != AVS_OK) return rc;
    rc = avs_st_parse(f, path, map.data, map.len, e);
    if (rc == AVS_OK)
        f->map = map;
    else
        avs_map_close(&map);
    return rc;
}

void avs_st_close(avs_st_file *f)
{
    avs_map_close(&f->map);
    avs_arena_free(f->arena);
    *f = (avs_st_file){0};
}

const avs_st_tensor *avs_st_find(const avs_st_file *f, const char *name)
{
    for (int i = 0; i < f->n; i++)
        if (strcmp(f->t[i].name, name) == 0) return &f->t[i];
    return NULL;
}

bool avs_st_fits(const avs_st_tensor *t, const avs_type *want)
{
    if (t->rank != want->rank) return false;
    for (int i = 0; i < t->rank; i++)
        if (t->d[i] != want->d[i]) return false;
    return true;
}

static float bits_to_f32(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* IEEE binary16, subnormal numbers and NaN payloads included. */
static float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023;
    if (exponent == 31) return bits_to_f32(sign | 0x7F800000u | mantissa << 13);
    if (exponent) return bits_to_f32(sign | (exponent + 112) << 23 | mantissa << 13);
    float v = (float)mantissa * 0x1p-24f;
    return sign ? -v : v;
}

/* One loop per source type: T is the stored type, EXPR the value of element x. */
#define CONVERT(T, EXPR)                                                                                     \
    for (int64_t i = 0; i < t->count; i++) {                                                                 \
        T x;                                                                                                 \
        memcpy(&x, t->data + (size_t)i * sizeof x, sizeof x);                                                \
        out[i] = (EXPR);                                                                                     \
    }

int avs_st_f32(const avs_st_tensor *t, float *out, avs_err *e)
{
    if (t->count == 0) return AVS_OK;
    if (strcmp(t->dtype, "F32") == 0) {
        memcpy(out, t->data, (size_t)t->count * sizeof *out); /* both little endian */
    } else if (strcmp(t->dtype, "F64") == 0) {
        CONVERT(double, (float)x)
    } else if (strcmp(t->dtype, "BF16") == 0) {
        CONVERT(uint16_t, bits_to_f32((uint32_t)x << 16))
    } else if (strcmp(t->dtype, "F16") == 0) {
        CONVERT(uint16_t, f16_to_f32(x))
    } else if (strcmp(t->dtype, "I64") == 0) {
        CONVERT(int64_t, (float)x)
    } else if (strcmp(t->dtype, "I32") == 0) {
        CONVERT(int32_t, (float)x)
    } else if (strcmp(t->dtype, "U8") == 0) {
        CONVERT(uint8_t, (float)x)
    } else if (strcmp(t->dtype, "BOOL") == 0) {
        CONVERT(uint8_t, x ? 1.0f : 0.0f)
    } else {
        return avs_fail(e, AVS_EPARSE, "%s: dtype %s has no conversion to float32", t->name, t->dtype);
    }
    return AVS_OK;
}
