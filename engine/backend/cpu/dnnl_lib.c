/* oneDNN by dlopen: under the name that its major version has everywhere, else where the build found it. */
#include "engine/backend/cpu/dnnl_lib.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

avs_dnnl_calls avs_dnnl;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#ifdef AVS_DNNL_LINKED
static int load(avs_err *e)
{
    (void)e;
#define X(f) avs_dnnl.f = f;
    AVS_DNNL_CALLS(X)
#undef X
    return AVS_OK;
}
#else
#define STRING(x)   #x
#define NAME(major) "libdnnl.so." STRING(major)

static const struct {
    const char *name;
    size_t at; /* in avs_dnnl_calls */
} symbols[] = {
#define X(f)        {#f, offsetof(avs_dnnl_calls, f)},
    AVS_DNNL_CALLS(X)
#undef X
};

static int load(avs_err *e)
{
    const char *file = NAME(DNNL_VERSION_MAJOR), *why = NULL;
    void *lib = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        why = dlerror();
        lib = dlopen(AVS_DNNL_FILE, RTLD_NOW | RTLD_LOCAL);
    }
    if (!lib)
        return avs_fail(
            e, AVS_EMISSING,
            "the cpu backend needs oneDNN (%s), which the loader did not find (%s); install it or put "
            "its folder into LD_LIBRARY_PATH",
            file, why ? why : "no reason given");
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *f = dlsym(lib, symbols[i].name);
        if (!f)
            return avs_fail(e, AVS_EMISSING, "%s has no %s: another version is installed", file,
                            symbols[i].name);
        memcpy((char *)&avs_dnnl + symbols[i].at, &f, sizeof f);
    }
    return AVS_OK;
}
#endif

int avs_dnnl_load(avs_err *e)
{
    static bool is_loaded;
    pthread_mutex_lock(&lock);
    int rc = is_loaded ? AVS_OK : load(e);
    is_loaded = rc == AVS_OK;
    pthread_mutex_unlock(&lock);
    return rc;
}

const char *avs_dnnl_version_text(void)
{
    static char text[48];
    if (avs_dnnl_load(NULL) != AVS_OK) return "";
    const dnnl_version_t *v = avs_dnnl.dnnl_version();
    pthread_mutex_lock(&lock);
    (void)snprintf(text, sizeof text, "%d.%d.%d", v->major, v->minor, v->patch);
    pthread_mutex_unlock(&lock);
    return text;
}
