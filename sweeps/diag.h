/* Diagnostics of a sweep file: every problem with its place, all of them at once.
 *
 *   FILE:LINE:COL: error[E012]: what
 *      9 |       num_querys: [8, 16]
 *        |       ^~~~~~~~~~
 *   help: did you mean 'num_queries'?
 *
 * At most 20 errors and 20 warnings are kept; the rest are counted. The same problem at the same place is kept once.
 * Lines and columns count from 1, columns in characters. Ownership: everything belongs to the arena of the diag. */
#ifndef AVS_SWEEPS_DIAG_H
#define AVS_SWEEPS_DIAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"

typedef struct {
    const char *path; /* as the user wrote it                       */
    const char *text; /* whole file, without a byte order mark      */
    size_t len;
    bool is_option; /* the text of a --set, not a file            */
} avs_source;

typedef struct {
    const avs_source *src;
    uint32_t line, col, len; /* len: characters on that line, 0 or 1 for a point */
} avs_pos;

typedef struct {
    const char *code; /* "E012" or "W031" */
    avs_pos pos;
    const char *text, *help; /* help may be NULL */
} avs_diag_item;

enum { AVS_DIAG_MAX = 20 };

typedef struct {
    avs_arena *a;
    avs_diag_item errors[AVS_DIAG_MAX], warnings[AVS_DIAG_MAX];
    int n_errors, n_warnings; /* found, which may be more than are kept */
    bool no_memory;
} avs_diag;

void avs_diag_init(avs_diag *d, avs_arena *a);
/* help may be NULL. Codes that begin with W are warnings. */
void avs_diag_add(avs_diag *d, const char *code, avs_pos pos, const char *help, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* Bytes of the line break at p, before end, as YAML has them (LF, CR, CRLF, NEL, LS, PS); 0: none. */
size_t avs_line_break(const char *p, const char *end);
/* Line `line` (from 1) without its end, with the line breaks that YAML knows. NULL: there is no such line. */
const char *avs_source_line(const avs_source *src, uint32_t line, size_t *len);
bool avs_diag_full(const avs_diag *d); /* no more errors are kept: stop looking */
/* Everything in the order of the file: errors, then warnings. */
void avs_diag_write(const avs_diag *d, avs_buf *out);

#endif
