/* avsweep-trial: one rank of one trial, and the commands that need the engine. Only this file exits the process. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "avs_version.h"
#include "workers/convert.h"
#include "workers/data_command.h"
#include "workers/explain.h"
#include "workers/golden/run.h"
#include "workers/models_command.h"
#include "workers/predict.h"
#include "workers/ring_check.h"
#include "workers/trial.h"

static int run(int argc, char **argv)
{
    if (argc == 1) return avs_trial_main(argv[0]);
    fprintf(stderr, "usage: avsweep-trial run JOB.json\n");
    return 2;
}

static int version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("avsweep-trial %s (%s%s, %s, %s)\n", AVS_VERSION, AVS_COMMIT, AVS_COMMIT_DIRTY ? ", modified" : "",
           AVS_COMPILER, AVS_BUILD_TYPE);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*main)(int, char **);
        const char *help;
        bool has_page; /* prints more than this line for --help */
    } commands[] = {
        {"run", run, "one rank of one trial: run JOB.json", false},
        {"data", avs_data_command, "compose, index, list or check a data set", true},
        {"predict", avs_predict_command, "masks and overlays from a checkpoint", true},
        {"golden", avs_golden_main, "run golden cases", false},
        {"convert", avs_convert_command,
         "PyTorch checkpoint to safetensors: convert IN OUT.safetensors [--help]", true},
        {"ring", avs_ring_check_command,
         "the all-reduce between processes of this node, checked: ring [RANKS] [tcp]", false},
        {"models", avs_models_command,
         "the systems that are built in, with sizes: models [--format text|json]", false},
        {"explain", avs_explain_command,
         "graph, plan and memory of a model: explain MODEL [--PARAMETER VALUE].. [--graph] [--training] "
         "[--profile] [--backend cpu|cuda] [--no-pass NAME,..|all] [--mem-budget MB] [--check-nan] [--trace "
         "FILE.json]; or of a "
         "backbone alone: explain "
         "--backbone-only NAME [--resolution N] [--batch N] ..",
         false},
        {"bench-forward", avs_bench_forward_command,
         "one timing: --model M [--PARAMETER VALUE].. [--threads N] [--runs K] [--json] [--training] "
         "[--backend cpu|cuda] "
         "[--no-pass NAME,..|all] [--mem-budget MB]; or of a backbone alone: --backbone-only NAME "
         "[--resolution N] [--batch N] ..",
         false},
        {"bench-step", avs_bench_step_command,
         "training steps (forward, backward, AdamW) as JSON, with the peak of memory: options as "
         "bench-forward's",
         false},
        {"version", version, "version, commit and compiler", false},
    };
    const size_t n = sizeof commands / sizeof *commands;
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* in a log, lines stand in order with those of stderr */
    const char *name = argc > 1 ? argv[1] : "help";
    if (!strcmp(name, "--version")) name = "version";
    for (size_t i = 0; i < n; i++) {
        if (strcmp(name, commands[i].name) != 0) continue;
        if (argc < 3 || strcmp(argv[2], "--help") != 0 || commands[i].has_page)
            return commands[i].main(argc - 2, argv + 2);
        printf("avsweep-trial %s: %s\n", name, commands[i].help);
        return 0;
    }
    const int wrong = strcmp(name, "help") != 0 && strcmp(name, "--help") != 0;
    FILE *f = wrong ? stderr : stdout;
    if (wrong) fprintf(f, "avsweep-trial: unknown command '%s'\n", name);
    fprintf(f, "usage: avsweep-trial COMMAND ..\n");
    for (size_t i = 0; i < n; i++) fprintf(f, "  %-14s %s\n", commands[i].name, commands[i].help);
    return wrong ? 2 : 0;
}
