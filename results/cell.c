/* Numbers as people read them: fractions in percent with one decimal, nanoseconds as milliseconds, counts with a suffix.
 * One trial never shows an interval, missing trials never hide. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "results/render.h"

double avs_cell_scale(const avs_q_column *c)
{
    return c->unit == AVS_U_FRACTION ? 100.0 : c->unit == AVS_U_NS ? 1e-6 : 1.0;
}

const char *avs_cell_title(avs_arena *a, const avs_q_column *c)
{
    static const char *const unit[] = {"", " [%]", " [ms]", " [s]", ""};
    return avs_arena_fmt(a, "%s%s%s", c->name, unit[c->unit], c->is_mixed ? " (mixed!)" : "");
}

static const char *count_text(avs_arena *a, double v)
{
    static const char *const suffix[] = {"k", "M", "G", "T"};
    if (fabs(v) < 100000) return avs_arena_fmt(a, "%.*f", v == floor(v) ? 0 : 1, v);
    int i = 0;
    v /= 1000;
    while (fabs(v) >= 999.995 && i < 3) {
        v /= 1000;
        i++;
    }
    return avs_arena_fmt(a, "%.2f %s", v, suffix[i]);
}

static const char *number_text(avs_arena *a, const avs_q_column *c, double v)
{
    if (isnan(v)) return "";
    v *= avs_cell_scale(c);
    switch (c->unit) {
    case AVS_U_FRACTION:
        return avs_arena_fmt(a, "%.1f", v);
    case AVS_U_NS:
        return avs_arena_fmt(a, fabs(v) < 10 ? "%.3f" : "%.2f", v);
    case AVS_U_SECONDS:
        return avs_arena_fmt(a, "%.1f", v);
    case AVS_U_COUNT:
        return count_text(a, v);
    case AVS_U_PLAIN:
        break;
    }
    return avs_arena_fmt(a, "%.5g", v);
}

/* Never NULL: what could not be allocated is empty, and avs_report fails because its arena did. */
const char *avs_cell_number(avs_arena *a, const avs_q_column *c, double v)
{
    const char *text = number_text(a, c, v);
    return text ? text : "";
}

const char *avs_cell_signed(avs_arena *a, const avs_q_column *c, double v)
{
    const char *text = avs_cell_number(a, c, fabs(v));
    if (isnan(v)) return "";
    bool zero = !strpbrk(text, "123456789"); /* a difference that rounds away has no sign */
    return avs_arena_fmt(a, "%s%s", zero ? "" : v < 0 ? "-" : "+", text);
}

const char *avs_cell_text(avs_arena *a, const avs_q_column *c, const avs_q_cell *x)
{
    if (x->expected == 0) return "";
    if (x->n == 0 && x->suspect) return avs_arena_fmt(a, "- (%d suspect)", x->suspect);
    if (x->n == 0) return avs_arena_fmt(a, "- (0/%d)", x->expected);
    const char *mark = x->is_flagged ? "†" : "", *mean = avs_cell_number(a, c, x->mean);
    bool fixed = c->unit == AVS_U_COUNT && x->is_same; /* a parameter count has no spread to speak of */
    const char *half = x->n > 1 && !fixed && !isnan(x->half) ? avs_cell_number(a, c, x->half) : NULL;
    const char *text =
        half ? avs_arena_fmt(a, "%s%s ± %s", mean, mark, half) : avs_arena_fmt(a, "%s%s", mean, mark);
    if (x->suspect) return avs_arena_fmt(a, "%s (%d/%d, %d suspect)", text, x->n, x->expected, x->suspect);
    if (x->n < x->expected) return avs_arena_fmt(a, "%s (%d/%d)", text, x->n, x->expected);
    if (fixed || (x->n > 1 && !c->show_n)) return text;
    return avs_arena_fmt(a, "%s (n=%d)", text, x->n);
}

const char *avs_row_label(const avs_table *t, const avs_q_row *r, avs_arena *a)
{
    const char *label = "";
    for (int k = 0; k < t->n_by && label; k++)
        label = avs_arena_fmt(a, "%s%s%s%s%s", label, k ? ", " : "", strlen(t->by[k]) < 24 ? t->by[k] : "",
                              strlen(t->by[k]) < 24 ? "=" : "", r->key[k] ? r->key[k] : "-");
    return label ? label : "";
}
