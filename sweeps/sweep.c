/* Loading a sweep: document, stages, expansion. An error anywhere gives no sweep, but all diagnostics. */
#include "sweeps/sweep.h"

#include <ctype.h>
#include <string.h>
#include "base/hash.h"
#include "sweeps/shape.h"

static int load(avs_arena *a, const char *path, const char *text, size_t n, const avs_sweep_options *o,
                avs_diag *d, avs_sweep **out, avs_err *e)
{
    static const avs_sweep_options none = {0};
    avs_document doc;
    avs_sweep *s = AVS_NEW(a, avs_sweep);
    if (!s) return avs_fail(e, AVS_ENOMEM, "%s: no memory for the sweep", path);
    avs_parse *p = AVS_NEW(a, avs_parse);
    if (!p) return avs_fail(e, AVS_ENOMEM, "%s: no memory for the sweep", path);
    *p = (avs_parse){.a = a, .d = d, .o = o ? o : &none, .sweep = s};
    s->parse = p;
    int rc = avs_document_load(a, path, text, n, p->o, d, &doc, e);
    if (rc != AVS_OK) return rc;
    s->sources = doc.sources;
    s->n_sources = doc.n_sources;
    s->env = doc.env;
    avs_sha256 h;
    avs_sha256_init(&h);
    for (int i = 0; i < doc.n_sources; i++) avs_sha256_put(&h, doc.sources[i].sha256, 32);
    avs_sha256_end(&h, s->file_hash);
    avs_parse_stages(p, doc.root);
    if (!d->no_memory) {
        rc = avs_expand(p, e);
        if (rc != AVS_OK) return rc;
    }
    if (d->no_memory) return avs_fail(e, AVS_ENOMEM, "%s: no memory for the sweep", path);
    if (d->n_errors)
        return avs_fail(e, AVS_EPARSE, "%s has %d error%s", path, d->n_errors, d->n_errors == 1 ? "" : "s");
    *out = s;
    /* What is asked for later outlives the caller's diagnostics and options. */
    p->d = AVS_NEW(a, avs_diag);
    p->o = avs_arena_dup(a, p->o, sizeof *p->o);
    if (!p->d || !p->o) return avs_fail(e, AVS_ENOMEM, "%s: no memory for the sweep", path);
    avs_diag_init(p->d, a);
    return AVS_OK;
}

avs_sweep *avs_sweep_load(avs_arena *a, const char *path, const avs_sweep_options *o, avs_diag *d, avs_err *e)
{
    avs_sweep *s = NULL;
    return load(a, path, NULL, 0, o, d, &s, e) == AVS_OK ? s : NULL;
}

avs_sweep *avs_sweep_parse(avs_arena *a, const char *path, const char *text, size_t n,
                           const avs_sweep_options *o, avs_diag *d, avs_err *e)
{
    avs_sweep *s = NULL;
    return load(a, path, text, n, o, d, &s, e) == AVS_OK ? s : NULL;
}

/* ---- the texts of a configuration -------------------------------------------------------------------------------- */

/* The point of a configuration again. It has been walked once, so nothing is wrong with it. */
static bool restore(const avs_sweep *s, const avs_sweep_config *c, avs_arena *a, avs_point *pt)
{
    pt->s = &s->parse->stages[c->stage];
    pt->d = s->parse->d;
    pt->n = c->n_settings;
    pt->no_memory = false;
    for (int i = 0; i < c->n_settings; i++) pt->at[i] = c->settings[i];
    return avs_point_lets(pt, a);
}

static const char *text_of(const avs_sweep *s, const avs_sweep_config *c, avs_arena *a,
                           void (*write)(const avs_filled *, avs_buf *))
{
    avs_point *pt = AVS_NEW(a, avs_point);
    avs_filled f;
    avs_problem *problems;
    avs_buf b = AVS_BUF_INIT;
    const char *out = NULL;
    if (!pt || !restore(s, c, a, pt) ||
        avs_shapes_resolve(s->parse->shapes, pt, a, &f, &problems, NULL) != AVS_OK)
        return NULL;
    write(&f, &b);
    if (avs_buf_ok(&b)) out = avs_arena_strn(a, avs_buf_cstr(&b), b.len);
    avs_buf_free(&b);
    return out;
}

const char *avs_sweep_params(const avs_sweep *s, const avs_sweep_config *c, avs_arena *a)
{
    return text_of(s, c, a, avs_filled_params);
}

const char *avs_sweep_identity(const avs_sweep *s, const avs_sweep_config *c, avs_arena *a)
{
    return text_of(s, c, a, avs_filled_identity);
}

const avs_json *avs_sweep_axes(const avs_sweep *s, const avs_sweep_config *c, avs_arena *a)
{
    avs_point *pt = AVS_NEW(a, avs_point);
    return pt && restore(s, c, a, pt) ? avs_point_axes(pt, a) : NULL;
}

const avs_sweep_trial *avs_sweep_find(const avs_sweep *s, const char *prefix, bool *ambiguous)
{
    const avs_sweep_trial *found = NULL;
    size_t n = strlen(prefix);
    char want[65] = "", hex[65];
    *ambiguous = false;
    if (n < 6 || n > 64) return NULL;
    for (size_t i = 0; i < n; i++) want[i] = (char)tolower((unsigned char)prefix[i]);
    for (int64_t i = 0; i < s->n_trials; i++) {
        avs_hex(s->trials[i]->hash, 32, hex);
        if (strncmp(hex, want, n) != 0) continue;
        *ambiguous |= found != NULL;
        found = s->trials[i];
    }
    return *ambiguous ? NULL : found;
}
