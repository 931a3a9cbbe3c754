/* Errors: one type, filled once at the place that knows most; callers prepend context, never overwrite.
 *
 * A function that can fail returns int (an avs_code, 0 = AVS_OK) and takes avs_err * last. The pointer may be
 * NULL when the caller wants the code alone. A message is a sentence: what was expected, what was found, where.
 * Thread rules: an avs_err belongs to one thread at a time. */
#ifndef AVS_BASE_ERR_H
#define AVS_BASE_ERR_H

#include <stdarg.h>

typedef enum {
    AVS_OK = 0,
    AVS_ENOMEM,   /* an allocation failed                                     */
    AVS_EIO,      /* the operating system refused: open, read, write, rename  */
    AVS_EPARSE,   /* bytes that are not what their format says                */
    AVS_ESHAPE,   /* tensor extents or dtypes that do not fit                 */
    AVS_ERANGE,   /* a value outside its range                                */
    AVS_EMISSING, /* a key, file, column or peer that should be there         */
    AVS_ELIB,     /* a library call failed (its own text is in the message)   */
    AVS_ECUDA,
    AVS_EMPI,
    AVS_EDB,
    AVS_ECANCEL /* stopped on request                                       */
} avs_code;

typedef struct {
    avs_code code;
    int line;         /* source line that failed (of avsweep, not of the input) */
    const char *file; /* static string                                          */
    char msg[480];    /* NUL-terminated, truncated if longer                    */
} avs_err;

#define AVS_ERR_INIT ((avs_err){.code = AVS_OK})

/* Sets *e and returns code. Use through avs_fail. */
int avs_fail_at(avs_err *e, const char *file, int line, avs_code code, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* A failure is never AVS_OK, whatever code it was given; said where every caller (and every analyser) can see it. */
static inline int avs_failure(int code)
{
    return code == AVS_OK ? AVS_ELIB : code;
}
#define avs_fail(e, code, ...) avs_failure(avs_fail_at((e), __FILE__, __LINE__, (code), __VA_ARGS__))

/* Prepends "fmt: " to e->msg and returns e->code (AVS_OK is left alone). */
int avs_ctx(avs_err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "ok", "no memory", "i/o", .. : a fixed word for logs. */
const char *avs_code_name(avs_code code);

/* For functions with one exit label `out` and a local `int rc`. */
#define AVS_TRY(x)                                                                                           \
    do {                                                                                                     \
        if ((rc = (x)) != AVS_OK) goto out;                                                                  \
    } while (0)

#endif
