/* Each command: open, ask, write to stdout. Errors go to stderr as one line. */
#include "orchestrator/commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sqlite3.h>
#include "avs_version.h"
#include "base/fs.h"
#include "orchestrator/look.h"
#include "orchestrator/manifest.h"
#include "orchestrator/run.h"
#include "orchestrator/transport.h"
#include "results/report.h"
#include "sweeps/codes.h"
#include "sweeps/listing.h"
#include "sweeps/sweep.h"

enum { EXIT_USAGE = 2, EXIT_SWEEP = 3, EXIT_DB = 4, EXIT_INTERNAL = 70 };

static int complain(int code, const avs_err *err)
{
    avs_buf b = AVS_BUF_INIT;
    avs_buf_fmt(&b, "error: %s\n", err->msg);
    avs_fs_full_write(STDERR_FILENO, b.data, b.len);
    avs_buf_free(&b);
    return code;
}

/* Writes and frees. */
static int print(avs_buf *b)
{
    int rc = avs_buf_ok(b) ? 0 : EXIT_INTERNAL;
    if (rc == 0 && b->len > 0 && avs_fs_full_write(STDOUT_FILENO, b->data, b->len) != 0 && errno != EPIPE)
        rc = EXIT_INTERNAL;
    avs_buf_free(b);
    return rc;
}

static int need_db(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    if (o->db) return 0;
    avs_fail(&err, AVS_EMISSING, "no database: give --db DB or set AVSWEEP_DB");
    return complain(EXIT_USAGE, &err);
}

static int exit_of(int rc)
{
    return rc == AVS_EDB || rc == AVS_EIO ? EXIT_DB : EXIT_USAGE;
}

/* ---- sweep files ---- */

static avs_sweep *load(avs_arena *a, const avs_options *o)
{
    avs_sweep_options so = {.allow_env = o->allow_env,
                            .sets = o->sets,
                            .n_sets = o->n_sets,
                            .fingerprint = avs_manifest_fingerprint};
    avs_diag d;
    avs_err err = AVS_ERR_INIT;
    avs_buf text = AVS_BUF_INIT;
    avs_diag_init(&d, a);
    avs_sweep *s = avs_sweep_load(a, o->words[0], &so, &d, &err);
    avs_diag_write(&d, &text);
    if (text.len > 0) avs_fs_full_write(STDERR_FILENO, text.data, text.len);
    if (!s && text.len == 0) complain(EXIT_SWEEP, &err);
    avs_buf_free(&text);
    return s;
}

int avs_command_check(const avs_options *o)
{
    avs_arena *a = avs_arena_new();
    int code = a && load(a, o) ? 0 : EXIT_SWEEP;
    avs_arena_free(a);
    return code;
}

int avs_command_expand(const avs_options *o)
{
    avs_arena *a = avs_arena_new();
    avs_sweep *s = a ? load(a, o) : NULL;
    avs_buf b = AVS_BUF_INIT;
    int code = EXIT_SWEEP;
    if (s) {
        if (!s->data_indexed) {
            static const char note[] =
                "note: data not indexed (avsweep data index ROOT): hashes change when it is\n";
            avs_fs_full_write(STDERR_FILENO, note, sizeof note - 1);
        }
        if (o->count)
            avs_list_count(&b, s);
        else if (o->json)
            avs_list_json(&b, s);
        else if (o->csv)
            avs_list_csv(&b, s);
        else
            avs_list_text(&b, s);
        code = print(&b);
    }
    avs_arena_free(a);
    return code;
}

/* ---- databases ---- */

/* Cuts "a,b,c" into words; returns how many, at most max. The text must be writable. */
static size_t split_list(char *text, const char **out, size_t max)
{
    size_t n = 0;
    char *rest = NULL;
    for (char *w = text ? strtok_r(text, ",", &rest) : NULL; w && n < max; w = strtok_r(NULL, ",", &rest))
        out[n++] = w;
    return n;
}

static int wants_color(const avs_options *o)
{
    const char *c = o->color ? o->color : "auto";
    if (strcmp(c, "always") == 0) return 1;
    return strcmp(c, "never") != 0 && !o->output && isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
}

int avs_command_report(const avs_options *o)
{
    const char *by[AVS_CLI_MANY], *metrics[AVS_CLI_MANY], *axes[2] = {NULL, NULL};
    avs_err err = AVS_ERR_INIT;
    avs_store *db = NULL;
    if (need_db(o)) return EXIT_USAGE;
    avs_arena *a = avs_arena_new();
    if (!a) return EXIT_INTERNAL;
    avs_report_spec spec = {.by = by,
                            .metrics = metrics,
                            .where = o->where,
                            .sweep = o->sweep,
                            .title = o->title,
                            .sort = o->sort,
                            .top = o->top,
                            .ci = o->ci,
                            .baseline = o->baseline,
                            .mixed = o->mixed,
                            .suspect = o->suspect,
                            .nonparametric = o->nonparametric,
                            .hide_published = o->no_published,
                            .color = wants_color(o)};
    spec.n_by = split_list(o->by ? avs_arena_str(a, o->by) : NULL, by, AVS_CLI_MANY);
    spec.n_metrics = split_list(o->metrics ? avs_arena_str(a, o->metrics) : NULL, metrics, AVS_CLI_MANY);
    split_list(o->pareto ? avs_arena_str(a, o->pareto) : NULL, axes, 2);
    spec.pareto_x = axes[0];
    spec.pareto_y = axes[1];
    int rc = avs_report_format_parse(o->format ? o->format : "text", &spec.format, &err);
    if (rc == AVS_OK) rc = avs_store_open(o->db, AVS_STORE_READ, AVS_VERSION, &db, &err);
    bool opened = rc == AVS_OK;
    if (rc == AVS_OK) rc = avs_report_to(db, &spec, o->output ? o->output : "-", &err);
    avs_store_close(db);
    avs_arena_free(a);
    return rc == AVS_OK ? 0 : complain(!opened && rc != AVS_ERANGE ? EXIT_DB : exit_of(rc), &err);
}

int avs_command_status(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    avs_store *db = NULL;
    avs_buf b = AVS_BUF_INIT;
    if (need_db(o)) return EXIT_USAGE;
    int rc = avs_store_open(o->db, AVS_STORE_READ, AVS_VERSION, &db, &err);
    if (rc == AVS_OK) rc = avs_report_status(db, o->sweep, &b, &err);
    avs_store_close(db);
    if (rc == AVS_OK) return print(&b);
    avs_buf_free(&b);
    return complain(rc == AVS_EMISSING && o->sweep && avs_fs_exists(o->db) ? EXIT_USAGE : EXIT_DB, &err);
}

int avs_command_ls(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    avs_buf b = AVS_BUF_INIT;
    if (need_db(o)) return EXIT_USAGE;
    int rc = avs_look_list(o->db, o->sweep, o->state, o->format && strcmp(o->format, "json") == 0, &b, &err);
    if (rc == AVS_OK) return print(&b);
    avs_buf_free(&b);
    return complain(avs_fs_exists(o->db) ? exit_of(rc) : EXIT_DB, &err);
}

int avs_command_show(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    avs_buf b = AVS_BUF_INIT;
    int rc;
    if (o->schema) {
        rc = avs_list_schema(&b, o->schema, o->format ? o->format : "text", &err);
    } else if (o->n_words == 0) {
        rc = avs_fail(&err, AVS_ERANGE, "show needs a trial hash, or --schema MODEL");
    } else {
        if (need_db(o)) return EXIT_USAGE;
        rc = avs_look_trial(o->db, o->words[0], &b, &err);
    }
    if (rc == AVS_OK) return print(&b);
    avs_buf_free(&b);
    return complain(!o->schema && o->db && !avs_fs_exists(o->db) ? EXIT_DB : exit_of(rc), &err);
}

/* ---- the rest ---- */

int avs_command_explain(const avs_options *o)
{
    const char *w = o->words[0];
    const avs_explanation *x = avs_explain(w);
    avs_buf b = AVS_BUF_INIT;
    if (x) {
        avs_buf_fmt(&b, "%s: %s\n\n%s\n", x->code, x->title, x->text);
        return print(&b);
    }
    if (avs_list_knows_model(w)) return avs_command_trial(o);
    avs_err err = AVS_ERR_INIT;
    avs_fail(&err, AVS_EMISSING,
             "'%s' is neither a message code (E012, W031, ..) nor a model (avsweep models)", w);
    return complain(EXIT_USAGE, &err);
}

int avs_command_version(const avs_options *o)
{
    avs_buf b = AVS_BUF_INIT;
    const char *mpi = avs_mpi_version();
    if (o->json) {
        avs_buf_fmt(&b, "{\"type\":\"version\",\"avsweep\":\"%s\",\"commit\":\"%s\",\"dirty\":%s,\"mpi\":",
                    AVS_VERSION, AVS_COMMIT, AVS_COMMIT_DIRTY ? "true" : "false");
        avs_json_write_str(&b, mpi);
        avs_buf_fmt(&b, ",\"sqlite\":\"%s\",\"compiler\":", sqlite3_libversion());
        avs_json_write_str(&b, AVS_COMPILER);
        avs_buf_str(&b, "}\n");
    } else {
        avs_buf_fmt(&b, "avsweep %s (%s%s)\n  MPI       %s\n  SQLite    %s\n  compiler  %s, %s\n",
                    AVS_VERSION, AVS_COMMIT, AVS_COMMIT_DIRTY ? ", changed" : "", mpi, sqlite3_libversion(),
                    AVS_COMPILER, AVS_BUILD_TYPE);
    }
    return print(&b);
}

int avs_command_completion(const avs_options *o)
{
    avs_buf b = AVS_BUF_INIT;
    avs_err err = AVS_ERR_INIT;
    if (avs_cli_completion(&b, o->words[0], &err) == AVS_OK) return print(&b);
    avs_buf_free(&b);
    return complain(EXIT_USAGE, &err);
}

int avs_command_help(const avs_options *o)
{
    avs_buf b = AVS_BUF_INIT;
    avs_err err = AVS_ERR_INIT;
    if (o->man) {
        avs_cli_man(&b);
        return print(&b);
    }
    if (avs_cli_help(&b, o->n_words ? o->words[0] : NULL, &err) == AVS_OK) return print(&b);
    avs_buf_free(&b);
    return complain(EXIT_USAGE, &err);
}

int avs_command_trial(const avs_options *o)
{
    char program[4096];
    avs_err err = AVS_ERR_INIT;
    const char *wanted = o->trial_program ? o->trial_program : getenv("AVSWEEP_TRIAL");
    if (avs_trial_program(wanted, program, sizeof program, &err) != AVS_OK)
        return complain(EXIT_INTERNAL, &err);
    execv(program, o->argv);
    avs_fail(&err, AVS_EIO, "%s: %s", program, strerror(errno));
    return complain(EXIT_INTERNAL, &err);
}
