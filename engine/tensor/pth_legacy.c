/* The container of torch before 1.6: five pickles in a row (magic number, protocol, system, object, storage keys), then
 * for every key its element count and raw elements. What an element is, only the object's storages tell. */
#include "engine/tensor/pth_blob.h"

#include <stdlib.h>
#include <string.h>

/* LONG1 of ten bytes, 0x1950a86a20f9469cfc6c. */
static const uint8_t MAGIC[12] = {0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

static int run(avs_pth_source *s, const char *name, avs_pk_node **root, avs_err *e)
{
    s->pickle.what = avs_arena_fmt(s->arena, "%s: %s", s->what, name);
    if (!s->pickle.what) {
        (void)avs_fail(e, AVS_ENOMEM, "%s: no memory", s->what);
        return AVS_ENOMEM;
    }
    return avs_pk_run(&s->pickle, root, e);
}

static int read_front(avs_pth_source *s, avs_err *e)
{
    avs_pk_node *magic = NULL, *version = NULL, *system = NULL;
    /* PROTO, since protocol 4 also FRAME, then the number. */
    const size_t at = s->n > 2 && s->data[2] == 0x95 ? 11 : 2;
    if (s->n < at + sizeof MAGIC || memcmp(s->data + at, MAGIC, sizeof MAGIC) != 0)
        return avs_fail(e, AVS_EPARSE,
                        "%s: a pickle that does not begin with the magic number of torch.save: no checkpoint",
                        s->what);
    int rc = run(s, "magic number", &magic, e);
    if (rc == AVS_OK) rc = run(s, "protocol version", &version, e);
    if (rc == AVS_OK && (version->kind != AVS_PK_INT || version->i != 1001))
        rc = avs_fail(e, AVS_EPARSE, "%s: byte %zu: the protocol version must be 1001", s->what, version->at);
    if (rc == AVS_OK) rc = run(s, "system description", &system, e);
    if (rc != AVS_OK) return rc;
    const avs_pk_node *little = avs_pk_get(system, "little_endian");
    if (!little || little->kind != AVS_PK_BOOL || !little->i)
        return avs_fail(e, AVS_EPARSE, "%s: byte %zu: the system description must say little_endian = true",
                        s->what, system->at);
    return AVS_OK;
}

static int by_key(const void *a, const void *b)
{
    const avs_pk_node *x = *(const avs_pk_node *const *)a, *y = *(const avs_pk_node *const *)b;
    return strcmp(x->s, y->s);
}

static int key_against(const void *key, const void *at)
{
    return strcmp(key, (*(const avs_pk_node *const *)at)->s);
}

static int by_name(const void *a, const void *b)
{
    const avs_pth_blob *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Count and elements of one key; *at moves over them. */
static int read_blob(avs_pth_source *s, const char *key, size_t *at, avs_err *e)
{
    avs_pk_node **first = s->pickle.n_storages
                              ? bsearch(key, s->pickle.storages, (size_t)s->pickle.n_storages,
                                        sizeof(avs_pk_node *), key_against)
                              : NULL;
    if (!first)
        return avs_fail(e, AVS_EPARSE, "%s: byte %zu: storage %.100s is listed, but no tensor names it",
                        s->what, *at, key);
    const avs_pk_node *st = *first;
    if (s->n - *at < 8)
        return avs_fail(e, AVS_EPARSE, "%s: byte %zu: the file ends where storage %.100s should begin",
                        s->what, *at, key);
    uint64_t count = 0;
    for (int i = 0; i < 8; i++) count |= (uint64_t)s->data[*at + (size_t)i] << (8 * i);
    const size_t left = s->n - *at - 8, size = (size_t)st->dtype->size;
    if (count != (uint64_t)st->count)
        return avs_fail(e, AVS_EPARSE, "%s: byte %zu: storage %.100s has %llu elements, its tensors say %lld",
                        s->what, *at, key, (unsigned long long)count, (long long)st->count);
    if (count > left / size)
        return avs_fail(
            e, AVS_EPARSE,
            "%s: byte %zu: storage %.100s has %llu elements of %zu bytes, the file ends after %zu bytes",
            s->what, *at, key, (unsigned long long)count, size, left);
    s->blobs[s->n_blobs++] =
        (avs_pth_blob){.name = key, .data = s->data + *at + 8, .bytes = (size_t)count * size, .at = *at + 8};
    *at += 8 + (size_t)count * size;
    return AVS_OK;
}

int avs_pth_read_legacy(avs_pth_source *s, avs_err *e)
{
    avs_pk_node *keys = NULL;
    s->pickle = (avs_pk){.arena = s->arena, .what = s->what, .data = s->data, .n = s->n};
    int rc = read_front(s, e);
    if (rc == AVS_OK) rc = run(s, "object", &s->root, e);
    if (rc == AVS_OK) rc = run(s, "storage keys", &keys, e);
    if (rc != AVS_OK) return rc;
    if (keys->kind != AVS_PK_LIST)
        return avs_fail(e, AVS_EPARSE, "%s: byte %zu: the storage keys must be a list", s->what, keys->at);
    s->blobs = AVS_NEW_N(s->arena, avs_pth_blob, keys->n + 1);
    if (!s->blobs) return avs_fail(e, AVS_ENOMEM, "%s: no memory for the storages", s->what);
    if (s->pickle.n_storages)
        qsort(s->pickle.storages, (size_t)s->pickle.n_storages, sizeof(avs_pk_node *), by_key);
    size_t at = s->pickle.at;
    for (const avs_pk_item *it = keys->first; it && rc == AVS_OK; it = it->next) {
        if (it->v->kind != AVS_PK_STR)
            return avs_fail(e, AVS_EPARSE, "%s: byte %zu: a storage key must be a string", s->what,
                            it->v->at);
        rc = read_blob(s, it->v->s, &at, e);
    }
    if (rc != AVS_OK) return rc;
    if (at != s->n)
        return avs_fail(e, AVS_EPARSE, "%s: byte %zu: %zu bytes behind the last storage", s->what, at,
                        s->n - at);
    qsort(s->blobs, (size_t)s->n_blobs, sizeof *s->blobs, by_name);
    for (int i = 1; i < s->n_blobs; i++)
        if (!strcmp(s->blobs[i - 1].name, s->blobs[i].name))
            return avs_fail(e, AVS_EPARSE, "%s: storage %.100s is listed twice", s->what, s->blobs[i].name);
    return AVS_OK;
}
