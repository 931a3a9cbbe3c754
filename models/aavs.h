/* Stepping Stones / AAVS (arXiv 2407.11820; public code GeWu-Lab/Stepping-Stones): Mask2Former over Swin with queries that
 * start from the audio. Stage one finds what sounds (2 classes), stage two names it (71) given the masks S of stage one,
 * end_to_end names it without them.
 *
 * Shapes: R rows (frames; nothing mixes across them), Q queries, K = num_classes, C = embed_dim. Levels 0, 1, 2 are
 * strides 32, 16, 8 (L tokens each); mask features E at stride 4 (h,w). P = predictions = num_decoder_layers + 1.
 * Errors stay in the graph. Keys are those of the public checkpoints. */
#ifndef AVS_MODELS_AAVS_H
#define AVS_MODELS_AAVS_H

#include "models/layers.h"
#include "models/model.h"

enum {
    AVS_AAVS_PREDICTIONS = 65, /* at most */
    AVS_AAVS_LEVELS = 3,
    AVS_AAVS_MASK = 384, /* masks are brought to this size before the sigmoid ..           */
    AVS_AAVS_SIZE = 224  /* .. and scores, labels and masks of stage one are made at this one */
};

extern const avs_model_rule avs_aavs_rule;

/* Position code of the pixels of an h x w map [1,h*w,C]: sine of the normalised row and column, float32 as the
 * reference. */
avs_val avs_aavs_sine(avs_graph *g, int h, int w, int C);

/* Pixel decoder. f: maps at strides 4, 8, 16, 32. level: maps M0 (stride 32), M1, M2 (stride 8) [R,h,w,C]. Returns the
 * mask features [R,h,w,C]. */
avs_val avs_aavs_pixel_decoder(avs_graph *g, const avs_cfg *cfg, const avs_val f[4],
                               avs_val level[AVS_AAVS_LEVELS]);

/* avs_adapt of tokens [..,C]: Linear, ReLU, Linear without residual, below "avs_adapt" of the scope. */
avs_val avs_aavs_adapt(avs_graph *g, avs_val x, avs_nn_init init);

/* Audio embedding feature [R,128] -> [R,C]. */
avs_val avs_aavs_audio(avs_graph *g, const avs_cfg *cfg, avs_val feature);
/* Queries at the start [R,Q,C] from the audio a [R,C]; *position [1,Q,C] is added to queries in attention. With
 * query_generator concat Q is one more than num_queries. */
avs_val avs_aavs_queries(avs_graph *g, const avs_cfg *cfg, avs_val a, avs_val *position);
/* What is added to the keys of a level of h x w tokens: [R,h*w,C], or [1,h*w,C] without masks. masks: S [R,Hs,Ws,1], or
 * 0. states (may be NULL) takes one 0/1 column each for sounding, silent and uncertain tokens [R,h*w,3]. */
avs_val avs_aavs_key_position(avs_graph *g, const avs_cfg *cfg, avs_val masks, int h, int w, avs_val *states);
/* 1 where the first layer may not look, of the masks S at h x w: [R,1,h*w]. */
avs_val avs_aavs_first_blocked(avs_graph *g, avs_val masks, int h, int w);

/* Values of the keys of level l: its map [R,h,w,C] as tokens, with the level's embedding. */
avs_val avs_aavs_value(avs_graph *g, int l, avs_val map);

typedef struct {
    int n;                                   /* predictions */
    avs_val E;                               /* mask features, S in [R,h,w,C] */
    avs_val classes[AVS_AAVS_PREDICTIONS];   /* logits [R,Q,K+1], the last column stands for nothing */
    avs_val masks[AVS_AAVS_PREDICTIONS];     /* logits [R,Q,h*w] */
    avs_val embedding[AVS_AAVS_PREDICTIONS]; /* of the masks [R,Q,C] */
} avs_aavs_predictions;
/* Transformer decoder: levels as the pixel decoder gives them, E [R,h,w,C], a [R,C], S or 0. */
void avs_aavs_decoder(avs_graph *g, const avs_cfg *cfg, const avs_val level[AVS_AAVS_LEVELS], avs_val E,
                      avs_val a, avs_val S, avs_aavs_predictions *out);

/* The loss of one prediction with the configured weights and points; in: as avs_set_loss. */
avs_set_losses avs_aavs_set_loss(avs_graph *g, const avs_cfg *cfg, const avs_val in[7], int clip_rows);
/* Declares the targets; io->loss of all predictions (deep_supervision) or of the last. Taps loss:NAME with the weights in,
 * under the reference's names, and match0 .. in the order of the losses. */
void avs_aavs_losses(avs_graph *g, const avs_cfg *cfg, const avs_build *b, const avs_aavs_predictions *p,
                     avs_model_io *io);

/* Scores of the classes [R,size,size,K] from class logits [R,Q,K+1] and mask logits [R,h,w,Q]. */
avs_val avs_aavs_scores(avs_graph *g, avs_val classes, avs_val masks, int size);

#endif
