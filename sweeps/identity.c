/* Hashes of configurations and trials. The text that is hashed is kept, so that a doubt can be settled by reading. */
#include "sweeps/identity.h"

#include <string.h>
#include "base/hash.h"

/* The keys in byte order, as the canonical writer would put them. */
void avs_identity_begin(avs_buf *out, const avs_cfg *cfg, const char *fingerprint, const char *gpu_model)
{
    bool latency = strcmp(avs_cfg_kind(cfg), "latency") == 0;
    avs_buf_str(out, "{\"data_fingerprint\":");
    if (fingerprint[0] && !latency)
        avs_buf_fmt(out, "\"%s\"", fingerprint);
    else
        avs_buf_str(out, "null");
    if (latency) {
        avs_buf_str(out, ",\"gpu_model\":");
        avs_json_write_str(out, gpu_model);
    }
    avs_buf_fmt(out, ",\"kind\":\"%s\",\"model\":\"%s\",\"model_schema\":%d,\"params\":", avs_cfg_kind(cfg),
                avs_cfg_str(cfg, "model"), AVS_SCHEMA_VERSION);
}

void avs_identity_end(avs_buf *out, const avs_cfg *cfg)
{
    avs_buf_fmt(out, ",\"task\":\"%s\"}", avs_cfg_str(cfg, "task"));
}

void avs_config_hash_begin(avs_sha256 *s)
{
    static const char head[] = "avsweep-config-1\n";
    avs_sha256_init(s);
    avs_sha256_put(s, head, sizeof head - 1);
}

void avs_trial_hash(const uint8_t config_hash[32], uint32_t seed, const uint8_t (*upstream)[32], int n,
                    uint8_t out[32])
{
    static const char head[] = "avsweep-trial-1\n";
    char hex[65], number[16];
    avs_sha256 s;
    avs_hex(config_hash, 32, hex);
    hex[64] = '\n';
    int at = sizeof number;
    do number[--at] = (char)('0' + seed % 10);
    while (seed /= 10);
    avs_sha256_init(&s);
    avs_sha256_put(&s, head, sizeof head - 1);
    avs_sha256_put(&s, hex, 65);
    avs_sha256_put(&s, number + at, sizeof number - (size_t)at);
    for (int i = 0; i < n; i++) {
        avs_hex(upstream[i], 32, hex);
        avs_sha256_put(&s, "\n", 1);
        avs_sha256_put(&s, hex, 64);
    }
    avs_sha256_end(&s, out);
}
