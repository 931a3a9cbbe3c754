/* What `avsweep expand` and `avsweep show --schema` print. */
#ifndef AVS_SWEEPS_LISTING_H
#define AVS_SWEEPS_LISTING_H

#include "base/buf.h"
#include "sweeps/sweep.h"

/* One line per stage, the dropped points per rule, and the total. */
void avs_list_count(avs_buf *out, const avs_sweep *s);
/* 64 hex digits over the hashes of all trials in order: two sweeps with one digest are the same trials. */
void avs_list_digest(avs_buf *out, const avs_sweep *s);
/* A table: number, hash, stage, kind, model, task, seed, and a column per key that the sweep sets. */
void avs_list_text(avs_buf *out, const avs_sweep *s);
void avs_list_csv(avs_buf *out, const avs_sweep *s);
/* One object per line with "type": "trial". */
void avs_list_json(avs_buf *out, const avs_sweep *s);
/* The parameters of a model; format "text", "md" or "json". AVS_EMISSING, AVS_ERANGE. */
int avs_list_schema(avs_buf *out, const char *model, const char *format, avs_err *e);
bool avs_list_knows_model(const char *model);
const char *const *avs_list_models(void); /* names, NULL-terminated */

#endif
