/* What a run says while it goes on: two live lines on a terminal, one line per 30 s otherwise. All on one descriptor
 * (stderr); events (failures, lost nodes) are ordinary lines above the live ones. */
#ifndef AVS_ORCHESTRATOR_PROGRESS_H
#define AVS_ORCHESTRATOR_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "orchestrator/coordinator.h"

typedef struct {
    int fd;
    bool live, quiet, shown;
    int width;
    int64_t start_ms, next_ms;
    int64_t window_ms[8]; /* end times and counts of the last eight periods, for the rate */
    int32_t window_done[8];
    int n_window;
    int64_t sampled_ms;
    char last_failure[160];
    char running[160]; /* "3fa92c 120/400 2.3/s" of the attempt that spoke last */
} avs_progress;

/* A terminal (and not TERM=dumb) gets live lines; quiet gives events only. */
void avs_progress_begin(avs_progress *p, int fd, bool quiet, int64_t now_ms);
/* Draws when it is time (four times a second, or once in 30 s); force: now. */
void avs_progress_show(avs_progress *p, const avs_coord_counts *c, int64_t now_ms, bool force);
int64_t avs_progress_next(const avs_progress *p); /* when show wants to be called */
/* One line above the live ones. */
void avs_progress_say(avs_progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void avs_progress_end(avs_progress *p); /* leaves the last line standing */

/* The line itself (no colour, no newline): "12/60 done, 2 running, 1 failed, 3.4/min, ETA 14 min". */
void avs_progress_line(const avs_progress *p, const avs_coord_counts *c, int64_t now_ms, avs_buf *out);

#endif
