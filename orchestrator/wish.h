/* Wishes: what `retry`, `cancel`, `pause` and `prioritise` ask of a coordinator that is running.
 *
 * A wish is a small JSON file in the folder DB.commands beside the database, put there by rename. The coordinator looks
 * into the folder several times a second, takes the files in order of their names (time, pid) and removes each when it
 * has acted. Where no coordinator lives, the command takes the lease itself and changes the database. Trials are named
 * by their number in the database, so a wish means the same to both. */
#ifndef AVS_ORCHESTRATOR_WISH_H
#define AVS_ORCHESTRATOR_WISH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"

typedef enum {
    AVS_WISH_RETRY,
    AVS_WISH_CANCEL,
    AVS_WISH_PAUSE,
    AVS_WISH_PRIORITISE,
    AVS_WISHES
} avs_wish_verb;
const char *avs_wish_word(avs_wish_verb v); /* "retry", .. */

typedef struct {
    avs_wish_verb verb;
    double priority; /* PRIORITISE */
    const int64_t *trials;
    size_t n;
} avs_wish;

/* Puts a wish there, durable; path[4096] gets the name of its file. AVS_EIO. */
int avs_wish_put(const char *db, const avs_wish *w, char path[4096], avs_err *e);

/* Calls take for every wish that lies there, oldest first, and removes it. A file that is no wish is put aside as
 * NAME.bad; *bad counts them. Costs one stat when nothing came. *stamp belongs to the caller, 0 at first. */
typedef void (*avs_wish_fn)(void *ctx, const avs_wish *w);
int avs_wish_take(const char *db, int64_t *stamp, avs_wish_fn take, void *ctx, int *bad, avs_err *e);

#endif
