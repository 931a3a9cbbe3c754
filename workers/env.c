/* Provenance of this process. */
#include "workers/env.h"

#include <gnu/libc-version.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "avs_version.h"
#include "base/json.h"
#include "engine/backend/cpu/dnnl_lib.h"

static void pair(avs_buf *b, const char *key, const char *value)
{
    if (b->len > 1) avs_buf_char(b, ',');
    avs_json_write_str(b, key);
    avs_buf_char(b, ':');
    avs_json_write_str(b, value);
}

static void number(avs_buf *b, const char *key, double value)
{
    avs_buf_char(b, ',');
    avs_json_write_str(b, key);
    avs_buf_char(b, ':');
    avs_json_write_num(b, value);
}

static void cpu_name(char *out, size_t n)
{
    char line[512];
    FILE *f = fopen("/proc/cpuinfo", "r");
    snprintf(out, n, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "model name", 10) != 0) continue;
        const char *p = strchr(line, ':');
        if (p) snprintf(out, n, "%.*s", (int)strcspn(p + 2, "\n"), p + 2);
        break;
    }
    if (f) (void)fclose(f);
}

/* Variables that change what runs or how fast; anything else may be private. */
static bool is_recorded(const char *name)
{
    static const char *const prefixes[] = {
        "OMP_",  "GOMP_", "KMP_",    "DNNL_",       "ONEDNN_",          "AVSWEEP_",
        "CUDA_", "NCCL_", "MALLOC_", "LD_PRELOAD=", "LD_LIBRARY_PATH=", "SLURM_JOB_ID="};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) return true;
    return false;
}

static void environment(avs_buf *b)
{
    bool any = false;
    avs_buf_str(b, ",\"environment\":{");
    for (char **v = environ; v && *v; v++) {
        const char *eq = strchr(*v, '=');
        char name[128];
        if (!eq || (size_t)(eq - *v) >= sizeof name || !is_recorded(*v)) continue;
        snprintf(name, sizeof name, "%.*s", (int)(eq - *v), *v);
        size_t n = strlen(eq + 1);
        bool plain = n < 4096; /* JSON takes UTF-8 only */
        for (const char *p = eq + 1; *p && plain; p += avs_utf8_len(p, strlen(p)))
            plain = avs_utf8_len(p, strlen(p)) > 0;
        if (!plain) continue;
        if (any) avs_buf_char(b, ',');
        any = true;
        avs_json_write_str(b, name);
        avs_buf_char(b, ':');
        avs_json_write_str(b, eq + 1);
    }
    avs_buf_char(b, '}');
}

static void libraries(avs_buf *b, const char *onednn)
{
    avs_buf_str(b, ",\"libraries\":{");
    if (onednn[0]) {
        avs_buf_str(b, "\"onednn\":");
        avs_json_write_str(b, onednn);
        avs_buf_char(b, ',');
    }
    avs_buf_str(b, "\"libc\":");
    avs_json_write_str(b, gnu_get_libc_version());
    avs_buf_char(b, '}');
}

/* Frequency of the first core now and its governor; absent where the kernel does not tell. */
static void clocks(avs_buf *b)
{
    static const char *const files[][2] = {
        {"mhz", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"},
        {"max_mhz", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq"}};
    char line[64];
    avs_buf_str(b, ",\"clocks\":{\"governor\":");
    FILE *f = fopen("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "r");
    if (f && fgets(line, sizeof line, f))
        line[strcspn(line, "\n")] = '\0';
    else
        snprintf(line, sizeof line, "unknown");
    if (f) (void)fclose(f);
    avs_json_write_str(b, line);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        f = fopen(files[i][1], "r");
        if (f && fgets(line, sizeof line, f))
            avs_buf_fmt(b, ",\"%s\":%.0f", files[i][0], strtod(line, NULL) / 1000);
        if (f) (void)fclose(f);
    }
    avs_buf_char(b, '}');
}

void avs_env_json(avs_buf *out, int threads, const char *precision, bool computes)
{
    struct utsname u;
    char cpu[256], host[256] = "";
    double load[1] = {0};
    const char *onednn = computes ? avs_dnnl_version_text() : "";
    cpu_name(cpu, sizeof cpu);
    if (gethostname(host, sizeof host - 1)) host[0] = 0;
    if (uname(&u)) memset(&u, 0, sizeof u);
    if (getloadavg(load, 1) < 1) load[0] = -1;
    avs_buf_char(out, '{');
    pair(out, "host", host);
    pair(out, "kernel", u.release);
    pair(out, "cpu", cpu);
    pair(out, "version", AVS_VERSION);
    pair(out, "commit", AVS_COMMIT);
    pair(out, "compiler", AVS_COMPILER);
    pair(out, "flags", AVS_FLAGS);
    if (onednn[0]) pair(out, "onednn", onednn);
    pair(out, "precision", precision);
    pair(out, "determinism", "on");
    number(out, "commit_dirty", AVS_COMMIT_DIRTY);
    number(out, "cores", (double)sysconf(_SC_NPROCESSORS_ONLN));
    number(out, "threads", threads);
    number(out, "mem_bytes", (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE));
    number(out, "load", load[0]);
    libraries(out, onednn);
    clocks(out);
    environment(out);
    const char *modules = getenv("LOADEDMODULES"), *image = getenv("APPTAINER_NAME");
    if (!image) image = getenv("SINGULARITY_NAME");
    if (modules && *modules) pair(out, "modules", modules);
    if (image && *image) pair(out, "container", image);
    avs_buf_char(out, '}');
}
