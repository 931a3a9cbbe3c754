/* Windows over a map of tokens, for attention inside them.
 *
 * A map of h x w tokens is padded at the bottom and the right to whole windows of side x side, rolled by -shift along
 * both axes and cut; the windows stand row-major, their tokens row-major inside. All of that is one static index, and
 * so is the way back, which crops. Indexes are constants of the graph: make a set once and share it among blocks. */
#ifndef AVS_MODELS_BACKBONES_WINDOW_H
#define AVS_MODELS_BACKBONES_WINDOW_H

#include "engine/graph/ops.h"

typedef struct {
    int h, w, side, shift;
    int rows, cols; /* windows down and across                                                */
    bool is_padded; /* some places of the windows hold no token                               */
    avs_val in,
        out; /* i32[rows*cols*side*side]: token of each place, h*w for padding; i32[h*w]: place of each token */
} avs_windows;

/* 0 <= shift < side. Out of memory is the graph's error. */
avs_windows avs_windows_new(avs_graph *g, int h, int w, int side, int shift);
/* x[B, h*w, C], or [B, h*w + 1, C] if is_padded, the last row being what padding holds -> [B*rows*cols, side*side, C] */
avs_val avs_windows_split(avs_graph *g, const avs_windows *win, avs_val x);
/* x[B*rows*cols, side*side, C] -> [B, h*w, C] */
avs_val avs_windows_join(avs_graph *g, const avs_windows *win, avs_val x);
/* A linear layer on tokens x[B, h*w, C], cut into windows. Padding is a zero vector before the layer; it is computed
 * once, as one more row, and not for every padded place. w[N,C], bias[N]. */
typedef struct {
    const avs_windows *win; /* NULL: one window, the whole map, in order */
    avs_val x;              /* tokens, with the row of padding or cut already as win demands */
} avs_window_input;
avs_window_input avs_window_input_of(avs_graph *g, const avs_windows *win, avs_val x);
avs_val avs_window_linear(avs_graph *g, const avs_window_input *in, avs_val w, avs_val bias);

#endif
