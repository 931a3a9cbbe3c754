/* A frame is one write: home, every line followed by erase-to-end, then erase-below. Nothing is cleared before it is
 * drawn, so nothing flickers. The terminal is given back on every way out, signals included. */
#include "orchestrator/watch.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include "avs_version.h"
#include "base/fs.h"
#include "base/log.h"
#include "orchestrator/command_io.h"
#include "results/store.h"
#include "orchestrator/status.h"

typedef struct {
    const avs_options *o;
    avs_store *db;
    bool full; /* draws the whole screen */
    int width, height, signals;
    struct termios before;
    bool raw; /* stdin gives single keys; before is to be restored */
    int64_t every_ns;
    bool seen_run; /* a run lived while we watched */
} view;

static void measure(view *v)
{
    struct winsize w;
    v->width = 80;
    v->height = 24;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 && w.ws_row > 0) {
        v->width = w.ws_col;
        v->height = w.ws_row;
    }
}

/* One line of text cut to the width; colour sequences count nothing, a glyph counts one. */
static void put_line(avs_buf *out, const char *s, size_t n, int width)
{
    int column = 0;
    bool sequence = false;
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)s[i];
        if (c == 0x1b) sequence = true;
        const bool glyph = !sequence && (c & 0xC0) != 0x80;
        if (glyph && column >= width) break;
        if (sequence || c >= ' ') avs_buf_char(out, (char)c);
        column += glyph;
        if (sequence && c == 'm') sequence = false;
    }
    avs_buf_str(out, "\x1b[0m\x1b[K");
}

static void draw(const view *v, const avs_status *s)
{
    avs_buf text = AVS_BUF_INIT, frame = AVS_BUF_INIT;
    char clock[16] = "";
    const time_t now = time(NULL);
    struct tm tm;
    if (localtime_r(&now, &tm)) (void)strftime(clock, sizeof clock, "%H:%M:%S", &tm);
    avs_status_text(s, v->width, avs_wants_color(v->o), true, &text);
    avs_buf_str(&frame, "\x1b[?2026h\x1b[H"); /* terminals that know it show the frame at once */
    const char *at = avs_buf_cstr(&text), *end = at + text.len;
    int line = 0;
    for (; at < end && line < v->height - 1; line++) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));
        const size_t n = nl ? (size_t)(nl - at) : (size_t)(end - at);
        put_line(&frame, at, n, v->width);
        avs_buf_str(&frame, "\r\n");
        at += n + 1;
    }
    char foot[200];
    const int n = snprintf(foot, sizeof foot, "%s  %.120s   q: quit", clock, v->o->db);
    put_line(&frame, foot, n > 0 ? strlen(foot) : 0, v->width);
    avs_buf_str(&frame, "\x1b[J\x1b[?2026l");
    if (avs_buf_ok(&frame)) avs_fs_full_write(STDOUT_FILENO, frame.data, frame.len);
    avs_buf_free(&text);
    avs_buf_free(&frame);
}

static void enter(view *v)
{
    static const char begin[] = "\x1b[?1049h\x1b[?25l\x1b[2J";
    if (isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &v->before) == 0) {
        struct termios raw = v->before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        raw.c_cc[VMIN] = 0;
        raw.c_cc[VTIME] = 0;
        v->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    }
    avs_fs_full_write(STDOUT_FILENO, begin, sizeof begin - 1);
}

static void leave(const view *v)
{
    static const char end[] = "\x1b[?25h\x1b[?1049l";
    if (v->full) avs_fs_full_write(STDOUT_FILENO, end, sizeof end - 1);
    if (v->raw) (void)tcsetattr(STDIN_FILENO, TCSANOW, &v->before);
}

/* Waits for the next frame, a key or a signal; false: the end is wanted. */
static bool wait_turn(view *v)
{
    const int64_t until = avs_now_ns() + v->every_ns;
    for (;;) {
        int64_t left = until - avs_now_ns();
        if (left <= 0) return true;
        struct timespec ts = {left / 1000000000, left % 1000000000};
        struct pollfd p[2] = {{v->signals, POLLIN, 0}, {v->raw ? STDIN_FILENO : -1, POLLIN, 0}};
        if (ppoll(p, 2, &ts, NULL) < 0 && errno != EINTR) return false;
        struct signalfd_siginfo si;
        bool resized = false;
        while (read(v->signals, &si, sizeof si) == (ssize_t)sizeof si) {
            if (si.ssi_signo != SIGWINCH) return false;
            resized = true;
        }
        if (resized) {
            measure(v);
            return true;
        }
        if (p[1].revents & (POLLHUP | POLLERR)) return false;
        char key = 0;
        if (p[1].revents & POLLIN) {
            const ssize_t k = read(STDIN_FILENO, &key, 1);
            if (k <= 0 || key == 'q' || key == 'Q' || key == 3 || key == 4) return false;
            return true; /* any other key: at once */
        }
    }
}

static bool over(view *v, const avs_status *s)
{
    const bool lives = s->owner.held && s->owner.alive;
    v->seen_run |= lives;
    const int64_t left = s->rows.count[AVS_TRIAL_PENDING] + s->rows.count[AVS_TRIAL_RUNNING] +
                         s->rows.count[AVS_TRIAL_PREEMPTED];
    return !lives && (v->seen_run || left == 0);
}

static int loop(view *v, avs_status *last, avs_err *e)
{
    int rc;
    for (;;) {
        rc = avs_status_read(v->db, v->o->db, v->o->sweep, last, e);
        if (rc != AVS_OK) return rc;
        const bool end = over(v, last);
        if (v->full) {
            draw(v, last);
        } else {
            avs_buf b = AVS_BUF_INIT;
            if (v->o->json) {
                avs_status_json(last, &b);
            } else {
                avs_status_line(last, &b);
                avs_buf_char(&b, '\n');
            }
            if (avs_print(&b) != AVS_EXIT_OK) return AVS_OK;
        }
        if (end || !wait_turn(v)) return AVS_OK;
    }
}

int avs_watch(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    const char *term = getenv("TERM");
    view v = {.o = o, .full = !o->json && isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0};
    avs_status last;
    double seconds = v.full ? 0.5 : 30;
    if (o->every && avs_cli_duration(o->every, &seconds, &err) != AVS_OK)
        return avs_complain(AVS_EXIT_USAGE, &err);
    v.every_ns = (int64_t)(seconds * 1e9);
    int rc = avs_store_open(o->db, AVS_STORE_READ, AVS_VERSION, &v.db, &err);
    if (rc != AVS_OK) return avs_complain(AVS_EXIT_DB, &err);
    sigset_t set;
    sigemptyset(&set);
    for (const int *s = (const int[]){SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, 0}; *s; s++)
        sigaddset(&set, *s);
    sigprocmask(SIG_BLOCK, &set, NULL);
    v.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (v.signals < 0) rc = avs_fail(&err, AVS_EIO, "signalfd: %s", strerror(errno));
    measure(&v);
    if (rc == AVS_OK && v.full) enter(&v);
    if (rc == AVS_OK) rc = loop(&v, &last, &err);
    leave(&v);
    if (rc == AVS_OK && v.full) { /* what the screen said last stays readable */
        avs_buf b = AVS_BUF_INIT;
        avs_status_text(&last, v.width, avs_wants_color(o), false, &b);
        avs_print(&b);
    }
    if (v.signals >= 0) close(v.signals);
    avs_store_close(v.db);
    return rc == AVS_OK ? AVS_EXIT_OK : avs_complain(avs_exit_of(rc), &err);
}
