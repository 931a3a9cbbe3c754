/* Every file is found by one option and loaded by one function; what differs is the part of the model. */
#include "workers/start.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/rng.h"
#include "workers/init.h"
#include "workers/weights.h"

enum { PATH = 4096 };

int avs_init_again(avs_net *n, uint64_t seed, avs_err *e)
{
    return avs_init_plan(n->plan, n->graph, avs_stream_seed(seed, "init"), e);
}

static int find_pretrained(const char *name, char path[PATH], avs_err *e)
{
    static const char *const endings[] = {"safetensors", "pth", "pt"};
    const char *dir = getenv("AVSWEEP_WEIGHTS");
    if (!dir || !dir[0]) dir = "weights";
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const int n = snprintf(path, PATH, "%s/%s.%s", dir, name, endings[i]);
        if (n < 0 || n >= PATH) return avs_fail(e, AVS_ERANGE, "the path of AVSWEEP_WEIGHTS is too long");
        if (avs_fs_exists(path)) return AVS_OK;
    }
    return avs_fail(
        e, AVS_EMISSING,
        "pretrained weights of %s are wanted but %s/%s.safetensors (or .pth, .pt) is missing; put them there "
        "(AVSWEEP_WEIGHTS names the folder) or set the option to random",
        name, dir, name);
}

static bool is_exact(const avs_cfg *cfg)
{
    return strcmp(avs_cfg_kind(cfg), "train") != 0;
}

/* option: of the configuration; name: of the part, for the rules and for `pretrained`. */
static int start_part(avs_net *n, const avs_cfg *cfg, const char *option, const char *name,
                      const char *prefix, avs_err *e)
{
    char path[PATH];
    if (!avs_cfg_has(cfg, option) || !prefix || avs_cfg_is(cfg, option, "random")) return AVS_OK;
    const char *value = avs_cfg_str(cfg, option);
    const avs_model_rule *rule = avs_model_find(avs_cfg_str(cfg, "model"));
    const bool is_whole = !prefix[0]; /* of the network that the system extends */
    avs_weights_cfg wc = {.path = value, .part = name, .prefix = prefix, .exact = is_exact(cfg)};
    int rc = AVS_OK;
    if (is_whole && rule->weight_rules) wc.extra = rule->weight_rules(cfg, &wc.n_extra);
    if (!strcmp(value, "pretrained")) {
        rc = find_pretrained(name, path, e);
        wc.path = path;
    }
    if (rc == AVS_OK && is_whole) wc.part = avs_arena_fmt(n->arena, "%s/%s", rule->name, name);
    if (rc == AVS_OK && !wc.part) rc = avs_fail(e, AVS_ENOMEM, "out of memory");
    if (rc == AVS_OK) rc = avs_weights_load(n->plan, &wc, stderr, e);
    if (rc != AVS_OK) avs_ctx(e, "%s", option);
    return rc;
}

int avs_weights_start_audio(avs_net *n, const avs_cfg *cfg, avs_err *e)
{
    const avs_model_rule *rule = avs_model_find(avs_cfg_str(cfg, "model"));
    if (n->build.audio_input == AVS_AUDIO_FEATURE) return AVS_OK; /* the encoder is in another net */
    return start_part(n, cfg, "audio_weights", avs_cfg_str(cfg, "audio_backbone"), rule->audio_prefix, e);
}

int avs_weights_start(avs_net *n, const avs_cfg *cfg, avs_err *e)
{
    const avs_model_rule *rule = avs_model_find(avs_cfg_str(cfg, "model"));
    int rc = start_part(n, cfg, "backbone_weights", avs_cfg_str(cfg, "backbone"),
                        avs_model_takes_whole(rule, cfg) ? "" : avs_model_backbone_prefix(rule, cfg), e);
    if (rc == AVS_OK) rc = avs_weights_start_audio(n, cfg, e);
    if (rc == AVS_OK && avs_cfg_has(cfg, "init") && avs_cfg_str(cfg, "init")[0]) {
        const avs_weights_cfg wc = {
            .path = avs_cfg_str(cfg, "init"), .part = rule->name, .prefix = "", .exact = is_exact(cfg)};
        rc = avs_weights_load(n->plan, &wc, stderr, e);
        if (rc != AVS_OK) avs_ctx(e, "init");
    }
    return rc;
}
