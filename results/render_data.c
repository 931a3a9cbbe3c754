/* CSV and JSON for other programs: stored values in full precision, nothing scaled, nothing rounded. */
#include <math.h>
#include <string.h>
#include "base/json.h"
#include "results/render.h"

void avs_csv_text(avs_buf *out, const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        avs_buf_str(out, text);
        return;
    }
    avs_buf_char(out, '"');
    for (; *text; text++) {
        if (*text == '"') avs_buf_char(out, '"');
        avs_buf_char(out, *text);
    }
    avs_buf_char(out, '"');
}

static void csv_number(avs_buf *out, double v)
{
    avs_buf_char(out, ',');
    if (isfinite(v)) avs_json_write_num(out, v);
}

static void csv_head(avs_buf *out, const char *name, const char *suffix)
{
    avs_buf text = AVS_BUF_INIT;
    avs_buf_fmt(&text, "%s%s", name, suffix);
    if (!avs_buf_ok(&text)) out->failed = true;
    avs_buf_char(out, ',');
    avs_csv_text(out, avs_buf_cstr(&text));
    avs_buf_free(&text);
}

void avs_render_csv(const avs_table *t, avs_buf *out)
{
    for (int k = 0; k < t->n_by; k++) {
        if (k) avs_buf_char(out, ',');
        avs_csv_text(out, t->by[k]);
    }
    for (int c = 0; c < t->n_columns; c++) {
        const avs_q_column *col = &t->column[c];
        csv_head(out, col->name, "");
        csv_head(out, col->name, "_half");
        csv_head(out, col->name, "_sd");
        csv_head(out, col->name, "_n");
        csv_head(out, col->name, "_expected");
        if (col->has_paper) {
            csv_head(out, col->name, "_paper");
            csv_head(out, col->name, "_delta");
            csv_head(out, col->name, "_paper_inside");
        }
        if (col->has_base) csv_head(out, col->name, "_vs_base");
    }
    avs_buf_char(out, '\n');
    for (int r = 0; r < t->n_rows; r++) {
        for (int k = 0; k < t->n_by; k++) {
            if (k) avs_buf_char(out, ',');
            avs_csv_text(out, t->row[r].key[k] ? t->row[r].key[k] : "");
        }
        for (int c = 0; c < t->n_columns; c++) {
            const avs_q_cell *x = &t->row[r].cell[c];
            csv_number(out, x->n ? x->mean : (double)NAN);
            csv_number(out, x->half);
            csv_number(out, x->sd);
            csv_number(out, x->n);
            csv_number(out, x->expected);
            if (t->column[c].has_paper) {
                csv_number(out, x->has_paper ? x->paper : (double)NAN);
                csv_number(out, x->has_paper && x->n ? x->mean - x->paper : (double)NAN);
                csv_number(out, x->has_paper && x->n ? x->paper_inside : (double)NAN);
            }
            if (t->column[c].has_base) csv_number(out, x->has_base ? x->base->diff : (double)NAN);
        }
        avs_buf_char(out, '\n');
    }
}

static void num(avs_arena *a, avs_json *obj, const char *key, double v)
{
    if (isfinite(v)) avs_json_add_num(a, obj, key, v);
}

static void json_cell(avs_arena *a, avs_json *list, const avs_q_cell *x)
{
    avs_json *o = avs_json_add(a, list, NULL, avs_json_new(a, AVS_J_OBJ));
    avs_json_add_int(a, o, "n", x->n);
    avs_json_add_int(a, o, "expected", x->expected);
    if (x->n) num(a, o, "mean", x->mean);
    num(a, o, "half", x->half);
    num(a, o, "lo", x->lo);
    num(a, o, "hi", x->hi);
    num(a, o, "sd", x->sd);
    avs_json *values = avs_json_add(a, o, "values", avs_json_new(a, AVS_J_ARR));
    avs_json *seeds = avs_json_add(a, o, "seeds", avs_json_new(a, AVS_J_ARR));
    for (int i = 0; i < x->n; i++) {
        avs_json_add_num(a, values, NULL, x->value[i]);
        avs_json_add_int(a, seeds, NULL, x->seed[i]);
    }
    avs_json_add_bool(a, o, "best", x->is_best);
    avs_json_add_bool(a, o, "tied", x->is_tied);
    num(a, o, "best_p", x->best_p);
    if (x->suspect) avs_json_add_int(a, o, "suspect", x->suspect);
    if (x->is_flagged) avs_json_add_bool(a, o, "flagged", true);
    if (x->has_paper) {
        avs_json_add_num(a, o, "paper", x->paper);
        avs_json_add_str(a, o, "paper_source", x->paper_source);
        if (x->n) num(a, o, "delta", x->mean - x->paper);
        avs_json_add_bool(a, o, "paper_inside", x->paper_inside);
    }
    if (x->has_base) {
        num(a, o, "vs_base", x->base->diff);
        num(a, o, "vs_base_lo", x->base->lo);
        num(a, o, "vs_base_hi", x->base->hi);
        num(a, o, "vs_base_p", x->base->p);
    }
}

int avs_render_json(const avs_table *t, avs_arena *a, avs_buf *out, avs_err *e)
{
    static const char *const unit[] = {"", "fraction", "ns", "s", "count"};
    avs_json *root = avs_json_new(a, AVS_J_OBJ);

    avs_json_add_str(a, root, "type", "report");
    avs_json_add_int(a, root, "v", 1);
    avs_json_add_str(a, root, "title", t->title);
    avs_json_add_num(a, root, "ci", t->ci);
    avs_json *by = avs_json_add(a, root, "by", avs_json_new(a, AVS_J_ARR));
    for (int k = 0; k < t->n_by; k++) avs_json_add_str(a, by, NULL, t->by[k]);
    avs_json *cols = avs_json_add(a, root, "columns", avs_json_new(a, AVS_J_ARR));
    for (int c = 0; c < t->n_columns; c++) {
        avs_json *o = avs_json_add(a, cols, NULL, avs_json_new(a, AVS_J_OBJ));
        avs_json_add_str(a, o, "name", t->column[c].name);
        avs_json_add_str(a, o, "metric", t->column[c].metric);
        avs_json_add_str(a, o, "unit", unit[t->column[c].unit]);
        avs_json_add_int(a, o, "better", t->column[c].better);
        avs_json_add_bool(a, o, "mixed", t->column[c].is_mixed);
    }
    avs_json *rows = avs_json_add(a, root, "rows", avs_json_new(a, AVS_J_ARR));
    for (int r = 0; r < t->n_rows; r++) {
        avs_json *o = avs_json_add(a, rows, NULL, avs_json_new(a, AVS_J_OBJ));
        avs_json *keys = avs_json_add(a, o, "keys", avs_json_new(a, AVS_J_OBJ));
        for (int k = 0; k < t->n_by; k++) {
            if (t->row[r].key[k])
                avs_json_add_str(a, keys, t->by[k], t->row[r].key[k]);
            else
                avs_json_add(a, keys, t->by[k], avs_json_new(a, AVS_J_NULL));
        }
        avs_json_add_int(a, o, "trials", t->row[r].n_trials);
        avs_json *cells = avs_json_add(a, o, "cells", avs_json_new(a, AVS_J_ARR));
        for (int c = 0; c < t->n_columns; c++) json_cell(a, cells, &t->row[r].cell[c]);
    }
    avs_json *notes = avs_json_add(a, root, "notes", avs_json_new(a, AVS_J_ARR));
    for (int i = 0; i < t->n_notes; i++) avs_json_add_str(a, notes, NULL, t->note[i]);
    avs_json *from = avs_json_add(a, root, "provenance", avs_json_new(a, AVS_J_ARR));
    for (int i = 0; i < t->n_provenance; i++) avs_json_add_str(a, from, NULL, t->provenance[i]);
    if (!root) return avs_fail(e, AVS_ENOMEM, "no memory for the report");
    avs_json_write(out, root, false);
    avs_buf_char(out, '\n');
    return AVS_OK;
}
