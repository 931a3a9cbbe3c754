/* Files into plans: told apart by content, compared as a whole, then set parameter by parameter. */
#include "workers/weights.h"

#include <string.h>

#include "workers/weights_resize.h"

int avs_weights_open(avs_st_file *f, const char *path, const char *key, avs_pth_info *info, avs_err *e)
{
    avs_map map;
    *f = (avs_st_file){0};
    int rc = avs_map_open(&map, path, e);
    if (rc != AVS_OK) return rc;
    const bool is_pth = avs_pth_is(map.data, map.len);
    const bool is_st = !is_pth && map.len > 8 && map.data[8] == '{';
    uint8_t begin[4] = {0};
    if (map.len >= sizeof begin) memcpy(begin, map.data, sizeof begin);
    avs_map_close(&map);
    if (is_pth) return avs_pth_open(f, path, key, info, e);
    if (!is_st)
        return avs_fail(e, AVS_EPARSE,
                        "%s: neither a safetensors file nor a checkpoint of torch.save: it begins with the "
                        "bytes %02x %02x %02x %02x",
                        path, begin[0], begin[1], begin[2], begin[3]);
    if (key)
        return avs_fail(e, AVS_ERANGE, "%s: only a checkpoint of torch.save has a mapping '%.80s' to choose",
                        path, key);
    if (info) *info = (avs_pth_info){.container = "safetensors", .taken = "", .skipped = ""};
    return avs_st_open(f, path, e);
}

int avs_weights_value(const avs_st_tensor *source, const avs_weights_want *want, float *out, avs_err *e)
{
    if (avs_st_fits(source, &want->type)) return avs_st_f32(source, out, e);
    float *x = avs_xalloc((size_t)source->count * sizeof *x);
    int rc = x ? avs_st_f32(source, x, e) : avs_fail(e, AVS_ENOMEM, "out of memory for %s", want->key);
    if (rc == AVS_OK) avs_weights_resize(source, x, &want->type, out);
    avs_xfree(x);
    return rc;
}

static int set_params(avs_plan *p, const avs_weights_want *want, int n, const avs_weights_match *m,
                      avs_err *e)
{
    int rc = AVS_OK;
    for (int i = 0; i < n && rc == AVS_OK; i++) {
        if (!m->source[i]) continue;
        float *x = avs_xalloc((size_t)avs_type_count(&want[i].type) * sizeof *x);
        rc = x ? avs_weights_value(m->source[i], &want[i], x, e)
               : avs_fail(e, AVS_ENOMEM, "out of memory for %s", want[i].key);
        if (rc == AVS_OK) rc = avs_plan_param_set(p, want[i].key, x, e);
        avs_xfree(x);
    }
    return rc;
}

int avs_weights_load(avs_plan *p, const avs_weights_cfg *cfg, FILE *log, avs_err *e)
{
    avs_st_file f = {0};
    avs_weights_match m = {0};
    const int all = avs_plan_n_params(p);
    int n = 0;
    avs_arena *a = avs_arena_new();
    avs_weights_want *want = a ? AVS_NEW_N(a, avs_weights_want, all + 1) : NULL;
    int rc = want ? AVS_OK : avs_fail(e, AVS_ENOMEM, "%s: no memory", cfg->path);
    for (int i = 0; want && i < all; i++) {
        const avs_plan_param *info = avs_plan_param_at(p, i);
        if (!strncmp(info->key, cfg->prefix, strlen(cfg->prefix)))
            want[n++] = (avs_weights_want){.key = info->key, .type = info->type};
    }
    if (rc == AVS_OK) rc = avs_weights_open(&f, cfg->path, NULL, NULL, e);
    if (rc == AVS_OK) rc = avs_weights_compare(a, &f, cfg, want, n, &m, e);
    if (log && m.report) (void)fputs(m.report, log);
    if (rc == AVS_OK) rc = set_params(p, want, n, &m, e);
    avs_st_close(&f);
    avs_arena_free(a);
    return rc;
}
