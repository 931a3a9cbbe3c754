/* Numbers with units, one after the other. */
#include "sweeps/duration.h"

#include <stdlib.h>
#include <string.h>

static double unit_of(char c)
{
    return c == 's' ? 1 : c == 'm' ? 60 : c == 'h' ? 3600 : c == 'd' ? 86400 : 0;
}

bool avs_duration_read(const char *text, double *seconds)
{
    static const char digits[] = "0123456789.";
    double total = 0;
    const char *s = text;
    if (!*s) return false;
    while (*s) {
        char *end;
        if (!strchr(digits, *s)) return false;
        const double v = strtod(s, &end);
        const bool bare = *end == '\0' && s == text, known = *end && unit_of(*end) > 0;
        if (end == s || (!bare && !known)) return false;
        total += v * (bare ? 1 : unit_of(*end));
        s = bare ? end : end + 1;
    }
    *seconds = total;
    return total <= 1e9;
}
