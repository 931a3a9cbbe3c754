/* The job is written from the database alone, so it works where the work folder is gone. Durations are not compared;
 * everything else must have the same bits. */
#include "orchestrator/repro.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "avs_version.h"
#include "base/frame.h"
#include "base/fs.h"
#include "base/json.h"
#include "orchestrator/command_io.h"
#include "orchestrator/run.h"
#include "results/trial_parts.h"
#include "results/trial_rows.h"

extern char **environ;

typedef struct {
    double value;
    bool heard;
} answer;

typedef struct {
    avs_arena *a;
    char hex[65];
    avs_trial_record was;
    answer *now; /* one for each recorded result */
} record;

static int read_record(avs_store *db, int64_t id, record *r, avs_err *e)
{
    const int rc = avs_store_trial_record(db, id, r->a, &r->was, e);
    if (rc != AVS_OK) return rc;
    r->now = AVS_NEW_N(r->a, answer, r->was.n_results + 1);
    return r->now ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for %zu results", r->was.n_results);
}

/* ---- the job ---- */

/* data_root absolute: the trial starts in a folder of its own. */
static int put_params(const record *r, avs_buf *b, avs_err *e)
{
    avs_json *p = NULL;
    int rc = avs_json_parse(r->a, "params", r->was.params, strlen(r->was.params), &p, e);
    if (rc != AVS_OK) return rc;
    for (avs_json *m = p->first; m; m = m->next) {
        char *whole = m->kind == AVS_J_STR && strcmp(m->key, "data_root") == 0 ? realpath(m->s, NULL) : NULL;
        if (!whole) continue;
        m->s = avs_arena_str(r->a, whole);
        m->len = strlen(whole);
        free(whole);
    }
    avs_json_write(b, p, true);
    return AVS_OK;
}

static int put_job(const record *r, const char *folder, avs_buf *b, avs_err *e)
{
    char cwd[4096];
    avs_buf_str(b, "{\"rank\":0,\"ranks\":1,\"kind\":");
    avs_json_write_str(b, r->was.kind);
    avs_buf_str(b, ",\"model\":");
    avs_json_write_str(b, r->was.model);
    avs_buf_str(b, ",\"task\":");
    avs_json_write_str(b, r->was.task);
    avs_buf_str(b, ",\"params\":");
    int rc = put_params(r, b, e);
    if (rc != AVS_OK) return rc;
    avs_buf_fmt(b, ",\"seed\":%lld,\"trial\":\"%s\",\"attempt\":1,\"epoch\":1,\"threads\":%lld,\"work_dir\":",
                (long long)r->was.seed, r->hex, (long long)r->was.threads);
    avs_json_write_str(b, folder);
    avs_buf_str(b, ",\"cache_dir\":");
    avs_json_write_str(b, avs_arena_fmt(r->a, "%s/cache", folder));
    if (getcwd(cwd, sizeof cwd)) {
        avs_buf_str(b, ",\"dir\":");
        avs_json_write_str(b, cwd);
    }
    avs_buf_str(b, ",\"limits\":{\"checkpoint_every_s\":0}");
    if (r->was.objective[0] && strcmp(r->was.objective, "{}") != 0)
        avs_buf_fmt(b, ",\"objective\":%s", r->was.objective);
    avs_buf_str(b, "}\n");
    return avs_buf_ok(b) ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for the job");
}

static const char *this_code(void)
{
    return AVS_COMMIT_DIRTY ? AVS_COMMIT "+" : AVS_COMMIT;
}

/* What a comparison should know: whether this program is the one of the record. exec: the code is the user's. */
static const char *code_note(const record *r)
{
    if (!r->was.code[0]) return "not recorded";
    if (strcmp(r->was.kind, "exec") == 0) return "of the command's files";
    return strcmp(r->was.code, this_code()) == 0 ? "the same as this program" : "another than this program";
}

/* ---- printing ---- */

/* A word of the shell, whatever it holds. */
static void put_word(avs_buf *b, const char *before, const char *word, const char *after)
{
    avs_buf_str(b, before);
    avs_buf_char(b, '\'');
    for (const char *p = word; *p; p++)
        if (*p == '\'')
            avs_buf_str(b, "'\\''");
        else
            avs_buf_char(b, *p);
    avs_buf_fmt(b, "'%s", after);
}

static void script(const record *r, const char *folder, const char *job, const char *program, avs_buf *b)
{
    avs_buf_fmt(b, "# trial %s: %s %s %s, seed %lld", r->hex, r->was.kind, r->was.model, r->was.task,
                (long long)r->was.seed);
    if (r->was.attempt)
        avs_buf_fmt(b, "; attempt %lld on %s", (long long)r->was.attempt, r->was.host[0] ? r->was.host : "?");
    avs_buf_fmt(b, "\n# recorded by avsweep %s; code %s (%s); this is %s, code %s\n# %s, %lld threads",
                r->was.tool, r->was.code[0] ? r->was.code : "unknown", code_note(r), AVS_VERSION, this_code(),
                r->was.cpu[0] ? r->was.cpu : "unknown processor", (long long)r->was.threads);
    if (r->was.ranks > 1)
        avs_buf_fmt(b, "; it ran on %lld ranks, here it runs on one", (long long)r->was.ranks);
    avs_buf_str(b, "\nset -eu\n");
    put_word(b, "mkdir -p ", folder, "\n");
    put_word(b, "cd ", folder, "\n");
    avs_buf_fmt(b, "cat > job.json << 'END_OF_JOB'\n%sEND_OF_JOB\n", job);
    avs_buf_fmt(b, "OMP_NUM_THREADS=%lld ", (long long)r->was.threads);
    put_word(b, "", program, " run job.json\n");
    for (size_t i = 0; i < r->was.n_results; i++) {
        const avs_recorded *x = &r->was.results[i];
        avs_buf_fmt(b, "# recorded: %s%s%s = %.17g %s\n", x->name, x->split[0] ? ":" : "", x->split, x->value,
                    x->unit);
    }
}

static void script_json(const record *r, const char *job, const char *program, avs_buf *b)
{
    avs_buf_fmt(b, "{\"type\":\"repro\",\"v\":1,\"hash\":\"%s\",\"program\":", r->hex);
    avs_json_write_str(b, program);
    avs_buf_fmt(b, ",\"environment\":{\"OMP_NUM_THREADS\":\"%lld\"},\"code\":", (long long)r->was.threads);
    avs_json_write_str(b, r->was.code);
    avs_buf_str(b, ",\"this_code\":");
    avs_json_write_str(b, this_code());
    avs_buf_str(b, ",\"job\":");
    avs_buf_put(b, job, strcspn(job, "\n"));
    avs_buf_str(b, "}\n");
}

/* ---- running ---- */

static void hear(record *r, const avs_frame *f)
{
    const char *name = avs_frame_str(f, AVS_T_NAME, r->a), *split = avs_frame_str(f, AVS_T_SPLIT, r->a);
    if (f->type != AVS_F_RESULT || !name) return;
    for (size_t i = 0; i < r->was.n_results; i++)
        if (strcmp(r->was.results[i].name, name) == 0 &&
            strcmp(r->was.results[i].split, split ? split : "") == 0)
            r->now[i] = (answer){avs_frame_f64(f, AVS_T_VALUE, 0), true};
}

/* Runs the trial with fd 3 and reads what it reports; *status as from waitpid. */
static int run(record *r, const char *program, const char *folder, int *status, avs_err *e)
{
    int pair[2];
    pid_t pid = 0;
    char job[4200], threads[40];
    avs_frame_reader in = {0};
    posix_spawn_file_actions_t fa;
    snprintf(job, sizeof job, "%s/job.json", folder);
    snprintf(threads, sizeof threads, "%lld", (long long)r->was.threads);
    setenv("OMP_NUM_THREADS", threads, 1);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return avs_fail(e, AVS_EIO, "socket pair: %s", strerror(errno));
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addchdir_np(&fa, folder);
    posix_spawn_file_actions_adddup2(&fa, STDERR_FILENO, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&fa, pair[1], 3);
    char word[] = "run", *argv[] = {(char *)(uintptr_t)program, word, job, NULL};
    const int err = posix_spawn(&pid, program, &fa, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    close(pair[1]);
    int rc = err ? avs_fail(e, AVS_EIO, "%s: %s", program, strerror(err)) : AVS_OK;
    char chunk[16384];
    ssize_t k;
    while (rc == AVS_OK && ((k = read(pair[0], chunk, sizeof chunk)) > 0 || (k < 0 && errno == EINTR))) {
        avs_frame f;
        bool got = false;
        if (k < 0) continue;
        avs_frame_feed(&in, chunk, (size_t)k);
        while ((rc = avs_frame_next(&in, &f, &got, e)) == AVS_OK && got) hear(r, &f);
    }
    close(pair[0]);
    while (pid > 0 && waitpid(pid, status, 0) < 0 && errno == EINTR) {}
    avs_frame_reader_free(&in);
    return rc;
}

static bool is_duration(const avs_recorded *x)
{
    return strcmp(x->unit, "s") == 0 || strcmp(x->unit, "ns") == 0 || strstr(x->name, "seconds") ||
           strstr(x->name, "latency");
}

static int compare(const avs_options *o, const record *r)
{
    avs_buf b = AVS_BUF_INIT;
    int differ = 0, same = 0;
    for (size_t i = 0; i < r->was.n_results; i++) {
        const avs_recorded *x = &r->was.results[i];
        const answer *now = &r->now[i];
        /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): the same bits are meant, NaN too */
        const bool equal = now->heard && memcmp(&x->value, &now->value, sizeof now->value) == 0;
        const char *verdict = is_duration(x) ? "not compared"
                              : equal        ? "same"
                              : now->heard   ? "differs"
                                             : "missing";
        if (!is_duration(x)) {
            same += equal;
            differ += !equal;
        }
        if (o->json) {
            avs_buf_str(&b, "{\"type\":\"comparison\",\"v\":1,\"metric\":");
            avs_json_write_str(&b, x->name);
            avs_buf_str(&b, ",\"split\":");
            avs_json_write_str(&b, x->split);
            avs_buf_str(&b, ",\"recorded\":");
            avs_json_write_num(&b, x->value);
            avs_buf_str(&b, ",\"now\":");
            if (now->heard)
                avs_json_write_num(&b, now->value);
            else
                avs_buf_str(&b, "null");
            avs_buf_fmt(&b, ",\"verdict\":\"%s\"}\n", verdict);
        } else {
            avs_buf_fmt(&b, "%s%s%s: recorded %.17g, now ", x->name, x->split[0] ? ":" : "", x->split,
                        x->value);
            if (now->heard)
                avs_buf_fmt(&b, "%.17g", now->value);
            else
                avs_buf_str(&b, "nothing");
            avs_buf_fmt(&b, "  %s\n", verdict);
        }
    }
    avs_tell(o, "%d results are the same, %d differ; code: %s", same, differ, code_note(r));
    const int code = avs_print(&b);
    return code != AVS_EXIT_OK ? code : differ ? AVS_EXIT_FAILED : AVS_EXIT_OK;
}

static int exec_trial(const avs_options *o, record *r, const char *program)
{
    avs_err err = AVS_ERR_INIT;
    const char *base = getenv("AVSWEEP_SCRATCH") ? getenv("AVSWEEP_SCRATCH") : getenv("TMPDIR");
    char folder[3000], path[3100];
    avs_buf job = AVS_BUF_INIT;
    int status = 0, code = AVS_EXIT_FAILED;
    snprintf(folder, sizeof folder, "%s/avsweep-repro-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(folder)) {
        avs_fail(&err, AVS_EIO, "%s: %s", folder, strerror(errno));
        return avs_complain(AVS_EXIT_INTERNAL, &err);
    }
    snprintf(path, sizeof path, "%s/job.json", folder);
    int rc = put_job(r, folder, &job, &err);
    if (rc == AVS_OK) rc = avs_fs_write_atomic(path, job.data, job.len, &err);
    if (rc == AVS_OK) rc = run(r, program, folder, &status, &err);
    avs_buf_free(&job);
    if (rc == AVS_OK && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        rc = avs_fail(&err, AVS_ELIB, "the trial did not finish (%s %d); its folder is %s",
                      WIFSIGNALED(status) ? "signal" : "exit status",
                      WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), folder);
    if (rc != AVS_OK) return avs_complain(AVS_EXIT_FAILED, &err);
    code = compare(o, r);
    avs_fs_remove_tree(folder);
    return code;
}

int avs_command_repro(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    avs_store *db = NULL;
    int64_t id = 0;
    char program[4096], cwd[2048];
    avs_buf job = AVS_BUF_INIT, b = AVS_BUF_INIT;
    int code = AVS_EXIT_INTERNAL;
    if (avs_need_db(o)) return AVS_EXIT_USAGE;
    avs_arena *a = avs_arena_new();
    record *r = a ? AVS_NEW(a, record) : NULL;
    if (!r) return code;
    r->a = a;
    int rc = avs_store_open(o->db, AVS_STORE_READ, AVS_VERSION, &db, &err);
    if (rc == AVS_OK) rc = avs_store_trial_by_prefix(db, o->words[0], &id, r->hex, &err);
    if (rc == AVS_OK) rc = read_record(db, id, r, &err);
    avs_store_close(db);
    if (rc == AVS_OK) rc = avs_trial_program(o->trial_program, program, sizeof program, &err);
    if (rc != AVS_OK) {
        code = avs_complain(db ? avs_exit_of(rc) : AVS_EXIT_DB, &err);
    } else if (o->exec) {
        code = exec_trial(o, r, program);
    } else if (!getcwd(cwd, sizeof cwd)) {
        avs_fail(&err, AVS_EIO, "this folder: %s", strerror(errno));
        code = avs_complain(AVS_EXIT_INTERNAL, &err);
    } else {
        const char *folder = avs_arena_fmt(a, "%s/repro-%.12s", cwd, r->hex);
        rc = folder ? put_job(r, folder, &job, &err) : avs_fail(&err, AVS_ENOMEM, "no memory");
        if (rc != AVS_OK) {
            code = avs_complain(AVS_EXIT_DB, &err);
        } else {
            if (o->json)
                script_json(r, avs_buf_cstr(&job), program, &b);
            else
                script(r, folder, avs_buf_cstr(&job), program, &b);
            code = avs_print(&b);
        }
    }
    avs_buf_free(&job);
    avs_arena_free(a);
    return code;
}
