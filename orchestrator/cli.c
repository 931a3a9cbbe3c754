/* Reading the command line by the table, and the environment after it. */
#include "orchestrator/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sweeps/duration.h"

const avs_cli_command *avs_cli_find_command(const char *word)
{
    for (size_t i = 0; i < avs_cli_n_commands; i++)
        if (strcmp(avs_cli_commands[i].word, word) == 0) return &avs_cli_commands[i];
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
    for (size_t i = 0; i < avs_cli_n_commands; i++) {
        int d = distance(word, avs_cli_commands[i].word);
        if (d >= best) continue;
        best = d;
        near = avs_cli_commands[i].word;
    }
    return near ? avs_fail(e, AVS_ERANGE, "unknown command '%s'; did you mean '%s'?", word, near)
                : avs_fail(e, AVS_ERANGE, "unknown command '%s'; 'avsweep help' lists them", word);
}

static int unknown_option(const avs_cli_command *c, const char *word, avs_err *e)
{
    const char *near = NULL;
    int best = 3;
    for (size_t i = 0; i < avs_cli_n_options; i++) {
        int d = distance(word, avs_cli_options[i].name);
        if (d >= best || !avs_cli_takes(c, &avs_cli_options[i])) continue;
        best = d;
        near = avs_cli_options[i].name;
    }
    return near ? avs_fail(e, AVS_ERANGE, "'%s' has no option --%s; did you mean --%s?", c->word, word, near)
                : avs_fail(e, AVS_ERANGE, "'%s' has no option --%s; 'avsweep help %s' lists them", c->word,
                           word, c->word);
}

/* A number from least to 1000000. */
static bool whole(const char *text, int least, int *v)
{
    char *end;
    const long n = strtol(text, &end, 10);
    if (end == text || *end || n < least || n > 1000000) return false;
    *v = (int)n;
    return true;
}

/* Whether `word` is one of the words of the list. */
static bool listed(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        if (len == n && strncmp(p, word, n) == 0) return true;
        p += len;
    }
    return false;
}

static int store_value(avs_options *o, const avs_cli_option *r, const char *v, avs_err *e)
{
    char *at = (char *)o + r->at, *end = NULL;
    switch (r->kind) {
    case AVS_OPT_FLAG:
        *(bool *)(void *)at = true;
        return AVS_OK;
    case AVS_OPT_TALLY:
        ++*(int *)(void *)at;
        return AVS_OK;
    case AVS_OPT_TEXT:
        if (r->values && r->values[0] != '@' && !listed(r->values, v))
            return avs_fail(e, AVS_ERANGE, "--%s is '%s', expected one of: %s", r->name, v, r->values);
        *(const char **)(void *)at = v;
        return AVS_OK;
    case AVS_OPT_LIST:
        if (o->n_sets == AVS_CLI_MANY)
            return avs_fail(e, AVS_ERANGE, "more than %d --%s", AVS_CLI_MANY, r->name);
        o->sets[o->n_sets++] = v;
        return AVS_OK;
    case AVS_OPT_INTEGER:
    case AVS_OPT_INDEX: {
        const int least = r->kind == AVS_OPT_INTEGER;
        if (!whole(v, least, (int *)(void *)at))
            return avs_fail(e, AVS_ERANGE, "--%s is '%s', expected a number from %d to 1000000", r->name, v,
                            least);
        return AVS_OK;
    }
    case AVS_OPT_NUMBER: {
        double d = strtod(v, &end);
        if (!*v || *end || !isfinite(d) || d <= 0)
            return avs_fail(e, AVS_ERANGE, "--%s is '%s', expected a number above 0", r->name, v);
        *(double *)(void *)at = d;
        return AVS_OK;
    }
    }
    return AVS_OK;
}

static const avs_cli_option *find_option(const avs_cli_command *c, const char *name, size_t n, char letter)
{
    for (size_t i = 0; i < avs_cli_n_options; i++) {
        const avs_cli_option *r = &avs_cli_options[i];
        if (!avs_cli_takes(c, r)) continue;
        if (name ? strlen(r->name) == n && strncmp(r->name, name, n) == 0 : r->letter == letter) return r;
    }
    return NULL;
}

/* One option at argv[*i]; moves *i over its value. */
static int take_option(avs_options *o, const avs_cli_command *c, int argc, char **argv, int *i, avs_err *e)
{
    const char *word = argv[*i], *value = NULL;
    const avs_cli_option *r;
    if (word[1] != '-') {
        r = find_option(c, NULL, 0, word[1]);
        if (!r) return avs_fail(e, AVS_ERANGE, "'%s' has no option %s", c->word, word);
        size_t again = strspn(word + 1, (char[]){word[1], '\0'});
        if (word[1 + again] || (again > 1 && r->kind != AVS_OPT_TALLY))
            return avs_fail(e, AVS_ERANGE, "write '%s' as separate options", word);
        for (; again > 1; again--) (void)store_value(o, r, NULL, e);
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
    const bool bare = r->kind == AVS_OPT_FLAG || r->kind == AVS_OPT_TALLY;
    if (bare && value) return avs_fail(e, AVS_ERANGE, "--%s takes no value", r->name);
    if (!bare && !value) {
        if (++*i >= argc) return avs_fail(e, AVS_ERANGE, "--%s needs %s", r->name, r->arg);
        value = argv[*i];
    }
    return store_value(o, r, value, e);
}

/* NULL for a variable that is empty, too. */
static const char *variable(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

/* How much is said, where neither -q nor -v does. */
static int loudness(avs_options *o, avs_err *e)
{
    static const char *const words[] = {"normal", "verbose", "debug"};
    const char *v = variable("AVSWEEP_LOG");
    if (!v || o->quiet || o->verbose) return AVS_OK;
    o->quiet = strcmp(v, "quiet") == 0;
    for (int i = 0; i < 3 && !o->quiet; i++)
        if (strcmp(v, words[i]) == 0) {
            o->verbose = i;
            return AVS_OK;
        }
    return o->quiet ? AVS_OK
                    : avs_fail(e, AVS_ERANGE,
                               "AVSWEEP_LOG is '%s', expected one of: quiet normal verbose debug", v);
}

static int from_environment(avs_options *o, avs_err *e)
{
    const char *v;
    if (!o->db) o->db = variable("AVSWEEP_DB");
    if (!o->end_time) o->end_time = variable("AVSWEEP_END_TIME");
    if (!o->end_time) o->end_time = variable("SLURM_JOB_END_TIME");
    if (!o->trial_program) o->trial_program = variable("AVSWEEP_TRIAL");
    if (!o->cores && (v = variable("AVSWEEP_CORES")) && !whole(v, 1, &o->cores))
        return avs_fail(e, AVS_ERANGE, "AVSWEEP_CORES is '%s', expected a number from 1 to 1000000", v);
    return loudness(o, e);
}

/* --json and --format json are one thing. */
static int settle(avs_options *o, const avs_cli_command *c, avs_err *e)
{
    if (o->json && o->format && strcmp(o->format, "json") != 0)
        return avs_fail(e, AVS_ERANGE, "--json and --format %s contradict each other", o->format);
    if (o->json) o->format = "json";
    o->json = o->format && strcmp(o->format, "json") == 0;
    o->csv |= o->format && strcmp(o->format, "csv") == 0;
    if (o->help) {
        o->command = AVS_CMD_HELP;
        o->words[0] = c->word;
        o->n_words = 1;
        return AVS_OK;
    }
    if (o->fail_fast && o->keep_going)
        return avs_fail(e, AVS_ERANGE, "--fail-fast and --keep-going contradict each other");
    if (o->n_words < c->min_words) return avs_fail(e, AVS_ERANGE, "'%s' needs %s", c->word, c->args);
    if (o->n_words > c->max_words)
        return avs_fail(e, AVS_ERANGE, "'%s' does not take '%s'", c->word, o->words[c->max_words]);
    return from_environment(o, e);
}

int avs_cli_parse(avs_options *o, int argc, char **argv, avs_err *e)
{
    /* Takes the global options alone: those that may stand before the command. */
    static const avs_cli_command before = {.word = "avsweep", .command = AVS_CMD_COUNT};
    int at = 1, rc;
    *o = (avs_options){.command = AVS_CMD_HELP, .argc = argc, .argv = argv};
    for (; at < argc && argv[at][0] == '-' && strcmp(argv[at], "--version") != 0 && !o->help; at++)
        if ((rc = take_option(o, &before, argc, argv, &at, e)) != AVS_OK) return rc;
    if (o->help) return AVS_OK;
    if (at >= argc) return avs_fail(e, AVS_ERANGE, "no command; 'avsweep help' lists them");
    const char *word = strcmp(argv[at], "--version") == 0 ? "version" : argv[at];
    const avs_cli_command *c = avs_cli_find_command(word);
    if (!c) return unknown_command(word, e);
    o->command = c->command;
    o->argv = argv + at - 1; /* argv[1] is the command for whoever passes it on */
    o->argc = argc - at + 1;
    if (c->command == AVS_CMD_TRIAL) return AVS_OK; /* its words are not ours */
    bool plain = false;
    for (int i = at + 1; i < argc; i++) {
        if (!plain && strcmp(argv[i], "--") == 0) {
            plain = true;
        } else if (!plain && argv[i][0] == '-' && argv[i][1]) {
            rc = take_option(o, c, argc, argv, &i, e);
            if (rc != AVS_OK && c->command == AVS_CMD_EXPLAIN) break; /* an option of explain MODEL */
            if (rc != AVS_OK) return rc;
        } else if (o->n_words < AVS_CLI_MANY) {
            o->words[o->n_words++] = argv[i];
        } else {
            return avs_fail(e, AVS_ERANGE, "'%s' takes at most %d words", c->word, AVS_CLI_MANY);
        }
    }
    return settle(o, c, e);
}

int avs_cli_duration(const char *text, double *seconds, avs_err *e)
{
    if (avs_duration_read(text, seconds) && *seconds > 0) return AVS_OK;
    return avs_fail(e, AVS_ERANGE, "'%s' is no time; expected 90s, 15m, 6h, 2d or 1h30m", text);
}
