/* Did you mean: the nearest name by Damerau-Levenshtein distance (optimal string alignment: insertion, deletion,
 * substitution, and the swap of neighbours count one each). */
#include "models/schema.h"

#include <string.h>

enum { MAX_WORD = 64 };

static int min3(int a, int b, int c)
{
    int m = a < b ? a : b;
    return m < c ? m : c;
}

static int distance(const char *a, int n, const char *b, int m)
{
    int d[MAX_WORD + 1][MAX_WORD + 1];
    for (int i = 0; i <= n; i++) d[i][0] = i;
    for (int j = 0; j <= m; j++) d[0][j] = j;
    for (int i = 1; i <= n; i++)
        for (int j = 1; j <= m; j++) {
            d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < d[i][j])
                d[i][j] = d[i - 2][j - 2] + 1;
        }
    return d[n][m];
}

const char *avs_nearest(const char *word, const char *const *names, int n)
{
    const char *best = NULL;
    size_t len = strlen(word);
    int best_d = 4;
    if (len > MAX_WORD) return NULL;
    for (int i = 0; i < n; i++) {
        size_t m = strlen(names[i]), gap = m > len ? m - len : len - m;
        if (m > MAX_WORD || gap >= (size_t)best_d) continue;
        int d = distance(word, (int)len, names[i], (int)m);
        if (d < best_d && 2 * (size_t)d < len) {
            best = names[i];
            best_d = d;
        }
    }
    return best;
}
