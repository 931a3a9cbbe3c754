/* ResNet-18, -34 and -50 feature extractors (torchvision, stride in the 3x3 convolution of the bottleneck).
 * Source: arXiv 1512.03385; backbone-resnet: stage outputs only, no classifier. */
#include "models/backbones/backbones.h"
#include "models/layers.h"

static avs_val conv_bn(avs_graph *g, avs_val x, const char *conv, const char *bn, int out, int k, int stride)
{
    return avs_nn_batchnorm(g, avs_nn_conv(g, x, conv, out, k, stride, k / 2, false, AVS_NN_HE_OUT), bn);
}

static avs_val identity(avs_graph *g, avs_val x, int out, int stride)
{
    if (x && (stride != 1 || avs_dim(g, x, 3) != out))
        return conv_bn(g, x, "downsample.0", "downsample.1", out, 1, stride);
    return x;
}

static avs_val basic(avs_graph *g, avs_val x, int width, int stride)
{
    avs_val y = avs_relu(g, conv_bn(g, x, "conv1", "bn1", width, 3, stride));
    y = conv_bn(g, y, "conv2", "bn2", width, 3, 1);
    return avs_relu(g, avs_add(g, y, identity(g, x, width, stride)));
}

static avs_val bottleneck(avs_graph *g, avs_val x, int width, int stride)
{
    avs_val y = avs_relu(g, conv_bn(g, x, "conv1", "bn1", width, 1, 1));
    y = avs_relu(g, conv_bn(g, y, "conv2", "bn2", width, 3, stride));
    y = conv_bn(g, y, "conv3", "bn3", 4 * width, 1, 1);
    return avs_relu(g, avs_add(g, y, identity(g, x, 4 * width, stride)));
}

static avs_val stage(avs_graph *g, avs_val x, const char *name, int s, int depth)
{
    static const int blocks18[4] = {2, 2, 2, 2}, blocks34[4] = {3, 4, 6, 3};
    const int n = (depth == 18 ? blocks18 : blocks34)[s]; /* 34 and 50 have the same counts */
    for (int j = 0; j < n; j++) {
        const int stride = s > 0 && j == 0 ? 2 : 1, width = 64 << s;
        avs_scope_push(g, "%s.%d", name, j);
        x = depth == 50 ? bottleneck(g, x, width, stride) : basic(g, x, width, stride);
        avs_scope_pop(g);
        avs_nn_tap(g, x, "%s.%d", name, j);
    }
    return avs_tap(g, name, x);
}

static avs_val stem(avs_graph *g, avs_val x)
{
    x = avs_tap(g, "conv1", avs_nn_conv(g, x, "conv1", 64, 7, 2, 3, false, AVS_NN_HE_OUT));
    x = avs_tap(g, "bn1", avs_nn_batchnorm(g, x, "bn1"));
    return avs_tap(g, "maxpool", avs_pool_max(g, avs_relu(g, x), 3, 2, 1));
}

avs_val avs_resnet_stage(avs_graph *g, int depth, int nth, avs_val x)
{
    static const char *const names[4] = {"layer1", "layer2", "layer3", "layer4"};
    return stage(g, nth == 1 ? stem(g, x) : x, names[nth - 1], nth - 1, depth);
}

void avs_resnet(avs_graph *g, int depth, avs_val x, avs_val out[4])
{
    for (int s = 0; s < 4; s++) out[s] = x = avs_resnet_stage(g, depth, s + 1, x);
}

void avs_resnet50_twin(avs_graph *g, avs_val x, avs_val out[4])
{
    static const char *const names[4] = {"layer1", "layer2", "layer3_1", "layer4_1"};
    x = stem(g, x);
    for (int s = 0; s < 4; s++) out[s] = x = stage(g, x, names[s], s, 50);
    /* Built to declare its parameters: nothing reads it, so no plan runs it. Hence no taps, and not as in training, where
     * batch statistics would be updated. */
    const bool training = g->training;
    const uint32_t taps = g->n_tap;
    g->training = false;
    (void)stage(g, stage(g, out[1], "layer3_2", 2, 50), "layer4_2", 3, 50);
    g->training = training;
    g->n_tap = taps;
}
