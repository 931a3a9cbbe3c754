/* Parameters that stand alone. The rules are searched for the name; what the checks that are written as code look at
 * (check_odd_ones in schema.c) is listed here. A test resolves random configurations both ways. */
#include <math.h>
#include <string.h>
#include "models/schema_table.h"

/* Whether `name` is a whole word of the text of a rule. */
static bool mentions(const char *text, const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    size_t n = strlen(name);
    for (const char *p = text ? strstr(text, name) : NULL; p; p = strstr(p + 1, name))
        if ((p == text || !strchr(letters, p[-1])) && (!p[n] || !strchr(letters, p[n]))) return true;
    return false;
}

static bool in_code(const char *name)
{
    static const char names[] =
        "model task backbone data_root elf_stages neck_kernel_size audio_channels "
        "key_threshold_low key_threshold_high stage1_masks stage1_mask_train "
        "stage1_mask_eval avm_stages tpavi_stages resolution backbone_patch_size agve "
        "image_adapter";
    return mentions(names, name);
}

/* Whether another default is computed from it: "ffn_dim=4*embed_dim". */
static bool is_factor(const char *sets, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = strchr(sets, '*'); p; p = strchr(p + 1, '*'))
        if (strncmp(p + 1, name, n) == 0 && (p[n + 1] == ' ' || p[n + 1] == '\0')) return true;
    return false;
}

bool avs_schema_is_free(const char *model, const char *name)
{
    const avs_param_spec *spec = avs_schema_find(model, name);
    if (!spec || spec->group == AVS_G_SIZES || in_code(name)) return false;
    if (spec->type == AVS_P_SIZE || spec->type == AVS_P_INT_LIST || spec->type == AVS_P_INT_OR_LIST)
        return false;
    for (const avs_param_spec *s = avs_schema_of(model); s->name; s++)
        if (s->fallback && is_factor(s->fallback, name)) return false;
    for (const avs_default_rule *r = avs_default_rules; r->models; r++)
        if (avs_schema_lists(r->models, model) && (mentions(r->when, name) || is_factor(r->sets, name)))
            return false;
    for (const avs_active_rule *r = avs_active_rules; r->models; r++)
        if (avs_schema_lists(r->models, model) && mentions(r->when, name)) return false;
    for (const avs_constraint_rule *r = avs_constraint_rules; r->models; r++)
        if (avs_schema_lists(r->models, model) &&
            (mentions(r->when, name) || mentions(r->then, name) || strcmp(r->key, name) == 0 ||
             (r->other && strcmp(r->other, name) == 0)))
            return false;
    for (const avs_multiple_rule *r = avs_multiple_rules; r->models; r++)
        if (avs_schema_lists(r->models, model) &&
            (strcmp(r->key, name) == 0 || (r->of && strcmp(r->of, name) == 0)))
            return false;
    return true;
}

static bool is_choice(const char *choices, const char *word, size_t n)
{
    for (const char *p = choices; *p;) {
        size_t len = strcspn(p, "|");
        if (len == n && strncmp(p, word, n) == 0) return true;
        p += len + (p[len] == '|');
    }
    return false;
}

bool avs_schema_value(const avs_param_spec *spec, const avs_json *given, avs_json *out)
{
    bool is_num = given->kind == AVS_J_INT || given->kind == AVS_J_FLOAT;
    *out = (avs_json){.kind = given->kind, .b = given->b, .d = given->d, .s = given->s, .len = given->len};
    switch (spec->type) {
    case AVS_P_BOOL:
        return given->kind == AVS_J_BOOL;
    case AVS_P_INT:
        if (!is_num || !(given->d >= spec->min && given->d <= spec->max)) return false;
        if (given->kind == AVS_J_FLOAT && (given->d != floor(given->d) || !(fabs(given->d) < 9e15)))
            return false;
        out->kind = AVS_J_INT;
        out->i = given->kind == AVS_J_INT ? given->i : (int64_t)given->d;
        out->d = (double)out->i;
        return true;
    case AVS_P_FLOAT:
        out->kind = AVS_J_FLOAT;
        return is_num && given->d >= spec->min && given->d <= spec->max;
    case AVS_P_CHOICE:
        if (given->kind != AVS_J_STR || (spec->fallback && strcmp(given->s, "auto") == 0)) return false;
        return is_choice(spec->choices, given->s, given->len);
    case AVS_P_STRING:
        return given->kind == AVS_J_STR && strlen(given->s) == given->len && given->len <= 4096 &&
               strcmp(given->s, "auto") != 0;
    default:
        return false;
    }
}
