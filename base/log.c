/* One event, one line, one write(2): lines of several threads or processes on one descriptor never interleave
 * (O_APPEND files, pipes up to PIPE_BUF). Times are UTC, so that the lines of several nodes sort together. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/fs.h"

int64_t avs_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t avs_wall_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void avs_log_line(const avs_log *log, avs_log_level level, const char *fmt, ...)
{
    if (!log || log->fd < 0 || level > log->level) return;
    char line[2048];
    int64_t ms = avs_wall_us() / 1000 % 86400000;
    int n = snprintf(line, sizeof line, "%02d:%02d:%02d.%03d %c %s%s", (int)(ms / 3600000),
                     (int)(ms / 60000 % 60), (int)(ms / 1000 % 60), (int)(ms % 1000), "EWID"[level],
                     log -> tag ? log -> tag : "", log->tag ? " " : "");
    if (n < 0 || (size_t)n >= sizeof line) return;
    size_t used = (size_t)n;
    va_list ap;
    va_start(ap, fmt);
    n = vsnprintf(line + used, sizeof line - used, fmt, ap);
    va_end(ap);
    if (n < 0) return;
    used += (size_t)n;
    if (used > sizeof line - 2) used = sizeof line - 2; /* room for the line end; a longer text is cut */
    for (size_t i = 0; i < used; i++)
        if (line[i] == '\n' || line[i] == '\r') line[i] = ' ';
    line[used++] = '\n';
    (void)avs_fs_full_write(log->fd, line, used);
}
