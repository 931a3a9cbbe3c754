/* The report block of a sweep file, as the store keeps it: what a report of that sweep shows unless it is asked for keys or
 * metrics of its own. A file may have been written by anything, so what does not fit is passed over. */
#include <string.h>
#include "base/json.h"
#include "results/db.h"
#include "results/query.h"

static size_t strings_of(avs_arena *a, const avs_json *list, const char *const **out)
{
    size_t n = 0;
    if (!list || list->kind != AVS_J_ARR) return 0;
    const char **text = AVS_NEW_N(a, const char *, list->len + 1);
    for (const avs_json *x = list->first; x && text; x = x->next)
        if (x->kind == AVS_J_STR) text[n++] = x->s;
    *out = text;
    return n;
}

/* {a: 1, b: x} as the list "a=1,b=x", where it is a map that has anything. False: no memory. */
static bool list_of(avs_arena *a, const avs_json *map, const char **out)
{
    avs_buf b = AVS_BUF_INIT;
    if (*out || !map || map->kind != AVS_J_OBJ || !map->first) return true;
    for (const avs_json *x = map->first; x; x = x->next) {
        avs_buf_fmt(&b, "%s%s=", b.len ? "," : "", x->key);
        if (x->kind == AVS_J_STR)
            avs_buf_str(&b, x->s);
        else
            avs_json_write(&b, x, true);
    }
    *out = avs_buf_ok(&b) ? avs_arena_str(a, avs_buf_cstr(&b)) : NULL;
    avs_buf_free(&b);
    return *out != NULL;
}

static bool fill(avs_report_spec *spec, const avs_json *block, avs_arena *a)
{
    const avs_json *pareto = avs_json_get(block, "pareto");
    if (!spec->sort) spec->sort = avs_json_str(block, "sort", NULL);
    if (!spec->title) spec->title = avs_json_str(block, "title", NULL);
    if (spec->top <= 0) spec->top = (int)avs_json_int(block, "top", 0);
    if (!(spec->ci > 0)) spec->ci = avs_json_num(block, "ci", 0);
    if (!spec->pareto_x && !spec->pareto_y && pareto) {
        spec->pareto_x = avs_json_str(pareto, "x", NULL);
        spec->pareto_y = avs_json_str(pareto, "y", NULL);
    }
    if (!spec->where) spec->where = avs_json_str(block, "where", NULL);
    return list_of(a, avs_json_get(block, "where"), &spec->where) &&
           list_of(a, avs_json_get(block, "baseline"), &spec->baseline);
}

int avs_q_block(avs_store *s, avs_report_spec *spec, avs_arena *a, avs_table *t, avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    avs_json *block = NULL;
    int rc;

    if (spec->n_by || spec->n_metrics) return AVS_OK;
    AVS_TRY(avs_db_bind(
        s, &q, e,
        "SELECT report FROM sweep WHERE sweep_id=(SELECT max(sweep_id) FROM sweep WHERE ?1 IS NULL OR"
        " name=?1) AND report IS NOT NULL AND (?1 IS NOT NULL OR (SELECT count(DISTINCT name) FROM sweep)=1)",
        "t", spec->sweep));
    AVS_TRY(avs_db_step(s, q, &row, e));
    if (!row) return AVS_OK;
    rc = avs_json_parse(a, "stored report block", avs_db_text(q, 0), (size_t)sqlite3_column_bytes(q, 0),
                        &block, e);
    sqlite3_reset(q);
    if (rc != AVS_OK) return rc;
    spec->n_by = strings_of(a, avs_json_get(block, "by"), &spec->by);
    spec->n_metrics = strings_of(a, avs_json_get(block, "metrics"), &spec->metrics);
    t->is_from_block = spec->n_metrics > 0;
    if (!fill(spec, block, a)) rc = avs_fail(e, AVS_ENOMEM, "no memory for a report");
out:
    return rc;
}
