/* AVESFormer (arXiv 2408.01708): reconstruction; every open choice is marked in docs/models.md. Parts are
 * public so that golden cases can run them alone. */
#ifndef AVS_MODELS_AVESFORMER_H
#define AVS_MODELS_AVESFORMER_H

#include "models/attention.h"
#include "models/model.h"

extern const avs_model_rule avs_avesformer_rule;

/* Query generators (section 5.1). audio [B,1,C]; parameters `query`, `layers.l.*` in the current scope.
 * kind: none, qg, bqg, pqg. -> generated queries [B,Nq,C] (none: the token itself). */
typedef struct {
    const char *kind;
    int num_queries, layers, heads, ffn_dim;
    bool normal_queries; /* start `query` from N(0,1) in place of Xavier-uniform */
    bool dotted_query;   /* its key is `query.weight`, as AVSegFormer's code has it */
} avs_generator_cfg;
avs_val avs_query_generator(avs_graph *g, avs_val audio, const avs_generator_cfg *cfg);

/* ELF blocks (section 5.2), parameters in the current scope. x [B,N,C] level-major tokens.
 * kind 'C': 3x3 convolution per level + FFN. kind 'T': deformable self-attention + fusion with gen [B,K,C] +
 * FFN; position [1,N,C] enters the deformable queries only; audio [B,1,C] is what fusion `dissipation`
 * attends to. fusion: cross, dissipation, sigmoid, cha, tpavi. */
typedef struct {
    char kind;
    const char *fusion;
    int heads, points, ffn_dim;
    float dropout;
    avs_msdeform_attr levels;
} avs_elf_cfg;
avs_val avs_elf_block(avs_graph *g, avs_val x, avs_val position, avs_val gen, avs_val audio,
                      const avs_elf_cfg *cfg);

#endif
