/* Reads the first line of a manifest. */
#include "orchestrator/manifest.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/hash.h"

bool avs_manifest_fingerprint(void *ctx, const char *data_root, uint8_t out[32])
{
    char path[4096], text[128] = "", word[65] = "";
    (void)ctx;
    if ((size_t)snprintf(path, sizeof path, "%s/.avsweep-manifest", data_root) >= sizeof path) return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0 || sscanf(text, "avs-manifest-1 %64[0-9a-f] ", word) != 1 || strlen(word) != 64) return false;
    return avs_unhex(word, 32, out);
}
