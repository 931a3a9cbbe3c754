/* A trial program for tests: speaks docs/trial-protocol.md and misbehaves on request.
 *
 *   FAKE_PLAN  list "seed[rRANK]=behaviour[*n],.."; `*` as seed means every other one; *n: only in the first n
 *              attempts; without a rank: rank 0
 *   FAKE_LOG   file to which one line per start and end is appended
 *   FAKE_CURVES  set: the loss depends on the trial, not on the step alone
 *   FAKE_GATE  file that behaviour `gate` waits for
 *   FAKE_GPU_BYTES  memory on a GPU that DONE tells
 *   FAKE_MS    milliseconds per step (default 2), FAKE_STEPS steps (default 5)
 *
 * Behaviours: ok, crash (SIGSEGV half way), exit3, error, error-new (another text each time), hang, silent (no HELLO),
 * garbage (broken frame), big (8 MiB of latency samples), stale (frames of another epoch), nan, deaf (ignores STOP),
 * gate (goes on from half way when the file is there), mute (says nothing between its start and its end, as ranks other
 * than 0 of real trials), oom (FAIL for want of memory), torch-oom (the words of PyTorch for it), follow (says at once that
 * another rank ended).
 * Results are a function of trial hash and seed alone. Steps are checkpointed in work_dir; work_dir/lock shows two
 * attempts that run at one time. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/fault.h"
#include "base/frame.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/json.h"

typedef struct {
    const char *trial, *work;
    int64_t seed, attempt, epoch, tries, rank, ranks;
    char behaviour[32];
    avs_buf out;
    avs_frame_reader in;
    bool stop, go;
} fake;

static void note(const fake *f, const char *what)
{
    const char *path = getenv("FAKE_LOG");
    if (!path) return;
    char line[400];
    const char *gpus = getenv("CUDA_VISIBLE_DEVICES");
    int n =
        snprintf(line, sizeof line, "%s %.12s seed=%lld attempt=%lld epoch=%lld rank=%lld pid=%d%s%.100s\n",
                 what, f->trial, (long long)f->seed, (long long)f->attempt, (long long)f->epoch,
                 (long long)f->rank, getpid(), gpus ? " gpus=" : "", gpus ? gpus : "");
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, line, (size_t)n) != n) _exit(9);
    close(fd);
}

static size_t begin(fake *f, uint16_t type)
{
    return avs_frame_begin(&f->out, type, (uint32_t)f->epoch, (uint64_t)f->attempt);
}

static void end(fake *f, size_t mark)
{
    avs_frame_end(&f->out, mark);
    if (!avs_buf_ok(&f->out) || avs_fs_full_write(3, f->out.data, f->out.len) != 0) _exit(8);
    avs_buf_clear(&f->out);
}

static void choose(fake *f)
{
    const char *plan = getenv("FAKE_PLAN");
    char seed[32];
    snprintf(f->behaviour, sizeof f->behaviour, "ok");
    snprintf(seed, sizeof seed, "%lld", (long long)f->seed);
    for (const char *p = plan ? plan : ""; *p;) {
        char who[32] = "", what[32] = "", *rank;
        long first = 0;
        int n = sscanf(p, "%31[^=]=%31[^*,]*%ld", who, what, &first);
        if ((rank = strchr(who, 'r'))) *rank++ = '\0';
        bool mine = (strcmp(who, seed) == 0 || strcmp(who, "*") == 0) &&
                    strtol(rank ? rank : "0", NULL, 10) == f->rank;
        if (n >= 2 && mine) {
            if (n < 3 || f->tries <= first) snprintf(f->behaviour, sizeof f->behaviour, "%s", what);
            return;
        }
        p += strcspn(p, ",");
        p += *p == ',';
    }
}

static bool is(const fake *f, const char *b)
{
    return strcmp(f->behaviour, b) == 0;
}

static long number_in(const char *path)
{
    char text[32] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 ? strtol(text, NULL, 10) : 0;
}

static void write_number(const char *path, long v)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", v);
    if (avs_fs_write_atomic(path, text, (size_t)n, NULL) != AVS_OK) _exit(7);
}

/* Waits ms or until STOP comes. */
static void wait_ms(fake *f, int ms)
{
    struct pollfd p = {3, POLLIN, 0};
    if (poll(&p, 1, ms) <= 0) return;
    char chunk[4096];
    ssize_t k = read(3, chunk, sizeof chunk);
    if (k <= 0) _exit(6);
    avs_frame_feed(&f->in, chunk, (size_t)k);
    avs_frame fr;
    bool got = false;
    while (avs_frame_next(&f->in, &fr, &got, NULL) == AVS_OK && got)
        f->stop |= fr.type == AVS_F_STOP, f->go |= fr.type == AVS_F_GO;
}

static void result(fake *f, const char *name, double v)
{
    size_t m = begin(f, AVS_F_RESULT);
    avs_frame_put_str(&f->out, AVS_T_NAME, name);
    avs_frame_put_str(&f->out, AVS_T_SPLIT, "test");
    avs_frame_put_f64(&f->out, AVS_T_VALUE, v);
    avs_frame_put_str(&f->out, AVS_T_UNIT, "fraction");
    avs_frame_put_i64(&f->out, AVS_T_BETTER, 1);
    end(f, m);
}

static void misbehave(fake *f)
{
    if (is(f, "crash")) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer would catch it */
        raise(SIGSEGV);
    }
    if (is(f, "exit3")) {
        fprintf(stderr, "the last words of seed %lld\n", (long long)f->seed);
        exit(3);
    }
    if (is(f, "torch-oom")) { /* as a program of others says it */
        fprintf(stderr, "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n");
        exit(1);
    }
    if (is(f, "error") || is(f, "error-new") || is(f, "oom")) {
        char text[80];
        snprintf(text, sizeof text,
                 is(f, "error") ? "data/x.png: not a PNG"
                 : is(f, "oom") ? "the plan takes 90000.0 MiB on the device"
                                : "bad luck number %lld",
                 (long long)f->tries);
        size_t m = begin(f, AVS_F_FAIL);
        avs_frame_put_i64(&f->out, AVS_T_CODE, is(f, "oom") ? AVS_ENOMEM : AVS_EPARSE);
        avs_frame_put_str(&f->out, AVS_T_TEXT, text);
        end(f, m);
        exit(1);
    }
    if (is(f, "hang")) {
        signal(SIGABRT, SIG_IGN);
        for (;;) pause();
    }
    if (is(f, "garbage")) {
        static const char junk[] =
            "this is no frame, it is just a line of text that somebody printed to fd 3\n";
        avs_fs_full_write(3, junk, sizeof junk);
        for (;;) pause();
    }
    if (is(f, "stale")) {
        f->epoch += 5;
        result(f, "miou", 123);
        f->epoch -= 5;
    }
    if (is(f, "nan")) result(f, "miou", strtod("nan", NULL));
    const char *gate = getenv("FAKE_GATE");
    while (is(f, "gate") && gate && access(gate, F_OK) != 0 && !f->stop) wait_ms(f, 10);
    if (is(f, "big")) {
        size_t n = 8 << 20;
        char *blob = avs_xalloc(n);
        if (!blob) _exit(5);
        for (size_t i = 0; i < n; i += 4) blob[i] = (char)(1 + i % 100);
        size_t m = begin(f, AVS_F_LATENCY);
        avs_frame_put_str(&f->out, AVS_T_NAME, "latency");
        avs_frame_put(&f->out, AVS_T_BLOB, blob, n);
        avs_frame_put_f64(&f->out, AVS_T_UNIT_NS, 100);
        avs_frame_put_i64(&f->out, AVS_T_FLAGS, 0);
        end(f, m);
        avs_xfree(blob);
    }
}

static void follow(fake *f)
{
    size_t m = begin(f, AVS_F_FAIL);
    avs_frame_put_i64(&f->out, AVS_T_CODE, AVS_ECANCEL);
    avs_frame_put_str(&f->out, AVS_T_TEXT, "another rank of this trial ended");
    end(f, m);
    exit(1);
}

static int run(fake *f)
{
    char ckpt[4096], lock[4096];
    const char *ms_text = getenv("FAKE_MS"), *steps_text = getenv("FAKE_STEPS");
    int ms = ms_text ? atoi(ms_text) : 2, steps = steps_text ? atoi(steps_text) : 5;
    snprintf(ckpt, sizeof ckpt, "%s/step%.0lld", f->work, (long long)f->rank);
    snprintf(lock, sizeof lock, "%s/lock%.0lld", f->work, (long long)f->rank);
    int lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock_fd < 0 || flock(lock_fd, LOCK_EX | LOCK_NB) != 0) note(f, "OVERLAP");
    if (is(f, "silent"))
        for (;;) pause();
    size_t m = begin(f, AVS_F_HELLO);
    avs_frame_put_i64(&f->out, AVS_T_PID, getpid());
    avs_frame_put_str(&f->out, AVS_T_VERSION, "fake");
    end(f, m);
    while (f->ranks > 1 && !f->go && !f->stop) wait_ms(f, 60000);
    m = begin(f, AVS_F_ENV);
    avs_frame_put_str(&f->out, AVS_T_JSON, "{\"cpu\":\"fake\",\"threads\":1}");
    end(f, m);
    if (is(f, "follow")) follow(f);
    double scale = getenv("FAKE_CURVES") ? 1.0 + (double)(avs_fnv1a64_str(f->trial) % 1000) / 100.0 : 1.0;
    for (int s = (int)number_in(ckpt); s < steps; s++) {
        if (is(f, "mute")) {
            wait_ms(f, ms);
            continue;
        }
        m = begin(f, AVS_F_PROGRESS);
        avs_frame_put_i64(&f->out, AVS_T_STEP, s);
        avs_frame_put_i64(&f->out, AVS_T_STEPS, steps);
        end(f, m);
        m = begin(f, AVS_F_POINT);
        avs_frame_put_str(&f->out, AVS_T_NAME, "loss");
        avs_frame_put_i64(&f->out, AVS_T_STEP, s);
        avs_frame_put_f64(&f->out, AVS_T_VALUE, scale / (1 + s));
        end(f, m);
        if (s == steps / 2) misbehave(f);
        wait_ms(f, ms);
        if (f->stop && !is(f, "deaf")) {
            write_number(ckpt, s + 1);
            m = begin(f, AVS_F_STOPPED);
            avs_frame_put_i64(&f->out, AVS_T_STEP, s + 1);
            end(f, m);
            note(f, "stopped");
            return 75;
        }
    }
    uint64_t h = avs_fnv1a64_str(f->trial) ^ (uint64_t)f->seed;
    if (!is(f, "nan")) result(f, "miou", (double)(h % 10007) / 10007);
    result(f, "fscore", (double)(h % 10009) / 10009);
    const char *bytes = getenv("FAKE_GPU_BYTES");
    const size_t done = begin(f, AVS_F_DONE);
    if (bytes) avs_frame_put_i64(&f->out, AVS_T_BYTES, strtoll(bytes, NULL, 10));
    end(f, done);
    note(f, "done");
    return 0;
}

int main(int argc, char **argv)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc != 3 || strcmp(argv[1], "run") != 0) return 2;
    avs_arena *a = avs_arena_new();
    avs_json *job = NULL;
    avs_err e = AVS_ERR_INIT;
    if (!a || avs_json_file(a, argv[2], &job, &e) != AVS_OK) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    for (const char *const *v =
             (const char *const[]){"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID", NULL};
         *v; v++)
        if (getenv(*v)) return 4; /* the environment was not cleaned */
    fake f = {.trial = avs_json_str(job, "trial", ""),
              .work = avs_json_str(job, "work_dir", ""),
              .seed = avs_json_int(job, "seed", -1),
              .attempt = avs_json_int(job, "attempt", -1),
              .epoch = avs_json_int(job, "epoch", -1),
              .rank = avs_json_int(job, "rank", -1),
              .ranks = avs_json_int(job, "ranks", -1)};
    char tries[4096];
    snprintf(tries, sizeof tries, "%s/tries%.0lld", f.work, (long long)f.rank);
    f.tries = number_in(tries) + 1;
    write_number(tries, f.tries);
    choose(&f);
    note(&f, "start");
    avs_fault_arm("trial", f.seed);
    int rc = run(&f);
    avs_frame_reader_free(&f.in);
    avs_buf_free(&f.out);
    avs_arena_free(a);
    return rc;
}
