/* Texts made from the table of cli_table.c: usage, the man page and completions of three shells. */
#include <stdio.h>
#include <string.h>
#include "avs_version.h"
#include "base/json.h"
#include "orchestrator/cli.h"
#include "sweeps/listing.h"

static const struct {
    const char *code, *means;
} exits[] = {{"0", "all done"},
             {"1", "finished, some trials failed"},
             {"2", "usage: a wrong option or argument"},
             {"3", "invalid sweep file"},
             {"4", "database: locked, full, read-only, of another schema"},
             {"6", "a trial fits no node"},
             {"7", "compare found a regression"},
             {"70", "internal error"},
             {"75", "stopped with work left: run it again"},
             {"130", "interrupted twice"}};
enum { N_EXITS = sizeof exits / sizeof *exits };

static const struct {
    const char *name, *means;
} variables[] = {
    {"AVSWEEP_DB", "the database where no --db is given"},
    {"AVSWEEP_CORES", "cores to use on each node"},
    {"AVSWEEP_END_TIME", "when the allocation ends, seconds since 1970 UTC; else SLURM_JOB_END_TIME"},
    {"AVSWEEP_LOG", "quiet, normal, verbose or debug: what is said without -q, -v, -vv"},
    {"AVSWEEP_BACKEND", "cpu or cuda: where built-in models run; default: cuda for trials that have a GPU"},
    {"AVSWEEP_COMM", "nccl or ring: how the ranks of a trial add gradients; default: nccl where it works"},
    {"AVSWEEP_QUIET_WAIT",
     "seconds a latency trial waits for other processes to fall silent; default 10, 0: none"},
    {"AVSWEEP_RING_ADDRESS",
     "interface or address where ranks of a trial on several nodes meet; default: all of the node"},
    {"AVSWEEP_SCRATCH", "folder on the node for temporary files; else TMPDIR, else /tmp"},
    {"AVSWEEP_TRIAL", "the trial program; default: avsweep-trial beside avsweep"},
    {"AVSWEEP_FAULT",
     "faults on purpose, for tests: kill:trial=7:after=3s, eio:db:after=100, drop:start:after=2"},
    {"AVSWEEP_WEIGHTS", "folder of pretrained weights; default: weights/"},
    {"NO_COLOR", "no colour, whatever its value"}};
enum { N_VARIABLES = sizeof variables / sizeof *variables };

/* The first row of a name is the one that the command sees. */
static bool listed_for(const avs_cli_command *c, const avs_cli_option *r)
{
    if (!r->help || !avs_cli_takes(c, r)) return false;
    for (const avs_cli_option *q = avs_cli_options; q < r; q++)
        if (avs_cli_takes(c, q) && strcmp(q->name, r->name) == 0) return false;
    return true;
}

/* Options that every command has under a name are told once. */
static bool is_common(const avs_cli_option *r)
{
    if (avs_cli_is_global(r)) return true;
    return strcmp(r->name, "format") == 0;
}

/* ---- usage ---- */

static void option_line(avs_buf *out, const avs_cli_option *r)
{
    char left[64], letter[8] = "    ";
    if (r->letter) {
        letter[0] = '-';
        letter[1] = r->letter;
        letter[2] = ',';
    }
    snprintf(left, sizeof left, "%.30s%s%.20s", r->name, r->arg ? " " : "", r->arg ? r->arg : "");
    avs_buf_fmt(out, "  %s--%-22s %s\n", letter, left, r->help);
}

static void all_commands(avs_buf *out)
{
    avs_buf_str(out, "avsweep trains, evaluates and times audio-visual segmentation models in sweeps.\n\n");
    for (size_t i = 0; i < avs_cli_n_commands; i++)
        avs_buf_fmt(out, "  avsweep %-11s %-24s %s\n", avs_cli_commands[i].word, avs_cli_commands[i].args,
                    avs_cli_commands[i].help);
    avs_buf_str(out, "\nOptions of every command, before or after it:\n");
    for (size_t i = 0; i < avs_cli_n_options; i++)
        if (avs_cli_options[i].help && avs_cli_is_global(&avs_cli_options[i]))
            option_line(out, &avs_cli_options[i]);
    avs_buf_str(out, "\nExit status:\n");
    for (int i = 0; i < N_EXITS; i++) avs_buf_fmt(out, "  %-4s %s\n", exits[i].code, exits[i].means);
}

int avs_cli_help(avs_buf *out, const char *word, avs_err *e)
{
    if (!word) {
        all_commands(out);
        return AVS_OK;
    }
    const avs_cli_command *c = avs_cli_find_command(word);
    if (!c) return avs_fail(e, AVS_EMISSING, "there is no command '%s'; 'avsweep help' lists them", word);
    avs_buf_fmt(out, "avsweep %s %s\n%s\n", c->word, c->args, c->help);
    if (c->command == AVS_CMD_TRIAL) return AVS_OK;
    for (int common = 0; common < 2; common++) {
        bool any = false;
        for (size_t i = 0; i < avs_cli_n_options; i++) {
            const avs_cli_option *r = &avs_cli_options[i];
            if (is_common(r) != common || !listed_for(c, r)) continue;
            if (!any) avs_buf_str(out, common ? "\nOptions of every command:\n" : "\nOptions:\n");
            any = true;
            option_line(out, r);
        }
    }
    return AVS_OK;
}

static void word_or_null(avs_buf *out, const char *name, const char *value)
{
    avs_buf_fmt(out, ",\"%s\":", name);
    if (value)
        avs_json_write_str(out, value);
    else
        avs_buf_str(out, "null");
}

int avs_cli_help_json(avs_buf *out, const char *word, avs_err *e)
{
    if (word && !avs_cli_find_command(word))
        return avs_fail(e, AVS_EMISSING, "there is no command '%s'; 'avsweep help' lists them", word);
    for (size_t i = 0; i < avs_cli_n_commands; i++) {
        const avs_cli_command *c = &avs_cli_commands[i];
        if (word && strcmp(word, c->word) != 0) continue;
        avs_buf_str(out, "{\"type\":\"command\",\"v\":1");
        word_or_null(out, "command", c->word);
        word_or_null(out, "arguments", c->args);
        word_or_null(out, "help", c->help);
        avs_buf_str(out, "}\n");
        for (size_t k = 0; k < avs_cli_n_options && c->command != AVS_CMD_TRIAL; k++) {
            const avs_cli_option *r = &avs_cli_options[k];
            if (!listed_for(c, r)) continue;
            avs_buf_str(out, "{\"type\":\"option\",\"v\":1");
            word_or_null(out, "command", c->word);
            word_or_null(out, "option", r->name);
            word_or_null(out, "letter", r->letter ? (char[]){r->letter, '\0'} : NULL);
            word_or_null(out, "value", r->arg);
            word_or_null(out, "help", r->help);
            avs_buf_str(out, "}\n");
        }
    }
    return AVS_OK;
}

/* ---- the man page ---- */

/* Text as roff takes it: backslashes and hyphens as they are typed, no line that begins with a control character. */
static void roff(avs_buf *out, const char *s)
{
    for (bool first = true; *s; s++, first = false) {
        if (first && (*s == '.' || *s == '\'')) avs_buf_str(out, "\\&");
        if (*s == '\\')
            avs_buf_str(out, "\\e");
        else if (*s == '-')
            avs_buf_str(out, "\\-");
        else
            avs_buf_char(out, *s);
    }
}

static void man_option(avs_buf *out, const avs_cli_option *r)
{
    avs_buf_str(out, ".TP\n.B ");
    if (r->letter) avs_buf_fmt(out, "\\-%c, ", r->letter);
    avs_buf_str(out, "\\-\\-");
    roff(out, r->name);
    if (r->arg) {
        avs_buf_str(out, " \\fI");
        roff(out, r->arg);
        avs_buf_str(out, "\\fR");
    }
    avs_buf_char(out, '\n');
    roff(out, r->help);
    avs_buf_char(out, '\n');
}

void avs_cli_man(avs_buf *out)
{
    avs_buf_fmt(out, ".TH AVSWEEP 1 \"\" \"avsweep %s\" \"User Commands\"\n.SH NAME\navsweep \\- ",
                AVS_VERSION);
    avs_buf_str(out, "sweeps of audio-visual segmentation trials\n.SH SYNOPSIS\n.B avsweep\n");
    avs_buf_str(out, "[\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...\n.SH DESCRIPTION\n");
    roff(out, "A sweep file names trials; avsweep runs those that are missing, on one machine or under "
              "mpirun, and");
    avs_buf_char(out, '\n');
    roff(out, "keeps results in one SQLite file. Results go to stdout, everything for people to stderr.");
    avs_buf_str(out, "\n.SH COMMANDS\n");
    for (size_t i = 0; i < avs_cli_n_commands; i++) {
        const avs_cli_command *c = &avs_cli_commands[i];
        avs_buf_fmt(out, ".SS avsweep %s ", c->word);
        roff(out, c->args);
        avs_buf_char(out, '\n');
        roff(out, c->help);
        avs_buf_char(out, '\n');
        if (c->command == AVS_CMD_TRIAL) continue;
        for (size_t k = 0; k < avs_cli_n_options; k++)
            if (!avs_cli_is_global(&avs_cli_options[k]) && listed_for(c, &avs_cli_options[k]))
                man_option(out, &avs_cli_options[k]);
    }
    avs_buf_str(out, ".SH OPTIONS OF EVERY COMMAND\n");
    for (size_t i = 0; i < avs_cli_n_options; i++)
        if (avs_cli_options[i].help && avs_cli_is_global(&avs_cli_options[i]))
            man_option(out, &avs_cli_options[i]);
    avs_buf_str(out, ".SH EXIT STATUS\n");
    for (int i = 0; i < N_EXITS; i++) {
        avs_buf_fmt(out, ".TP\n.B %s\n", exits[i].code);
        roff(out, exits[i].means);
        avs_buf_char(out, '\n');
    }
    avs_buf_str(
        out, ".SH ENVIRONMENT\nAn option comes before the environment, the environment before a default.\n");
    for (int i = 0; i < N_VARIABLES; i++) {
        avs_buf_fmt(out, ".TP\n.B %s\n", variables[i].name);
        roff(out, variables[i].means);
        avs_buf_char(out, '\n');
    }
    avs_buf_str(out, ".SH FILES\n.TP\n.I DB.work/\ncheckpoints, logs and caches\n.TP\n.I DB.exit\n");
    roff(out, "exit status of the last run, written as its last act");
    avs_buf_str(out, "\n.TP\n.I DB.lock\nowner of the database while a run goes on\n");
    avs_buf_str(out, ".TP\n.I DB.commands/\nwishes of other commands for the run that goes on\n");
}

/* ---- completions ---- */

static void words_of_models(avs_buf *out)
{
    const char *const *m = avs_list_models();
    for (int i = 0; m[i]; i++) avs_buf_fmt(out, "%s%s", i ? " " : "", m[i]);
}

static void words_of_commands(avs_buf *out)
{
    for (size_t i = 0; i < avs_cli_n_commands; i++)
        avs_buf_fmt(out, "%s%s", i ? " " : "", avs_cli_commands[i].word);
}

/* The words that a list of values stands for; "" where anything goes or files are meant. */
static void values_of(avs_buf *out, const char *values)
{
    if (!values || strcmp(values, "@file") == 0) return;
    if (strcmp(values, "@model") == 0)
        words_of_models(out);
    else if (strcmp(values, "@command") == 0)
        words_of_commands(out);
    else
        avs_buf_str(out, values);
}

static void bash_options(avs_buf *out, const avs_cli_command *c)
{
    for (size_t i = 0; i < avs_cli_n_options; i++)
        if (listed_for(c, &avs_cli_options[i])) avs_buf_fmt(out, " --%s", avs_cli_options[i].name);
}

static void bash(avs_buf *out)
{
    avs_buf_str(out, "# bash completion for avsweep; source it or put it into bash_completion.d\n"
                     "_avsweep() {\n"
                     "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd='' i\n"
                     "    COMPREPLY=()\n"
                     "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                     "        case ${COMP_WORDS[i]} in -*) ;; *) cmd=${COMP_WORDS[i]}; break ;; esac\n"
                     "    done\n"
                     "    case $cmd:$prev in\n");
    for (size_t i = 0; i < avs_cli_n_options; i++) {
        const avs_cli_option *r = &avs_cli_options[i];
        if (!r->help || !r->arg) continue;
        for (size_t k = 0; k < avs_cli_n_commands; k++) {
            const avs_cli_command *c = &avs_cli_commands[k];
            if (avs_cli_is_global(r) || c->command == AVS_CMD_TRIAL || !listed_for(c, r)) continue;
            avs_buf_fmt(out, "    %s:--%s) ", c->word, r->name);
            if (r->values && r->values[0] != '@')
                avs_buf_fmt(out, "mapfile -t COMPREPLY < <(compgen -W '%s' -- \"$cur\")", r->values);
            else if (r->values && strcmp(r->values, "@model") == 0) {
                avs_buf_str(out, "mapfile -t COMPREPLY < <(compgen -W '");
                words_of_models(out);
                avs_buf_str(out, "' -- \"$cur\")");
            } else
                avs_buf_str(out, "mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")");
            avs_buf_str(out, "; return ;;\n");
        }
        if (!avs_cli_is_global(r)) continue;
        avs_buf_fmt(out, "    *:--%s) mapfile -t COMPREPLY < <(compgen ", r->name);
        if (r->values && r->values[0] != '@')
            avs_buf_fmt(out, "-W '%s'", r->values);
        else
            avs_buf_str(out, "-f");
        avs_buf_str(out, " -- \"$cur\"); return ;;\n");
    }
    avs_buf_str(out, "    esac\n    local words=''\n    case $cmd in\n    '') words='");
    words_of_commands(out);
    for (size_t i = 0; i < avs_cli_n_options; i++)
        if (avs_cli_options[i].help && avs_cli_is_global(&avs_cli_options[i]))
            avs_buf_fmt(out, " --%s", avs_cli_options[i].name);
    avs_buf_str(out, "' ;;\n");
    for (size_t k = 0; k < avs_cli_n_commands; k++) {
        const avs_cli_command *c = &avs_cli_commands[k];
        if (c->command == AVS_CMD_TRIAL) continue;
        avs_buf_fmt(out, "    %s) words='", c->word);
        values_of(out, c->values);
        bash_options(out, c);
        avs_buf_str(out, "' ;;\n");
    }
    avs_buf_str(out,
                "    esac\n"
                "    case $cur in\n"
                "    -*) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\") ;;\n"
                "    *) mapfile -t COMPREPLY < <(compgen -W \"${words%% --*}\" -- \"$cur\")\n"
                "        [ ${#COMPREPLY[@]} -gt 0 ] || mapfile -t COMPREPLY < <(compgen -f -- \"$cur\") ;;\n"
                "    esac\n"
                "}\n"
                "complete -o filenames -F _avsweep avsweep\n");
}

/* Help text inside quotes of zsh and fish: without what would end or change them. */
static void plain(avs_buf *out, const char *s)
{
    for (; *s; s++)
        if (*s == ':' || *s == '[' || *s == ']')
            avs_buf_fmt(out, "\\%c", *s);
        else
            avs_buf_char(out, (char)(*s == '\'' ? '`' : *s));
}

static void zsh_option(avs_buf *out, const avs_cli_option *r)
{
    avs_buf_str(out, " \\\n            '");
    if (r->kind == AVS_OPT_LIST || r->kind == AVS_OPT_TALLY) avs_buf_char(out, '*');
    avs_buf_fmt(out, "--%s%s[", r->name, r->arg ? "=" : "");
    plain(out, r->help);
    avs_buf_char(out, ']');
    if (r->arg) {
        avs_buf_char(out, ':');
        plain(out, r->arg);
        avs_buf_char(out, ':');
        avs_buf values = AVS_BUF_INIT;
        values_of(&values, r->values);
        if (values.len)
            avs_buf_fmt(out, "(%s)", avs_buf_cstr(&values));
        else if (r->values)
            avs_buf_str(out, "_files");
        avs_buf_free(&values);
    }
    avs_buf_char(out, '\'');
}

static void zsh(avs_buf *out)
{
    avs_buf_str(out, "#compdef avsweep\n"
                     "# zsh completion for avsweep; put it as _avsweep into a folder of $fpath\n"
                     "_avsweep() {\n"
                     "    local -a commands=(\n");
    for (size_t i = 0; i < avs_cli_n_commands; i++) {
        avs_buf_fmt(out, "        '%s:", avs_cli_commands[i].word);
        plain(out, avs_cli_commands[i].help);
        avs_buf_str(out, "'\n");
    }
    avs_buf_str(out, "    )\n"
                     "    if ((CURRENT == 2)); then\n"
                     "        _describe command commands\n"
                     "        return\n"
                     "    fi\n"
                     "    local cmd=$words[2]\n"
                     "    shift words; ((CURRENT--))\n"
                     "    case $cmd in\n");
    for (size_t k = 0; k < avs_cli_n_commands; k++) {
        const avs_cli_command *c = &avs_cli_commands[k];
        if (c->command == AVS_CMD_TRIAL) continue;
        avs_buf_fmt(out, "    %s)\n        _arguments", c->word);
        for (size_t i = 0; i < avs_cli_n_options; i++)
            if (listed_for(c, &avs_cli_options[i])) zsh_option(out, &avs_cli_options[i]);
        avs_buf values = AVS_BUF_INIT;
        values_of(&values, c->values);
        if (values.len)
            avs_buf_fmt(out, " \\\n            '1:word:(%s)'", avs_buf_cstr(&values));
        else if (c->max_words > 0)
            avs_buf_str(out, " \\\n            '*:word:_files'");
        avs_buf_free(&values);
        avs_buf_str(out, " ;;\n");
    }
    avs_buf_str(out, "    *) _files ;;\n    esac\n}\n_avsweep \"$@\"\n");
}

static void fish_text(avs_buf *out, const char *s)
{
    avs_buf_char(out, '\'');
    for (; *s; s++) {
        if (*s == '\'' || *s == '\\') avs_buf_char(out, '\\');
        avs_buf_char(out, *s);
    }
    avs_buf_char(out, '\'');
}

static void fish_option(avs_buf *out, const avs_cli_option *r, const char *condition)
{
    avs_buf values = AVS_BUF_INIT;
    values_of(&values, r->values);
    avs_buf_str(out, "complete -c avsweep");
    if (condition) avs_buf_fmt(out, " -n '__fish_seen_subcommand_from %s'", condition);
    avs_buf_fmt(out, " -l %s", r->name);
    if (r->letter) avs_buf_fmt(out, " -s %c", r->letter);
    if (r->arg && values.len) {
        avs_buf_str(out, " -x -a ");
        fish_text(out, avs_buf_cstr(&values));
    } else if (r->arg) {
        avs_buf_str(out, " -r");
    }
    avs_buf_str(out, " -d ");
    fish_text(out, r->help);
    avs_buf_char(out, '\n');
    avs_buf_free(&values);
}

static void fish(avs_buf *out)
{
    avs_buf_str(out, "# fish completion for avsweep; put it into ~/.config/fish/completions/avsweep.fish\n");
    for (size_t i = 0; i < avs_cli_n_commands; i++) {
        avs_buf_fmt(out, "complete -c avsweep -f -n __fish_use_subcommand -a %s -d ",
                    avs_cli_commands[i].word);
        fish_text(out, avs_cli_commands[i].help);
        avs_buf_char(out, '\n');
    }
    for (size_t k = 0; k < avs_cli_n_commands; k++) {
        const avs_cli_command *c = &avs_cli_commands[k];
        if (c->command == AVS_CMD_TRIAL) continue;
        for (size_t i = 0; i < avs_cli_n_options; i++)
            if (listed_for(c, &avs_cli_options[i]) && !avs_cli_is_global(&avs_cli_options[i]))
                fish_option(out, &avs_cli_options[i], c->word);
        avs_buf values = AVS_BUF_INIT;
        values_of(&values, c->values);
        if (values.len) {
            avs_buf_fmt(out, "complete -c avsweep -f -n '__fish_seen_subcommand_from %s' -a ", c->word);
            fish_text(out, avs_buf_cstr(&values));
            avs_buf_char(out, '\n');
        }
        avs_buf_free(&values);
    }
    for (size_t i = 0; i < avs_cli_n_options; i++) {
        const avs_cli_option *r = &avs_cli_options[i];
        if (r->help && avs_cli_is_global(r)) fish_option(out, r, NULL);
    }
}

int avs_cli_completion(avs_buf *out, const char *shell, avs_err *e)
{
    if (strcmp(shell, "bash") == 0)
        bash(out);
    else if (strcmp(shell, "zsh") == 0)
        zsh(out);
    else if (strcmp(shell, "fish") == 0)
        fish(out);
    else
        return avs_fail(e, AVS_EMISSING, "there are completions for bash, zsh and fish, none for '%s'",
                        shell);
    return AVS_OK;
}
