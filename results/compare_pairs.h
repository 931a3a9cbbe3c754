/* The pairs of a comparison and everything their printers need. Private to this room. */
#ifndef AVS_RESULTS_COMPARE_PAIRS_H
#define AVS_RESULTS_COMPARE_PAIRS_H

#include "results/compare.h"
#include "results/query.h"

typedef struct {
    const avs_q_row *a, *b;
    const avs_q_cell *cell_a, *cell_b;
    avs_compare_result r;
    avs_verdict verdict;
} avs_compare_pair;

typedef struct {
    const avs_compare_spec *spec;
    avs_arena *arena;
    const char **by;
    size_t n_by;
    avs_table a, b;
    avs_compare_pair *pairs;
    int n_pairs, only_a, only_b; /* rows without a partner, rows that have a number only */
    double level;                /* of each interval, so that all hold together */
} avs_comparison;

/* In the format of the specification. AVS_ENOMEM. */
int avs_compare_write(avs_comparison *c, const int verdicts[AVS_VERDICTS], avs_buf *out, avs_err *e);
/* Differences with their intervals, a line for each pair (compare_plot.c). is_file: a file of its own. */
void avs_compare_plot(const avs_comparison *c, const char *title, bool is_file, avs_buf *out);
/* "8 · cross": the keys of a pair that tell it from the others; "all" where there is one pair and no key. */
const char *avs_compare_label(const avs_comparison *c, const avs_compare_pair *x, size_t width);

#endif
