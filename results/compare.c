/* Both sides are queried like reports whose row keys are the parameters that tell configurations of a side apart; rows with
 * equal keys are pairs, which compare_write.c prints. */
#include "results/compare.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "metrics/stats.h"
#include "results/compare_pairs.h"
#include "results/db.h"

static bool is_named(const char *key, const avs_q_where *w)
{
    for (int i = 0; i < w->n; i++)
        if (strcmp(w->term[i].key, key) == 0) return true;
    return false;
}

/* ---- what tells configurations apart ---- */

static int ask_hash(const avs_compare_side *side, int64_t *config, avs_err *e)
{
    static const char sql[] =
        "SELECT min(config_id), count(DISTINCT config_id) FROM (SELECT config_id FROM config WHERE "
        "lower(hex(hash)) LIKE"
        " ?1||'%' UNION SELECT config_id FROM trial WHERE lower(hex(hash)) LIKE ?1||'%')";
    char digits[65] = "";
    sqlite3_stmt *q;
    bool row;
    int rc;

    for (size_t i = 0; side->hash[i] && i < 64; i++) digits[i] = (char)tolower((unsigned char)side->hash[i]);
    AVS_TRY(avs_db_bind(side->store, &q, e, sql, "t", digits));
    AVS_TRY(avs_db_step(side->store, q, &row, e));
    const int64_t n = row ? sqlite3_column_int64(q, 1) : 0, id = row ? sqlite3_column_int64(q, 0) : 0;
    if (row) sqlite3_reset(q);
    if (n != 1)
        return avs_fail(e, n ? AVS_ERANGE : AVS_EMISSING, "%s: %s the hash %s", avs_store_path(side->store),
                        n ? "several configurations have" : "no configuration or trial has", side->hash);
    *config = id;
out:
    return rc;
}

static int add_varying(avs_comparison *c, const avs_compare_side *side, int64_t config,
                       const avs_q_where *fixed, avs_err *e)
{
    avs_arena *a = avs_arena_new();
    avs_table t = {.ci = 95};
    int rc;

    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory for a comparison");
    AVS_TRY(avs_q_load(side->store,
                       &(avs_report_spec){.where = side->where, .sweep = side->sweep, .config = config}, a,
                       &t, e));
    AVS_TRY(avs_q_choose_keys(&(avs_report_spec){0}, a, &t, e));
    for (int k = 0; k < t.n_by && c->n_by < 64; k++) {
        bool known = is_named(t.by[k], &fixed[0]) || is_named(t.by[k], &fixed[1]);
        for (size_t i = 0; i < c->n_by; i++) known = known || strcmp(c->by[i], t.by[k]) == 0;
        if (known) continue;
        const char *key = avs_arena_str(c->arena, t.by[k]);
        if (!key) {
            rc = avs_fail(e, AVS_ENOMEM, "no memory for a comparison");
            goto out;
        }
        c->by[c->n_by++] = key;
    }
out:
    avs_arena_free(a);
    return rc;
}

static int query_side(avs_comparison *c, const avs_compare_side *side, int64_t config, avs_table *t,
                      avs_err *e)
{
    static const char *const kind[] = {"kind"};
    avs_report_spec spec = {.by = c->n_by ? c->by : kind,
                            .n_by = c->n_by ? c->n_by : 1,
                            .metrics = &c->spec->metric,
                            .n_metrics = 1,
                            .where = side->where,
                            .sweep = side->sweep,
                            .config = config,
                            .ci = c->spec->ci,
                            .mixed = c->spec->mixed,
                            .suspect = c->spec->suspect,
                            .missing_keys = true,
                            .hide_published = true};
    int rc = avs_query(side->store, &spec, c->arena, t, e);
    if (rc != AVS_OK) avs_ctx(e, "%s", side->name);
    return rc;
}

/* ---- pairs ---- */

/* An absent key stands before any text. */
static int order_of(const avs_table *t, const avs_q_row *x, const avs_q_row *y)
{
    for (int k = 0; k < t->n_by; k++) {
        const char *a = x->key[k], *b = y->key[k];
        const int d = a && b ? strcmp(a, b) : (a != NULL) - (b != NULL);
        if (d) return d;
    }
    return 0;
}

static int by_keys(const void *x, const void *y, void *table)
{
    const avs_table *t = table;
    return order_of(t, &t->row[*(const int *)x], &t->row[*(const int *)y]);
}

static const avs_q_row *partner(const avs_comparison *c, const int *order, const avs_q_row *row)
{
    int lo = 0, hi = c->b.n_rows - 1;
    while (lo <= hi) {
        const int mid = lo + (hi - lo) / 2, d = order_of(&c->b, &c->b.row[order[mid]], row);
        if (d == 0) return &c->b.row[order[mid]];
        if (d < 0)
            lo = mid + 1;
        else
            hi = mid - 1;
    }
    return NULL;
}

static int make_pairs(avs_comparison *c, avs_err *e)
{
    int *order = AVS_NEW_N(c->arena, int, c->b.n_rows + 1);
    c->pairs = AVS_NEW_N(c->arena, avs_compare_pair, c->a.n_rows + 1);
    if (!order || !c->pairs) return avs_fail(e, AVS_ENOMEM, "no memory for %d pairs", c->a.n_rows);
    for (int r = 0; r < c->b.n_rows; r++) {
        order[r] = r;
        c->only_b += c->b.row[r].cell[0].n > 0;
    }
    qsort_r(order, (size_t)c->b.n_rows, sizeof *order, by_keys, &c->b);
    for (int r = 0; r < c->a.n_rows; r++) {
        const avs_q_row *x = &c->a.row[r], *y = partner(c, order, x);
        if (x->cell[0].n == 0 || !y || y->cell[0].n == 0) {
            c->only_a += x->cell[0].n > 0;
            continue;
        }
        c->only_b--;
        c->pairs[c->n_pairs++] =
            (avs_compare_pair){.a = x, .b = y, .cell_a = &x->cell[0], .cell_b = &y->cell[0]};
    }
    if (c->n_pairs == 0)
        return avs_fail(e, AVS_EMISSING,
                        "%s and %s share no configuration with a number for %s: %d and %d have one alone",
                        c->spec->a.name, c->spec->b.name, c->spec->metric, c->only_a, c->only_b);
    return AVS_OK;
}

static int decide(avs_comparison *c, int verdicts[AVS_VERDICTS], avs_err *e)
{
    const avs_q_column *col = &c->a.column[0];
    const size_t n = (size_t)c->n_pairs;
    double *p = AVS_NEW_N(c->arena, double, n), *adjusted = AVS_NEW_N(c->arena, double, n);
    size_t *order = AVS_NEW_N(c->arena, size_t, n);
    int most = 0;

    for (size_t i = 0; i < n; i++) most = c->pairs[i].cell_a->n > most ? c->pairs[i].cell_a->n : most;
    double *scratch = AVS_NEW_N(c->arena, double, 2 * (size_t)most);
    if (!p || !adjusted || !order || !scratch)
        return avs_fail(e, AVS_ENOMEM, "no memory for %d pairs", c->n_pairs);
    const double ci = c->spec->ci > 0 ? c->spec->ci / 100 : 0.95;
    c->level = 1 - (1 - ci) / c->n_pairs;
    for (size_t i = 0; i < n; i++) {
        avs_compare_pair *x = &c->pairs[i];
        const bool exact = col->unit == AVS_U_COUNT && x->cell_a->is_same && x->cell_b->is_same;
        const avs_compare_set sa = {x->cell_a->value, x->cell_a->seed, x->cell_a->n},
                              sb = {x->cell_b->value, x->cell_b->seed, x->cell_b->n};
        x->r = avs_compare_sets(&sa, &sb, scratch, c->level, c->spec->nonparametric, exact);
        const double limit = c->spec->threshold * (c->spec->is_relative ? fabs(x->cell_a->mean) : 1);
        x->verdict = avs_compare_verdict(&x->r, col->better, limit);
        verdicts[x->verdict]++;
        p[i] = x->r.p;
    }
    avs_holm(p, n, adjusted, order);
    for (size_t i = 0; i < n; i++) c->pairs[i].r.p = adjusted[i];
    return AVS_OK;
}

static int check_machines(const avs_comparison *c, avs_err *e)
{
    const char *a = c->a.column[0].machine, *b = c->b.column[0].machine;
    if (c->spec->mixed || !a || !b || strcmp(a, b) == 0) return AVS_OK;
    return avs_fail(e, AVS_ERANGE,
                    "%s was measured on different machines: (%s) and (%s). Allow it with --mixed",
                    c->spec->metric, a, b);
}

int avs_compare(const avs_compare_spec *spec, avs_buf *out, int verdicts[AVS_VERDICTS], avs_err *e)
{
    avs_comparison c = {.spec = spec, .arena = avs_arena_new()};
    const avs_compare_side *side[2] = {&spec->a, &spec->b};
    int64_t config[2] = {0, 0};
    avs_q_where fixed[2];
    int rc;

    memset(verdicts, 0, AVS_VERDICTS * sizeof *verdicts);
    c.by = c.arena ? AVS_NEW_N(c.arena, const char *, 64) : NULL;
    if (!c.by) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for a comparison");
        goto out;
    }
    for (int i = 0; i < 2; i++) {
        AVS_TRY(avs_q_where_parse(c.arena, side[i]->where, &fixed[i], e));
        if (side[i]->hash) AVS_TRY(ask_hash(side[i], &config[i], e));
    }
    for (int i = 0; i < 2; i++) AVS_TRY(add_varying(&c, side[i], config[i], fixed, e));
    AVS_TRY(query_side(&c, &spec->a, config[0], &c.a, e));
    AVS_TRY(query_side(&c, &spec->b, config[1], &c.b, e));
    if (c.a.column[0].better == 0) {
        rc = avs_fail(e, AVS_ERANGE, "of %s neither more nor less is better; nothing can be said of it",
                      spec->metric);
        goto out;
    }
    AVS_TRY(check_machines(&c, e));
    AVS_TRY(make_pairs(&c, e));
    AVS_TRY(decide(&c, verdicts, e));
    AVS_TRY(avs_compare_write(&c, verdicts, out, e));
out:
    if (rc != AVS_OK && c.arena && avs_arena_failed(c.arena))
        rc = avs_fail(e, AVS_ENOMEM, "no memory for a comparison");
    avs_arena_free(c.arena);
    return rc;
}
