/* The data commands: option parsing around data/. */
#include "workers/data_command.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "data/compose.h"
#include "data/dataset.h"
#include "data/index.h"

static const char help[] = "usage: avsweep data compose OUT [--settings ms3,s4,avss] [--classes N] [--size "
                           "PX] [--train N] [--val N] [--test N]\n"
                           "                            [--seed N] [--stamps DIR] [--list FILE] "
                           "[--backgrounds DIR]... [--threads N] [--replace]\n"
                           "       avsweep data index ROOT [--threads N]\n"
                           "       avsweep data list ROOT --task s4|ms3|avss [--split train|val|test]\n"
                           "       avsweep data check ROOT --task s4|ms3|avss [--threads N]\n";

static int fail(const avs_err *e)
{
    fprintf(stderr, "error: %s\n", e->msg);
    return 1;
}

static int usage(const char *what, const char *word)
{
    fprintf(stderr, "avsweep data: %s%s%s\n%s", what, word ? " " : "", word ? word : "", help);
    return 2;
}

static bool whole(const char *s, long long lo, long long hi, long long *v)
{
    char *end;
    errno = 0;
    *v = strtoll(s, &end, 10);
    return end != s && !*end && !errno && *v >= lo && *v <= hi;
}

static int compose(int argc, char **argv)
{
    avs_compose_cfg c = avs_compose_demo();
    avs_compose_info info = {0};
    avs_err e = AVS_ERR_INIT;
    const char *folders[16];
    long long v;
    const avs_log log = {.fd = STDERR_FILENO, .level = AVS_LOG_I};
    const struct {
        const char *name;
        int *to;
        long long lo, hi;
    } numbers[] = {{"--classes", &c.n_classes, 3, AVS_COMPOSE_MAX_CLASSES},
                   {"--size", &c.size, 16, 512},
                   {"--train", &c.n_clips[0], 0, 10000000},
                   {"--val", &c.n_clips[1], 0, 10000000},
                   {"--test", &c.n_clips[2], 0, 10000000},
                   {"--threads", &c.n_threads, 1, 256}};
    if (argc < 1 || argv[0][0] == '-') return usage("compose needs the folder to write", NULL);
    c.out = argv[0];
    c.log = &log;
    for (int i = 1; i < argc; i++) {
        const char *o = argv[i], *a = i + 1 < argc ? argv[i + 1] : NULL;
        bool taken = false;
        if (!strcmp(o, "--replace")) {
            c.replace = true;
            continue;
        }
        if (!a) return usage("no value after", o);
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
            if (strcmp(o, numbers[k].name) != 0) continue;
            if (!whole(a, numbers[k].lo, numbers[k].hi, &v)) return usage("not a whole number in range:", a);
            *numbers[k].to = (int)v;
            taken = true;
        }
        i++;
        if (taken) continue;
        if (!strcmp(o, "--settings")) {
            if (avs_compose_settings_parse(a, &c.settings, &e) != AVS_OK) return usage(e.msg, NULL);
        } else if (!strcmp(o, "--seed")) {
            if (!whole(a, 0, LLONG_MAX, &v)) return usage("not a seed:", a);
            c.seed = (uint64_t)v;
        } else if (!strcmp(o, "--stamps")) {
            c.stamps = a;
        } else if (!strcmp(o, "--list")) {
            c.list = a;
        } else if (!strcmp(o, "--backgrounds") && c.n_backgrounds < 16) {
            folders[c.n_backgrounds++] = a;
            c.backgrounds = folders;
        } else {
            return usage("unknown option", o);
        }
    }
    if (avs_compose(&c, &info, &e) != AVS_OK) return fail(&e);
    printf("%lld clips, %lld frames, %.1f MB in %s; mask %.1f %%, all objects %.1f %% of pixels, %.1f %% of "
           "frames empty\n",
           (long long)info.clips, (long long)info.frames, (double)info.bytes * 1e-6, c.out,
           100 * info.foreground, 100 * info.objects, 100 * info.empty);
    return 0;
}

typedef struct {
    const char *root;
    avs_task task;
    bool has_task, has_split;
    avs_split split;
    int threads;
} options;

static int parse(int argc, char **argv, options *o)
{
    long long v;
    avs_err e = AVS_ERR_INIT;
    *o = (options){.threads = (int)sysconf(_SC_NPROCESSORS_ONLN)};
    if (argc < 1 || argv[0][0] == '-') return usage("the data root is missing", NULL);
    o->root = argv[0];
    for (int i = 1; i < argc; i += 2) {
        const char *a = i + 1 < argc ? argv[i + 1] : NULL;
        if (!a) return usage("no value after", argv[i]);
        if (!strcmp(argv[i], "--threads") && whole(a, 1, 256, &v)) {
            o->threads = (int)v;
        } else if (!strcmp(argv[i], "--task") && avs_task_parse(a, &o->task, &e) == AVS_OK) {
            o->has_task = true;
        } else if (!strcmp(argv[i], "--split") && avs_split_parse(a, &o->split, &e) == AVS_OK) {
            o->has_split = true;
        } else {
            return usage("unknown option or value:", argv[i]);
        }
    }
    return 0;
}

static int index_root(const options *o)
{
    avs_index_info info;
    avs_err e = AVS_ERR_INIT;
    char hex[65];
    if (avs_data_index(o->root, o->threads, &info, &e) != AVS_OK) return fail(&e);
    avs_hex(info.fingerprint, 32, hex);
    printf("%lld files, %lld read, %.1f MB, fingerprint %s\n", (long long)info.n_files,
           (long long)info.n_hashed, (double)info.bytes * 1e-6, hex);
    return 0;
}

/* One split: list its clips, or read all of it. */
static int visit(const options *o, avs_split split, bool check)
{
    const avs_dataset_cfg dc = {
        .root = o->root, .task = o->task, .split = split, .height = 224, .width = 224};
    avs_dataset *ds;
    avs_err e = AVS_ERR_INIT;
    int64_t odd = 0;
    if (avs_dataset_open(&ds, &dc, &e) != AVS_OK) return fail(&e);
    const int n = avs_dataset_count(ds);
    int status = 0;
    if (check) {
        if (avs_dataset_check(ds, o->threads, &odd, &e) != AVS_OK)
            status = fail(&e);
        else
            printf("%s %s: %d clips, all files read; %lld mask files hold bytes other than 0 and 255\n",
                   avs_task_name(o->task), avs_split_name(split), n, (long long)odd);
    }
    for (int i = 0; !check && i < n; i++) {
        const avs_clip *c = avs_dataset_clip(ds, i);
        printf("%s\t%s\t%s\t%d\t%s\n", avs_split_name(split), c->group, c->name, c->n_frames, c->words);
    }
    avs_dataset_close(ds);
    return status;
}

int avs_data_command(int argc, char **argv)
{
    options o;
    if (argc < 1) return usage("which one? compose, index, list or check", NULL);
    if (!strcmp(argv[0], "--help") || !strcmp(argv[0], "help")) {
        (void)fputs(help, stdout);
        return 0;
    }
    if (!strcmp(argv[0], "compose")) return compose(argc - 1, argv + 1);
    const bool check = !strcmp(argv[0], "check");
    if (strcmp(argv[0], "index") != 0 && strcmp(argv[0], "list") != 0 && !check)
        return usage("unknown command", argv[0]);
    int status = parse(argc - 1, argv + 1, &o);
    if (status) return status;
    if (!strcmp(argv[0], "index")) return index_root(&o);
    if (!o.has_task) return usage("--task s4, ms3 or avss is needed", NULL);
    for (int s = AVS_SPLIT_TRAIN; s <= AVS_SPLIT_TEST && !status; s++)
        if (!o.has_split || o.split == (avs_split)s) status = visit(&o, (avs_split)s, check);
    return status;
}
