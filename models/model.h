/* AVS models as graph builders: a resolved configuration in, a graph with named inputs, outputs and losses
 * out.
 *
 * Every system is one file that fills one avs_model_rule. Builders only call engine builders: no loops over
 * elements. Parameter names are the reference implementation's state_dict keys.
 *
 * Names of inputs (engine layout, f32 unless said):
 *   frames   [R,H,W,3]   normalised images, R = rows = clips * frames
 *   audio    [R,96,64,1] log-mel patches           (audio_input MEL)
 *   audio_feature [R,F]  output of a frozen encoder (audio_input FEATURE: features cached once per data set)
 *   target   [R,H,W]     0/1 mask f32, or classes i32 with num_classes >= 2   (with_loss)
 *   frame_mask [R]       1 where the frame exists, else 0      (with_frame_mask; models that know padded frames)
 *   stage1_mask [R,h,w]  masks of stage one in [0,1]           (aavs, stage two)
 *   row_weight [R]       1 where the row has a label, else 0: losses are means over rows with weight
 * (with_loss) Outputs: logits [R,H,W,K]; with_loss also loss (scalar [1]) and loss:TERM for each term of the
 * total. Taps carry the activation names of the model's golden files. */
#ifndef AVS_MODELS_MODEL_H
#define AVS_MODELS_MODEL_H

#include "engine/graph/graph.h"
#include "models/key_rules.h"
#include "models/schema.h"

typedef enum { AVS_AUDIO_MEL, AVS_AUDIO_FEATURE } avs_audio_input;

typedef struct {
    int rows;          /* R                                              */
    int clip_rows;     /* rows of one clip, clips one after another; 0: all rows are one clip */
    int height, width; /* of frames and target                           */
    bool training;     /* dropout and batch statistics                   */
    bool with_loss;
    bool with_frame_mask;        /* logits and auxiliary maps of frames that do not exist become 0 */
    int mask_height, mask_width; /* of stage1_mask (aavs, stage two); 0: AVS_AAVS_SIZE */
    int given_points; /* > 0: points of the loss of aavs are inputs (golden cases), for as many pairs; 0: drawn */
    bool with_reference_taps; /* taps also what the forward does not need in that form */
    avs_audio_input audio_input;
    int audio_channels; /* of patches that come with their channels, as in golden cases; 0: one, copied where need be */
} avs_build;

typedef struct {
    avs_val frames, audio, target, row_weight, logits, loss;
} avs_model_io;

typedef struct {
    const char *name;
    /* Appends the whole model; on failure the graph holds the error. */
    int (*build)(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_model_io *io, avs_err *e);
    /* state_dict prefixes: visual backbone ("backbone.") and frozen audio encoder ("vggish."), NULL if none.
     */
    const char *backbone_prefix, *audio_prefix;
    const char
        *adapters; /* pattern (key_rules.h) of keys behind backbone_prefix that are not the backbone's own:
                           * they train while it is frozen; NULL: none */
    const char *
        whole_checkpoint; /* pattern of backbones for which backbone_weights is a file of the network that the
                                   * system extends, of which the backbone is a part: rules for it carry the part
                                   * "MODEL/BACKBONE". NULL: none */
    const avs_key_rule *(*weight_rules)(const avs_cfg *cfg,
                                        int *n); /* more of them for this cfg; NULL: none */
    bool (*trains)(const avs_cfg *cfg, int phase, const char *key); /* NULL: everything that is not frozen */
    const char *pvt_prefix; /* of the visual backbone where it is a PVTv2; NULL: backbone_prefix */
} avs_model_rule;
/* Is backbone_weights of this configuration a file of a whole network? */
bool avs_model_takes_whole(const avs_model_rule *rule, const avs_cfg *cfg);
/* state_dict prefix of the configured visual backbone; NULL: none */
const char *avs_model_backbone_prefix(const avs_model_rule *rule, const avs_cfg *cfg);

/* For builders whose audio encoder is VGGish: declares the audio input of b and returns the feature [R,128]. */
avs_val avs_model_vggish(avs_graph *g, const avs_build *b, avs_model_io *io);
/* The same for MobileNetV2: [R,1024], parameters under "audio.". */
avs_val avs_model_mobilenet(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_model_io *io);
/* The configured audio encoder, parameters in the current scope: log-mel [R,96,64,1] -> [R,F]. */
avs_val avs_model_encoder(avs_graph *g, const avs_cfg *cfg, avs_val logmel);
/* For builders: the inputs target and row_weight. */
void avs_model_targets(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_model_io *io);

const avs_model_rule *avs_model_find(const char *name); /* NULL: no such model */
/* Is this parameter the visual backbone's own (not an adapter's)? */
bool avs_model_is_backbone(const avs_model_rule *rule, const char *key);
/* Freezes what the configuration says after the model was built: a frozen audio encoder, the backbone, what does not
 * train in this phase (1 or 2). */
void avs_model_freeze(avs_graph *g, const avs_model_rule *rule, const avs_cfg *cfg, int phase);
const avs_model_rule *avs_model_at(int i); /* NULL: there are not as many */
/* Size of labels, scores and predictions: that of the input, or the one that the system fixes. */
void avs_model_label_size(const avs_cfg *cfg, int *h, int *w);
/* Are predictions masks of one foreground, whatever the channels of the logits? */
bool avs_model_is_binary(const avs_cfg *cfg);
/* Does the model take masks of stage one (input stage1_mask)? */
bool avs_model_takes_masks(const avs_cfg *cfg);
/* Training in two phases (aavs): the second starts from the best weights so far with a new optimiser and lr_phase2. */
bool avs_model_has_phases(const avs_cfg *cfg);
/* Image normalisation of the model: mean and std per RGB channel of x/255. */
void avs_model_normalisation(const avs_cfg *cfg, float mean[3], float std[3]);
/* Does the configuration allow the audio encoder's output to be computed once (frozen encoder)? *prefix names
 * it. */
bool avs_model_frozen_audio(const avs_cfg *cfg, const char **prefix, int *width);

#endif
