/* Raw storages of a checkpoint, whichever container they come from. Private to the reader. */
#ifndef AVS_ENGINE_TENSOR_PTH_BLOB_H
#define AVS_ENGINE_TENSOR_PTH_BLOB_H

#include "engine/tensor/pth_pickle.h"

typedef struct {
    const char *name; /* the storage's key */
    const uint8_t *data;
    size_t bytes, at; /* at: byte of the file where the data begin */
    uint32_t crc;     /* 0: the container has none (torch.save may leave it out) */
    bool is_checked;
} avs_pth_blob;

typedef struct {
    avs_arena *arena;
    const char *what; /* the file, for messages */
    const uint8_t *data;
    size_t n;
    avs_pth_blob *blobs; /* sorted by name, names unique */
    int n_blobs;
    avs_pk pickle; /* close with avs_pk_fini */
    avs_pk_node *root;
} avs_pth_source;

/* Fill blobs and root from s->data. */
int avs_pth_read_zip(avs_pth_source *s, avs_err *e);
int avs_pth_read_legacy(avs_pth_source *s, avs_err *e);

/* The blob of that key, NULL: none. A wrong checksum is AVS_EPARSE. */
int avs_pth_find_blob(avs_pth_source *s, const char *key, avs_pth_blob **out, avs_err *e);
/* CRC-32 of zip files. */
uint32_t avs_pth_crc32(const uint8_t *p, size_t n);

#endif
