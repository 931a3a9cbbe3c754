/* Comparisons as bytes. The table of pairs goes through the grid that reports use, so that every format escapes alike; CSV and
 * JSON hold stored values in full precision. */
#include <math.h>
#include <string.h>
#include "base/json.h"
#include "results/compare_pairs.h"
#include "results/grid.h"
#include "results/html.h"
#include "results/render.h"

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

static void fill_row(avs_comparison *c, avs_grid *g, int r)
{
    avs_arena *a = c->arena;
    const avs_q_column *col = &c->a.column[0];
    const avs_compare_pair *x = &c->pairs[r];
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
static const char *tests_text(const avs_comparison *c)
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

static void fill_notes(const avs_comparison *c, avs_grid *g, const int verdicts[AVS_VERDICTS])
{
    avs_arena *a = c->arena;
    const avs_compare_spec *s = c->spec;
    const char *threshold = s->is_relative ? avs_arena_fmt(a, "%g %% of A", 100 * s->threshold)
                                           : avs_arena_fmt(a, "%g", s->threshold);
    add_note(g, avs_arena_fmt(a, "%d better, %d worse, %d same, %d undecided; threshold %s.",
                              verdicts[AVS_BETTER], verdicts[AVS_WORSE], verdicts[AVS_SAME],
                              verdicts[AVS_UNDECIDED], threshold ? threshold : ""));
    const char *tests = tests_text(c);
    add_note(g, avs_arena_fmt(a, "Delta is B - A; its intervals hold together at %g %% (each %.4g %%); %s%s.",
                              s->ci > 0 ? s->ci : 95, 100 * c->level,
                              *tests ? "p is Holm-adjusted: " : "no pair has the seeds for one", tests));
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

static int fill_grid(avs_comparison *c, const int verdicts[AVS_VERDICTS], avs_grid *g, avs_err *e)
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
static void put_json(const avs_comparison *c, const int verdicts[AVS_VERDICTS], avs_buf *out)
{
    avs_arena *a = c->arena;
    for (int i = 0; i < c->n_pairs; i++) {
        const avs_compare_pair *x = &c->pairs[i];
        avs_json *o = avs_json_new(a, AVS_J_OBJ), *keys;
        avs_json_add_str(a, o, "type", "compare");
        avs_json_add_int(a, o, "v", 1);
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
    avs_buf_str(out, "{\"type\":\"compare_summary\",\"v\":1");
    for (int v = 0; v < AVS_VERDICTS; v++)
        avs_buf_fmt(out, ",\"%s\":%d", avs_verdict_name((avs_verdict)v), verdicts[v]);
    avs_buf_fmt(out, ",\"only_a\":%d,\"only_b\":%d,\"threshold\":%.9g,\"relative\":%s,\"level\":%.9g}\n",
                c->only_a, c->only_b, c->spec->threshold, c->spec->is_relative ? "true" : "false", c->level);
}

/* A record per pair; an absent key or number is an empty field. */
static void put_csv(const avs_comparison *c, avs_buf *out)
{
    for (size_t k = 0; k < c->n_by; k++) {
        avs_csv_text(out, c->by[k]);
        avs_buf_char(out, ',');
    }
    avs_buf_str(out,
                "a,a_half,a_n,a_expected,b,b_half,b_n,b_expected,delta,lo,hi,p,common_seeds,test,verdict\n");
    for (int i = 0; i < c->n_pairs; i++) {
        const avs_compare_pair *x = &c->pairs[i];
        const avs_q_cell *side[2] = {x->cell_a, x->cell_b};
        const double said[] = {x->r.delta, x->r.lo, x->r.hi, x->r.p, x->r.n};
        for (size_t k = 0; k < c->n_by; k++) {
            avs_csv_text(out, x->a->key[k] ? x->a->key[k] : "");
            avs_buf_char(out, ',');
        }
        for (int s = 0; s < 2; s++) {
            const double of[] = {side[s]->mean, side[s]->half, side[s]->n, side[s]->expected};
            for (size_t k = 0; k < sizeof of / sizeof *of; k++) {
                if (isfinite(of[k])) avs_json_write_num(out, of[k]);
                avs_buf_char(out, ',');
            }
        }
        for (size_t k = 0; k < sizeof said / sizeof *said; k++) {
            if (isfinite(said[k])) avs_json_write_num(out, said[k]);
            avs_buf_char(out, ',');
        }
        avs_buf_fmt(out, "%s,%s\n", x->r.test, avs_verdict_name(x->verdict));
    }
}

static void put_page(const avs_comparison *c, const avs_grid *g, avs_buf *out)
{
    avs_html_open(g->title, out);
    avs_buf_str(out, "<main>\n<section id=\"differences\"><h2>Differences</h2>\n<figure class=\"plot\">");
    avs_compare_plot(c, g->title, false, out);
    avs_buf_str(
        out, "<figcaption>B - A with its interval; dashed: the threshold. Filled: the interval lies wholly "
             "beyond it.</figcaption></figure></section>\n");
    avs_html_board(g, c->by, (int)c->n_by, "Pairs", out);
    avs_buf_str(out, "</main>\n<footer><ul>\n");
    for (int i = 0; i < g->n_provenance; i++) avs_html_item(out, g->provenance[i]);
    avs_buf_str(out, "</ul></footer>\n");
    avs_html_close(out);
}

int avs_compare_write(avs_comparison *c, const int verdicts[AVS_VERDICTS], avs_buf *out, avs_err *e)
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
        put_csv(c, out);
        break;
    case AVS_REPORT_SVG:
        avs_compare_plot(c, g.title, true, out);
        break;
    case AVS_REPORT_HTML:
        put_page(c, &g, out);
        break;
    }
    return avs_buf_ok(out) && !avs_arena_failed(c->arena)
               ? AVS_OK
               : avs_fail(e, AVS_ENOMEM, "no memory for a comparison");
}
