/* The passes in the order in which they profit from each other. */
#include "engine/pass/pass.h"

int avs_pass_all(avs_graph *g, avs_err *e)
{
    int rc = AVS_OK;
    g->n_tap = 0; /* taps that are wanted are outputs by now; the others must not hold on to dropped values */
    AVS_TRY(avs_pass_dce(g, e));
    AVS_TRY(avs_pass_cse(g, e));
    AVS_TRY(avs_pass_fold_bn(g, e));
    AVS_TRY(avs_pass_fuse_bn_relu(g, e));
    AVS_TRY(avs_pass_fuse_epilogue(g, e));
    AVS_TRY(avs_pass_fuse_ew(g, e));
    AVS_TRY(avs_pass_dce(g, e));
out:
    return rc;
}
