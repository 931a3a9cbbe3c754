/* The schema as documentation: text for a terminal, Markdown for the manual, JSON for programs. */
#include "models/schema_table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const group_names[] = {"model", "training", "evaluation", "latency", "custom backbone"};

static void write_type(avs_buf *out, const avs_param_spec *p)
{
    static const char *const names[] = {"bool",   "int",  "float",       "choice",
                                        "string", "size", "list of int", "int or list of int"};
    avs_buf_str(out, names[p->type]);
}

static void write_num(avs_buf *out, double v)
{
    if (v == floor(v) && fabs(v) < 1e15)
        avs_buf_fmt(out, "%.0f", v);
    else
        avs_json_write_num(out, v);
}

static void write_range(avs_buf *out, const avs_param_spec *p)
{
    if (p->type == AVS_P_CHOICE) {
        for (const char *s = p->choices; *s; s++) {
            if (*s == '|')
                avs_buf_str(out, ", ");
            else
                avs_buf_char(out, *s);
        }
    } else if (p->type == AVS_P_BOOL || p->type == AVS_P_STRING) {
        avs_buf_str(out, "-");
    } else {
        write_num(out, p->min);
        avs_buf_str(out, " to ");
        write_num(out, p->max);
    }
}

/* "224; variant=released task=s4: 512": the unconditional default first, then the rules in order. */
static void write_default(avs_buf *out, const char *model, const avs_param_spec *p)
{
    avs_buf rules = AVS_BUF_INIT;
    size_t name_len = strlen(p->name), base_len = p->fallback ? strlen(p->fallback) : 0, n;
    const char *base = p->fallback;
    for (const avs_default_rule *r = avs_default_rules; r->models; r++) {
        const char *walk = r->sets, *word;
        if (!avs_schema_lists(r->models, model)) continue;
        while (avs_schema_word(&walk, &word, &n)) {
            if (n <= name_len || word[name_len] != '=' || strncmp(word, p->name, name_len) != 0) continue;
            const char *value = word + name_len + 1;
            size_t len = n - name_len - 1;
            if (r->when[0] == '\0') {
                base = value;
                base_len = len;
            } else {
                avs_buf_fmt(&rules, "; %s: %.*s", r->when, (int)len, value);
            }
        }
    }
    if (!base)
        avs_buf_str(out, p->group == AVS_G_SIZES ? "-" : "required");
    else if (base_len == 0)
        avs_buf_str(out, "empty");
    else
        avs_buf_put(out, base, base_len);
    avs_buf_str(out, avs_buf_cstr(&rules));
    avs_buf_free(&rules);
}

static void cell(avs_buf *out, avs_buf *scratch)
{
    for (const char *s = avs_buf_cstr(scratch); *s; s++) {
        if (*s == '|') avs_buf_char(out, '\\');
        avs_buf_char(out, *s);
    }
    avs_buf_clear(scratch);
}

static void write_md(avs_buf *out, const char *model, const avs_param_spec *p)
{
    avs_buf s = AVS_BUF_INIT;
    avs_buf_str(out, "| name | type | range | default | for | serves | help |\n| --- | --- | --- | --- | --- "
                     "| --- | --- |\n");
    for (; p->name; p++) {
        avs_buf_fmt(out, "| `%s` | ", p->name);
        write_type(out, p);
        avs_buf_str(out, " | ");
        write_range(&s, p);
        cell(out, &s);
        avs_buf_str(out, " | ");
        write_default(&s, model, p);
        cell(out, &s);
        avs_buf_fmt(out, " | %s | %s | ", group_names[p->group], p->serves);
        avs_buf_str(&s, p->help);
        cell(out, &s);
        avs_buf_str(out, " |\n");
    }
    avs_buf_free(&s);
}

static void write_text(avs_buf *out, const char *model, const avs_param_spec *p)
{
    int group = -1;
    avs_buf_fmt(out, "%s: parameters\n", model);
    for (; p->name; p++) {
        if ((int)p->group != group) avs_buf_fmt(out, "\n[%s]\n", group_names[p->group]);
        group = (int)p->group;
        avs_buf_fmt(out, "  %-24s ", p->name);
        write_type(out, p);
        avs_buf_str(out, ", ");
        write_range(out, p);
        avs_buf_str(out, "; default ");
        write_default(out, model, p);
        avs_buf_fmt(out, "\n%26s %s\n", "", p->help);
    }
}

static void write_json(avs_buf *out, const char *model, const avs_param_spec *p)
{
    avs_buf s = AVS_BUF_INIT;
    avs_buf_fmt(out, "{\"model\":\"%s\",\"schema_version\":%d,\"parameters\":[", model, AVS_SCHEMA_VERSION);
    for (const avs_param_spec *first = p; p->name; p++) {
        avs_buf_fmt(out, "%s{\"name\":\"%s\",\"type\":\"", p == first ? "" : ",", p->name);
        write_type(out, p);
        avs_buf_str(out, "\",\"range\":");
        write_range(&s, p);
        avs_json_write_str(out, avs_buf_cstr(&s));
        avs_buf_clear(&s);
        avs_buf_str(out, ",\"default\":");
        write_default(&s, model, p);
        avs_json_write_str(out, avs_buf_cstr(&s));
        avs_buf_clear(&s);
        avs_buf_fmt(out, ",\"group\":\"%s\",\"serves\":", group_names[p->group]);
        avs_json_write_str(out, p->serves);
        avs_buf_str(out, ",\"help\":");
        avs_json_write_str(out, p->help);
        avs_buf_char(out, '}');
    }
    avs_buf_str(out, "]}\n");
    avs_buf_free(&s);
}

int avs_schema_write(avs_buf *out, const char *model, const char *format, avs_err *e)
{
    const avs_param_spec *p = avs_schema_of(model);
    if (!p) return avs_fail(e, AVS_EMISSING, "there is no model '%s'", model ? model : "");
    if (strcmp(format, "text") == 0)
        write_text(out, model, p);
    else if (strcmp(format, "md") == 0)
        write_md(out, model, p);
    else if (strcmp(format, "json") == 0)
        write_json(out, model, p);
    else
        return avs_fail(e, AVS_ERANGE, "there is no schema format '%s' (text, md, json)", format);
    return avs_buf_ok(out) ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for the schema of %s", model);
}
