/* Provenance of this process. */
#include "workers/env.h"

#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "avs_version.h"
#include "base/json.h"

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

void avs_env_json(avs_buf *out, int threads, const char *precision)
{
    struct utsname u;
    char cpu[256], host[256] = "", version[64];
    double load[1] = {0};
    const dnnl_version_t *v = dnnl_version();
    cpu_name(cpu, sizeof cpu);
    if (gethostname(host, sizeof host - 1)) host[0] = 0;
    if (uname(&u)) memset(&u, 0, sizeof u);
    if (getloadavg(load, 1) < 1) load[0] = -1;
    snprintf(version, sizeof version, "%d.%d.%d", v->major, v->minor, v->patch);
    avs_buf_char(out, '{');
    pair(out, "host", host);
    pair(out, "kernel", u.release);
    pair(out, "cpu", cpu);
    pair(out, "version", AVS_VERSION);
    pair(out, "commit", AVS_COMMIT);
    pair(out, "compiler", AVS_COMPILER);
    pair(out, "flags", AVS_BUILD_TYPE);
    pair(out, "onednn", version);
    pair(out, "precision", precision);
    pair(out, "determinism", "on");
    number(out, "commit_dirty", AVS_COMMIT_DIRTY);
    number(out, "cores", (double)sysconf(_SC_NPROCESSORS_ONLN));
    number(out, "threads", threads);
    number(out, "mem_bytes", (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE));
    number(out, "load", load[0]);
    avs_buf_char(out, '}');
}
