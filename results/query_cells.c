/* Statistics of the cells: mean and t-interval over seeds, the best of a column and those that are not significantly worse,
 * differences from a baseline row, and the order of rows. Latency cells get theirs in query_latency.c. */
#include "results/query.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "metrics/stats.h"

enum { KNOWN_DF = 256, WILCOXON_FROM = 10 };
static const double FAMILY = 0.05; /* error rate of the tests of one column */

/* Critical values by degrees of freedom, computed when first needed. */
typedef struct {
    double level, t[KNOWN_DF];
} critical;

static double critical_t(critical *k, int df)
{
    if (df >= KNOWN_DF) return avs_t_quantile(0.5 + k->level / 2, df);
    if (k->t[df] == 0) k->t[df] = avs_t_quantile(0.5 + k->level / 2, df);
    return k->t[df];
}

static void summarise(avs_q_cell *x, critical *k)
{
    x->is_same = true;
    for (int i = 1; i < x->n; i++) x->is_same = x->is_same && x->value[i] == x->value[0];
    x->mean = avs_mean(x->value, (size_t)x->n);
    x->sd = avs_sd(x->value, (size_t)x->n);
    x->half = x->n > 1 ? critical_t(k, x->n - 1) * x->sd / sqrt((double)x->n) : (double)NAN;
    x->lo = x->mean - x->half;
    x->hi = x->mean + x->half;
    x->best_p = (double)NAN;
}

/* A kind of trial (train, latency, ..) produces a metric when one of its trials has it; only those are expected to. */
typedef struct {
    const char *kind[16];
    bool produces[16];
    int n;
    bool any;
} producers;

static void find_producers(const avs_table *t, const avs_q_column *c, const bool *holds, producers *p)
{
    *p = (producers){.n = 0};
    for (int i = 0; i < t->n_trials; i++) {
        int k = 0;
        while (k < p->n && p->kind[k] != t->trial[i].cfg->kind) k++;
        if (k == p->n && k < 16) p->kind[p->n++] = t->trial[i].cfg->kind;
        if (k == 16 || !holds[i] || (isnan(c->value[i]) && !c->flag[i])) continue;
        p->produces[k] = p->any = true;
    }
}

static bool produces(const producers *p, const avs_q_column *c, const char *kind)
{
    for (int k = 0; k < p->n; k++)
        if (p->kind[k] == kind)
            return p->any ? p->produces[k] : (c->latency != NULL) == (strcmp(kind, "latency") == 0);
    return true;
}

/* Values of a cell: a piece of the column where nothing is missing, else a copy of those that are there. */
static int gather(avs_arena *a, const avs_table *t, const avs_q_column *c, const avs_q_row *r,
                  const bool *wanted, avs_q_cell *x)
{
    const int from = r->first_trial, to = from + r->n_trials;
    for (int i = from; i < to; i++) {
        if (!wanted[i]) continue;
        x->expected++;
        x->n += !isnan(c->value[i]);
        x->suspect += c->flag[i] && isnan(c->value[i]);
        x->is_flagged = x->is_flagged || (c->flag[i] && !isnan(c->value[i]));
    }
    x->value = c->value + from;
    x->seed = t->seed + from;
    if (x->n == r->n_trials || x->n == 0) return AVS_OK;
    double *value = AVS_NEW_N(a, double, x->n);
    int64_t *seed = AVS_NEW_N(a, int64_t, x->n);
    if (!value || !seed) return AVS_ENOMEM;
    x->value = value;
    x->seed = seed;
    for (int i = from; i < to; i++) {
        if (!wanted[i] || isnan(c->value[i])) continue;
        *value++ = c->value[i];
        *seed++ = t->seed[i];
    }
    return AVS_OK;
}

/* Cells of a column for every row, latency without intervals. */
static int fill_column(avs_arena *a, avs_table *t, int col, critical *k, avs_q_cell *cell, avs_err *e)
{
    avs_q_column *c = &t->column[col];
    producers p;
    int rc = AVS_OK;
    bool *wanted = avs_xalloc((size_t)t->n_trials);

    if (!wanted) return avs_fail(e, AVS_ENOMEM, "no memory for column %s", c->name);
    avs_q_select(t, &c->pin, wanted);
    find_producers(t, c, wanted, &p);
    for (int i = 0; i < t->n_trials; i++) wanted[i] = wanted[i] && produces(&p, c, t->trial[i].cfg->kind);
    for (int r = 0; r < t->n_rows; r++) {
        cell[r] = (avs_q_cell){0};
        if (gather(a, t, c, &t->row[r], wanted, &cell[r]) != AVS_OK) {
            rc = avs_fail(e, AVS_ENOMEM, "no memory for column %s", c->name);
            goto out;
        }
        summarise(&cell[r], k);
    }
    if (c->latency) AVS_TRY(avs_q_latency_medians(t, cell, e));
out:
    avs_xfree(wanted);
    return rc;
}

static bool is_alone(const avs_q_cell *x, int i)
{
    return (i == 0 || x->seed[i] != x->seed[i - 1]) && (i + 1 == x->n || x->seed[i] != x->seed[i + 1]);
}

int avs_q_common(const avs_q_cell *x, const avs_q_cell *y, double *u, double *v)
{
    int n = 0;
    for (int i = 0, k = 0; i < x->n && k < y->n;) {
        if (x->seed[i] < y->seed[k]) {
            i++;
        } else if (x->seed[i] > y->seed[k]) {
            k++;
        } else {
            if (is_alone(x, i) && is_alone(y, k)) {
                u[n] = x->value[i];
                v[n++] = y->value[k];
            }
            i++;
            k++;
        }
    }
    return n;
}

static bool is_constant(const avs_q_column *c)
{
    return c->unit == AVS_U_COUNT;
}

/* Room for the tests of one column against one cell. */
typedef struct {
    double *u, *v, *p, *adjusted;
    size_t *order;
    int *row, n;                         /* rows tested */
    int least, most, wilcoxon, untested; /* common seeds; tests by ranks; cells without two common seeds */
} tests;

static void tests_free(tests *w)
{
    avs_xfree(w->u);
    avs_xfree(w->v);
    avs_xfree(w->p);
    avs_xfree(w->adjusted);
    avs_xfree(w->order);
    avs_xfree(w->row);
}

static int tests_init(tests *w, int rows, int n, avs_err *e)
{
    const size_t r = (size_t)rows + 1;
    w->u = avs_xalloc(((size_t)n + 1) * sizeof *w->u);
    w->v = avs_xalloc(((size_t)n + 1) * sizeof *w->v);
    w->p = avs_xalloc(r * sizeof *w->p);
    w->adjusted = avs_xalloc(r * sizeof *w->adjusted);
    w->order = avs_xalloc(r * sizeof *w->order);
    w->row = avs_xalloc(r * sizeof *w->row);
    w->n = 0;
    if (w->u && w->v && w->p && w->adjusted && w->order && w->row) return AVS_OK;
    tests_free(w);
    *w = (tests){0};
    return avs_fail(e, AVS_ENOMEM, "no memory to test %d rows", rows);
}

/* p of x against the cell `with`; the pairs are left in u (with) and v (x). NaN: fewer than two common seeds. */
static double test(tests *w, const avs_report_spec *spec, const avs_q_cell *with, const avs_q_cell *x, int *n)
{
    *n = avs_q_common(with, x, w->u, w->v);
    if (*n < 2) {
        w->untested++;
        return (double)NAN;
    }
    if (!w->least || *n < w->least) w->least = *n;
    if (*n > w->most) w->most = *n;
    if (!spec->nonparametric || *n < WILCOXON_FROM) return avs_paired_p(w->u, w->v, (size_t)*n);
    for (int i = 0; i < *n; i++) w->u[i] -= w->v[i];
    w->wilcoxon++;
    return avs_wilcoxon(w->u, (size_t)*n);
}

/* Marks the best cells of a column and tests the others against the best; sum: over columns. */
static int mark_best(const avs_report_spec *spec, const avs_table *t, int col, avs_q_cell *cell, tests *sum,
                     avs_err *e)
{
    const avs_q_column *c = &t->column[col];
    tests w = {0};
    int best = -1, with = 0, n;
    bool differ = false; /* a column of equal numbers has no best */

    for (int r = 0; r < t->n_rows; r++) {
        if (cell[r].n == 0) continue;
        with++;
        differ = differ || (best >= 0 && cell[r].mean != cell[best].mean);
        if (best < 0 || (cell[r].mean - cell[best].mean) * c->better > 0) best = r;
    }
    if (with < 2 || c->better == 0 || !differ) return AVS_OK;
    const avs_q_cell *top = &cell[best];
    for (int r = 0; r < t->n_rows; r++) /* equal cells are all best */
        cell[r].is_best = cell[r].is_tested = cell[r].n && cell[r].mean == top->mean;
    if (is_constant(c)) return AVS_OK;
    int rc = tests_init(&w, t->n_rows, top->n, e);
    if (rc != AVS_OK) return rc;
    for (int r = 0; r < t->n_rows; r++) {
        if (cell[r].is_best || cell[r].n == 0) continue;
        const double p = test(&w, spec, top, &cell[r], &n);
        if (isnan(p)) continue;
        w.row[w.n] = r;
        w.p[w.n++] = p;
    }
    avs_holm(w.p, (size_t)w.n, w.adjusted, w.order);
    for (int i = 0; i < w.n; i++) {
        avs_q_cell *x = &cell[w.row[i]];
        x->best_p = w.adjusted[i];
        x->is_tested = true;
        x->is_tied = w.adjusted[i] > FAMILY;
    }
    if (w.n && (!sum->least || w.least < sum->least)) sum->least = w.least;
    if (w.most > sum->most) sum->most = w.most;
    sum->n += w.n;
    sum->wilcoxon += w.wilcoxon;
    sum->untested += w.untested;
    tests_free(&w);
    return AVS_OK;
}

static int find_base(const avs_report_spec *spec, avs_arena *a, avs_table *t, int *base, avs_err *e)
{
    avs_q_where where;
    int rc = avs_q_where_parse(a, spec->baseline, &where, e);
    *base = -1;
    if (rc != AVS_OK) return rc;
    for (int i = 0; i < t->n_trials; i++) {
        if (t->trial[i].row == *base || !avs_q_where_holds(&where, &t->trial[i])) continue;
        if (*base >= 0)
            return avs_fail(e, AVS_ERANGE, "the baseline '%s' matches more than one row; name more keys",
                            spec->baseline);
        *base = t->trial[i].row;
    }
    if (*base >= 0)
        t->row[*base].is_base = true;
    else if (t->is_from_block) /* the sweep file asks for it in every report, also of trials that lack it */
        avs_q_note(t, a, "The baseline '%s' of the sweep file matches no row.", spec->baseline);
    else
        return avs_fail(e, AVS_EMISSING, "the baseline '%s' matches no row", spec->baseline);
    return AVS_OK;
}

static int base_column(const avs_report_spec *spec, avs_arena *a, avs_table *t, int base, int col,
                       avs_q_cell *cell, avs_err *e)
{
    const avs_q_cell *b = &cell[base];
    tests w = {0};
    int n, rc;

    if (b->n == 0 || is_constant(&t->column[col])) return AVS_OK;
    if ((rc = tests_init(&w, t->n_rows, b->n, e)) != AVS_OK) return rc;
    for (int r = 0; r < t->n_rows; r++) {
        avs_q_cell *x = &cell[r];
        if (r == base || x->n == 0) continue;
        avs_q_base *d = AVS_NEW_N(a, avs_q_base, 1);
        if (!d) {
            rc = avs_fail(e, AVS_ENOMEM, "no memory to compare with the baseline");
            goto out;
        }
        const double p = test(&w, spec, b, x, &n);
        n = avs_q_common(b, x, w.u, w.v);
        const avs_paired pair = avs_paired_t(w.v, w.u, (size_t)n, t->ci / 100);
        *d = (avs_q_base){n >= 2 ? pair.diff : x->mean - b->mean, pair.lo, pair.hi, (double)NAN, n};
        x->base = d;
        x->has_base = t->column[col].has_base = true;
        w.row[w.n] = r;
        w.p[w.n++] = p;
    }
    avs_holm(w.p, (size_t)w.n, w.adjusted, w.order);
    for (int i = 0; i < w.n; i++) ((avs_q_base *)(uintptr_t)cell[w.row[i]].base)->p = w.adjusted[i];
out:
    tests_free(&w);
    return rc;
}

typedef struct {
    const avs_q_cell *cell;
    int sign;
} row_order;

/* Best first; rows without a number last; equal rows as they were. */
static int better_row(const void *x, const void *y, void *order)
{
    const row_order *o = order;
    const int i = *(const int *)x, k = *(const int *)y;
    const avs_q_cell *a = &o->cell[i], *b = &o->cell[k];
    if (!a->n || !b->n) return a->n || b->n ? (a->n ? -1 : 1) : i - k;
    if (a->mean != b->mean) return (a->mean > b->mean) == (o->sign > 0) ? -1 : 1;
    return i - k;
}

/* By the cells of one column; in place. */
static int sort_rows(avs_table *t, int col, const avs_q_cell *cell, avs_err *e)
{
    int *place = avs_xalloc((size_t)t->n_rows * 2 * sizeof *place), *now = place ? place + t->n_rows : NULL;
    avs_q_row *sorted = avs_xalloc((size_t)t->n_rows * sizeof *sorted);
    row_order order = {cell, t->column[col].better < 0 ? -1 : 1};
    int rc = AVS_OK;

    if (!place || !sorted) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory to sort %d rows", t->n_rows);
        goto out;
    }
    for (int r = 0; r < t->n_rows; r++) place[r] = r;
    qsort_r(place, (size_t)t->n_rows, sizeof *place, better_row, &order);
    for (int r = 0; r < t->n_rows; r++) {
        sorted[r] = t->row[place[r]];
        now[place[r]] = r;
    }
    for (int i = 0; i < t->n_trials; i++) t->trial[i].row = now[t->trial[i].row];
    memcpy(t->row, sorted, (size_t)t->n_rows * sizeof *sorted);
out:
    avs_xfree(place);
    avs_xfree(sorted);
    return rc;
}

/* Parameters over which rows average. */
typedef struct {
    char names[400];
    size_t len;
    int rows;
} hidden;

/* The columns (the first 64) in which trial i counts: it has a number there and fits the pins. */
static uint64_t columns_of(const avs_table *t, int i)
{
    uint64_t columns = 0;
    for (int col = 0; col < t->n_columns && col < 64; col++)
        if (!isnan(t->column[col].value[i]) && avs_q_where_holds(&t->column[col].pin, &t->trial[i]))
            columns |= (uint64_t)1 << col;
    return columns;
}

static void add_hidden(const avs_q_config *c, const avs_q_config *first, avs_q_row *r, hidden *h)
{
    const avs_q_trial x = {.cfg = c}, y = {.cfg = first};
    if (c->shape == first->shape &&
        memcmp(c->value, first->value, (size_t)c->shape->n * sizeof *c->value) == 0)
        return;
    for (int i = 0; i < c->shape->n; i++) {
        const char *key = c->shape->key[i];
        if (c->shape == first->shape && c->value[i] == first->value[i]) continue;
        const char *u = avs_q_text(&x, key), *v = avs_q_text(&y, key);
        if (u && v && strcmp(u, v) == 0) continue;
        h->rows += r->n_configs == 1;
        r->n_configs = 2;
        if (strstr(h->names, key) || h->len + strlen(key) + 3 > sizeof h->names) continue;
        h->len +=
            (size_t)snprintf(h->names + h->len, sizeof h->names - h->len, "%s%s", h->len ? ", " : "", key);
    }
}

/* A row that averages over several configurations says over which parameters. */
static void note_hidden_parameters(avs_arena *a, avs_table *t)
{
    enum { FIRSTS = 16 };
    hidden h = {.names = ""};
    for (int r = 0; r < t->n_rows; r++) {
        avs_q_row *row = &t->row[r];
        const avs_q_config *first[FIRSTS] = {0}, *last = NULL; /* of each kind and each set of columns */
        uint64_t columns[FIRSTS], last_columns = 0;
        for (int i = row->first_trial; i < row->first_trial + row->n_trials; i++) {
            const avs_q_config *c = t->trial[i].cfg;
            int k = 0;
            const uint64_t own = columns_of(t, i);
            bool known = false;
            if (c == last && (own & ~last_columns) == 0) continue;
            last = c;
            last_columns = own;
            for (; k < FIRSTS && first[k]; k++) {
                if (first[k]->kind != c->kind) continue;
                if ((columns[k] & own) && first[k] != c) add_hidden(c, first[k], row, &h);
                known = known || columns[k] == own;
            }
            row->n_configs = row->n_configs > 1 ? row->n_configs : 1;
            if (known || k == FIRSTS) continue;
            first[k] = c;
            columns[k] = own;
        }
    }
    if (h.rows)
        avs_q_note(t, a, "%d row%s average%s over trials that differ in: %s.", h.rows, h.rows == 1 ? "" : "s",
                   h.rows == 1 ? "s" : "", h.names);
}

static void note_tests(const tests *w, const avs_report_spec *spec, avs_arena *a, avs_table *t)
{
    char seeds[48];
    if (w->n == 0) return;
    if (w->least == w->most)
        snprintf(seeds, sizeof seeds, "n = %d", w->most);
    else
        snprintf(seeds, sizeof seeds, "n = %d to %d", w->least, w->most);
    avs_q_note(
        t, a,
        "Not significantly worse than the best: paired %s over common seeds (%s), Holm-corrected over each "
        "column, 0.05 (%d comparison%s).",
        !spec->nonparametric || !w->wilcoxon ? "t"
        : w->wilcoxon == w->n                ? "Wilcoxon"
                                             : "t, Wilcoxon from n = 10 on,",
        seeds, w->n, w->n == 1 ? "" : "s");
    if (w->untested)
        avs_q_note(t, a, "%d cell%s not tested against the best: fewer than two common seeds.", w->untested,
                   w->untested == 1 ? " is" : "s are");
}

/* The rows in their final order; *kept of them will be shown. cell: room for a column. */
static int order_rows(const avs_report_spec *spec, avs_arena *a, avs_table *t, critical *k, avs_q_cell *cell,
                      int *kept, avs_err *e)
{
    int col = -1, rc = AVS_OK;
    for (int c = 0; c < t->n_columns && spec->sort; c++)
        if (strcmp(spec->sort, t->column[c].name) == 0) col = c;
    if (spec->sort && col < 0)
        return avs_fail(e, AVS_EMISSING, "the report cannot be sorted by '%s': it is not one of its columns",
                        spec->sort);
    if (col >= 0) {
        AVS_TRY(fill_column(a, t, col, k, cell, e));
        AVS_TRY(sort_rows(t, col, cell, e));
    }
    *kept = spec->top > 0 && spec->top < t->n_rows ? spec->top : t->n_rows;
out:
    return rc;
}

static void decide_show_n(avs_q_column *c, const avs_q_cell *cell, int rows)
{
    int n = 0;
    for (int r = 0; r < rows; r++) {
        if (cell[r].n < 2 || cell[r].n < cell[r].expected) continue;
        c->show_n = c->show_n || (n && n != cell[r].n);
        n = cell[r].n;
    }
}

/* Every row is tested, but only those that are shown keep their cells. */
int avs_q_cells(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    int rc = AVS_OK, kept = 0, base = -1;
    critical k = {.level = t->ci / 100};
    tests sum = {0};
    avs_q_cell *cell = avs_xalloc((size_t)t->n_rows * sizeof *cell);

    if (!cell) return avs_fail(e, AVS_ENOMEM, "no memory for %d rows", t->n_rows);
    AVS_TRY(order_rows(spec, a, t, &k, cell, &kept, e));
    avs_q_cell *cells = AVS_NEW_N(a, avs_q_cell, (size_t)kept * (size_t)t->n_columns + 1);
    if (!cells) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for %d rows", kept);
        goto out;
    }
    for (int r = 0; r < kept; r++) t->row[r].cell = cells + (size_t)r * (size_t)t->n_columns;
    if (spec->baseline) AVS_TRY(find_base(spec, a, t, &base, e));
    for (int c = 0; c < t->n_columns; c++) {
        AVS_TRY(fill_column(a, t, c, &k, cell, e));
        AVS_TRY(mark_best(spec, t, c, cell, &sum, e));
        if (base >= 0) AVS_TRY(base_column(spec, a, t, base, c, cell, e));
        decide_show_n(&t->column[c], cell, kept);
        for (int r = 0; r < kept; r++) t->row[r].cell[c] = cell[r];
    }
    t->n_hidden = t->n_rows - kept;
    t->n_rows = kept;
    for (int c = 0; c < t->n_columns; c++)
        if (t->column[c].latency) AVS_TRY(avs_q_latency_intervals(s, t, c, e));
    if (base >= 0)
        avs_q_note(t, a,
                   "Differences are from the row %s; p by paired %s over common seeds, Holm-corrected over "
                   "each column.",
                   spec->baseline, spec->nonparametric ? "t (Wilcoxon from 10 seeds on)" : "t");
    note_hidden_parameters(a, t);
    note_tests(&sum, spec, a, t);
out:
    avs_xfree(cell);
    return rc;
}
