/* VGGish (Hershey et al., arXiv 1609.09430) with torchvggish's keys: six 3x3 convolutions, four max-pools,
 * three linear layers, ReLU after each, the last included. Channels-last makes the reference's permutation
 * before the flatten a free view.
 *
 * Random weights must tell sounds apart while frozen: He-normal, centred in the first and the linear layers. The 128 numbers
 * then vary by 58 % of their mean between sounds of the demo data; 33 % uncentred, 6 % with torch's default, behind which
 * nothing learns to listen. */
#include "models/backbones/backbones.h"
#include "models/layers.h"

avs_val avs_vggish(avs_graph *g, avs_val x)
{
    static const int plan[] = {64, 0, 128, 0, 256, 256, 0, 512, 512, 0}; /* 0: max-pool 2x2 */
    static const int width[3] = {4096, 4096, 128};
    int layer = 0;
    char name[32];
    for (size_t i = 0; i < sizeof plan / sizeof *plan; i++) {
        if (!plan[i]) {
            x = avs_nn_tap(g, avs_pool_max(g, x, 2, 2, 0), "features.%d", layer++);
            continue;
        }
        snprintf(name, sizeof name, "features.%d", layer);
        x = avs_nn_tap(g, avs_nn_conv(g, x, name, plan[i], 3, 1, 1, true, i ? AVS_NN_HE_IN : AVS_NN_CENTRED),
                       "features.%d", layer);
        x = avs_nn_tap(g, avs_relu(g, x), "features.%d", layer + 1);
        layer += 2;
    }
    if (!x) return 0;
    const avs_type t = *avs_t(g, x);
    x = avs_tap(g, "flat", avs_reshape(g, x, AVS_F32T(t.d[0], (int64_t)t.d[1] * t.d[2] * t.d[3])));
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "embeddings.%d", 2 * i);
        x = avs_nn_tap(g, avs_nn_linear(g, x, name, width[i], true, AVS_NN_CENTRED), "embeddings.%d", 2 * i);
        x = avs_nn_tap(g, avs_relu(g, x), "embeddings.%d", 2 * i + 1);
    }
    return x;
}
