/* utf8proc behind one call. */
#include "sweeps/nfc.h"

#include <stdlib.h>
#include <utf8proc.h>

bool avs_is_ascii(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] >= 0x80) return false;
    return true;
}

bool avs_nfc(avs_buf *out, const char *s, size_t n)
{
    utf8proc_uint8_t *form = NULL;
    utf8proc_ssize_t len = UTF8PROC_ERROR_INVALIDUTF8;
    if (!avs_is_ascii(s, n))
        len = utf8proc_map((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &form,
                           UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (len == UTF8PROC_ERROR_NOMEM) return false;
    avs_buf_put(out, len < 0 ? s : (const char *)form, len < 0 ? n : (size_t)len);
    free(form);
    return avs_buf_ok(out);
}
