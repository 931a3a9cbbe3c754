/* Statistics of the cells: mean and t-interval over seeds, median and bootstrap for latency, the best of a column and
 * those that are not significantly worse, and differences from a baseline row. */
#include "results/query.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/rng.h"
#include "metrics/stats.h"

enum { BOOTSTRAP = 10000 };

static int ascending(const void *x, const void *y)
{
    double a, b;
    memcpy(&a, x, sizeof a);
    memcpy(&b, y, sizeof b);
    return (a > b) - (a < b);
}

static double median(double *sorted, int n)
{
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/* Half-width of the percentile bootstrap of the median over process repeats; fixed seed, so a report repeats. */
static double median_halfwidth(avs_arena *a, const double *x, int n, double level)
{
    double *draw = AVS_NEW_N(a, double, n), *medians = AVS_NEW_N(a, double, BOOTSTRAP);
    avs_rng r = avs_rng_seed(20240801);
    if (!draw || !medians) return (double)NAN;
    for (int b = 0; b < BOOTSTRAP; b++) {
        for (int i = 0; i < n; i++) draw[i] = x[avs_rng_range(&r, 0, n - 1)];
        qsort(draw, (size_t)n, sizeof *draw, ascending);
        medians[b] = median(draw, n);
    }
    qsort(medians, BOOTSTRAP, sizeof *medians, ascending);
    double tail = (1 - level) / 2;
    return (medians[(int)((BOOTSTRAP - 1) * (1 - tail))] - medians[(int)((BOOTSTRAP - 1) * tail)]) / 2;
}

static void summarise(avs_arena *a, const avs_q_column *c, avs_q_cell *x, double ci)
{
    x->is_same = true;
    for (int i = 1; i < x->n; i++) x->is_same = x->is_same && x->value[i] == x->value[0];
    x->mean = avs_mean(x->value, (size_t)x->n);
    x->sd = avs_sd(x->value, (size_t)x->n);
    x->half = avs_t_halfwidth(x->value, (size_t)x->n, ci / 100);
    if (!c->latency || x->n == 0) return;
    double *sorted = avs_arena_dup(a, x->value, (size_t)x->n * sizeof *sorted);
    if (!sorted) return;
    qsort(sorted, (size_t)x->n, sizeof *sorted, ascending);
    x->mean = median(sorted, x->n);
    x->half = x->n > 1 ? median_halfwidth(a, x->value, x->n, ci / 100) : (double)NAN;
}

/* A kind of trial (train, latency, ..) produces a metric when one of its trials has it; only those are expected to. */
static bool produces(const avs_table *t, const avs_q_column *c, const char *kind)
{
    bool any = false;
    for (int i = 0; i < t->n_trials; i++) {
        if (isnan(c->value[i]) || !avs_q_where_holds(&c->pin, &t->trial[i])) continue;
        any = true;
        if (strcmp(t->trial[i].cfg->kind, kind) == 0) return true;
    }
    return !any && (c->latency != NULL) == (strcmp(kind, "latency") == 0);
}

static bool expected_here(const avs_table *t, const avs_q_column *c, int i, const char **kinds, int *verdict,
                          int *n_kinds)
{
    const char *kind = t->trial[i].cfg->kind;
    int k = 0;
    while (k < *n_kinds && strcmp(kinds[k], kind) != 0) k++;
    if (k == *n_kinds) {
        if (k == 8) return true;
        kinds[k] = kind;
        verdict[(*n_kinds)++] = produces(t, c, kind);
    }
    return verdict[k] && avs_q_where_holds(&c->pin, &t->trial[i]);
}

static int fill_column(avs_arena *a, avs_table *t, int col, avs_err *e)
{
    const avs_q_column *c = &t->column[col];
    const char *kinds[8];
    int verdict[8], n_kinds = 0;
    int *fill = AVS_NEW_N(a, int, t->n_rows);
    bool *wanted = AVS_NEW_N(a, bool, t->n_trials);

    if (!fill || !wanted) return avs_fail(e, AVS_ENOMEM, "no memory for column %s", c->name);
    for (int i = 0; i < t->n_trials; i++) {
        avs_q_cell *x = &t->row[t->trial[i].row].cell[col];
        wanted[i] = expected_here(t, c, i, kinds, verdict, &n_kinds);
        x->expected += wanted[i];
        x->n += wanted[i] && !isnan(c->value[i]);
        x->is_flagged = x->is_flagged || (wanted[i] && c->flag[i]);
    }
    for (int r = 0; r < t->n_rows; r++) {
        avs_q_cell *x = &t->row[r].cell[col];
        x->value = AVS_NEW_N(a, double, x->n + 1);
        x->seed = AVS_NEW_N(a, int64_t, x->n + 1);
        if (!x->value || !x->seed) return avs_fail(e, AVS_ENOMEM, "no memory for column %s", c->name);
    }
    for (int i = 0; i < t->n_trials; i++) {
        if (!wanted[i] || isnan(c->value[i])) continue;
        avs_q_cell *x = &t->row[t->trial[i].row].cell[col];
        int at = fill[t->trial[i].row]++;
        while (at > 0 &&
               x->seed[at - 1] > t->trial[i].seed) { /* ordered by seed, in order of trials within one */
            x->seed[at] = x->seed[at - 1];
            x->value[at] = x->value[at - 1];
            at--;
        }
        x->seed[at] = t->trial[i].seed;
        x->value[at] = c->value[i];
    }
    for (int r = 0; r < t->n_rows; r++) summarise(a, c, &t->row[r].cell[col], t->ci);
    return AVS_OK;
}

/* Values of the seeds that two cells share, in pairs; a seed that occurs twice in a cell cannot be paired. */
static int common(const avs_q_cell *x, const avs_q_cell *y, double *u, double *v)
{
    int n = 0;
    for (int i = 0; i < x->n; i++) {
        if ((i > 0 && x->seed[i] == x->seed[i - 1]) || (i + 1 < x->n && x->seed[i] == x->seed[i + 1]))
            continue;
        int hits = 0, at = 0;
        for (int k = 0; k < y->n; k++) {
            if (y->seed[k] != x->seed[i]) continue;
            hits++;
            at = k;
        }
        if (hits != 1) continue;
        u[n] = x->value[i];
        v[n++] = y->value[at];
    }
    return n;
}

static bool is_constant(const avs_q_column *c)
{
    return c->unit == AVS_U_COUNT;
}

/* Returns how many rows were tested against the best one. */
static int mark_best(avs_arena *a, avs_table *t, int col)
{
    const avs_q_column *c = &t->column[col];
    int best = -1, with = 0, tested = 0;

    for (int r = 0; r < t->n_rows; r++) {
        const avs_q_cell *x = &t->row[r].cell[col];
        if (x->n == 0) continue;
        with++;
        if (best < 0 || (x->mean - t->row[best].cell[col].mean) * c->better > 0) best = r;
    }
    if (with < 2 || c->better == 0) return 0;
    avs_q_cell *top = &t->row[best].cell[col];
    bool differ = false; /* a column of equal numbers has no best */
    for (int r = 0; r < t->n_rows; r++)
        differ = differ || (t->row[r].cell[col].n && t->row[r].cell[col].mean != top->mean);
    if (!differ) return 0;
    for (int r = 0; r < t->n_rows; r++) /* equal cells are all best */
        t->row[r].cell[col].is_best = t->row[r].cell[col].n && t->row[r].cell[col].mean == top->mean;
    if (is_constant(c)) return 0;
    double *p = AVS_NEW_N(a, double, t->n_rows), *adjusted = AVS_NEW_N(a, double, t->n_rows);
    int *row = AVS_NEW_N(a, int, t->n_rows);
    double *u = AVS_NEW_N(a, double, top->n + 1), *v = AVS_NEW_N(a, double, top->n + 1);
    if (!p || !adjusted || !row || !u || !v) return 0;
    for (int r = 0; r < t->n_rows; r++) {
        if (t->row[r].cell[col].is_best || t->row[r].cell[col].n == 0) continue;
        int n = common(top, &t->row[r].cell[col], u, v);
        if (n < 2) continue;
        row[tested] = r;
        p[tested++] = avs_paired_t(u, v, (size_t)n, t->ci / 100).p;
    }
    avs_holm(p, (size_t)tested, adjusted);
    for (int i = 0; i < tested; i++) t->row[row[i]].cell[col].is_tied = adjusted[i] > 0.05;
    return tested;
}

static int compare_with_base(const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    avs_q_where where;
    int base = -1, rc = avs_q_where_parse(a, spec->baseline, &where, e);
    if (rc != AVS_OK) return rc;
    for (int i = 0; i < t->n_trials; i++) {
        if (!avs_q_where_holds(&where, &t->trial[i]) || t->trial[i].row == base) continue;
        if (base >= 0)
            return avs_fail(e, AVS_ERANGE, "the baseline '%s' matches more than one row; name more keys",
                            spec->baseline);
        base = t->trial[i].row;
    }
    if (base < 0) return avs_fail(e, AVS_EMISSING, "the baseline '%s' matches no row", spec->baseline);
    t->row[base].is_base = true;
    for (int col = 0; col < t->n_columns; col++) {
        const avs_q_cell *b = &t->row[base].cell[col];
        double *u = AVS_NEW_N(a, double, b->n + 1), *v = AVS_NEW_N(a, double, b->n + 1);
        if (!u || !v) return avs_fail(e, AVS_ENOMEM, "no memory to compare with the baseline");
        for (int r = 0; r < t->n_rows; r++) {
            avs_q_cell *x = &t->row[r].cell[col];
            if (r == base || x->n == 0 || b->n == 0 || is_constant(&t->column[col])) continue;
            int n = common(b, x, u, v);
            avs_paired d = avs_paired_t(v, u, (size_t)n, t->ci / 100);
            x->has_base = t->column[col].has_base = true;
            x->base_diff = n >= 2 ? d.diff : x->mean - b->mean;
            x->base_p = d.p;
        }
    }
    avs_q_note(t, a, "Differences are from the row %s; p by paired t over common seeds, not corrected.",
               spec->baseline);
    return AVS_OK;
}

/* qsort has no argument, and rows are few: insertion keeps the order of equal rows. */
static void sort_rows(avs_table *t, int col, avs_arena *a)
{
    int *place = AVS_NEW_N(a, int, t->n_rows), *now = AVS_NEW_N(a, int, t->n_rows);
    avs_q_row *sorted = AVS_NEW_N(a, avs_q_row, t->n_rows);
    if (!place || !now || !sorted) return;
    int sign = t->column[col].better < 0 ? -1 : 1;
    for (int r = 0; r < t->n_rows; r++) {
        const avs_q_cell *x = &t->row[r].cell[col];
        int at = r;
        for (; at > 0; at--) {
            const avs_q_cell *y = &t->row[place[at - 1]].cell[col];
            if (x->n == 0 || (y->n > 0 && sign * y->mean >= sign * x->mean)) break;
            place[at] = place[at - 1];
        }
        place[at] = r;
    }
    for (int r = 0; r < t->n_rows; r++) {
        sorted[r] = t->row[place[r]];
        now[place[r]] = r;
    }
    for (int i = 0; i < t->n_trials; i++) t->trial[i].row = now[t->trial[i].row];
    t->row = sorted;
}

/* A row that averages over several configurations says over which parameters. */
static void note_hidden_parameters(avs_arena *a, avs_table *t)
{
    char names[400] = "";
    size_t len = 0;
    int rows = 0;

    for (int r = 0; r < t->n_rows; r++) {
        const avs_q_config *first[8] = {0};
        for (int i = 0; i < t->n_trials; i++) {
            const avs_q_config *c = t->trial[i].cfg;
            if (t->trial[i].row != r) continue;
            int k = 0;
            while (k < 8 && first[k] && strcmp(first[k]->kind, c->kind) != 0) k++;
            if (k == 8) continue;
            if (!first[k]) {
                first[k] = c;
                t->row[r].n_configs = 1;
                continue;
            }
            if (first[k] == c) continue;
            for (const avs_json *p = c->params->first; p; p = p->next) {
                avs_q_trial x = {.cfg = c}, y = {.cfg = first[k]};
                const char *u = avs_q_text(&x, p->key), *v = avs_q_text(&y, p->key);
                int pins = 0; /* columns that pin this parameter: they do not average over it */
                for (int col = 0; col < t->n_columns; col++)
                    for (int j = 0; j < t->column[col].pin.n; j++)
                        pins += strcmp(t->column[col].pin.term[j].key, p->key) == 0;
                if (pins >= t->n_columns || (u && v && strcmp(u, v) == 0)) continue;
                rows += t->row[r].n_configs == 1;
                t->row[r].n_configs = 2;
                if (strstr(names, p->key) || len + strlen(p->key) + 3 > sizeof names) continue;
                len += (size_t)snprintf(names + len, sizeof names - len, "%s%s", len ? ", " : "", p->key);
            }
        }
    }
    if (rows)
        avs_q_note(t, a, "%d row%s average%s over trials that differ in: %s.", rows, rows == 1 ? "" : "s",
                   rows == 1 ? "s" : "", names);
}

int avs_q_cells(const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    int rc = AVS_OK, tested = 0, sort_col = -1;

    for (int r = 0; r < t->n_rows; r++) {
        t->row[r].cell = AVS_NEW_N(a, avs_q_cell, t->n_columns + 1);
        if (!t->row[r].cell) return avs_fail(e, AVS_ENOMEM, "no memory for %d rows", t->n_rows);
    }
    for (int c = 0; c < t->n_columns; c++) {
        AVS_TRY(fill_column(a, t, c, e));
        tested += mark_best(a, t, c);
        if (spec->sort && strcmp(spec->sort, t->column[c].name) == 0) sort_col = c;
    }
    if (spec->sort && sort_col < 0)
        return avs_fail(e, AVS_EMISSING, "the report cannot be sorted by '%s': it is not one of its columns",
                        spec->sort);
    if (spec->baseline) AVS_TRY(compare_with_base(spec, a, t, e));
    if (sort_col >= 0) sort_rows(t, sort_col, a);
    if (spec->top > 0 && t->n_rows > spec->top) {
        t->n_hidden = t->n_rows - spec->top;
        t->n_rows = spec->top;
    }
    note_hidden_parameters(a, t);
    if (tested)
        avs_q_note(
            t, a,
            "Not significantly worse than the best: paired t over common seeds, Holm-corrected over each "
            "column, 0.05 (%d comparisons).",
            tested);
out:
    return rc;
}
