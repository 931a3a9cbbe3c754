/* A second net of one clip, whose attention weights are outputs, gets the parameters of the evaluated one. */
#include "workers/dissipation.h"

#include <stdio.h>
#include <string.h>

#include "metrics/dissipation.h"

enum { CLIPS = 32, MAX_LAYERS = 96 };

/* What is reported, in this order. */
enum { INDEX, ENTROPY, REPLICATION, N_KINDS };
static const char *const kind_name[N_KINDS] = {"dissipation_index", "attention_entropy", "replication_index"};

typedef struct {
    const char *tap; /* PATH:attn or PATH:out */
    char path[96];
    bool is_output, in_generator;
    double sum[N_KINDS];
    int64_t frames;
} layer;

typedef struct {
    layer at[MAX_LAYERS];
    int n;
} layers;

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* The taps that matter: layers of a query generator, and every other one in which picture and sound meet. */
static void find_layers(const avs_graph *g, layers *l)
{
    static const char *const meets[] = {"cross_attn", "fuse", "fusion_block", "tpavi_b"};
    l->n = 0;
    for (uint32_t i = 0; i < g->n_tap && l->n < MAX_LAYERS; i++) {
        const char *tap = g->tap[i].name;
        const bool is_output = ends_with(tap, ":out");
        if (!is_output && !ends_with(tap, ":attn")) continue;
        const bool in_generator = strstr(tap, "generator.") != NULL;
        bool counts = in_generator;
        for (size_t k = 0; k < sizeof meets / sizeof *meets; k++) counts |= strstr(tap, meets[k]) != NULL;
        if (!counts) continue;
        layer *y = &l->at[l->n++];
        *y = (layer){.tap = tap, .is_output = is_output, .in_generator = in_generator};
        snprintf(y->path, sizeof y->path, "%.*s", (int)(strrchr(tap, ':') - tap), tap);
    }
}

/* Adds frame `row` of the run that was just made. */
static int add_frame(layer *y, avs_plan *p, int row, avs_err *e)
{
    avs_type t;
    double r = 0;
    avs_dissipation d;
    const float *x = avs_plan_output(p, y->tap, &t);
    if (!x || t.rank < 3 || row >= t.d[0])
        return avs_fail(e, AVS_ESHAPE, "attention %s has no frame %d", y->tap, row);
    const int64_t each = avs_type_count(&t) / t.d[0];
    x += row * each;
    int rc;
    if (y->is_output) { /* [B,N,C], [B,h,w,C] */
        const int64_t C = t.d[t.rank - 1];
        rc = avs_replication_index(x, 1, each / C, C, &r, e);
        y->sum[REPLICATION] += r;
    } else { /* [B,heads,N,K] */
        rc = avs_attention_dissipation(x, t.d[1], t.d[2], t.d[3], &d, e);
        y->sum[INDEX] += d.dissipation;
        y->sum[ENTROPY] += d.normalised_entropy;
    }
    y->frames++;
    return rc == AVS_OK ? rc : avs_ctx(e, "%s", y->tap);
}

static int run_clip(avs_evaluator *ev, const avs_dataset *ds, const avs_features *features, int clip,
                    layers *l, avs_err *e)
{
    const avs_clip *c = avs_dataset_clip(ds, clip);
    int rc = avs_evaluator_fill(ev, ds, features, clip, clip, 0, e);
    if (rc == AVS_OK) rc = avs_plan_run(ev->net.plan, e);
    for (int t = 0; t < ev->T && rc == AVS_OK; t++)
        for (int i = 0; i < l->n && rc == AVS_OK && c->frame_mask[t]; i++)
            rc = add_frame(&l->at[i], ev->net.plan, t, e);
    return rc;
}

static void send(avs_control *c, const layers *l, const char *split)
{
    char name[160];
    for (int generator = 0; generator < 2; generator++)
        for (int k = 0; k < N_KINDS; k++) {
            double sum = 0;
            int n = 0;
            for (int i = 0; i < l->n; i++) {
                const layer *y = &l->at[i];
                if (y->in_generator != (generator == 1) || y->is_output != (k == REPLICATION)) continue;
                const double mean = y->sum[k] / (double)y->frames;
                snprintf(name, sizeof name, "%s/%s", kind_name[k], y->path);
                avs_control_result(c, name, split, mean, "fraction", 0);
                sum += mean;
                n++;
            }
            snprintf(name, sizeof name, "%s%s", generator ? "generator_" : "", kind_name[k]);
            if (n) avs_control_result(c, name, split, sum / n, "fraction", 0);
        }
}

int avs_dissipation_results(avs_control *c, avs_evaluator *ev, const avs_dataset *ds,
                            const avs_features *features, const char *split, avs_err *e)
{
    layers l;
    avs_evaluator probe = {0};
    const int n = avs_dataset_count(ds), clips = n < CLIPS ? n : CLIPS;
    find_layers(ev->net.graph, &l);
    if (!l.n) return AVS_OK;
    const avs_evaluator_cfg ec = {.features = features != NULL, .attention = true, .control = c, .clips = 1};
    int rc = avs_evaluator_open_for(&probe, ev->cfg, ds, &ec, e);
    if (rc == AVS_OK) rc = avs_net_copy(&probe.net, &ev->net, e);
    probe.masks = ev->masks;
    for (int i = 0; i < clips && rc == AVS_OK; i++) {
        if (c && avs_control_poll(c)) rc = avs_fail(e, AVS_ECANCEL, "stopped on request while evaluating");
        if (rc == AVS_OK) rc = run_clip(&probe, ds, features, (int)((int64_t)i * n / clips), &l, e);
        avs_control_progress(c, i, clips, 0, "attention", false);
    }
    if (rc == AVS_OK) send(c, &l, split);
    avs_evaluator_close(&probe);
    return rc;
}
