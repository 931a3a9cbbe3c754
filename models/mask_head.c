/* Query maps, their MLP and the classifying convolutions. Channels-last makes the product with the queries one plain matrix
 * product per frame. */
#include "models/mask_head.h"

avs_val avs_query_maps(avs_graph *g, avs_val feature, avs_val queries)
{
    if (!feature || !queries) return 0;
    avs_val e = avs_matmul(g, avs_nn_tokens(g, feature), queries, (avs_matmul_attr){.tb = 1});
    return avs_nn_map(g, e, avs_dim(g, feature, 1), avs_dim(g, feature, 2));
}

avs_val avs_query_mlp(avs_graph *g, avs_val maps, const char *const key[3], int hidden, int out)
{
    avs_val y = avs_relu(g, avs_nn_conv(g, maps, key[0], hidden, 1, 1, 0, true, AVS_NN_XAVIER));
    y = avs_relu(g, avs_nn_conv(g, y, key[1], hidden, 1, 1, 0, true, AVS_NN_XAVIER));
    return avs_nn_conv(g, y, key[2], out, 1, 1, 0, true, AVS_NN_XAVIER);
}

avs_val avs_mask_classifier(avs_graph *g, avs_val x, const char *const key[3], int classes)
{
    if (!x) return 0;
    const int h = avs_dim(g, x, 1), w = avs_dim(g, x, 2);
    avs_val z = avs_nn_conv(g, x, key[0], 128, 3, 1, 1, true, AVS_NN_XAVIER);
    z = avs_resize(g, z, 4 * h, 4 * w, AVS_RESIZE_BILINEAR, false);
    z = avs_relu(g, avs_nn_conv(g, z, key[1], 32, 3, 1, 1, true, AVS_NN_XAVIER));
    return avs_nn_conv(g, z, key[2], classes, 1, 1, 0, false, AVS_NN_XAVIER);
}
