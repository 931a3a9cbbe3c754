/* Training: seeded batches through forward and backward, gradient mean over ranks, AdamW over the slab, validation that
 * selects a checkpoint, and the final scores of the selected one on the test split. Parameters, gradients and the
 * optimiser's state stay where the plan has its slabs, on a device if it has one; gradients of several ranks go over the
 * table of workers/comm.h, while the backward still runs if a step is one pass.
 *
 * Everything that happens at a step is a function of (seed, step): a run that was stopped and resumed from last.safetensors
 * gives the bits of one that was not. */
#include "workers/trial.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/rng.h"
#include "engine/graph/ops.h"
#include "engine/optim/adamw.h"
#include "workers/checkpoint.h"
#include "workers/comm.h"
#include "workers/data.h"
#include "workers/init.h"
#include "workers/report_trial.h"
#include "workers/sampler.h"
#include "workers/schedule.h"
#include "workers/stage1.h"
#include "workers/start.h"

enum { LOADER_SLOTS = 4, POINT_EVERY = 10 };

typedef struct {
    avs_trial *t;
    const avs_cfg *cfg;
    avs_dataset *train, *val;
    avs_features train_features, val_features;
    bool features;
    avs_net net;
    avs_evaluator ev;
    bool has_ev;
    avs_sampler sampler;
    avs_loader *loader;
    avs_stage1 masks, val_masks; /* of stage one, for stage two */
    avs_schedule schedule;
    int phase;
    int64_t phase2_from; /* step at which phase two begins; steps: never */
    avs_opt_segment *seg;
    int n_seg, backbone_segs_from;
    float *grad, *m, *v, *sum; /* slabs, where the plan's lie; sum: over passes, NULL with one pass */
    avs_comm *comm;            /* mean of gradients over ranks; NULL with one rank */
    int64_t n;                 /* elements of a slab */
    int64_t steps, steps_per_epoch, pushed; /* pushed: passes handed to the loader since start_pass */
    int samples_per_pass, passes;
    int *counted; /* real frames of each pushed item, a ring of LOADER_SLOTS passes */
    avs_ckpt_info info;
    char last[4096], previous[4096], best[4096], phase1[4096], clock_path[4096];
    const char *from; /* last or previous, where the run goes on; NULL: from the start */
    double train_seconds;
    int64_t wait_ns, step_ns; /* of this process, without its first step: waiting for a batch, steps in all */
    int64_t saved_ns;
} trainer;

/* ------------------------------------------------------------------ set-up */

static int plan_steps(trainer *r, avs_err *e)
{
    const int ranks = r->t->job->ranks, micro = (int)avs_cfg_int(r->cfg, "micro_batch");
    const int per_rank = r->sampler.batch / ranks;
    r->samples_per_pass = micro > 0 ? micro : per_rank;
    if (per_rank * ranks != r->sampler.batch || per_rank < 1 || per_rank % r->samples_per_pass)
        return avs_fail(e, AVS_ERANGE, "batch %d is not a multiple of %d ranks times micro_batch %d",
                        r->sampler.batch, ranks, r->samples_per_pass);
    r->passes = per_rank / r->samples_per_pass;
    const int64_t fixed = avs_cfg_int(r->cfg, "steps"), epochs = avs_cfg_int(r->cfg, "epochs");
    r->steps_per_epoch = (r->sampler.n_samples + r->sampler.batch - 1) / r->sampler.batch;
    r->steps = fixed > 0 ? fixed : (epochs * r->sampler.n_samples + r->sampler.batch - 1) / r->sampler.batch;
    r->schedule = avs_schedule_of(r->cfg, r->steps, r->steps_per_epoch);
    r->phase2_from = r->steps;
    if (avs_model_has_phases(r->cfg)) {
        const double share = avs_cfg_num(r->cfg, "phase2_start");
        r->phase2_from = fixed > 0 ? (int64_t)(share * (double)fixed + 1e-6)
                                   : (int64_t)(share * (double)epochs + 1e-6) * r->steps_per_epoch;
    }
    return AVS_OK;
}

/* The phase of the net in which a run goes on after `step` steps: a switch is made before the first step of phase two. */
static int phase_after(const trainer *r, int64_t step)
{
    return r->phase2_from < r->steps && step > r->phase2_from ? 2 : 1;
}

static int make_segments(trainer *r, avs_err *e)
{
    const int n = avs_plan_n_params(r->net.plan);
    const float wd = (float)avs_cfg_num(r->cfg, "weight_decay");
    const bool all = avs_cfg_bool(r->cfg, "decay_norm_and_bias");
    r->n_seg = 0;
    r->seg = avs_arena_alloc(r->t->job->arena, sizeof *r->seg * (size_t)n);
    if (!r->seg) return avs_fail(e, AVS_ENOMEM, "out of memory for the optimiser");
    for (int i = 0; i < n; i++) {
        const avs_plan_param *p = avs_plan_param_at(r->net.plan, i);
        if (!p->is_trainable) continue;
        r->seg[r->n_seg++] = (avs_opt_segment){.off = p->slab_off,
                                               .len = p->slab_len,
                                               .lr_mult = 1.F,
                                               .weight_decay = all || p->type.rank > 1 ? wd : 0.F};
    }
    return AVS_OK;
}

/* Optimiser state of the net in r->net, whose plan owns it, and the ranks' table for its gradients. */
static int open_slabs(trainer *r, avs_err *e)
{
    r->grad = avs_plan_slab(r->net.plan, AVS_SLAB_GRAD, &r->n);
    r->m = avs_plan_slab_new(r->net.plan, e);
    r->v = r->m ? avs_plan_slab_new(r->net.plan, e) : NULL;
    r->sum = r->v && r->passes > 1 ? avs_plan_slab_new(r->net.plan, e) : NULL;
    if (!r->v || (r->passes > 1 && !r->sum)) return AVS_ENOMEM;
    int rc = avs_comm_open(&r->comm, r->t->ring, r->t->job->rank, r->t->job->ranks, r->net.plan, e);
    if (rc == AVS_OK && r->comm && !r->sum) avs_plan_on_bucket(r->net.plan, avs_comm_bucket, r->comm);
    if (rc == AVS_OK && r->comm) avs_plan_on_sum(r->net.plan, avs_comm_sum, r->comm);
    return rc == AVS_OK ? make_segments(r, e) : rc;
}

static void close_net(trainer *r)
{
    avs_comm_close(r->comm);
    avs_net_close(&r->net);
    r->comm = NULL;
    r->grad = r->m = r->v = r->sum = NULL;
}

/* The net that trains what trains in r->phase, with initial values. */
static int open_net(trainer *r, avs_err *e)
{
    int h, w;
    avs_cfg_size(r->cfg, "resolution", &h, &w);
    const avs_net_cfg nc = {.rows = r->samples_per_pass * r->sampler.rows_per_sample,
                            .clip_rows = r->sampler.rows_per_sample,
                            .height = h,
                            .width = w,
                            .training = true,
                            .phase = r->phase,
                            .features = r->features,
                            .seed = r->t->job->seed};
    return avs_net_open(&r->net, r->cfg, &nc, e);
}

/* Adapters that act from phase two on: nothing in phase one, their initial values when it begins. */
static int set_late_adapters(trainer *r, bool zero, avs_err *e)
{
    int rc = AVS_OK;
    if (!avs_model_has_phases(r->cfg) || !avs_cfg_is(r->cfg, "backbone_adapter", "phase2")) return AVS_OK;
    for (int i = 0; rc == AVS_OK && i < avs_plan_n_params(r->net.plan); i++) {
        const avs_plan_param *p = avs_plan_param_at(r->net.plan, i);
        if (!strstr(p->key, "swin_adapt")) continue;
        float *x = avs_xalloc((size_t)avs_type_count(&p->type) * sizeof(float));
        if (!x) return avs_fail(e, AVS_ENOMEM, "out of memory for %s", p->key);
        if (!zero)
            avs_init_fill(&r->net.graph->v[avs_graph_find(r->net.graph, p->key)].init, &p->type,
                          avs_stream_seed(r->t->job->seed, "init"), p->key, x);
        rc = avs_plan_param_set(r->net.plan, p->key, x, e);
        avs_xfree(x);
    }
    return rc;
}

static int open_nets(trainer *r, avs_err *e)
{
    const char *prefix;
    int width = 0;
    const avs_job *job = r->t->job;
    r->features = avs_model_frozen_audio(r->cfg, &prefix, &width);
    int rc = open_net(r, e);
    if (rc == AVS_OK && r->features) {
        /* the features' encoder is a model of its own: its weights start the same way in every net */
        avs_features_source from = {.cfg = r->cfg, .seed = job->seed};
        rc = avs_features_open(&r->train_features, r->train, &from, job->cache_dir, e);
        if (rc == AVS_OK && avs_dataset_count(r->val))
            rc = avs_features_open(&r->val_features, r->val, &from, job->cache_dir, e);
        avs_features_source_close(&from);
    }
    if (rc == AVS_OK) rc = avs_weights_start(&r->net, r->cfg, e);
    if (rc == AVS_OK) rc = set_late_adapters(r, true, e);
    if (rc == AVS_OK && r->net.stage1_mask) rc = avs_stage1_open(&r->masks, r->cfg, r->train, NULL, e);
    if (rc == AVS_OK && job->rank == 0 && avs_dataset_count(r->val)) {
        rc = avs_evaluator_open(&r->ev, r->cfg, r->val, r->features, job->seed, &r->t->control, e);
        r->has_ev = rc == AVS_OK;
        if (rc == AVS_OK && r->ev.net.stage1_mask)
            rc = avs_stage1_open(&r->val_masks, r->cfg, r->val, NULL, e);
        r->ev.masks = &r->val_masks;
    }
    return rc;
}

/* ------------------------------------------------------------------ phase two */

/* The file that holds the best weights so far: best.safetensors, or, if a run that was stopped later wrote that, the copy
 * that is made here. Empty: nothing was selected yet. */
static int best_so_far(trainer *r, const char **path, avs_err *e)
{
    avs_ckpt_info found = {0};
    avs_err why = AVS_ERR_INIT;
    *path = NULL;
    if (r->info.best_step < 0) return AVS_OK;
    const char *const files[2] = {r->best, r->phase1};
    for (int i = 0; i < 2 && !*path; i++)
        if (avs_fs_exists(files[i]) &&
            avs_ckpt_read_info(r->t->job->arena, files[i], &found, &why) == AVS_OK &&
            found.step == r->info.best_step)
            *path = files[i];
    return *path ? AVS_OK
                 : avs_fail(e, AVS_EMISSING,
                            "%s of step %lld is gone, from which phase two starts; remove %s to start anew",
                            r->best, (long long)r->info.best_step, r->last);
}

/* Ends phase one: a net in which the backbone's adapters train too, from the best weights so far, and a new optimiser. */
static int begin_phase2(trainer *r, avs_err *e)
{
    const char *from;
    char *kept = r->phase1;
    int rc = best_so_far(r, &from, e);
    if (rc == AVS_OK && (!from || from != kept)) { /* a copy, which later validations do not replace */
        avs_ckpt_info info = r->info;
        if (from) rc = avs_ckpt_load(r->net.plan, NULL, NULL, r->t->job->arena, &info, from, NULL, e);
        if (rc == AVS_OK && r->t->job->rank == 0) rc = avs_ckpt_save(r->net.plan, NULL, NULL, &info, kept, e);
    }
    if (rc == AVS_OK) rc = avs_ring_barrier(r->t->ring, e);
    if (rc != AVS_OK) return rc;
    close_net(r);
    r->phase = 2;
    rc = open_net(r, e);
    if (rc == AVS_OK) rc = avs_ckpt_load(r->net.plan, NULL, NULL, r->t->job->arena, NULL, kept, NULL, e);
    if (rc == AVS_OK) rc = set_late_adapters(r, false, e);
    return rc == AVS_OK ? open_slabs(r, e) : rc;
}

static int open_loader(trainer *r, avs_err *e)
{
    r->counted = avs_xalloc(sizeof(int) * LOADER_SLOTS * (size_t)r->samples_per_pass);
    if (!r->counted) return avs_fail(e, AVS_ENOMEM, "out of memory for a batch");
    const avs_loader_cfg lc = {.ds = r->train,
                               .n_threads = 1,
                               .n_slots = LOADER_SLOTS,
                               .max_rows = r->samples_per_pass * r->sampler.rows_per_sample,
                               .want_frames = true,
                               .want_logmel = !r->features && r->net.audio,
                               .want_target = r->net.target_f32 != NULL,
                               .want_classes = r->net.target_i32 != NULL};
    return avs_loader_new(&r->loader, &lc, e);
}

static double read_clock(const char *path)
{
    avs_buf b = AVS_BUF_INIT;
    double s = 0;
    if (avs_fs_exists(path) && avs_fs_read(path, 64, &b, NULL) == AVS_OK) s = strtod(avs_buf_cstr(&b), NULL);
    avs_buf_free(&b);
    return s;
}

static int resume(trainer *r, avs_err *e)
{
    const avs_job *job = r->t->job;
    avs_buf config = AVS_BUF_INIT;
    avs_json_write(&config, avs_cfg_identity_json(r->cfg), true);
    r->info = (avs_ckpt_info){.best_step = -1,
                              .seed = job->seed,
                              .trial = job->trial,
                              .config = avs_arena_str(job->arena, avs_buf_cstr(&config))};
    avs_buf_free(&config);
    if (!r->from) return AVS_OK;
    avs_ckpt_info found = {0};
    avs_err why = AVS_ERR_INIT;
    int rc = avs_ckpt_load(r->net.plan, r->m, r->v, job->arena, &found, r->from, NULL, &why);
    if (rc != AVS_OK) { /* a damaged checkpoint costs the work since, never the trial */
        fprintf(stderr, "warning: starting anew: %s\n", why.msg);
        if (r->phase != 1) return avs_fail(e, AVS_EPARSE, "%s; remove it to start anew", why.msg);
        rc = avs_plan_slab_clear(r->net.plan, r->m, 0, r->n, e);
        if (rc == AVS_OK) rc = avs_plan_slab_clear(r->net.plan, r->v, 0, r->n, e);
        if (rc == AVS_OK) rc = avs_init_again(&r->net, job->seed, e);
        if (rc == AVS_OK) rc = avs_weights_start(&r->net, r->cfg, e);
        return rc == AVS_OK ? set_late_adapters(r, true, e) : rc;
    }
    if (found.seed != job->seed || strcmp(found.config, r->info.config) != 0)
        return avs_fail(e, AVS_EPARSE,
                        "%s belongs to another trial (seed %llu); give this one a work_dir of its own",
                        r->from, (unsigned long long)found.seed);
    r->info.step = found.step;
    r->info.best_step = found.best_step;
    r->info.best_value = found.best_value;
    r->train_seconds = read_clock(r->clock_path);
    avs_control_resumed(&r->t->control, r->from, found.step);
    return AVS_OK;
}

/* ------------------------------------------------------------------ steps */

static int push_pass(trainer *r, int64_t pass_number, avs_err *e)
{
    const int n = r->samples_per_pass, per_rank = n * r->passes;
    const int64_t step = pass_number / r->passes;
    const int first = r->t->job->rank * per_rank + (int)(pass_number % r->passes) * n;
    avs_loader_item *items = avs_xalloc(sizeof *items * (size_t)n);
    if (!items) return avs_fail(e, AVS_ENOMEM, "out of memory for a batch");
    avs_sampler_items(&r->sampler, step, first, n, items, r->counted + pass_number % LOADER_SLOTS * n);
    int rc = avs_loader_push(r->loader, items, n, e);
    avs_xfree(items);
    return rc;
}

/* Keeps the loader's queue full up to the last pass. */
static int feed(trainer *r, int64_t pass_number, avs_err *e)
{
    int rc = AVS_OK;
    const int64_t end = r->steps * r->passes;
    while (rc == AVS_OK && r->pushed < end && r->pushed < pass_number + LOADER_SLOTS - 1)
        rc = push_pass(r, r->pushed++, e);
    return rc;
}

/* Targets of a batch at the size of the input, from labels of theirs: nearest at pixel centres, as Pillow. Masks of several
 * classes become one foreground where the model tells no classes apart. */
static void fill_targets(trainer *r, const avs_batch *b)
{
    const int64_t H = r->net.build.height, W = r->net.build.width, h = r->net.label_h, w = r->net.label_w;
    const bool is_same = H == h && W == w, is_binary = r->net.is_binary;
    for (int64_t row = 0; row < b->n_rows; row++)
        for (int64_t y = 0; y < H; y++) {
            const int64_t sy = is_same ? y : (2 * y + 1) * h / (2 * H), from = (row * h + sy) * w,
                          to = (row * H + y) * W;
            for (int64_t x = 0; x < W; x++) {
                const int64_t at = from + (is_same ? x : (2 * x + 1) * w / (2 * W));
                if (r->net.target_f32) r->net.target_f32[to + x] = b->target[at];
                if (r->net.target_i32)
                    r->net.target_i32[to + x] = is_binary ? b->classes[at] != 0 : b->classes[at];
            }
        }
}

static int fill_masks(trainer *r, const avs_batch *b, avs_err *e)
{
    const int64_t pixels = (int64_t)r->net.label_h * r->net.label_w;
    int64_t row = 0;
    int rc = AVS_OK;
    for (int i = 0; r->net.stage1_mask && i < b->n_items && rc == AVS_OK; i++) {
        const avs_loader_item *item = &b->items[i];
        const avs_pick pick = {.n = item->n, .frames = item->frames, .flip = item->flip};
        rc = avs_stage1_load(&r->masks, item->clip, &pick, r->net.stage1_mask + row * pixels, e);
        row += item->n;
    }
    return rc;
}

/* The recipe of aavs for clips of which the first frame alone has a label: that frame and its label stand in every row,
 * each with the sound of another second. first: row of the first frame. */
static void repeat_first(trainer *r, int64_t first, int64_t row)
{
    const int64_t pixels = (int64_t)r->net.build.height * r->net.build.width,
                  label = (int64_t)r->net.label_h * r->net.label_w;
    memcpy(r->net.frames + row * pixels * 3, r->net.frames + first * pixels * 3,
           (size_t)(pixels * 3) * sizeof(float));
    if (r->net.target_i32)
        memcpy(r->net.target_i32 + row * pixels, r->net.target_i32 + first * pixels,
               (size_t)pixels * sizeof(int32_t));
    if (r->net.stage1_mask)
        memcpy(r->net.stage1_mask + row * label, r->net.stage1_mask + first * label,
               (size_t)label * sizeof(float));
    r->net.row_weight[row] = 1.F;
}

static int fill_inputs(trainer *r, const avs_batch *b, const int *counted, avs_err *e)
{
    const int64_t pixels = (int64_t)r->net.build.height * r->net.build.width, rows = b->n_rows;
    const bool repeats = avs_model_has_phases(r->cfg);
    memcpy(r->net.frames, b->frames, (size_t)(rows * pixels * 3) * sizeof(float));
    fill_targets(r, b);
    const int rc = fill_masks(r, b, e);
    if (rc != AVS_OK) return rc;
    if (r->net.audio && !r->features)
        memcpy(r->net.audio, b->logmel, (size_t)(rows * r->net.audio_width) * sizeof(float));
    int64_t row = 0;
    for (int i = 0; i < b->n_items; i++) {
        const avs_clip *clip = avs_dataset_clip(r->train, b->items[i].clip);
        const int64_t first = row;
        int labels = 0;
        for (int t = 0; t < clip->T; t++) labels += clip->label_mask[t];
        for (int k = 0; k < b->items[i].n; k++, row++) {
            const bool exists = k < counted[i] && b->frame_weight[row] > 0.F;
            r->net.row_weight[row] = k < counted[i] ? b->row_weight[row] : 0.F;
            if (r->net.frame_mask) { /* a frame that does not exist is a black picture and a silent row */
                r->net.frame_mask[row] = exists ? 1.F : 0.F;
                if (!exists)
                    memset(r->net.frames + row * pixels * 3, 0, (size_t)(pixels * 3) * sizeof(float));
            }
            if (r->features && r->net.audio)
                memcpy(r->net.audio + row * r->net.audio_width,
                       avs_features_at(&r->train_features, b->items[i].sound, b->items[i].frames[k]),
                       (size_t)r->net.audio_width * sizeof(float));
            if (repeats && labels == 1 && k && exists && b->items[i].frames[0] == 0)
                repeat_first(r, first, row);
        }
    }
    return AVS_OK;
}

static int run_pass(trainer *r, int64_t step, int64_t pass_number, double *loss, avs_err *e)
{
    const avs_batch *b;
    avs_type t;
    int rc = feed(r, pass_number, e);
    const int64_t t0 = avs_now_ns();
    if (rc == AVS_OK) rc = avs_loader_next(r->loader, &b, e);
    if (rc != AVS_OK) return rc;
    r->wait_ns += avs_now_ns() - t0;
    rc = fill_inputs(r, b, r->counted + pass_number % LOADER_SLOTS * r->samples_per_pass, e);
    if (rc != AVS_OK) return rc;
    const int64_t first =
        (step * r->sampler.batch + (int64_t)r->t->job->rank * r->samples_per_pass * r->passes +
         pass_number % r->passes * r->samples_per_pass) *
        r->sampler.rows_per_sample;
    avs_plan_set_step(r->net.plan, step, first);
    rc = avs_plan_run(r->net.plan, e);
    if (rc != AVS_OK) return rc;
    const float *value = avs_plan_output(r->net.plan, "loss", &t);
    if (!value) return avs_fail(e, AVS_ECUDA, "the loss could not be read from the device");
    *loss += (double)value[0] / r->passes;
    return r->sum ? avs_plan_slab_add(r->net.plan, r->grad, r->sum, pass_number % r->passes != 0, e) : AVS_OK;
}

/* The backbone stands still in the first epochs and counts its own steps from then on (docs/models.md). What stands still
 * is no part of the gradient's norm either. */
static int freeze_backbone(trainer *r, int64_t step, float *g, avs_err *e)
{
    const int64_t until = avs_cfg_int(r->cfg, "freeze_backbone_epochs") * r->steps_per_epoch;
    const avs_model_rule *rule = avs_model_find(avs_cfg_str(r->cfg, "model"));
    int s = 0, rc = AVS_OK;
    if (until < 1 || !rule->backbone_prefix) return AVS_OK;
    for (int i = 0; i < avs_plan_n_params(r->net.plan) && rc == AVS_OK; i++) {
        const avs_plan_param *p = avs_plan_param_at(r->net.plan, i);
        if (!p->is_trainable) continue;
        avs_opt_segment *q = &r->seg[s++];
        if (!avs_model_is_backbone(rule, p->key)) continue;
        q->lr_mult = step < until ? 0.F : 1.F;
        q->idle = until;
        if (step < until) rc = avs_plan_slab_clear(r->net.plan, g, q->off, q->len, e);
    }
    return rc;
}

static int one_step(trainer *r, int64_t step, double *loss, avs_err *e)
{
    int rc = AVS_OK;
    *loss = 0;
    if (r->phase == 1 && step >= r->phase2_from) rc = begin_phase2(r, e);
    for (int p = 0; p < r->passes && rc == AVS_OK; p++) rc = run_pass(r, step, step * r->passes + p, loss, e);
    if (rc != AVS_OK) return rc;
    float *g = r->sum ? r->sum : r->grad;
    double sum_loss = *loss;
    float mean_loss = (float)sum_loss;
    if (r->comm && r->sum) rc = avs_comm_start(r->comm, g, r->n, e); /* else the buckets were */
    if (rc == AVS_OK && r->comm) rc = avs_comm_wait(r->comm, e);
    if (rc == AVS_OK) rc = avs_ring_mean(r->t->ring, &mean_loss, 1, e);
    if (rc != AVS_OK) return rc;
    if (r->t->ring) *loss = (double)mean_loss;
    if (!isfinite(*loss))
        return avs_fail(e, AVS_ERANGE, "the loss is %g at step %lld; lower lr or set grad_clip", *loss,
                        (long long)step);
    /* nothing but clips that do not count: no step at all, not even of the decay */
    if (avs_model_has_phases(r->cfg) && *loss == 0) return AVS_OK;
    float scale = 1.F / (float)r->passes;
    rc = freeze_backbone(r, step, g, e);
    const double clip = avs_cfg_num(r->cfg, "grad_clip");
    if (rc == AVS_OK && clip > 0) {
        double norm = 0;
        rc = avs_plan_grad_norm(r->net.plan, g, &norm, e);
        norm /= r->passes;
        if (norm > clip) scale *= (float)(clip / (norm + 1e-6));
    }
    if (rc != AVS_OK) return rc;
    avs_schedule schedule = r->schedule;
    if (r->phase == 2) schedule.lr = avs_cfg_num(r->cfg, "lr_phase2");
    const avs_adamw_cfg ac = {.lr = (float)avs_schedule_lr(&schedule, step),
                              .beta1 = (float)avs_cfg_num(r->cfg, "beta1"),
                              .beta2 = (float)avs_cfg_num(r->cfg, "beta2"),
                              .eps = (float)avs_cfg_num(r->cfg, "adam_eps"),
                              .decoupled = avs_cfg_is(r->cfg, "optimizer", "adamw")};
    int64_t n;
    const avs_adamw_arrays x = {avs_plan_slab(r->net.plan, AVS_SLAB_PARAM, &n), g, r->m, r->v};
    return avs_plan_adamw(r->net.plan, &x, r->seg, r->n_seg, &ac,
                          step + 1 - (r->phase == 2 ? r->phase2_from : 0), scale, e);
}

/* ------------------------------------------------------------------ checkpoints and validation */

/* What was the last checkpoint is kept as the previous one: a copy of its name, and where there are no such copies the
 * file itself, so that for a moment there is the previous one alone. */
static void keep_previous(const trainer *r)
{
    unlink(r->previous);
    if (link(r->last, r->previous) != 0 && avs_fs_exists(r->last)) (void)rename(r->last, r->previous);
}

static int save_last(trainer *r, avs_err *e)
{
    if (r->t->job->rank) return AVS_OK;
    char text[40];
    keep_previous(r);
    int rc = avs_ckpt_save(r->net.plan, r->m, r->v, &r->info, r->last, e);
    if (rc == AVS_OK) rc = avs_control_file(&r->t->control, "last", "checkpoint", r->last, r->info.step, e);
    snprintf(text, sizeof text, "%.3f\n", r->train_seconds);
    if (rc == AVS_OK) rc = avs_fs_write_atomic(r->clock_path, text, strlen(text), e);
    r->saved_ns = avs_now_ns();
    return rc;
}

static int validate(trainer *r, int64_t step, avs_err *e)
{
    avs_scores s;
    if (!r->has_ev) return AVS_OK;
    int rc = avs_net_copy(&r->ev.net, &r->net, e);
    if (rc == AVS_OK)
        rc = avs_evaluate(&r->ev, r->val, r->features ? &r->val_features : NULL, AVS_SOUND_RIGHT, &s, NULL,
                          NULL, e);
    if (rc != AVS_OK) return rc;
    avs_control_point(&r->t->control, "train_seconds", step, r->train_seconds);
    avs_control_point(&r->t->control, "val_miou", step, s.miou);
    avs_control_point(&r->t->control, "val_fscore", step, s.fscore);
    const double value = avs_cfg_is(r->cfg, "select_metric", "miou_plus_fscore") ? s.miou + s.fscore : s.miou;
    if (r->info.best_step >= 0 && !(value > r->info.best_value)) return AVS_OK;
    r->info.best_step = step;
    r->info.best_value = value;
    return avs_ckpt_save(r->net.plan, NULL, NULL, &r->info, r->best, e);
}

static bool validation_is_due(const trainer *r, int64_t done)
{
    const int64_t epoch = done / r->steps_per_epoch, start = avs_cfg_int(r->cfg, "eval_start"),
                  every = avs_cfg_int(r->cfg, "eval_every");
    if (done == r->steps) return true;
    return done % r->steps_per_epoch == 0 && epoch > start && (epoch - start) % every == 0;
}

/* All ranks must agree at the same step: the largest of their wishes. */
static int stop_wanted(trainer *r, bool *stop, avs_err *e)
{
    double wish = avs_control_poll(&r->t->control) ? 1 : 0;
    int rc = avs_ring_max(r->t->ring, &wish, e);
    *stop = wish > 0;
    return rc;
}

static int loop(trainer *r, avs_err *e)
{
    int rc = AVS_OK;
    const int64_t start = r->info.step, t_start = avs_now_ns();
    r->pushed = start * r->passes;
    r->saved_ns = t_start;
    if (start == 0 && avs_cfg_str(r->cfg, "init")[0]) { /* what was learnt before is the first candidate */
        rc = validate(r, 0, e);
        if (rc == AVS_OK && r->has_ev)
            avs_control_result(&r->t->control, "init_miou", "val", r->info.best_value, "fraction", 0);
    }
    while (rc == AVS_OK && r->info.step < r->steps) {
        double loss;
        bool stop = false;
        const int64_t t0 = avs_now_ns();
        rc = one_step(r, r->info.step, &loss, e);
        if (rc != AVS_OK) break;
        const int64_t done = ++r->info.step;
        r->step_ns += avs_now_ns() - t0;
        r->train_seconds += (double)(avs_now_ns() - t0) * 1e-9;
        if (done == start + 1) r->wait_ns = r->step_ns = 0; /* the queue was empty */
        if (done % POINT_EVERY == 0 || done == r->steps)
            avs_control_point(&r->t->control, "loss", done, loss);
        avs_control_progress(&r->t->control, done, r->steps,
                             (double)(done - start) / ((double)(avs_now_ns() - t_start) * 1e-9), "train",
                             done == r->steps);
        if (validation_is_due(r, done)) rc = validate(r, done, e);
        if (rc == AVS_OK) rc = stop_wanted(r, &stop, e);
        const double every = r->t->job->checkpoint_every_s;
        double due =
            stop || done == r->steps || (every > 0 && (double)(avs_now_ns() - r->saved_ns) * 1e-9 > every);
        if (rc == AVS_OK) rc = avs_ring_broadcast(r->t->ring, &due, e);
        if (rc == AVS_OK && due > 0) rc = save_last(r, e);
        if (rc == AVS_OK && stop && done < r->steps)
            rc = avs_fail(e, AVS_ECANCEL, "stopped on request after step %lld", (long long)done);
    }
    r->t->stopped_at = r->info.step;
    return rc;
}

/* ------------------------------------------------------------------ whole runs */

/* Ranks over whose rows a batch statistic was taken; 0: none was, by running statistics or for want of BatchNorm. */
static int batchnorm_ranks(const trainer *r)
{
    for (uint32_t i = 1; i < r->net.graph->n_node; i++)
        if (r->net.graph->node[i].op == AVS_OP_BATCHNORM)
            return r->net.graph->is_bn_sync ? r->t->job->ranks : 1;
    return 0;
}

static int final_scores(trainer *r, avs_err *e)
{
    avs_control *c = &r->t->control;
    const char *ckpt = avs_fs_exists(r->best) ? r->best : r->last;
    avs_control_result(c, "train_seconds", "", r->train_seconds, "s", -1);
    if (r->step_ns > 0)
        avs_control_result(c, "data_wait_share", "", (double)r->wait_ns / (double)r->step_ns, "fraction", -1);
    avs_control_result(c, "steps", "", (double)r->steps, "count", 0);
    if (r->info.best_step >= 0) {
        avs_control_result(c, "best_step", "", (double)r->info.best_step, "count", 0);
        avs_control_result(c, avs_cfg_is(r->cfg, "select_metric", "miou") ? "miou" : "miou_plus_fscore",
                           "val", r->info.best_value, "fraction", 1);
    }
    avs_control_result(c, "params", "", (double)avs_graph_param_count(r->net.graph, false), "count", 0);
    avs_control_result(c, "params_trainable", "", (double)avs_graph_param_count(r->net.graph, true), "count",
                       0);
    avs_control_result(c, "batchnorm_ranks", "", batchnorm_ranks(r), "count", 0);
    int rc = avs_control_file(c, "best", "weights", ckpt, r->info.best_step, e);
    return rc == AVS_OK ? avs_report_scores(r->t, r->cfg, ckpt, r->train, e) : rc;
}

static void close_all(trainer *r)
{
    avs_loader_free(r->loader);
    avs_sampler_fini(&r->sampler);
    avs_features_close(&r->train_features);
    avs_features_close(&r->val_features);
    if (r->has_ev) avs_evaluator_close(&r->ev);
    close_net(r);
    avs_dataset_close(r->train);
    avs_dataset_close(r->val);
    avs_xfree(r->counted);
}

/* The newest checkpoint that is whole. A damaged one costs the work since the one before, never the trial. */
static const char *newest_whole(const trainer *r)
{
    const char *const files[2] = {r->last, r->previous};
    bool any = false;
    for (int i = 0; i < 2; i++) {
        avs_err why = AVS_ERR_INIT;
        if (!avs_fs_exists(files[i])) continue;
        any = true;
        if (avs_ckpt_check(files[i], &why) == AVS_OK) return files[i];
        fprintf(stderr, "warning: a checkpoint is left aside: %s\n", why.msg);
    }
    if (any) fprintf(stderr, "warning: starting anew: no checkpoint is whole\n");
    return NULL;
}

/* The phase in which a resumed run goes on. */
static int first_phase(const trainer *r)
{
    avs_ckpt_info found = {0};
    avs_err why = AVS_ERR_INIT;
    if (!avs_model_has_phases(r->cfg) || !r->from ||
        avs_ckpt_read_info(r->t->job->arena, r->from, &found, &why) != AVS_OK)
        return 1;
    return phase_after(r, found.step);
}

int avs_train_run(avs_trial *t, avs_err *e)
{
    const avs_job *job = t->job;
    trainer r = {.t = t, .cfg = job->cfg};
    snprintf(r.last, sizeof r.last, "%s/last.safetensors", job->work_dir);
    snprintf(r.previous, sizeof r.previous, "%s/previous.safetensors", job->work_dir);
    snprintf(r.best, sizeof r.best, "%s/best.safetensors", job->work_dir);
    r.from = newest_whole(&r);
    snprintf(r.phase1, sizeof r.phase1, "%s/phase1.safetensors", job->work_dir);
    snprintf(r.clock_path, sizeof r.clock_path, "%s/train-seconds.txt", job->work_dir);
    int rc = avs_data_open(&r.train, r.cfg, AVS_SPLIT_TRAIN, job->threads, e);
    if (rc == AVS_OK) rc = avs_data_open(&r.val, r.cfg, AVS_SPLIT_VAL, job->threads, e);
    if (rc == AVS_OK) rc = avs_sampler_init(&r.sampler, r.train, r.cfg, job->seed, e);
    if (rc == AVS_OK) rc = plan_steps(&r, e);
    r.phase = rc == AVS_OK ? first_phase(&r) : 1;
    if (rc == AVS_OK) rc = open_nets(&r, e);
    if (rc == AVS_OK) rc = open_slabs(&r, e);
    if (rc == AVS_OK) rc = open_loader(&r, e);
    if (rc == AVS_OK) rc = resume(&r, e);
    if (rc == AVS_OK) rc = loop(&r, e);
    if (rc == AVS_OK) rc = avs_ring_barrier(t->ring, e);
    if (rc == AVS_OK && job->rank == 0) rc = final_scores(&r, e);
    if (rc == AVS_OK && job->rank == 0) unlink(r.previous); /* nothing goes on from it any more */
    close_all(&r);
    return rc;
}
