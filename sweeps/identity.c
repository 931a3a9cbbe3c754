/* Hashes of configurations and trials. The text that is hashed is kept, so that a doubt can be settled by reading. */
#include "sweeps/identity.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/hash.h"

int avs_identity_text(avs_buf *out, const avs_cfg *cfg, const char *fingerprint, const char *gpu_model,
                      avs_err *e)
{
    bool latency = strcmp(avs_cfg_kind(cfg), "latency") == 0;
    avs_buf params = AVS_BUF_INIT;
    avs_json_write(&params, avs_cfg_identity_json(cfg), true);
    /* The keys in byte order, as the canonical writer would put them. */
    avs_buf_str(out, "{\"data_fingerprint\":");
    if (fingerprint[0] && !latency)
        avs_buf_fmt(out, "\"%s\"", fingerprint);
    else
        avs_buf_str(out, "null");
    if (latency) {
        avs_buf_str(out, ",\"gpu_model\":");
        avs_json_write_str(out, gpu_model);
    }
    avs_buf_fmt(out, ",\"kind\":\"%s\",\"model\":\"%s\",\"model_schema\":%d,\"params\":%s,\"task\":\"%s\"}",
                avs_cfg_kind(cfg), avs_cfg_str(cfg, "model"), AVS_SCHEMA_VERSION, avs_buf_cstr(&params),
                avs_cfg_str(cfg, "task"));
    bool ok = avs_buf_ok(out) && avs_buf_ok(&params);
    avs_buf_free(&params);
    return ok ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for the text of a configuration");
}

void avs_config_hash(const char *identity, uint8_t out[32])
{
    static const char head[] = "avsweep-config-1\n";
    avs_sha256 s;
    avs_sha256_init(&s);
    avs_sha256_put(&s, head, sizeof head - 1);
    avs_sha256_put(&s, identity, strlen(identity));
    avs_sha256_end(&s, out);
}

void avs_trial_hash(const uint8_t config_hash[32], uint32_t seed, const uint8_t (*upstream)[32], int n,
                    uint8_t out[32])
{
    char text[128], hex[65];
    avs_sha256 s;
    avs_hex(config_hash, 32, hex);
    int len = snprintf(text, sizeof text, "avsweep-trial-1\n%s\n%" PRIu32, hex, seed);
    avs_sha256_init(&s);
    avs_sha256_put(&s, text, (size_t)len);
    for (int i = 0; i < n; i++) {
        avs_hex(upstream[i], 32, hex);
        avs_sha256_put(&s, "\n", 1);
        avs_sha256_put(&s, hex, 64);
    }
    avs_sha256_end(&s, out);
}
