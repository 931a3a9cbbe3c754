/* See ring_meet.h: addresses, the handshake of both sides, and the order in which ranks connect. Nothing blocks longer than
 * the time that the caller gave. */
#include "workers/ring_meet.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/log.h"

#define MS INT64_C(1000000)
enum { HOSTS = 16, HOST = 64, TOKEN = 32, PROOF = 32, GUESTS = 32, GUEST_MS = 5000, DIAL_MS = 3000 };

typedef struct {
    char magic[8];
    uint32_t order, rank, ranks, port; /* port: where the sender lets the next rank in; 0: nowhere */
    uint8_t nonce[16];
} greeting;

/* Where the rank before listens, as rank 0 tells it. */
typedef struct {
    char host[HOST];
    uint32_t port;
} way;

struct avs_ring_meet {
    int fd;
    uint16_t port;
    char token[TOKEN + 1];
};

typedef struct {
    char name[HOSTS][HOST];
    int n;
} host_list;

/* A connection during its handshake. */
typedef struct {
    int fd;
    greeting mine, theirs;
    char host[HOST]; /* of the other side */
    uint8_t in[sizeof(greeting) + PROOF];
    size_t got;
    int64_t end_ns;
} guest;

typedef struct {
    int fd;
    uint32_t port;
    char host[HOST];
} seat;

/* ---- addresses ---- */

static void numeric(const struct sockaddr *a, socklen_t n, char out[HOST])
{
    char text[NI_MAXHOST];
    out[0] = '\0';
    if (getnameinfo(a, n, text, sizeof text, NULL, 0, NI_NUMERICHOST) != 0) return;
    const char *from =
        strncmp(text, "::ffff:", 7) == 0 ? text + 7 : text; /* IPv4 on a socket of both kinds */
    if (strlen(from) < HOST) memcpy(out, from, strlen(from) + 1);
}

static void add_host(host_list *l, const struct sockaddr *a)
{
    const socklen_t n = a->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    if (l->n == HOSTS) return;
    numeric(a, n, l->name[l->n]);
    for (int i = 0; i < l->n; i++)
        if (strcmp(l->name[i], l->name[l->n]) == 0) return;
    l->n += l->name[l->n][0] != '\0';
}

/* The addresses of one interface, or (NULL) of all that lead out of the machine. */
static void interface_hosts(host_list *l, const char *only)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0) return;
    for (int pass = 0; pass < 2; pass++)
        for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
            const int family = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;
            if (family != (pass == 0 ? AF_INET : AF_INET6) || !(i->ifa_flags & IFF_UP)) continue;
            if (only ? strcmp(i->ifa_name, only) != 0 : (i->ifa_flags & IFF_LOOPBACK) != 0) continue;
            struct sockaddr_in6 six;
            if (family == AF_INET6) {
                memcpy(&six, i->ifa_addr, sizeof six);
                if (IN6_IS_ADDR_LINKLOCAL(&six.sin6_addr)) continue;
            }
            add_host(l, i->ifa_addr);
        }
    freeifaddrs(all);
}

static int own_hosts(host_list *l, avs_err *e)
{
    const char *wish = getenv("AVSWEEP_RING_ADDRESS");
    l->n = 0;
    if (!wish || !*wish) {
        interface_hosts(l, NULL);
        if (l->n == 0) snprintf(l->name[l->n++], HOST, "127.0.0.1");
        return AVS_OK;
    }
    interface_hosts(l, wish);
    const struct addrinfo like = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (l->n == 0 && getaddrinfo(wish, NULL, &like, &found) == 0)
        for (const struct addrinfo *i = found; i; i = i->ai_next)
            if (i->ai_family == AF_INET || i->ai_family == AF_INET6) add_host(l, i->ai_addr);
    if (found) freeaddrinfo(found);
    if (l->n > 0) return AVS_OK;
    return avs_fail(e, AVS_EMISSING,
                    "AVSWEEP_RING_ADDRESS is '%s': expected an address, a host or an interface of this node",
                    wish);
}

/* "PORT/SECRET/HOST,HOST,.." */
static int read_address(const char *text, avs_ring_meet *to, host_list *l, avs_err *e)
{
    char *end = NULL;
    uint8_t secret[TOKEN / 2];
    const unsigned long port = strtoul(text, &end, 10);
    bool ok = text[0] >= '0' && text[0] <= '9' && port > 0 && port < 65536 && *end == '/' &&
              avs_unhex(end + 1, sizeof secret, secret) && end[1 + TOKEN] == '/';
    l->n = 0;
    to->port = (uint16_t)port;
    if (ok) avs_hex(secret, sizeof secret, to->token);
    for (const char *p = ok ? end + 2 + TOKEN : ""; ok && *p && l->n < HOSTS;) {
        const size_t n = strcspn(p, ",");
        ok = n > 0 && n < HOST;
        if (!ok) break;
        memcpy(l->name[l->n], p, n);
        l->name[l->n++][n] = '\0';
        p += n + (p[n] == ',');
    }
    return ok && l->n > 0 ? AVS_OK
                          : avs_fail(e, AVS_EPARSE, "the address of rank 0 is not PORT/SECRET/HOST,..");
}

/* ---- sockets ---- */

static int listen_any(avs_ring_meet *m, int backlog, avs_err *e)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    const int no = 0;
    bool ok;
    m->fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (m->fd >= 0) {
        ok = setsockopt(m->fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no) == 0 &&
             bind(m->fd, (const struct sockaddr *)&six, sizeof six) == 0;
        if (!ok) close(m->fd);
        if (!ok) m->fd = -1;
    }
    if (m->fd < 0) { /* a machine without IPv6 */
        m->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (m->fd < 0 || bind(m->fd, (const struct sockaddr *)&four, sizeof four) != 0)
            return avs_fail(e, AVS_EIO, "cannot make a socket for the ring: %s", strerror(errno));
    }
    struct sockaddr_storage at = {0};
    socklen_t n = sizeof at;
    if (listen(m->fd, backlog) != 0 || getsockname(m->fd, (struct sockaddr *)&at, &n) != 0)
        return avs_fail(e, AVS_EIO, "cannot listen for other ranks: %s", strerror(errno));
    if (at.ss_family == AF_INET6)
        memcpy(&six, &at, sizeof six);
    else
        memcpy(&four, &at, sizeof four);
    m->port = ntohs(at.ss_family == AF_INET6 ? six.sin6_port : four.sin_port);
    return AVS_OK;
}

/* No delay for small words; a node that vanished is noticed by probes within a minute. (TCP_USER_TIMEOUT would also cut off
 * a rank that is only busy and does not read.) */
static void tune(int fd)
{
    const int on = 1, idle = 20, gap = 10, probes = 4;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &gap, sizeof gap);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static int ms_until(int64_t end_ns)
{
    const int64_t left = end_ns - avs_now_ns();
    return left <= 0 ? 0 : (int)(left / MS < 3600000 ? left / MS + 1 : 3600000);
}

/* Waits for one thing on one socket; false when the time is over. */
static bool wait_for(int fd, short what, int64_t end_ns)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = what};
        const int k = poll(&p, 1, ms_until(end_ns));
        if (k > 0) return true;
        if ((k < 0 && errno != EINTR) || avs_now_ns() >= end_ns) return false;
    }
}

static int dial(const char *host, unsigned port, int64_t end_ns)
{
    const struct addrinfo like = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *to = NULL;
    char service[16];
    snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(host, service, &like, &to) != 0) return -1;
    const int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0 && (connect(fd, to->ai_addr, to->ai_addrlen) == 0 || errno == EINPROGRESS) &&
              wait_for(fd, POLLOUT, end_ns);
    int err = 0;
    socklen_t n = sizeof err;
    ok = ok && getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &n) == 0 && err == 0;
    freeaddrinfo(to);
    if (!ok && fd >= 0) close(fd);
    return ok ? fd : -1;
}

/* ---- the handshake ---- */

static bool greeting_of(greeting *g, int rank, int ranks, unsigned port)
{
    *g = (greeting){.magic = "AVSRING1",
                    .order = 0x01020304,
                    .rank = (uint32_t)rank,
                    .ranks = (uint32_t)ranks,
                    .port = port};
    return getrandom(g->nonce, sizeof g->nonce, 0) == (ssize_t)sizeof g->nonce;
}

static void prove(const char *token, const greeting *from, const greeting *to, uint8_t out[PROOF])
{
    avs_sha256 s;
    avs_sha256_init(&s);
    avs_sha256_put(&s, token, TOKEN);
    avs_sha256_put(&s, from, sizeof *from);
    avs_sha256_put(&s, to, sizeof *to);
    avs_sha256_end(&s, out);
}

/* A few bytes on a fresh connection: they fit, or something is wrong with it. */
static bool say(int fd, const void *data, size_t n)
{
    return send(fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n;
}

static bool begin(guest *g, int fd, int rank, int ranks, unsigned port, int64_t end_ns)
{
    g->fd = fd;
    g->got = 0;
    g->end_ns = end_ns;
    tune(fd);
    return greeting_of(&g->mine, rank, ranks, port) && say(fd, &g->mine, sizeof g->mine);
}

static bool greeting_is_good(const guest *g)
{
    const greeting *t = &g->theirs, *m = &g->mine;
    return memcmp(t->magic, m->magic, sizeof t->magic) == 0 && t->order == m->order && t->ranks == m->ranks &&
           t->rank < t->ranks && t->rank != m->rank && t->port < 65536;
}

/* Reads what is there and no more than the handshake. 1: the other side knows the secret; 0: not all is there yet; -1: it
 * is to be shut out. */
static int proceed(guest *g, const char *token)
{
    while (g->got < sizeof g->in) {
        const size_t upto = g->got < sizeof g->theirs ? sizeof g->theirs : sizeof g->in;
        const ssize_t k = recv(g->fd, g->in + g->got, upto - g->got, MSG_DONTWAIT);
        uint8_t proof[PROOF];
        if (k < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return 0;
        if (k <= 0) return -1;
        g->got += (size_t)k;
        if (g->got != sizeof g->theirs) continue;
        memcpy(&g->theirs, g->in, sizeof g->theirs);
        if (!greeting_is_good(g)) return -1;
        prove(token, &g->mine, &g->theirs, proof);
        if (!say(g->fd, proof, sizeof proof)) return -1;
    }
    uint8_t want[PROOF], differs = 0;
    prove(token, &g->theirs, &g->mine, want);
    for (int i = 0; i < PROOF; i++) differs |= (uint8_t)(want[i] ^ g->in[sizeof g->theirs + (size_t)i]);
    return differs ? -1 : 1;
}

/* ---- letting ranks in ---- */

typedef struct {
    const avs_ring_meet *at;
    int rank, ranks, first, last; /* first..last are let in */
    seat *seat; /* [ranks]; of those that have come, and of others whose end would end the wait */
    guest guest[GUESTS];
    int n, missing;
} hall;

static void shut_out(hall *h, int i)
{
    close(h->guest[i].fd);
    h->guest[i] = h->guest[--h->n];
}

static int open_door(hall *h, avs_err *e)
{
    while (h->n < GUESTS) {
        struct sockaddr_storage from = {0};
        socklen_t n = sizeof from;
        const int fd = accept4(h->at->fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
            return avs_fail(e, AVS_EIO, "cannot let ranks in: %s", strerror(errno));
        if (fd < 0) break; /* nobody more, or one that has gone already */
        guest *g = &h->guest[h->n++];
        numeric((const struct sockaddr *)&from, n, g->host);
        if (!begin(g, fd, h->rank, h->ranks, 0, avs_now_ns() + GUEST_MS * MS)) shut_out(h, h->n - 1);
    }
    return AVS_OK;
}

static void hear_guests(hall *h)
{
    for (int i = h->n - 1; i >= 0; i--) {
        guest *g = &h->guest[i];
        const int k = proceed(g, h->at->token), who = k > 0 ? (int)g->theirs.rank : -1;
        if (who >= h->first && who <= h->last && h->seat[who].fd < 0) {
            h->seat[who] = (seat){.fd = g->fd, .port = g->theirs.port};
            memcpy(h->seat[who].host, g->host, HOST);
            h->missing--;
            *g = h->guest[--h->n];
        } else if (k != 0 || avs_now_ns() >= g->end_ns) {
            shut_out(h, i);
        }
    }
}

/* Seats first..last are filled, each by the rank that it belongs to. */
static int let_in(hall *h, struct pollfd *p, int64_t end_ns, avs_err *e)
{
    h->missing = h->last - h->first + 1;
    while (h->missing > 0) {
        int64_t until = end_ns;
        nfds_t n = 0, seats = 0;
        for (int r = 0; r < h->ranks; r++)
            if (h->seat[r].fd >= 0) p[n++] = (struct pollfd){.fd = h->seat[r].fd, .events = POLLRDHUP};
        seats = n;
        p[n++] = (struct pollfd){.fd = h->n < GUESTS ? h->at->fd : -1, .events = POLLIN};
        for (int i = 0; i < h->n; i++) {
            p[n++] = (struct pollfd){.fd = h->guest[i].fd, .events = POLLIN};
            if (h->guest[i].end_ns < until) until = h->guest[i].end_ns;
        }
        if (poll(p, n, ms_until(until)) < 0 && errno != EINTR)
            return avs_fail(e, AVS_EIO, "poll: %s", strerror(errno));
        for (nfds_t i = 0; i < seats; i++)
            if (p[i].revents)
                return avs_fail(e, AVS_ECANCEL, "rank %d: another rank of this trial ended", h->rank);
        hear_guests(h);
        int rc = open_door(h, e);
        if (rc != AVS_OK) return rc;
        if (h->missing > 0 && avs_now_ns() >= end_ns)
            return avs_fail(e, AVS_EMISSING, "rank %d: %d ranks did not connect in time", h->rank,
                            h->missing);
    }
    return AVS_OK;
}

/* ---- going to other ranks ---- */

/* A proven connection to one rank at one of the addresses, each in its share of the time; -1: none. */
static int call(const host_list *l, const avs_ring_meet *to, int who, int rank, int ranks, unsigned port,
                int64_t end_ns)
{
    for (int i = 0; i < l->n; i++) {
        const int64_t now = avs_now_ns(), share = (end_ns - now) / (l->n - i);
        const int fd = dial(l->name[i], to->port, now + (share < DIAL_MS * MS ? share : DIAL_MS * MS));
        if (fd < 0) continue;
        guest g;
        int k = begin(&g, fd, rank, ranks, port, now + share) ? 0 : -1;
        while (k == 0 && wait_for(fd, POLLIN, g.end_ns)) k = proceed(&g, to->token);
        if (k > 0 && (int)g.theirs.rank == who) return fd;
        close(fd);
    }
    return -1;
}

static int no_way(int rank, int who, avs_err *e)
{
    return avs_fail(e, AVS_EMISSING,
                    "rank %d cannot reach rank %d on its node; AVSWEEP_RING_ADDRESS chooses the interface "
                    "that rank 0 tells",
                    rank, who);
}

/* Rank 0 tells where the rank before is; later than that its connection has no use. */
static int ask_way(int fd, int rank, int64_t end_ns, way *out, avs_err *e)
{
    size_t got = 0;
    while (got < sizeof *out && wait_for(fd, POLLIN, end_ns)) {
        const ssize_t k = recv(fd, (char *)out + got, sizeof *out - got, MSG_DONTWAIT);
        if (k < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (k <= 0) return avs_fail(e, AVS_ECANCEL, "rank %d: another rank of this trial ended", rank);
        got += (size_t)k;
    }
    if (got < sizeof *out || !memchr(out->host, '\0', HOST) || out->port == 0 || out->port > 65535)
        return avs_fail(e, AVS_EMISSING, "rank %d: rank 0 did not tell where rank %d is", rank, rank - 1);
    return AVS_OK;
}

static int tell_ways(const seat *of, int ranks, avs_err *e)
{
    for (int r = 2; r < ranks; r++) {
        way w = {.port = of[r - 1].port};
        memcpy(w.host, of[r - 1].host, HOST);
        if (!say(of[r].fd, &w, sizeof w))
            return avs_fail(e, AVS_ECANCEL, "rank 0: another rank of this trial ended");
    }
    return AVS_OK;
}

/* The connection to the rank before this one. */
static int find_prev(const char *address, int rank, int ranks, unsigned port, int64_t end_ns, int *prev,
                     avs_ring_meet *secret, avs_err *e)
{
    host_list l;
    way w = {.port = 0};
    int rc = read_address(address, secret, &l, e);
    if (rc != AVS_OK) return rc;
    *prev = call(&l, secret, 0, rank, ranks, port, end_ns);
    if (*prev < 0) return no_way(rank, 0, e);
    if (rank == 1) return AVS_OK;
    rc = ask_way(*prev, rank, end_ns, &w, e);
    close(*prev);
    *prev = -1;
    if (rc != AVS_OK) return rc;
    l.n = 1;
    memcpy(l.name[0], w.host, HOST);
    secret->port = (uint16_t)w.port;
    *prev = call(&l, secret, rank - 1, rank, ranks, 0, end_ns);
    return *prev < 0 ? no_way(rank, rank - 1, e) : AVS_OK;
}

int avs_ring_join(avs_ring_meet *meet, const char *address, int rank, int ranks, int timeout_ms, int *prev,
                  int *next, avs_err *e)
{
    const int64_t end_ns = avs_now_ns() + timeout_ms * MS;
    avs_ring_meet own = {.fd = -1}, secret = {.fd = -1};
    hall *h = avs_xalloc(sizeof *h);
    seat *s = avs_xalloc(sizeof *s * (size_t)ranks);
    struct pollfd *p = avs_xalloc(sizeof *p * ((size_t)ranks + GUESTS + 1));
    int rc = h && s && p ? AVS_OK : avs_fail(e, AVS_ENOMEM, "out of memory for the host ring");
    *prev = *next = -1;
    for (int r = 0; s && r < ranks; r++) s[r].fd = -1;
    if (rc != AVS_OK) goto out;
    if (rank > 0) {
        if (rank + 1 < ranks) AVS_TRY(listen_any(&own, GUESTS, e));
        AVS_TRY(find_prev(address, rank, ranks, own.port, end_ns, prev, &secret, e));
        memcpy(own.token, secret.token, sizeof own.token);
        s[rank - 1].fd = *prev;
    }
    if (rank + 1 < ranks) {
        *h = (hall){.at = rank == 0 ? meet : &own,
                    .rank = rank,
                    .ranks = ranks,
                    .first = rank + 1,
                    .last = rank == 0 ? ranks - 1 : rank + 1,
                    .seat = s};
        AVS_TRY(let_in(h, p, end_ns, e));
        if (rank == 0) AVS_TRY(tell_ways(s, ranks, e));
        *next = s[rank + 1].fd;
    }
out:
    for (int i = 0; h && i < h->n; i++) close(h->guest[i].fd);
    for (int r = 0; s && r < ranks; r++)
        if (s[r].fd >= 0 && (rc != AVS_OK || (s[r].fd != *prev && s[r].fd != *next))) close(s[r].fd);
    if (rc != AVS_OK) *prev = *next = -1;
    if (own.fd >= 0) close(own.fd);
    avs_ring_unlisten(meet);
    avs_xfree(p);
    avs_xfree(s);
    avs_xfree(h);
    return rc;
}

/* ---- rank 0 before the others know it ---- */

int avs_ring_listen(avs_ring_meet **out, char address[AVS_RING_ADDRESS], avs_err *e)
{
    host_list l;
    uint8_t secret[TOKEN / 2];
    int rc = own_hosts(&l, e);
    *out = NULL;
    if (rc != AVS_OK) return rc;
    avs_ring_meet *m = avs_xalloc(sizeof *m);
    if (!m) return avs_fail(e, AVS_ENOMEM, "out of memory for the host ring");
    m->fd = -1;
    if (getrandom(secret, sizeof secret, 0) != (ssize_t)sizeof secret)
        rc = avs_fail(e, AVS_EIO, "no random bytes for the secret of the ring: %s", strerror(errno));
    if (rc == AVS_OK) rc = listen_any(m, SOMAXCONN, e);
    if (rc != AVS_OK) {
        avs_ring_unlisten(m);
        return rc;
    }
    avs_hex(secret, sizeof secret, m->token);
    int at = snprintf(address, AVS_RING_ADDRESS, "%u/%s/", m->port, m->token);
    for (int i = 0; i < l.n; i++)
        at += snprintf(address + at, (size_t)(AVS_RING_ADDRESS - at), "%s%s", i ? "," : "", l.name[i]);
    *out = m;
    return AVS_OK;
}

void avs_ring_unlisten(avs_ring_meet *m)
{
    if (m && m->fd >= 0) close(m->fd);
    avs_xfree(m);
}
