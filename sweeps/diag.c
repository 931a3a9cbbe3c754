/* Collecting and printing diagnostics. Excerpts are cut from the source when they are printed; positions count
 * characters, so the line is walked in UTF-8. */
#include "sweeps/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/json.h"

enum { EXCERPT = 100 }; /* characters of a line that are shown */

void avs_diag_init(avs_diag *d, avs_arena *a)
{
    *d = (avs_diag){.a = a};
}

bool avs_diag_full(const avs_diag *d)
{
    return d->n_errors >= AVS_DIAG_MAX || d->no_memory;
}

static bool same(const avs_diag_item *x, const char *code, avs_pos pos, const char *text)
{
    return x->pos.src == pos.src && x->pos.line == pos.line && x->pos.col == pos.col &&
           strcmp(x->code, code) == 0 && strcmp(x->text, text) == 0;
}

void avs_diag_add(avs_diag *d, const char *code, avs_pos pos, const char *help, const char *fmt, ...)
{
    char text[640];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    bool warning = code[0] == 'W';
    avs_diag_item *items = warning ? d->warnings : d->errors;
    int *n = warning ? &d->n_warnings : &d->n_errors;
    int kept = *n < AVS_DIAG_MAX ? *n : AVS_DIAG_MAX;
    for (int i = 0; i < kept; i++)
        if (same(&items[i], code, pos, text)) return;
    ++*n;
    if (kept == AVS_DIAG_MAX) return;
    avs_diag_item item = {code, pos, avs_arena_str(d->a, text), help ? avs_arena_str(d->a, help) : NULL};
    if (!item.text || (help && !item.help)) {
        d->no_memory = true;
        item.text = "no memory for this message";
    }
    items[kept] = item;
}

size_t avs_line_break(const char *p, const char *end)
{
    size_t n = (size_t)(end - p);
    if (*p == '\n') return 1;
    if (*p == '\r') return n > 1 && p[1] == '\n' ? 2 : 1;
    if (n > 1 && memcmp(p, "\xc2\x85", 2) == 0) return 2;
    return n > 2 && (memcmp(p, "\xe2\x80\xa8", 3) == 0 || memcmp(p, "\xe2\x80\xa9", 3) == 0) ? 3 : 0;
}

const char *avs_source_line(const avs_source *src, uint32_t line, size_t *len)
{
    const char *p = src->text, *end = src->text + src->len;
    for (uint32_t i = 1; i < line; i++) {
        size_t step = 0;
        while (p < end && (step = avs_line_break(p, end)) == 0) p++;
        if (p == end) return NULL;
        p += step;
    }
    const char *stop = p;
    while (stop < end && avs_line_break(stop, end) == 0) stop++;
    *len = (size_t)(stop - p);
    return p;
}

/* One character of a line that may be damaged; controls and broken bytes become '?'. */
static size_t put_char(avs_buf *out, const char *p, size_t n)
{
    size_t len = avs_utf8_len(p, n);
    bool control = len == 1 && ((unsigned char)*p < 32 || *p == 127);
    if (len == 0 || control) {
        if (out) avs_buf_char(out, *p == '\t' ? ' ' : '?');
        return 1;
    }
    if (out) avs_buf_put(out, p, len);
    return len;
}

static void write_excerpt(avs_buf *out, avs_pos pos)
{
    size_t n = 0;
    const char *line = avs_source_line(pos.src, pos.line, &n);
    if (!line) return;
    uint32_t skip = pos.col > EXCERPT - 20 ? pos.col - EXCERPT / 2 : 0, shown = 0;
    size_t at = 0;
    for (uint32_t i = 0; i < skip && at < n; i++) at += put_char(NULL, line + at, n - at);
    avs_buf_fmt(out, "%4u | ", pos.line);
    while (at < n && shown < EXCERPT) {
        at += put_char(out, line + at, n - at);
        shown++;
    }
    avs_buf_str(out, "\n     | ");
    uint32_t col = pos.col > skip ? pos.col - 1 - skip : 0;
    for (uint32_t i = 0; i < col; i++) avs_buf_char(out, ' ');
    avs_buf_char(out, '^');
    for (uint32_t i = 1; i < pos.len && col + i < shown; i++) avs_buf_char(out, '~');
    avs_buf_char(out, '\n');
}

static void write_item(avs_buf *out, const avs_diag_item *x)
{
    const char *word = x->code[0] == 'W' ? "warning" : "error";
    if (x->pos.src && x->pos.line)
        avs_buf_fmt(out, "%s:%u:%u: ", x->pos.src->path, x->pos.line, x->pos.col);
    else if (x->pos.src)
        avs_buf_fmt(out, "%s: ", x->pos.src->path);
    avs_buf_fmt(out, "%s[%s]: %s\n", word, x->code, x->text);
    if (x->pos.src && x->pos.line) write_excerpt(out, x->pos);
    if (x->help) avs_buf_fmt(out, "help: %s\n", x->help);
}

static bool after(const avs_pos *x, const avs_pos *y)
{
    if (x->src != y->src) return x->src && y->src ? strcmp(x->src->path, y->src->path) > 0 : !x->src;
    return x->line != y->line ? x->line > y->line : x->col > y->col;
}

/* In order of place; at one place in order of finding. */
static void write_all(avs_buf *out, const avs_diag_item *items, int n, const char *word)
{
    int kept = n < AVS_DIAG_MAX ? n : AVS_DIAG_MAX, order[AVS_DIAG_MAX];
    for (int i = 0; i < kept; i++) {
        int at = i;
        for (; at > 0 && after(&items[order[at - 1]].pos, &items[i].pos); at--) order[at] = order[at - 1];
        order[at] = i;
    }
    for (int i = 0; i < kept; i++) write_item(out, &items[order[i]]);
    if (n > kept)
        avs_buf_fmt(out, "%d more %s%s not shown\n", n - kept, word, n - kept == 1 ? " is" : "s are");
}

void avs_diag_write(const avs_diag *d, avs_buf *out)
{
    write_all(out, d->errors, d->n_errors, "error");
    write_all(out, d->warnings, d->n_warnings, "warning");
}
