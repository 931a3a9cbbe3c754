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
#include "base/hash.h"
#include "orchestrator/command_io.h"
#include "orchestrator/manifest.h"
#include "orchestrator/run.h"
#include "orchestrator/transport.h"
#include "results/export.h"
#include "results/report.h"
#include "sweeps/codes.h"
#include "sweeps/listing.h"
#include "sweeps/sweep.h"

/* ---- sweep files ---- */

static void diag_json(avs_buf *out, const avs_diag_item *d, const char *level)
{
    avs_buf_fmt(out, "{\"type\":\"diagnostic\",\"v\":1,\"level\":\"%s\",\"code\":\"%s\",\"file\":", level,
                d->code);
    avs_json_write_str(out, d->pos.src ? d->pos.src->path : "");
    avs_buf_fmt(out, ",\"line\":%u,\"col\":%u,\"text\":", d->pos.line, d->pos.col);
    avs_json_write_str(out, d->text);
    avs_buf_str(out, ",\"help\":");
    if (d->help)
        avs_json_write_str(out, d->help);
    else
        avs_buf_str(out, "null");
    avs_buf_str(out, "}\n");
}

static avs_sweep *load_with(avs_arena *a, const avs_options *o, avs_diag *d)
{
    avs_sweep_options so = {.allow_env = o->allow_env,
                            .sets = o->sets,
                            .n_sets = o->n_sets,
                            .count_only = o->count || o->hash || o->command == AVS_CMD_CHECK,
                            .fingerprint = avs_manifest_fingerprint};
    avs_err err = AVS_ERR_INIT;
    avs_buf text = AVS_BUF_INIT;
    avs_diag_init(d, a);
    avs_sweep *s = avs_sweep_load(a, o->words[0], &so, d, &err);
    avs_diag_write(d, &text);
    if (text.len > 0 && !(o->quiet && s)) avs_fs_full_write(STDERR_FILENO, text.data, text.len);
    if (!s && text.len == 0) avs_complain(AVS_EXIT_SWEEP, &err);
    avs_buf_free(&text);
    return s;
}

avs_sweep *avs_load_sweep(avs_arena *a, const avs_options *o)
{
    avs_diag d;
    return load_with(a, o, &d);
}

int avs_command_check(const avs_options *o)
{
    avs_arena *a = avs_arena_new();
    avs_diag d = {0};
    const avs_sweep *s = a ? load_with(a, o, &d) : NULL;
    avs_buf b = AVS_BUF_INIT;
    int code = s ? AVS_EXIT_OK : AVS_EXIT_SWEEP;
    if (o->json) {
        for (int i = 0; i < d.n_errors && i < AVS_DIAG_MAX; i++) diag_json(&b, &d.errors[i], "error");
        for (int i = 0; i < d.n_warnings && i < AVS_DIAG_MAX; i++) diag_json(&b, &d.warnings[i], "warning");
        avs_buf_fmt(
            &b, "{\"type\":\"check\",\"v\":1,\"valid\":%s,\"errors\":%d,\"warnings\":%d,\"trials\":%lld}\n",
            s ? "true" : "false", d.n_errors, d.n_warnings, s ? (long long)s->n_trials : 0);
        const int rc = avs_print(&b);
        if (rc != AVS_EXIT_OK) code = rc;
    }
    avs_arena_free(a);
    return code;
}

static void count_json(avs_buf *b, const avs_sweep *s, bool with_hash)
{
    char hex[65];
    for (int i = 0; i < s->n_stages; i++) {
        const avs_sweep_stage *g = &s->stages[i];
        int64_t dropped = 0;
        for (int k = 0; k < g->n_rules; k++) dropped += g->rules[k].dropped;
        avs_buf_str(b, "{\"type\":\"stage\",\"v\":1,\"stage\":");
        avs_json_write_str(b, g->name);
        avs_buf_fmt(b, ",\"kind\":\"%s\",\"trials\":%lld,\"configurations\":%lld,\"dropped\":%lld}\n",
                    g->kind, (long long)g->n_trials, (long long)g->n_configs, (long long)dropped);
    }
    avs_hex(s->digest, 32, hex);
    avs_buf_fmt(b, "{\"type\":\"count\",\"v\":1,\"trials\":%lld%s%s%s}\n", (long long)s->n_trials,
                with_hash ? ",\"hash\":\"" : "", with_hash ? hex : "", with_hash ? "\"" : "");
}

int avs_command_expand(const avs_options *o)
{
    avs_arena *a = avs_arena_new();
    avs_sweep *s = a ? avs_load_sweep(a, o) : NULL;
    avs_buf b = AVS_BUF_INIT;
    int code = AVS_EXIT_SWEEP;
    if (s) {
        if (!s->data_indexed)
            avs_tell(o, "note: data not indexed (avsweep data index ROOT): hashes change when it is");
        if ((o->count || o->hash) && o->json)
            count_json(&b, s, o->hash);
        else if (o->count || o->hash)
            avs_list_count(&b, s);
        else if (o->json)
            avs_list_json(&b, s);
        else if (o->csv)
            avs_list_csv(&b, s);
        else
            avs_list_text(&b, s);
        if (o->hash && !o->json) avs_list_digest(&b, s);
        code = avs_print(&b);
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

int avs_command_report(const avs_options *o)
{
    const char *by[AVS_CLI_MANY], *metrics[AVS_CLI_MANY], *axes[2] = {NULL, NULL};
    avs_err err = AVS_ERR_INIT;
    avs_store *db = NULL;
    if (avs_need_db(o) || avs_check_output(o)) return AVS_EXIT_USAGE;
    avs_arena *a = avs_arena_new();
    if (!a) return AVS_EXIT_INTERNAL;
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
                            .standalone = o->standalone,
                            .pictures = o->pictures,
                            .color = avs_wants_color(o)};
    spec.n_by = split_list(o->by ? avs_arena_str(a, o->by) : NULL, by, AVS_CLI_MANY);
    spec.n_metrics = split_list(o->metrics ? avs_arena_str(a, o->metrics) : NULL, metrics, AVS_CLI_MANY);
    split_list(o->pareto ? avs_arena_str(a, o->pareto) : NULL, axes, 2);
    for (int i = 0; i < 2 && axes[i]; i++) { /* x=A,y=B, or A,B in this order */
        bool named = (axes[i][0] == 'x' || axes[i][0] == 'y') && axes[i][1] == '=';
        *((named ? axes[i][0] == 'y' : i) ? &spec.pareto_y : &spec.pareto_x) = axes[i] + (named ? 2 : 0);
    }
    int rc = avs_report_format_parse(o->format ? o->format : "text", &spec.format, &err);
    if (rc == AVS_OK) rc = avs_store_open(o->db, AVS_STORE_READ, AVS_VERSION, &db, &err);
    bool opened = rc == AVS_OK;
    if (rc == AVS_OK) rc = avs_report_to(db, &spec, o->output ? o->output : "-", &err);
    avs_store_close(db);
    avs_arena_free(a);
    return rc == AVS_OK ? 0 : avs_complain(!opened && rc != AVS_ERANGE ? AVS_EXIT_DB : avs_exit_of(rc), &err);
}

int avs_command_export(const avs_options *o)
{
    avs_export_spec spec = {.sweep = o->sweep, .where = o->where};
    avs_err err = AVS_ERR_INIT;
    avs_store *db = NULL;
    if (avs_need_db(o) || avs_check_output(o)) return AVS_EXIT_USAGE;
    int rc = o->to ? avs_export_parse(o->to, &spec.to, &err)
                   : avs_fail(&err, AVS_ERANGE,
                              "export needs --to csv, json, sqlite, mlflow, wandb or tensorboard");
    if (rc != AVS_OK) return avs_complain(AVS_EXIT_USAGE, &err);
    rc = avs_store_open(o->db, AVS_STORE_READ, AVS_VERSION, &db, &err);
    if (rc != AVS_OK) return avs_complain(AVS_EXIT_DB, &err);
    rc = avs_export(db, &spec, o->output ? o->output : "-", &err);
    avs_store_close(db);
    return rc == AVS_OK ? 0 : avs_complain(avs_exit_of(rc), &err);
}

/* ---- the rest ---- */

static void explanation(const avs_options *o, const avs_explanation *x, avs_buf *b)
{
    if (!o->json) {
        avs_buf_fmt(b, "%s%s: %s\n\n%s\n", b->len ? "\n" : "", x->code, x->title, x->text);
        return;
    }
    avs_buf_fmt(b, "{\"type\":\"explanation\",\"v\":1,\"code\":\"%s\",\"title\":", x->code);
    avs_json_write_str(b, x->title);
    avs_buf_str(b, ",\"text\":");
    avs_json_write_str(b, x->text);
    avs_buf_str(b, "}\n");
}

/* Codes, as many as are named; or one model, whose other words are its options. */
int avs_command_explain(const avs_options *o)
{
    avs_buf b = AVS_BUF_INIT;
    avs_err err = AVS_ERR_INIT;
    if (avs_list_knows_model(o->words[0])) return avs_command_trial(o);
    for (int i = 0; i < o->n_words; i++) {
        const avs_explanation *x = avs_explain(o->words[i]);
        if (x) {
            explanation(o, x, &b);
            continue;
        }
        avs_buf_free(&b);
        avs_fail(&err, AVS_EMISSING,
                 "'%s' is neither a message code (E012, W031, ..) nor a model (avsweep models)", o->words[i]);
        return avs_complain(AVS_EXIT_USAGE, &err);
    }
    return avs_print(&b);
}

int avs_command_version(const avs_options *o)
{
    avs_buf b = AVS_BUF_INIT;
    const char *mpi = avs_mpi_version();
    if (o->json) {
        avs_buf_fmt(
            &b, "{\"type\":\"version\",\"v\":1,\"avsweep\":\"%s\",\"commit\":\"%s\",\"dirty\":%s,\"mpi\":",
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
    return avs_print(&b);
}

int avs_command_completion(const avs_options *o)
{
    avs_buf b = AVS_BUF_INIT;
    avs_err err = AVS_ERR_INIT;
    if (avs_cli_completion(&b, o->words[0], &err) == AVS_OK) return avs_print_text(o, "script", &b);
    avs_buf_free(&b);
    return avs_complain(AVS_EXIT_USAGE, &err);
}

int avs_command_help(const avs_options *o)
{
    avs_buf b = AVS_BUF_INIT;
    avs_err err = AVS_ERR_INIT;
    if (o->man) {
        avs_cli_man(&b);
        return avs_print_text(o, "manual", &b);
    }
    int (*const tell)(avs_buf *, const char *, avs_err *) = o->json ? avs_cli_help_json : avs_cli_help;
    if (tell(&b, o->n_words ? o->words[0] : NULL, &err) == AVS_OK) return avs_print(&b);
    avs_buf_free(&b);
    return avs_complain(AVS_EXIT_USAGE, &err);
}

int avs_command_trial(const avs_options *o)
{
    char program[4096];
    avs_err err = AVS_ERR_INIT;
    const char *wanted = o->trial_program ? o->trial_program : getenv("AVSWEEP_TRIAL");
    if (avs_trial_program(wanted, program, sizeof program, &err) != AVS_OK)
        return avs_complain(AVS_EXIT_INTERNAL, &err);
    execv(program, o->argv);
    avs_fail(&err, AVS_EIO, "%s: %s", program, strerror(errno));
    return avs_complain(AVS_EXIT_INTERNAL, &err);
}
