/* Whether a text is well-formed XML as far as plots need: elements nest, attributes are quoted, no bare & or <. */
#ifndef AVS_TESTS_RESULTS_XML_H
#define AVS_TESTS_RESULTS_XML_H

#include "tests/results/sample.h"

static inline const char *xml_entity(const char *p)
{
    const char *end = p + strcspn(p + 1, "; <&\"") + 1;
    if (*end != ';' || end - p < 3 || end - p > 8) fail_msg("a bare ampersand: %.40s", p);
    return end;
}

/* Past the attributes of a start tag. */
static inline const char *xml_attributes(const char *p)
{
    while (*p && *p != '>' && *p != '/') {
        p += strspn(p, " \n");
        if (*p == '>' || *p == '/') break;
        p += strcspn(p, "=> \n\"<");
        if (p[0] != '=' || p[1] != '"') fail_msg("an attribute without quotes: %.40s", p);
        for (p += 2; *p && *p != '"'; p++) {
            if (*p == '<') fail_msg("a bare < in an attribute: %.40s", p);
            if (*p == '&') p = xml_entity(p);
        }
        p += *p == '"';
    }
    return p;
}

static inline void assert_xml(const char *text)
{
    char open[16][16];
    int depth = 0;
    for (const char *p = text; *p; p++) {
        if (*p == '&') p = xml_entity(p);
        if (*p != '<') continue;
        const bool ends = p[1] == '/';
        p += 1 + ends;
        const size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyz");
        if (n == 0 || n >= sizeof open[0] || depth >= 15) fail_msg("no element: %.40s", p);
        if (!ends) {
            snprintf(open[depth++], sizeof open[0], "%.*s", (int)n, p);
            p = xml_attributes(p + n);
            if (*p == '/') depth--, p++;
        } else if (depth == 0 || strncmp(open[--depth], p, n) != 0 || open[depth][n]) {
            fail_msg("</%.20s closes another element", p);
        } else {
            p += n;
        }
        if (*p != '>') fail_msg("an element without end: %.40s", p);
    }
    assert_int_equal(depth, 0);
}

#endif
