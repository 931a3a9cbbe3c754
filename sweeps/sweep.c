/* Loading a sweep: document, stages, expansion. An error anywhere gives no sweep, but all diagnostics. */
#include "sweeps/sweep.h"

#include <ctype.h>
#include <string.h>
#include "base/hash.h"
#include "sweeps/stage.h"

static int load(avs_arena *a, const char *path, const char *text, size_t n, const avs_sweep_options *o,
                avs_diag *d, avs_sweep **out, avs_err *e)
{
    static const avs_sweep_options none = {0};
    avs_document doc;
    avs_sweep *s = AVS_NEW(a, avs_sweep);
    if (!s) return avs_fail(e, AVS_ENOMEM, "%s: no memory for the sweep", path);
    avs_parse p = {.a = a, .d = d, .o = o ? o : &none, .sweep = s};
    int rc = avs_document_load(a, path, text, n, p.o, d, &doc, e);
    if (rc != AVS_OK) return rc;
    s->sources = doc.sources;
    s->n_sources = doc.n_sources;
    s->env = doc.env;
    avs_sha256 h;
    avs_sha256_init(&h);
    for (int i = 0; i < doc.n_sources; i++) avs_sha256_put(&h, doc.sources[i].sha256, 32);
    avs_sha256_end(&h, s->file_hash);
    avs_parse_stages(&p, doc.root);
    if (!d->no_memory) {
        rc = avs_expand(&p, e);
        if (rc != AVS_OK) return rc;
    }
    if (d->no_memory) return avs_fail(e, AVS_ENOMEM, "%s: no memory for the sweep", path);
    if (d->n_errors)
        return avs_fail(e, AVS_EPARSE, "%s has %d error%s", path, d->n_errors, d->n_errors == 1 ? "" : "s");
    *out = s;
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
