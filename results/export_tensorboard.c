/* TensorBoard event files: TFRecord framing around Event messages (event.proto: wall_time 1, step 2, file_version 3,
 * summary 5; Summary.value 1; Value.tag 1, simple_value 2). */
#include <math.h>
#include "results/export_trial.h"
#include "results/export_wire.h"

static void record(avs_buf *out, const avs_buf *event)
{
    avs_buf length = AVS_BUF_INIT;
    avs_buf_u64(&length, event->len);
    if (!avs_buf_ok(event) || !avs_buf_ok(&length)) {
        out->failed = true;
    } else {
        avs_buf_put(out, length.data, length.len);
        avs_buf_u32(out, avs_crc32c_masked(length.data, length.len));
        avs_buf_put(out, event->data, event->len);
        avs_buf_u32(out, avs_crc32c_masked(event->data, event->len));
    }
    avs_buf_free(&length);
}

static void scalar(avs_buf *out, double wall, int64_t step, const char *name, double value)
{
    avs_buf v = AVS_BUF_INIT, summary = AVS_BUF_INIT, event = AVS_BUF_INIT;
    avs_pb_str(&v, 1, name);
    avs_pb_f32(&v, 2, value);
    avs_pb_sub(&summary, 1, &v);
    avs_pb_f64(&event, 1, wall);
    avs_pb_int(&event, 2, step);
    avs_pb_sub(&event, 5, &summary);
    record(out, &event);
    avs_buf_free(&v);
    avs_buf_free(&summary);
    avs_buf_free(&event);
}

int avs_export_tensorboard(const char *folder, const avs_export_trial *t, avs_arena *a, avs_err *e)
{
    avs_buf out = AVS_BUF_INIT, first = AVS_BUF_INIT;
    const double from = (double)t->started_us / 1e6, to = fmax(from, (double)t->ended_us / 1e6);
    int64_t last = 0;

    avs_pb_f64(&first, 1, from);
    avs_pb_str(&first, 3, "brain.Event:2");
    record(&out, &first);
    avs_buf_free(&first);
    for (int i = 0; i < t->n_series; i++)
        if (t->series[i].n && t->series[i].step[t->series[i].n - 1] > last)
            last = t->series[i].step[t->series[i].n - 1];
    for (int i = 0; i < t->n_series; i++) {
        const avs_export_series *s = &t->series[i];
        for (size_t k = 0; k < s->n; k++) /* points carry no time: spread over the attempt */
            scalar(&out, from + (to - from) * (last ? (double)s->step[k] / (double)last : 0), s->step[k],
                   s->name, s->value[k]);
    }
    for (int i = 0; i < t->n_values; i++) scalar(&out, to, last, t->value[i].name, t->value[i].value);
    const char *run =
        avs_arena_fmt(a, "%s-%s-%.12s/events.out.tfevents.%lld.avsweep", avs_export_name(a, t->model, false),
                      avs_export_name(a, t->task, false), t->hash, (long long)(t->started_us / 1000000));
    int rc =
        run ? avs_export_put(folder, run, &out, e) : avs_fail(e, AVS_ENOMEM, "no memory for an event file");
    avs_buf_free(&out);
    return rc;
}
