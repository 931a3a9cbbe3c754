/* Log: one line per event, human first, key=value: `12:03:07.412 W rank=2 step=1200 loss=0.3127`.
 * Levels: E someone must act, W a result may be affected, I milestones, D development.
 * Thread rules: avs_log_line writes one line with one write(2), any thread may call it. */
#ifndef AVS_BASE_LOG_H
#define AVS_BASE_LOG_H

#include <stdint.h>

typedef enum { AVS_LOG_E, AVS_LOG_W, AVS_LOG_I, AVS_LOG_D } avs_log_level;

typedef struct avs_log {
    int fd;              /* where lines go; -1: nowhere                          */
    avs_log_level level; /* lines above this level are dropped                   */
    const char *tag;     /* put after the level ("rank=0"), may be NULL          */
} avs_log;

void avs_log_line(const avs_log *log, avs_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Clocks used everywhere: monotonic for durations, wall for time stamps (microseconds UTC). */
int64_t avs_now_ns(void);
int64_t avs_wall_us(void);

#endif
