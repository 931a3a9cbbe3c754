/* Golden cases of whole systems: outputs, activations, loss terms, gradients, running statistics, one optimiser step,
 * attention statistics and parameter counts. A case of phase `set` holds variants, each compared the same way. */
#include <math.h>
#include <string.h>

#include "engine/graph/ops.h"
#include "engine/optim/adamw.h"
#include "models/model.h"
#include "workers/golden/run.h"

typedef struct {
    const avs_json *node;
    const char *name; /* of the variant, "" for a plain case */
    avs_cfg *cfg;
    const avs_model_rule *rule;
    avs_golden_inputs in;
    avs_golden_net net;
    bool training, backward;
    bool thawed; /* nothing but the audio encoder is frozen, whatever the config says */
    int rows;
} run;

/* Cases of parts of aavs leave out the task that their options imply; masks of stage one are an input of the case. */
static void complete_aavs(avs_arena *a, const avs_json *config, avs_json *given)
{
    const char *stage = avs_json_str(config, "stage", NULL), *task = avs_json_str(config, "task", NULL);
    const bool is_semantic =
        avs_json_int(config, "num_classes", 2) != 2 || (stage && strcmp(stage, "one") != 0);
    if (!task && is_semantic) avs_json_add_str(a, given, "task", task = "avss");
    if (!stage) stage = task && !strcmp(task, "avss") ? "two" : "one";
    if (!strcmp(stage, "two")) avs_json_add_str(a, given, "stage1_mask_eval", "ground_truth");
}

int avs_golden_config(avs_golden_case *c, const avs_json *config, bool training, bool thawed, avs_cfg **cfg,
                      avs_err *e)
{
    static const char *const freezes[] = {"freeze_backbone", "freeze_prompt_encoder", "freeze_mask_decoder"};
    avs_problem *problems = NULL;
    avs_json *given = avs_json_new(c->arena, AVS_J_OBJ);
    if (!given) return avs_fail(e, AVS_ENOMEM, "out of memory for a configuration");
    const char *model = avs_json_str(c->root, "model", "");
    avs_json_add_str(c->arena, given, "model", model);
    for (const avs_json *o = config ? config->first : NULL; o; o = o->next) {
        if (training && (!strcmp(o->key, "dropout") || !strcmp(o->key, "drop_path"))) continue;
        if (!strcmp(o->key, "stage1_mask_eval")) continue;
        avs_json *copy = AVS_NEW(c->arena, avs_json);
        if (!copy) return avs_fail(e, AVS_ENOMEM, "out of memory for a configuration");
        *copy = *o;
        copy->next = NULL;
        avs_json_add(c->arena, given, o->key, copy);
    }
    for (size_t i = 0; thawed && i < sizeof freezes / sizeof *freezes; i++)
        if (avs_schema_find(model, freezes[i])) avs_json_add_bool(c->arena, given, freezes[i], false);
    if (!strcmp(model, "aavs")) complete_aavs(c->arena, config, given);
    if (training) { /* goldens in training run without dropout and stochastic depth */
        avs_json_add_num(c->arena, given, "dropout", 0);
        avs_json_add_num(c->arena, given, "drop_path", 0);
    }
    int rc = avs_cfg_resolve(c->arena, "train", given, cfg, &problems, e);
    if (rc == AVS_EPARSE && problems)
        return avs_fail(e, AVS_EPARSE, "config: %s: %s", problems->key ? problems->key : "?", problems->text);
    return rc;
}

static int build(avs_golden_case *c, run *r, avs_err *e)
{
    const avs_golden_tensor *frames;
    avs_model_io io = {0};
    int rc = avs_golden_need(&r->in, "frames", &frames, e);
    if (rc != AVS_OK) return rc;
    if (frames->rank != 4)
        return avs_fail(e, AVS_ESHAPE, "frames have %d axes, expected [rows,3,H,W]", frames->rank);
    r->rows = (int)frames->d[0];
    const bool features = avs_golden_find(&r->in, "audio_feature") != NULL;
    const avs_golden_tensor *masks = avs_golden_find(&r->in, "stage1_mask"),
                            *audio = avs_golden_find(&r->in, "audio"),
                            *over = avs_golden_find(&r->in, "points_oversample.0");
    const avs_build b = {.rows = r->rows,
                         .clip_rows = (int)avs_cfg_int(r->cfg, "frames"),
                         .height = (int)frames->d[2],
                         .width = (int)frames->d[3],
                         .training = r->training,
                         .with_loss = avs_golden_find(&r->in, "target") != NULL,
                         .with_frame_mask = avs_golden_find(&r->in, "frame_mask") != NULL,
                         .mask_height = masks && masks->rank == 3 ? (int)masks->d[1] : 0,
                         .mask_width = masks && masks->rank == 3 ? (int)masks->d[2] : 0,
                         .with_reference_taps = true,
                         .given_points = over && over->rank == 3 ? (int)over->d[0] : 0,
                         .audio_channels = audio && audio->rank == 4 ? (int)audio->d[1] : 0,
                         .audio_input = features ? AVS_AUDIO_FEATURE : AVS_AUDIO_MEL};
    r->net.graph = avs_graph_new(c->arena, r->training);
    if (!r->net.graph) return avs_fail(e, AVS_ENOMEM, "out of memory for a graph");
    rc = r->rule->build(r->net.graph, r->cfg, &b, &io, e);
    avs_model_freeze(r->net.graph, r->rule, r->cfg, 2);
    if (rc == AVS_OK && !strcmp(r->rule->name, "tpavi")) avs_golden_extend_tpavi(c, r->net.graph, &io);
    if (rc == AVS_OK && !strcmp(r->rule->name, "lightavseg"))
        avs_golden_extend_lightavseg(c, r->net.graph, r->cfg, &io);
    if (rc == AVS_OK && !strcmp(r->rule->name, "aavs")) avs_golden_extend_aavs(c, r->net.graph, &io);
    const avs_json *g = avs_json_get(r->node, "gradients");
    r->backward = (r->training || (g && g->len)) && io.loss;
    if (rc == AVS_OK && r->backward) rc = avs_backward(r->net.graph, io.loss);
    if (rc == AVS_OK) rc = avs_graph_check(r->net.graph, e);
    return rc == AVS_OK ? avs_golden_plan(c, &r->net, r->backward, e) : rc;
}

static int set_targets(avs_golden_case *c, run *r, avs_err *e)
{
    const avs_golden_tensor *target = avs_golden_find(&r->in, "target"),
                            *labels = avs_golden_find(&r->in, "label_mask");
    avs_type t;
    float *weight = avs_plan_input(r->net.plan, "row_weight", &t);
    void *dst = avs_plan_input(r->net.plan, "target", &t);
    if (!target || !dst) return AVS_OK;
    const int64_t per_row = avs_type_count(&t) / r->rows, given = target->n / per_row;
    const avs_json *rows = avs_json_get(avs_json_get(c->root, "extra_config"), "supervised_frames");
    if (given * per_row != target->n || given > r->rows)
        return avs_fail(e, AVS_ESHAPE, "target has %lld values, a row of the model has %lld",
                        (long long)target->n, (long long)per_row);
    int64_t k = 0;
    for (int i = 0; i < r->rows; i++) {
        bool labelled = labels ? labels->v[i] != 0.F : !rows;
        for (const avs_json *s = rows ? rows->first : NULL; s; s = s->next) labelled |= s->i == i;
        if (weight) weight[i] = labelled ? 1.F : 0.F;
        if (given != r->rows && !labelled) continue;
        const float *src = target->v + (given == r->rows ? i : k++) * per_row;
        for (int64_t j = 0; j < per_row; j++) {
            if (t.dtype == AVS_I32)
                ((int32_t *)dst)[i * per_row + j] = (int32_t)src[j];
            else
                ((float *)dst)[i * per_row + j] = src[j];
        }
        if (given != r->rows && k > given)
            return avs_fail(e, AVS_ESHAPE, "target has %lld rows, fewer than the supervised ones",
                            (long long)given);
    }
    return AVS_OK;
}

void avs_golden_losses(avs_golden_case *c, avs_golden_net *net, const avs_json *losses)
{
    for (const avs_json *l = losses ? losses->first : NULL; l; l = l->next) {
        avs_type t;
        const float *got =
            avs_plan_output(net->plan, avs_arena_fmt(c->arena, "act:loss:%s", avs_golden_own(c, l->key)), &t);
        if (got)
            avs_golden_number(c->report, "loss", l->key, (double)got[0], l->d, 1e-3, c->report->forward);
        else
            avs_golden_miss(c->report, "loss", l->key, "the model has no such term");
    }
}

/* "argmax": the stored class of each pixel must have the largest logit, up to the bound of outputs relative to it. */
static void check_classes(avs_golden_case *c, run *r, const char *name)
{
    avs_type t;
    avs_err err = AVS_ERR_INIT;
    const float *x = avs_plan_output(r->net.plan, "logits", &t);
    const avs_st_tensor *want = avs_st_find(&c->files, name);
    const int64_t K = x && t.rank == 4 ? t.d[3] : 0, n = K ? avs_type_count(&t) / K : 0;
    float *class = want && n ? AVS_NEW_N(c->arena, float, n) : NULL;
    int64_t wrong = 0;
    if (!class || want->count != n || avs_st_f32(want, class, &err) != AVS_OK) {
        avs_golden_miss(c->report, "output", name, "is no class map of the logits' extents");
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const float *row = x + i * K;
        const int64_t stored = (int64_t) class[i];
        float most = row[0];
        for (int64_t k = 1; k < K; k++) most = row[k] > most ? row[k] : most;
        wrong += stored < 0 || stored >= K ||
                 (double)(most - row[stored]) > c->report->forward * fabs((double)most);
    }
    avs_golden_number(c->report, "output", name, (double)wrong, 0, 0, 0);
}

/* "after.KEY": a buffer after the forward, kept whole. */
static void check_state(avs_golden_case *c, run *r, const char *name)
{
    const avs_plan_param *p = avs_plan_param_find(r->net.plan, name + strlen("after."));
    avs_err err = AVS_ERR_INIT;
    if (!p || p->kind != AVS_V_BUFFER) return; /* parameters after a step are compared by check_step */
    float *v = AVS_NEW_N(c->arena, float, avs_type_count(&p->type));
    if (v && avs_plan_param_get(r->net.plan, p->key, v, &err) == AVS_OK)
        avs_golden_output(c, name, NULL, v, &p->type);
    else
        avs_golden_miss(c->report, "running statistic", name, "cannot be read");
}

/* An output is stored under the name of a plan output or of a tap, and "_strideN" where only a part is stored. */
static void check_outputs(avs_golden_case *c, run *r)
{
    const avs_json *outputs = avs_json_get(r->node, "outputs");
    for (const avs_json *o = outputs ? outputs->first : NULL; o; o = o->next) {
        avs_type t;
        int64_t n = 0;
        if (!strncmp(o->key, "after.", 6)) check_state(c, r, o->key);
        if (!strncmp(o->key, "grad", 4) || !strncmp(o->key, "after.", 6)) continue;
        const char *name = avs_golden_own(c, o->key), *cut = strstr(name, "_stride"), *key = name;
        const float *got = avs_golden_get(c, &r->net, key, &t, &n);
        if (!got) got = avs_golden_get(c, &r->net, key = avs_arena_fmt(c->arena, "act:%s", name), &t, &n);
        if (!got && cut) {
            key = avs_arena_fmt(c->arena, "act:%.*s", (int)(cut - name), name);
            got = avs_golden_get(c, &r->net, key, &t, &n);
            if (!got) got = avs_golden_get(c, &r->net, key += strlen("act:"), &t, &n);
        }
        if (!strcmp(name, "argmax") || !strcmp(name, "pred_classes"))
            check_classes(c, r, o->key);
        else if (got)
            avs_golden_output(c, o->key, key, got, &t);
        else
            avs_golden_miss(c->report, "output", o->key, "the model has no output of that name");
    }
}

static void check_buffers(avs_golden_case *c, run *r)
{
    const avs_json *want = avs_json_get(r->node, "running_statistics_after");
    for (const avs_json *w = want ? want->first : NULL; w; w = w->next) {
        const avs_plan_param *p = avs_plan_param_find(r->net.plan, w->key);
        avs_err err = AVS_ERR_INIT;
        float *v = p ? AVS_NEW_N(c->arena, float, avs_type_count(&p->type)) : NULL;
        if (v && avs_plan_param_get(r->net.plan, w->key, v, &err) == AVS_OK)
            avs_golden_summary(c->report, "running statistic", w->key, v, avs_type_count(&p->type), w,
                               c->report->forward);
        else
            avs_golden_miss(c->report, "running statistic", w->key, "the model has no such buffer");
    }
}

/* Entries of the reference's state dict, which counts the steps of each BatchNorm beside its mean and variance. */
static int64_t entries(const avs_golden_net *net, bool with_params)
{
    int64_t params = 0, buffers = 0;
    for (uint32_t i = 1; i < net->graph->n_v; i++) {
        const avs_value *v = &net->graph->v[i];
        params += v->kind == AVS_V_PARAM && !v->view_of;
        buffers += v->kind == AVS_V_BUFFER && !v->view_of;
    }
    return (with_params ? params : 0) + buffers / 2 * 3;
}

void avs_golden_counts(avs_golden_case *c, avs_golden_net *net, const avs_json *want)
{
    for (const avs_json *w = want ? want->first : NULL; w; w = w->next) {
        int64_t got = 0;
        if (w->kind != AVS_J_INT) continue;
        const char *without = !strncmp(w->key, "total_without_", 14) ? w->key + 14 : NULL;
        /* "swin_adapt (inside encoder)": wherever the word stands in a key */
        const size_t word = strcspn(w->key, " ");
        const bool is_part = word > 6 && !strncmp(w->key + word - 6, "_adapt", 6);
        const char *part = avs_arena_fmt(c->arena, ".%.*s", (int)word, w->key);
        for (uint32_t i = 1; part && i < net->graph->n_v; i++) {
            const avs_value *v = &net->graph->v[i];
            if (v->kind != AVS_V_PARAM || v->view_of) continue;
            const size_t n = strlen(without ? without : w->key);
            const bool under =
                !strncmp(v->name, without ? without : w->key, n) && (v->name[n] == '.' || !v->name[n]);
            const bool counts = (is_part && strstr(v->name, part)) ||
                                (!strcmp(w->key, "image_adapters") && strstr(v->name, ".Adapter.")) ||
                                !strcmp(w->key, "total") || (!strcmp(w->key, "trainable") && !v->is_frozen) ||
                                (without ? !under : under);
            if (counts) got += avs_type_count(&v->type);
        }
        if (!strcmp(w->key, "buffers_in_state_dict")) got = entries(net, false);
        if (!strcmp(w->key, "state_dict_entries")) got = entries(net, true);
        avs_golden_number(c->report, "parameter count", w->key, (double)got, w->d, 0, 0);
    }
}

/* Norms of the q, k and v rows of an attention's in_proj_weight gradient. */
static void check_projections(avs_golden_case *c, run *r)
{
    const avs_json *want = avs_json_get(r->node, "attention_projection_gradient_norms_qkv");
    for (const avs_json *w = want ? want->first : NULL; w; w = w->next) {
        int64_t n = 0;
        const float *g =
            avs_golden_grad(c, &r->net, avs_arena_fmt(c->arena, "%s.in_proj_weight", w->key), &n);
        if (!g) {
            avs_golden_miss(c->report, "projection gradient", w->key, "the model has no such attention");
            continue;
        }
        double largest = 0;
        for (const avs_json *x = w->first; x; x = x->next) largest = x->d > largest ? x->d : largest;
        for (int64_t k = 0; k < 3; k++) {
            double s = 0;
            for (int64_t i = k * n / 3; i < (k + 1) * n / 3; i++) s += (double)g[i] * (double)g[i];
            const avs_json *x = avs_json_at(w, (size_t)k);
            /* zero in exact arithmetic: round-off of the largest; else relative to itself */
            const double scale = x->d < 1e-5 * largest ? largest : 0;
            avs_golden_number(c->report, "projection gradient",
                              avs_arena_fmt(c->arena, "%s.%c", w->key, "qkv"[k]), sqrt(s), x->d, scale,
                              c->report->gradient);
        }
    }
}

static int check_step(avs_golden_case *c, run *r, avs_err *e)
{
    const avs_json *step = avs_json_get(r->node, "after_one_adamw_step"),
                   *want = avs_json_get(step, "parameters");
    if (!want) return AVS_OK;
    int64_t n = 0;
    float *w = avs_plan_slab(r->net.plan, AVS_SLAB_PARAM, &n);
    const float *g = avs_plan_slab(r->net.plan, AVS_SLAB_GRAD, &n);
    float *m = avs_plan_slab_new(r->net.plan, e), *v = m ? avs_plan_slab_new(r->net.plan, e) : NULL;
    const avs_json *betas = avs_json_get(step, "betas");
    const avs_adamw_cfg cfg = {.lr = (float)avs_json_num(step, "lr", 1e-3),
                               .beta1 = betas ? (float)avs_golden_item(betas, 0)->d : 0.9F,
                               .beta2 = betas ? (float)avs_golden_item(betas, 1)->d : 0.999F,
                               .eps = (float)avs_json_num(step, "eps", 1e-8),
                               .decoupled = true};
    const avs_opt_segment seg = {
        .off = 0, .len = n, .lr_mult = 1.F, .weight_decay = (float)avs_json_num(step, "weight_decay", 0)};
    if (!v) return AVS_ENOMEM;
    const int rc = avs_plan_adamw(r->net.plan, &(avs_adamw_arrays){w, g, m, v}, &seg, 1, &cfg, 1, 1.F, e);
    if (rc != AVS_OK) return rc;
    for (const avs_json *p = want->first; p; p = p->next) {
        const avs_plan_param *info = avs_plan_param_find(r->net.plan, p->key);
        float *x = info ? AVS_NEW_N(c->arena, float, avs_type_count(&info->type)) : NULL;
        if (!x || avs_plan_param_get(r->net.plan, p->key, x, e) != AVS_OK)
            avs_golden_miss(c->report, "after AdamW", p->key, "the model has no such parameter");
        else
            avs_golden_digest(c->report, "after AdamW", "param:", p->key, x, avs_type_count(&info->type), p,
                              c->report->forward);
    }
    return AVS_OK;
}

/* Builds, fills and runs. */
static int run_net(avs_golden_case *c, run *r, const avs_json *config, avs_err *e)
{
    const avs_json *inputs = avs_json_get(r->node, "inputs");
    r->training = !strcmp(avs_json_str(r->node, "phase", avs_json_str(c->root, "phase", "eval")), "train");
    const avs_golden_source src = {.arena = c->arena,
                                   .root = c->root,
                                   .list = inputs ? inputs : avs_json_get(c->root, "inputs"),
                                   .config = config,
                                   .files = &c->files};
    int rc = avs_golden_config(c, config, r->training, r->thawed, &r->cfg, e);
    if (rc == AVS_OK) rc = avs_golden_make(&src, &r->in, e);
    if (rc == AVS_OK) rc = build(c, r, e);
    for (int i = 0; rc == AVS_OK && i < r->in.n; i++)
        if (strcmp(r->in.t[i].role, "target") != 0 && strcmp(r->in.t[i].role, "label_mask") != 0)
            rc = avs_golden_set(&r->net, r->in.t[i].role, &r->in.t[i], e);
    if (rc == AVS_OK) rc = set_targets(c, r, e);
    return rc == AVS_OK ? avs_plan_run(r->net.plan, e) : rc;
}

/* `frozen_gradients`: what frozen parameters would get of the same loss. */
static int check_frozen(avs_golden_case *c, const run *of, const avs_json *config, avs_err *e)
{
    const avs_json *frozen = avs_json_get(of->node, "frozen_gradients");
    run r = {.node = of->node, .name = of->name, .rule = of->rule, .thawed = true};
    if (!frozen || !frozen->len) return AVS_OK;
    avs_json list = *frozen;
    list.key = "gradients";
    list.next = NULL;
    const avs_json node = {.kind = AVS_J_OBJ, .first = &list, .len = 1};
    int rc = run_net(c, &r, config, e);
    if (rc == AVS_OK) avs_golden_gradients(c, &r.net, &node);
    avs_golden_net_free(&r.net);
    return rc;
}

static int run_node(avs_golden_case *c, run *r, const avs_json *config, avs_err *e)
{
    int rc = run_net(c, r, config, e);
    if (rc == AVS_OK) {
        avs_golden_activations(c, &r->net, avs_json_get(r->node, "activations"));
        check_outputs(c, r);
        avs_golden_losses(c, &r->net, avs_json_get(r->node, "losses"));
        avs_golden_gradients(c, &r->net, r->node);
        check_projections(c, r);
        if (!strcmp(r->rule->name, "aavs"))
            avs_golden_matching(c, &r->net, avs_json_get(avs_json_get(r->node, "matching"), "indices"));
        check_buffers(c, r);
        avs_golden_dissipation(c, &r->net, avs_json_get(r->node, "dissipation"));
        avs_golden_counts(c, &r->net, avs_json_get(r->node, "parameters"));
        avs_golden_counts(c, &r->net, avs_json_get(avs_json_get(r->node, "parameters"), "modules"));
        rc = check_step(c, r, e);
    }
    avs_golden_net_free(&r->net);
    return rc == AVS_OK ? check_frozen(c, r, config, e) : rc;
}

int avs_golden_run_node(avs_golden_case *c, const avs_json *node, const avs_json *config, avs_err *e)
{
    run r = {.node = node, .name = "", .rule = avs_model_find(avs_json_str(c->root, "model", ""))};
    /* cases of aavs list the gradients of what training freezes too */
    r.thawed = !strcmp(r.rule->name, "aavs");
    return run_node(c, &r, config, e);
}

static int run_set(avs_golden_case *c, const avs_model_rule *rule, const avs_json *set, avs_err *e)
{
    avs_arena *outer = c->arena;
    const char *case_name = c->report->case_name;
    int rc = AVS_OK;
    for (const avs_json *v = set->first; v && rc == AVS_OK; v = v->next) {
        char name[160];
        const avs_json *config = avs_json_get(v, "config");
        if (avs_json_get(v, "same_as")) continue;
        if (!config) config = avs_json_get(avs_json_get(c->root, "subconfigs"), v->key);
        snprintf(name, sizeof name, "%s/%s", case_name, v->key);
        run r = {.node = v, .name = v->key, .rule = rule};
        c->report->case_name = name;
        c->arena = avs_arena_new();
        if (!c->arena) rc = avs_fail(e, AVS_ENOMEM, "out of memory");
        if (rc == AVS_OK) rc = run_node(c, &r, config ? config : avs_json_get(c->root, "config"), e);
        if (rc != AVS_OK) avs_ctx(e, "%s", v->key);
        avs_arena_free(c->arena);
        c->arena = outer;
        c->report->case_name = case_name;
    }
    return rc;
}

/* The entries of `list` that begin with `prefix`, under their whole names; nothing of a list that is no object. */
static avs_json *entries_of(avs_arena *a, const avs_json *list, const char *prefix)
{
    avs_json *out = avs_json_new(a, AVS_J_OBJ);
    for (const avs_json *o = out && list ? list->first : NULL; o; o = o->next) {
        if (!o->key || strncmp(o->key, prefix, strlen(prefix)) != 0) continue;
        avs_json *copy = AVS_NEW(a, avs_json);
        if (!copy) return NULL;
        *copy = *o;
        copy->next = NULL;
        avs_json_add(a, out, o->key, copy);
    }
    return out;
}

/* One forward for each entry of `subconfigs`; names of outputs and activations begin with "SUBCASE.", losses and counts
 * are objects by sub-case, or named so too. */
static int run_subconfigs(avs_golden_case *c, const avs_model_rule *rule, const avs_json *set, avs_err *e)
{
    static const char *const by_name[] = {"outputs", "activations"}, *const by_case[] = {"losses",
                                                                                         "parameters"};
    avs_arena *outer = c->arena;
    const char *case_name = c->report->case_name;
    int rc = AVS_OK;
    for (const avs_json *v = set->first; v && rc == AVS_OK; v = v->next) {
        char name[160];
        snprintf(name, sizeof name, "%s/%s", case_name, v->key);
        c->report->case_name = name;
        c->arena = avs_arena_new();
        avs_json *node = c->arena ? avs_json_new(c->arena, AVS_J_OBJ) : NULL;
        c->sub = node ? avs_arena_fmt(c->arena, "%s.", v->key) : NULL;
        for (size_t i = 0; c->sub && i < 2; i++) {
            avs_json *mine = entries_of(c->arena, avs_json_get(c->root, by_name[i]), c->sub);
            if (mine) avs_json_add(c->arena, node, by_name[i], mine);
            avs_json *alone =
                entries_of(c->arena, avs_json_get(avs_json_get(c->root, by_case[i]), v->key), "");
            if (alone && !alone->len) alone = entries_of(c->arena, avs_json_get(c->root, by_case[i]), c->sub);
            if (alone) avs_json_add(c->arena, node, by_case[i], alone);
        }
        run r = {.node = node, .name = v->key, .rule = rule};
        rc = c->sub && !avs_arena_failed(c->arena) ? run_node(c, &r, v, e)
                                                   : avs_fail(e, AVS_ENOMEM, "out of memory");
        if (rc != AVS_OK) avs_ctx(e, "%s", v->key);
        avs_arena_free(c->arena);
        c->arena = outer;
        c->sub = NULL;
        c->report->case_name = case_name;
    }
    return rc;
}

int avs_golden_run_model(avs_golden_case *c, avs_err *e)
{
    static const char *const sets[] = {"variants", "cases", "binary"};
    const char *model = avs_json_str(c->root, "model", "");
    const avs_model_rule *rule = avs_model_find(model);
    if (!rule) return avs_fail(e, AVS_EMISSING, "model '%s' is not built in", model);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        const avs_json *set = avs_json_get(c->root, sets[i]);
        if (set && set->kind == AVS_J_OBJ) return run_set(c, rule, set, e);
    }
    const avs_json *subs = avs_json_get(c->root, "subconfigs");
    if (subs) return run_subconfigs(c, rule, subs, e);
    int rc = avs_golden_run_node(c, c->root, avs_json_get(c->root, "config"), e);
    return rc == AVS_OK ? avs_golden_other_totals(c, e) : rc;
}
