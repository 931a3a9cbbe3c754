/* What depends on other parameters, as data: defaults by task and variant, parameters that are switched off, and the
 * constraints between pairs. Mirrors the parameter specification: its table of task defaults line by line. */
#include "models/schema_table.h"

#include <stddef.h>
#include <string.h>

// clang-format off
const avs_default_rule avs_default_rules[] = {
    {"*", "", "num_classes=1"},
    {"*", "task=avss", "num_classes=71"},
    {"*", "", "drop_path=0"},
    {"*", "backbone=pvt_v2_b0|pvt_v2_b1|pvt_v2_b2|pvt_v2_b3|pvt_v2_b4|pvt_v2_b5", "drop_path=0.1"},
    {"*", "backbone=seaformer_t|seaformer_s|seaformer_b|seaformer_l", "drop_path=0.1"},
    {"*", "backbone=swin_b|swin_custom", "drop_path=0.3"},
    {"save|sama", "", "sample=frame train_frames=labelled schedule=cosine schedule_step=epoch lr_min=1e-7"},

    {"avesformer", "", "schedule=polynomial train_frames=labelled dropout=0.1"},
    {"avesformer", "task=s4", "epochs=30 lr=5e-4 weight_decay=0.01 batch=16 frames=5 resolution=224 eval_batch=4 augment=flip"},
    {"avesformer", "task=ms3", "epochs=60 lr=5e-4 weight_decay=0.01 batch=16 frames=5 resolution=224 eval_batch=4 augment=flip"},
    {"avesformer", "task=avss", "epochs=30 lr=1e-4 weight_decay=0.01 batch=8 frames=10 resolution=224 eval_batch=4 iou_weight=1.0"},
    {"avesformer", "query_generator=qg", "num_queries=300 num_generator_layers=6"},
    {"avesformer", "query_generator=none", "num_queries=1"},
    {"avesformer", "aux_loss=none", "aux_weight=0"},

    {"avesformer_mini", "", "epochs=11 lr=2e-3 weight_decay=0.01 batch=8 frames=5 resolution=96 eval_batch=8"},
    {"avesformer_mini", "", "schedule=polynomial schedule_power=0.9 lr_warmup_steps=30 grad_clip=5 augment=flip"},
    {"avesformer_mini", "", "backbone_weights=random audio_weights=random decay_norm_and_bias=false dropout=0"},
    {"avesformer_mini", "", "generator_ffn_dim=4*embed_dim ffn_dim=4*embed_dim"},

    {"avsegformer", "", "dropout=0.1"},
    {"avsegformer", "variant=paper task=s4", "epochs=30 lr=2e-5 weight_decay=0.01 batch=4 frames=5 resolution=224 eval_batch=4 freeze_backbone_epochs=5"},
    {"avsegformer", "variant=paper task=ms3", "epochs=60 lr=2e-5 weight_decay=0.01 batch=4 frames=5 resolution=224 eval_batch=4 freeze_backbone_epochs=10"},
    {"avsegformer", "variant=paper task=avss", "epochs=30 lr=2e-5 weight_decay=0.01 batch=4 frames=10 resolution=224 eval_batch=4 freeze_backbone_epochs=0"},
    {"avsegformer", "variant=released task=s4", "epochs=30 lr=2e-5 weight_decay=0.01 batch=2 frames=5 resolution=512 eval_batch=2 freeze_backbone_epochs=5"},
    {"avsegformer", "variant=released task=ms3", "epochs=60 lr=2e-5 weight_decay=0.01 batch=2 frames=5 resolution=512 eval_batch=2 freeze_backbone_epochs=10"},
    {"avsegformer", "variant=released task=avss", "epochs=30 lr=2e-5 weight_decay=0.01 batch=4 frames=10 resolution=224 eval_batch=4 freeze_backbone_epochs=0"},
    {"avsegformer", "task=avss", "eval_start=10 eval_every=2 seg_loss=ce"},
    {"avsegformer", "variant=released", "query_generator=qg aux_loss=mix"},
    {"avsegformer", "query_generator=pqg", "num_queries=16 num_generator_layers=3"},
    {"avsegformer", "aux_loss=none", "aux_weight=0"},

    {"aavs", "task=avss", "stage=two"},
    {"aavs", "", "num_classes=71 freeze_backbone=true"},
    {"aavs", "stage=one", "num_classes=2 num_queries=30 grad_clip=0.01 phase2_start=0.5"},
    {"aavs", "stage=two|end_to_end", "num_queries=100 phase2_start=0.3333333333 shuffle=false"},
    {"aavs", "stage=two", "attention_output=projection_adapter"},
    {"aavs", "", "epochs=60 lr=1e-3 weight_decay=0.05 batch=1 frames=5 resolution=384 eval_batch=1"},
    {"aavs", "task=avss", "frames=10"},

    {"save", "", "epochs=80 lr=2e-4 weight_decay=0.01 batch=8 frames=5 resolution=256 eval_batch=1 freeze_backbone=true"},
    {"save", "resolution>=1024", "batch=2"},
    {"sama", "", "epochs=80 lr=2e-4 weight_decay=0.01 batch=4 frames=5 resolution=1024 eval_batch=1 freeze_backbone=true"},

    {"lightavseg", "", "epochs=60 lr=1e-4 weight_decay=0.01 batch=8 frames=5 resolution=224 eval_batch=8"},
    {"lightavseg", "task=avss", "frames=10"},
    {"lightavseg", "backbone=seaformer_l", "embed_dim=512"},
    {"lightavseg", "backbone=seaformer_s", "embed_dim=192"},
    {"lightavseg", "backbone=seaformer_t", "embed_dim=128"},
    {"lightavseg", "cmfd=false", "aux_loss=none"},
    {"lightavseg", "", "aux_weight=0.5"},
    {"lightavseg", "aux_loss=mix", "aux_weight=0.1"},
    {"lightavseg", "aux_loss=none", "aux_weight=0"},

    {"tpavi", "", "optimizer=adam weight_decay=0 lr=1e-4 batch=4 frames=5 resolution=224 eval_batch=4"},
    {"tpavi", "task=s4", "epochs=15 aux_loss=none"},
    {"tpavi", "task=ms3", "epochs=30"},
    {"tpavi", "task=avss", "epochs=60 frames=10 eval_start=15 eval_every=2"},
    {"tpavi", "aux_loss=cosine", "aux_weight=50"},
    {"tpavi", "aux_loss=none", "aux_weight=0"},

    /* Speed does not depend on the values of weights, and one frame is timed unless more are asked for. */
    {"*", "kind=latency", "frames=1 backbone_weights=random audio_weights=random"},
    {NULL, NULL, NULL},
};

const avs_active_rule avs_active_rules[] = {
    {"*", "schedule=polynomial", "schedule_power"},
    {"*", "schedule=cosine", "lr_min"},
    {"*", "augment=flip", "flip_probability flip_unit"},
    {"*", "steps=0", "epochs"},
    {"*", "freeze_backbone=false", "freeze_backbone_epochs"},
    {"avesformer", "query_generator=qg|pqg", "num_generator_layers generator_ffn_dim"},
    {"avesformer|avsegformer|lightavseg|tpavi", "aux_loss!=none", "aux_weight"},
    {"avesformer", "num_classes=1", "iou_loss"},
    {"avesformer_mini", "audio_backbone=vggish", "audio_weights freeze_audio_backbone"},
    {"avesformer_mini", "audio_backbone=mel_stats|vggish", "audio_norm"},
    {"avsegformer", "query_generator=qg|pqg", "num_generator_layers generator_ffn_dim"},
    {"aavs", "stage=two", "robust_key stage1_mask_attention stage1_mask_features stage1_masks stage1_mask_train stage1_mask_eval stage1_mask_iou"},
    {"aavs", "stage=two robust_key=true", "key_threshold_low key_threshold_high"},
    {"aavs", "stage=two stage1_mask_iou!=1", "stage1_mask_seed"},
    {"aavs", "backbone=swin_b|swin_custom", "backbone_adapter"},
    {"save", "image_adapter=true", "adapter_ratio adapter_zero_init"},
    {"save", "audio_adapter=true", "audio_residual audio_inject audio_prompt audio_hidden_dim"},
    {"lightavseg", "backbone!=resnet50", "context"},
    {"lightavseg", "aux_loss=msa|msa_kl", "align_temperature"},
    {"tpavi", "aux_loss=avm", "avm_distance avm_target avm_pooling avm_normalize avm_threshold avm_stages"},
    {NULL, NULL, NULL},
};

const avs_constraint_rule avs_constraint_rules[] = {
    {"avesformer|avesformer_mini|avsegformer|save|sama|lightavseg|tpavi", "task=s4|ms3", "num_classes=1", "num_classes", "task", "tasks s4 and ms3 have num_classes 1"},
    {"avesformer|avesformer_mini|avsegformer|lightavseg|tpavi", "task=avss", "num_classes!=1", "num_classes", "task", "task avss needs num_classes of 2 or more"},
    {"*", "dataset=avsbench_v3|avs_synthetic", "task=s4|ms3", "dataset", "task", "this data set is binary and has no task avss"},
    {"aavs", "stage=one", "num_classes=2", "num_classes", "stage", "stage one has num_classes 2"},
    {"aavs", "stage=two|end_to_end", "num_classes!=1", "num_classes", "stage", "stages two and end_to_end need num_classes of 2 or more"},
    {"aavs", "stage=two|end_to_end", "task=avss", "stage", "task", "stages two and end_to_end need task avss"},
    {"avesformer", "query_generator=none", "num_queries=1", "num_queries", "query_generator", "query_generator none has one query"},
    {"avsegformer", "aux_loss=qr|ar", "variant=paper", "aux_loss", "variant", "aux_loss qr and ar need variant paper"},
    {"avsegformer", "aux_loss=mix", "variant=released", "aux_loss", "variant", "aux_loss mix needs variant released"},
    {"avsegformer", "query_generator=repeat", "variant=paper", "query_generator", "variant", "query_generator repeat needs variant paper"},
    {"avsegformer", "query_generator=qg|pqg", "variant=released", "query_generator", "variant", "query_generator qg and pqg need variant released"},
    {"avsegformer", "num_classes=1", "seg_loss=dice|bce", "seg_loss", "num_classes", "one class takes seg_loss dice or bce"},
    {"avsegformer", "num_classes!=1", "seg_loss=ce", "seg_loss", "num_classes", "num_classes of two and more takes seg_loss ce"},
    {"lightavseg", "cmfd=false", "aux_loss=none|mix", "aux_loss", "cmfd", "cmfd false needs aux_loss none or mix"},
    {"tpavi", "aux_loss=cosine", "task=s4", "aux_loss", "task", "aux_loss cosine needs task s4"},
    {"tpavi", "aux_loss=avm", "task=ms3|avss", "aux_loss", "task", "aux_loss avm needs task ms3 or avss"},
    {"tpavi", "aux_loss=avm|cosine", "tpavi_audio_visual=true", "aux_loss", "tpavi_audio_visual", "aux_loss avm and cosine need tpavi_audio_visual true"},
    {NULL, NULL, NULL, NULL, NULL, NULL},
};

const avs_multiple_rule avs_multiple_rules[] = {
    {"avesformer|avesformer_mini|avsegformer|aavs|save|sama", "embed_dim", 0, "num_heads"},
    {"avesformer|avsegformer|aavs", "embed_dim", 32, NULL},
    {"avesformer_mini", "embed_dim", 8, NULL},
    {"avesformer|avsegformer|tpavi|save", "resolution", 32, NULL},
    {"sama|avesformer_mini", "resolution", 16, NULL},
    {NULL, NULL, 0, NULL},
};
// clang-format on

bool avs_schema_lists(const char *models, const char *model)
{
    size_t n = strlen(model);
    if (strcmp(models, "*") == 0) return true;
    for (const char *p = models; p; p = strchr(p, '|')) {
        p += *p == '|';
        if (strncmp(p, model, n) == 0 && (p[n] == '|' || p[n] == '\0')) return true;
    }
    return false;
}

bool avs_schema_word(const char **at, const char **word, size_t *len)
{
    const char *p = *at + strspn(*at, " ");
    *word = p;
    *len = strcspn(p, " ");
    *at = p + *len;
    return *len > 0;
}
