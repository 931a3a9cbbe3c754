/* From a backbone's name to its builder. */
#include "models/backbones/backbones.h"

#include <stdlib.h>
#include <string.h>

#include "models/backbones/swin.h"

bool avs_backbone_known(const char *name)
{
    if (!strcmp(name, "resnet18") || !strcmp(name, "resnet34") || !strcmp(name, "resnet50")) return true;
    if (!strcmp(name, "swin_b")) return true;
    return !strncmp(name, "pvt_v2_b", 8) && name[8] >= '0' && name[8] <= '5' && !name[9];
}

void avs_backbone(avs_graph *g, const char *name, avs_val x, float drop_path, avs_val out[4])
{
    memset(out, 0, 4 * sizeof *out);
    if (!avs_backbone_known(name)) {
        avs_graph_fail(
            g, AVS_EMISSING,
            "backbone '%s' is not built in (built in: resnet18, resnet34, resnet50, pvt_v2_b0..b5, swin_b)",
            name);
        return;
    }
    avs_swin_cfg swin;
    if (avs_swin_named(name, &swin)) {
        swin.drop_path = drop_path;
        avs_swin(g, &swin, x, out);
        return;
    }
    if (name[0] == 'r')
        avs_resnet(g, (int)strtol(name + 6, NULL, 10), x, out);
    else
        avs_pvt_v2(g, name[8] - '0', x, drop_path, out);
}
