/* The command line from one option table: parsing, `help`, and what each option may be used with. */
#ifndef AVS_ORCHESTRATOR_CLI_H
#define AVS_ORCHESTRATOR_CLI_H

#include <stdbool.h>
#include "base/buf.h"
#include "base/err.h"

typedef enum {
    AVS_CMD_RUN,
    AVS_CMD_CHECK,
    AVS_CMD_EXPAND,
    AVS_CMD_REPORT,
    AVS_CMD_STATUS,
    AVS_CMD_SHOW,
    AVS_CMD_LS,
    AVS_CMD_EXPLAIN,
    AVS_CMD_VERSION,
    AVS_CMD_HELP,
    AVS_CMD_TRIAL, /* words for avsweep-trial: data, predict, models, golden, convert, explain MODEL */
    AVS_CMD_COUNT
} avs_command;

enum { AVS_CLI_MANY = 64 };

typedef struct {
    avs_command command;
    const char *words[AVS_CLI_MANY]; /* what is no option */
    int n_words;
    const char *sets[AVS_CLI_MANY];
    int n_sets;
    const char *db, *format, *output, *color;
    const char *retry, *walltime, *end_time, *lost_after, *trial_program;
    const char *by, *metrics, *where, *sweep, *title, *sort, *baseline, *pareto, *schema, *state;
    double ci;
    int top, max_parallel, cores, backoff_ms;
    bool dry_run, quiet, allow_env, fail_fast, keep_going, steal_lease, json, csv, count, mixed, no_published,
        help;
} avs_options;

/* argv[1..]. Errors: AVS_ERANGE, a sentence for the user (exit 2). Strings point into argv and the environment. */
int avs_cli_parse(avs_options *o, int argc, char **argv, avs_err *e);
/* word == NULL: the list of commands; else the command's usage and options. AVS_EMISSING: no such command. */
int avs_cli_help(avs_buf *out, const char *word, avs_err *e);

/* "90", "90s", "15m", "6h", "2d" -> seconds. AVS_ERANGE. */
int avs_cli_duration(const char *text, double *seconds, avs_err *e);

#endif
