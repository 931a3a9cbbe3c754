/* From cells to texts. Headings come twice: plain, and as two levels in the papers' words. */
#include "results/grid.h"

#include <math.h>
#include <string.h>
#include "results/render.h"

enum { KEY_WIDTH = 64, NOTE_WIDTH = 600 };

static const char *metric_words(avs_arena *a, const char *metric)
{
    static const char *const known[][2] = {{"miou", "mIoU"}, {"fscore", "F-score"}, {"params", "Parameters"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i][0], metric) == 0) return known[i][1];
    char *words = avs_arena_str(a, metric);
    for (char *p = words; p && *p; p++)
        if (*p == '_') *p = ' ';
    return words;
}

/* "S4 mIoU (%)" of miou@task=s4. */
static const char *heading(avs_arena *a, const avs_q_column *c)
{
    static const char *const unit[] = {"", " (%)", " (ms)", " (s)", ""};
    static const char *const tasks[][2] = {{"s4", "S4"}, {"ms3", "MS3"}, {"avss", "AVSS"}};
    const char *text = "";
    for (int i = 0; i < c->pin.n && text; i++) {
        const avs_q_term *t = &c->pin.term[i];
        const char *value = t->value, *key = strcmp(t->key, "task") == 0 ? "" : t->key;
        for (size_t k = 0; k < sizeof tasks / sizeof *tasks && !*key; k++)
            if (strcmp(tasks[k][0], value) == 0) value = tasks[k][1];
        text = avs_arena_fmt(a, "%s%s%s%s%s ", text, t->negate ? "not " : "", key, *key ? " " : "", value);
    }
    const char *words = metric_words(a, c->metric);
    text = avs_arena_fmt(a, "%s%s%s%s%s", text ? text : "", words ? words : "", c->split ? ", " : "",
                         c->split ? c->split : "", unit[c->unit]);
    return avs_text_shown(a, text, KEY_WIDTH);
}

/* "num_queries" -> "Queries", "elf_stages" -> "Elf stages". */
static const char *key_heading(avs_arena *a, const char *key)
{
    const char *rest = strncmp(key, "num_", 4) == 0 && key[4] ? key + 4 : key;
    char *words = avs_arena_str(a, avs_text_shown(a, rest, KEY_WIDTH));
    for (char *p = words; p && *p; p++)
        if (*p == '_') *p = ' ';
    if (words && words[0] >= 'a' && words[0] <= 'z') words[0] = (char)(words[0] - 'a' + 'A');
    return words;
}

static void put(avs_grid *g, int r, int c, const char *text, double value, avs_look look)
{
    g->cell[(size_t)r * (size_t)g->cols + (size_t)c] = (avs_grid_cell){text ? text : "", value, look};
    g->has_best = g->has_best || look == AVS_LOOK_BEST;
    g->has_tied = g->has_tied || look == AVS_LOOK_TIED;
}

static void put_head(avs_grid *g, int c, const char *name, const char *group, const char *under, bool right)
{
    g->column[c] = (avs_grid_column){name ? name : "", group, under ? under : "", right};
}

static const char *base_text(avs_arena *a, const avs_q_column *c, const avs_q_cell *x)
{
    if (!x->has_base) return "";
    const char *diff = avs_cell_signed(a, c, x->base->diff);
    return isnan(x->base->p) ? diff : avs_arena_fmt(a, "%s (p=%.3f)", diff, x->base->p);
}

/* A metric and what follows it; returns the next free column. */
static int put_metric(const avs_table *t, avs_arena *a, avs_grid *g, int c, int at)
{
    const avs_q_column *col = &t->column[c];
    const char *title = avs_text_shown(a, avs_cell_title(a, col), KEY_WIDTH), *head = heading(a, col);
    bool grouped = col->has_paper || col->has_base;
    int paper = at + 1, base = at + 1 + 2 * col->has_paper;

    put_head(g, at, title, grouped ? head : NULL, grouped ? "ours" : head, true);
    if (col->has_paper) {
        put_head(g, paper, "paper", head, "paper", true);
        put_head(g, paper + 1, "delta", head, "delta", true);
    }
    if (col->has_base) put_head(g, base, "vs base", head, "vs base", true);
    for (int r = 0; r < t->n_rows; r++) {
        const avs_q_cell *x = &t->row[r].cell[c];
        const double none = (double)NAN;
        put(g, r, at, avs_cell_text(a, col, x), x->n ? x->mean : none,
            x->is_best   ? AVS_LOOK_BEST
            : x->is_tied ? AVS_LOOK_TIED
                         : AVS_LOOK_PLAIN);
        if (col->has_paper) {
            const char *delta = x->has_paper && x->n ? avs_cell_signed(a, col, x->mean - x->paper) : "";
            put(g, r, paper, x->has_paper ? avs_cell_number(a, col, x->paper) : "",
                x->has_paper ? x->paper : none, AVS_LOOK_PAPER);
            put(g, r, paper + 1, x->paper_inside ? avs_arena_fmt(a, "%s =", delta) : delta,
                x->has_paper && x->n ? x->mean - x->paper : none, AVS_LOOK_PAPER);
            g->has_inside = g->has_inside || x->paper_inside;
        }
        if (col->has_base)
            put(g, r, base, t->row[r].is_base ? "base" : base_text(a, col, x),
                x->has_base ? x->base->diff : none, AVS_LOOK_PLAIN);
    }
    return base + col->has_base;
}

static const char **shown_list(avs_arena *a, const char **list, int n)
{
    const char **out = AVS_NEW_N(a, const char *, n + 1);
    for (int i = 0; i < n && out; i++) out[i] = avs_text_shown(a, list[i], NOTE_WIDTH);
    return out;
}

bool avs_grid_of_table(const avs_table *t, avs_arena *a, avs_grid *g)
{
    *g = (avs_grid){.rows = t->n_rows, .cols = t->n_by};
    for (int c = 0; c < t->n_columns; c++) g->cols += 1 + 2 * t->column[c].has_paper + t->column[c].has_base;
    g->cell = AVS_NEW_N(a, avs_grid_cell, (size_t)g->rows * (size_t)g->cols + 1);
    g->column = AVS_NEW_N(a, avs_grid_column, g->cols + 1);
    g->title = avs_text_shown(a, t->title, (size_t)2 * KEY_WIDTH);
    g->note = shown_list(a, t->note, t->n_notes);
    g->provenance = shown_list(a, t->provenance, t->n_provenance);
    if (!g->cell || !g->column || !g->note || !g->provenance) return false;
    g->n_notes = t->n_notes;
    g->n_provenance = t->n_provenance;
    for (int k = 0; k < t->n_by; k++) {
        put_head(g, k, avs_text_shown(a, t->by[k], KEY_WIDTH), NULL, key_heading(a, t->by[k]), false);
        for (int r = 0; r < t->n_rows; r++) {
            const char *key = t->row[r].key[k];
            put(g, r, k, key ? avs_text_shown(a, key, KEY_WIDTH) : "-", (double)NAN, AVS_LOOK_PLAIN);
        }
    }
    int at = t->n_by;
    for (int c = 0; c < t->n_columns; c++) at = put_metric(t, a, g, c, at);
    return true;
}
