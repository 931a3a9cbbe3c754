/* Stands in for libFuzzer: runs the entry point on every file of a folder and on seeded mutations of each, so that
 * every build repeats the same inputs. Usage: fuzz_NAME CORPUS [MUTATIONS]. An input that ends the process is
 * printed before, as file and mutation number. */
#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/hash.h"
#include "base/rng.h"

/* There in sanitized builds only. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

enum { GROWTH = 64, DEFAULT_MUTATIONS = 300 };

static char current[8192]; /* what the death notice says */

static void say_current(void)
{
    (void)avs_fs_full_write(STDERR_FILENO, current, strlen(current));
}

static void on_signal(int number)
{
    (void)
        number; /* SA_RESETHAND: the default action follows when the handler returns to abort() or the fault */
    say_current();
}

/* An exact-size heap copy, so that a read past the end is seen. */
static void run_one(const uint8_t *data, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy) abort();
    memcpy(copy, data, n);
    (void)LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

/* One to four edits: bit, byte, interesting byte, cut, removal, repetition of a piece, insertion of noise. */
static size_t mutate(avs_rng *r, uint8_t *p, size_t n)
{
    static const uint8_t interesting[] = {0, 1, 0x7f, 0x80, 0xff, '"', '{', '[', '\\', '-', '0', '9', ','};
    size_t cap = n + GROWTH;
    for (int64_t edits = avs_rng_range(r, 1, 4); edits > 0; edits--) {
        size_t at = n ? (size_t)avs_rng_range(r, 0, (int64_t)n - 1) : 0;
        size_t len = (size_t)avs_rng_range(r, 1, 16);
        if (len > n - at) len = n - at;
        switch (n ? avs_rng_range(r, 0, 6) : 6) {
        case 0:
            p[at] = (uint8_t)(p[at] ^ (1u << avs_rng_range(r, 0, 7)));
            break;
        case 1:
            p[at] = (uint8_t)avs_rng_u64(r);
            break;
        case 2:
            p[at] = interesting[avs_rng_range(r, 0, (int64_t)sizeof interesting - 1)];
            break;
        case 3:
            n = at;
            break;
        case 4:
            memmove(p + at, p + at + len, n - at - len);
            n -= len;
            break;
        case 5:
            if (n + len > cap) break;
            memmove(p + at + len, p + at, n - at);
            n += len;
            break;
        default:
            if (n + 4 > cap) break;
            memmove(p + at + 4, p + at, n - at);
            for (size_t i = 0; i < 4; i++) p[at + i] = (uint8_t)avs_rng_u64(r);
            n += 4;
            break;
        }
    }
    return n;
}

static int replay_file(const char *path, const char *name, long mutations)
{
    avs_buf file = AVS_BUF_INIT;
    avs_err e = AVS_ERR_INIT;
    if (avs_fs_read(path, 0, &file, &e) != AVS_OK) {
        (void)fprintf(stderr, "%s\n", e.msg);
        avs_buf_free(&file);
        return 1;
    }
    const uint8_t *data = (const uint8_t *)avs_buf_cstr(&file);
    (void)snprintf(current, sizeof current, "while running %s\n", path);
    run_one(data, file.len);
    /* The seed is the file's own name: a new file changes no other file's mutations. */
    avs_rng r = avs_rng_seed(avs_fnv1a64_str(name));
    uint8_t *work = malloc(file.len + GROWTH);
    if (!work) abort();
    for (long m = 0; m < mutations; m++) {
        memcpy(work, data, file.len);
        size_t n = mutate(&r, work, file.len);
        (void)snprintf(current, sizeof current, "while running mutation %ld of %s\n", m, path);
        run_one(work, n);
    }
    free(work);
    avs_buf_free(&file);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: %s CORPUS [MUTATIONS]\n", argv[0]);
        return 2;
    }
    long mutations = argc > 2 ? strtol(argv[2], NULL, 10) : DEFAULT_MUTATIONS;
    DIR *folder = opendir(argv[1]);
    if (!folder) {
        (void)fprintf(stderr, "%s: the corpus cannot be opened\n", argv[1]);
        return 2;
    }
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    (void)sigaction(SIGABRT, &act, NULL);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(say_current);
    else
        (void)sigaction(SIGSEGV, &act, NULL);
    int files = 0, failed = 0;
    for (const struct dirent *d; (d = readdir(folder));) {
        char path[4096];
        if (d->d_name[0] == '.') continue;
        (void)snprintf(path, sizeof path, "%s/%s", argv[1], d->d_name);
        failed += replay_file(path, d->d_name, mutations);
        files++;
    }
    (void)closedir(folder);
    (void)printf("%d files, %ld mutations of each\n", files, mutations);
    return failed || files == 0;
}
