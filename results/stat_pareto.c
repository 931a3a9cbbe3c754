/* One sweep over the points sorted from the better to the worse x, keeping the best y so far, gives the front; a second one
 * over sorted ends gives those that are dominated beyond doubt. */
#include "results/stat_pareto.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

typedef enum { CENTRE, BETTER_END, WORSE_END } which;

typedef struct {
    const avs_pareto_point *p;
    int sx, sy; /* sign: value * sign grows with quality */
    which x;    /* what to sort by */
} context;

static double x_of(const context *c, size_t i, which w)
{
    const avs_pareto_point *p = &c->p[i];
    const double end = (w == BETTER_END) == (c->sx > 0) ? p->x_hi : p->x_lo;
    return c->sx * (w == CENTRE || isnan(end) ? p->x : end);
}

static double y_of(const context *c, size_t i, which w)
{
    const avs_pareto_point *p = &c->p[i];
    const double end = (w == BETTER_END) == (c->sy > 0) ? p->y_hi : p->y_lo;
    return c->sy * (w == CENTRE || isnan(end) ? p->y : end);
}

/* Better x first, then better y, then place; points without a number last. */
static int better_first(const void *u, const void *v, void *context_)
{
    const context *c = context_;
    const size_t i = *(const size_t *)u, k = *(const size_t *)v;
    const bool gone_i = isnan(c->p[i].x) || isnan(c->p[i].y), gone_k = isnan(c->p[k].x) || isnan(c->p[k].y);
    if (gone_i || gone_k) return gone_i - gone_k;
    const double a = x_of(c, i, c->x), b = x_of(c, k, c->x), ya = y_of(c, i, CENTRE), yb = y_of(c, k, CENTRE);
    if (a != b) return a > b ? -1 : 1;
    if (ya != yb) return ya > yb ? -1 : 1;
    return (i > k) - (i < k);
}

static size_t sort(context *c, size_t *order, size_t n, which x)
{
    size_t known = 0;
    for (size_t i = 0; i < n; i++) {
        order[i] = i;
        known += !isnan(c->p[i].x) && !isnan(c->p[i].y);
    }
    c->x = x;
    qsort_r(order, n, sizeof *order, better_first, c);
    return known;
}

/* For every point: is there another whose worse x end is better than its better x end, and the same in y? The points by
 * their worse ends stream past the points by their better ends; only the best worse y end seen so far matters. */
static void mark_dominated(context *c, avs_pareto_point *p, size_t n, size_t *order)
{
    size_t known = sort(c, order, n, WORSE_END), *by_worse = order, *by_better = order + n, at = 0;
    sort(c, by_better, n, BETTER_END);
    double best = -INFINITY;
    for (size_t k = 0; k < known; k++) {
        const size_t i = by_better[k];
        while (at < known && x_of(c, by_worse[at], WORSE_END) > x_of(c, i, BETTER_END))
            best = fmax(best, y_of(c, by_worse[at++], WORSE_END));
        p[i].is_dominated = best > y_of(c, i, BETTER_END);
    }
}

void avs_pareto(avs_pareto_point *p, size_t n, int x_better, int y_better, size_t *order, size_t *n_front)
{
    context c = {.p = p, .sx = x_better < 0 ? -1 : 1, .sy = y_better < 0 ? -1 : 1};
    size_t front = 0;

    for (size_t i = 0; i < n; i++) p[i].is_front = p[i].is_dominated = false;
    mark_dominated(&c, p, n, order);
    const size_t known = sort(&c, order, n, CENTRE);
    double best = -INFINITY, at_x = 0;
    for (size_t k = 0; k < known; k++) {
        const size_t i = order[k];
        const double x = x_of(&c, i, CENTRE), y = y_of(&c, i, CENTRE);
        p[i].is_front = y > best || (y == best && x == at_x && front > 0);
        if (!p[i].is_front) continue;
        best = y;
        at_x = x;
        order[front++] = i;
    }
    if (c.sx < 0 || n_front == NULL) {
        if (n_front) *n_front = front;
        return;
    }
    for (size_t i = 0; i < front / 2; i++) { /* more is better: the sweep ran downwards in x */
        const size_t swap = order[i];
        order[i] = order[front - 1 - i];
        order[front - 1 - i] = swap;
    }
    *n_front = front;
}
