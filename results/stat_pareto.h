/* Pareto fronts of points that carry an interval in both axes.
 *
 * front      no other point is at least as good in both axes and better in one, by the point estimates
 * dominated  some other point is better beyond doubt: its worse ends lie beyond this point's better ends in both axes
 * neither    another point looks better, but the intervals overlap in an axis: not decided by these measurements */
#ifndef AVS_RESULTS_STAT_PARETO_H
#define AVS_RESULTS_STAT_PARETO_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    double x, x_lo, x_hi, y, y_lo, y_hi; /* an end that is NaN counts as the point itself */
    bool is_front, is_dominated;         /* out */
} avs_pareto_point;

/* x_better, y_better: +1 more is better, -1 less. order: scratch for 2n numbers; on return the points of the front in
 * order of x come first, *n_front of them. Points with a NaN in x or y are in neither set. O(n log n). */
void avs_pareto(avs_pareto_point *p, size_t n, int x_better, int y_better, size_t *order, size_t *n_front);

#endif
