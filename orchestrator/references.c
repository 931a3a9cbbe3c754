/* Substitution when a trial starts: only then its upstream trials have paths and numbers. */
#include "orchestrator/references.h"

#include <string.h>
#include "base/buf.h"

/* The value of "alias.kind.name" (n bytes), NULL when there is none. */
static int value_of(const avs_trial_list *l, const avs_sweep_trial *t, const char *ref, size_t n,
                    avs_arena *a, const char **out, avs_err *e)
{
    size_t alias = strcspn(ref, ".");
    const char *kind = ref + alias + 1;
    *out = NULL;
    if (alias + 1 >= n) return AVS_OK;
    size_t kind_len = strcspn(kind, ".");
    if (alias + 1 + kind_len + 1 >= n) return AVS_OK;
    const char *name = avs_arena_strn(a, kind + kind_len + 1, n - alias - kind_len - 2);
    if (!name) return avs_fail(e, AVS_ENOMEM, "no memory for a reference");
    for (int k = 0; k < t->n_needs; k++) {
        const avs_sweep_need *need = &t->needs[k];
        if (strlen(need->alias) != alias || strncmp(need->alias, ref, alias) != 0) continue;
        int64_t id = l->ids[need->upstream->ordinal];
        if (kind_len == 6 && strncmp(kind, "metric", 6) == 0)
            return avs_store_result_text(l->db, id, name, a, out, e);
        bool last = kind_len == 10 && strncmp(kind, "checkpoint", 10) == 0 && strcmp(name, "last") == 0;
        return avs_store_artifact_path(l->db, id, last ? "checkpoint" : name, a, out, e);
    }
    return AVS_OK;
}

static int fill(const avs_trial_list *l, const avs_sweep_trial *t, avs_json *v, avs_arena *a, avs_err *e)
{
    avs_buf out = AVS_BUF_INIT;
    int rc = AVS_OK;
    for (const char *p = v->s; *p;) {
        const char *end = p[0] == '$' && p[1] == '{' ? strchr(p, '}') : NULL, *value = NULL;
        if (end) AVS_TRY(value_of(l, t, p + 2, (size_t)(end - p - 2), a, &value, e));
        if (value) {
            avs_buf_str(&out, value);
            p = end + 1;
        } else {
            avs_buf_char(&out, *p++);
        }
    }
    v->s = avs_buf_ok(&out) ? avs_arena_strn(a, avs_buf_cstr(&out), out.len) : NULL;
    v->len = out.len;
    if (!v->s) rc = avs_fail(e, AVS_ENOMEM, "no memory for a reference");
out:
    avs_buf_free(&out);
    return rc;
}

int avs_references_fill(const avs_trial_list *l, const avs_sweep_trial *t, avs_json *params, avs_arena *a,
                        avs_err *e)
{
    int rc = AVS_OK;
    for (avs_json *v = params->first; v && rc == AVS_OK && t->n_needs > 0; v = v->next)
        if (v->kind == AVS_J_STR && strstr(v->s, "${")) rc = fill(l, t, v, a, e);
    return rc;
}
