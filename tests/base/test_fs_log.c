/* Files appear whole or not at all; a log line is one line. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/arena.h"
#include "base/fs.h"
#include "base/log.h"

static char root[64];

static int make_root(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/avs_fs_XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    return rmdir(root); /* fails, and so does the group, when a temporary file was left behind */
}

static const char *in_root(const char *name)
{
    static char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static void a_written_file_reads_back(void **state)
{
    (void)state;
    static char data[50000];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (char)(i * 13);
    const char *path = in_root("f");
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(avs_fs_write_atomic(path, "old", 3, &e), AVS_OK);
    assert_int_equal(avs_fs_write_atomic(path, data, sizeof data, &e), AVS_OK);
    avs_buf b = AVS_BUF_INIT;
    avs_buf_char(&b, '>');
    assert_int_equal(avs_fs_read(path, 0, &b, &e), AVS_OK);
    assert_int_equal(b.len, sizeof data + 1);
    assert_memory_equal(b.data + 1, data, sizeof data);
    assert_int_equal(avs_fs_read(path, sizeof data, &b, &e), AVS_OK);
    assert_int_equal(avs_fs_read(path, sizeof data - 1, &b, &e), AVS_ERANGE);
    avs_map m;
    assert_int_equal(avs_map_open(&m, path, &e), AVS_OK);
    assert_int_equal(m.len, sizeof data);
    assert_memory_equal(m.data, data, m.len);
    avs_map_close(&m);
    avs_map_close(&m);
    avs_buf_free(&b);
    assert_true(avs_fs_exists(path) && !avs_fs_is_dir(path));
    (void)unlink(path);
    assert_false(avs_fs_exists(path));
}

static void an_empty_file_maps_to_nothing(void **state)
{
    (void)state;
    const char *path = in_root("empty");
    avs_map m;
    assert_int_equal(avs_fs_write_atomic(path, NULL, 0, NULL), AVS_OK);
    assert_int_equal(avs_map_open(&m, path, NULL), AVS_OK);
    assert_null(m.data);
    assert_int_equal(m.len, 0);
    avs_map_close(&m);
    (void)unlink(path);
}

static void an_aborted_file_leaves_the_old_one(void **state)
{
    (void)state;
    const char *path = in_root("g");
    avs_fs_out o;
    avs_buf b = AVS_BUF_INIT;
    assert_int_equal(avs_fs_write_atomic(path, "old", 3, NULL), AVS_OK);
    assert_int_equal(avs_fs_out_open(&o, path, NULL), AVS_OK);
    assert_int_equal(avs_fs_out_put(&o, "new", 3, NULL), AVS_OK);
    avs_fs_out_abort(&o);
    avs_fs_out_abort(&o);
    assert_int_equal(avs_fs_read(path, 0, &b, NULL), AVS_OK);
    assert_string_equal(avs_buf_cstr(&b), "old");
    avs_buf_free(&b);
    (void)unlink(path);
    avs_fs_out zero = {0}; /* fd 0 is not the object's to close */
    int before = fcntl(0, F_GETFD);
    avs_fs_out_abort(&zero);
    assert_int_equal(fcntl(0, F_GETFD), before);
}

static void a_full_disk_is_an_error_and_leaves_nothing(void **state)
{
    (void)state;
    if (!avs_fs_exists("/dev/full")) skip();
    avs_err e = AVS_ERR_INIT;
    avs_fs_out o;
    assert_int_equal(avs_fs_out_open(&o, in_root("h"), &e), AVS_OK);
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    assert_true(dup2(fileno(full), o.fd) >= 0);
    assert_int_equal(avs_fs_out_put(&o, "x", 1, &e), AVS_EIO);
    assert_non_null(strstr(e.msg, "No space left"));
    (void)fclose(full);
    avs_fs_out_abort(&o);
    assert_false(avs_fs_exists(in_root("h")));
}

static void what_cannot_be_written_is_named(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(avs_fs_write_atomic(in_root("no/such/folder/f"), "x", 1, &e), AVS_EIO);
    assert_non_null(strstr(e.msg, "no/such/folder"));
    assert_int_equal(avs_fs_write_atomic(root, "x", 1, &e), AVS_EIO); /* a folder: rename is refused */
    static char deep[6000];
    memset(deep, 'a', sizeof deep - 1);
    assert_int_equal(avs_fs_write_atomic(deep, "x", 1, &e), AVS_ERANGE);
    assert_int_equal(avs_fs_mkdirs(deep, &e), AVS_ERANGE);
    avs_map m;
    assert_int_equal(avs_map_open(&m, in_root("none"), &e), AVS_EMISSING);
    assert_int_equal(avs_map_open(&m, root, &e), AVS_EIO);
    assert_int_equal(mkfifo(in_root("fifo"), 0600), 0);
    assert_int_equal(avs_map_open(&m, in_root("fifo"), &e), AVS_EIO);
    (void)unlink(in_root("fifo"));
}

static void folders_are_made_and_found(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(avs_fs_mkdirs(in_root("a//b/c/"), &e), AVS_OK);
    assert_int_equal(avs_fs_mkdirs(in_root("a/b/c"), &e), AVS_OK);
    assert_true(avs_fs_is_dir(in_root("a/b/c")));
    assert_int_equal(avs_fs_mkdirs_for(in_root("a/d/file"), &e), AVS_OK);
    assert_true(avs_fs_is_dir(in_root("a/d")) && !avs_fs_exists(in_root("a/d/file")));
    assert_int_equal(avs_fs_mkdirs_for("file", &e), AVS_OK);
    assert_int_equal(avs_fs_write_atomic(in_root("a/f"), "x", 1, &e), AVS_OK);
    assert_int_equal(avs_fs_mkdirs(in_root("a/f/g"), &e), AVS_EIO);
    (void)unlink(in_root("a/f"));
    assert_int_equal(
        rmdir(in_root("a/d")) | rmdir(in_root("a/b/c")) | rmdir(in_root("a/b")) | rmdir(in_root("a")), 0);
}

static void a_read_without_memory_is_an_error(void **state)
{
    (void)state;
    const char *path = in_root("m");
    assert_int_equal(avs_fs_write_atomic(path, "text", 4, NULL), AVS_OK);
    avs_buf b = AVS_BUF_INIT;
    avs_alloc_fail_after(1);
    assert_int_equal(avs_fs_read(path, 0, &b, NULL), AVS_ENOMEM);
    avs_alloc_fail_after(0);
    avs_buf_free(&b);
    (void)unlink(path);
}

static void a_log_line_is_one_line(void **state)
{
    (void)state;
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    avs_log log = {.fd = fd[1], .level = AVS_LOG_I, .tag = "rank=2"};
    avs_log_line(&log, AVS_LOG_W, "step=%d text=%s", 12, "two\nlines");
    avs_log_line(&log, AVS_LOG_D, "dropped");
    avs_log_line(&(avs_log){.fd = -1}, AVS_LOG_E, "nowhere");
    avs_log_line(NULL, AVS_LOG_E, "nowhere");
    char text[5000];
    ssize_t n = read(fd[0], text, sizeof text - 1);
    assert_true(n > 13);
    text[n] = '\0';
    assert_string_equal(text + 12, " W rank=2 step=12 text=two lines\n");
    int h, m, s, ms;
    assert_int_equal(sscanf(text, "%2d:%2d:%2d.%3d", &h, &m, &s, &ms), 4);
    avs_log_line(&log, AVS_LOG_E, "%4000d", 1);
    n = read(fd[0], text, sizeof text - 1);
    assert_true(n < 2049 && text[n - 1] == '\n');
    (void)close(fd[0]);
    (void)close(fd[1]);
}

static void clocks_move_forward(void **state)
{
    (void)state;
    int64_t a = avs_now_ns(), b = avs_now_ns();
    assert_true(b >= a && a > 0);
    assert_true(avs_wall_us() > 1600000000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_written_file_reads_back),
        cmocka_unit_test(an_empty_file_maps_to_nothing),
        cmocka_unit_test(an_aborted_file_leaves_the_old_one),
        cmocka_unit_test(a_full_disk_is_an_error_and_leaves_nothing),
        cmocka_unit_test(what_cannot_be_written_is_named),
        cmocka_unit_test(folders_are_made_and_found),
        cmocka_unit_test(a_read_without_memory_is_an_error),
        cmocka_unit_test(a_log_line_is_one_line),
        cmocka_unit_test(clocks_move_forward),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
