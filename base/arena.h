/* Arenas: objects that die together are allocated together and freed in one call.
 *
 * Memory is zeroed and aligned to 16 bytes (64 with avs_arena_alloc_aligned). Allocation failure is an error the
 * caller sees as NULL; fault injection makes the n-th allocation fail (avs_arena_fail_after, tests only).
 * Thread rules: one arena, one thread at a time. */
#ifndef AVS_BASE_ARENA_H
#define AVS_BASE_ARENA_H

#include <stddef.h>
#include <stdarg.h>

typedef struct avs_arena avs_arena;

/* NULL when memory is out. Free with avs_arena_free (accepts NULL). */
avs_arena *avs_arena_new(void);
void avs_arena_free(avs_arena *a);
/* Takes everything back at once and keeps one block for what comes next. */
void avs_arena_reset(avs_arena *a);

void *avs_arena_alloc(avs_arena *a, size_t bytes);                       /* zeroed; NULL on failure       */
void *avs_arena_alloc_aligned(avs_arena *a, size_t bytes, size_t align); /* align: a power of two <= 4096 */
void *avs_arena_dup(avs_arena *a, const void *src, size_t bytes);
char *avs_arena_str(avs_arena *a, const char *s);            /* copy of a C string               */
char *avs_arena_strn(avs_arena *a, const char *s, size_t n); /* copy of n bytes plus NUL         */
char *avs_arena_fmt(avs_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

size_t avs_arena_bytes(const avs_arena *a); /* handed out so far */
/* Whether any allocation from this arena ever failed: lets a builder of many small strings check once at its end. */
int avs_arena_failed(const avs_arena *a);

#define AVS_NEW(arena, type)      ((type *)avs_arena_alloc((arena), sizeof(type)))
#define AVS_NEW_N(arena, type, n) ((type *)avs_arena_alloc((arena), sizeof(type) * (size_t)(n)))

/* Tests: the n-th allocation from now (1 = next) in any arena or avs_buf fails; 0 switches injection off. */
void avs_alloc_fail_after(long n);
/* For the few other places that allocate (base/, growable buffers, glue): malloc with the same injection. */
void *avs_xalloc(size_t bytes);            /* zeroed, 64-byte aligned; only avs_xfree frees it    */
void *avs_xrealloc(void *p, size_t bytes); /* only for pointers from avs_xrealloc or NULL; free with free() */
void avs_xfree(void *p);                   /* only for pointers from avs_xalloc; accepts NULL     */

#endif
