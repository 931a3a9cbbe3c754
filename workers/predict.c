/* Prediction from a checkpoint, whose metadata holds the configuration: on clips of a data set, or on any pictures with a
 * sound. For each frame NAME.mask.png (0/255, or class indices) and NAME.overlay.png at the network's size. Of several
 * checkpoints each has a folder of its own, and sheet.png shows their overlays side by side. */
#include "workers/predict.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "data/logmel.h"
#include "data/resample_image.h"
#include "data/wav.h"
#include "workers/checkpoint.h"
#include "workers/data.h"
#include "workers/net.h"
#include "workers/sheet.h"
#include "workers/side_by_side.h"
#include "workers/stage1.h"
#include "workers/start.h"

static const char help[] =
    "usage: avsweep predict CHECKPOINT.. --data ROOT [--split train|val|test] [--clips N] [--masks DIR] "
    "--out "
    "DIR\n"
    "       avsweep predict CHECKPOINT.. --pictures DIR --sound FILE [--masks DIR] --out DIR\n"
    "Several checkpoints: folders 1, 2, .. below DIR, and DIR/sheet.png with a column for each beside the "
    "frames.\n"
    "Pictures are taken in order of their names, one for each 0.96 s of the sound.\n"
    "--masks: what stage one of aavs predicted, for stage two; with pictures NAME.png or NAME.mask.png "
    "each.\n";

enum { MOST = 16 };

typedef struct {
    const char *checkpoints[MOST], *checkpoint, *data, *split, *pictures, *sound, *masks, *out;
    int clips, n_checkpoints;
    int column;             /* of the sheet, from 1; 0: there is none */
    avs_side_by_side *side; /* NULL: none */
} options;

typedef struct {
    avs_arena *arena;
    avs_cfg *cfg;
    avs_net net;
    int h, w;
    float mean[3], std[3];
    int out_h, out_w;     /* of predictions */
    uint8_t *rgb, *label; /* of all rows; pictures at the size of predictions */
    int rows;
    avs_stage1 masks; /* of the data set */
    avs_side_by_side *side;
    int column, side_row; /* side_row: of the sheet, of the next frame */
} predictor;

static int fail(const avs_err *e)
{
    fprintf(stderr, "error: %s\n", e->msg);
    return 1;
}

static int parse(int argc, char **argv, options *o)
{
    *o = (options){.split = "test", .clips = 16};
    for (int i = 0; i < argc; i++) {
        const char *a = i + 1 < argc ? argv[i + 1] : NULL;
        char *end;
        const struct {
            const char *name;
            const char **to;
        } texts[] = {{"--data", &o->data},   {"--split", &o->split}, {"--pictures", &o->pictures},
                     {"--sound", &o->sound}, {"--masks", &o->masks}, {"--out", &o->out}};
        if (argv[i][0] != '-' && o->n_checkpoints < MOST) {
            o->checkpoints[o->n_checkpoints++] = argv[i];
            continue;
        }
        bool taken = false;
        for (size_t k = 0; k < sizeof texts / sizeof *texts && a; k++)
            if (!strcmp(argv[i], texts[k].name)) {
                *texts[k].to = a;
                taken = true;
            }
        if (!taken && a && !strcmp(argv[i], "--clips")) {
            const long n = strtol(a, &end, 10);
            taken = end != a && !*end && n > 0 && n < 10000000;
            o->clips = (int)n;
        }
        if (!taken) {
            fprintf(stderr, "avsweep predict: '%s' is unknown or lacks its value\n%s", argv[i], help);
            return 2;
        }
        i++;
    }
    if (!o->n_checkpoints || !o->out || (o->data != NULL) == (o->pictures != NULL) ||
        (o->pictures && !o->sound)) {
        (void)fputs(help, stderr);
        return 2;
    }
    return 0;
}

static int open_predictor(predictor *p, const options *o, int rows, avs_err *e)
{
    avs_ckpt_info info;
    avs_json *given = NULL;
    avs_problem *problems = NULL;
    p->side = o->side;
    p->column = o->column;
    p->arena = avs_arena_new();
    if (!p->arena) return avs_fail(e, AVS_ENOMEM, "out of memory");
    int rc = avs_ckpt_read_info(p->arena, o->checkpoint, &info, e);
    if (rc == AVS_OK)
        rc = avs_json_parse(p->arena, o->checkpoint, info.config, strlen(info.config), &given, e);
    if (rc == AVS_OK && o->data) avs_json_add_str(p->arena, given, "data_root", o->data);
    if (rc == AVS_OK) rc = avs_cfg_resolve(p->arena, "train", given, &p->cfg, &problems, e);
    if (rc != AVS_OK)
        return problems ? avs_fail(e, rc, "%s: configuration: %s: %s", o->checkpoint, problems->key,
                                   problems->text)
                        : rc;
    avs_cfg_size(p->cfg, "resolution", &p->h, &p->w);
    avs_model_normalisation(p->cfg, p->mean, p->std);
    p->rows = rows;
    const avs_net_cfg nc = {.rows = rows, .height = p->h, .width = p->w, .seed = info.seed};
    rc = avs_net_open(&p->net, p->cfg, &nc, e);
    /* a frozen encoder is not in the checkpoint: training ran on its cached output */
    const char *frozen = NULL;
    int width;
    if (rc == AVS_OK && avs_model_frozen_audio(p->cfg, &frozen, &width))
        rc = avs_weights_start_audio(&p->net, p->cfg, e);
    if (rc == AVS_OK) rc = avs_ckpt_load(p->net.plan, NULL, NULL, p->arena, NULL, o->checkpoint, frozen, e);
    p->out_h = p->net.label_h;
    p->out_w = p->net.label_w;
    const size_t pixels = (size_t)p->h * (size_t)p->w, out = (size_t)p->out_h * (size_t)p->out_w;
    p->rgb = avs_xalloc(3 * (size_t)rows * (pixels > out ? pixels : out));
    p->label = avs_xalloc((size_t)rows * out);
    return rc == AVS_OK && (!p->rgb || !p->label) ? avs_fail(e, AVS_ENOMEM, "out of memory for pictures")
                                                  : rc;
}

static void close_predictor(predictor *p)
{
    avs_net_close(&p->net);
    avs_xfree(p->rgb);
    avs_xfree(p->label);
    avs_arena_free(p->arena);
}

/* Runs the net and writes both pictures of the first n rows; names[i] is the file stem below out. */
static int run_and_write(predictor *p, const char *out, char *const *names, int n, avs_err *e)
{
    const int64_t pixels = (int64_t)p->out_h * p->out_w;
    avs_type t;
    int rc = avs_plan_run(p->net.plan, e);
    const float *logits = avs_plan_output(p->net.plan, "logits", &t);
    for (int i = 0; i < n && rc == AVS_OK; i++) {
        char path[4096];
        uint8_t *label = p->label + i * pixels, *rgb = p->rgb + i * pixels * 3;
        avs_label_of_logits(logits + i * pixels * p->net.classes, pixels, p->net.classes, label);
        if (p->side && p->column == 1) rc = avs_side_put(p->side, p->side_row, 0, rgb, p->out_w, p->out_h, e);
        avs_overlay(rgb, label, pixels, p->net.is_binary);
        if (p->side && rc == AVS_OK)
            rc = avs_side_put(p->side, p->side_row++, p->column, rgb, p->out_w, p->out_h, e);
        if (rc != AVS_OK) break;
        if (p->net.is_binary)
            for (int64_t k = 0; k < pixels; k++) label[k] = label[k] ? 255 : 0;
        snprintf(path, sizeof path, "%s/%s.mask.png", out, names[i]);
        rc =
            avs_png_write(path, &(avs_image){.px = label, .w = p->out_w, .h = p->out_h, .channels = 1}, 6, e);
        snprintf(path, sizeof path, "%s/%s.overlay.png", out, names[i]);
        if (rc == AVS_OK)
            rc = avs_png_write(path, &(avs_image){.px = rgb, .w = p->out_w, .h = p->out_h, .channels = 3}, 6,
                               e);
    }
    return rc;
}

/* Brings the pictures of all rows from the size of the network's input to that of predictions. */
static int shrink_pictures(predictor *p, avs_err *e)
{
    const int64_t from = (int64_t)p->h * p->w * 3, to = (int64_t)p->out_h * p->out_w * 3;
    if (p->h == p->out_h && p->w == p->out_w) return AVS_OK;
    const bool grows = to > from;
    int rc = AVS_OK;
    for (int i = 0; i < p->rows && rc == AVS_OK; i++) {
        const int r = grows ? p->rows - 1 - i : i; /* never over a picture that is still to be read */
        const avs_image in = {.px = p->rgb + r * from, .w = p->w, .h = p->h, .channels = 3};
        avs_image fit = AVS_IMAGE_INIT;
        rc = avs_resize_bilinear(&fit, &in, p->out_w, p->out_h, e);
        if (rc == AVS_OK) memcpy(p->rgb + r * to, fit.px, (size_t)to);
        avs_image_free(&fit);
    }
    return rc;
}

/* ------------------------------------------------------------------ clips of a data set */

static int predict_clip(predictor *p, const avs_dataset *ds, int i, const char *out, avs_err *e)
{
    const avs_clip *c = avs_dataset_clip(ds, i);
    char *names[AVS_CLIP_MAX_FRAMES];
    int rc = avs_clip_load(
        ds, i, &(avs_pick){.n = p->rows},
        &(avs_clip_out){.frames = p->net.frames, .frames_u8 = p->rgb, .logmel = p->net.audio}, e);
    if (rc == AVS_OK) rc = shrink_pictures(p, e);
    if (rc == AVS_OK && p->net.stage1_mask)
        rc = avs_stage1_load(&p->masks, i, &(avs_pick){.n = p->rows}, p->net.stage1_mask, e);
    for (int t = 0; t < p->rows && p->net.frame_mask; t++)
        p->net.frame_mask[t] = c->frame_mask[t] ? 1.F : 0.F;
    for (int t = 0; t < c->n_frames && rc == AVS_OK; t++) {
        names[t] = avs_arena_fmt(p->arena, "%s%s%s/%s_%d", c->group, c->group[0] ? "/" : "", c->name, c->name,
                                 t + 1);
        if (!names[t]) rc = avs_fail(e, AVS_ENOMEM, "out of memory");
    }
    return rc == AVS_OK ? run_and_write(p, out, names, c->n_frames, e) : rc;
}

static int predict_data(const options *o, avs_err *e)
{
    predictor p = {0};
    avs_dataset *ds = NULL;
    avs_split split = AVS_SPLIT_TEST;
    avs_task task = AVS_TASK_MS3;
    avs_ckpt_info info;
    avs_json *given = NULL;
    avs_arena *a = avs_arena_new();
    int rc = a ? avs_split_parse(o->split, &split, e) : avs_fail(e, AVS_ENOMEM, "out of memory");
    if (rc == AVS_OK) rc = avs_ckpt_read_info(a, o->checkpoint, &info, e);
    if (rc == AVS_OK) rc = avs_json_parse(a, o->checkpoint, info.config, strlen(info.config), &given, e);
    if (rc == AVS_OK) rc = avs_task_parse(avs_json_str(given, "task", "s4"), &task, e);
    if (rc == AVS_OK) rc = open_predictor(&p, o, avs_task_frames(task), e);
    if (rc == AVS_OK) {
        avs_dataset_cfg dc = {.root = o->data,
                              .task = task,
                              .split = split,
                              .height = p.h,
                              .width = p.w,
                              .label_height = p.out_h,
                              .label_width = p.out_w,
                              .stretch = avs_cfg_is(p.cfg, "model", "aavs")};
        memcpy(dc.mean, p.mean, sizeof dc.mean);
        memcpy(dc.std, p.std, sizeof dc.std);
        rc = avs_dataset_open(&ds, &dc, e);
    }
    if (rc == AVS_OK && p.net.stage1_mask) rc = avs_stage1_open(&p.masks, p.cfg, ds, o->masks, e);
    const int n = rc == AVS_OK ? avs_dataset_count(ds) : 0, count = n < o->clips ? n : o->clips;
    for (int i = 0; i < count && rc == AVS_OK; i++) rc = predict_clip(&p, ds, i, o->out, e);
    if (rc == AVS_OK) printf("%d clips of %s predicted into %s\n", count, o->split, o->out);
    avs_dataset_close(ds);
    close_predictor(&p);
    avs_arena_free(a);
    return rc;
}

/* ------------------------------------------------------------------ any pictures with a sound */

static int is_picture(const struct dirent *d)
{
    const char *dot = strrchr(d->d_name, '.');
    return d->d_name[0] != '.' && dot &&
           (!strcasecmp(dot, ".png") || !strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"));
}

static int read_picture(predictor *p, const char *path, int row, avs_err *e)
{
    avs_image in = AVS_IMAGE_INIT, fit = AVS_IMAGE_INIT;
    const int64_t pixels = (int64_t)p->h * p->w;
    int rc = avs_image_read(&in, AVS_PX_RGB, path, e);
    if (rc == AVS_OK) rc = avs_resize_bilinear(&fit, &in, p->w, p->h, e);
    if (rc == AVS_OK) {
        /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): there for every predictor of pictures */
        memcpy(p->rgb + row * pixels * 3, fit.px, (size_t)(3 * pixels));
        avs_normalise(fit.px, pixels, p->mean, p->std, p->net.frames + row * pixels * 3);
    }
    avs_image_free(&in);
    avs_image_free(&fit);
    return rc;
}

/* Mask of picture NAME for row `row`. */
static int read_mask(predictor *p, const char *dir, const char *name, int row, avs_err *e)
{
    char path[4096];
    if (!p->net.stage1_mask) return AVS_OK;
    if (!dir)
        return avs_fail(e, AVS_EMISSING,
                        "this is a stage two: --masks must name the folder of stage one's masks");
    snprintf(path, sizeof path, "%s/%s.png", dir, name);
    if (!avs_fs_exists(path)) snprintf(path, sizeof path, "%s/%s.mask.png", dir, name);
    return avs_stage1_read(path, p->out_h, p->out_w, p->net.stage1_mask + (int64_t)row * p->out_h * p->out_w,
                           e);
}

static int predict_pictures(const options *o, avs_err *e)
{
    predictor p = {0};
    avs_sound sound = {0};
    struct dirent **list = NULL;
    const int n = scandir(o->pictures, &list, is_picture, alphasort);
    int rc = n > 0 ? AVS_OK
                   : avs_fail(e, AVS_EMISSING, "%s: %s", o->pictures,
                              n < 0 ? strerror(errno) : "holds no PNG or JPEG picture");
    char **names = n > 0 ? avs_xalloc(sizeof *names * (size_t)n) : NULL;
    if (rc == AVS_OK && !names) rc = avs_fail(e, AVS_ENOMEM, "out of memory");
    if (rc == AVS_OK) rc = open_predictor(&p, o, n, e);
    if (rc == AVS_OK) rc = avs_sound_read(&sound, o->sound, e);
    if (rc == AVS_OK && p.net.audio &&
        (rc = avs_logmel_clip(&sound, n, AVS_MEL_REPEAT, p.net.audio, e)) != AVS_OK)
        avs_ctx(e, "%s", o->sound);
    for (int i = 0; i < n && rc == AVS_OK; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", o->pictures, list[i]->d_name);
        rc = read_picture(&p, path, i, e);
        names[i] = avs_arena_str(p.arena, list[i]->d_name);
        if (names[i] && strrchr(names[i], '.')) *strrchr(names[i], '.') = 0;
        if (rc == AVS_OK && !names[i]) rc = avs_fail(e, AVS_ENOMEM, "out of memory");
        if (rc == AVS_OK) rc = read_mask(&p, o->masks, names[i], i, e);
    }
    if (rc == AVS_OK) rc = shrink_pictures(&p, e);
    if (rc == AVS_OK) rc = run_and_write(&p, o->out, names, n, e);
    if (rc == AVS_OK) printf("%d pictures predicted into %s\n", n, o->out);
    for (int i = 0; i < n; i++) free(list[i]);
    free(list);
    avs_xfree(names);
    avs_sound_free(&sound);
    close_predictor(&p);
    return rc;
}

static int predict_one(options *o, const char *checkpoint, avs_err *e)
{
    o->checkpoint = checkpoint;
    return o->data ? predict_data(o, e) : predict_pictures(o, e);
}

static int predict_several(const options *o, avs_err *e)
{
    avs_side_by_side side;
    char path[4096];
    int rc = avs_side_open(&side, 1 + o->n_checkpoints, e);
    for (int i = 0; i < o->n_checkpoints && rc == AVS_OK; i++) {
        options own = *o;
        own.side = &side;
        own.column = i + 1;
        snprintf(path, sizeof path, "%s/%d", o->out, i + 1);
        own.out = path;
        rc = predict_one(&own, o->checkpoints[i], e);
    }
    snprintf(path, sizeof path, "%s/sheet.png", o->out);
    if (rc == AVS_OK) rc = avs_side_write(&side, path, e);
    for (int i = 0; i < o->n_checkpoints && rc == AVS_OK; i++)
        printf("%s: column %d: %s\n", path, i + 2, o->checkpoints[i]);
    avs_side_close(&side);
    return rc;
}

int avs_predict_command(int argc, char **argv)
{
    options o;
    avs_err e = AVS_ERR_INIT;
    if (argc > 0 && (!strcmp(argv[0], "--help") || !strcmp(argv[0], "help"))) {
        (void)fputs(help, stdout);
        return 0;
    }
    const int status = parse(argc, argv, &o);
    if (status) return status;
    const int rc = o.n_checkpoints > 1 ? predict_several(&o, &e) : predict_one(&o, o.checkpoints[0], &e);
    return rc == AVS_OK ? 0 : fail(&e);
}
