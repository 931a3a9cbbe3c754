/* Published numbers: the papers' tables beside our own.
 *
 * The library carries results/published.csv (columns source, arxiv, table, method, backbone, setting,
 * variant, metric, value, unit, hardware). Import maps the words of each row to parameters (the mapping of
 * the parameter specification, "published rows as parameters") and stores rows whose method this project
 * builds; the others are counted. A published row matches a report row when every parameter it names has that
 * value in the row's config. Percent and millions become fractions and counts, milliseconds nanoseconds, so
 * that `delta` compares like with like. */
#ifndef AVS_RESULTS_PUBLISHED_H
#define AVS_RESULTS_PUBLISHED_H

#include <stddef.h>
#include "results/store.h"

typedef struct {
    size_t rows;     /* data rows of the file                             */
    size_t stored;   /* rows with a mapping, now in table `published`     */
    size_t unmapped; /* rows of methods or settings that are not built    */
} avs_published_count;

/* Replaces all rows that came from the built-in table. Idempotent; done when a store is created. *count may be NULL. */
int avs_published_import(avs_store *s, avs_published_count *count, avs_err *e);
/* The same from text (tests, newer tables). Errors: AVS_EPARSE with line for wrong columns, quoting or
 * numbers. */
int avs_published_import_csv(avs_store *s, const char *what, const char *text, size_t len,
                             avs_published_count *count, avs_err *e);

/* `report.published` of a sweep file: JSON {"source": "..", "rows": [{"where": {..}, "miou": 79.9, ..}, ..]}, or a
 * list of such; values of miou and fscore are in percent. Replaces earlier rows of the same source. Errors: AVS_EPARSE. */
int avs_published_add_json(avs_store *s, const char *json, avs_err *e);

#endif
