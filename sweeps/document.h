/* The document of a sweep: the file with its includes merged, the profile laid over it, --set applied and variables
 * replaced. What follows reads one tree of nodes. */
#ifndef AVS_SWEEPS_DOCUMENT_H
#define AVS_SWEEPS_DOCUMENT_H

#include "sweeps/sweep.h"
#include "sweeps/yaml.h"

typedef struct {
    avs_ynode *root; /* a map without include, profiles and vars; NULL after an error */
    avs_sweep_source *sources;
    int n_sources;
    avs_json *env; /* values of ${env:NAME} that were used */
} avs_document;

/* text NULL: read the file. AVS_EPARSE with the reasons in d, AVS_EIO, AVS_ENOMEM. */
int avs_document_load(avs_arena *a, const char *path, const char *text, size_t n, const avs_sweep_options *o,
                      avs_diag *d, avs_document *out, avs_err *e);

/* Names of the keys at the top level; NULL-terminated. */
const char *const *avs_document_keys(void);

/* Reports keys of `map` that are not in `names` (E012); where: "in 'report'", for the message. True if all are. */
bool avs_check_keys(avs_diag *d, const avs_ynode *map, const char *const *names, const char *where);

#endif
