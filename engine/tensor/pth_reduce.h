/* What the pickle machine makes of the few globals it knows, and of persistent ids. Private to the reader.
 * Functions return NULL or what is wrong, as a clause for the machine's message. */
#ifndef AVS_ENGINE_TENSOR_PTH_REDUCE_H
#define AVS_ENGINE_TENSOR_PTH_REDUCE_H

#include "engine/tensor/pth_pickle.h"

/* x: an OPAQUE node with its name; becomes a GLOBAL if the name is allowed. */
void avs_pk_name_global(avs_pk_node *x);
/* f(args) into out, or *given when the result is one of the arguments. A DICT that comes back gets the pairs of the
 * first argument from the caller. */
const char *avs_pk_reduce(const avs_pk_node *f, const avs_pk_node *args, avs_pk_node *out,
                          avs_pk_node **given);
/* ("storage", type, key, location, numel[, view]) into x. */
const char *avs_pk_storage(const avs_pk_node *id, avs_pk_node *x);

#endif
