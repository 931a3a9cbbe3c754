/* Golden cases of the light networks: SeaFormer's features and one squeeze-axial attention, MobileNetV2 for audio. */
#include <string.h>

#include "engine/graph/ops.h"
#include "models/backbones/backbones.h"
#include "workers/golden/run.h"

static void check_count(avs_golden_case *c, const avs_graph *g, const char *name)
{
    const avs_json *want = avs_json_get(avs_json_get(c->root, "parameters"), name);
    if (want)
        avs_golden_number(c->report, "parameter count", name, (double)avs_graph_param_count(g, false),
                          want->d, 0, 0);
}

/* Elements of the parameters under PREFIX. against `parameters.modules`. */
static void check_modules(avs_golden_case *c, const avs_graph *g)
{
    const avs_json *modules = avs_json_get(avs_json_get(c->root, "parameters"), "modules");
    for (const avs_json *m = modules ? modules->first : NULL; m; m = m->next) {
        const size_t n = strlen(m->key);
        int64_t count = 0;
        for (uint32_t i = 1; i < g->n_v; i++) {
            const avs_value *v = &g->v[i];
            if (v->kind == AVS_V_PARAM && !strncmp(v->name, m->key, n) && v->name[n] == '.')
                count += avs_type_count(&v->type);
        }
        avs_golden_number(c->report, "parameter count", m->key, (double)count, m->d, 0, 0);
    }
}

int avs_golden_run_seaformer(avs_golden_case *c, avs_err *e)
{
    avs_golden_inputs in;
    const avs_golden_tensor *frames;
    avs_golden_net net = {0};
    avs_val out[4];
    const char *name =
        avs_json_str(avs_json_get(c->root, "config"), "backbone", avs_json_str(c->root, "model", ""));
    int rc = avs_golden_inputs_of(c, &in, e);
    if (rc == AVS_OK) rc = avs_golden_need(&in, "frames", &frames, e);
    if (rc != AVS_OK) return rc;
    if (!(net.graph = avs_golden_graph(c, false, e))) return AVS_ENOMEM;
    const int n = avs_seaformer(net.graph, name[strlen(name) - 1],
                                avs_golden_input(net.graph, "frames", frames), 0.F, out);
    for (int i = 0; i < n; i++) avs_graph_output(net.graph, avs_arena_fmt(c->arena, "out%d", i), out[i]);
    rc = avs_golden_run_net(c, &net, &in, 0, e);
    if (rc == AVS_OK) {
        avs_golden_activations(c, &net, avs_json_get(c->root, "activations"));
        for (int i = 0; i < n; i++) {
            const char *key = avs_arena_fmt(c->arena, "out%d", i);
            avs_golden_stored(c, &net, key, key);
        }
        check_count(c, net.graph, "total");
        check_modules(c, net.graph);
    }
    avs_golden_net_free(&net);
    return rc;
}

/* ------------------------------------------------------------------ attention */

/* "train.grad.KEY" is the gradient of KEY, "train.KEY" another tensor of the state after one training forward. */
static void stored_state(avs_golden_case *c, avs_golden_net *net, avs_err *e)
{
    static const char grad[] = "train.grad.", state[] = "train.";
    for (int i = 0; i < c->files.n; i++) {
        const char *name = c->files.t[i].name;
        const bool is_grad = !strncmp(name, grad, sizeof grad - 1);
        const char *key = name + (is_grad ? sizeof grad : sizeof state) - 1;
        if (strncmp(name, state, sizeof state - 1) != 0 || !strcmp(key, "y") || !strcmp(key, "grad_x"))
            continue;
        const avs_plan_param *p = avs_plan_param_find(net->plan, key);
        int64_t n = 0;
        const float *got = is_grad && p ? avs_golden_grad(c, net, key, &n) : NULL;
        if (p && !is_grad) {
            float *v = AVS_NEW_N(c->arena, float, avs_type_count(&p->type));
            if (v && avs_plan_param_get(net->plan, key, v, e) == AVS_OK) got = v;
        }
        if (got)
            avs_golden_output(c, name, is_grad ? avs_arena_fmt(c->arena, "grad!%s", key) : NULL, got,
                              &p->type);
        else
            avs_golden_miss(c->report, "state", name, "the model has no such tensor");
    }
}

static int attention_part(avs_golden_case *c, const avs_golden_inputs *in, bool training, avs_err *e)
{
    const avs_json *extra = avs_json_get(c->root, "extra_config");
    const int key_dim = (int)avs_json_int(extra, "key_dim", 16);
    const int heads = (int)avs_json_int(avs_json_get(c->root, "config"), "num_heads", 8);
    const avs_golden_tensor *x;
    avs_golden_net net = {0};
    avs_val loss = 0;
    int rc = avs_golden_need(in, "x", &x, e);
    if (rc != AVS_OK) return rc;
    if (!(net.graph = avs_golden_graph(c, training, e))) return AVS_ENOMEM;
    avs_val vx = avs_golden_input(net.graph, "x", x);
    if (training) avs_graph_want_grad(net.graph, vx);
    avs_val y = avs_sea_attention(net.graph, vx, key_dim, heads);
    avs_graph_output(net.graph, "y", y);
    if (training) avs_golden_probe_loss(c, net.graph, "grad_output", y, &loss);
    rc = avs_golden_run_net(c, &net, in, loss, e);
    if (rc == AVS_OK) {
        avs_golden_stored(c, &net, training ? "train.y" : "eval.y", "y");
        check_count(c, net.graph, "total");
    }
    if (rc == AVS_OK && training) {
        avs_golden_stored(c, &net, "train.grad_x", "grad:x");
        avs_golden_gradients(c, &net, c->root);
        stored_state(c, &net, e);
    }
    avs_golden_net_free(&net);
    return rc;
}

int avs_golden_run_sea_attention(avs_golden_case *c, avs_err *e)
{
    avs_golden_inputs in;
    int rc = avs_golden_inputs_of(c, &in, e);
    if (rc == AVS_OK) rc = attention_part(c, &in, false, e);
    return rc == AVS_OK ? attention_part(c, &in, true, e) : rc;
}

/* ------------------------------------------------------------------ audio */

int avs_golden_run_mobilenet(avs_golden_case *c, avs_err *e)
{
    static const char *const outputs[3][2] = {
        {"features", "act:features.18"}, {"pooled", "act:pooled"}, {"embed", "embedding"}};
    avs_golden_inputs in;
    const avs_golden_tensor *audio;
    avs_golden_net net = {0};
    int rc = avs_golden_inputs_of(c, &in, e);
    if (rc == AVS_OK) rc = avs_golden_need(&in, "audio", &audio, e);
    if (rc != AVS_OK) return rc;
    if (!(net.graph = avs_golden_graph(c, false, e))) return AVS_ENOMEM;
    avs_graph_output(net.graph, "embedding",
                     avs_mobilenet_v2(net.graph, avs_golden_input(net.graph, "audio", audio)));
    rc = avs_golden_run_net(c, &net, &in, 0, e);
    if (rc == AVS_OK) {
        avs_golden_activations(c, &net, avs_json_get(c->root, "activations"));
        for (int i = 0; i < 3; i++) avs_golden_stored(c, &net, outputs[i][0], outputs[i][1]);
        check_count(c, net.graph, "total");
    }
    avs_golden_net_free(&net);
    return rc;
}
