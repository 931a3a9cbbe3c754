/* The table of commands and the table of options. A new command is one row here, one word in avs_command and one
 * function; a new option is one row and one field of avs_options. Usage, man page and completions follow. */
#include "orchestrator/bench_dispatch.h"
#include "orchestrator/cli.h"
#include "orchestrator/commands.h"
#include "orchestrator/compare_command.h"
#include "orchestrator/db_command.h"
#include "orchestrator/doctor.h"
#include "orchestrator/look.h"
#include "orchestrator/repro.h"
#include "orchestrator/run.h"
#include "orchestrator/slurm.h"
#include "orchestrator/status.h"
#include "orchestrator/steer.h"

// clang-format off
const avs_cli_command avs_cli_commands[] = {
    {"run",        "FILE.. --db DB",      "run what is missing of sweeps, one after the other; the same command again resumes", AVS_CMD_RUN, avs_run, 1, AVS_CLI_MANY, "@file"},
    {"check",      "FILE",                "validate a sweep file and say nothing when it is right",          AVS_CMD_CHECK,   avs_command_check,   1, 1, "@file"},
    {"expand",     "FILE",                "list the trials of a sweep with their hashes",                    AVS_CMD_EXPAND,  avs_command_expand,  1, 1, "@file"},
    {"report",     "--db DB",             "tables and plots from a database",               AVS_CMD_REPORT,  avs_command_report,  0, 0, NULL},
    {"status",     "--db DB",             "counts, best results and last failures of a database",            AVS_CMD_STATUS,  avs_command_status,  0, 0, NULL},
    {"export",     "--to FORMAT -o PATH", "trials as csv, json, sqlite, mlflow, wandb, tensorboard",         AVS_CMD_EXPORT,  avs_command_export,  0, 0, NULL},
    {"ls",         "--db DB",             "one line per trial",                                              AVS_CMD_LS,      avs_command_ls,      0, 0, NULL},
    {"show",       "HASH | --schema MODEL | --effective [FILE]", "one trial; every option of a model; where settings come from", AVS_CMD_SHOW, avs_command_show, 0, 1, "@file"},
    {"logs",       "HASH",                "what a trial printed",                                            AVS_CMD_LOGS,    avs_command_logs,    1, 1, NULL},
    {"retry",      "EXPR",                "failed, cancelled and paused trials may run again",               AVS_CMD_RETRY,   avs_command_retry,   1, 1, NULL},
    {"cancel",     "EXPR",                "trials are not started any more; running ones are ended",         AVS_CMD_CANCEL,  avs_command_cancel,  1, 1, NULL},
    {"pause",      "EXPR",                "trials stop with a checkpoint, or do not start, until they are retried", AVS_CMD_PAUSE,   avs_command_pause,   1, 1, NULL},
    {"prioritise", "EXPR",                "trials come first in the queue (--priority N, default 1)",        AVS_CMD_PRIORITISE, avs_command_prioritise, 1, 1, NULL},
    {"compare",    "A B --metric M",      "is B better than A? lists, hashes or sweeps of --db, or databases", AVS_CMD_COMPARE, avs_command_compare, 2, 2, "@file"},
    {"db",         "WORD [DB ..]",        "init, migrate, check, snapshot, merge TARGET FILE.., gc",         AVS_CMD_DB,      avs_command_db,      1, AVS_CLI_MANY, "init migrate check snapshot merge gc"},
    {"bench-dispatch", "[ROW]",          "rates and latencies of this installation, on no-op trials",       AVS_CMD_BENCH,   avs_bench_dispatch,  0, 1, NULL},
    {"explain",    "CODE.. | MODEL",      "what a message code means, or graph and plan of a model",         AVS_CMD_EXPLAIN, avs_command_explain, 1, AVS_CLI_MANY, "@model"},
    {"repro",      "HASH",                "one trial as a command of its own; --exec runs it and compares", AVS_CMD_REPRO,    avs_command_repro,   1, 1, NULL},
    {"doctor",     "[--db DB]",           "check this node, or with mpirun every node",                      AVS_CMD_DOCTOR,  avs_command_doctor,  0, 0, NULL},
    {"slurm",      "FILE",                "print the sbatch script that runs a sweep",                       AVS_CMD_SLURM,   avs_command_slurm,   1, 1, "@file"},
    {"data",       "..",                  "data sets: index, compose, .. (avsweep-trial data)",              AVS_CMD_TRIAL,   avs_command_trial,   0, AVS_CLI_MANY, NULL},
    {"predict",    "..",                  "masks for files (avsweep-trial predict)",                         AVS_CMD_TRIAL,   avs_command_trial,   0, AVS_CLI_MANY, NULL},
    {"models",     "..",                  "the models that are built in (avsweep-trial models)",             AVS_CMD_TRIAL,   avs_command_trial,   0, AVS_CLI_MANY, NULL},
    {"golden",     "..",                  "compare with golden cases (avsweep-trial golden)",                AVS_CMD_TRIAL,   avs_command_trial,   0, AVS_CLI_MANY, NULL},
    {"convert",    "..",                  "PyTorch checkpoint to safetensors (avsweep-trial convert)",       AVS_CMD_TRIAL,   avs_command_trial,   0, AVS_CLI_MANY, NULL},
    {"completion", "bash | zsh | fish",   "completions for a shell, to be sourced or installed",             AVS_CMD_COMPLETION, avs_command_completion, 1, 1, "bash zsh fish"},
    {"version",    "",                    "version, commit and libraries",                                   AVS_CMD_VERSION, avs_command_version, 0, 0, NULL},
    {"help",       "[COMMAND] | --man",   "this text, that of a command, or the man page",                   AVS_CMD_HELP,    avs_command_help,    0, 1, "@command"},
};
const size_t avs_cli_n_commands = sizeof avs_cli_commands / sizeof *avs_cli_commands;

#define C(x) (UINT64_C(1) << AVS_CMD_##x)
#define AT(field) offsetof(avs_options, field)
#define FLAG AVS_OPT_FLAG
#define TALLY AVS_OPT_TALLY
#define TEXT AVS_OPT_TEXT
#define INTEGER AVS_OPT_INTEGER
#define INDEX AVS_OPT_INDEX
#define NUMBER AVS_OPT_NUMBER
#define LIST AVS_OPT_LIST
#define FILES (C(RUN) | C(CHECK) | C(EXPAND) | C(SHOW) | C(SLURM))
#define STEER (C(RETRY) | C(CANCEL) | C(PAUSE) | C(PRIORITISE))
#define TABLES (C(REPORT) | C(STATUS) | C(LS) | STEER)
#define EVERY (~UINT64_C(0))
/* Where an option has several rows (--format), the first that belongs to the command counts. */
const avs_cli_option avs_cli_options[] = {
    {"set",           "K=V",    "set base.K, vars.K or profile for this run; repeatable",   LIST,    AT(sets),          FILES, 0, NULL},
    {"allow-env",     NULL,     "allow ${env:NAME} in the file",                            FLAG,    AT(allow_env),     FILES, 0, NULL},
    {"dry-run",       NULL,     "say what would run, and stop",                             FLAG,    AT(dry_run),       C(RUN), 'n', NULL},
    {"retry",         "WHAT",   "failed, lost, or both: try such trials of earlier runs again", TEXT, AT(retry),        C(RUN), 0, NULL},
    {"only",          "EXPR",   "only trials for which EXPR over parameters, seed, stage holds, and what they need", TEXT, AT(only), C(RUN), 0, NULL},
    {"fresh",         NULL,     "run finished trials again, from the start",                FLAG,    AT(fresh),         C(RUN), 0, NULL},
    {"prune",         NULL,     "cancel what is open and no more in the changed file",      FLAG,    AT(prune),         C(RUN), 0, NULL},
    {"stale-code",    "WHAT",   "results of another version of the code: keep, warn (default), rerun", TEXT, AT(stale_code), C(RUN), 0, "keep warn rerun"},
    {"max-gpu-hours", "X",      "refuse a sweep that is estimated to take more (exit 3)",   NUMBER,  AT(max_gpu_hours), C(RUN), 0, NULL},
    {"gpus",          "N",      "with --dry-run: for how many GPUs the time is estimated",  INTEGER, AT(gpus),          C(RUN), 0, NULL},
    {"fail-fast",     NULL,     "stop at the first failed trial",                           FLAG,    AT(fail_fast),     C(RUN), 0, NULL},
    {"keep-going",    NULL,     "never stop early, however many trials fail",               FLAG,    AT(keep_going),    C(RUN), 0, NULL},
    {"walltime",      "TIME",   "checkpoint and stop after TIME (90s, 15m, 6h)",            TEXT,    AT(walltime),      C(RUN), 0, NULL},
    {"end-time",      "EPOCH",  "the same at a time in seconds UTC; default $AVSWEEP_END_TIME, $SLURM_JOB_END_TIME", TEXT, AT(end_time), C(RUN), 0, NULL},
    {"max-parallel",  "N",      "at most N trials at one time",                             INTEGER, AT(max_parallel),  C(RUN), 0, NULL},
    {"cores",         "N",      "cores to use on each node; default all; $AVSWEEP_CORES",   INTEGER, AT(cores),         C(RUN), 0, NULL},
    {"lost-after",    "TIME",   "a node that is silent for TIME is lost; default 10m",      TEXT,    AT(lost_after),    C(RUN), 0, NULL},
    {"steal-lease",   NULL,     "take a database whose owner is surely gone",               FLAG,    AT(steal_lease),   C(RUN), 0, NULL},
    {"trial-program", "PATH",   NULL,                                                       TEXT,    AT(trial_program), C(RUN) | C(REPRO) | C(BENCH), 0, NULL},
    {"backoff-ms",    "N",      NULL,                                                       INTEGER, AT(backoff_ms),    C(RUN), 0, NULL},
    {"json",          NULL,     "the same as --format json",                                FLAG,    AT(json),          EVERY, 0, NULL},
    {"csv",           NULL,     "comma-separated values",                                   FLAG,    AT(csv),           C(EXPAND), 0, NULL},
    {"count",         NULL,     "counts only",                                              FLAG,    AT(count),         C(EXPAND), 0, NULL},
    {"hash",          NULL,     "counts and one hash over all trials in order",             FLAG,    AT(hash),          C(EXPAND), 0, NULL},
    {"metric",        "M",      "what is compared: miou, latency_p50, ..",                  TEXT,    AT(metric),        C(COMPARE), 0, NULL},
    {"threshold",     "T",      "what counts as a difference: 1% of A, or a number as stored; default 0", TEXT, AT(threshold), C(COMPARE), 0, NULL},
    {"by",            "KEYS",   "row keys, separated by commas",                            TEXT,    AT(by),            C(REPORT), 0, NULL},
    {"metrics",       "LIST",   "columns, separated by commas: miou, miou@task=s4, ..",     TEXT,    AT(metrics),       C(REPORT) | C(LS), 0, NULL},
    {"where",         "LIST",   "task=s4,backbone=resnet50: only trials with these values", TEXT,    AT(where),         C(REPORT) | C(EXPORT), 0, NULL},
    {"where",         "EXPR",   "only trials for which it holds: \"model == 'save' and metric.miou < 0.5\"", TEXT, AT(where), C(LS), 0, NULL},
    {"exec",          NULL,     "run it and compare its results with the recorded ones",    FLAG,    AT(exec),          C(REPRO), 0, NULL},
    {"nodes",         "N",      "nodes to ask for; default 1",                              INTEGER, AT(nodes),         C(SLURM), 0, NULL},
    {"time",          "TIME",   "what sbatch takes: 12:00:00 (default), 2-00:00:00",        TEXT,    AT(time),          C(SLURM), 0, NULL},
    {"watch",         NULL,     "the whole screen, live, until the run ends or q; not on a terminal: a line per 30 s", FLAG, AT(watch), C(STATUS), 'w', NULL},
    {"every",         "TIME",   "with --watch: how often",                                  TEXT,    AT(every),         C(STATUS), 0, NULL},
    {"priority",      "N",      "larger comes first; default 1",                            TEXT,    AT(priority),      C(PRIORITISE), 0, NULL},
    {"attempt",       "N",      "of this attempt; default the newest",                      INTEGER, AT(attempt),       C(LOGS), 0, NULL},
    {"rank",          "R",      "of rank R of a gang",                                      INDEX,   AT(rank),          C(LOGS), 0, NULL},
    {"follow",        NULL,     "go on until the attempt ends",                             FLAG,    AT(follow),        C(LOGS), 'f', NULL},
    {"effective",     NULL,     "options, and parameters of a sweep file, with their source", FLAG,  AT(effective),     C(SHOW), 0, NULL},
    {"sweep",         "NAME",   "only this sweep",                                          TEXT,    AT(sweep),         TABLES | C(EXPORT), 0, NULL},
    {"state",         "STATE",  "only trials in this state",                                TEXT,    AT(state),         C(LS) | STEER, 0,
     "pending running done failed paused preempted blocked cancelled pruned"},
    {"to",            "FORMAT", "csv, json, sqlite, mlflow, wandb, tensorboard",            TEXT,    AT(to),            C(EXPORT), 0, "csv json sqlite mlflow wandb tensorboard"},
    {"title",         "TEXT",   "heading of the table",                                     TEXT,    AT(title),         C(REPORT), 0, NULL},
    {"sort",          "METRIC", "best first",                                               TEXT,    AT(sort),          C(REPORT), 0, NULL},
    {"top",           "N",      "only the first N rows",                                    INTEGER, AT(top),           C(REPORT), 0, NULL},
    {"ci",            "PERCENT","confidence level, default 95",                             NUMBER,  AT(ci),            C(REPORT) | C(COMPARE), 0, NULL},
    {"baseline",      "LIST",   "compare every row with the one that has these values",     TEXT,    AT(baseline),      C(REPORT), 0, NULL},
    {"mixed",         NULL,     "allow different machines or code in one latency column",   FLAG,    AT(mixed),         C(REPORT) | C(COMPARE), 0, NULL},
    {"suspect",       NULL,     "keep latencies that drifted or were disturbed, marked",    FLAG,    AT(suspect),       C(REPORT) | C(COMPARE), 0, NULL},
    {"nonparametric", NULL,     "Wilcoxon in place of paired t from 10 common seeds on",    FLAG,    AT(nonparametric), C(REPORT) | C(COMPARE), 0, NULL},
    {"no-published",  NULL,     "without the papers' values",                               FLAG,    AT(no_published),  C(REPORT), 0, NULL},
    {"pareto",        "x=X,y=Y","metrics of the plot (html, svg)",                          TEXT,    AT(pareto),        C(REPORT), 0, NULL},
    {"standalone",    NULL,     "latex: a whole document for pdflatex",                     FLAG,    AT(standalone),    C(REPORT) | C(COMPARE), 0, NULL},
    {"pictures",      NULL,     "html: with the predictions side by side",                  FLAG,    AT(pictures),      C(REPORT), 0, NULL},
    {"output",        "PATH",   "write here instead of stdout; of db snapshot: the copy",     TEXT,    AT(output),        C(REPORT) | C(COMPARE) | C(DB) | C(EXPORT), 'o', "@file"},
    {"schema",        "MODEL",  "every option of a model: type, range, default, help",      TEXT,    AT(schema),        C(SHOW), 0, "@model"},
    {"man",           NULL,     "the whole manual as a man page: avsweep help --man | man -l -", FLAG, AT(man),         C(HELP), 0, NULL},
    /* Global ones. */
    {"db",            "DB",     "the database; default $AVSWEEP_DB",                        TEXT,    AT(db),            EVERY, 0, "@file"},
    {"format",        "WORD",   "text, md, latex, csv, json, html, svg",                    TEXT,    AT(format),        C(REPORT) | C(COMPARE), 0, "text md latex csv json html svg"},
    {"format",        "WORD",   "text, json; with --schema also md",                        TEXT,    AT(format),        C(SHOW), 0, "text json md"},
    {"format",        "WORD",   "text, json, csv",                                          TEXT,    AT(format),        C(EXPAND), 0, "text json csv"},
    {"format",        "WORD",   "text, or json: one object with a type per line",           TEXT,    AT(format),        EVERY, 0, "text json"},
    {"color",         "WHEN",   "auto, always, never; auto: on a terminal without $NO_COLOR", TEXT,  AT(color),         EVERY, 0, "auto always never"},
    {"quiet",         NULL,     "errors only",                                              FLAG,    AT(quiet),         EVERY, 'q', NULL},
    {"verbose",       NULL,     "say more; twice: everything",                              TALLY,   AT(verbose),       EVERY, 'v', NULL},
    {"no-input",      NULL,     "never ask",                                                FLAG,    AT(no_input),      EVERY, 0, NULL},
    {"help",          NULL,     "usage of the command",                                     FLAG,    AT(help),          EVERY, 'h', NULL},
};
// clang-format on
const size_t avs_cli_n_options = sizeof avs_cli_options / sizeof *avs_cli_options;
