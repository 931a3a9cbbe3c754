/* Two tables, commands and options; everything else here reads them. */
#include "orchestrator/cli.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *word, *args, *help;
    avs_command command;
    int min_words, max_words;
} command_row;

// clang-format off
static const command_row commands[] = {
    {"run",     "FILE --db DB",        "run what is missing of a sweep; the same command again resumes", AVS_CMD_RUN,     1, 1},
    {"check",   "FILE",                "validate a sweep file and say nothing when it is right",          AVS_CMD_CHECK,   1, 1},
    {"expand",  "FILE",                "list the trials of a sweep with their hashes",                    AVS_CMD_EXPAND,  1, 1},
    {"report",  "--db DB",             "tables from a database: text, md, csv, json, html",               AVS_CMD_REPORT,  0, 0},
    {"status",  "--db DB",             "counts, best results and last failures of a database",            AVS_CMD_STATUS,  0, 0},
    {"show",    "HASH --db DB | --schema MODEL", "one trial, or every option of a model",                 AVS_CMD_SHOW,    0, 1},
    {"ls",      "--db DB",             "one line per trial",                                              AVS_CMD_LS,      0, 0},
    {"explain", "CODE | MODEL",        "what a message code means, or graph and plan of a model",         AVS_CMD_EXPLAIN, 1, AVS_CLI_MANY},
    {"data",    "..",                  "data sets: index, compose, .. (avsweep-trial data)",              AVS_CMD_TRIAL,   0, AVS_CLI_MANY},
    {"predict", "..",                  "masks for files (avsweep-trial predict)",                         AVS_CMD_TRIAL,   0, AVS_CLI_MANY},
    {"models",  "..",                  "the models that are built in (avsweep-trial models)",             AVS_CMD_TRIAL,   0, AVS_CLI_MANY},
    {"golden",  "..",                  "compare with golden cases (avsweep-trial golden)",                AVS_CMD_TRIAL,   0, AVS_CLI_MANY},
    {"convert", "..",                  "PyTorch checkpoint to safetensors (avsweep-trial convert)",       AVS_CMD_TRIAL,   0, AVS_CLI_MANY},
    {"version", "",                    "version, commit and libraries",                                   AVS_CMD_VERSION, 0, 0},
    {"help",    "[COMMAND]",           "this text, or that of a command",                                 AVS_CMD_HELP,    0, 1},
};

typedef enum { FLAG, TEXT, INTEGER, NUMBER, LIST } option_kind;
typedef struct {
    const char *name, *arg, *help; /* help NULL: not listed */
    option_kind kind;
    size_t at;
    unsigned commands; /* bit set of avs_command */
    char letter;
} option_row;
#define C(x) (1u << AVS_CMD_##x)
#define AT(field) offsetof(avs_options, field)
#define FILES (C(RUN) | C(CHECK) | C(EXPAND))
#define TABLES (C(REPORT) | C(STATUS) | C(SHOW) | C(LS))
static const option_row options[] = {
    {"db",            "DB",     "the database; default $AVSWEEP_DB",                        TEXT,    AT(db),            C(RUN) | C(EXPAND) | TABLES, 0},
    {"set",           "K=V",    "set base.K, vars.K or profile for this run; repeatable",   LIST,    AT(sets),          FILES, 0},
    {"allow-env",     NULL,     "allow ${env:NAME} in the file",                            FLAG,    AT(allow_env),     FILES, 0},
    {"dry-run",       NULL,     "say what would run, and stop",                             FLAG,    AT(dry_run),       C(RUN), 'n'},
    {"retry",         "WHAT",   "failed: try failed trials of earlier runs again",          TEXT,    AT(retry),         C(RUN), 0},
    {"fail-fast",     NULL,     "stop at the first failed trial",                           FLAG,    AT(fail_fast),     C(RUN), 0},
    {"keep-going",    NULL,     "never stop early, however many trials fail",               FLAG,    AT(keep_going),    C(RUN), 0},
    {"walltime",      "TIME",   "checkpoint and stop after TIME (90s, 15m, 6h)",            TEXT,    AT(walltime),      C(RUN), 0},
    {"end-time",      "EPOCH",  "the same at a time in seconds UTC; default $AVSWEEP_END_TIME, $SLURM_JOB_END_TIME", TEXT, AT(end_time), C(RUN), 0},
    {"max-parallel",  "N",      "at most N trials at one time",                             INTEGER, AT(max_parallel),  C(RUN), 0},
    {"cores",         "N",      "cores to use on each node; default all; $AVSWEEP_CORES",   INTEGER, AT(cores),         C(RUN), 0},
    {"lost-after",    "TIME",   "a node that is silent for TIME is lost; default 10m",      TEXT,    AT(lost_after),    C(RUN), 0},
    {"steal-lease",   NULL,     "take a database whose owner is surely gone",               FLAG,    AT(steal_lease),   C(RUN), 0},
    {"trial-program", "PATH",   NULL,                                                       TEXT,    AT(trial_program), C(RUN), 0},
    {"backoff-ms",    "N",      NULL,                                                       INTEGER, AT(backoff_ms),    C(RUN), 0},
    {"json",          NULL,     "one JSON object per line",                                 FLAG,    AT(json),          C(EXPAND) | C(VERSION), 0},
    {"csv",           NULL,     "comma-separated values",                                   FLAG,    AT(csv),           C(EXPAND), 0},
    {"count",         NULL,     "counts only",                                              FLAG,    AT(count),         C(EXPAND), 0},
    {"by",            "KEYS",   "row keys, separated by commas",                            TEXT,    AT(by),            C(REPORT), 0},
    {"metrics",       "LIST",   "columns, separated by commas: miou, miou@task=s4, ..",     TEXT,    AT(metrics),       C(REPORT) | C(LS), 0},
    {"where",         "LIST",   "task=s4,backbone=resnet50: only trials with these values", TEXT,    AT(where),         C(REPORT) | C(LS), 0},
    {"sweep",         "NAME",   "only this sweep",                                          TEXT,    AT(sweep),         TABLES, 0},
    {"state",         "STATE",  "only trials in this state",                                TEXT,    AT(state),         C(LS), 0},
    {"title",         "TEXT",   "heading of the table",                                     TEXT,    AT(title),         C(REPORT), 0},
    {"sort",          "METRIC", "best first",                                               TEXT,    AT(sort),          C(REPORT), 0},
    {"top",           "N",      "only the first N rows",                                    INTEGER, AT(top),           C(REPORT), 0},
    {"ci",            "PERCENT","confidence level, default 95",                             NUMBER,  AT(ci),            C(REPORT), 0},
    {"baseline",      "LIST",   "compare every row with the one that has these values",     TEXT,    AT(baseline),      C(REPORT), 0},
    {"mixed",         NULL,     "allow different machines in one latency column",           FLAG,    AT(mixed),         C(REPORT), 0},
    {"no-published",  NULL,     "without the papers' values",                               FLAG,    AT(no_published),  C(REPORT), 0},
    {"pareto",        "X,Y",    "metrics of the plot (html)",                               TEXT,    AT(pareto),        C(REPORT), 0},
    {"output",        "PATH",   "write here instead of stdout",                             TEXT,    AT(output),        C(REPORT), 'o'},
    {"format",        "WORD",   "text, md, csv, json, html",                                TEXT,    AT(format),        C(REPORT) | C(SHOW) | C(LS), 0},
    {"schema",        "MODEL",  "every option of a model: type, range, default, help",      TEXT,    AT(schema),        C(SHOW), 0},
    {"color",         "WHEN",   "auto, always, never",                                      TEXT,    AT(color),         C(REPORT) | C(STATUS), 0},
    {"quiet",         NULL,     "errors only",                                              FLAG,    AT(quiet),         C(RUN), 'q'},
    {"help",          NULL,     "usage of the command",                                     FLAG,    AT(help),          ~0u, 'h'},
};
// clang-format on
enum { N_COMMANDS = sizeof commands / sizeof *commands, N_OPTIONS = sizeof options / sizeof *options };

static const command_row *find_command(const char *word)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i].word, word) == 0) return &commands[i];
    return NULL;
}

static int distance(const char *a, const char *b)
{
    int row[64];
    size_t n = strlen(a), m = strlen(b);
    if (n > 60 || m > 60) return 99;
    for (size_t j = 0; j <= m; j++) row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int up = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (up + 1 < best) best = up + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = up;
            row[j] = best;
        }
    }
    return row[m];
}

static int unknown_command(const char *word, avs_err *e)
{
    const char *near = NULL;
    int best = 3;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        int d = distance(word, commands[i].word);
        if (d >= best) continue;
        best = d;
        near = commands[i].word;
    }
    return near ? avs_fail(e, AVS_ERANGE, "unknown command '%s'; did you mean '%s'?", word, near)
                : avs_fail(e, AVS_ERANGE, "unknown command '%s'; 'avsweep help' lists them", word);
}

static int unknown_option(const command_row *c, const char *word, avs_err *e)
{
    const char *near = NULL;
    int best = 3;
    for (size_t i = 0; i < N_OPTIONS; i++) {
        int d = distance(word, options[i].name);
        if (d >= best || !(options[i].commands & 1u << c->command)) continue;
        best = d;
        near = options[i].name;
    }
    return near ? avs_fail(e, AVS_ERANGE, "'%s' has no option --%s; did you mean --%s?", c->word, word, near)
                : avs_fail(e, AVS_ERANGE, "'%s' has no option --%s; 'avsweep help %s' lists them", c->word,
                           word, c->word);
}

/* A number from 1 to 1000000. */
static bool whole(const char *text, int *v)
{
    char *end;
    const long n = strtol(text, &end, 10);
    if (end == text || *end || n < 1 || n > 1000000) return false;
    *v = (int)n;
    return true;
}

static int store_value(avs_options *o, const option_row *r, const char *v, avs_err *e)
{
    char *at = (char *)o + r->at, *end = NULL;
    switch (r->kind) {
    case FLAG:
        *(bool *)(void *)at = true;
        return AVS_OK;
    case TEXT:
        *(const char **)(void *)at = v;
        return AVS_OK;
    case LIST:
        if (o->n_sets == AVS_CLI_MANY)
            return avs_fail(e, AVS_ERANGE, "more than %d --%s", AVS_CLI_MANY, r->name);
        o->sets[o->n_sets++] = v;
        return AVS_OK;
    case INTEGER:
        if (!whole(v, (int *)(void *)at))
            return avs_fail(e, AVS_ERANGE, "--%s is '%s', expected a number from 1 to 1000000", r->name, v);
        return AVS_OK;
    case NUMBER: {
        double d = strtod(v, &end);
        if (!*v || *end || !isfinite(d))
            return avs_fail(e, AVS_ERANGE, "--%s is '%s', expected a number", r->name, v);
        *(double *)(void *)at = d;
        return AVS_OK;
    }
    }
    return AVS_OK;
}

static const option_row *find_option(const command_row *c, const char *name, size_t n, char letter)
{
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const option_row *r = &options[i];
        if (!(r->commands & 1u << c->command)) continue;
        if (letter ? r->letter == letter : strlen(r->name) == n && strncmp(r->name, name, n) == 0) return r;
    }
    return NULL;
}

/* One option at argv[*i]; moves *i over its value. */
static int take_option(avs_options *o, const command_row *c, int argc, char **argv, int *i, avs_err *e)
{
    const char *word = argv[*i], *value = NULL;
    const option_row *r;
    if (word[1] != '-') {
        if (word[2]) return avs_fail(e, AVS_ERANGE, "write '%s' as separate options", word);
        r = find_option(c, NULL, 0, word[1]);
        if (!r) return avs_fail(e, AVS_ERANGE, "'%s' has no option %s", c->word, word);
    } else {
        const char *name = word + 2;
        size_t n = strcspn(name, "=");
        r = find_option(c, name, n, 0);
        if (!r) {
            char only[64] = "";
            memcpy(only, name, n < 63 ? n : 63);
            return unknown_option(c, only, e);
        }
        if (name[n] == '=') value = name + n + 1;
    }
    if (r->kind == FLAG && value) return avs_fail(e, AVS_ERANGE, "--%s takes no value", r->name);
    if (r->kind != FLAG && !value) {
        if (++*i >= argc) return avs_fail(e, AVS_ERANGE, "--%s needs %s", r->name, r->arg);
        value = argv[*i];
    }
    return store_value(o, r, value, e);
}

static int from_environment(avs_options *o, avs_err *e)
{
    const char *v;
    if (!o->db) o->db = getenv("AVSWEEP_DB");
    if (!o->end_time) o->end_time = getenv("AVSWEEP_END_TIME");
    if (!o->end_time) o->end_time = getenv("SLURM_JOB_END_TIME");
    if (!o->trial_program) o->trial_program = getenv("AVSWEEP_TRIAL");
    if (!o->cores && (v = getenv("AVSWEEP_CORES")) && *v && !whole(v, &o->cores))
        return avs_fail(e, AVS_ERANGE, "AVSWEEP_CORES is '%s', expected a number from 1 to 1000000", v);
    return AVS_OK;
}

int avs_cli_parse(avs_options *o, int argc, char **argv, avs_err *e)
{
    *o = (avs_options){.command = AVS_CMD_HELP};
    if (argc < 2) return avs_fail(e, AVS_ERANGE, "no command; 'avsweep help' lists them");
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) return AVS_OK;
    if (strcmp(word, "--version") == 0) word = "version";
    const command_row *c = find_command(word);
    if (!c) return unknown_command(word, e);
    o->command = c->command;
    if (c->command == AVS_CMD_TRIAL) return AVS_OK; /* its words are not ours */
    bool plain = false;
    for (int i = 2; i < argc; i++) {
        if (!plain && strcmp(argv[i], "--") == 0) {
            plain = true;
        } else if (!plain && argv[i][0] == '-' && argv[i][1]) {
            if (c->command == AVS_CMD_EXPLAIN && strcmp(argv[i], "--help") != 0) break; /* of explain MODEL */
            int rc = take_option(o, c, argc, argv, &i, e);
            if (rc != AVS_OK) return rc;
        } else if (o->n_words < AVS_CLI_MANY) {
            o->words[o->n_words++] = argv[i];
        }
    }
    if (o->help) {
        o->command = AVS_CMD_HELP;
        o->words[0] = word;
        o->n_words = 1;
        return AVS_OK;
    }
    if (o->n_words < c->min_words) return avs_fail(e, AVS_ERANGE, "'%s' needs %s", c->word, c->args);
    if (o->n_words > c->max_words)
        return avs_fail(e, AVS_ERANGE, "'%s' does not take '%s'", c->word, o->words[c->max_words]);
    return from_environment(o, e);
}

int avs_cli_help(avs_buf *out, const char *word, avs_err *e)
{
    if (!word) {
        avs_buf_str(out,
                    "avsweep trains, evaluates and times audio-visual segmentation models in sweeps.\n\n");
        for (size_t i = 0; i < N_COMMANDS; i++)
            avs_buf_fmt(out, "  avsweep %-8s %-29s %s\n", commands[i].word, commands[i].args,
                        commands[i].help);
        avs_buf_str(
            out,
            "\nExit: 0 all done, 1 some trials failed, 2 usage, 3 invalid sweep file, 4 database, 6 a trial "
            "fits\n"
            "no node, 70 internal error, 75 stopped with work left (run it again), 130 interrupted twice.\n");
        return AVS_OK;
    }
    const command_row *c = find_command(word);
    if (!c) return unknown_command(word, e) == AVS_OK ? AVS_OK : AVS_EMISSING;
    avs_buf_fmt(out, "avsweep %s %s\n%s\n", c->word, c->args, c->help);
    if (c->command == AVS_CMD_TRIAL) return AVS_OK;
    avs_buf_char(out, '\n');
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const option_row *r = &options[i];
        if (!r->help || !(r->commands & 1u << c->command)) continue;
        char left[64], letter[8] = "    ";
        if (r->letter) {
            letter[0] = '-';
            letter[1] = r->letter;
            letter[2] = ',';
        }
        snprintf(left, sizeof left, "%.30s%s%.20s", r->name, r->arg ? " " : "", r->arg ? r->arg : "");
        avs_buf_fmt(out, "  %s--%-24s %s\n", letter, left, r->help);
    }
    return AVS_OK;
}

int avs_cli_duration(const char *text, double *seconds, avs_err *e)
{
    static const struct {
        const char *unit;
        double factor;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    char *end = NULL;
    double v = strtod(text, &end);
    if (end != text && isfinite(v) && v > 0)
        for (size_t i = 0; i < sizeof units / sizeof *units; i++)
            if (strcmp(end, units[i].unit) == 0) {
                *seconds = v * units[i].factor;
                return AVS_OK;
            }
    return avs_fail(e, AVS_ERANGE, "'%s' is no time; expected 90s, 15m, 6h or 2d", text);
}
