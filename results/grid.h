/* A report as a rectangle of texts: what text, Markdown, LaTeX and HTML tables share. Grid columns are row keys, metrics, and
 * what follows a metric (paper, delta, difference from the baseline). All texts are fit for display: control and direction
 * marks are spelled out, long names shortened in the middle; escaping for a format is left to its renderer. */
#ifndef AVS_RESULTS_GRID_H
#define AVS_RESULTS_GRID_H

#include "results/query.h"

typedef enum { AVS_LOOK_PLAIN, AVS_LOOK_BEST, AVS_LOOK_TIED, AVS_LOOK_PAPER } avs_look;

typedef struct {
    const char *name; /* "miou [%]", "paper": heading where every column has one */
    const char *
        group; /* "S4 mIoU (%)": heading over this column and its neighbours of the same pointer; NULL: none */
    const char *under; /* heading below the group: "ours", "paper"; without a group the whole heading */
    bool right;        /* numbers stand to the right */
} avs_grid_column;

typedef struct {
    const char *text;
    double value; /* to sort by; NaN: a text or no number */
    avs_look look;
} avs_grid_cell;

typedef struct {
    const char *title;
    int rows, cols;
    avs_grid_column *column;
    avs_grid_cell *cell; /* rows * cols */
    const char **note;
    int n_notes;
    const char **provenance;
    int n_provenance;
    bool has_best, has_tied, has_inside; /* marks that need a word of explanation */
} avs_grid;

/* False when memory is out. Everything belongs to the arena. */
bool avs_grid_of_table(const avs_table *t, avs_arena *a, avs_grid *g);

/* A grid as bytes; what fails shows in avs_buf_ok. */
void avs_grid_text(const avs_grid *g, avs_arena *a, bool color, avs_buf *out);
void avs_grid_markdown(const avs_grid *g, avs_buf *out);
void avs_grid_latex(const avs_grid *g, bool standalone, avs_buf *out);

#endif
