/* stdout, stderr and exit statuses of the commands. */
#include "orchestrator/command_io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/json.h"

int avs_complain(int code, const avs_err *err)
{
    avs_buf b = AVS_BUF_INIT;
    avs_buf_fmt(&b, "error: %s\n", err->msg);
    avs_fs_full_write(STDERR_FILENO, b.data, b.len);
    avs_buf_free(&b);
    return code;
}

static void line(const char *fmt, va_list ap)
{
    char text[4096];
    int n = vsnprintf(text, sizeof text - 1, fmt, ap);
    if (n < 0) return;
    if (n > (int)sizeof text - 2) n = (int)sizeof text - 2;
    text[n] = '\n';
    avs_fs_full_write(STDERR_FILENO, text, (size_t)n + 1);
}

void avs_say(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    line(fmt, ap);
    va_end(ap);
}

void avs_tell(const avs_options *o, const char *fmt, ...)
{
    va_list ap;
    if (o->quiet) return;
    va_start(ap, fmt);
    line(fmt, ap);
    va_end(ap);
}

void avs_duration(avs_buf *out, double s)
{
    if (s < 90)
        avs_buf_fmt(out, "%.0f s", s);
    else if (s < 5400)
        avs_buf_fmt(out, "%.0f min", s / 60);
    else if (s < 172800)
        avs_buf_fmt(out, "%.1f h", s / 3600);
    else
        avs_buf_fmt(out, "%.1f days", s / 86400);
}

int avs_print(avs_buf *b)
{
    int rc = avs_buf_ok(b) ? AVS_EXIT_OK : AVS_EXIT_INTERNAL;
    (void)signal(SIGPIPE, SIG_IGN);
    if (rc == 0 && b->len > 0 && avs_fs_full_write(STDOUT_FILENO, b->data, b->len) != 0 && errno != EPIPE) {
        avs_err err = AVS_ERR_INIT;
        avs_fail(&err, AVS_EIO, "stdout: %s", strerror(errno));
        rc = avs_complain(AVS_EXIT_INTERNAL, &err);
    }
    avs_buf_free(b);
    return rc;
}

int avs_print_text(const avs_options *o, const char *type, avs_buf *b)
{
    avs_buf line = AVS_BUF_INIT;
    if (!o->json || !avs_buf_ok(b)) return avs_print(b);
    avs_buf_fmt(&line, "{\"type\":\"%s\",\"v\":1,\"text\":", type);
    avs_json_write_str(&line, avs_buf_cstr(b));
    avs_buf_str(&line, "}\n");
    avs_buf_free(b);
    return avs_print(&line);
}

bool avs_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static bool is_database(const char *path)
{
    char head[16] = "";
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    const ssize_t n = read(fd, head, sizeof head);
    close(fd);
    return n == (ssize_t)sizeof head && memcmp(head, "SQLite format 3", 16) == 0;
}

int avs_check_output(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    bool read = o->output && o->db && avs_same_file(o->output, o->db);
    for (int i = 0; i < o->n_words && o->output; i++) read |= avs_same_file(o->output, o->words[i]);
    if (read)
        avs_fail(&err, AVS_ERANGE, "--output %s is the database that is read: name another file", o->output);
    else if (o->output && is_database(o->output) && !(o->to && strcmp(o->to, "sqlite") == 0))
        avs_fail(&err, AVS_ERANGE, "--output %s is a database: it stays as it is", o->output);
    else
        return 0;
    return avs_complain(AVS_EXIT_USAGE, &err);
}

int avs_need_db(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    if (o->db) return 0;
    avs_fail(&err, AVS_EMISSING, "no database: give --db DB or set AVSWEEP_DB");
    return avs_complain(AVS_EXIT_USAGE, &err);
}

int avs_exit_of(int rc)
{
    return rc == AVS_EDB || rc == AVS_EIO ? AVS_EXIT_DB : AVS_EXIT_USAGE;
}

bool avs_wants_color(const avs_options *o)
{
    const char *c = o->color ? o->color : "auto", *term = getenv("TERM"), *no = getenv("NO_COLOR");
    if (strcmp(c, "always") == 0) return true;
    if (strcmp(c, "never") == 0 || o->output || (no && *no) || (term && strcmp(term, "dumb") == 0))
        return false;
    return isatty(STDOUT_FILENO) != 0;
}
