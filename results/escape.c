/* Names come from files and command lines, so they may hold anything: markup, control characters, marks that turn the
 * direction of the text, bytes that are no UTF-8, ten thousand letters. avs_text_shown makes them fit for display; the other
 * functions keep a format's syntax safe. */
#include <stdio.h>
#include <string.h>
#include "results/render.h"

/* Points that act instead of being seen: C0 and C1 controls, direction marks, separators of lines and paragraphs. */
static bool is_acting(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x2069) || c == 0xfeff || c == 0xfffd ||
           (c >= 0xfff9 && c <= 0xfffb) || c >= 0xe0000;
}

/* The text with acting points spelled out; NULL when memory is out. */
static const char *spell_out(avs_arena *a, const char *text)
{
    bool plain = true;
    for (const char *p = text; *p && plain;) plain = !is_acting(avs_text_point(&p));
    if (plain) return avs_arena_str(a, text);
    const size_t cap = 9 * strlen(text) + 1; /* "<U+E0001>" is the longest */
    char *out = AVS_NEW_N(a, char, cap);
    size_t n = 0;
    for (const char *p = text; *p && out;) {
        const char *start = p;
        uint32_t c = avs_text_point(&p);
        if (is_acting(c)) {
            n += (size_t)snprintf(out + n, cap - n, "<U+%04X>", (unsigned)c);
        } else {
            memcpy(out + n, start, (size_t)(p - start));
            n += (size_t)(p - start);
        }
    }
    return out;
}

const char *avs_text_shown(avs_arena *a, const char *text, size_t width)
{
    const char *all = spell_out(a, text ? text : "");
    if (!all) return "";
    const size_t have = avs_text_width(all), head = width * 2 / 3;
    if (have <= width) return all;
    /* The middle gives way: names that differ often do so at an end. */
    const char *cut = all, *tail = all, *p = all;
    for (size_t seen = 0; *p && seen <= head;) {
        cut = p;
        seen += avs_text_point_width(avs_text_point(&p));
    }
    for (size_t seen = 0; *tail && seen < have + head + 1 - width;)
        seen += avs_text_point_width(avs_text_point(&tail));
    const char *copy = avs_arena_fmt(a, "%.*s…%s", (int)(cut - all), all, tail);
    return copy ? copy : "";
}

void avs_html_escape(avs_buf *out, const char *text)
{
    for (const char *p = text; p && *p;) { /* NULL: could not be allocated; the report fails at its end */
        const char *start = p;
        uint32_t c = avs_text_point(&p);
        const char *entity = c == '&'    ? "&amp;"
                             : c == '<'  ? "&lt;"
                             : c == '>'  ? "&gt;"
                             : c == '"'  ? "&quot;"
                             : c == '\'' ? "&#39;"
                                         : NULL;
        if (entity)
            avs_buf_str(out, entity);
        else if (c == 0xfffd)
            avs_buf_str(out, "\xef\xbf\xbd");
        else if (is_acting(c) && c != '\n' && c != '\t')
            avs_buf_fmt(out, "&lt;U+%04X&gt;", (unsigned)c);
        else
            avs_buf_put(out, start, (size_t)(p - start));
    }
}

/* Pipes would end the cell, angle brackets and ampersands would be markup, "](" a link. */
void avs_markdown_escape(avs_buf *out, const char *text)
{
    for (const char *all = text; *text; text++) {
        bool link = text > all && text[-1] == ']' && (*text == '(' || *text == '[');
        if (link || strchr("|\\*`_~$", *text)) avs_buf_char(out, '\\');
        if (*text == '<')
            avs_buf_str(out, "&lt;");
        else if (*text == '&')
            avs_buf_str(out, "&amp;");
        else
            avs_buf_char(out, *text);
    }
}

/* What plain pdflatex sets in its default encoding; any other point is named by its number. */
void avs_latex_escape(avs_buf *out, const char *text)
{
    static const struct {
        uint32_t c;
        const char *tex;
    } special[] = {{'\\', "\\textbackslash{}"},
                   {'~', "\\textasciitilde{}"},
                   {'^', "\\textasciicircum{}"},
                   {'<', "$<$"},
                   {'>', "$>$"},
                   {'|', "$|$"},
                   {'"', "''"},
                   {0xb1, "$\\pm$"},
                   {0xd7, "$\\times$"},
                   {0xb7, "$\\cdot$"},
                   {0xb5, "$\\mu$"},
                   {0x2020, "\\dag{}"},
                   {0x2013, "--"},
                   {0x2014, "---"},
                   {0x2026, "\\ldots{}"}};
    for (const char *p = text; *p;) {
        const char *start = p, *tex = NULL;
        uint32_t c = avs_text_point(&p);
        for (size_t i = 0; i < sizeof special / sizeof *special; i++)
            if (special[i].c == c) tex = special[i].tex;
        bool accented = c >= 0xc0 && c <= 0xff && c != 0xd0 && c != 0xde && c != 0xf0 && c != 0xfe;
        if (tex)
            avs_buf_str(out, tex);
        else if (c < 0x80 && strchr("#$%&_{}", (int)c))
            avs_buf_fmt(out, "\\%c", (char)c);
        else if ((c >= 0x20 && c < 0x7f) || accented)
            avs_buf_put(out, start, (size_t)(p - start));
        else
            avs_buf_fmt(out, "[U+%04X]", (unsigned)c);
    }
}
