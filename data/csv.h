/* Comma-separated files with a header line: RFC 4180 quoting, LF or CRLF, an optional UTF-8 mark at the
 * start. Every row has as many fields as the header; errors carry FILE:LINE. Strings belong to the arena. */
#ifndef AVS_DATA_CSV_H
#define AVS_DATA_CSV_H

#include <stddef.h>
#include "base/arena.h"
#include "base/err.h"

typedef struct {
    const char *what;    /* the file, for messages       */
    int n_cols, n_rows;  /* rows without the header      */
    const char **header; /* [n_cols]                     */
    const char **cell;   /* [n_rows * n_cols], row-major */
    int *line;           /* [n_rows] 1-based line of the row's start */
} avs_csv;

int avs_csv_parse(avs_csv *out, avs_arena *a, const char *what, const char *text, size_t n, avs_err *e);
int avs_csv_read(avs_csv *out, avs_arena *a, const char *path, avs_err *e);
int avs_csv_col(const avs_csv *c, const char *name); /* index or -1 */
static inline const char *avs_csv_at(const avs_csv *c, int row, int col)
{
    return c->cell[row * c->n_cols + col];
}

#endif
