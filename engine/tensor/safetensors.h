/* Safetensors files: 8-byte little-endian header length, JSON header, raw data.
 *
 * Reader limits: header <= 64 MiB, begin <= end <= size, ranges sorted without overlap or gaps, product of extents times
 * dtype size equals the range, no duplicate keys, JSON depth <= 4, at most 8 extents, 2^20 values in the header. Tensors keep the reference layouts (O,I,kh,kw;
 * B,C,H,W); conversion happens where they are loaded or compared.
 * Ownership: an open file owns the map; tensor pointers are valid until avs_st_close. */
#ifndef AVS_ENGINE_TENSOR_SAFETENSORS_H
#define AVS_ENGINE_TENSOR_SAFETENSORS_H

#include "base/arena.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/json.h"
#include "engine/tensor/type.h"

typedef struct {
    const char *name;
    const char *dtype; /* "F32", "F64", "BF16", "F16", "I64", "I32", "U8", "BOOL" */
    int rank;
    int64_t d[8];
    int64_t count;
    const uint8_t *data; /* into the map, may be unaligned */
    size_t bytes;
} avs_st_tensor;

typedef struct {
    avs_arena *arena;
    avs_map map;
    avs_st_tensor *t; /* in file order */
    int n;
    const avs_json *meta; /* __metadata__ or NULL */
} avs_st_file;

int avs_st_open(avs_st_file *f, const char *path, avs_err *e);
/* For fuzzing. */
int avs_st_parse(avs_st_file *f, const char *what, const uint8_t *data, size_t n, avs_err *e);
void avs_st_close(avs_st_file *f); /* accepts a zeroed file */
const avs_st_tensor *avs_st_find(const avs_st_file *f, const char *name);
/* Has the tensor the extents of the type? */
bool avs_st_fits(const avs_st_tensor *t, const avs_type *want);
/* Converts to float32 (from F32, F64, BF16, F16, I64, I32, U8, BOOL); out holds t->count elements. */
int avs_st_f32(const avs_st_tensor *t, float *out, avs_err *e);

/* Bytes of one element of "F32", ..; 0 for a name that is no dtype. */
size_t avs_st_dtype_size(const char *dtype);

/* Writer: add tensors, then write atomically (tmp, fsync, rename, fsync folder). Data is not copied. */
typedef struct avs_st_writer avs_st_writer;
avs_st_writer *avs_st_writer_new(avs_arena *a);
int avs_st_writer_meta(avs_st_writer *w, const char *key, const char *value);
int avs_st_writer_add(avs_st_writer *w, const char *name, const char *dtype, int rank, const int64_t *d,
                      const void *data);
/* Writes in the order of adding; same content gives the same bytes. sha256 may be NULL. */
int avs_st_writer_write(avs_st_writer *w, const char *path, uint8_t sha256[32], avs_err *e);

#endif
