/* Offline runs of Weights & Biases: a file of length-checked records in blocks of 32 KiB (LevelDB's log format with zlib's
 * CRC), each record a message of wandb_internal.proto. `wandb sync FOLDER` uploads them; we never do. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "results/export_trial.h"
#include "results/export_wire.h"

enum { BLOCK = 32768, HEAD = 7, FULL = 1, FIRST = 2, MIDDLE = 3, LAST = 4 };
enum { R_NUM = 1, R_HISTORY = 2, R_SUMMARY = 3, R_CONFIG = 4, R_RUN = 17, R_EXIT = 18, R_HEADER = 21 };

static void fragment(avs_buf *out, int type, const char *p, size_t n)
{
    const uint8_t kind = (uint8_t)type;
    avs_buf_u32(out, avs_crc32(avs_crc32(0, &kind, 1), p, n));
    avs_buf_u16(out, (uint16_t)n);
    avs_buf_u8(out, kind);
    avs_buf_put(out, p, n);
}

/* A record is cut where a block ends; a rest too small for a head is filled with zeros. */
static void log_record(avs_buf *out, const avs_buf *record)
{
    const char *p = avs_buf_cstr(record);
    size_t left = record->len;
    bool begun = false;
    if (!avs_buf_ok(record)) out->failed = true;
    while (!out->failed && (left > 0 || !begun)) {
        size_t room = BLOCK - out->len % BLOCK;
        if (room < HEAD) {
            avs_buf_put(out, "\0\0\0\0\0\0", room);
            continue;
        }
        room -= HEAD;
        const size_t n = left < room ? left : room;
        const bool ends = n == left;
        fragment(out, begun ? (ends ? LAST : MIDDLE) : ends ? FULL : FIRST, p, n);
        p += n;
        left -= n;
        begun = true;
    }
}

/* Record{num, FIELD: message}; frees the message. */
static void put_record(avs_buf *out, int64_t *num, int field, avs_buf *message)
{
    avs_buf r = AVS_BUF_INIT;
    avs_pb_int(&r, R_NUM, ++*num);
    avs_pb_sub(&r, field, message);
    log_record(out, &r);
    avs_buf_free(&r);
    avs_buf_free(message);
}

/* HistoryItem, SummaryItem and ConfigItem have one shape: key 1, value_json 16. */
static void put_item(avs_buf *list, const char *key, const char *json)
{
    avs_buf item = AVS_BUF_INIT;
    avs_pb_str(&item, 1, key);
    avs_pb_str(&item, 16, json);
    avs_pb_sub(list, 1, &item);
    avs_buf_free(&item);
}

static void put_number(avs_buf *list, const char *key, double v)
{
    avs_buf json = AVS_BUF_INIT;
    avs_json_write_num(&json, v);
    put_item(list, key, avs_buf_cstr(&json));
    if (!avs_buf_ok(&json)) list->failed = true;
    avs_buf_free(&json);
}

static void put_text(avs_buf *list, const char *key, const char *text)
{
    avs_buf json = AVS_BUF_INIT;
    avs_json_write_str(&json, text);
    put_item(list, key, avs_buf_cstr(&json));
    if (!avs_buf_ok(&json)) list->failed = true;
    avs_buf_free(&json);
}

static void config_of(const avs_export_trial *t, avs_buf *config)
{
    for (const avs_json *p = t->params->first; p; p = p->next) {
        avs_buf json = AVS_BUF_INIT;
        avs_json_write(&json, p, true);
        put_item(config, p->key, avs_buf_cstr(&json));
        if (!avs_buf_ok(&json)) config->failed = true;
        avs_buf_free(&json);
    }
    put_number(config, "seed", (double)t->seed);
    put_text(config, "kind", t->kind);
    put_text(config, "config_hash", t->config_hash);
    put_text(config, "trial_hash", t->hash);
}

static void put_run(avs_buf *out, int64_t *num, const avs_export_trial *t, const char *id)
{
    avs_buf run = AVS_BUF_INIT, config = AVS_BUF_INIT, start = AVS_BUF_INIT;
    char name[80];
    config_of(t, &config);
    snprintf(name, sizeof name, "%.24s-%.8s-%.12s", t->model, t->task, t->hash);
    avs_pb_int(&start, 1, t->started_us / 1000000);
    avs_pb_int(&start, 2, t->started_us % 1000000 * 1000);
    avs_pb_str(&run, 1, id);
    avs_pb_str(&run, 3, t->sweep);
    avs_pb_sub(&run, 4, &config);
    avs_pb_str(&run, 6, t->config_hash); /* seeds of one configuration are one group */
    avs_pb_str(&run, 7, t->kind);
    avs_pb_str(&run, 8, name);
    if (*t->message) avs_pb_str(&run, 9, t->message);
    avs_pb_str(&run, 13, t->host);
    avs_pb_sub(&run, 17, &start);
    avs_pb_int(&run, 20, (t->ended_us - t->started_us) / 1000000);
    put_record(out, num, R_RUN, &run);
    avs_buf_free(&config);
    avs_buf_free(&start);
}

/* One history record per step, with all series that have a point there. */
static void put_history(avs_buf *out, int64_t *num, const avs_export_trial *t, avs_arena *a)
{
    size_t *at = AVS_NEW_N(a, size_t, t->n_series + 1);
    if (!at) out->failed = true;
    while (at) {
        int64_t step = INT64_MAX;
        for (int i = 0; i < t->n_series; i++)
            if (at[i] < t->series[i].n && t->series[i].step[at[i]] < step) step = t->series[i].step[at[i]];
        if (step == INT64_MAX) break;
        avs_buf history = AVS_BUF_INIT, number = AVS_BUF_INIT;
        for (int i = 0; i < t->n_series; i++) {
            const avs_export_series *s = &t->series[i];
            if (at[i] >= s->n || s->step[at[i]] != step) continue;
            put_number(&history, s->name, s->value[at[i]++]);
        }
        put_number(&history, "_step", (double)step);
        avs_pb_int(&number, 1, step);
        avs_pb_sub(&history, 2, &number);
        put_record(out, num, R_HISTORY, &history);
        avs_buf_free(&number);
    }
}

int avs_export_wandb(const char *folder, const avs_export_trial *t, avs_arena *a, avs_err *e)
{
    avs_buf out = AVS_BUF_INIT, header = AVS_BUF_INIT, version = AVS_BUF_INIT, summary = AVS_BUF_INIT,
            ended = AVS_BUF_INIT;
    const time_t when = (time_t)(t->started_us / 1000000);
    struct tm tm;
    char stamp[32] = "19700101_000000";
    int64_t num = 0;

    if (gmtime_r(&when, &tm)) (void)strftime(stamp, sizeof stamp, "%Y%m%d_%H%M%S", &tm);
    const char *id = avs_arena_fmt(a, "%.12s", t->hash);
    const char *path = id ? avs_arena_fmt(a, "offline-run-%s-%s/run-%s.wandb", stamp, id, id) : NULL;
    if (!path) return avs_fail(e, AVS_ENOMEM, "no memory for a run");
    avs_buf_put(&out, ":W&B", 4);
    avs_buf_u16(&out, 0xBEE1);
    avs_buf_u8(&out, 0);
    avs_pb_str(&version, 1, "0.17.0");
    avs_pb_str(&version, 2, "0.9.0");
    avs_pb_sub(&header, 1, &version);
    put_record(&out, &num, R_HEADER, &header);
    put_run(&out, &num, t, id);
    put_history(&out, &num, t, a);
    for (int i = 0; i < t->n_values; i++) put_number(&summary, t->value[i].name, t->value[i].value);
    put_text(&summary, "state", t->state);
    put_record(&out, &num, R_SUMMARY, &summary);
    avs_pb_int(&ended, 1, t->done ? 0 : 1);
    put_record(&out, &num, R_EXIT, &ended);
    avs_buf_free(&version);
    int rc = avs_export_put(folder, path, &out, e);
    avs_buf_free(&out);
    return rc;
}
