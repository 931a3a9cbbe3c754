/* The command line from one table (cli_table.c): parsing, usage, the man page and shell completions all read it. */
#ifndef AVS_ORCHESTRATOR_CLI_H
#define AVS_ORCHESTRATOR_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

typedef enum {
    AVS_CMD_RUN,
    AVS_CMD_CHECK,
    AVS_CMD_EXPAND,
    AVS_CMD_REPORT,
    AVS_CMD_EXPORT,
    AVS_CMD_STATUS,
    AVS_CMD_LS,
    AVS_CMD_SHOW,
    AVS_CMD_LOGS,
    AVS_CMD_RETRY,
    AVS_CMD_CANCEL,
    AVS_CMD_PAUSE,
    AVS_CMD_PRIORITISE,
    AVS_CMD_REPRO,
    AVS_CMD_DOCTOR,
    AVS_CMD_SLURM,
    AVS_CMD_COMPARE,
    AVS_CMD_DB,
    AVS_CMD_BENCH,
    AVS_CMD_EXPLAIN,
    AVS_CMD_COMPLETION,
    AVS_CMD_VERSION,
    AVS_CMD_HELP,
    AVS_CMD_TRIAL, /* words for avsweep-trial: data, predict, models, golden, convert, explain MODEL */
    AVS_CMD_COUNT
} avs_command;

enum { AVS_CLI_MANY = 64 };

typedef struct {
    avs_command command;
    int argc;
    char **argv;                     /* as main got them */
    const char *words[AVS_CLI_MANY]; /* what is no option */
    int n_words;
    const char *sets[AVS_CLI_MANY];
    int n_sets;
    const char *db, *format, *output, *color;
    const char *retry, *walltime, *end_time, *lost_after, *trial_program;
    const char *metric, *threshold; /* of compare */
    const char *by, *metrics, *where, *sweep, *title, *sort, *baseline, *pareto, *schema, *state, *priority,
        *every, *time;
    const char *only, *stale_code, *to;
    double ci, max_gpu_hours;
    int gpus, attempt, rank, nodes, top, max_parallel, cores, backoff_ms, verbose;
    bool prune, dry_run, quiet, no_input, allow_env, fail_fast, keep_going, steal_lease, json, csv, count,
        hash, fresh, mixed, no_published, standalone, pictures, suspect, nonparametric, effective, follow,
        exec, watch, man, help;
} avs_options;

/* ---- the table ---- */

typedef int (*avs_command_fn)(const avs_options *o); /* returns the exit status */

typedef struct {
    const char *word, *args, *help;
    avs_command command;
    avs_command_fn run;
    int min_words, max_words;
    const char *
        values; /* what the words may be, for completion: "bash zsh fish", "@file", "@command", "@model"; NULL: anything */
} avs_cli_command;

typedef enum {
    AVS_OPT_FLAG,
    AVS_OPT_TALLY, /* -v, -vv: how often */
    AVS_OPT_TEXT,
    AVS_OPT_INTEGER, /* from 1 */
    AVS_OPT_INDEX,   /* from 0 */
    AVS_OPT_NUMBER,  /* above 0 */
    AVS_OPT_LIST     /* --set, repeatable */
} avs_cli_kind;

typedef struct {
    const char *name, *arg, *help; /* help NULL: not listed anywhere */
    avs_cli_kind kind;
    size_t at;         /* offset in avs_options */
    uint64_t commands; /* bit set of avs_command */
    char letter;
    const char
        *values; /* "text json": others are refused; "@file", "@model": for completion; NULL: anything */
} avs_cli_option;

extern const avs_cli_command avs_cli_commands[];
extern const size_t avs_cli_n_commands;
extern const avs_cli_option avs_cli_options[];
extern const size_t avs_cli_n_options;

const avs_cli_command *avs_cli_find_command(const char *word); /* NULL: none */
static inline bool avs_cli_takes(const avs_cli_command *c, const avs_cli_option *r)
{
    return (r->commands >> c->command & 1) != 0;
}
static inline bool avs_cli_is_global(const avs_cli_option *r)
{
    return r->commands == ~UINT64_C(0);
}

/* ---- parsing ---- */

/* argv[1..]: global options may stand before the command. Errors: AVS_ERANGE, a sentence for the user (exit 2).
 * Strings point into argv and the environment. Precedence: option, environment, default. */
int avs_cli_parse(avs_options *o, int argc, char **argv, avs_err *e);

/* "90", "90s", "15m", "6h", "2d" -> seconds. AVS_ERANGE. */
int avs_cli_duration(const char *text, double *seconds, avs_err *e);

/* ---- texts made from the table (cli_text.c) ---- */

/* word == NULL: the list of commands; else the command's usage and options. AVS_EMISSING: no such command. */
int avs_cli_help(avs_buf *out, const char *word, avs_err *e);
/* The same rows as objects, one a line: "command", and "option" of each. */
int avs_cli_help_json(avs_buf *out, const char *word, avs_err *e);
void avs_cli_man(avs_buf *out); /* avsweep.1, man macros */
/* shell: bash, zsh, fish. AVS_EMISSING: none of these. */
int avs_cli_completion(avs_buf *out, const char *shell, avs_err *e);

#endif
