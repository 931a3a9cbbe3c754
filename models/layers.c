/* Layers with named parameters. The fan of an initial value is that of the reference layer: in * kernel area.
 */
#include "models/layers.h"

static avs_init weight_init(avs_nn_init init)
{
    switch (init) {
    case AVS_NN_XAVIER:
    case AVS_NN_XAVIER0:
        return (avs_init){.kind = AVS_INIT_XAVIER_UNIFORM};
    case AVS_NN_TORCH:
        return (avs_init){.kind = AVS_INIT_FAN_IN_UNIFORM};
    case AVS_NN_HE_OUT:
        return (avs_init){.kind = AVS_INIT_HE_FAN_OUT};
    case AVS_NN_HE_IN:
        return (avs_init){.kind = AVS_INIT_HE_FAN_IN};
    case AVS_NN_CENTRED:
        return (avs_init){.kind = AVS_INIT_HE_CENTRED};
    case AVS_NN_TRUNC02:
        return (avs_init){.kind = AVS_INIT_TRUNC_NORMAL, .a = 0.02F};
    case AVS_NN_ZERO:
        break;
    }
    return (avs_init){.kind = AVS_INIT_ZERO};
}

static avs_init bias_init(avs_nn_init init, int fan_in)
{
    if (init == AVS_NN_XAVIER || init == AVS_NN_TORCH)
        return (avs_init){.kind = AVS_INIT_FAN_IN_UNIFORM, .a = (float)fan_in};
    return (avs_init){.kind = AVS_INIT_ZERO};
}

static void push(avs_graph *g, const char *name)
{
    if (name[0]) avs_scope_push(g, "%s", name);
}

static void pop(avs_graph *g, const char *name)
{
    if (name[0]) avs_scope_pop(g);
}

/* Channels of x; 1 when x carries an error, so that no extent of 0 is declared. */
static int channels(avs_graph *g, avs_val x)
{
    const avs_type *t = avs_t(g, x);
    return x && t->rank ? t->d[t->rank - 1] : 1;
}

static avs_val conv(avs_graph *g, avs_val x, const char *name, const int out_k_s_p_groups[5], bool bias,
                    avs_nn_init init)
{
    const int *a = out_k_s_p_groups;
    const int in = channels(g, x) / a[4];
    push(g, name);
    avs_val w = avs_param(g, "weight", AVS_F32T(a[0], in, a[1], a[1]), weight_init(init));
    avs_val b = bias ? avs_param(g, "bias", AVS_F32T(a[0]), bias_init(init, in * a[1] * a[1])) : 0;
    avs_val y = avs_conv2d(g, x, w, b, a[2], a[3], 1, a[4]);
    pop(g, name);
    return y;
}

/* NOLINTNEXTLINE(readability-function-size): what every framework names for a convolution */
avs_val avs_nn_conv(avs_graph *g, avs_val x, const char *name, int out, int kernel, int stride, int pad,
                    bool bias, avs_nn_init init)
{
    return conv(g, x, name, (const int[5]){out, kernel, stride, pad, 1}, bias, init);
}

avs_val avs_nn_depthwise(avs_graph *g, avs_val x, const char *name, int kernel, int pad, bool bias,
                         avs_nn_init init)
{
    const int c = channels(g, x);
    return conv(g, x, name, (const int[5]){c, kernel, 1, pad, c}, bias, init);
}

avs_val avs_nn_linear(avs_graph *g, avs_val x, const char *name, int out, bool bias, avs_nn_init init)
{
    const int in = channels(g, x);
    push(g, name);
    avs_val w = avs_param(g, "weight", AVS_F32T(out, in), weight_init(init));
    avs_val b = bias ? avs_param(g, "bias", AVS_F32T(out), bias_init(init, in)) : 0;
    avs_val y = avs_linear(g, x, w, b);
    pop(g, name);
    return y;
}

static void affine_from(avs_graph *g, avs_val x, avs_init_kind gain, avs_val *gamma, avs_val *beta)
{
    const int c = channels(g, x);
    *gamma = avs_param(g, "weight", AVS_F32T(c), (avs_init){.kind = gain});
    *beta = avs_param(g, "bias", AVS_F32T(c), (avs_init){.kind = AVS_INIT_ZERO});
}

static void affine(avs_graph *g, avs_val x, avs_val *gamma, avs_val *beta)
{
    affine_from(g, x, AVS_INIT_ONE, gamma, beta);
}

avs_val avs_nn_layernorm(avs_graph *g, avs_val x, const char *name, float eps)
{
    avs_val gamma, beta;
    push(g, name);
    affine(g, x, &gamma, &beta);
    avs_val y = avs_layernorm(g, x, gamma, beta, eps);
    pop(g, name);
    return y;
}

avs_val avs_nn_groupnorm(avs_graph *g, avs_val x, const char *name, int groups)
{
    avs_val gamma, beta;
    push(g, name);
    affine(g, x, &gamma, &beta);
    avs_val y = avs_groupnorm(g, x, gamma, beta, groups, 1e-5F);
    pop(g, name);
    return y;
}

static avs_val batchnorm(avs_graph *g, avs_val x, const char *name, avs_init_kind gain)
{
    avs_val gamma, beta;
    const int c = channels(g, x);
    push(g, name);
    affine_from(g, x, gain, &gamma, &beta);
    avs_val mean = avs_buffer(g, "running_mean", AVS_F32T(c), (avs_init){.kind = AVS_INIT_ZERO});
    avs_val var = avs_buffer(g, "running_var", AVS_F32T(c), (avs_init){.kind = AVS_INIT_ONE});
    avs_val y = avs_batchnorm(g, x, gamma, beta, mean, var, 1e-5F, 0.1F, g->training);
    pop(g, name);
    return y;
}

avs_val avs_nn_ffn(avs_graph *g, avs_val x, const char *norm, int hidden, float dropout, avs_nn_init init)
{
    avs_val y = avs_gelu(g, avs_nn_linear(g, x, "linear1", hidden, true, init));
    y = avs_nn_linear(g, avs_dropout(g, y, dropout, false), "linear2", channels(g, x), true, init);
    return avs_nn_layernorm(g, avs_add(g, x, avs_dropout(g, y, dropout, false)), norm, 1e-5F);
}

avs_val avs_nn_batchnorm(avs_graph *g, avs_val x, const char *name)
{
    return batchnorm(g, x, name, AVS_INIT_ONE);
}

avs_val avs_nn_batchnorm_zero(avs_graph *g, avs_val x, const char *name)
{
    return batchnorm(g, x, name, AVS_INIT_ZERO);
}

avs_val avs_nn_tap(avs_graph *g, avs_val v, const char *fmt, ...)
{
    char name[128];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(name, sizeof name, fmt, ap) < 0) name[0] = '\0';
    va_end(ap);
    return avs_tap(g, name, v);
}

avs_val avs_nn_tokens(avs_graph *g, avs_val map)
{
    if (!map) return 0;
    const avs_type t = *avs_t(g, map);
    return avs_reshape(g, map, AVS_F32T(t.d[0], (int64_t)t.d[1] * t.d[2], t.d[3]));
}

avs_val avs_nn_map(avs_graph *g, avs_val tokens, int h, int w)
{
    if (!tokens) return 0;
    const avs_type t = *avs_t(g, tokens);
    return avs_reshape(g, tokens, AVS_F32T(t.d[0], h, w, t.d[2]));
}
