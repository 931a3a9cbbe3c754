/* The stack of settings, what expressions see of it, and the two objects that it becomes. */
#include "sweeps/point.h"

#include <string.h>

const avs_setting *avs_point_find(const avs_point *pt, const char *key)
{
    for (int i = pt->n; i-- > 0;)
        if (strcmp(pt->at[i]->key, key) == 0) return pt->at[i];
    for (int i = 0; i < pt->s->n_base; i++)
        if (strcmp(pt->s->base[i].key, key) == 0) return &pt->s->base[i];
    return NULL;
}

static const avs_json *lookup(void *ctx, const char *name)
{
    const avs_setting *s = avs_point_find(ctx, name);
    return s ? s->value : NULL;
}

avs_pos avs_setting_pos(const avs_setting *s)
{
    return s->value_node ? s->value_node->pos : s->key_node->pos;
}

bool avs_point_set(avs_point *pt, avs_setting *s)
{
    const avs_setting *before = avs_point_find(pt, s->key);
    if (before && avs_value_equal(before->value, s->value)) return true;
    if (before) {
        bool elsewhere = before->key_node->pos.src != s->key_node->pos.src;
        avs_diag_add(pt->d, "E022", s->key_node->pos, "a point sets a key once; remove one of the two",
                     "'%.60s' is set twice with different values (first on line %u%s%s)", s->key,
                     before->key_node->pos.line, elsewhere ? " of " : "",
                     elsewhere ? before->key_node->pos.src->path : "");
        return false;
    }
    if (pt->n == AVS_MAX_KEYS) {
        avs_diag_add(pt->d, "E024", s->key_node->pos, NULL, "more than %d keys on one point", AVS_MAX_KEYS);
        return false;
    }
    pt->at[pt->n++] = s;
    return true;
}

bool avs_point_eval(avs_point *pt, avs_arena *a, const avs_expr *x, const avs_ynode *node, avs_json *out)
{
    avs_expr_error e;
    if (avs_expr_eval(x, a, lookup, pt, out, &e) == AVS_OK) return true;
    avs_diag_add(pt->d, "E031", avs_string_pos(node, e.offset),
                 "an expression sees what base, sweep blocks and let set, not the defaults of the model",
                 "%s", e.msg);
    return false;
}

bool avs_point_holds(avs_point *pt, avs_arena *a, const avs_expr *x, const avs_ynode *node, bool *out)
{
    avs_json v;
    if (!avs_point_eval(pt, a, x, node, &v)) return false;
    if (v.kind != AVS_J_BOOL) {
        avs_diag_add(pt->d, "E031", node->pos, NULL, "the condition is neither true nor false");
        return false;
    }
    *out = v.b;
    return true;
}

bool avs_point_lets(avs_point *pt, avs_arena *a)
{
    for (int i = 0; i < pt->s->n_lets; i++) {
        const avs_let *l = &pt->s->lets[i];
        avs_setting *s = avs_arena_dup(a, &l->setting, sizeof l->setting);
        avs_json *v = s && l->expr ? avs_json_new(a, AVS_J_NULL) : NULL;
        if (!s || (l->expr && !v)) {
            pt->no_memory = true;
            return false;
        }
        s->computed = true;
        if (v) {
            if (!avs_point_eval(pt, a, l->expr, s->value_node, v)) return false;
            s->value = v;
        }
        if (!avs_point_set(pt, s)) return false;
    }
    return true;
}

static bool add(avs_arena *a, avs_json *object, const avs_setting *s)
{
    avs_json *v = AVS_NEW(a, avs_json);
    if (!v) return false;
    *v = *s->value;
    v->next = NULL;
    if (!avs_json_add(a, object, s->key, v)) return false;
    v->key = s->key; /* which lives as long as the sweep */
    return true;
}

avs_json *avs_point_given(avs_point *pt, avs_arena *a)
{
    avs_json *given = avs_json_new(a, AVS_J_OBJ);
    bool ok = given != NULL;
    for (int i = 0; ok && i < pt->s->n_base; i++)
        if (pt->s->base[i].value->kind != AVS_J_NULL) ok = add(a, given, &pt->s->base[i]);
    for (int i = 0; ok && i < pt->n; i++)
        if (pt->at[i]->value->kind != AVS_J_NULL) ok = add(a, given, pt->at[i]);
    pt->no_memory |= !ok;
    return ok ? given : NULL;
}

avs_json *avs_point_axes(avs_point *pt, avs_arena *a)
{
    avs_json *out = avs_json_new(a, AVS_J_OBJ);
    bool ok = out != NULL;
    for (int i = 0; ok && i < pt->n; i++)
        if (pt->at[i]->value->kind != AVS_J_NULL) ok = add(a, out, pt->at[i]);
    pt->no_memory |= !ok;
    return ok ? out : NULL;
}
