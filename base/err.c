/* Errors carry their message inside the struct, so that reporting a failure never allocates.
 * Formatting goes through a local buffer: arguments may point into e->msg itself. */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

/* Messages quote bytes of strangers (keys, names): a message is one line, and nothing in it drives a terminal. */
static void plain(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

int avs_fail_at(avs_err *e, const char *file, int line, avs_code code, const char *fmt, ...)
{
    if (!e) return (int)code;
    char text[sizeof e->msg];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    plain(text);
    e->code = code;
    e->line = line;
    e->file = file;
    memcpy(e->msg, text, sizeof text);
    return (int)code;
}

int avs_ctx(avs_err *e, const char *fmt, ...)
{
    if (!e) return (int)AVS_OK;
    if (e->code == AVS_OK) return (int)AVS_OK;
    char text[sizeof e->msg];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0) return (int)e->code;
    plain(text);
    size_t used = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    /* Two bytes of separator, then as much of the old message as fits. */
    for (const char *s = ": "; *s && used + 1 < sizeof text; s++) text[used++] = *s;
    size_t old = strnlen(e->msg, sizeof e->msg - 1);
    if (old > sizeof text - 1 - used) old = sizeof text - 1 - used;
    memcpy(text + used, e->msg, old);
    text[used + old] = '\0';
    memcpy(e->msg, text, used + old + 1);
    return (int)e->code;
}

const char *avs_code_name(avs_code code)
{
    switch (code) {
    case AVS_OK:
        return "ok";
    case AVS_ENOMEM:
        return "no memory";
    case AVS_EIO:
        return "i/o";
    case AVS_EPARSE:
        return "parse";
    case AVS_ESHAPE:
        return "shape";
    case AVS_ERANGE:
        return "range";
    case AVS_EMISSING:
        return "missing";
    case AVS_ELIB:
        return "library";
    case AVS_ECUDA:
        return "cuda";
    case AVS_EMPI:
        return "mpi";
    case AVS_EDB:
        return "database";
    case AVS_ECANCEL:
        return "cancelled";
    }
    return "unknown";
}
