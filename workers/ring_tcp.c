/* The ring across nodes, over TCP: ranks form a chain. A sum runs up the chain, each rank adding its own numbers to those
 * of the ranks before it (so in rank order), and the result runs back down. Numbers move in pieces as the sockets take
 * them, in both directions at once; a link between two nodes carries every number once each way, however many ranks lie
 * on them. Sleeps in poll; a peer's death closes its sockets, which its neighbours see and pass on by closing theirs. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "workers/ring_meet.h"
#include "workers/ring_table.h"

enum { MAX_RANKS = 1024, PIECE = 1 << 18 /* bytes */ };

typedef enum { OP_MEAN = 1, OP_SUM, OP_FIRST, OP_MAX } chain_op; /* floats, then doubles */

typedef struct {
    avs_ring base; /* first */
    int prev, next;
    uint64_t count; /* operations so far: ranks must agree */
    uint8_t *piece; /* partial sums from the rank before */
} tcp_ring;

/* What goes before the numbers of an operation. */
typedef struct {
    uint32_t op, zero;
    uint64_t count, bytes;
} heading;

/* One operation under way; all are bytes of data [n]. */
typedef struct {
    chain_op op;
    uint8_t *data;
    size_t n;
    size_t held;     /* in the piece, not folded yet                        */
    size_t folded;   /* of data: holds what the ranks up to this one make   */
    size_t passed;   /* of folded: sent to the next rank                    */
    size_t final;    /* of data: holds the result                           */
    size_t returned; /* of final: sent to the rank before                   */
} chain;

static int ended(const tcp_ring *r, avs_err *e)
{
    return avs_fail(e, AVS_ECANCEL, "rank %d: another rank of this trial ended", r->base.rank);
}

/* Moves up to n bytes without waiting: how many, or -1 when the peer is gone. */
static ssize_t take(int fd, void *to, size_t n)
{
    const ssize_t k = recv(fd, to, n, MSG_DONTWAIT);
    if (k > 0) return k;
    return k < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) ? 0 : -1;
}

static ssize_t give(int fd, const void *from, size_t n)
{
    const ssize_t k = send(fd, from, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (k >= 0) return k;
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
}

/* Sleeps until a socket is ready for what is wanted of it. The end of a peer that is not being read counts at once; the
 * rank after is no longer needed when it has returned everything, for it may leave first. */
static int rest(const tcp_ring *r, short of_prev, short of_next, bool needs_next, avs_err *e)
{
    struct pollfd p[2] = {{.fd = r->prev, .events = (short)(of_prev | POLLRDHUP)},
                          {.fd = needs_next ? r->next : -1, .events = (short)(of_next | POLLRDHUP)}};
    if (poll(p, 2, -1) < 0 && errno != EINTR) return avs_fail(e, AVS_EIO, "poll: %s", strerror(errno));
    for (int i = 0; i < 2; i++)
        if ((p[i].revents & (POLLRDHUP | POLLHUP | POLLERR)) && !(p[i].revents & p[i].events & POLLIN))
            return ended(r, e);
    return AVS_OK;
}

/* ---- numbers ---- */

static void fold(chain *c, const uint8_t *piece, size_t bytes)
{
    if (c->op == OP_MEAN) {
        const float *before = (const float *)(const void *)piece;
        float *x = (float *)(void *)(c->data + c->folded);
        for (size_t i = 0; i < bytes / sizeof *x; i++) x[i] = before[i] + x[i];
    } else if (c->op == OP_SUM) {
        const double *before = (const double *)(const void *)piece;
        double *x = (double *)(void *)(c->data + c->folded);
        for (size_t i = 0; i < bytes / sizeof *x; i++) x[i] = before[i] + x[i];
    } else {
        double before, own;
        memcpy(&before, piece, sizeof before);
        memcpy(&own, c->data, sizeof own);
        if (c->op == OP_MAX && own > before) before = own;
        memcpy(c->data, &before, sizeof before);
    }
}

/* Partial results from the rank before; the last rank's sums are the results. */
static int up(tcp_ring *r, chain *c, bool *moved)
{
    const size_t unit = c->op == OP_MEAN ? sizeof(float) : sizeof(double);
    size_t room = c->n - c->folded - c->held;
    if (room > PIECE - c->held) room = PIECE - c->held;
    if (room == 0) return AVS_OK;
    const ssize_t k = take(r->prev, r->piece + c->held, room);
    if (k < 0) return AVS_ECANCEL;
    c->held += (size_t)k;
    const size_t whole = c->held / unit * unit;
    if (k > 0) *moved = true;
    if (whole == 0) return AVS_OK;
    fold(c, r->piece, whole);
    memmove(r->piece, r->piece + whole, c->held - whole);
    c->held -= whole;
    if (r->next < 0 && c->op == OP_MEAN) {
        float *x = (float *)(void *)(c->data + c->folded);
        const float scale = 1.F / (float)r->base.ranks;
        for (size_t i = 0; i < whole / sizeof *x; i++) x[i] *= scale;
    }
    c->folded += whole;
    if (r->next < 0) c->final = c->folded;
    return AVS_OK;
}

/* One try of everything that can move. */
static int move(tcp_ring *r, chain *c, bool *moved)
{
    ssize_t k = 0;
    if (c->folded < c->n && up(r, c, moved) != AVS_OK) return AVS_ECANCEL;
    if (r->next >= 0 && c->passed < c->folded) {
        k = give(r->next, c->data + c->passed, c->folded - c->passed);
        if (k < 0) return AVS_ECANCEL;
        c->passed += (size_t)k;
        *moved |= k > 0;
    }
    if (r->next >= 0 && c->final < c->passed) { /* nothing can come back that was not passed on */
        k = take(r->next, c->data + c->final, c->passed - c->final);
        if (k < 0) return AVS_ECANCEL;
        c->final += (size_t)k;
        *moved |= k > 0;
    }
    if (r->prev >= 0 && c->returned < c->final) {
        k = give(r->prev, c->data + c->returned, c->final - c->returned);
        if (k < 0) return AVS_ECANCEL;
        c->returned += (size_t)k;
        *moved |= k > 0;
    }
    return AVS_OK;
}

static int exact(tcp_ring *r, bool send_it, heading *h, avs_err *e)
{
    for (size_t done = 0; done < sizeof *h;) {
        uint8_t *at = (uint8_t *)h + done;
        const ssize_t k = send_it ? give(r->next, at, sizeof *h - done) : take(r->prev, at, sizeof *h - done);
        if (k < 0) return ended(r, e);
        done += (size_t)k;
        if (k == 0) {
            int rc = rest(r, send_it ? 0 : POLLIN, send_it ? POLLOUT : 0, true, e);
            if (rc != AVS_OK) return rc;
        }
    }
    return AVS_OK;
}

/* The heading comes from the rank before and goes to the next: whoever is elsewhere in the program is found out. */
static int announce(tcp_ring *r, const chain *c, avs_err *e)
{
    heading own = {.op = (uint32_t)c->op, .count = ++r->count, .bytes = c->n}, before;
    if (r->prev >= 0) {
        int rc = exact(r, false, &before, e);
        if (rc != AVS_OK) return rc;
        if (memcmp(&before, &own, sizeof own) != 0)
            return avs_fail(
                e, AVS_EPARSE,
                "rank %d: the rank before is at operation %llu of %llu bytes, this one at %llu of %llu",
                r->base.rank, (unsigned long long)before.count, (unsigned long long)before.bytes,
                (unsigned long long)own.count, (unsigned long long)own.bytes);
    }
    return r->next >= 0 ? exact(r, true, &own, e) : AVS_OK;
}

static int run(tcp_ring *r, chain_op op, void *data, size_t n, avs_err *e)
{
    chain c = {.op = op, .data = data, .n = n};
    int rc = announce(r, &c, e);
    if (r->prev < 0) c.folded = n;
    while (rc == AVS_OK && (c.final < n || (r->prev >= 0 && c.returned < n))) {
        bool moved = false;
        if (move(r, &c, &moved) != AVS_OK) return ended(r, e);
        if (moved) continue;
        const short of_prev = (short)((c.folded < n ? POLLIN : 0) | (c.returned < c.final ? POLLOUT : 0));
        const short of_next =
            (short)((c.passed < c.folded ? POLLOUT : 0) | (c.final < c.passed ? POLLIN : 0));
        rc = rest(r, of_prev, of_next, c.final < n, e);
    }
    return rc;
}

/* ---- the table ---- */

static int tcp_mean(avs_ring *base, float *x, int64_t n, avs_err *e)
{
    return n > 0 ? run((tcp_ring *)base, OP_MEAN, x, (size_t)n * sizeof *x, e) : AVS_OK;
}

static int tcp_sum(avs_ring *base, double *x, int64_t n, avs_err *e)
{
    return n > 0 ? run((tcp_ring *)base, OP_SUM, x, (size_t)n * sizeof *x, e) : AVS_OK;
}

static int tcp_agree(avs_ring *base, double *value, bool largest, avs_err *e)
{
    return run((tcp_ring *)base, largest ? OP_MAX : OP_FIRST, value, sizeof *value, e);
}

static int tcp_barrier(avs_ring *base, avs_err *e)
{
    double word = 0;
    return tcp_agree(base, &word, false, e);
}

static bool tcp_gone(const avs_ring *base)
{
    const tcp_ring *r = (const tcp_ring *)base;
    struct pollfd p[2] = {{.fd = r->prev, .events = POLLRDHUP}, {.fd = r->next, .events = POLLRDHUP}};
    return poll(p, 2, 0) > 0;
}

static void tcp_close(avs_ring *base)
{
    tcp_ring *r = (tcp_ring *)base;
    if (r->prev >= 0) close(r->prev);
    if (r->next >= 0) close(r->next);
    avs_xfree(r->piece);
    avs_xfree(r);
}

static const avs_ring_ops tcp_ops = {tcp_mean, tcp_sum, tcp_barrier, tcp_agree, tcp_gone, tcp_close};

int avs_ring_open_tcp(avs_ring **out, avs_ring_meet *meet, const char *address, int rank, int ranks,
                      int timeout_ms, avs_err *e)
{
    *out = NULL;
    tcp_ring *r = ranks >= 2 && ranks <= MAX_RANKS ? avs_xalloc(sizeof *r) : NULL;
    uint8_t *piece = r ? avs_xalloc(PIECE) : NULL;
    if (!piece) {
        avs_ring_unlisten(meet);
        avs_xfree(r);
        if (ranks < 2 || ranks > MAX_RANKS)
            return avs_fail(e, AVS_ERANGE, "%d ranks, a ring across nodes takes 2 to %d", ranks, MAX_RANKS);
        return avs_fail(e, AVS_ENOMEM, "out of memory for the host ring");
    }
    *r = (tcp_ring){.base = {&tcp_ops, rank, ranks}, .prev = -1, .next = -1, .piece = piece};
    int rc = avs_ring_join(meet, address, rank, ranks, timeout_ms, &r->prev, &r->next, e);
    if (rc == AVS_OK) rc = tcp_barrier(&r->base, e);
    if (rc != AVS_OK) {
        tcp_close(&r->base);
        return rc;
    }
    *out = &r->base;
    return AVS_OK;
}
