/* Frames on fd 3, or lines on stdout. A failed write means that the agent is gone: the trial then ends at its next poll. */
#include "workers/control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "avs_version.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/log.h"

enum { CONTROL_FD = 3 };

bool avs_control_present(void)
{
    int type;
    socklen_t n = sizeof type;
    return getsockopt(CONTROL_FD, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM;
}

void avs_control_open(avs_control *c, bool use_fd, uint32_t epoch, uint64_t attempt)
{
    *c = (avs_control){.fd = use_fd ? CONTROL_FD : -1, .epoch = epoch, .attempt = attempt};
}

void avs_control_close(avs_control *c)
{
    avs_frame_reader_free(&c->reader);
    avs_buf_free(&c->out);
}

static size_t begin(avs_control *c, uint16_t type)
{
    avs_buf_clear(&c->out);
    return avs_frame_begin(&c->out, type, c->epoch, c->attempt);
}

static void finish(avs_control *c, size_t mark)
{
    avs_frame_end(&c->out, mark);
    if (!avs_buf_ok(&c->out) || avs_fs_full_write(c->fd, c->out.data, c->out.len)) c->stop = true;
}

void avs_control_hello(avs_control *c, const char *ring)
{
    if (c->fd < 0) return;
    size_t m = begin(c, AVS_F_HELLO);
    avs_frame_put_i64(&c->out, AVS_T_PID, getpid());
    avs_frame_put_str(&c->out, AVS_T_VERSION, AVS_VERSION);
    if (ring) avs_frame_put_str(&c->out, AVS_T_RING, ring);
    finish(c, m);
}

void avs_control_env(avs_control *c, const char *json)
{
    if (c->is_quiet || c->fd < 0) return;
    size_t m = begin(c, AVS_F_ENV);
    avs_frame_put_str(&c->out, AVS_T_JSON, json);
    finish(c, m);
}

void avs_control_progress(avs_control *c, int64_t step, int64_t steps, double rate, const char *phase,
                          bool force)
{
    const int64_t now = avs_now_ns(), gap = c->fd < 0 ? 5000000000 : 200000000;
    if (c->is_quiet || (!force && now - c->last_progress_ns < gap)) return;
    c->last_progress_ns = now;
    if (c->fd < 0) {
        printf("%s %lld/%lld %.2f/s\n", phase, (long long)step, (long long)steps, rate);
        return;
    }
    size_t m = begin(c, AVS_F_PROGRESS);
    avs_frame_put_i64(&c->out, AVS_T_STEP, step);
    avs_frame_put_i64(&c->out, AVS_T_STEPS, steps);
    avs_frame_put_f64(&c->out, AVS_T_RATE, rate);
    avs_frame_put_str(&c->out, AVS_T_TEXT, phase);
    finish(c, m);
}

void avs_control_point(avs_control *c, const char *name, int64_t step, double value)
{
    if (c->is_quiet) return;
    if (c->fd < 0) {
        printf("step %lld %s %.6g\n", (long long)step, name, value);
        return;
    }
    size_t m = begin(c, AVS_F_POINT);
    avs_frame_put_str(&c->out, AVS_T_NAME, name);
    avs_frame_put_i64(&c->out, AVS_T_STEP, step);
    avs_frame_put_f64(&c->out, AVS_T_VALUE, value);
    finish(c, m);
}

void avs_control_result(avs_control *c, const char *name, const char *split, double value, const char *unit,
                        int better)
{
    if (c->is_quiet) return;
    if (c->fd < 0) {
        printf("result %s%s%s %.10g%s%s\n", name, split[0] ? "@" : "", split, value, unit[0] ? " " : "",
               unit);
        return;
    }
    size_t m = begin(c, AVS_F_RESULT);
    avs_frame_put_str(&c->out, AVS_T_NAME, name);
    if (split[0]) avs_frame_put_str(&c->out, AVS_T_SPLIT, split);
    avs_frame_put_f64(&c->out, AVS_T_VALUE, value);
    if (unit[0]) avs_frame_put_str(&c->out, AVS_T_UNIT, unit);
    avs_frame_put_i64(&c->out, AVS_T_BETTER, better);
    finish(c, m);
}

void avs_control_latency(avs_control *c, const char *name, const uint32_t *ns, int64_t n, double unit_ns,
                         int flags, const char *json)
{
    if (c->is_quiet) return;
    if (c->fd < 0) {
        printf("%s %s\n", name, json);
        return;
    }
    avs_buf blob = AVS_BUF_INIT;
    for (int64_t i = 0; i < n; i++) avs_buf_u32(&blob, ns[i]);
    size_t m = begin(c, AVS_F_LATENCY);
    avs_frame_put_str(&c->out, AVS_T_NAME, name);
    avs_frame_put(&c->out, AVS_T_BLOB, blob.data, blob.len);
    avs_frame_put_f64(&c->out, AVS_T_UNIT_NS, unit_ns);
    avs_frame_put_i64(&c->out, AVS_T_FLAGS, flags);
    avs_frame_put_str(&c->out, AVS_T_JSON, json);
    if (!avs_buf_ok(&blob)) c->out.failed = true;
    finish(c, m);
    avs_buf_free(&blob);
}

int avs_control_file(avs_control *c, const char *name, const char *kind, const char *path, int64_t step,
                     avs_err *e)
{
    uint8_t hash[32];
    char hex[65];
    struct stat st;
    if (c->is_quiet) return AVS_OK;
    if (c->fd < 0) {
        printf("wrote %s %s\n", kind, path);
        return AVS_OK;
    }
    if (stat(path, &st)) return avs_fail(e, AVS_EIO, "%s: %s", path, strerror(errno));
    int rc = avs_sha256_file(path, hash, e);
    if (rc != AVS_OK) return rc;
    avs_hex(hash, 32, hex);
    const bool is_ckpt = !strcmp(kind, "checkpoint");
    size_t m = begin(c, is_ckpt ? AVS_F_CKPT : AVS_F_ARTIFACT);
    if (!is_ckpt) {
        avs_frame_put_str(&c->out, AVS_T_NAME, name);
        avs_frame_put_str(&c->out, AVS_T_KIND, kind);
    }
    avs_frame_put_str(&c->out, AVS_T_PATH, path);
    avs_frame_put_i64(&c->out, AVS_T_BYTES, st.st_size);
    avs_frame_put_str(&c->out, AVS_T_SHA256, hex);
    avs_frame_put_i64(&c->out, AVS_T_STEP, step);
    finish(c, m);
    return AVS_OK;
}

void avs_control_folder(avs_control *c, const char *name, const char *kind, const char *path, int64_t bytes,
                        const uint8_t sha256[32])
{
    char hex[65];
    if (c->is_quiet) return;
    if (c->fd < 0) {
        printf("wrote %s %s\n", kind, path);
        return;
    }
    avs_hex(sha256, 32, hex);
    const size_t m = begin(c, AVS_F_ARTIFACT);
    avs_frame_put_str(&c->out, AVS_T_NAME, name);
    avs_frame_put_str(&c->out, AVS_T_KIND, kind);
    avs_frame_put_str(&c->out, AVS_T_PATH, path);
    avs_frame_put_i64(&c->out, AVS_T_BYTES, bytes);
    avs_frame_put_str(&c->out, AVS_T_SHA256, hex);
    avs_frame_put_i64(&c->out, AVS_T_STEP, 0);
    finish(c, m);
}

/* Every end tells the memory on the GPU. */
static void finish_end(avs_control *c, size_t mark)
{
    if (c->device_peak > 0) avs_frame_put_i64(&c->out, AVS_T_BYTES, c->device_peak);
    finish(c, mark);
}

void avs_control_done(avs_control *c)
{
    if (c->fd >= 0)
        finish_end(c, begin(c, AVS_F_DONE));
    else if (c->device_peak > 0)
        printf("at most %lld bytes on the device\n", (long long)c->device_peak);
}

void avs_control_fail(avs_control *c, const avs_err *e)
{
    fprintf(stderr, "error: %s\n", e->msg);
    if (c->fd < 0) return;
    size_t m = begin(c, AVS_F_FAIL);
    avs_frame_put_i64(&c->out, AVS_T_CODE, e->code);
    avs_frame_put_str(&c->out, AVS_T_TEXT, e->msg);
    finish_end(c, m);
}

void avs_control_resumed(avs_control *c, const char *path, int64_t step)
{
    if (c->is_quiet) return;
    if (c->fd < 0) {
        printf("resumed from %s at step %lld\n", path, (long long)step);
        return;
    }
    size_t m = begin(c, AVS_F_RESUMED);
    avs_frame_put_str(&c->out, AVS_T_PATH, path);
    avs_frame_put_i64(&c->out, AVS_T_STEP, step);
    finish(c, m);
}

void avs_control_stopped(avs_control *c, int64_t step)
{
    if (c->fd < 0) return;
    size_t m = begin(c, AVS_F_STOPPED);
    avs_frame_put_i64(&c->out, AVS_T_STEP, step);
    finish_end(c, m);
}

static void take_go(avs_control *c, const avs_frame *f)
{
    size_t n = 0;
    const uint8_t *ring = avs_frame_get(f, AVS_T_RING, &n);
    if (c->go) return;
    c->go = true;
    if (ring && n < sizeof c->ring) memcpy(c->ring, ring, n); /* the rest is zero */
}

bool avs_control_poll(avs_control *c)
{
    char chunk[4096];
    while (c->fd >= 0 && !c->stop) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        if (poll(&p, 1, 0) <= 0) break;
        ssize_t n = read(c->fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            c->stop = true; /* the agent is gone */
            break;
        }
        avs_frame_feed(&c->reader, chunk, (size_t)n);
        for (bool got = true; got;) {
            avs_frame f;
            if (avs_frame_next(&c->reader, &f, &got, NULL) != AVS_OK) {
                c->stop = true;
                return true;
            }
            if (!got || f.attempt != c->attempt || f.epoch != c->epoch) continue;
            c->stop |= f.type == AVS_F_STOP;
            if (f.type == AVS_F_GO) take_go(c, &f);
        }
    }
    return c->stop;
}

int avs_control_await_go(avs_control *c, avs_err *e)
{
    while (c->fd >= 0 && !avs_control_poll(c) && !c->go) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        (void)poll(&p, 1, -1);
    }
    return c->stop ? avs_fail(e, AVS_ECANCEL, "asked to stop before the other ranks were up") : AVS_OK;
}
