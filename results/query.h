/* A report as data: columns, rows and cells with everything a renderer prints. Private to this room.
 * Ownership: all pointers belong to the arena that was given to avs_query. */
#ifndef AVS_RESULTS_QUERY_H
#define AVS_RESULTS_QUERY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/json.h"
#include "results/report.h"

typedef struct {
    int64_t id;
    const char *kind, *model, *task;
    const avs_json *params;
    const char **text; /* of each parameter, in order: so that looking one up allocates nothing */
} avs_q_config;

typedef struct {
    const char *seed_text;
    int64_t id, seed, attempt; /* attempt: the one that counts, 0 if none */
    avs_trial_state state;
    const avs_q_config *cfg;
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
    bool has_paper, has_base, is_mixed;
    int n_flagged; /* latency cells whose samples drift or were disturbed  */
    double *value; /* per trial, NaN: none */
    bool *flag;    /* per trial: its latency drifted or was disturbed */
} avs_q_column;

typedef struct {
    int n, expected; /* trials with a number; trials that should have one (0: the column does not apply) */
    double mean, sd,
        half;      /* latency: median; half NaN for n < 2                                              */
    double *value; /* n, in order of seeds */
    int64_t *seed;
    bool is_best, is_tied, is_same; /* is_same: all values equal */
    bool has_paper, paper_inside, is_flagged;
    double paper;
    const char *paper_source;
    bool has_base;
    double base_diff, base_p; /* p NaN when it cannot be computed */
} avs_q_cell;

typedef struct {
    const char **key; /* n_by texts; NULL: the parameter is absent */
    avs_q_cell *cell; /* n_columns */
    int n_trials, n_configs, n_state[AVS_TRIAL_STATES];
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
    avs_q_trial *trial;
    int n_trials;
    const char **note;
    int n_notes, cap_notes; /* footnotes, sentences        */
    const char **provenance;
    int n_provenance, cap_provenance;
    double ci;          /* 95 */
    bool is_from_block; /* keys and columns come from the report block of the sweep file */
} avs_table;

int avs_query(avs_store *s, const avs_report_spec *asked, avs_arena *a, avs_table *t, avs_err *e);

/* Value of a key for a trial as text: kind, model, task, seed, state, or a parameter; NULL when absent. */
const char *avs_q_text(const avs_q_trial *t, const char *key);
/* "k=v,k!=v"; NULL or "" gives an empty list. */
int avs_q_where_parse(avs_arena *a, const char *text, avs_q_where *out, avs_err *e);
bool avs_q_where_holds(const avs_q_where *w, const avs_q_trial *t);
void avs_q_note(avs_table *t, avs_arena *a, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void avs_q_provenance(avs_table *t, avs_arena *a, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Steps of avs_query, in their order. */
int avs_q_load(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t,
               avs_err *e); /* trials    */
int avs_q_columns(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t,
                  avs_err *e);                                                        /* values    */
int avs_q_group(const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e); /* rows      */
int avs_q_cells(const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e); /* statistics */
int avs_q_published(avs_store *s, avs_arena *a, avs_table *t, avs_err *e);
int avs_q_footer(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e);

#endif
