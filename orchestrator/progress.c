/* The rate is that of the last eight samples (about two minutes on a terminal, four otherwise), so that the ETA follows
 * a change of pace; trials that were done before the run count as done but not in the rate. */
#include "orchestrator/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "base/fs.h"
#include "orchestrator/command_io.h"

enum { LIVE_MS = 250, LINE_MS = 30000, SAMPLE_MS = 15000, BAR = 20 };

void avs_progress_begin(avs_progress *p, int fd, bool quiet, int64_t now)
{
    const char *term = getenv("TERM");
    struct winsize w;
    *p = (avs_progress){.fd = fd, .quiet = quiet, .start_ms = now, .sampled_ms = now, .width = 80};
    p->live = !quiet && isatty(fd) && term && strcmp(term, "dumb") != 0;
    p->next_ms = now + (p->live ? LIVE_MS : LINE_MS);
    if (p->live && ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col > 20) p->width = w.ws_col;
}

int64_t avs_progress_next(const avs_progress *p)
{
    return p->quiet ? INT64_MAX : p->next_ms;
}

static void put(const avs_progress *p, const avs_buf *b)
{
    if (avs_buf_ok(b) && b->len > 0) avs_fs_full_write(p->fd, b->data, b->len);
}

static void erase(avs_progress *p, avs_buf *b)
{
    if (p->shown) avs_buf_str(b, "\r\x1b[K\x1b[1A\r\x1b[K");
    p->shown = false;
}

static double rate(const avs_progress *p, const avs_coord_counts *c, int64_t now)
{
    int32_t done = c->done + c->failed - c->done_before, from = 0;
    int64_t since = p->start_ms;
    if (p->n_window > 0) {
        since = p->window_ms[0];
        from = p->window_done[0];
    }
    return now > since ? (double)(done - from) / ((double)(now - since) / 1000) : 0;
}

void avs_progress_line(const avs_progress *p, const avs_coord_counts *c, int64_t now, avs_buf *out)
{
    int32_t left = c->waiting + c->pending + c->running + c->committing;
    double r = rate(p, c, now);
    avs_buf_fmt(out, "%d/%d done", c->done, c->total);
    if (c->running) avs_buf_fmt(out, ", %d running", c->running);
    if (c->failed) avs_buf_fmt(out, ", %d failed", c->failed);
    if (c->blocked) avs_buf_fmt(out, ", %d blocked", c->blocked);
    avs_buf_fmt(out, ", %d node%s", c->agents, c->agents == 1 ? "" : "s");
    if (r > 0) {
        if (r >= 1)
            avs_buf_fmt(out, ", %.1f/s", r);
        else
            avs_buf_fmt(out, ", %.1f/min", r * 60);
        if (left > 0) {
            avs_buf_str(out, ", ETA ");
            avs_duration(out, left / r);
        }
    }
    if (c->draining && !c->finished) avs_buf_str(out, ", draining");
}

static void sample(avs_progress *p, const avs_coord_counts *c, int64_t now)
{
    const int cap = (int)(sizeof p->window_ms / sizeof *p->window_ms);
    if (now - p->sampled_ms < SAMPLE_MS) return;
    p->sampled_ms = now;
    if (p->n_window == cap) {
        memmove(p->window_ms, p->window_ms + 1, sizeof *p->window_ms * (size_t)(cap - 1));
        memmove(p->window_done, p->window_done + 1, sizeof *p->window_done * (size_t)(cap - 1));
        p->n_window--;
    }
    p->window_ms[p->n_window] = now;
    p->window_done[p->n_window++] = c->done + c->failed - c->done_before;
}

/* Cuts at the width of the terminal; the text is ASCII except for messages, where a cut glyph does no harm. */
static void put_cut(avs_buf *b, const char *s, int width)
{
    size_t n = strlen(s);
    avs_buf_put(b, s, n < (size_t)width ? n : (size_t)width);
}

void avs_progress_show(avs_progress *p, const avs_coord_counts *c, int64_t now, bool force)
{
    if (p->quiet || (now < p->next_ms && !force)) return;
    avs_buf line = AVS_BUF_INIT, b = AVS_BUF_INIT;
    p->next_ms = now + (p->live ? LIVE_MS : LINE_MS);
    if (p->live) {
        int full = c->total > 0 ? (int)((int64_t)BAR * c->done / c->total) : BAR;
        avs_buf_char(&line, '[');
        for (int i = 0; i < BAR; i++) avs_buf_char(&line, i < full ? '#' : '.');
        avs_buf_str(&line, "] ");
    }
    avs_progress_line(p, c, now, &line);
    if (p->live) {
        erase(p, &b);
        put_cut(&b, avs_buf_cstr(&line), p->width - 1);
        avs_buf_char(&b, '\n');
        avs_buf_clear(&line);
        if (p->running[0]) avs_buf_str(&line, p->running);
        if (p->last_failure[0])
            avs_buf_fmt(&line, "%slast failure: %s", p->running[0] ? "  " : "", p->last_failure);
        put_cut(&b, avs_buf_cstr(&line), p->width - 1);
        p->shown = true;
    } else {
        if (p->last_failure[0]) avs_buf_fmt(&line, "; last failure: %s", p->last_failure);
        avs_buf_fmt(&b, "%s\n", avs_buf_cstr(&line));
    }
    put(p, &b);
    sample(p, c, now);
    avs_buf_free(&line);
    avs_buf_free(&b);
}

void avs_progress_say(avs_progress *p, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    avs_buf b = AVS_BUF_INIT;
    erase(p, &b);
    avs_buf_fmt(&b, "%s\n", text);
    put(p, &b);
    avs_buf_free(&b);
    if (p->live) p->next_ms = 0;
}

void avs_progress_end(avs_progress *p)
{
    if (p->shown) avs_fs_full_write(p->fd, "\n", 1);
    p->shown = false;
}
