/* cuBLASLt and cuDNN by dlopen. The headers' versions are the least that will do: same major number, not older. */
#include "engine/backend/cuda/cuda.h"
#include "engine/backend/cuda/gpu/gpu.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *name;
    size_t at; /* in avs_gpu_libs */
} symbol;

static const symbol blaslt_calls[] = {
#define X(f) {#f, offsetof(avs_gpu_libs, f)},
    AVS_BLASLT_CALLS(X)
#undef X
};
static const symbol cudnn_calls[] = {
#define X(f) {#f, offsetof(avs_gpu_libs, f)},
    AVS_CUDNN_CALLS(X)
#undef X
};

static int load(avs_gpu_libs *l, const char *file, const symbol *s, size_t n, avs_err *e)
{
    void *lib = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        const char *why = dlerror();
        return avs_fail(e, AVS_EMISSING,
                        "the cuda backend needs %s, which the loader did not find (%s); put its folder into "
                        "LD_LIBRARY_PATH",
                        file, why ? why : "no reason given");
    }
    for (size_t i = 0; i < n; i++) {
        void *f = dlsym(lib, s[i].name);
        if (!f)
            return avs_fail(e, AVS_EMISSING, "%s has no %s: another version is installed", file, s[i].name);
        memcpy((char *)l + s[i].at, &f, sizeof f);
    }
    return AVS_OK;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int avs_gpu_libs_load(const avs_gpu_libs **out, avs_err *e)
{
    static avs_gpu_libs libs;
    static bool is_loaded;
    int rc = AVS_OK;
    *out = NULL;
    pthread_mutex_lock(&lock);
    if (!is_loaded) {
        AVS_TRY(
            load(&libs, "libcublasLt.so.13", blaslt_calls, sizeof blaslt_calls / sizeof *blaslt_calls, e));
        AVS_TRY(load(&libs, "libcudnn.so.9", cudnn_calls, sizeof cudnn_calls / sizeof *cudnn_calls, e));
        AVS_TRY(avs_cuda_fits_version("cuDNN", libs.cudnnGetVersion(), 90000, e));
        is_loaded = true;
    }
    *out = &libs;
out:
    pthread_mutex_unlock(&lock);
    return rc;
}
