/* Windows as static indexes. */
#include "models/backbones/window.h"

avs_windows avs_windows_new(avs_graph *g, int h, int w, int side, int shift)
{
    avs_windows win = {.h = h, .w = w, .side = side, .shift = shift};
    if (h < 1 || w < 1 || side < 1 || shift < 0 || shift >= side) {
        avs_graph_fail(g, AVS_ERANGE, "windows of side %d shifted by %d over a map of %dx%d", side, shift, h,
                       w);
        return win;
    }
    win.rows = (h + side - 1) / side;
    win.cols = (w + side - 1) / side;
    const int H = win.rows * side, W = win.cols * side;
    win.is_padded = H != h || W != w;
    int32_t *in = AVS_NEW_N(g->arena, int32_t, (size_t)H * (size_t)W),
            *out = AVS_NEW_N(g->arena, int32_t, (size_t)h * (size_t)w);
    if (!in || !out) {
        avs_graph_fail(g, AVS_ENOMEM, "out of memory for windows over %dx%d tokens", h, w);
        return win;
    }
    int32_t place = 0;
    for (int i = 0; i < win.rows * win.cols; i++)
        for (int r = 0; r < side; r++)
            for (int c = 0; c < side; c++, place++) {
                const int y = (i / win.cols * side + r + shift) % H,
                          x = (i % win.cols * side + c + shift) % W;
                const bool is_token = y < h && x < w;
                in[place] = is_token ? y * w + x : h * w;
                if (is_token) out[y * w + x] = place;
            }
    win.in = avs_const(g, AVS_TYPE(AVS_I32, (int64_t)H * W), in);
    win.out = avs_const(g, AVS_TYPE(AVS_I32, (int64_t)h * w), out);
    return win;
}

avs_val avs_windows_split(avs_graph *g, const avs_windows *win, avs_val x)
{
    avs_val y = avs_gather_rows(g, x, win->in);
    if (!y) return 0;
    const avs_type t = *avs_t(g, y);
    return avs_reshape(
        g, y, AVS_F32T((int64_t)t.d[0] * win->rows * win->cols, (int64_t)win->side * win->side, t.d[2]));
}

avs_val avs_windows_join(avs_graph *g, const avs_windows *win, avs_val x)
{
    if (!x) return 0;
    const avs_type t = *avs_t(g, x);
    const int n = win->rows * win->cols;
    return avs_gather_rows(g, avs_reshape(g, x, AVS_F32T(t.d[0] / (n ? n : 1), (int64_t)n * t.d[1], t.d[2])),
                           win->out);
}

avs_window_input avs_window_input_of(avs_graph *g, const avs_windows *win, avs_val x)
{
    if (win) x = win->is_padded ? avs_pad(g, x, 1, 0, 1) : avs_windows_split(g, win, x);
    return (avs_window_input){.win = win, .x = x};
}

avs_val avs_window_linear(avs_graph *g, const avs_window_input *in, avs_val w, avs_val bias)
{
    avs_val y = avs_linear(g, in->x, w, bias);
    return in->win && in->win->is_padded ? avs_windows_split(g, in->win, y) : y;
}
