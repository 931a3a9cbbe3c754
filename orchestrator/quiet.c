/* See quiet.h. Times of the kernel come in ticks of 10 ms: no judgement over less than half a second. */
#include "orchestrator/quiet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/json.h"
#include "results/store.h"

#define SECOND INT64_C(1000000000)
#define MUCH   0.2 /* of the cores */
enum { MANY_CORES = 4096 };

static FILE *open_at(const avs_quiet *q, const char *path)
{
    char whole[1024];
    snprintf(whole, sizeof whole, "%s%s", q->root, path);
    return fopen(whole, "re");
}

static bool read_word(const avs_quiet *q, const char *path, char *out, int n)
{
    FILE *f = open_at(q, path);
    bool ok = f && fgets(out, n, f);
    if (f) fclose(f);
    if (ok) out[strcspn(out, "\n")] = '\0';
    return ok;
}

/* CPU seconds that the cores were not idle since boot, and how many cores; below 0: not told. */
static double busy_seconds(const avs_quiet *q, int *cores)
{
    char line[512];
    double sum = -1;
    FILE *f = open_at(q, "/proc/stat");
    *cores = 0;
    while (f && fgets(line, sizeof line, f) && strncmp(line, "cpu", 3) == 0) {
        long long t[8] = {0}; /* user nice system idle iowait irq softirq steal */
        if (line[3] != ' ') {
            ++*cores;
            continue;
        }
        if (sscanf(line + 4, "%lld %lld %lld %lld %lld %lld %lld %lld", &t[0], &t[1], &t[2], &t[3], &t[4],
                   &t[5], &t[6], &t[7]) < 4)
            break;
        sum = (double)(t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) / (double)sysconf(_SC_CLK_TCK);
    }
    if (f) fclose(f);
    return sum;
}

static double own_seconds(const avs_quiet *q, const int64_t *pids, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        char path[64], text[1024];
        long long user = 0, system = 0;
        snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pids[i]);
        if (!read_word(q, path, text, sizeof text)) continue;
        const char *after = strrchr(text, ')'); /* the name may hold anything */
        if (after &&
            sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lld %lld", &user, &system) == 2)
            sum += (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    }
    return sum;
}

/* Clocks now, and how often cores were throttled since boot. */
static void read_clocks(avs_quiet *q, int64_t *throttles)
{
    *throttles = -1;
    for (int c = 0; c < q->cores && c < MANY_CORES; c++) {
        char path[128], text[64];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/thermal_throttle/core_throttle_count", c);
        if (read_word(q, path, text, sizeof text))
            *throttles = (*throttles < 0 ? 0 : *throttles) + strtoll(text, NULL, 10);
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", c);
        if (!read_word(q, path, text, sizeof text)) continue;
        int mhz = (int)(strtol(text, NULL, 10) / 1000);
        if (mhz > 0 && (q->mhz[0] == 0 || mhz < q->mhz[0])) q->mhz[0] = mhz;
        if (mhz > q->mhz[1]) q->mhz[1] = mhz;
    }
}

static avs_gpu_inventory *read_gpus(void)
{
    avs_gpu_inventory *g = avs_xrealloc(NULL, sizeof *g);
    avs_err err = AVS_ERR_INIT;
    if (!g) return NULL;
    if (avs_gpu_inventory_read(g, NULL, getenv("CUDA_VISIBLE_DEVICES"), &err) == AVS_OK && g->n > 0) return g;
    free(g);
    return NULL;
}

void avs_quiet_begin(avs_quiet *q, const char *root, double wait_s, bool with_gpus, int64_t now_ns)
{
    *q = (avs_quiet){.root = root, .wait_ns = (int64_t)(wait_s * 1e9), .with_gpus = with_gpus};
    q->begin_ns = q->last_ns = now_ns;
    q->last_busy_s = busy_seconds(q, &q->cores);
    q->before = -1;
    (void)read_word(q, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", q->governor,
                    sizeof q->governor);
    if (with_gpus) q->gpus = read_gpus();
}

static bool gpus_calm(avs_quiet *q)
{
    avs_gpu_inventory *now = q->with_gpus ? read_gpus() : NULL;
    bool calm = true;
    for (int32_t i = 0; now && q->gpus && i < now->n && i < q->gpus->n; i++)
        calm &= now->gpu[i].processes <= 0 && abs(now->gpu[i].celsius - q->gpus->gpu[i].celsius) <= 2;
    free(q->gpus);
    q->gpus = now;
    return calm;
}

static void start(avs_quiet *q, int64_t now_ns)
{
    q->start_ns = q->last_ns = now_ns;
    q->busy_s = q->last_busy_s;
    read_clocks(q, &q->throttles);
}

bool avs_quiet_may_start(avs_quiet *q, int64_t now_ns, int64_t *again_ns)
{
    const int64_t window = q->with_gpus ? 3 * SECOND : SECOND;
    int cores;
    *again_ns = q->last_ns + window;
    if (q->wait_ns > 0 && now_ns < *again_ns) return false;
    double busy = busy_seconds(q, &cores), span = (double)(now_ns - q->last_ns) / (double)SECOND;
    if (busy >= 0 && q->last_busy_s >= 0 && span >= 0.5 && cores > 0)
        q->before = (busy - q->last_busy_s) / (span * cores);
    q->last_busy_s = busy;
    q->last_ns = now_ns;
    bool calm = q->wait_ns > 0 && gpus_calm(q) && q->before < MUCH;
    if (calm || now_ns - q->begin_ns >= q->wait_ns) {
        start(q, now_ns);
        return true;
    }
    *again_ns = now_ns + window;
    return false;
}

int64_t avs_quiet_look(avs_quiet *q, const int64_t *pids, int n, int64_t now_ns)
{
    int cores;
    if (now_ns < q->last_ns + SECOND) return q->last_ns + SECOND;
    double own = own_seconds(q, pids, n), busy = busy_seconds(q, &cores);
    double span = (double)(now_ns - q->last_ns) / (double)SECOND;
    if (busy < 0 || q->last_busy_s < 0 || own < q->own_s)
        return now_ns + SECOND; /* the trial ended, or nobody tells */
    double others = (busy - q->last_busy_s - (own - q->own_s)) / (span * cores);
    if (others > q->worst) q->worst = others;
    q->n_seconds++;
    q->n_disturbed += others > MUCH;
    q->last_busy_s = busy;
    q->own_s = own;
    q->last_ns = now_ns;
    return now_ns + SECOND;
}

static void put_number(avs_buf *b, const char *key, double v)
{
    avs_buf_fmt(b, ",\"%s\":", key);
    avs_json_write_num(b, v);
}

int avs_quiet_end(avs_quiet *q, avs_buf *json)
{
    enum {
        HARD = 0x8 | 0x20 | 0x40 | 0x80 | 0x4
    }; /* slowdown by hardware, heat, power; not idle or set clocks */
    int64_t throttles;
    int flags = 0;
    double span = (double)(q->last_ns - q->start_ns) / (double)SECOND, mean = -1;
    read_clocks(q, &throttles);
    avs_gpu_inventory *after = q->with_gpus ? read_gpus() : NULL;
    if (q->n_seconds > 0 && q->cores > 0) mean = (q->last_busy_s - q->busy_s - q->own_s) / (span * q->cores);
    if (mean > MUCH || 10 * q->n_disturbed > q->n_seconds) flags |= AVS_LAT_SHARED;
    if (throttles >= 0 && throttles > q->throttles) flags |= AVS_LAT_THROTTLED;
    if (q->governor[0] && strcmp(q->governor, "performance") != 0) flags |= AVS_LAT_UNLOCKED;
    for (int32_t i = 0; q->gpus && i < q->gpus->n; i++)
        if (q->gpus->gpu[i].processes > 0) flags |= AVS_LAT_SHARED;
    for (int32_t i = 0; after && i < after->n; i++)
        if (after->gpu[i].throttle & HARD) flags |= AVS_LAT_THROTTLED;
    avs_buf_fmt(json, "{\"waited_s\":%.1f", (double)(q->start_ns - q->begin_ns) / (double)SECOND);
    if (q->before >= 0) put_number(json, "before", q->before);
    avs_buf_fmt(json, ",\"seconds\":%d,\"disturbed\":%d", q->n_seconds, q->n_disturbed);
    if (mean >= 0) put_number(json, "mean", mean);
    if (q->n_seconds > 0) put_number(json, "worst", q->worst);
    if (throttles >= 0) avs_buf_fmt(json, ",\"throttled\":%lld", (long long)(throttles - q->throttles));
    if (q->mhz[1] > 0) avs_buf_fmt(json, ",\"mhz\":[%d,%d]", q->mhz[0], q->mhz[1]);
    if (q->governor[0]) {
        avs_buf_str(json, ",\"governor\":");
        avs_json_write_str(json, q->governor);
    }
    if (q->gpus) {
        avs_buf_str(json, ",\"gpus_before\":");
        avs_gpu_inventory_json(json, q->gpus);
    }
    if (after) {
        avs_buf_str(json, ",\"gpus_after\":");
        avs_gpu_inventory_json(json, after);
    }
    avs_buf_char(json, '}');
    free(after);
    return flags;
}

void avs_quiet_free(avs_quiet *q)
{
    free(q->gpus);
    q->gpus = NULL;
}
