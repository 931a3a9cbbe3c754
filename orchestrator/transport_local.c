/* The socket-pair connection: non-blocking, with one queue of bytes that wait to be sent. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/buf.h"
#include "orchestrator/transport.h"

typedef struct {
    avs_transport base;
    avs_buf out;
    size_t sent;
    bool gone;
} local;

static void lose(local *t)
{
    t->gone = true;
    avs_buf_clear(&t->out);
    t->sent = 0;
    t->base.want_write = false;
}

static void push(local *t)
{
    while (!t->gone && t->sent < t->out.len) {
        ssize_t k =
            send(t->base.fd, t->out.data + t->sent, t->out.len - t->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k >= 0) {
            t->sent += (size_t)k;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            break;
        } else if (errno != EINTR) {
            lose(t);
            return;
        }
    }
    if (t->sent == t->out.len) {
        avs_buf_clear(&t->out);
        t->sent = 0;
    }
    t->base.want_write = t->sent < t->out.len;
}

static int local_send(avs_transport *base, int peer, const void *data, size_t n, avs_err *e)
{
    local *t = (local *)base;
    (void)peer;
    if (t->gone) return AVS_OK;
    avs_buf_put(&t->out, data, n);
    if (!avs_buf_ok(&t->out)) return avs_fail(e, AVS_ENOMEM, "no memory to queue a message of %zu bytes", n);
    push(t);
    return AVS_OK;
}

static int local_poll(avs_transport *base, avs_transport_got got, void *ctx, avs_err *e)
{
    local *t = (local *)base;
    (void)e;
    char chunk[64 << 10];
    push(t);
    /* At most sixteen chunks a call, so that a talkative agent cannot keep the loop from its other duties. */
    for (int i = 0; i < 16 && t->base.fd >= 0; i++) {
        ssize_t k = recv(t->base.fd, chunk, sizeof chunk, MSG_DONTWAIT);
        if (k > 0) {
            got(ctx, 0, chunk, (size_t)k);
        } else if (k < 0 && errno == EINTR) {
            continue;
        } else if (k < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            break;
        } else {
            lose(t);
            close(t->base.fd);
            t->base.fd = -1;
            got(ctx, 0, NULL, 0);
        }
    }
    return AVS_OK;
}

static bool local_idle(const avs_transport *base)
{
    const local *t = (const local *)base;
    return t->gone || t->sent >= t->out.len;
}

static void local_close(avs_transport *base)
{
    local *t = (local *)base;
    if (t->base.fd >= 0) close(t->base.fd);
    avs_buf_free(&t->out);
    free(t);
}

int avs_transport_local(avs_transport **out, int fd, avs_err *e)
{
    *out = NULL;
    local *t = avs_xrealloc(NULL, sizeof *t);
    if (!t) return avs_fail(e, AVS_ENOMEM, "no memory for a connection");
    *t = (local){.base = {.n_peers = 1,
                          .fd = fd,
                          .wait_ns = INT64_MAX,
                          .send = local_send,
                          .poll = local_poll,
                          .idle = local_idle,
                          .close = local_close}};
    *out = &t->base;
    return AVS_OK;
}
