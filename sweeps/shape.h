/* Shapes: configurations that differ only in parameters that stand alone (avs_schema_is_free) are resolved once.
 *
 * A shape is the canonical text of a resolved configuration with holes where the values of such parameters go, so a
 * million points of a learning-rate grid cost a million short texts and hashes, not a million walks through the rules.
 * Shapes live in a pool of fixed size; when it is full all are forgotten and made again as they are met.
 * Ownership: everything belongs to the arena of the sweep; what avs_shapes_resolve gives is valid until its next call. */
#ifndef AVS_SWEEPS_SHAPE_H
#define AVS_SWEEPS_SHAPE_H

#include "models/schema.h"
#include "sweeps/point.h"

enum { AVS_SHAPES = 2048, AVS_SHAPE_POOL = 8 << 20, AVS_SHAPE_HOLES = 64 };

typedef struct avs_shape avs_shape;

/* A resolved configuration: a shape and the values of its holes in order of their names. */
typedef struct {
    const avs_shape *shape;
    const char *text[AVS_SHAPE_HOLES];
    uint32_t len[AVS_SHAPE_HOLES];
} avs_filled;

avs_shapes *avs_shapes_new(avs_parse *p); /* NULL: no memory */

/* AVS_EPARSE with *problems when the configuration is refused, AVS_ENOMEM. a: for this point alone. */
int avs_shapes_resolve(avs_shapes *h, avs_point *pt, avs_arena *a, avs_filled *out, avs_problem **problems,
                       avs_err *e);

void avs_filled_params(const avs_filled *f, avs_buf *out);   /* canonical JSON for the trial       */
void avs_filled_identity(const avs_filled *f, avs_buf *out); /* the text that is hashed            */
void avs_filled_hash(const avs_filled *f, uint8_t out[32]);  /* config_hash                        */
/* Kind, model, task, data_root and fingerprint; the strings live as long as the sweep. */
void avs_filled_names(const avs_filled *f, avs_sweep_config *c);

#endif
