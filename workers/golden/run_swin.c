/* Golden cases of Swin backbones: features, activations, all gradients, the tables of a window, parameter counts. */
#include <string.h>

#include "models/backbones/swin.h"
#include "workers/golden/run.h"

static void read_four(const avs_json *list, int out[4])
{
    for (size_t i = 0; i < 4; i++) {
        const avs_json *x = avs_json_at(list, i);
        if (x) out[i] = (int)x->i;
    }
}

static int read_config(avs_golden_case *c, avs_swin_cfg *cfg, avs_err *e)
{
    const avs_json *j = avs_json_get(c->root, "config");
    const char *name = avs_json_str(j, "backbone", "");
    if (strcmp(name, "swin_custom") != 0 && !avs_swin_named(name, cfg))
        return avs_fail(e, AVS_EMISSING, "backbone '%s' is no Swin that is built in", name);
    int rc = avs_golden_size(j, "backbone_patch_size", &cfg->patch, e);
    if (rc == AVS_OK) rc = avs_golden_size(j, "backbone_embed_dim", &cfg->dim, e);
    if (rc == AVS_OK) rc = avs_golden_size(j, "backbone_window_size", &cfg->window, e);
    if (rc != AVS_OK) return rc;
    cfg->mlp_ratio = (float)avs_json_num(j, "backbone_mlp_ratio", (double)cfg->mlp_ratio);
    read_four(avs_json_get(j, "backbone_depths"), cfg->depth);
    read_four(avs_json_get(j, "backbone_num_heads"), cfg->heads);
    cfg->adapter = !strcmp(avs_json_str(j, "backbone_adapter", "off"), "always");
    cfg->tap_windows = true;
    for (int i = 0; i < 4; i++)
        if (cfg->depth[i] < 1 || cfg->heads[i] < 1 || cfg->depth[i] > AVS_GOLDEN_SIZE ||
            cfg->heads[i] > AVS_GOLDEN_SIZE)
            return avs_fail(
                e, AVS_ERANGE,
                "backbone_depths and backbone_num_heads must be from 1 to %d, stage %d has %d and %d",
                AVS_GOLDEN_SIZE, i + 1, cfg->depth[i], cfg->heads[i]);
    return AVS_OK;
}

/* The tables of stage 1, where the case keeps them. */
static int check_tables(avs_golden_case *c, const avs_swin_cfg *cfg, const avs_golden_tensor *frames,
                        avs_err *e)
{
    const int side = cfg->window, N = side * side;
    /* the cases keep the mask over whole patches only, a row less than the padded map of swin-mini */
    const int h = (int)frames->d[2] / cfg->patch, w = (int)frames->d[3] / cfg->patch;
    const int64_t windows = (int64_t)((h + side - 1) / side) * ((w + side - 1) / side), n = (int64_t)N * N;
    int32_t *index = AVS_NEW_N(c->arena, int32_t, n);
    float *table = AVS_NEW_N(c->arena, float, n), *mask = AVS_NEW_N(c->arena, float, n *windows);
    if (!index || !table || !mask) return avs_fail(e, AVS_ENOMEM, "out of memory for tables of a window");
    avs_swin_relative_index(side, index);
    avs_swin_shift_mask(h, w, side, side / 2, mask);
    const avs_type ti = AVS_F32T(N, N), tm = AVS_F32T(windows, N, N);
    for (int64_t i = 0; i < n; i++) table[i] = (float)index[i];
    if (avs_st_find(&c->files, "relative_position_index"))
        avs_golden_output(c, "relative_position_index", NULL, table, &ti);
    if (avs_st_find(&c->files, "shift_mask_stage1"))
        avs_golden_output(c, "shift_mask_stage1", NULL, mask, &tm);
    int64_t masked = 0;
    for (int64_t i = 0; i < n * windows; i++) masked += mask[i] == -100.F;
    const avs_json *want = avs_json_get(avs_json_get(c->root, "shift_mask_stage1"), "entries_at_-100");
    if (want) avs_golden_number(c->report, "masked pairs", "stage1", (double)masked, want->d, 0, 0);
    return AVS_OK;
}

/* Elements of the parameters whose key starts with prefix, or holds it if inside. */
static double count_of(const avs_golden_net *net, const char *prefix, bool inside)
{
    double n = 0;
    for (int i = 0; i < avs_plan_n_params(net->plan); i++) {
        const avs_plan_param *p = avs_plan_param_at(net->plan, i);
        if (inside ? strstr(p->key, prefix) != NULL : !strncmp(p->key, prefix, strlen(prefix)))
            n += (double)avs_type_count(&p->type);
    }
    return n;
}

static void check_counts(avs_golden_case *c, const avs_golden_net *net)
{
    static const struct {
        const char *name, *prefix;
        bool inside;
    } parts[] = {{"total", "", false},
                 {"embeddings", "embeddings.", false},
                 {"stage1", "encoder.layers.0.", false},
                 {"stage2", "encoder.layers.1.", false},
                 {"stage3", "encoder.layers.2.", false},
                 {"stage4", "encoder.layers.3.", false},
                 {"hidden_states_norms", "hidden_states_norms.", false},
                 {"swin_adapt", "swin_adapt_", true}};
    const avs_json *want = avs_json_get(c->root, "parameters");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const avs_json *w = avs_json_get(want, parts[i].name);
        if (w)
            avs_golden_number(c->report, "parameter count", parts[i].name,
                              count_of(net, parts[i].prefix, parts[i].inside), w->d, 0, 0);
    }
}

int avs_golden_run_swin(avs_golden_case *c, avs_err *e)
{
    avs_golden_inputs in;
    const avs_golden_tensor *frames;
    avs_golden_net net = {0};
    avs_swin_cfg cfg = {0};
    avs_val f[4], loss = 0;
    int rc = avs_golden_inputs_of(c, &in, e);
    if (rc == AVS_OK) rc = avs_golden_need(&in, "frames", &frames, e);
    if (rc == AVS_OK) rc = read_config(c, &cfg, e);
    if (rc == AVS_OK) rc = check_tables(c, &cfg, frames, e);
    if (rc != AVS_OK) return rc;
    if (!(net.graph = avs_golden_graph(c, false, e))) return AVS_ENOMEM;
    avs_swin(net.graph, &cfg, avs_golden_input(net.graph, "frames", frames), f);
    for (int i = 0; i < 4; i++)
        avs_golden_probe_loss(c, net.graph, avs_arena_fmt(c->arena, "grad_output.%d", i), f[i], &loss);
    rc = avs_golden_run_net(c, &net, &in, loss, e);
    if (rc == AVS_OK) {
        c->zero_suffix = "attention.self.key.bias"; /* adds one number to all scores of a query */
        avs_golden_activations(c, &net, avs_json_get(c->root, "activations"));
        for (int i = 1; i <= 4; i++)
            avs_golden_stored(c, &net, avs_arena_fmt(c->arena, "feature%d", i),
                              avs_arena_fmt(c->arena, "act:feature%d", i));
        avs_golden_loss(c, &net, "probe");
        avs_golden_gradients(c, &net, c->root);
        check_counts(c, &net);
    }
    avs_golden_net_free(&net);
    return rc;
}
