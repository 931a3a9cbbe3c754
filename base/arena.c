/* Arenas are chains of blocks that are bumped through; a request that does not fit opens a new block of at
 * least twice the last size (up to 1 MiB), large requests get a block of their own. The only malloc of the
 * code base is here, with the injected failure that tests use. */
#include "base/arena.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BLOCK = 4096, LARGEST_BLOCK = 1 << 20, DEFAULT_ALIGN = 16, X_ALIGN = 64 };

typedef struct block {
    struct block *next;
    size_t size, used; /* bytes after the header */
} block;

struct avs_arena {
    block *top;
    size_t next_size;
    size_t bytes;
    int failed; /* sticky */
};

/* Countdown of the injected failure; 0 is off. Atomic because loader threads allocate as well. */
static atomic_long fail_countdown;

void avs_alloc_fail_after(long n)
{
    atomic_store(&fail_countdown, n);
}

static int should_fail(void)
{
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) <= 0) return 0;
    return atomic_fetch_sub(&fail_countdown, 1) == 1;
}

/* calloc, because fresh pages come zeroed from the kernel and cost nothing until they are touched; what it returned stands
 * in front of the aligned block. */
void *avs_xalloc(size_t bytes)
{
    if (should_fail() || bytes > SIZE_MAX / 2) return NULL;
    char *base = calloc(1, bytes + (size_t)2 * X_ALIGN);
    if (!base) return NULL;
    char *p = base + sizeof(void *);
    p += (X_ALIGN - (uintptr_t)p % X_ALIGN) % X_ALIGN;
    memcpy(p - sizeof base, &base, sizeof base);
    return p;
}

void *avs_xrealloc(void *p, size_t bytes)
{
    if (should_fail() || bytes > SIZE_MAX / 2) return NULL;
    return realloc(p, bytes ? bytes : 1);
}

void avs_xfree(void *p)
{
    char *base;
    if (!p) return;
    memcpy(&base, (char *)p - sizeof base, sizeof base);
    free(base);
}

avs_arena *avs_arena_new(void)
{
    if (should_fail()) return NULL;
    avs_arena *a = calloc(1, sizeof *a);
    if (a) a->next_size = FIRST_BLOCK;
    return a;
}

void avs_arena_free(avs_arena *a)
{
    if (!a) return;
    for (block *b = a->top; b;) {
        block *next = b->next;
        free(b);
        b = next;
    }
    free(a);
}

void avs_arena_reset(avs_arena *a)
{
    while (a->top && a->top->next) {
        block *next = a->top->next;
        free(a->top);
        a->top = next;
    }
    a->bytes = 0;
    a->failed = 0;
    if (!a->top) return;
    memset(a->top + 1, 0, a->top->used);
    a->top->used = 0;
}

/* calloc, as above. */
static block *block_new(size_t size)
{
    block *b = calloc(1, sizeof(block) + size);
    if (b) b->size = size;
    return b;
}

static void *block_take(block *b, size_t bytes, size_t align)
{
    uintptr_t base = (uintptr_t)(b + 1);
    uintptr_t at = (base + b->used + align - 1) & ~(uintptr_t)(align - 1);
    size_t offset = (size_t)(at - base);
    if (offset > b->size || bytes > b->size - offset) return NULL;
    b->used = offset + bytes;
    return (char *)(b + 1) + offset;
}

void *avs_arena_alloc_aligned(avs_arena *a, size_t bytes, size_t align)
{
    if (!a || align == 0 || align > 4096 || (align & (align - 1)) != 0) return NULL;
    if (should_fail() || bytes > SIZE_MAX / 4) {
        a->failed = 1;
        return NULL;
    }
    size_t want = bytes ? bytes : 1; /* distinct pointers, also for nothing */
    void *p = a->top ? block_take(a->top, want, align) : NULL;
    if (!p) {
        size_t need = want + align;
        int is_large = need > a->next_size / 2 && a->top;
        block *b = block_new(need > a->next_size || is_large ? need : a->next_size);
        if (!b) {
            a->failed = 1;
            return NULL;
        }
        p = block_take(b, want, align);
        if (is_large && a->top->size - a->top->used > b->size - b->used) {
            /* The half-full block stays on top, so that its rest is still used. */
            b->next = a->top->next;
            a->top->next = b;
        } else {
            b->next = a->top;
            a->top = b;
        }
        if ((!is_large || need > a->next_size) && a->next_size < LARGEST_BLOCK) a->next_size *= 2;
    }
    a->bytes += bytes;
    return p;
}

void *avs_arena_alloc(avs_arena *a, size_t bytes)
{
    return avs_arena_alloc_aligned(a, bytes, DEFAULT_ALIGN);
}

void *avs_arena_dup(avs_arena *a, const void *src, size_t bytes)
{
    void *p = avs_arena_alloc(a, bytes);
    if (p && bytes) memcpy(p, src, bytes);
    return p;
}

char *avs_arena_strn(avs_arena *a, const char *s, size_t n)
{
    if (n == SIZE_MAX) return NULL;
    char *p = avs_arena_alloc_aligned(a, n + 1, 1);
    if (p && n) memcpy(p, s, n);
    return p;
}

char *avs_arena_str(avs_arena *a, const char *s)
{
    return s ? avs_arena_strn(a, s, strlen(s)) : NULL;
}

char *avs_arena_fmt(avs_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : avs_arena_alloc_aligned(a, (size_t)n + 1, 1);
    if (p) (void)vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

size_t avs_arena_bytes(const avs_arena *a)
{
    return a ? a->bytes : 0;
}

int avs_arena_failed(const avs_arena *a)
{
    return a ? a->failed : 1;
}
