/* MobileNetV2 of width 1.0 (arXiv 1801.04381; torchvision's structure and keys) as a frozen audio encoder: mean over the
 * last map, then a linear embedding with ReLU. Whatever the graph trains, this part is built as in evaluation: running
 * statistics always. Freezing its parameters is the caller's (avs_graph_freeze).
 *
 * Since nothing is normalised, random weights must keep the signal's size by themselves: variance 2/fan_in behind a ReLU,
 * else 1/fan_in. With torchvision's start (by fan_out, which shrinks depthwise outputs) every sound gives the same vector. */
#include "models/backbones/backbones.h"
#include "models/layers.h"

#include <math.h>

typedef struct {
    int out, kernel, stride, groups;
    bool cut;       /* ReLU6 at the end    */
    bool rectified; /* input behind a ReLU */
} layer;

static avs_val conv_bn(avs_graph *g, avs_val x, const char *conv, const char *bn, layer l)
{
    avs_scope_push(g, "%s", conv);
    const int in = avs_dim(g, x, 3) / l.groups;
    const avs_init start = l.rectified ? (avs_init){.kind = AVS_INIT_HE_FAN_IN}
                                       : (avs_init){.kind = AVS_INIT_NORMAL, .a = 1.F / sqrtf((float)in)};
    avs_val w = avs_param(g, "weight", AVS_F32T(l.out, in, l.kernel, l.kernel), start);
    x = avs_conv2d(g, x, w, 0, l.stride, l.kernel / 2, 1, l.groups);
    avs_scope_pop(g);
    x = avs_nn_batchnorm(g, x, bn);
    return l.cut ? avs_relu6(g, x) : x;
}

/* expand 1x1 (absent for factor 1), depthwise 3x3, project 1x1; the sum where shapes agree. */
static avs_val inverted_residual(avs_graph *g, avs_val x, int factor, int out, int stride)
{
    const int in = avs_dim(g, x, 3), hidden = factor * in;
    avs_val y = x;
    avs_scope_push(g, "conv");
    if (factor != 1) {
        y = conv_bn(g, y, "0.0", "0.1", (layer){hidden, 1, 1, 1, true, false});
        y = conv_bn(g, y, "1.0", "1.1", (layer){hidden, 3, stride, hidden, true, true});
        y = conv_bn(g, y, "2", "3", (layer){out, 1, 1, 1, false, true});
    } else {
        y = conv_bn(g, y, "0.0", "0.1", (layer){hidden, 3, stride, hidden, true, true});
        y = conv_bn(g, y, "1", "2", (layer){out, 1, 1, 1, false, true});
    }
    avs_scope_pop(g);
    return stride == 1 && in == out ? avs_add(g, x, y) : y;
}

static avs_val features(avs_graph *g, avs_val x)
{
    static const struct {
        int factor, out, repeat, stride;
    } groups[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                  {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
    int nth = 1;
    x = avs_tap(g, "features.0",
                conv_bn(g, x, "features.0.0", "features.0.1", (layer){32, 3, 2, 1, true, true}));
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        for (int j = 0; j < groups[i].repeat && x; j++, nth++) {
            avs_scope_push(g, "features.%d", nth);
            x = inverted_residual(g, x, groups[i].factor, groups[i].out, j ? 1 : groups[i].stride);
            avs_scope_pop(g);
            avs_nn_tap(g, x, "features.%d", nth);
        }
    if (!x) return 0;
    x = conv_bn(g, x, "features.18.0", "features.18.1", (layer){1280, 1, 1, 1, true, false});
    return avs_tap(g, "features.18", x);
}

avs_val avs_mobilenet_v2(avs_graph *g, avs_val logmel)
{
    const bool training = g->training;
    if (!logmel) return 0;
    g->training = false;
    avs_val x = features(g, logmel);
    g->training = training;
    if (!x) return 0;
    const int n = avs_dim(g, x, 0), c = avs_dim(g, x, 3);
    x = avs_tap(g, "pooled", avs_reshape(g, avs_reduce(g, x, 1, 3, true), AVS_F32T(n, c)));
    return avs_tap(g, "embed", avs_relu(g, avs_nn_linear(g, x, "embed", 1024, true, AVS_NN_HE_IN)));
}
