/* How trials fall into rows: which keys, keys as words, rows in order of appearance, and the trials of a row side by side
 * in order of seeds, so that a cell is a piece of a column. */
#include "results/query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/rng.h"

static const char *const special[] = {"kind", "model", "task", "seed", "state"};

bool avs_q_has_key(const avs_table *t, const char *key)
{
    const avs_q_config *last = NULL;
    const avs_q_shape *shape = NULL;
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (strcmp(special[i], key) == 0) return true;
    for (int i = 0; i < t->n_trials; i++) {
        if (t->trial[i].cfg == last || t->trial[i].cfg->shape == shape) continue;
        last = t->trial[i].cfg;
        shape = last->shape;
        for (int k = 0; k < shape->n; k++)
            if (strcmp(shape->key[k], key) == 0) return true;
    }
    return false;
}

int avs_q_unknown_key(const avs_table *t, const char *key, avs_err *e)
{
    char known[300] = "kind, model, task, seed, state";
    size_t len = strlen(known);
    const avs_q_shape *shape = t->n_trials ? t->trial[0].cfg->shape : NULL;
    for (int k = 0; shape && k < shape->n; k++)
        if (len + strlen(shape->key[k]) + 3 < sizeof known)
            len += (size_t)snprintf(known + len, sizeof known - len, ", %s", shape->key[k]);
    return avs_fail(e, AVS_EMISSING, "no trial has the parameter '%s'; there are: %s", key, known);
}

static bool is_pinned(const avs_table *t, const char *key)
{
    for (int c = 0; c < t->n_columns; c++)
        for (int i = 0; i < t->column[c].pin.n; i++)
            if (strcmp(t->column[c].pin.term[i].key, key) == 0) return true;
    return false;
}

static void add_by(avs_table *t, const char *key)
{
    for (int i = 0; i < t->n_by; i++)
        if (strcmp(t->by[i], key) == 0) return;
    if (t->n_by < 64 && !is_pinned(t, key)) t->by[t->n_by++] = key;
}

/* The first configuration of each kind that is met: with it the others are compared. */
typedef struct {
    const avs_q_config *first[16];
    int n;
} kinds;

static const avs_q_config *first_of_kind(kinds *k, const avs_q_config *c)
{
    for (int i = 0; i < k->n; i++)
        if (k->first[i]->kind == c->kind) return k->first[i];
    if (k->n < (int)(sizeof k->first / sizeof *k->first)) k->first[k->n++] = c;
    return c;
}

static uint32_t value_at(const avs_q_config *c, const char *key)
{
    for (int i = 0; i < c->shape->n; i++)
        if (strcmp(c->shape->key[i], key) == 0) return c->value[i];
    return 0;
}

/* Adds the parameters in which c and its kind's first differ; varies[] remembers those of first's shape already added. */
static void add_differences(avs_table *t, const avs_q_config *c, const avs_q_config *first)
{
    if (c->shape == first->shape) {
        if (memcmp(c->value, first->value, (size_t)c->shape->n * sizeof *c->value) == 0) return;
        for (int i = 0; i < c->shape->n; i++)
            if (c->value[i] != first->value[i]) add_by(t, c->shape->key[i]);
        return;
    }
    for (int i = 0; i < c->shape->n; i++)
        if (c->value[i] != value_at(first, c->shape->key[i])) add_by(t, c->shape->key[i]);
    for (int i = 0; i < first->shape->n; i++)
        if (!value_at(c, first->shape->key[i])) add_by(t, first->shape->key[i]);
}

static int by_place(const void *x, const void *y, void *first)
{
    const avs_q_config *c = first;
    int place[2] = {c->shape->n, c->shape->n};
    for (int i = 0; i < c->shape->n; i++) {
        if (strcmp(c->shape->key[i], *(const char *const *)x) == 0) place[0] = i;
        if (strcmp(c->shape->key[i], *(const char *const *)y) == 0) place[1] = i;
    }
    return place[0] != place[1] ? place[0] - place[1]
                                : strcmp(*(const char *const *)x, *(const char *const *)y);
}

/* The keys asked for, or every parameter in which trials of one kind differ: stages of another kind set others anyway. */
int avs_q_choose_keys(const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    kinds seen = {.n = 0};
    const avs_q_config *last = NULL;
    bool models = false, tasks = false;

    t->by = AVS_NEW_N(a, const char *, spec->n_by + 64);
    if (!t->by) return avs_fail(e, AVS_ENOMEM, "no memory for row keys");
    for (size_t i = 0; i < spec->n_by; i++) {
        if (!spec->missing_keys && !avs_q_has_key(t, spec->by[i]))
            return avs_q_unknown_key(t, spec->by[i], e);
        t->by[t->n_by++] = spec->by[i];
    }
    if (t->n_by) return AVS_OK;
    for (int i = 0; i < t->n_trials; i++) {
        const avs_q_config *c = t->trial[i].cfg, *first = last && c == last ? c : first_of_kind(&seen, c);
        last = c;
        models = models || c->model != first->model;
        tasks = tasks || c->task != first->task;
    }
    if (models) add_by(t, "model");
    if (tasks) add_by(t, "task");
    const int fixed = t->n_by;
    last = NULL;
    for (int i = 0; i < t->n_trials; i++) {
        const avs_q_config *c = t->trial[i].cfg;
        if (c != last) add_differences(t, c, first_of_kind(&seen, c));
        last = c;
    }
    if (t->n_by >
        fixed) /* in the order in which the parameters stand, not in that of their first difference */
        qsort_r(t->by + fixed, (size_t)(t->n_by - fixed), sizeof *t->by, by_place,
                (void *)(uintptr_t)t->trial[0].cfg);
    return AVS_OK;
}

/* ---- rows ---- */

typedef struct {
    avs_table *t;
    int *at;        /* shape by key: place of the key + 1, 0: not looked up yet, -1: the shape lacks it */
    int32_t *slot;  /* hash of keys -> row + 1 */
    int32_t *first; /* of each row: a trial with its keys */
    uint64_t mask;
    const int *special; /* of each key: its place in special[], -1: a parameter */
    uint32_t *key[2];   /* n_by words: of the trial at hand, of the row it is compared with */
} grouping;

enum { KIND, MODEL, TASK, SEED, STATE };

static uint32_t word_of(grouping *g, const char *text)
{
    return avs_q_word(g->t->words, text, strlen(text));
}

/* 0 where the trial lacks the key, otherwise a number that is equal for equal texts. */
static uint32_t key_word(grouping *g, const avs_q_trial *x, int k)
{
    const avs_q_shape *shape = x->cfg->shape;
    switch (g->special[k]) {
    case KIND:
        return word_of(g, x->cfg->kind);
    case MODEL:
        if (*x->cfg->model) return word_of(g, x->cfg->model);
        break;
    case TASK:
        if (*x->cfg->task) return word_of(g, x->cfg->task);
        break;
    case SEED:
        return word_of(g, x->seed_text);
    case STATE:
        return word_of(g, avs_trial_state_name(x->state));
    default:
        break;
    }
    int *at = &g->at[(size_t)shape->number * (size_t)g->t->n_by + (size_t)k];
    for (int i = 0; !*at && i < shape->n; i++)
        if (strcmp(shape->key[i], g->t->by[k]) == 0) *at = i + 1;
    if (!*at) *at = -1;
    return *at > 0 ? x->cfg->value[*at - 1] : 0;
}

static void key_words(grouping *g, const avs_q_trial *x, uint32_t *out)
{
    for (int k = 0; k < g->t->n_by; k++) out[k] = key_word(g, x, k);
}

static int find_row(grouping *g, int trial)
{
    avs_table *t = g->t;
    const size_t bytes = (size_t)t->n_by * sizeof **g->key;
    uint64_t h = 0;
    key_words(g, &t->trial[trial], g->key[0]);
    for (int k = 0; k < t->n_by; k++) h = avs_splitmix64(h ^ g->key[0][k]);
    for (uint64_t i = h & g->mask;; i = (i + 1) & g->mask) {
        if (!g->slot[i]) {
            g->first[t->n_rows] = trial;
            g->slot[i] = ++t->n_rows;
            return t->n_rows - 1;
        }
        key_words(g, &t->trial[g->first[g->slot[i] - 1]], g->key[1]);
        if (memcmp(g->key[0], g->key[1], bytes) == 0) return g->slot[i] - 1;
    }
}

static int make_rows(grouping *g, avs_arena *a, avs_err *e)
{
    avs_table *t = g->t;
    t->row = AVS_NEW_N(a, avs_q_row, t->n_rows + 1);
    const char **texts = AVS_NEW_N(a, const char *, (size_t)t->n_rows *(size_t)t->n_by + 1);
    if (!t->row || !texts) return avs_fail(e, AVS_ENOMEM, "no memory for %d rows", t->n_rows);
    for (int r = 0; r < t->n_rows; r++) {
        t->row[r].key = texts + (size_t)r * (size_t)t->n_by;
        for (int k = 0; k < t->n_by; k++)
            t->row[r].key[k] = avs_q_word_text(t->words, key_word(g, &t->trial[g->first[r]], k));
    }
    for (int i = 0; i < t->n_trials; i++) {
        avs_q_row *r = &t->row[t->trial[i].row];
        r->n_trials++;
        r->n_state[t->trial[i].state]++;
    }
    for (int r = 1; r < t->n_rows; r++)
        t->row[r].first_trial = t->row[r - 1].first_trial + t->row[r - 1].n_trials;
    return AVS_OK;
}

static int by_seed(const void *x, const void *y)
{
    const avs_q_trial *a = x, *b = y;
    if (a->seed != b->seed) return a->seed < b->seed ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

/* Puts every trial to its row, in place: each cycle of the permutation is walked once. */
static int arrange(avs_table *t, avs_arena *a, avs_err *e)
{
    int32_t *to = avs_xalloc(((size_t)t->n_trials + (size_t)t->n_rows) * sizeof *to + 1);
    t->seed = AVS_NEW_N(a, int64_t, t->n_trials);
    if (!to || !t->seed) {
        avs_xfree(to);
        return avs_fail(e, AVS_ENOMEM, "no memory to arrange %d trials", t->n_trials);
    }
    int32_t *next = to + t->n_trials;
    for (int r = 0; r < t->n_rows; r++) next[r] = t->row[r].first_trial;
    for (int i = 0; i < t->n_trials; i++) to[i] = next[t->trial[i].row]++;
    for (int i = 0; i < t->n_trials; i++) {
        while (to[i] != i) {
            const int32_t k = to[i];
            const avs_q_trial x = t->trial[k];
            t->trial[k] = t->trial[i];
            t->trial[i] = x;
            to[i] = to[k];
            to[k] = k;
        }
    }
    avs_xfree(to);
    for (int r = 0; r < t->n_rows; r++) {
        avs_q_trial *x = t->trial + t->row[r].first_trial;
        bool sorted = true;
        for (int i = 1; i < t->row[r].n_trials && sorted; i++) sorted = by_seed(&x[i - 1], &x[i]) < 0;
        if (!sorted) qsort(x, (size_t)t->row[r].n_trials, sizeof *x, by_seed);
    }
    for (int i = 0; i < t->n_trials; i++) t->seed[i] = t->trial[i].seed;
    return AVS_OK;
}

int avs_q_group(const avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    grouping g = {.t = t};
    const avs_q_config *last = NULL;
    uint64_t size = 16;
    bool by_trial = false;
    int rc;

    AVS_TRY(avs_q_choose_keys(spec, a, t, e));
    if (!t->n_by) t->by[t->n_by++] = "model";
    while (size < 2 * (uint64_t)t->n_trials) size *= 2;
    g.mask = size - 1;
    const size_t n_by = (size_t)t->n_by;
    g.at = avs_xalloc((size_t)t->n_shapes * n_by * sizeof *g.at + 1);
    g.slot = avs_xalloc(size * sizeof *g.slot);
    g.first = avs_xalloc((size_t)t->n_trials * sizeof *g.first);
    g.key[0] = avs_xalloc(2 * n_by * sizeof *g.key[0]);
    int *kind_of_key = avs_xalloc(n_by * sizeof *kind_of_key);
    g.special = kind_of_key;
    if (!g.at || !g.slot || !g.first || !g.key[0] || !kind_of_key) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for %d rows", t->n_trials);
        goto out;
    }
    g.key[1] = g.key[0] + n_by;
    for (int k = 0; k < t->n_by; k++) {
        kind_of_key[k] = -1;
        for (int i = KIND; i <= STATE; i++)
            if (strcmp(special[i], t->by[k]) == 0) kind_of_key[k] = i;
        by_trial = by_trial || kind_of_key[k] >= SEED;
    }
    for (int i = 0; i < t->n_trials; i++) {
        const bool same = !by_trial && t->trial[i].cfg == last;
        t->trial[i].row = same ? t->trial[i - 1].row : find_row(&g, i);
        last = t->trial[i].cfg;
    }
    AVS_TRY(make_rows(&g, a, e));
    AVS_TRY(arrange(t, a, e));
out:
    avs_xfree(g.at);
    avs_xfree(g.slot);
    avs_xfree(g.first);
    avs_xfree(g.key[0]);
    avs_xfree((void *)(uintptr_t)g.special);
    return rc;
}
