/* Is B better than A? Two sets of trials, configuration by configuration.
 *
 * A and B are each a whole database, a sweep, or the trials for which a list holds ("fusion=cross") or whose configuration
 * or trial hash begins with given digits. Configurations are paired by every parameter in which trials of one side differ,
 * save those that A or B fix; what has no partner is counted. A pair is compared over common seeds (paired t) where both
 * share at least two, else by Welch's t. For latency a seed is an independent process, its number the chosen percentile.
 *
 * Intervals hold for all pairs at once (Bonferroni), so that the chance of calling any difference where there is none is at
 * most 1 - level; p is Holm-adjusted over the pairs. With the threshold T (relative to A, or absolute):
 *   better, worse   the interval lies wholly beyond T on that side
 *   same            the interval lies wholly within -T..T
 *   undecided       anything else, and pairs without an interval */
#ifndef AVS_RESULTS_COMPARE_H
#define AVS_RESULTS_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "results/report.h"

typedef enum { AVS_SAME, AVS_BETTER, AVS_WORSE, AVS_UNDECIDED, AVS_VERDICTS } avs_verdict;
const char *avs_verdict_name(avs_verdict v);

typedef struct {
    avs_store *store;
    const char *where; /* list as in avs_report_spec, or NULL          */
    const char *hash;  /* hex digits of a configuration or trial, or NULL */
    const char *sweep; /* or NULL                                      */
    const char *name;  /* what the user called it                      */
} avs_compare_side;

typedef struct {
    avs_compare_side a, b;
    const char *metric;       /* as a column of a report: "miou", "latency_p50", .. */
    double threshold;         /* 0.01 */
    bool is_relative;         /* of A's mean; else in the unit that is stored */
    double ci;                /* confidence level in percent; 0: 95 */
    bool nonparametric;       /* p by Wilcoxon from 10 common seeds on; intervals stay those of t */
    bool mixed, suspect;      /* as in avs_report_spec; code may differ between A and B, machines may not */
    bool color, standalone;   /* of text and LaTeX */
    avs_report_format format; /* SVG: the differences with their intervals */
} avs_compare_spec;

typedef struct {
    double delta, lo, hi, p; /* B - A in stored units; NaN where there is none; p not adjusted yet */
    int n;                   /* common seeds; 0: Welch                                        */
    const char *test;        /* "paired t", "Welch", "Wilcoxon", "exact", ""                  */
} avs_compare_result;
typedef struct {
    const double *value;
    const int64_t *seed; /* ascending */
    int n;
} avs_compare_set;
/* One pair at a given level (after Bonferroni). scratch: room for 2 * a->n numbers. exact: a count, which no seed can change;
 * then the interval is the difference itself. */
avs_compare_result avs_compare_sets(const avs_compare_set *a, const avs_compare_set *b, double *scratch,
                                    double level, bool nonparametric, bool exact);
/* better: +1 more is better, -1 less. threshold in stored units, >= 0. */
avs_verdict avs_compare_verdict(const avs_compare_result *r, int better, double threshold);

/* Appends the comparison to out; verdicts[v] counts the pairs. Errors: AVS_EMISSING when nothing can be paired or no trial
 * has the metric, AVS_ERANGE for a malformed specification, latencies of different machines, or a metric of which neither
 * more nor less is better. */
int avs_compare(const avs_compare_spec *spec, avs_buf *out, int verdicts[AVS_VERDICTS], avs_err *e);

#endif
