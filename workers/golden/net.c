/* Golden cases: graphs with probe weights, layouts, and the comparisons that all kinds share. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/probe.h"
#include "engine/graph/ops.h"
#include "metrics/dissipation.h"
#include "workers/golden/run.h"

static int fill(avs_golden_case *c, avs_plan *plan, avs_err *e)
{
    int rc = AVS_OK;
    for (int i = 0; rc == AVS_OK && i < avs_plan_n_params(plan); i++) {
        const avs_plan_param *p = avs_plan_param_at(plan, i);
        int64_t d[AVS_MAX_RANK];
        char *name = avs_arena_fmt(c->arena, "%s%s", c->prefix, p->key);
        float *v = avs_xalloc((size_t)avs_type_count(&p->type) * sizeof(float));
        if (!v || !name) {
            avs_xfree(v);
            return avs_fail(e, AVS_ENOMEM, "out of memory for probe values of %s", p->key);
        }
        for (int k = 0; k < p->type.rank; k++) d[k] = p->type.d[k];
        avs_probe_param(name, d, p->type.rank, v);
        rc = avs_plan_param_set(plan, p->key, v, e);
        avs_xfree(v);
    }
    return rc;
}

/* Runs the watched net in float64 with the inputs it has. */
static bool make_exact(avs_golden_case *c, avs_golden_net *net)
{
    const avs_plan_cfg cfg = {
        .backend = "ref", .prec = AVS_PREC_F64, .training = net->training, .taps = true};
    avs_err err = AVS_ERR_INIT;
    int rc = avs_plan_build(&net->exact, net->graph, &cfg, &err);
    if (rc == AVS_OK) rc = fill(c, net->exact, &err);
    for (uint32_t i = 1; rc == AVS_OK && i < net->graph->n_v; i++) {
        const avs_value *v = &net->graph->v[i];
        avs_type t;
        if (v->kind != AVS_V_INPUT || v->view_of) continue;
        const void *src = avs_plan_input(net->plan, v->name, &t);
        void *dst = avs_plan_input(net->exact, v->name, &t);
        if (src && dst) memcpy(dst, src, (size_t)avs_type_count(&t) * avs_dtype_size((avs_dtype)t.dtype));
    }
    if (rc == AVS_OK) rc = avs_plan_run(net->exact, &err);
    if (rc != AVS_OK)
        fprintf(c->report->out, "  note %s: no float64 run: %s\n", c->report->case_name, err.msg);
    return rc == AVS_OK;
}

/* key: "grad!KEY" for the gradient of a parameter, else a plan output. */
static const float *exact_value(void *ctx, const char *key, int64_t n)
{
    avs_golden_case *c = ctx;
    avs_golden_net *net = c->net, twin;
    avs_type t;
    int64_t have = 0;
    if (!net || net->has_no_exact) return NULL;
    if (!net->exact && !make_exact(c, net)) {
        net->has_no_exact = true;
        return NULL;
    }
    twin = (avs_golden_net){.graph = net->graph, .plan = net->exact};
    const float *v = !strncmp(key, "grad!", 5) ? avs_golden_grad(c, &twin, key + 5, &have)
                                               : avs_golden_get(c, &twin, key, &t, &have);
    return have == n ? v : NULL;
}

int avs_golden_plan(avs_golden_case *c, avs_golden_net *net, bool training, avs_err *e)
{
    const avs_plan_cfg cfg = {.backend = c->backend,
                              .prec = c->prec,
                              .training = training,
                              .taps = true,
                              .passes_off = c->passes_off,
                              .mem_budget = c->mem_budget};
    net->training = training;
    c->net = net;
    c->report->exact = exact_value;
    c->report->exact_ctx = c;
    int rc = avs_plan_build(&net->plan, net->graph, &cfg, e);
    return rc == AVS_OK ? fill(c, net->plan, e) : rc;
}

void avs_golden_net_free(avs_golden_net *net)
{
    avs_plan_free(net->plan);
    avs_plan_free(net->exact);
    *net = (avs_golden_net){0};
}

int avs_golden_set(avs_golden_net *net, const char *input, const avs_golden_tensor *t, avs_err *e)
{
    avs_type type;
    void *dst = avs_plan_input(net->plan, input, &type);
    if (!dst) return AVS_OK; /* the graph does not depend on it */
    if (avs_type_count(&type) != t->n)
        return avs_fail(e, AVS_ESHAPE, "input '%s' has %lld values, the model wants %lld", input,
                        (long long)t->n, (long long)avs_type_count(&type));
    const bool map = type.rank == 4 && t->rank == 4 && t->d[1] == type.d[3] && t->d[2] == type.d[1];
    const int64_t C = map ? t->d[1] : 1, HW = map ? t->d[2] * t->d[3] : t->n, B = map ? t->d[0] : 1;
    for (int64_t b = 0; b < B; b++)
        for (int64_t k = 0; k < C; k++)
            for (int64_t i = 0; i < HW; i++) {
                const float v = t->v[(b * C + k) * HW + i];
                const int64_t at = (b * HW + i) * C + k;
                if (type.dtype == AVS_I32)
                    ((int32_t *)dst)[at] = (int32_t)v;
                else
                    ((float *)dst)[at] = v;
            }
    return AVS_OK;
}

int avs_golden_size(const avs_json *j, const char *key, int *v, avs_err *e)
{
    const avs_json *given = avs_json_get(j, key);
    if (!given) return AVS_OK;
    if (given->kind != AVS_J_INT || given->i < 1 || given->i > AVS_GOLDEN_SIZE)
        return avs_fail(e, AVS_ERANGE, "%s must be a whole number from 1 to %d", key, AVS_GOLDEN_SIZE);
    *v = (int)given->i;
    return AVS_OK;
}

static bool is_attention(const char *output)
{
    const size_t n = strlen(output);
    return n > 5 && !strcmp(output + n - 5, ":attn");
}

const float *avs_golden_get(avs_golden_case *c, avs_golden_net *net, const char *output, avs_type *t,
                            int64_t *n)
{
    const float *src = avs_plan_output(net->plan, output, t);
    if (!src || t->dtype != AVS_F32) return NULL;
    *n = avs_type_count(t);
    float *dst = AVS_NEW_N(c->arena, float, *n);
    if (!dst) return NULL;
    /* maps come back as B,C,H,W, clips of maps as B,C,T,H,W; attention maps [B,h,N,K] are tapped as NAME:attn and stay as they are */
    if (t->rank < 4 || is_attention(output)) {
        memcpy(dst, src, (size_t)*n * sizeof(float));
        return dst;
    }
    const avs_type m = *t;
    const int64_t C = m.d[m.rank - 1], HW = *n / (m.d[0] * C);
    for (int64_t b = 0; b < m.d[0]; b++)
        for (int64_t i = 0; i < HW; i++)
            for (int64_t k = 0; k < C; k++) dst[(b * C + k) * HW + i] = src[(b * HW + i) * C + k];
    t->d[1] = (int32_t)C;
    for (int k = 2; k < m.rank; k++) t->d[k] = m.d[k - 1];
    return dst;
}

void avs_golden_output(avs_golden_case *c, const char *name, const char *key, const float *got,
                       const avs_type *t)
{
    const avs_st_tensor *want = avs_st_find(&c->files, name);
    if (!want) {
        avs_golden_miss(c->report, "output", name, "is not in the safetensors file");
        return;
    }
    float *w = AVS_NEW_N(c->arena, float, want->count), *g = AVS_NEW_N(c->arena, float, want->count);
    avs_err err = AVS_ERR_INIT;
    if (!w || !g || avs_st_f32(want, w, &err) != AVS_OK) {
        avs_golden_miss(c->report, "output", name, err.code ? err.msg : "out of memory");
        return;
    }
    const int64_t n = avs_type_count(t);
    if (want->count == n) {
        memcpy(g, got, (size_t)n * sizeof(float));
        c->report->exact_key = key;
    } else if (want->rank == t->rank) { /* "_stride": every k-th row along axes; "_first": a leading part */
        const bool strided = strstr(name, "_stride") != NULL;
        int64_t step[AVS_MAX_RANK] = {0}, pitch = 1, at[AVS_MAX_RANK] = {0};
        for (int k = t->rank - 1; k >= 0; k--) {
            step[k] = pitch * (strided ? (t->d[k] + want->d[k] - 1) / want->d[k] : 1);
            if (want->d[k] > t->d[k]) {
                avs_golden_miss(c->report, "output", name, "is larger than what the model makes");
                return;
            }
            pitch *= t->d[k];
        }
        for (int64_t i = 0; i < want->count; i++) {
            int64_t off = 0;
            for (int k = 0; k < t->rank; k++) off += at[k] * step[k];
            g[i] = got[off];
            for (int k = t->rank - 1; k >= 0 && ++at[k] == want->d[k]; k--) at[k] = 0;
        }
    } else {
        avs_golden_miss(c->report, "output", name, "has another number of values");
        return;
    }
    const bool is_grad = strstr(name, "grad") != NULL;
    avs_golden_array(c->report, is_grad ? "gradient" : "output", name, g, w, want->count,
                     is_grad ? c->report->gradient : c->report->forward);
    c->report->exact_key = NULL;
}

const float *avs_golden_grad(avs_golden_case *c, avs_golden_net *net, const char *key, int64_t *n)
{
    const avs_plan_param *p = avs_plan_param_find(net->plan, key);
    avs_err err = AVS_ERR_INIT;
    if (!p) return NULL;
    *n = avs_type_count(&p->type);
    float *g = AVS_NEW_N(c->arena, float, *n);
    return g && avs_plan_grad_get(net->plan, key, g, &err) == AVS_OK ? g : NULL;
}

static const char *without_prefix(const avs_golden_case *c, const char *name)
{
    const size_t n = strlen(c->prefix);
    return strncmp(name, c->prefix, n) ? name : name + n;
}

static double norm_of(const float *g, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)g[i] * (double)g[i];
    return sqrt(s);
}

static void listed_zero(avs_golden_case *c, avs_golden_net *net, const avs_json *list)
{
    for (const avs_json *z = list ? list->first : NULL; z; z = z->next) {
        const char *name = z->kind == AVS_J_STR ? z->s : z->key;
        int64_t n = 0;
        const float *g = name ? avs_golden_grad(c, net, without_prefix(c, name), &n) : NULL;
        if (g) avs_golden_number(c->report, "zero gradient", name, norm_of(g, n), 0, 0, 1e-5);
    }
}

static bool is_zero_by_suffix(const avs_golden_case *c, const char *key)
{
    const size_t n = c->zero_suffix ? strlen(c->zero_suffix) : 0, len = strlen(key);
    return n && len >= n && !strcmp(key + len - n, c->zero_suffix);
}

void avs_golden_gradients(avs_golden_case *c, avs_golden_net *net, const avs_json *node)
{
    const avs_json *digests = avs_json_get(node, "gradients");
    double largest = 0;
    for (const avs_json *d = digests ? digests->first : NULL; d; d = d->next)
        if (d->first) largest = fmax(largest, d->first->d);
    for (const avs_json *d = digests ? digests->first : NULL; d; d = d->next) {
        int64_t n = 0;
        const float *g = avs_golden_grad(c, net, without_prefix(c, d->key), &n);
        if (!g) {
            avs_golden_miss(c->report, "gradient", d->key, "the model has no such parameter");
            continue;
        }
        /* below the golden's own round-off of sums that are zero in exact arithmetic */
        const bool is_noise = d->first && d->first->d < 1e-8 * largest;
        if (is_noise || is_zero_by_suffix(c, d->key)) {
            avs_golden_number(c->report, "zero gradient", d->key, norm_of(g, n), 0, 0, 1e-6 * largest);
            continue;
        }
        c->report->exact_key = avs_arena_fmt(c->arena, "grad!%s", without_prefix(c, d->key));
        avs_golden_digest(c->report, "gradient", "grad:", d->key, g, n, d, c->report->gradient);
        c->report->exact_key = NULL;
    }
    for (int i = 0; i < c->files.n && node == c->root; i++) { /* whole gradients: grad.PREFIXKEY */
        const avs_st_tensor *t = &c->files.t[i];
        if (strncmp(t->name, "grad.", 5) != 0) continue;
        const char *key = without_prefix(c, t->name + 5);
        int64_t n = 0;
        const float *g = avs_golden_grad(c, net, key, &n);
        avs_err err = AVS_ERR_INIT;
        float *w = g ? AVS_NEW_N(c->arena, float, t->count) : NULL;
        c->report->exact_key = avs_arena_fmt(c->arena, "grad!%s", key);
        if (g && w && n == t->count && avs_st_f32(t, w, &err) == AVS_OK)
            avs_golden_array(c->report, "gradient", t->name, g, w, n, c->report->gradient);
        else if (g)
            avs_golden_miss(c->report, "gradient", t->name, "has another number of values");
        c->report->exact_key = NULL;
    }
    listed_zero(c, net, avs_json_get(node, "zero_gradients"));
    listed_zero(c, net, avs_json_get(node, "no_gradient"));
}

const char *avs_golden_own(const avs_golden_case *c, const char *name)
{
    const size_t n = c->sub ? strlen(c->sub) : 0;
    return n && !strncmp(name, c->sub, n) ? name + n : name;
}

/* What the case calls "frameN.NAME" is row N of the tap NAME; a batch of 1 that the reference spreads over the rows is any
 * row of ours. NULL: no such tap. *key is NULL for a part of a tap. */
static const float *activation(avs_golden_case *c, avs_golden_net *net, const avs_json *want, avs_type *t,
                               int64_t *n, const char **key)
{
    const char *name = avs_golden_own(c, want->key);
    int64_t row = 0;
    char *dot = NULL;
    if (!strncmp(name, "frame", 5) && name[5] >= '0' && name[5] <= '9') row = strtol(name + 5, &dot, 10);
    const bool is_row = dot && *dot == '.';
    if (is_row) name = dot + 1;
    *key = avs_arena_fmt(c->arena, "act:%s", name);
    const float *got = avs_golden_get(c, net, *key, t, n);
    const avs_json *rows = avs_json_at(avs_json_get(want, "shape"), 0);
    if (!got || !rows || rows->i != 1 || t->d[0] <= row || (t->d[0] == 1 && !is_row)) return got;
    *key = NULL;
    *n /= t->d[0];
    return got + row * *n;
}

void avs_golden_activations(avs_golden_case *c, avs_golden_net *net, const avs_json *activations)
{
    for (const avs_json *a = activations ? activations->first : NULL; a; a = a->next) {
        avs_type t;
        int64_t n = 0;
        const char *key;
        const float *got = activation(c, net, a, &t, &n, &key);
        c->report->exact_key = key;
        if (got)
            avs_golden_summary(c->report, "activation", a->key, got, n, a, c->report->forward);
        else
            avs_golden_miss(c->report, "activation", a->key, "the model has no activation of that name");
        c->report->exact_key = NULL;
    }
}

void avs_golden_dissipation_one(avs_golden_case *c, avs_golden_net *net, const char *name,
                                const avs_json *want)
{
    avs_type t;
    int64_t n = 0;
    avs_err err = AVS_ERR_INIT;
    const float *attn = avs_golden_get(c, net, avs_arena_fmt(c->arena, "act:%s:attn", name), &t, &n);
    avs_dissipation d = {0};
    if (avs_json_get(want, "entropy")) {
        if (!attn || t.rank != 4) {
            avs_golden_miss(c->report, "dissipation", name, "the model has no attention of that name");
            return;
        }
        if (avs_attention_dissipation(attn, (int64_t)t.d[0] * t.d[1], t.d[2], t.d[3], &d, &err) != AVS_OK) {
            avs_golden_miss(c->report, "dissipation", name, err.msg);
            return;
        }
        const struct {
            const char *key;
            double got;
        } parts[] = {{"entropy", d.entropy},
                     {"normalised_entropy", d.normalised_entropy},
                     {"dissipation_index", d.dissipation}};
        for (size_t i = 0; i < 3; i++)
            if (avs_json_get(want, parts[i].key))
                avs_golden_number(c->report, "dissipation",
                                  avs_arena_fmt(c->arena, "%s.%s", name, parts[i].key), parts[i].got,
                                  avs_json_num(want, parts[i].key, 0), 1e-3, c->report->forward);
    }
    if (avs_json_get(want, "replication_index")) {
        double got = 0;
        const float *o = avs_golden_get(c, net, avs_arena_fmt(c->arena, "act:%s:out", name), &t, &n);
        if (!o || t.rank != 3 || avs_replication_index(o, t.d[0], t.d[1], t.d[2], &got, &err) != AVS_OK)
            avs_golden_miss(c->report, "replication", name, "the model has no such fused output");
        else
            avs_golden_number(c->report, "replication", name, got, avs_json_num(want, "replication_index", 0),
                              1e-3, c->report->forward);
    }
}

void avs_golden_dissipation(avs_golden_case *c, avs_golden_net *net, const avs_json *want)
{
    for (const avs_json *w = want ? want->first : NULL; w; w = w->next)
        avs_golden_dissipation_one(c, net, w->key, w);
}

void avs_golden_probe_loss(avs_golden_case *c, avs_graph *g, const char *name, avs_val y, avs_val *loss)
{
    if (!y) return;
    const bool mean =
        !strcmp(avs_json_str(avs_json_get(c->root, "extra_config"), "probe_loss", "sum"), "mean");
    const avs_type t = *avs_t(g, y);
    avs_val part = avs_reduce(g, avs_mul(g, y, avs_input(g, name, t)), 0, t.rank, mean);
    part = avs_reshape(g, part, AVS_F32T(1));
    *loss = *loss ? avs_add(g, *loss, part) : part;
}
