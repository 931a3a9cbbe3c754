/* Both sides are queried like reports whose row keys are the parameters that tell configurations of a side apart; rows with
 * equal keys are pairs. The table of pairs then goes through the grid that reports use, so that every format escapes alike. */
#include "results/compare.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "metrics/stats.h"
#include "results/db.h"
#include "results/grid.h"
#include "results/query.h"
#include "results/render.h"

typedef struct {
    const avs_q_row *a, *b;
    const avs_q_cell *cell_a, *cell_b;
    avs_compare_result r;
    avs_verdict verdict;
} pair;

typedef struct {
    const avs_compare_spec *spec;
    avs_arena *arena;
    const char **by;
    size_t n_by;
    avs_table a, b;
    pair *pairs;
    int n_pairs, only_a, only_b; /* rows without a partner, rows that have a number only */
    double level;                /* of each interval, so that all hold together */
} comparison;

static bool is_named(const char *key, const avs_q_where *w)
{
    for (int i = 0; i < w->n; i++)
        if (strcmp(w->term[i].key, key) == 0) return true;
    return false;
}

/* ---- what tells configurations apart ---- */

static int ask_hash(const avs_compare_side *side, int64_t *config, avs_err *e)
{
    static const char sql[] =
        "SELECT min(config_id), count(DISTINCT config_id) FROM (SELECT config_id FROM config WHERE "
        "lower(hex(hash)) LIKE"
        " ?1||'%' UNION SELECT config_id FROM trial WHERE lower(hex(hash)) LIKE ?1||'%')";
    char digits[65] = "";
    sqlite3_stmt *q;
    bool row;
    int rc;

    for (size_t i = 0; side->hash[i] && i < 64; i++) digits[i] = (char)tolower((unsigned char)side->hash[i]);
    AVS_TRY(avs_db_bind(side->store, &q, e, sql, "t", digits));
    AVS_TRY(avs_db_step(side->store, q, &row, e));
    const int64_t n = row ? sqlite3_column_int64(q, 1) : 0, id = row ? sqlite3_column_int64(q, 0) : 0;
    if (row) sqlite3_reset(q);
    if (n != 1)
        return avs_fail(e, n ? AVS_ERANGE : AVS_EMISSING, "%s: %s the hash %s", avs_store_path(side->store),
                        n ? "several configurations have" : "no configuration or trial has", side->hash);
    *config = id;
out:
    return rc;
}

static int add_varying(comparison *c, const avs_compare_side *side, int64_t config, const avs_q_where *fixed,
                       avs_err *e)
{
    avs_arena *a = avs_arena_new();
    avs_table t = {.ci = 95};
    int rc;

    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory for a comparison");
    AVS_TRY(avs_q_load(side->store,
                       &(avs_report_spec){.where = side->where, .sweep = side->sweep, .config = config}, a,
                       &t, e));
    AVS_TRY(avs_q_choose_keys(&(avs_report_spec){0}, a, &t, e));
    for (int k = 0; k < t.n_by && c->n_by < 64; k++) {
        bool known = is_named(t.by[k], &fixed[0]) || is_named(t.by[k], &fixed[1]);
        for (size_t i = 0; i < c->n_by; i++) known = known || strcmp(c->by[i], t.by[k]) == 0;
        if (known) continue;
        c->by[c->n_by] = avs_arena_str(c->arena, t.by[k]);
        if (!c->by[c->n_by++]) rc = avs_fail(e, AVS_ENOMEM, "no memory for a comparison");
    }
out:
    avs_arena_free(a);
    return rc;
}

static int query_side(comparison *c, const avs_compare_side *side, int64_t config, avs_table *t, avs_err *e)
{
    static const char *const kind[] = {"kind"};
    const avs_report_spec spec = {.by = c->n_by ? c->by : kind,
                                  .n_by = c->n_by ? c->n_by : 1,
                                  .metrics = &c->spec->metric,
                                  .n_metrics = 1,
                                  .where = side->where,
                                  .sweep = side->sweep,
                                  .config = config,
                                  .ci = c->spec->ci,
                                  .mixed = c->spec->mixed,
                                  .suspect = c->spec->suspect,
                                  .missing_keys = true,
                                  .hide_published = true};
    int rc = avs_query(side->store, &spec, c->arena, t, e);
    if (rc != AVS_OK) avs_ctx(e, "%s", side->name);
    return rc;
}

/* ---- pairs ---- */

/* An absent key stands before any text. */
static int order_of(const avs_table *t, const avs_q_row *x, const avs_q_row *y)
{
    for (int k = 0; k < t->n_by; k++) {
        const char *a = x->key[k], *b = y->key[k];
        const int d = a && b ? strcmp(a, b) : (a != NULL) - (b != NULL);
        if (d) return d;
    }
    return 0;
}

static int by_keys(const void *x, const void *y, void *table)
{
    const avs_table *t = table;
    return order_of(t, &t->row[*(const int *)x], &t->row[*(const int *)y]);
}

static const avs_q_row *partner(const comparison *c, const int *order, const avs_q_row *row)
{
    int lo = 0, hi = c->b.n_rows - 1;
    while (lo <= hi) {
        const int mid = lo + (hi - lo) / 2, d = order_of(&c->b, &c->b.row[order[mid]], row);
        if (d == 0) return &c->b.row[order[mid]];
        if (d < 0)
            lo = mid + 1;
        else
            hi = mid - 1;
    }
    return NULL;
}

static int make_pairs(comparison *c, avs_err *e)
{
    int *order = AVS_NEW_N(c->arena, int, c->b.n_rows + 1);
    c->pairs = AVS_NEW_N(c->arena, pair, c->a.n_rows + 1);
    if (!order || !c->pairs) return avs_fail(e, AVS_ENOMEM, "no memory for %d pairs", c->a.n_rows);
    for (int r = 0; r < c->b.n_rows; r++) {
        order[r] = r;
        c->only_b += c->b.row[r].cell[0].n > 0;
    }
    qsort_r(order, (size_t)c->b.n_rows, sizeof *order, by_keys, &c->b);
    for (int r = 0; r < c->a.n_rows; r++) {
        const avs_q_row *x = &c->a.row[r], *y = partner(c, order, x);
        if (x->cell[0].n == 0 || !y || y->cell[0].n == 0) {
            c->only_a += x->cell[0].n > 0;
            continue;
        }
        c->only_b--;
        c->pairs[c->n_pairs++] = (pair){.a = x, .b = y, .cell_a = &x->cell[0], .cell_b = &y->cell[0]};
    }
    if (c->n_pairs == 0)
        return avs_fail(e, AVS_EMISSING,
                        "%s and %s share no configuration with a number for %s: %d and %d have one alone",
                        c->spec->a.name, c->spec->b.name, c->spec->metric, c->only_a, c->only_b);
    return AVS_OK;
}

static int decide(comparison *c, int verdicts[AVS_VERDICTS], avs_err *e)
{
    const avs_q_column *col = &c->a.column[0];
    const size_t n = (size_t)c->n_pairs;
    double *p = AVS_NEW_N(c->arena, double, n), *adjusted = AVS_NEW_N(c->arena, double, n);
    size_t *order = AVS_NEW_N(c->arena, size_t, n);
    int most = 0;

    for (size_t i = 0; i < n; i++) most = c->pairs[i].cell_a->n > most ? c->pairs[i].cell_a->n : most;
    double *scratch = AVS_NEW_N(c->arena, double, 2 * (size_t)most);
    if (!p || !adjusted || !order || !scratch)
        return avs_fail(e, AVS_ENOMEM, "no memory for %d pairs", c->n_pairs);
    const double ci = c->spec->ci > 0 ? c->spec->ci / 100 : 0.95;
    c->level = 1 - (1 - ci) / c->n_pairs;
    for (size_t i = 0; i < n; i++) {
        pair *x = &c->pairs[i];
        const bool exact = col->unit == AVS_U_COUNT && x->cell_a->is_same && x->cell_b->is_same;
        const avs_compare_set sa = {x->cell_a->value, x->cell_a->seed, x->cell_a->n},
                              sb = {x->cell_b->value, x->cell_b->seed, x->cell_b->n};
        x->r = avs_compare_sets(&sa, &sb, scratch, c->level, c->spec->nonparametric, exact);
        const double limit = c->spec->threshold * (c->spec->is_relative ? fabs(x->cell_a->mean) : 1);
        x->verdict = avs_compare_verdict(&x->r, col->better, limit);
        verdicts[x->verdict]++;
        p[i] = x->r.p;
    }
    avs_holm(p, n, adjusted, order);
    for (size_t i = 0; i < n; i++) c->pairs[i].r.p = adjusted[i];
    return AVS_OK;
}

/* ---- output ---- */

enum { COL_A, COL_B, COL_DELTA, COL_INTERVAL, COL_P, COL_VERDICT, OWN_COLUMNS };

static const char *p_text(avs_arena *a, double p)
{
    if (isnan(p)) return "";
    return p < 0.001 ? "<0.001" : avs_arena_fmt(a, "%.3f", p);
}

static void set(avs_grid *g, int r, int c, const char *text, double value, avs_look look)
{
    g->cell[(size_t)r * (size_t)g->cols + (size_t)c] = (avs_grid_cell){text ? text : "", value, look};
}

static void fill_row(comparison *c, avs_grid *g, int r)
{
    avs_arena *a = c->arena;
    const avs_q_column *col = &c->a.column[0];
    const pair *x = &c->pairs[r];
    const int at = (int)c->n_by;

    for (int k = 0; k < at; k++)
        set(g, r, k, avs_text_shown(a, x->a->key[k] ? x->a->key[k] : "-", 40), (double)NAN, AVS_LOOK_PLAIN);
    set(g, r, at + COL_A, avs_cell_text(a, col, x->cell_a), x->cell_a->mean, AVS_LOOK_PLAIN);
    set(g, r, at + COL_B, avs_cell_text(a, &c->b.column[0], x->cell_b), x->cell_b->mean, AVS_LOOK_PLAIN);
    const char *delta = avs_cell_signed(a, col, x->r.delta);
    if (x->cell_a->mean != 0)
        delta = avs_arena_fmt(a, "%s (%+.1f %%)", delta, 100 * x->r.delta / fabs(x->cell_a->mean));
    set(g, r, at + COL_DELTA, delta, x->r.delta, AVS_LOOK_PLAIN);
    const char *interval = isnan(x->r.lo) ? ""
                                          : avs_arena_fmt(a, "%s to %s", avs_cell_signed(a, col, x->r.lo),
                                                          avs_cell_signed(a, col, x->r.hi));
    set(g, r, at + COL_INTERVAL, interval, x->r.lo, AVS_LOOK_PLAIN);
    set(g, r, at + COL_P, p_text(a, x->r.p), x->r.p, AVS_LOOK_PLAIN);
    set(g, r, at + COL_VERDICT, avs_verdict_name(x->verdict), (double)NAN,
        x->verdict == AVS_BETTER || x->verdict == AVS_WORSE ? AVS_LOOK_BEST : AVS_LOOK_PLAIN);
}

/* "paired t (4), Welch (1)" */
static const char *tests_text(const comparison *c)
{
    static const char *const names[] = {"paired t", "Wilcoxon", "Welch", "exact"};
    const char *text = "";
    for (size_t k = 0; k < sizeof names / sizeof *names && text; k++) {
        int n = 0;
        for (int i = 0; i < c->n_pairs; i++) n += strcmp(c->pairs[i].r.test, names[k]) == 0;
        if (n) text = avs_arena_fmt(c->arena, "%s%s%s (%d)", text, *text ? ", " : "", names[k], n);
    }
    return text ? text : "";
}

static void add_note(avs_grid *g, const char *text)
{
    if (text) g->note[g->n_notes++] = text;
}

static void fill_notes(const comparison *c, avs_grid *g, const int verdicts[AVS_VERDICTS])
{
    avs_arena *a = c->arena;
    const avs_compare_spec *s = c->spec;
    const char *threshold = s->is_relative ? avs_arena_fmt(a, "%g %% of A", 100 * s->threshold)
                                           : avs_arena_fmt(a, "%g", s->threshold);
    add_note(g, avs_arena_fmt(a, "%d better, %d worse, %d same, %d undecided; threshold %s.",
                              verdicts[AVS_BETTER], verdicts[AVS_WORSE], verdicts[AVS_SAME],
                              verdicts[AVS_UNDECIDED], threshold ? threshold : ""));
    add_note(
        g,
        avs_arena_fmt(
            a, "Delta is B - A; its intervals hold together at %g %% (each %.4g %%); p is Holm-adjusted: %s.",
            s->ci > 0 ? s->ci : 95, 100 * c->level, tests_text(c)));
    if (c->only_a || c->only_b)
        add_note(g, avs_arena_fmt(a, "Without a partner: %d of A, %d of B.", c->only_a, c->only_b));
    const int suspect = c->a.column[0].n_suspect + c->b.column[0].n_suspect;
    if (suspect)
        add_note(
            g, avs_arena_fmt(a, "%d suspect latencies %s.", suspect, s->suspect ? "count" : "are left out"));
    int averaged = 0;
    for (int i = 0; i < c->n_pairs; i++)
        averaged += c->pairs[i].a->n_configs > 1 || c->pairs[i].b->n_configs > 1;
    if (averaged) add_note(g, avs_arena_fmt(a, "%d rows average over several configurations.", averaged));
    for (int side = 0; side < 2; side++) {
        const avs_table *t = side ? &c->b : &c->a;
        for (int i = 0; i < t->n_provenance && g->n_provenance < 60; i++)
            if ((g->provenance[g->n_provenance] =
                     avs_arena_fmt(a, "%s: %s", side ? "B" : "A", t->provenance[i])) != NULL)
                g->n_provenance++;
    }
}

static int fill_grid(comparison *c, const int verdicts[AVS_VERDICTS], avs_grid *g, avs_err *e)
{
    static const char *const heads[] = {"A", "B", "delta", "interval", "p", "verdict"};
    avs_arena *a = c->arena;
    const char *unit = avs_cell_title(a, &c->a.column[0]);
    *g = (avs_grid){.rows = c->n_pairs, .cols = (int)c->n_by + OWN_COLUMNS};
    g->title = avs_text_shown(
        a, avs_arena_fmt(a, "%s: A = %s, B = %s", unit ? unit : "", c->spec->a.name, c->spec->b.name), 200);
    g->column = AVS_NEW_N(a, avs_grid_column, g->cols);
    g->cell = AVS_NEW_N(a, avs_grid_cell, (size_t)g->rows * (size_t)g->cols);
    g->note = AVS_NEW_N(a, const char *, 8);
    g->provenance = AVS_NEW_N(a, const char *, 64);
    if (!g->column || !g->cell || !g->note || !g->provenance)
        return avs_fail(e, AVS_ENOMEM, "no memory for a comparison");
    for (int k = 0; k < g->cols; k++) {
        const bool own = k >= (int)c->n_by;
        const char *head = own ? heads[k - (int)c->n_by] : avs_text_shown(a, c->by[k], 40);
        g->column[k] = (avs_grid_column){.name = head, .under = head, .right = own && k < g->cols - 1};
    }
    for (int r = 0; r < c->n_pairs; r++) fill_row(c, g, r);
    fill_notes(c, g, verdicts);
    return AVS_OK;
}

static void put_number(avs_arena *a, avs_json *o, const char *key, double v)
{
    if (isfinite(v)) avs_json_add_num(a, o, key, v);
}

static void side_json(avs_arena *a, avs_json *o, const char *key, const avs_q_cell *x)
{
    avs_json *s = avs_json_add(a, o, key, avs_json_new(a, AVS_J_OBJ));
    avs_json_add_int(a, s, "n", x->n);
    avs_json_add_int(a, s, "expected", x->expected);
    put_number(a, s, "mean", x->mean);
    put_number(a, s, "half", x->half);
}

/* One object per line, as every command: a line per pair, then the summary. */
static void put_json(const comparison *c, const int verdicts[AVS_VERDICTS], avs_buf *out)
{
    avs_arena *a = c->arena;
    for (int i = 0; i < c->n_pairs; i++) {
        const pair *x = &c->pairs[i];
        avs_json *o = avs_json_new(a, AVS_J_OBJ), *keys;
        avs_json_add_str(a, o, "type", "compare");
        avs_json_add_str(a, o, "metric", c->spec->metric);
        keys = avs_json_add(a, o, "keys", avs_json_new(a, AVS_J_OBJ));
        for (size_t k = 0; k < c->n_by; k++)
            if (x->a->key[k]) avs_json_add_str(a, keys, c->by[k], x->a->key[k]);
        side_json(a, o, "a", x->cell_a);
        side_json(a, o, "b", x->cell_b);
        put_number(a, o, "delta", x->r.delta);
        put_number(a, o, "lo", x->r.lo);
        put_number(a, o, "hi", x->r.hi);
        put_number(a, o, "p", x->r.p);
        avs_json_add_int(a, o, "common_seeds", x->r.n);
        avs_json_add_str(a, o, "test", x->r.test);
        avs_json_add_str(a, o, "verdict", avs_verdict_name(x->verdict));
        avs_json_write(out, o, false);
        avs_buf_char(out, '\n');
    }
    avs_buf_str(out, "{\"type\":\"compare_summary\",\"version\":1");
    for (int v = 0; v < AVS_VERDICTS; v++)
        avs_buf_fmt(out, ",\"%s\":%d", avs_verdict_name((avs_verdict)v), verdicts[v]);
    avs_buf_fmt(out, ",\"only_a\":%d,\"only_b\":%d,\"threshold\":%.9g,\"relative\":%s,\"level\":%.9g}\n",
                c->only_a, c->only_b, c->spec->threshold, c->spec->is_relative ? "true" : "false", c->level);
}

static int write_out(comparison *c, const int verdicts[AVS_VERDICTS], avs_buf *out, avs_err *e)
{
    avs_grid g;
    int rc = fill_grid(c, verdicts, &g, e);
    if (rc != AVS_OK) return rc;
    switch (c->spec->format) {
    case AVS_REPORT_TEXT:
        avs_grid_text(&g, c->arena, c->spec->color, out);
        break;
    case AVS_REPORT_MARKDOWN:
        avs_grid_markdown(&g, out);
        break;
    case AVS_REPORT_LATEX:
        avs_grid_latex(&g, c->spec->standalone, out);
        break;
    case AVS_REPORT_JSON:
        put_json(c, verdicts, out);
        break;
    case AVS_REPORT_CSV:
    case AVS_REPORT_SVG:
    case AVS_REPORT_HTML:
        return avs_fail(e, AVS_ERANGE, "a comparison can be written as text, md, latex or json");
    }
    return avs_buf_ok(out) && !avs_arena_failed(c->arena)
               ? AVS_OK
               : avs_fail(e, AVS_ENOMEM, "no memory for a comparison");
}

static int check_machines(const comparison *c, avs_err *e)
{
    const char *a = c->a.column[0].machine, *b = c->b.column[0].machine;
    if (c->spec->mixed || !a || !b || strcmp(a, b) == 0) return AVS_OK;
    return avs_fail(e, AVS_ERANGE,
                    "%s was measured on different machines: (%s) and (%s). Allow it with --mixed",
                    c->spec->metric, a, b);
}

int avs_compare(const avs_compare_spec *spec, avs_buf *out, int verdicts[AVS_VERDICTS], avs_err *e)
{
    comparison c = {.spec = spec, .arena = avs_arena_new()};
    const avs_compare_side *side[2] = {&spec->a, &spec->b};
    int64_t config[2] = {0, 0};
    avs_q_where fixed[2];
    int rc;

    memset(verdicts, 0, AVS_VERDICTS * sizeof *verdicts);
    c.by = c.arena ? AVS_NEW_N(c.arena, const char *, 64) : NULL;
    if (!c.by) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for a comparison");
        goto out;
    }
    for (int i = 0; i < 2; i++) {
        AVS_TRY(avs_q_where_parse(c.arena, side[i]->where, &fixed[i], e));
        if (side[i]->hash) AVS_TRY(ask_hash(side[i], &config[i], e));
    }
    for (int i = 0; i < 2; i++) AVS_TRY(add_varying(&c, side[i], config[i], fixed, e));
    AVS_TRY(query_side(&c, &spec->a, config[0], &c.a, e));
    AVS_TRY(query_side(&c, &spec->b, config[1], &c.b, e));
    if (c.a.column[0].better == 0) {
        rc = avs_fail(e, AVS_ERANGE, "of %s neither more nor less is better; nothing can be said of it",
                      spec->metric);
        goto out;
    }
    AVS_TRY(check_machines(&c, e));
    AVS_TRY(make_pairs(&c, e));
    AVS_TRY(decide(&c, verdicts, e));
    AVS_TRY(write_out(&c, verdicts, out, e));
out:
    if (rc != AVS_OK && c.arena && avs_arena_failed(c.arena))
        rc = avs_fail(e, AVS_ENOMEM, "no memory for a comparison");
    avs_arena_free(c.arena);
    return rc;
}
