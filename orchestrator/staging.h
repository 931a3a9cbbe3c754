/* What trials have said but what is not stored yet: results, points, latency samples, artefacts per attempt.
 *
 * Results become part of the table only when their attempt is done, so they wait here; points are handed to the store
 * while the attempt runs. Entries are named by (peer, attempt, epoch): a late attempt and its successor never mix.
 * Everything is copied. Thread rules: one thread. */
#ifndef AVS_ORCHESTRATOR_STAGING_H
#define AVS_ORCHESTRATOR_STAGING_H

#include "base/frame.h"
#include "results/store.h"

typedef struct avs_staging avs_staging;
typedef struct avs_staged avs_staged;

avs_staging *avs_staging_new(void); /* NULL: memory is out */
void avs_staging_free(avs_staging *s);

/* Takes one frame of a trial (types 1..63). Fields that make no sense are refused in words: the entry is then bad and
 * its attempt must not become done. AVS_ENOMEM only. */
int avs_staging_add(avs_staging *s, int peer, const avs_frame *f, avs_err *e);
avs_staged *avs_staging_find(avs_staging *s, int peer, uint64_t attempt,
                             uint32_t epoch);    /* NULL: nothing said */
const char *avs_staged_bad(const avs_staged *g); /* NULL: all is well  */

/* Adds what the node was like to its latencies: flags AVS_LAT_*, json an object or NULL. All flags that they have then; 0
 * without latencies. */
int avs_staged_disturbed(avs_staged *g, int flags, const char *json);

/* Fills results, points, latencies, artifacts, env_json, resumed_from and pid of *end; pointers stay valid until the entry is
 * dropped or grows. */
void avs_staged_fill(const avs_staged *g, avs_store_end *end);
/* Points not handed out yet; *n may be 0. */
const avs_store_point *avs_staged_points(const avs_staged *g, size_t *n);
void avs_staged_points_stored(avs_staged *g);

void avs_staging_drop(avs_staging *s, int peer, uint64_t attempt, uint32_t epoch);

#endif
