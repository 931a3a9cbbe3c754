/* MLflow's file store: mlruns/EXPERIMENT/RUN with one small file per parameter, tag and metric; a metric's file has one line
 * "milliseconds value step" per point. The experiment is the sweep, the run id the first half of the trial's hash. */
#include <stdio.h>
#include <string.h>
#include "base/fs.h"
#include "base/hash.h"
#include "results/export_trial.h"

/* YAML's double-quoted strings are JSON's. */
static void yaml(avs_buf *b, const char *key, const char *value)
{
    avs_buf_fmt(b, "%s: ", key);
    avs_json_write_str(b, value);
    avs_buf_char(b, '\n');
}

static int put(const char *run, const char *kind, const char *name, avs_buf *bytes, avs_arena *a, avs_err *e)
{
    const char *path = avs_arena_fmt(a, "%s/%s", kind, name);
    int rc = path ? avs_export_put(run, path, bytes, e) : avs_fail(e, AVS_ENOMEM, "no memory for an export");
    avs_buf_clear(bytes);
    return rc;
}

static int put_text(const char *run, const char *kind, const char *name, const char *text, avs_buf *b,
                    avs_arena *a, avs_err *e)
{
    for (const char *p = text; *p && b->len < 6000; p++) /* one line, and no longer than MLflow reads */
        avs_buf_char(b, (char)((unsigned char)*p < 0x20 ? ' ' : *p));
    while (b->len >= 6000 && (b->data[b->len - 1] & 0xc0) == 0x80) b->data[--b->len] = 0;
    return put(run, kind, avs_export_name(a, name, true), b, a, e);
}

static int put_metrics(const char *run, const avs_export_trial *t, avs_buf *b, avs_arena *a, avs_err *e)
{
    int rc = AVS_OK;
    for (int i = 0; i < t->n_series && rc == AVS_OK; i++) {
        const avs_export_series *s = &t->series[i];
        for (size_t k = 0; k < s->n; k++) {
            avs_buf_fmt(b, "%lld ", (long long)(t->started_us / 1000));
            avs_json_write_num(b, s->value[k]);
            avs_buf_fmt(b, " %lld\n", (long long)s->step[k]);
        }
        rc = put(run, "metrics", avs_export_name(a, s->name, true), b, a, e);
    }
    for (int i = 0; i < t->n_values && rc == AVS_OK; i++) {
        avs_buf_fmt(b, "%lld ", (long long)(t->ended_us / 1000));
        avs_json_write_num(b, t->value[i].value);
        avs_buf_str(b, " 0\n");
        rc = put(run, "metrics", avs_export_name(a, t->value[i].name, true), b, a, e);
    }
    return rc;
}

static int put_params(const char *run, const avs_export_trial *t, avs_buf *b, avs_arena *a, avs_err *e)
{
    char seed[32];
    snprintf(seed, sizeof seed, "%lld", (long long)t->seed);
    int rc = put_text(run, "params", "seed", seed, b, a, e);
    for (const avs_json *p = t->params->first; p && rc == AVS_OK; p = p->next)
        rc = put_text(run, "params", p->key, avs_export_param(a, p), b, a, e);
    const char *const tags[][2] = {{"mlflow.runName", t->hash},
                                   {"kind", t->kind},
                                   {"model", t->model},
                                   {"task", t->task},
                                   {"state", t->state},
                                   {"host", t->host},
                                   {"config_hash", t->config_hash},
                                   {"mlflow.note.content", t->message}};
    for (size_t i = 0; i < sizeof tags / sizeof *tags && rc == AVS_OK; i++)
        rc = put_text(run, "tags", tags[i][0], i ? tags[i][1] : avs_arena_fmt(a, "%.12s", tags[i][1]), b, a,
                      e);
    return rc;
}

static int put_experiment(const char *folder, const char *id, const avs_export_trial *t, avs_buf *b,
                          avs_err *e)
{
    char path[64];
    avs_buf_str(b, "artifact_location: ./artifacts\ncreation_time: 0\n");
    yaml(b, "experiment_id", id);
    avs_buf_str(b, "last_update_time: 0\nlifecycle_stage: active\n");
    yaml(b, "name", t->sweep);
    snprintf(path, sizeof path, "%.40s/meta.yaml", id);
    int rc = avs_export_put(folder, path, b, e);
    avs_buf_clear(b);
    return rc;
}

int avs_export_mlflow(const char *folder, const avs_export_trial *t, avs_arena *a, avs_err *e)
{
    avs_buf b = AVS_BUF_INIT;
    char id[24];
    snprintf(id, sizeof id, "%llu", (unsigned long long)(avs_fnv1a64_str(t->sweep) >> 10));
    const char *run = avs_arena_fmt(a, "%s/%s/%.32s", folder, id, t->hash);
    const char *run_id = avs_arena_fmt(a, "%.32s", t->hash), *name = avs_arena_fmt(a, "%.12s", t->hash);
    int rc = run && run_id && name ? put_experiment(folder, id, t, &b, e)
                                   : avs_fail(e, AVS_ENOMEM, "no memory for an export");
    if (rc == AVS_OK) {
        avs_buf_str(&b, "artifact_uri: ./artifacts\n");
        avs_buf_fmt(&b, "end_time: %lld\nentry_point_name: ''\n", (long long)(t->ended_us / 1000));
        yaml(&b, "experiment_id", id);
        avs_buf_str(&b, "lifecycle_stage: active\n");
        yaml(&b, "run_id", run_id);
        yaml(&b, "run_name", name);
        yaml(&b, "run_uuid", run_id);
        avs_buf_fmt(
            &b,
            "source_name: ''\nsource_type: 4\nsource_version: ''\nstart_time: %lld\nstatus: %d\ntags: []\n"
            "user_id: ''\n",
            (long long)(t->started_us / 1000), t->done ? 3 : 4);
        rc = avs_export_put(run, "meta.yaml", &b, e);
        avs_buf_clear(&b);
    }
    for (int i = 0; i < 3 && rc == AVS_OK; i++) { /* MLflow takes no folder without them for a run */
        static const char *const folders[] = {"artifacts", "metrics", "params"};
        const char *path = avs_arena_fmt(a, "%s/%s", run, folders[i]);
        rc = path ? avs_fs_mkdirs(path, e) : avs_fail(e, AVS_ENOMEM, "no memory for an export");
    }
    if (rc == AVS_OK) rc = put_params(run, t, &b, a, e);
    if (rc == AVS_OK) rc = put_metrics(run, t, &b, a, e);
    avs_buf_free(&b);
    return rc;
}
