/* The op table in memory: one row per line of ops.def. Ops that only appear in a backward have no vjp. */
#include "engine/graph/op/op.h"

#define avs_vjp_conv2d_bwd_w    NULL
#define avs_vjp_softmax_bwd     NULL
#define avs_vjp_layernorm_bwd   NULL
#define avs_vjp_batchnorm_bwd   NULL
#define avs_vjp_groupnorm_bwd   NULL
#define avs_vjp_pool_max_bwd    NULL
#define avs_vjp_pool_avg_bwd    NULL
#define avs_vjp_resize_bwd      NULL
#define avs_vjp_msdeform_bwd    NULL
#define avs_vjp_loss_bwd        NULL
#define avs_vjp_gather_rows_bwd NULL
#define avs_vjp_row_max_bwd     NULL

const avs_op_rule avs_op_rules[AVS_OP_COUNT] = {
#define X(E, lower, attr, lo, hi, outs)                                                                      \
    [AVS_OP_##E] = {.infer = avs_infer_##lower,                                                              \
                    .vjp = avs_vjp_##lower,                                                                  \
                    .name = #lower,                                                                          \
                    .attr_size = sizeof(attr),                                                               \
                    .in_min = (lo),                                                                          \
                    .in_max = (hi),                                                                          \
                    .n_out = (outs)},
#include "engine/graph/ops.def"
#undef X
};
