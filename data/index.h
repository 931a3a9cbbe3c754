/* The manifest of a data root and its fingerprint.
 *
 * ROOT/.avsweep-manifest is text: a first line `avs-manifest-1 FINGERPRINT N_FILES`, then for each regular
 * file below ROOT (names that start with ".avsweep" left out; links are followed), sorted by path as
 * bytes, SHA256 SIZE MTIME_NS INODE PATH FINGERPRINT = SHA-256 over the lines "PATH\tSIZE\tSHA256\n", so
 * another copy of the data is the same data. A file whose inode, modification time and size are those of the
 * existing manifest is not read again. */
#ifndef AVS_DATA_INDEX_H
#define AVS_DATA_INDEX_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

typedef struct {
    int64_t n_files, n_hashed; /* n_hashed: read because new or changed */
    int64_t bytes;             /* of all files                          */
    uint8_t fingerprint[32];
} avs_index_info;

/* Writes the manifest (atomically). Errors: AVS_EMISSING no such folder, AVS_EIO, AVS_EPARSE a path with a
 * line break. */
int avs_data_index(const char *root, int n_threads, avs_index_info *info, avs_err *e);
/* Reads the fingerprint; *found = false (and AVS_OK) when there is no manifest. A damaged manifest is
 * AVS_EPARSE. */
int avs_data_fingerprint(const char *root, uint8_t out[32], bool *found, avs_err *e);

#endif
