/* Makes a large result database: CONFIGS configurations of AVESFormer with fifty options each, SEEDS seeds, three results a
 * trial, an attempt with rank and environment each; one trial in a hundred failed, one in a hundred waits.
 *
 *     store_fill DB [CONFIGS [SEEDS]]      default 200000 configurations, 5 seeds: 1e6 trials, 3e6 results
 *
 * Rows are inserted in order through prepared statements, summaries are those that the store would keep; `avsweep db check`
 * says whether they fit. The numbers are a function of configuration and seed alone. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/log.h"
#include "base/rng.h"
#include "metrics/stats.h"
#include "results/db.h"
#include "results/schema.h"

enum { METRICS = 3, DONE = 2, FAILED = 3, MAX_SEEDS = 64 };
static const char *const metrics[METRICS] = {"miou", "fscore", "train_seconds"};
static const int64_t START = 1767225600000000; /* 2026-01-01 */

static void or_stop(int rc, const avs_err *e)
{
    if (rc == AVS_OK) return;
    fprintf(stderr, "store_fill: %s\n", e->msg);
    exit(1);
}

static int64_t key_of(const uint8_t hash[32])
{
    int64_t k;
    memcpy(&k, hash, sizeof k);
    return k;
}

/* Axes: queries, blocks, learning rate, weight decay, augmentation and a width that tells the rest apart. */
static void params_of(int c, char *out, size_t n)
{
    static const char *const lr[] = {"0.00002", "0.00005", "0.0001", "0.0002", "0.0005"},
                             *const wd[] = {"0", "0.01", "0.05", "0.1"}, *const augment[] = {"none", "flip"};
    snprintf(out, n,
             "{\"adam_eps\":1e-8,\"audio_backbone\":\"vggish\",\"audio_norm\":true,\"augment\":\"%s\","
             "\"backbone\":\"resnet50\","
             "\"backbone_weights\":\"pretrained\",\"backbone_width\":64,\"batch\":8,\"bce_weight\":1,"
             "\"beta1\":0.9,\"beta2\":0.999,"
             "\"data_root\":\"data/"
             "avsbench\",\"dataset\":\"avsbench\",\"decay_norm_and_bias\":false,\"dice_weight\":1,"
             "\"drop_path\":0,\"dropout\":0,\"embed_dim\":256,\"eval_batch\":8,\"eval_every\":1,\"eval_"
             "split\":\"test\","
             "\"eval_start\":0,\"ffn_dim\":%d,\"flip_probability\":0.5,\"flip_unit\":\"clip\",\"frames\":5,"
             "\"frames_per_clip\":5,"
             "\"freeze_backbone\":false,\"freeze_backbone_epochs\":0,\"fscore_batch\":1,\"fscore_on_logits\":"
             "false,"
             "\"generator_ffn_dim\":1024,\"grad_clip\":5,\"init\":\"\",\"lr\":%s,\"lr_warmup_steps\":30,"
             "\"micro_batch\":0,"
             "\"model\":\"avesformer\",\"num_blocks\":%d,\"num_classes\":1,\"num_generator_layers\":1,\"num_"
             "heads\":8,"
             "\"num_queries\":%d,\"optimizer\":\"adamw\",\"precision\":\"fp32\",\"resolution\":224,"
             "\"sample\":\"clip\","
             "\"schedule\":\"polynomial\",\"schedule_power\":0.9,\"select_metric\":\"miou\",\"shuffle\":true,"
             "\"steps\":30000,"
             "\"task\":\"s4\",\"weight_decay\":%s}",
             augment[c % 2], 64 + 8 * (c / 960), lr[c / 2 % 5], 1 + c / 10 % 6, 8 << (c / 60 % 4),
             wd[c / 240 % 4]);
}

typedef struct {
    avs_store *s;
    int64_t metric[METRICS], env, stage, sweep;
    int seeds;
    int64_t count[AVS_TRIAL_STATES], trials, attempts;
} filler;

static double number(int c, int seed, int m)
{
    avs_rng r = avs_rng_seed((uint64_t)c * 1000003u + (uint64_t)(seed * 17 + m));
    const double quality = 0.7 + 0.08 * sin(c * 0.001) + 0.01 * avs_rng_normal(&r);
    return m == 0 ? quality : m == 1 ? quality + 0.09 : 3600 + 60 * avs_rng_normal(&r);
}

static void add_trial(filler *f, int c, int64_t config, const uint8_t config_hash[32], int seed, int state)
{
    avs_err err = AVS_ERR_INIT, *e = &err;
    uint8_t text[40], hash[32];
    const int64_t id = ++f->trials, start = START + id * 1000000;
    memcpy(text, config_hash, 32);
    memcpy(text + 32, &seed, sizeof seed);
    avs_sha256_of(text, 32 + sizeof seed, hash);
    or_stop(avs_db_run(f->s, e, "INSERT INTO trial VALUES(?,?,?,?,?,?,?,0,?,NULL)", "iihiiiii", id,
                       key_of(hash), hash, config, (int64_t)seed, (int64_t)state, (int64_t)(state != 0),
                       (int64_t)(state != 0)),
            e);
    or_stop(avs_db_run(f->s, e, "INSERT INTO sweep_trial VALUES(?,?,?,?,0)", "iiii", f->sweep, f->stage,
                       id - 1, id),
            e);
    f->count[state]++;
    if (state == 0) return;
    const int64_t a = ++f->attempts;
    or_stop(avs_db_run(f->s, e,
                       "INSERT INTO attempt(attempt_id, trial_id, n, epoch, run_id, queued, started, ended, "
                       "reason, exit_code,"
                       " gpus, log_path) VALUES(?,?,1,1,1,?,?,?,?,?,1,?)",
                       "iiiiiiit", a, id, start, start, start + 3600000000, (int64_t)(state == DONE ? 1 : 3),
                       (int64_t)(state != DONE), "logs/ab/cdef0123456789.log"),
            e);
    or_stop(avs_db_run(f->s, e, "INSERT INTO attempt_rank VALUES(?,0,?,NULL,'0-5',?,?,0,NULL)", "itii", a,
                       "n01", f->env, a),
            e);
    if (state != DONE) return;
    or_stop(avs_db_run(f->s, e, "UPDATE trial SET best_attempt=? WHERE trial_id=?", "ii", a, id), e);
    for (int m = 0; m < METRICS; m++)
        or_stop(avs_db_run(f->s, e, "INSERT INTO result VALUES(?,?,?,?)", "iitd", id, f->metric[m],
                           m < 2 ? "test" : "", number(c, seed, m)),
                e);
}

static void add_config(filler *f, int c)
{
    avs_err err = AVS_ERR_INIT, *e = &err;
    char params[2048];
    uint8_t hash[32];
    double x[METRICS][MAX_SEEDS];
    size_t n = 0;
    const int64_t id = c + 1;

    params_of(c, params, sizeof params);
    avs_sha256_of(params, strlen(params), hash);
    or_stop(avs_db_run(f->s, e, "INSERT INTO config VALUES(?,?,?,'train','avesformer','s4',?,1,NULL)", "iiht",
                       id, key_of(hash), hash, params),
            e);
    for (int seed = 0; seed < f->seeds; seed++) {
        const int64_t place = (int64_t)c * f->seeds + seed;
        const int state = place % 100 == 7 ? FAILED : place % 100 == 57 ? AVS_TRIAL_PENDING : DONE;
        add_trial(f, c, id, hash, seed, state);
        if (state != DONE) continue;
        for (int m = 0; m < METRICS; m++) x[m][n] = number(c, seed, m);
        n++;
    }
    for (int m = 0; m < METRICS && n; m++) {
        const double mean = avs_mean(x[m], n),
                     half = n > 1 ? avs_t_quantile(0.975, (double)n - 1) * avs_sd(x[m], n) / sqrt((double)n)
                                  : (double)NAN;
        or_stop(avs_db_run(f->s, e, "INSERT INTO leaderboard VALUES(?,?,?,?,?,?,?,?)", "iitidddd", id,
                           f->metric[m], m < 2 ? "test" : "", (int64_t)n, mean, avs_sd(x[m], n), mean - half,
                           mean + half),
                e);
    }
}

int main(int argc, char **argv)
{
    avs_err err = AVS_ERR_INIT, *e = &err;
    filler f = {.seeds = argc > 3 ? atoi(argv[3]) : 5};
    const int configs = argc > 2 ? atoi(argv[2]) : 200000;
    const avs_store_sweep w = {.name = "large",
                               .argv_json = "[\"avsweep\",\"run\"]",
                               .tool_version = "bench",
                               .git_commit = "0123abcd"};

    if (argc < 2 || configs < 1 || f.seeds < 1 || f.seeds > MAX_SEEDS) {
        fprintf(stderr, "usage: store_fill DB [CONFIGS [SEEDS]]; at most %d seeds\n", MAX_SEEDS);
        return 2;
    }
    or_stop(avs_store_open(argv[1], AVS_STORE_WRITE, "bench", &f.s, e), e);
    or_stop(avs_store_sweep_begin(f.s, &w, &f.sweep, NULL, e), e);
    or_stop(
        avs_store_stage(f.s, f.sweep, &(avs_store_stage_def){.name = "train", .kind = "train"}, &f.stage, e),
        e);
    for (int m = 0; m < METRICS; m++) {
        f.metric[m] = avs_db_metric(f.s, metrics[m], m < 2 ? "fraction" : "s", m < 2 ? 1 : -1, e);
        if (f.metric[m] < 0) or_stop(AVS_EDB, e);
    }
    or_stop(avs_store_flush(f.s, e), e);
    or_stop(avs_db_script(
                f.s, "PRAGMA synchronous=OFF; PRAGMA foreign_keys=OFF; PRAGMA cache_size=-200000; BEGIN", e),
            e);
    or_stop(avs_db_run(f.s, e,
                       "INSERT INTO env(env_id, hash, host, cpu, compiler, flags, code_fp, threads) "
                       "VALUES(1,zeroblob(32),'n01',"
                       "'Bench CPU','cc','-O3','0123abcd',6)",
                       ""),
            e);
    f.env = 1;
    for (int c = 0; c < configs; c++) add_config(&f, c);
    or_stop(avs_schema_summaries(f.s, e), e);
    or_stop(avs_schema_trial_view(f.s, e), e);
    or_stop(avs_db_script(f.s, "COMMIT; PRAGMA wal_checkpoint(TRUNCATE)", e), e);
    avs_store_close(f.s);
    printf("%s: %d configurations, %lld trials, %lld attempts, %lld results\n", argv[1], configs,
           (long long)f.trials, (long long)f.attempts, (long long)f.count[DONE] * METRICS);
    return 0;
}
