/* A report as data: columns, rows and cells with everything a renderer prints. Private to this room.
 * Ownership: all pointers belong to the arena that was given to avs_query. */
#ifndef AVS_RESULTS_QUERY_H
#define AVS_RESULTS_QUERY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/json.h"
#include "results/report.h"

/* Texts that occur in parameters, each stored once; configurations hold their numbers. */
typedef struct avs_q_words avs_q_words;

/* The parameter names of a configuration, in stored order. Configurations with the same names share one shape. */
typedef struct {
    int n, number; /* number: shapes are counted from 0 */
    const char **key;
    const uint32_t *key_word;
    const avs_q_words *words;
} avs_q_shape;

typedef struct {
    int64_t id;
    const char *kind, *model, *task; /* each stored once: equal texts are equal pointers */
    const avs_q_shape *shape;
    const uint32_t *value; /* a word for each key: strings as they are, anything else as canonical JSON */
} avs_q_config;

typedef struct {
    const char *seed_text;
    int64_t id, seed, attempt; /* attempt: the one that counts, 0 if none */
    const avs_q_config *cfg;
    avs_trial_state state;
    int row; /* in the table */
} avs_q_trial;

typedef struct {
    char *key, *value;
    bool negate;
} avs_q_term;

typedef struct {
    avs_q_term *term;
    int n;
} avs_q_where;

typedef enum { AVS_U_PLAIN, AVS_U_FRACTION, AVS_U_NS, AVS_U_SECONDS, AVS_U_COUNT } avs_q_unit;

typedef struct {
    const char *name;   /* as asked for: "miou@task=s4"            */
    const char *metric; /* "miou"                                  */
    const char *split;  /* NULL: test before "" before val         */
    avs_q_where pin;
    avs_q_unit unit;
    int better;
    const char *latency; /* series name when this is a latency column, else NULL */
    const char *stat;    /* column of table latency: "p50", ..                   */
    const char *machine; /* of the first latency: CPU, GPU, driver; NULL: none */
    bool has_paper, has_base, is_mixed;
    bool show_n; /* cells that miss nothing differ in n: each says its own       */
    int n_suspect; /* latencies that drifted or were disturbed: left out, or marked if the report asked for them */
    double *value; /* per trial, NaN: none */
    bool *flag;    /* per trial: its latency drifted or was disturbed */
} avs_q_column;

typedef struct {
    int n, expected; /* trials with a number; trials that should have one (0: the column does not apply) */
    int suspect;     /* of those expected: latencies left out because they drifted or were disturbed     */
    /* best: the best of its column (equal ones too); tied: tested, and not significantly worse; tested: shares two seeds with
     * the best, or is best; same: all values equal; flagged: holds a suspect latency that the report asked for */
    bool is_best, is_tied, is_tested, is_same, is_flagged, has_paper, paper_inside, has_base;
    double mean, sd; /* latency: mean is the median over processes                                     */
    double lo, hi,
        half; /* interval at the table's level: Student's t, latency the bootstrap; half = (hi - lo) / 2;
                            NaN for n < 2                                                                 */
    const double *value; /* n, in order of seeds */
    const int64_t *seed;
    double best_p; /* Holm-adjusted p against the best of the column, NaN: not tested */
    double paper;
    const char *paper_source;
    const struct avs_q_base *base; /* NULL unless has_base */
} avs_q_cell;

/* Difference from the baseline row: paired over common seeds where there are two, else of the means (then without p). */
typedef struct avs_q_base {
    double diff, lo, hi,
        p; /* interval and p NaN when they cannot be computed; p Holm-adjusted over the column */
    int n; /* common seeds */
} avs_q_base;

typedef struct {
    const char **key;          /* n_by texts; NULL: the parameter is absent */
    avs_q_cell *cell;          /* n_columns */
    int first_trial, n_trials; /* its trials lie side by side in the table, in order of seeds */
    int n_configs;             /* 1, or 2 for several */
    int n_state[AVS_TRIAL_STATES];
    bool is_base;
} avs_q_row;

typedef struct {
    const char *title;
    const char **by;
    int n_by;
    avs_q_column *column;
    int n_columns;
    avs_q_row *row;
    int n_rows, n_hidden; /* n_hidden: rows cut off by top */
    avs_q_trial *trial;   /* in order of rows */
    int n_trials;
    int64_t *seed; /* of each trial */
    avs_q_config *config;
    int n_configs, n_shapes;
    avs_q_words *words;
    const char **note;
    int n_notes, cap_notes; /* footnotes, sentences        */
    const char **provenance;
    int n_provenance, cap_provenance;
    double ci; /* 95 */
    bool
        is_from_block; /* keys, columns and what belongs to them come from the report block of the sweep file */
} avs_table;

/* What spec leaves open is filled in from the sweep's report block. */
int avs_query(avs_store *s, avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e);

/* Value of a key for a trial as text: kind, model, task, seed, state, or a parameter; NULL when absent. */
const char *avs_q_text(const avs_q_trial *t, const char *key);
/* "k=v,k!=v"; NULL or "" gives an empty list. */
int avs_q_where_parse(avs_arena *a, const char *text, avs_q_where *out, avs_err *e);
bool avs_q_where_holds(const avs_q_where *w, const avs_q_trial *t);
void avs_q_note(avs_table *t, avs_arena *a, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void avs_q_provenance(avs_table *t, avs_arena *a, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Which trials hold: into[n_trials]. */
void avs_q_select(const avs_table *t, const avs_q_where *w, bool *into);

/* ---- words (query_words.c) ---- */
avs_q_words *avs_q_words_new(avs_arena *a); /* NULL: no memory */
/* The word of n bytes, new or known; 0 when memory is out. Words count from 1. */
uint32_t avs_q_word(avs_q_words *w, const char *text, size_t n);
const char *avs_q_word_text(const avs_q_words *w, uint32_t word); /* NULL for 0 */
/* Names and values of a stored parameter object. Errors: AVS_EPARSE, AVS_ENOMEM. */
int avs_q_params(avs_q_words *w, const char *json, size_t n, avs_q_config *c, avs_err *e);
int avs_q_shapes(const avs_q_words *w); /* how many there are */

/* ---- keys of rows (query_group.c) ---- */
bool avs_q_has_key(const avs_table *t, const char *key);
/* Into t->by: the keys asked for, or every parameter in which trials of one kind differ; none if there is none. */
int avs_q_choose_keys(const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e);
int avs_q_unknown_key(const avs_table *t, const char *key, avs_err *e);

/* Steps of avs_query, in their order. */
int avs_q_block(avs_store *s, avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e);
int avs_q_load(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t,
               avs_err *e);                                                             /* trials    */
int avs_q_columns(const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e); /* names     */
int avs_q_group(const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e);   /* rows      */
int avs_q_values(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t,
                 avs_err *e); /* numbers   */
int avs_q_cells(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t,
                avs_err *e); /* statistics */
int avs_q_published(avs_store *s, avs_arena *a, avs_table *t, avs_err *e);
int avs_q_footer(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e);

/* Latency cells (query_latency.c): medians over processes and their bootstrap intervals. */
int avs_q_latency_medians(const avs_table *t, avs_q_cell *cell, avs_err *e);
int avs_q_latency_intervals(avs_store *s, avs_table *t, int col, avs_err *e);
/* Values of the seeds that two cells share, in pairs; a seed that occurs twice in a cell cannot be paired. */
int avs_q_common(const avs_q_cell *x, const avs_q_cell *y, double *u, double *v);

#endif
