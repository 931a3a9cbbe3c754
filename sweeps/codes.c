/* One paragraph for each code. A test goes through them: every code that the sources use is explained, and no other. */
#include "sweeps/codes.h"

#include <stddef.h>
#include <strings.h>

static const avs_explanation all[] = {
    {"E001", "not valid YAML",
     "The file breaks a rule of YAML itself: brackets that are not closed, a key at the wrong depth, two "
     "documents in "
     "one file. The place is where reading could not go on; the cause is often on the line above."},
    {"E002", "a tab",
     "Tabs are refused everywhere, because YAML forbids them as indentation and editors show them at "
     "different widths. "
     "Indent with spaces. Inside a double-quoted string a tab is written \\t."},
    {"E003", "not UTF-8 text",
     "A sweep file is UTF-8 text without control characters. A byte order mark at the beginning is "
     "accepted."},
    {"E004", "nested too deep",
     "Lists and maps may be nested 64 levels deep, aliases included. Deeper files are refused before they "
     "are read any "
     "further, because reading them would take very long."},
    {"E005", "file too large",
     "A sweep file has at most 16 MiB. Use axes and `include` instead of written-out points."},
    {"E006", "a key is written twice",
     "A map has two entries with one key. YAML readers differ in which one they keep, so the file is "
     "refused. Remove "
     "one of them."},
    {"E007", "a tag", "Tags (!name, !!str) are not used. Put quotes round a value to make it a string."},
    {"E008", "aliases",
     "An alias (*name) that has no anchor (&name) before it, or aliases and variables that grow the document "
     "above a "
     "million nodes."},
    {"E009", "an included file cannot be read",
     "A file named under `include` is missing, unreadable or too large. Paths are relative to the file that "
     "includes."},
    {"E010", "something required is missing",
     "A sweep needs `avsweep: 1`, a `name`, and a `kind` for each stage; a stage needs a name; a need says "
     "from which "
     "stage and which keys match."},
    {"E011", "a value of the wrong kind",
     "A map, list, number or string stands where another is expected. The message says which."},
    {"E012", "an unknown key",
     "The key is not part of the language at this place, or not a parameter of the model. Nothing is ignored "
     "silently: "
     "a misspelt parameter would otherwise train with its default. `avsweep show --schema MODEL` lists the "
     "parameters."},
    {"E013", "not one of the choices",
     "The value is not among the accepted words. For parameters the accepted words can depend on the model: "
     "each model "
     "accepts the backbones and tasks it was published with."},
    {"E014", "outside its range",
     "The value of a parameter lies outside its range, or is not a multiple of what the model needs "
     "(resolution, "
     "embed_dim)."},
    {"E015", "a value of the wrong type",
     "A parameter has another type. `yes`, `no`, `on` and `off` are strings in YAML 1.2: write true or "
     "false. A whole "
     "number may be written 8 or 8.0, not 8.5."},
    {"E016", "a parameter without effect",
     "Another parameter switches this one off, so its value would change nothing, while the table would show "
     "it. Leave "
     "it out, or let it act only where it applies with a `when` on its block."},
    {"E017", "two parameters do not go together",
     "A rule between two parameters is broken; the message states it and where the other one is set."},
    {"E018", "no such model", "`model` is missing or names no model. `avsweep show --schema` lists them."},
    {"E019", "a reserved key",
     "`seed` is not set as a parameter: the key `seeds` of the sweep makes one trial per seed of every "
     "configuration."},
    {"E020", "a malformed block",
     "Each item of `sweep` has exactly one of grid, zip, list, any, random, and may have a `when`."},
    {"E021", "zip lists differ in length",
     "The lists of a zip are paired item by item, so they have one length."},
    {"E022", "a key is set twice on one point",
     "Two blocks, or a block and `base` or `let`, give one key different values. That is an error and never "
     "an "
     "override, because the result would depend on an order that is easy to misread. Alternatives that set "
     "different "
     "keys go into `any`."},
    {"E023", "a malformed axis",
     "An axis is a list of values, or one of {range: [start, stop, step]} (stop included), {pow2: [low, "
     "high]}, "
     "{logspace: [first, last, count]}; a random parameter is one of choice, int, uniform, loguniform, "
     "qlog."},
    {"E024", "too large",
     "The sweep has more trials, points, blocks, axes or keys than the limits allow (10 million trials)."},
    {"E025", "an empty list", "An axis or block without values would leave no point at all."},
    {"E026", "a parameter is missing",
     "Another parameter makes this one necessary: the sizes of a custom backbone, the folder of stage-one "
     "masks."},
    {"E030", "a malformed expression",
     "Expressions have names, numbers, quoted strings, true, false, null, lists, + - * / %, comparisons, in, "
     "not, and, "
     "or, `A if C else B`, min, max, round and defined. The caret shows where reading stopped."},
    {"E031", "an expression fails",
     "A name that is not set at this point, a comparison of a number with a string, a division by zero, a "
     "condition "
     "that is neither true nor false. Expressions see what base, sweep blocks and let set, not the defaults "
     "of the "
     "model; defined(name) asks whether a name is set."},
    {"E032", "an unknown variable",
     "${name} in a string refers to a name under `vars`. Variables may use each other, but not in a circle, "
     "and a list "
     "cannot stand inside a longer string."},
    {"E033", "the environment",
     "${env:NAME} reads the environment only with --allow-env, so that a sweep does not depend on the "
     "machine by "
     "accident; the value is recorded with the sweep."},
    {"E034", "a trial has no single upstream trial",
     "Each point of a stage with `needs` is joined to the one trial of the upstream stage that has equal "
     "values of the "
     "`match` keys. None, or several, is an error: give both stages the same values and seeds, or name more "
     "keys."},
    {"E035", "a reference between stages",
     "A stage can need only stages above it, by name; ${alias.checkpoint.best}, ${alias.artifact.NAME} and "
     "${alias.metric.NAME} refer to an alias under `needs` of the same stage."},
    {"E036", "two stages with one name", "Stages are referred to by name, so each has its own."},
    {"E037", "both sweep and stages",
     "A sweep has one list of blocks under `sweep`, or a list of `stages` with their own; not both."},
    {"E040", "a value out of bounds",
     "A number or name of the language (seeds, resources, limits, order, version, names) is outside what is "
     "allowed."},
    {"E041", "no duration", "Durations are written 90s, 30m, 6h, 1h30m or as a number of seconds."},
    {"E042", "a malformed report",
     "`by`, `where`, `baseline` and pins (miou@task=s4) name parameters, seed, stage or kind; metrics are "
     "names; "
     "published rows are {where: {..}, METRIC: value}."},
    {"E046", "includes", "A file includes itself, directly or through others, or there are too many files."},
    {"E047", "profiles",
     "--set profile=NAME lays profiles.NAME over the file; it must exist and be a map, and cannot set "
     "avsweep, include "
     "or profiles."},
    {"E048", "a malformed --set",
     "--set KEY=VALUE takes base.KEY, vars.NAME, any other path from the top level, profile, or a bare name: "
     "a key of "
     "the top level, else a variable if there is one of that name, else a parameter of base."},
    {"W030", "repeated configurations",
     "Several points resolve to one configuration, because they differ only in parameters that have no "
     "effect or equal "
     "the default. It is run once."},
    {"W031", "a rule that never acts",
     "An exclude rule matched no point, or a require rule dropped none. Often a misspelt value."},
    {"W032", "a stage without trials", "Every point was dropped by exclude and require."},
    {"W033", "a trial in two stages",
     "Two stages list the same trial. It runs once and its result counts for both."},
    {"W034", "results of other code",
     "Trials are done in this database by another version of the program. --stale-code=keep counts them "
     "without "
     "a word, --stale-code=rerun runs them again; the default counts them and warns."},
    {"R006", "a trial that no node can hold",
     "The resources of a trial exceed those of the largest node that has reported. Nothing of it is started. "
     "Ask "
     "for less under `resources`, or run where there are larger nodes."},
    {"R008", "too many GPU-hours",
     "The estimate of the sweep exceeds --max-gpu-hours, so nothing was started. `run --dry-run` shows what "
     "each "
     "part of the estimate rests on."},
    {"D001", "the database cannot be written",
     "Storing results failed (a full disk, an I/O error, a read-only file). Nothing that was committed is "
     "lost: "
     "running trials stop, agents keep what is not committed; make room or repair, then run the same "
     "command."},
    {"D002", "the database is in use",
     "Another avsweep has this database open for a run; the message names its host, process and last sign of "
     "life. Watch it with `avsweep status`; --steal-lease only where that process is surely gone."},
    {NULL, NULL, NULL},
};

const avs_explanation *avs_explain(const char *code)
{
    for (const avs_explanation *x = all; x->code; x++)
        if (strcasecmp(x->code, code) == 0) return x;
    return NULL;
}

const avs_explanation *avs_explanations(void)
{
    return all;
}
