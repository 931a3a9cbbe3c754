/* Values that the pickle machine reads from its operands: integers, strings, names of globals. */
#include "engine/tensor/pth_machine.h"

#include <string.h>

#include "engine/tensor/pth_reduce.h"

enum { MAX_GLOBAL = 256 };

int avs_pkm_integer(avs_pkm *m, int64_t v, avs_err *e)
{
    avs_pk_node *x = NULL;
    int rc = avs_pkm_push_new(m, AVS_PK_INT, &x, e);
    if (rc == AVS_OK) x->i = v;
    return rc;
}

/* Two's complement of n bytes. Numbers beyond 64 bits (hash values, the legacy magic) are kept as "big". */
int avs_pkm_long(avs_pkm *m, int length_bytes, avs_err *e)
{
    uint64_t n;
    const uint8_t *p = NULL;
    avs_pk_node *x = NULL;
    int rc = avs_pkm_take_le(m, length_bytes, &n, e);
    if (rc == AVS_OK && length_bytes == 4 && n > INT32_MAX) return avs_pkm_fail(m, e, "a negative length");
    if (rc == AVS_OK) rc = avs_pkm_take(m, (size_t)n, &p, e);
    if (rc == AVS_OK) rc = avs_pkm_push_new(m, AVS_PK_INT, &x, e);
    if (rc != AVS_OK) return rc;
    x->is_big = n > 8;
    uint64_t v = avs_pkm_le(p, n < 8 ? (int)n : 8);
    if (n > 0 && n < 8 && p[n - 1] & 0x80) v |= ~(uint64_t)0 << (8 * n);
    x->i = (int64_t)v;
    return AVS_OK;
}

static bool is_text(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        const uint8_t c = p[i];
        const size_t more = c < 0x80 ? 0 : c >= 0xC2 && c < 0xE0 ? 1 : c >= 0xE0 && c < 0xF0 ? 2 : 3;
        if (c == 0 || (c >= 0x80 && c < 0xC2) || c > 0xF4 || more >= n - i) return false;
        for (size_t k = 1; k <= more; k++)
            if ((p[i + k] & 0xC0) != 0x80) return false;
        if ((c == 0xE0 && p[i + 1] < 0xA0) || (c == 0xED && p[i + 1] > 0x9F)) return false;
        if ((c == 0xF0 && p[i + 1] < 0x90) || (c == 0xF4 && p[i + 1] > 0x8F)) return false;
        i += more + 1;
    }
    return true;
}

/* Strings of Python 2 (BINSTRING) are text where they can be: they are the keys of old checkpoints. */
int avs_pkm_string(avs_pkm *m, int length_bytes, bool is_bytes, avs_err *e)
{
    uint64_t n;
    const uint8_t *p = NULL;
    avs_pk_node *x = NULL;
    int rc = avs_pkm_take_le(m, length_bytes, &n, e);
    if (rc == AVS_OK && n > SIZE_MAX / 2) return avs_pkm_fail(m, e, "an absurd length");
    if (rc == AVS_OK) rc = avs_pkm_take(m, (size_t)n, &p, e);
    if (rc != AVS_OK) return rc;
    const bool text = is_text(p, (size_t)n);
    if (!text && (m->op == 'X' || m->op == 0x8c || m->op == 0x8d))
        return avs_pkm_fail(m, e, "a string that is not UTF-8 or holds a zero byte");
    rc = avs_pkm_push_new(m, text && !is_bytes ? AVS_PK_STR : AVS_PK_BYTES, &x, e);
    if (rc != AVS_OK || x->kind == AVS_PK_BYTES) return rc;
    x->s = avs_arena_strn(m->p->arena, (const char *)p, (size_t)n);
    return x->s ? AVS_OK : avs_pkm_no_memory(m, e);
}

static int push_global(avs_pkm *m, const char *module, size_t nm, const char *name, size_t nn, avs_err *e)
{
    avs_pk_node *x = NULL;
    int rc = avs_pkm_push_new(m, AVS_PK_OPAQUE, &x, e);
    if (rc != AVS_OK) return rc;
    x->s = avs_arena_fmt(m->p->arena, "%.*s %.*s", (int)nm, module, (int)nn, name);
    if (!x->s) return avs_pkm_no_memory(m, e);
    avs_pk_name_global(x);
    return AVS_OK;
}

static int line(avs_pkm *m, const uint8_t **text, size_t *n, avs_err *e)
{
    const avs_pk *p = m->p;
    const size_t left = p->n - p->at, cap = left < MAX_GLOBAL ? left : MAX_GLOBAL;
    const uint8_t *end = cap ? memchr(p->data + p->at, '\n', cap) : NULL;
    if (!end) return avs_pkm_fail(m, e, "the name of a global does not end within 256 bytes");
    *n = (size_t)(end - (p->data + p->at));
    int rc = avs_pkm_take(m, *n + 1, text, e);
    if (rc == AVS_OK && !is_text(*text, *n)) rc = avs_pkm_fail(m, e, "the name of a global is no text");
    return rc;
}

int avs_pkm_global(avs_pkm *m, avs_err *e)
{
    const uint8_t *module = NULL, *name = NULL;
    size_t nm = 0, nn = 0;
    int rc = line(m, &module, &nm, e);
    if (rc == AVS_OK) rc = line(m, &name, &nn, e);
    return rc == AVS_OK ? push_global(m, (const char *)module, nm, (const char *)name, nn, e) : rc;
}

int avs_pkm_stack_global(avs_pkm *m, avs_err *e)
{
    avs_pk_node *name = NULL, *module = NULL;
    int rc = avs_pkm_pop(m, &name, e);
    if (rc == AVS_OK) rc = avs_pkm_pop(m, &module, e);
    if (rc != AVS_OK) return rc;
    if (name->kind != AVS_PK_STR || module->kind != AVS_PK_STR || strlen(name->s) > MAX_GLOBAL ||
        strlen(module->s) > MAX_GLOBAL)
        return avs_pkm_fail(m, e, "a global is named by two strings of at most 256 bytes");
    return push_global(m, module->s, strlen(module->s), name->s, strlen(name->s), e);
}
