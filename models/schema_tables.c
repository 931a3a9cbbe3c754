/* Parameter tables: every option of every model as data (names, types, ranges, defaults, help).
 *
 * A model's table is the common rows, instantiated with the backbones and tasks the model accepts, then its own.
 * Defaults that depend on other parameters, inactivity and constraints are data too: schema_rules.c. */
#include "models/schema_table.h"

#include <stddef.h>
#include <string.h>

// clang-format off
#define MODELS "avesformer|avesformer_mini|avsegformer|aavs|save|sama|lightavseg|tpavi"

#define COMMON(TASKS, BACKBONES, BACKBONE, AUDIOS, AUDIO) \
    {"model", AVS_P_CHOICE, 0, 0, MODELS, NULL, "all", "the system to build", AVS_G_MODEL}, \
    {"task", AVS_P_CHOICE, 0, 0, TASKS, "s4", "all main tables", "S4 (single source), MS3 (multi source), AVSS (semantic); save and sama have s4 and ms3 only", AVS_G_MODEL}, \
    {"dataset", AVS_P_CHOICE, 0, 0, "avsbench|avsbench_v3|avs_synthetic", "avsbench", "SAVE tables", "which data layout is read (docs/data.md); V3 and synthetic are binary", AVS_G_MODEL}, \
    {"data_root", AVS_P_STRING, 0, 0, NULL, "", "-", "root folder of the data set; not part of a trial's identity (its fingerprint is)", AVS_G_MODEL}, \
    {"backbone", AVS_P_CHOICE, 0, 0, BACKBONES, BACKBONE, "AVESFormer 9; AVSegFormer main; LightAVSeg backbones", "visual backbone; each model accepts its own list", AVS_G_MODEL}, \
    {"audio_backbone", AVS_P_CHOICE, 0, 0, AUDIOS, AUDIO, "LightAVSeg audio backbones", "audio encoder; each model accepts its own list", AVS_G_MODEL}, \
    {"num_classes", AVS_P_INT, 1, 1024, NULL, "auto", "-", "channels of the class map. 1: one foreground mask by sigmoid. K >= 2: K classes with the background as class 0. auto: 1 for s4 and ms3, 71 for avss; aavs: 2 with stage: one, else 71", AVS_G_MODEL}, \
    {"resolution", AVS_P_SIZE, 32, 2048, NULL, "224", "SAVE 256 and 1024", "side of the network input; a clip is resized to it. Multiples: 32 (avesformer, avsegformer, tpavi, save), 16 (sama), none (aavs, lightavseg)", AVS_G_MODEL}, \
    {"frames", AVS_P_INT, 1, 64, NULL, "5", "-", "T, frames of one clip; 1 in kind: latency unless given. Rows of a batch = batch * frames", AVS_G_MODEL}, \
    {"precision", AVS_P_CHOICE, 0, 0, "fp32|tf32|bf16", "fp32", "-", "arithmetic of the run; fp32 switches TF32 off", AVS_G_MODEL}

#define TRAINING \
    {"epochs", AVS_P_INT, 1, 100000, NULL, "60", "-", "passes over the training split", AVS_G_TRAINING}, \
    {"batch", AVS_P_INT, 1, 65536, NULL, "4", "-", "samples of one optimiser step, over all ranks and passes together; so the number of GPUs does not change a trial's identity", AVS_G_TRAINING}, \
    {"micro_batch", AVS_P_INT, 0, 65536, NULL, "0", "-", "samples in one forward-backward pass of one rank (BatchNorm sees these). 0: batch / ranks, decided when the trial is placed. Passes per step = batch / (ranks * micro_batch), which must be whole", AVS_G_TRAINING}, \
    {"sample", AVS_P_CHOICE, 0, 0, "clip|frame", "clip", "-", "what one sample of batch is", AVS_G_TRAINING}, \
    {"train_frames", AVS_P_CHOICE, 0, 0, "all|labelled", "all", "-", "whether frames without a label pass through the network in training (they enter BatchNorm statistics; they never enter a loss)", AVS_G_TRAINING}, \
    {"optimizer", AVS_P_CHOICE, 0, 0, "adamw|adam", "adamw", "-", "decoupled decay or none", AVS_G_TRAINING}, \
    {"lr", AVS_P_FLOAT, 0, 10, NULL, "1e-4", "-", "learning rate at the start of the schedule", AVS_G_TRAINING}, \
    {"weight_decay", AVS_P_FLOAT, 0, 10, NULL, "0.01", "-", "on every trained parameter, norms and biases too", AVS_G_TRAINING}, \
    {"beta1", AVS_P_FLOAT, 0, 1, NULL, "0.9", "-", "first-moment factor", AVS_G_TRAINING}, \
    {"beta2", AVS_P_FLOAT, 0, 1, NULL, "0.999", "-", "second-moment factor", AVS_G_TRAINING}, \
    {"adam_eps", AVS_P_FLOAT, 0, 1, NULL, "1e-8", "-", "added to the root of the second moment", AVS_G_TRAINING}, \
    {"schedule", AVS_P_CHOICE, 0, 0, "constant|polynomial|cosine", "constant", "-", "polynomial: lr * (1 - step/steps)^schedule_power; cosine: from lr to lr_min", AVS_G_TRAINING}, \
    {"schedule_power", AVS_P_FLOAT, 0, 10, NULL, "0.9", "-", "exponent of polynomial", AVS_G_TRAINING}, \
    {"lr_min", AVS_P_FLOAT, 0, 10, NULL, "0", "-", "end of cosine", AVS_G_TRAINING}, \
    {"schedule_step", AVS_P_CHOICE, 0, 0, "iteration|epoch", "iteration", "-", "when the rate changes", AVS_G_TRAINING}, \
    {"lr_warmup_steps", AVS_P_INT, 0, 10000000, NULL, "0", "-", "linear warm-up from 0, in optimiser steps; no system here uses it", AVS_G_TRAINING}, \
    {"grad_clip", AVS_P_FLOAT, 0, 1e9, NULL, "0", "-", "bound on the global L2 norm; 0 is off", AVS_G_TRAINING}, \
    {"augment", AVS_P_CHOICE, 0, 0, "none|flip", "none", "-", "flip: image and mask mirrored together", AVS_G_TRAINING}, \
    {"flip_probability", AVS_P_FLOAT, 0, 1, NULL, "0.5", "-", "chance of a flip, drawn once per clip", AVS_G_TRAINING}, \
    {"shuffle", AVS_P_BOOL, 0, 0, NULL, "true", "-", "random order of the samples in each epoch", AVS_G_TRAINING}, \
    {"init", AVS_P_STRING, 0, 0, NULL, "", "AVSBench 'with S4 pre-training'; SAVE pre-training", "checkpoint that starts the whole model (${stage.checkpoint.best} in a sweep; docs/weights.md tells what may differ); empty: none", AVS_G_MODEL}, \
    {"backbone_weights", AVS_P_STRING, 0, 0, NULL, "pretrained", "-", "start of the visual backbone; a path, random, or pretrained: looked up in the weights folder (docs/weights.md)", AVS_G_MODEL}, \
    {"audio_weights", AVS_P_STRING, 0, 0, NULL, "pretrained", "-", "start of the audio encoder, in the same ways", AVS_G_MODEL}, \
    {"freeze_backbone", AVS_P_BOOL, 0, 0, NULL, "false", "-", "original weights of the visual backbone get no gradient and no update (adapters in it still do); BatchNorm mode is untouched", AVS_G_TRAINING}, \
    {"freeze_backbone_epochs", AVS_P_INT, 0, 100000, NULL, "0", "-", "the backbone is frozen in epochs 0 .. n-1 and trained from epoch n", AVS_G_TRAINING}, \
    {"freeze_audio_backbone", AVS_P_BOOL, 0, 0, NULL, "true", "-", "the audio encoder runs in eval mode without gradient", AVS_G_TRAINING}, \
    {"sync_batchnorm", AVS_P_BOOL, 0, 0, NULL, "false", "-", "BatchNorm statistics over the rows of one pass on all ranks, so that the number of ranks changes nothing but last bits; false: each rank its own, as in every reference. Result batchnorm_ranks says which they were", AVS_G_TRAINING}, \
    {"dropout", AVS_P_FLOAT, 0, 0.99, NULL, "0", "-", "every dropout of the model outside the backbone; goldens in training run with 0", AVS_G_TRAINING}, \
    {"drop_path", AVS_P_FLOAT, 0, 0.99, NULL, "auto", "-", "stochastic depth of the backbone. auto: 0.1 pvt_v2 and seaformer, 0.3 swin, 0 others; goldens in training run with 0", AVS_G_TRAINING}, \
    {"steps", AVS_P_INT, 0, 1000000000, NULL, "0", "-", "0: epochs decide; more: exactly that many optimiser steps, whatever the epochs (our choice)", AVS_G_TRAINING}, \
    {"frames_per_clip", AVS_P_INT, 0, 64, NULL, "0", "-", "0: every frame of a clip enters a step; n: n frames drawn at random (our choice)", AVS_G_TRAINING}, \
    {"decay_norm_and_bias", AVS_P_BOOL, 0, 0, NULL, "true", "-", "false: weight decay only on tensors with more than one axis (our choice)", AVS_G_TRAINING}, \
    {"flip_unit", AVS_P_CHOICE, 0, 0, "clip|batch", "clip", "-", "what one draw of flip_probability mirrors (our choice)", AVS_G_TRAINING}

#define EVALUATION \
    {"eval_split", AVS_P_CHOICE, 0, 0, "val|test", "test", "-", "split of kind: eval and of the final numbers; selection always uses val", AVS_G_EVALUATION}, \
    {"eval_batch", AVS_P_INT, 1, 4096, NULL, "4", "-", "clips in one evaluation forward; no influence on stored per-frame metrics", AVS_G_EVALUATION}, \
    {"fscore_batch", AVS_P_INT, 1, 4096, NULL, "1", "F-score protocol", "clips over which the F curve is averaged before its maximum is taken; published numbers: tpavi 4, avsegformer 4 (paper) or 2 (released), aavs 1, save 1", AVS_G_EVALUATION}, \
    {"fscore_on_logits", AVS_P_BOOL, 0, 0, NULL, "false", "-", "threshold raw logits, as the SAMA-AVS code does", AVS_G_EVALUATION}, \
    {"eval_start", AVS_P_INT, 0, 100000, NULL, "0", "-", "first epoch that is validated", AVS_G_EVALUATION}, \
    {"eval_every", AVS_P_INT, 1, 100000, NULL, "1", "-", "epochs between validations", AVS_G_EVALUATION}, \
    {"select_metric", AVS_P_CHOICE, 0, 0, "miou|miou_plus_fscore", "miou", "-", "what the kept checkpoint maximises on val", AVS_G_EVALUATION}, \
    {"protocol", AVS_P_CHOICE, 0, 0, "plain|listening", "plain", "-", "listening: also scored with swapped and silent sound, the best constant mask and all objects; composed data only", AVS_G_EVALUATION}

#define LATENCY \
    {"latency_warmup", AVS_P_INT, 0, 1000000, NULL, "50", "AVESFormer 3, 6, 7, 9; LightAVSeg main", "untimed forwards before the clock starts", AVS_G_LATENCY}, \
    {"latency_min_samples", AVS_P_INT, 1, 100000000, NULL, "1024", "-", "timed forwards at least (64 are needed for a bounded p90, 662 for p99)", AVS_G_LATENCY}, \
    {"latency_min_seconds", AVS_P_FLOAT, 0, 86400, NULL, "10", "-", "timed seconds at least", AVS_G_LATENCY}, \
    {"latency_max_seconds", AVS_P_FLOAT, 0, 86400, NULL, "600", "-", "stop here even if the interval of the median is still wide", AVS_G_LATENCY}, \
    {"latency_scope", AVS_P_CHOICE, 0, 0, "model|audio|waveform", "audio", "AVESFormer 3", "model: audio feature is given; audio: the audio encoder is inside; waveform: the log-mel front end too. Parts are always reported apart", AVS_G_LATENCY}, \
    {"cuda_graph", AVS_P_BOOL, 0, 0, NULL, "false", "-", "replay one captured graph (GPU only)", AVS_G_LATENCY}

#define SWIN_SIZES \
    {"backbone_patch_size", AVS_P_INT, 1, 64, NULL, NULL, "-", "side of a patch", AVS_G_SIZES}, \
    {"backbone_embed_dim", AVS_P_INT, 8, 4096, NULL, NULL, "-", "width of the first stage", AVS_G_SIZES}, \
    {"backbone_depths", AVS_P_INT_OR_LIST, 1, 128, NULL, NULL, "-", "blocks per stage", AVS_G_SIZES}, \
    {"backbone_num_heads", AVS_P_INT_OR_LIST, 1, 64, NULL, NULL, "-", "heads per stage", AVS_G_SIZES}, \
    {"backbone_window_size", AVS_P_INT, 1, 64, NULL, NULL, "-", "side of an attention window", AVS_G_SIZES}, \
    {"backbone_mlp_ratio", AVS_P_FLOAT, 0.25, 16, NULL, "4", "-", "MLP width over width", AVS_G_SIZES}

#define SAM_SIZES \
    {"backbone_patch_size", AVS_P_INT, 1, 64, NULL, NULL, "-", "side of a patch", AVS_G_SIZES}, \
    {"backbone_embed_dim", AVS_P_INT, 8, 4096, NULL, NULL, "-", "width of the first stage", AVS_G_SIZES}, \
    {"backbone_depths", AVS_P_INT_OR_LIST, 1, 128, NULL, NULL, "-", "blocks per stage", AVS_G_SIZES}, \
    {"backbone_num_heads", AVS_P_INT_OR_LIST, 1, 64, NULL, NULL, "-", "heads per stage", AVS_G_SIZES}, \
    {"backbone_window_size", AVS_P_INT, 1, 64, NULL, NULL, "-", "side of an attention window", AVS_G_SIZES}, \
    {"backbone_mlp_ratio", AVS_P_FLOAT, 0.25, 16, NULL, "4", "-", "MLP width over width", AVS_G_SIZES}, \
    {"backbone_global_blocks", AVS_P_INT_LIST, 0, 127, NULL, NULL, "-", "SAM blocks with global attention", AVS_G_SIZES}

static const avs_param_spec avesformer[] = {
    COMMON("s4|ms3|avss", "resnet18|resnet34|resnet50|pvt_v2_b0|pvt_v2_b1|pvt_v2_b2|pvt_v2_b3|pvt_v2_b4|pvt_v2_b5", "resnet50", "vggish", "vggish"),
    TRAINING,
    EVALUATION,
    LATENCY,
    {"query_generator", AVS_P_CHOICE, 0, 0, "none|qg|bqg|pqg", "pqg", "AVESFormer 4, 6", "how audio becomes queries", AVS_G_MODEL},
    {"num_queries", AVS_P_INT, 1, 4096, NULL, "16", "AVESFormer 8", "learnable queries", AVS_G_MODEL},
    {"num_generator_layers", AVS_P_INT, 1, 64, NULL, "3", "-", "layers of the generator; inactive for none and bqg", AVS_G_MODEL},
    {"generator_ffn_dim", AVS_P_INT, 1, 65536, NULL, "1024", "-", "FFN width in the generator; inactive for none and bqg", AVS_G_MODEL},
    {"elf_stages", AVS_P_STRING, 0, 0, NULL, "CTT", "AVESFormer 7", "convolution (C) or transformer (T) in each decoder stage", AVS_G_MODEL},
    {"blocks_per_stage", AVS_P_INT, 1, 16, NULL, "2", "-", "blocks in each decoder stage", AVS_G_MODEL},
    {"fusion", AVS_P_CHOICE, 0, 0, "dissipation|tpavi|cha|sigmoid|cross", "cross", "AVESFormer 5", "audio-visual fusion in T blocks", AVS_G_MODEL},
    {"embed_dim", AVS_P_INT, 8, 4096, NULL, "256", "-", "width C of tokens and maps; a multiple of num_heads and of 32 in a whole model", AVS_G_MODEL},
    {"num_heads", AVS_P_INT, 1, 64, NULL, "8", "-", "attention heads everywhere", AVS_G_MODEL},
    {"num_levels", AVS_P_INT, 1, 3, NULL, "3", "-", "levels of the deformable attention, from stride 8 on", AVS_G_MODEL},
    {"num_points", AVS_P_INT, 1, 16, NULL, "4", "-", "sampling points per head and level", AVS_G_MODEL},
    {"ffn_dim", AVS_P_INT, 1, 65536, NULL, "2048", "-", "FFN width of C and T blocks", AVS_G_MODEL},
    {"neck_kernel_size", AVS_P_INT, 1, 7, NULL, "3", "own: reconstruction", "kernel of the four neck convolutions", AVS_G_MODEL},
    {"mask_mlp_dim", AVS_P_INT, 1, 65536, NULL, "2048", "own: reconstruction", "hidden width of the query-map MLP", AVS_G_MODEL},
    {"num_out_convs", AVS_P_INT, 1, 8, NULL, "2", "own: reconstruction", "3x3 convolutions after the FPN", AVS_G_MODEL},
    {"iou_loss", AVS_P_CHOICE, 0, 0, "bce|soft", "bce", "own: reconstruction", "form of the IoU term; with num_classes >= 2 always pixel cross entropy", AVS_G_TRAINING},
    {"iou_weight", AVS_P_FLOAT, 0, 1000, NULL, "1.8", "-", "weight of the IoU term", AVS_G_TRAINING},
    {"dice_weight", AVS_P_FLOAT, 0, 1000, NULL, "1.0", "-", "weight of Dice", AVS_G_TRAINING},
    {"aux_loss", AVS_P_CHOICE, 0, 0, "none|mix", "mix", "-", "auxiliary term", AVS_G_MODEL},
    {"aux_weight", AVS_P_FLOAT, 0, 1000, NULL, "0.1", "-", "its weight", AVS_G_TRAINING},
    {.name = NULL}};

static const avs_param_spec avsegformer[] = {
    COMMON("s4|ms3|avss", "resnet50|pvt_v2_b0|pvt_v2_b1|pvt_v2_b2|pvt_v2_b3|pvt_v2_b4|pvt_v2_b5", "resnet50", "vggish", "vggish"),
    TRAINING,
    EVALUATION,
    LATENCY,
    {"variant", AVS_P_CHOICE, 0, 0, "paper|released", "paper", "AVSegFormer main", "arXiv v1 or the last public code; sets the defaults below", AVS_G_MODEL},
    {"num_queries", AVS_P_INT, 1, 4096, NULL, "300", "AVSegFormer 2a", "queries Q", AVS_G_MODEL},
    {"learnable_queries", AVS_P_BOOL, 0, 0, NULL, "true", "AVSegFormer 2b", "add the learnable table to the queries; the table stays in the state dict when off", AVS_G_MODEL},
    {"query_generator", AVS_P_CHOICE, 0, 0, "repeat|qg|pqg", "repeat", "AVESFormer 6", "repeat: the audio token Q times; qg: 6-layer generator; pqg: the one of avesformer", AVS_G_MODEL},
    {"num_generator_layers", AVS_P_INT, 1, 64, NULL, "6", "-", "inactive for repeat", AVS_G_MODEL},
    {"generator_ffn_dim", AVS_P_INT, 1, 65536, NULL, "1024", "-", "inactive for repeat", AVS_G_MODEL},
    {"mixer", AVS_P_CHOICE, 0, 0, "none|cha|cra", "cha", "AVSegFormer 2c", "audio-visual mixer; none leaves out its parameters", AVS_G_MODEL},
    {"embed_dim", AVS_P_INT, 32, 4096, NULL, "256", "-", "width D", AVS_G_MODEL},
    {"num_heads", AVS_P_INT, 1, 64, NULL, "8", "-", "attention heads", AVS_G_MODEL},
    {"num_encoder_layers", AVS_P_INT, 1, 64, NULL, "6", "-", "deformable encoder layers", AVS_G_MODEL},
    {"num_decoder_layers", AVS_P_INT, 1, 64, NULL, "6", "-", "decoder layers, and as many auxiliary masks", AVS_G_MODEL},
    {"num_levels", AVS_P_INT, 1, 3, NULL, "3", "-", "levels of the encoder, from stride 8 on", AVS_G_MODEL},
    {"num_points", AVS_P_INT, 1, 16, NULL, "4", "-", "sampling points per head and level", AVS_G_MODEL},
    {"ffn_dim", AVS_P_INT, 1, 65536, NULL, "2048", "-", "FFN width of encoder and decoder", AVS_G_MODEL},
    {"mask_mlp_dim", AVS_P_INT, 1, 65536, NULL, "2048", "-", "hidden width of the query-map MLP", AVS_G_MODEL},
    {"seg_loss", AVS_P_CHOICE, 0, 0, "dice|bce|ce", "dice", "-", "form of the main and of the qr and ar terms; ce if and only if num_classes >= 2", AVS_G_TRAINING},
    {"seg_weight", AVS_P_FLOAT, 0, 1000, NULL, "1.0", "-", "weight of the main term", AVS_G_TRAINING},
    {"aux_loss", AVS_P_CHOICE, 0, 0, "none|qr|ar|mix", "qr", "AVSegFormer 2d", "mask reformer of the intermediate masks, or the mixing loss; qr and ar need paper, mix needs released; none keeps the parameters (as the public code with weight 0)", AVS_G_MODEL},
    {"aux_weight", AVS_P_FLOAT, 0, 1000, NULL, "0.1", "-", "weight of each auxiliary term", AVS_G_TRAINING},
    {.name = NULL}};

static const avs_param_spec aavs[] = {
    COMMON("s4|ms3|avss", "resnet50|swin_b|swin_custom", "swin_b", "vggish", "vggish"),
    TRAINING,
    EVALUATION,
    LATENCY,
    {"stage", AVS_P_CHOICE, 0, 0, "one|two|end_to_end", "one", "Stepping Stones: two stages or end to end", "one: binary localisation; two: semantics given stage-one masks; end_to_end: semantics without them (stage-one graph)", AVS_G_MODEL},
    {"num_queries", AVS_P_INT, 1, 4096, NULL, "100", "Stepping Stones: queries", "queries and audio prototypes", AVS_G_MODEL},
    {"query_generator", AVS_P_CHOICE, 0, 0, "adaptive|fixed|add|concat", "adaptive", "Stepping Stones: query generator", "how audio enters the queries", AVS_G_MODEL},
    {"robust_key", AVS_P_BOOL, 0, 0, NULL, "true", "Stepping Stones: key generator", "state embeddings on the keys; stage two only", AVS_G_MODEL},
    {"key_threshold_low", AVS_P_FLOAT, 0, 1, NULL, "0.4", "Stepping Stones: thresholds", "at or below: silent", AVS_G_MODEL},
    {"key_threshold_high", AVS_P_FLOAT, 0, 1, NULL, "0.6", "Stepping Stones: thresholds", "at or above: sounding; not below key_threshold_low", AVS_G_MODEL},
    {"masked_attention", AVS_P_BOOL, 0, 0, NULL, "true", "Stepping Stones: attention", "block keys outside the predicted mask; false never blocks", AVS_G_MODEL},
    {"stage1_mask_attention", AVS_P_BOOL, 0, 0, NULL, "true", "own", "stage-one mask replaces the first attention mask; stage two only", AVS_G_MODEL},
    {"stage1_mask_features", AVS_P_BOOL, 0, 0, NULL, "true", "own", "stage-one mask is added to the mask features; stage two only", AVS_G_MODEL},
    {"stage1_masks", AVS_P_STRING, 0, 0, NULL, "", "-", "folder of stage-one masks (${stage.artifact.masks}); needed where a source is predicted", AVS_G_MODEL},
    {"stage1_mask_train", AVS_P_CHOICE, 0, 0, "ground_truth|predicted", "ground_truth", "Stepping Stones: oracle masks", "masks used in training", AVS_G_TRAINING},
    {"stage1_mask_eval", AVS_P_CHOICE, 0, 0, "predicted|ground_truth", "predicted", "Stepping Stones: oracle masks", "masks used in evaluation", AVS_G_EVALUATION},
    {"stage1_mask_iou", AVS_P_FLOAT, 0, 1, NULL, "1", "Stepping Stones: simulated accuracy", "corrupt ground-truth masks down to this IoU; 1 is off", AVS_G_EVALUATION},
    {"stage1_mask_seed", AVS_P_INT, 0, 4294967295, NULL, "0", "-", "seed of that corruption", AVS_G_EVALUATION},
    {"backbone_adapter", AVS_P_CHOICE, 0, 0, "phase2|always|off", "phase2", "Stepping Stones: adapters", "when the Swin adapters act; goldens run with always (adapters present with probe values)", AVS_G_MODEL},
    {"decoder_adapter", AVS_P_BOOL, 0, 0, NULL, "true", "Stepping Stones: adapters", "adapters in pixel decoder and decoder self-attention", AVS_G_MODEL},
    {"attention_output", AVS_P_CHOICE, 0, 0, "adapter|projection_adapter", "adapter", "-", "adapter in place of the output projection, or after it", AVS_G_MODEL},
    {"embed_dim", AVS_P_INT, 32, 4096, NULL, "256", "-", "hidden width D", AVS_G_MODEL},
    {"num_heads", AVS_P_INT, 1, 64, NULL, "8", "-", "heads of pixel decoder and decoder", AVS_G_MODEL},
    {"num_encoder_layers", AVS_P_INT, 1, 64, NULL, "6", "-", "pixel-decoder layers", AVS_G_MODEL},
    {"num_decoder_layers", AVS_P_INT, 1, 64, NULL, "9", "-", "real decoder layers; predictions are one more", AVS_G_MODEL},
    {"num_points", AVS_P_INT, 1, 16, NULL, "4", "-", "sampling points per head and level", AVS_G_MODEL},
    {"encoder_ffn_dim", AVS_P_INT, 1, 65536, NULL, "1024", "-", "FFN width of the pixel decoder", AVS_G_MODEL},
    {"ffn_dim", AVS_P_INT, 1, 65536, NULL, "2048", "-", "FFN width of the decoder", AVS_G_MODEL},
    {"lr_phase2", AVS_P_FLOAT, 0, 10, NULL, "1e-4", "-", "rate once the backbone adapters train", AVS_G_TRAINING},
    {"phase2_start", AVS_P_FLOAT, 0, 1, NULL, "0.3333333333", "-", "start of phase two as a share of the epochs; epoch = floor(share * epochs + 1e-6)", AVS_G_TRAINING},
    {"class_weight", AVS_P_FLOAT, 0, 1000, NULL, "2", "-", "weight of the class term", AVS_G_TRAINING},
    {"bce_weight", AVS_P_FLOAT, 0, 1000, NULL, "5", "-", "weight of the mask term", AVS_G_TRAINING},
    {"dice_weight", AVS_P_FLOAT, 0, 1000, NULL, "5", "-", "weight of Dice", AVS_G_TRAINING},
    {"no_object_weight", AVS_P_FLOAT, 0, 1000, NULL, "0.1", "-", "class weight of unmatched queries", AVS_G_TRAINING},
    {"deep_supervision", AVS_P_BOOL, 0, 0, NULL, "true", "-", "loss on all predictions, not the last alone", AVS_G_TRAINING},
    {"train_num_points", AVS_P_INT, 1, 1000000, NULL, "12544", "-", "points per mask in matching and mask losses", AVS_G_TRAINING},
    {"oversample_ratio", AVS_P_FLOAT, 1, 100, NULL, "3.0", "-", "candidate points per kept point", AVS_G_TRAINING},
    {"importance_sample_ratio", AVS_P_FLOAT, 0, 1, NULL, "0.75", "-", "share of points taken where the mask is least certain", AVS_G_TRAINING},
    SWIN_SIZES,
    {.name = NULL}};

static const avs_param_spec save[] = {
    COMMON("s4|ms3", "sam_vit_b|sam_vit_l|sam_vit_h|sam_vit_custom", "sam_vit_b", "vggish", "vggish"),
    TRAINING,
    EVALUATION,
    LATENCY,
    {"image_adapter", AVS_P_BOOL, 0, 0, NULL, "true", "own", "adapter beside the MLP of every encoder block", AVS_G_MODEL},
    {"adapter_ratio", AVS_P_FLOAT, 0.01, 4, NULL, "0.25", "own (the paper fixes 0.25)", "hidden width of the channel part = floor(width * ratio)", AVS_G_MODEL},
    {"adapter_zero_init", AVS_P_BOOL, 0, 0, NULL, "false", "own", "start the adapter's norm gain at 0", AVS_G_MODEL},
    {"audio_adapter", AVS_P_BOOL, 0, 0, NULL, "true", "own", "false: no injection and no audio token", AVS_G_MODEL},
    {"audio_residual", AVS_P_BOOL, 0, 0, NULL, "true", "own", "chain the audio adapters by residuals", AVS_G_MODEL},
    {"audio_inject", AVS_P_BOOL, 0, 0, NULL, "true", "own", "add the audio vector before every block", AVS_G_MODEL},
    {"audio_prompt", AVS_P_BOOL, 0, 0, NULL, "true", "own", "give the decoder the audio token", AVS_G_MODEL},
    {"audio_hidden_dim", AVS_P_INT, 1, 65536, NULL, "512", "-", "hidden width of the audio adapter MLPs", AVS_G_MODEL},
    {"freeze_mask_decoder", AVS_P_BOOL, 0, 0, NULL, "false", "own", "keep the mask decoder's weights", AVS_G_TRAINING},
    {"freeze_prompt_encoder", AVS_P_BOOL, 0, 0, NULL, "true", "-", "keep the prompt encoder's weights", AVS_G_TRAINING},
    {"embed_dim", AVS_P_INT, 8, 4096, NULL, "256", "-", "width E of the decoder and of its tokens (not of the encoder: backbone_embed_dim)", AVS_G_MODEL},
    {"num_heads", AVS_P_INT, 1, 64, NULL, "8", "-", "heads of the mask decoder", AVS_G_MODEL},
    {"num_decoder_layers", AVS_P_INT, 1, 16, NULL, "2", "-", "layers of the two-way transformer", AVS_G_MODEL},
    {"ffn_dim", AVS_P_INT, 1, 65536, NULL, "2048", "-", "MLP width of the mask decoder", AVS_G_MODEL},
    {"iou_hidden_dim", AVS_P_INT, 1, 65536, NULL, "256", "-", "width of the IoU head (computed, unused)", AVS_G_MODEL},
    {"mask_channels", AVS_P_INT, 4, 1024, NULL, "16", "-", "channels of the mask-prompt branch", AVS_G_MODEL},
    {"bce_weight", AVS_P_FLOAT, 0, 1000, NULL, "1", "own", "weight of BCE", AVS_G_TRAINING},
    {"iou_weight", AVS_P_FLOAT, 0, 1000, NULL, "1", "own", "weight of the soft IoU term", AVS_G_TRAINING},
    SAM_SIZES,
    {.name = NULL}};

static const avs_param_spec sama[] = {
    COMMON("s4|ms3", "sam_vit_b|sam_vit_l|sam_vit_h|sam_vit_custom", "sam_vit_h", "vggish", "vggish"),
    TRAINING,
    EVALUATION,
    LATENCY,
    {"audio_hidden_dim", AVS_P_INT, 1, 65536, NULL, "512", "-", "width of the lightweight MLPs", AVS_G_MODEL},
    {"load_prompt_embedding", AVS_P_BOOL, 0, 0, NULL, "false", "-", "take the position matrix and no_mask_embed from the SAM checkpoint (the reference draws them anew)", AVS_G_MODEL},
    {"freeze_mask_decoder", AVS_P_BOOL, 0, 0, NULL, "false", "-", "keep the mask decoder's weights", AVS_G_TRAINING},
    {"embed_dim", AVS_P_INT, 8, 4096, NULL, "256", "-", "width E of the decoder", AVS_G_MODEL},
    {"num_heads", AVS_P_INT, 1, 64, NULL, "8", "-", "heads of the mask decoder", AVS_G_MODEL},
    {"num_decoder_layers", AVS_P_INT, 1, 16, NULL, "2", "-", "layers of the two-way transformer", AVS_G_MODEL},
    {"ffn_dim", AVS_P_INT, 1, 65536, NULL, "2048", "-", "MLP width of the mask decoder", AVS_G_MODEL},
    {"iou_hidden_dim", AVS_P_INT, 1, 65536, NULL, "256", "-", "width of the IoU head", AVS_G_MODEL},
    {"mask_channels", AVS_P_INT, 4, 1024, NULL, "16", "-", "only in goldens (no prompt encoder in this model)", AVS_G_MODEL},
    {"bce_weight", AVS_P_FLOAT, 0, 1000, NULL, "1", "-", "weight of BCE", AVS_G_TRAINING},
    {"iou_weight", AVS_P_FLOAT, 0, 1000, NULL, "1", "-", "weight of the soft IoU term", AVS_G_TRAINING},
    SAM_SIZES,
    {.name = NULL}};

static const avs_param_spec lightavseg[] = {
    COMMON("s4|ms3|avss", "resnet50|seaformer_t|seaformer_s|seaformer_b|seaformer_l", "seaformer_l", "mobilenet_v2", "mobilenet_v2"),
    TRAINING,
    EVALUATION,
    LATENCY,
    {"embed_dim", AVS_P_INT, 8, 4096, NULL, "256", "own", "decoder width D", AVS_G_MODEL},
    {"pooling", AVS_P_CHOICE, 0, 0, "max|avg", "max", "LightAVSeg: pooling", "global descriptor of encoder and decoder gates", AVS_G_MODEL},
    {"agve", AVS_P_BOOL, 0, 0, NULL, "true", "LightAVSeg: components", "audio enters the visual encoder", AVS_G_MODEL},
    {"har", AVS_P_BOOL, 0, 0, NULL, "true", "LightAVSeg: components", "visual gates on the audio state", AVS_G_MODEL},
    {"cmfd", AVS_P_BOOL, 0, 0, NULL, "true", "LightAVSeg: components", "audio in the decoder; false: static concatenation, needs aux_loss none or mix. All three false is the paper's baseline", AVS_G_MODEL},
    {"context", AVS_P_BOOL, 0, 0, NULL, "true", "own", "run the backbone's stride-64 stage (inactive for resnet50)", AVS_G_MODEL},
    {"audio_channels", AVS_P_INT, 1, 3, NULL, "1", "own", "channels of the first audio convolution", AVS_G_MODEL},
    {"bce_weight", AVS_P_FLOAT, 0, 1000, NULL, "1", "-", "weight of BCE (pixel cross entropy for avss)", AVS_G_TRAINING},
    {"dice_weight", AVS_P_FLOAT, 0, 1000, NULL, "1", "-", "weight of Dice", AVS_G_TRAINING},
    {"aux_loss", AVS_P_CHOICE, 0, 0, "none|msa|msa_kl|avm|mix", "msa", "LightAVSeg: losses", "auxiliary term on top of BCE + Dice", AVS_G_MODEL},
    {"aux_weight", AVS_P_FLOAT, 0, 1000, NULL, "0.5", "LightAVSeg: losses", "its weight", AVS_G_TRAINING},
    {"align_temperature", AVS_P_FLOAT, 0.0001, 100, NULL, "0.1", "-", "temperature of msa and msa_kl", AVS_G_TRAINING},
    {.name = NULL}};

static const avs_param_spec tpavi[] = {
    COMMON("s4|ms3|avss", "resnet50|pvt_v2_b0|pvt_v2_b1|pvt_v2_b2|pvt_v2_b3|pvt_v2_b4|pvt_v2_b5", "resnet50", "vggish", "vggish"),
    TRAINING,
    EVALUATION,
    LATENCY,
    {"tpavi_stages", AVS_P_INT_LIST, 0, 3, NULL, "0,1,2,3", "AVSBench ablations", "stages that get a TPAVI module", AVS_G_MODEL},
    {"tpavi_audio_visual", AVS_P_BOOL, 0, 0, NULL, "true", "AVSBench ablations", "audio-visual attention", AVS_G_MODEL},
    {"tpavi_visual_visual", AVS_P_BOOL, 0, 0, NULL, "false", "AVSBench ablations", "visual self-attention, averaged with the other if both are on; a stage with neither passes its map on", AVS_G_MODEL},
    {"embed_dim", AVS_P_INT, 8, 4096, NULL, "256", "-", "width of all maps after the channel reduction", AVS_G_MODEL},
    {"bce_weight", AVS_P_FLOAT, 0, 1000, NULL, "1", "-", "weight of BCE (pixel cross entropy for avss)", AVS_G_TRAINING},
    {"aux_loss", AVS_P_CHOICE, 0, 0, "none|avm|cosine", "avm", "AVSBench ablations", "matching term; cosine for s4 only", AVS_G_MODEL},
    {"aux_weight", AVS_P_FLOAT, 0, 1000, NULL, "0.5", "-", "its weight", AVS_G_TRAINING},
    {"avm_distance", AVS_P_CHOICE, 0, 0, "kl|euclidean", "kl", "AVSBench ablations", "distance of the pairs", AVS_G_TRAINING},
    {"avm_target", AVS_P_CHOICE, 0, 0, "audio|nearest_video", "audio", "AVSBench ablations", "partner of a frame's visual vector", AVS_G_TRAINING},
    {"avm_pooling", AVS_P_CHOICE, 0, 0, "average|max", "average", "-", "pooling of the logits to each stage", AVS_G_TRAINING},
    {"avm_normalize", AVS_P_BOOL, 0, 0, NULL, "false", "-", "L2-normalise both vectors first", AVS_G_TRAINING},
    {"avm_threshold", AVS_P_BOOL, 0, 0, NULL, "false", "-", "binarise the pooled mask", AVS_G_TRAINING},
    {"avm_stages", AVS_P_INT_LIST, 0, 3, NULL, "0,1,2,3", "-", "stages in the term", AVS_G_TRAINING},
    {.name = NULL}};

/* The reduced AVESFormer of the demo data: small enough to learn from scratch on two CPU cores. */
static const avs_param_spec avesformer_mini[] = {
    COMMON("s4|ms3|avss", "mini", "mini", "mel_stats|cnn|vggish|none", "mel_stats"),
    TRAINING,
    EVALUATION,
    LATENCY,
    {"num_queries", AVS_P_INT, 1, 4096, NULL, "16", "own", "learnable queries", AVS_G_MODEL},
    {"embed_dim", AVS_P_INT, 8, 4096, NULL, "64", "-", "width C of tokens and maps; a multiple of num_heads and of 8", AVS_G_MODEL},
    {"num_heads", AVS_P_INT, 1, 64, NULL, "4", "-", "attention heads everywhere", AVS_G_MODEL},
    {"backbone_width", AVS_P_INT, 4, 256, NULL, "16", "-", "width w of the first convolution; the stages have 2w, 4w, 8w", AVS_G_MODEL},
    {"audio_norm", AVS_P_BOOL, 0, 0, NULL, "true", "own", "BatchNorm on the audio vector before it becomes the token", AVS_G_MODEL},
    {"num_generator_layers", AVS_P_INT, 1, 64, NULL, "1", "-", "layers of the prompt query generator", AVS_G_MODEL},
    {"generator_ffn_dim", AVS_P_INT, 1, 65536, NULL, "auto", "-", "FFN width in the generator; auto: 4 * embed_dim", AVS_G_MODEL},
    {"num_blocks", AVS_P_INT, 1, 64, NULL, "2", "-", "cross-attention blocks over the visual tokens", AVS_G_MODEL},
    {"ffn_dim", AVS_P_INT, 1, 65536, NULL, "auto", "-", "FFN width of the blocks; auto: 4 * embed_dim", AVS_G_MODEL},
    {"bce_weight", AVS_P_FLOAT, 0, 1000, NULL, "1", "-", "weight of BCE (pixel cross entropy for avss)", AVS_G_TRAINING},
    {"dice_weight", AVS_P_FLOAT, 0, 1000, NULL, "1", "-", "weight of Dice", AVS_G_TRAINING},
    {.name = NULL}};
// clang-format on

static const struct {
    const char *name;
    const avs_param_spec *specs;
} tables[] = {
    {"avesformer", avesformer},
    {"avesformer_mini", avesformer_mini},
    {"avsegformer", avsegformer},
    {"aavs", aavs},
    {"save", save},
    {"sama", sama},
    {"lightavseg", lightavseg},
    {"tpavi", tpavi},
};

const avs_param_spec *avs_schema_of(const char *model)
{
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        if (model && strcmp(model, tables[i].name) == 0) return tables[i].specs;
    return NULL;
}

const char *const *avs_schema_models(void)
{
    static const char *const names[] = {"avesformer", "avesformer_mini", "avsegformer", "aavs", "save",
                                        "sama",       "lightavseg",      "tpavi",       NULL};
    return names;
}

const avs_param_spec *avs_schema_find(const char *model, const char *name)
{
    const avs_param_spec *p = avs_schema_of(model);
    for (; p && p->name; p++)
        if (strcmp(p->name, name) == 0) return p;
    return NULL;
}
