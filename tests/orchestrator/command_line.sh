#!/bin/bash
# command_line.sh AVSWEEP: the man page renders without a warning and names every command; the completions are shell
# code that parses, and the one for bash completes commands, options and values.
set -u
avsweep=$1
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$avsweep" help --man > "$dir/avsweep.1" || fail "help --man"
words=$("$avsweep" help | sed -n 's/^  avsweep \([a-z-]*\) .*/\1/p')
[ "$(echo "$words" | wc -l)" -ge 15 ] || fail "help lists too few commands"
if command -v groff > /dev/null; then
    groff -ww -man -Tascii -P-cbu "$dir/avsweep.1" > "$dir/page" 2> "$dir/warnings" || fail "groff"
    [ -s "$dir/warnings" ] && fail "the man page warns: $(head -3 "$dir/warnings")"
    for w in $words; do grep -q "avsweep $w" "$dir/page" || fail "the man page lacks '$w'"; done
    grep -q -- "--walltime" "$dir/page" || fail "the man page lacks --walltime"
fi
if command -v man > /dev/null; then
    MANWIDTH=100 man -l "$dir/avsweep.1" > "$dir/page" 2> "$dir/warnings" || fail "man -l"
    [ -s "$dir/warnings" ] && fail "man -l warns: $(head -3 "$dir/warnings")"
fi

"$avsweep" completion bash > "$dir/bash" || fail "completion bash"
bash -n "$dir/bash" || fail "the bash completion does not parse"
command -v shellcheck > /dev/null && { shellcheck -s bash "$dir/bash" || fail "shellcheck of the bash completion"; }
complete_line() { # the last word is completed
    bash -c '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _avsweep; printf "%s\n" "${COMPREPLY[@]}"' _ "$dir/bash" "$@"
}
for w in $words; do complete_line avsweep "${w:0:3}" | grep -qx -- "$w" || fail "'$w' is not completed"; done
complete_line avsweep run --max | grep -qx -- --max-parallel || fail "--max-parallel is not completed"
complete_line avsweep status --max | grep -q . && fail "an option of run is offered for status"
complete_line avsweep ls --state pe | grep -qx pending || fail "values of --state are not completed"
complete_line avsweep show --schema avesf | grep -qx avesformer || fail "models are not completed"
complete_line avsweep completion z | grep -qx zsh || fail "shells are not completed"

"$avsweep" completion zsh > "$dir/zsh" || fail "completion zsh"
"$avsweep" completion fish > "$dir/fish" || fail "completion fish"
command -v zsh > /dev/null && { zsh -n "$dir/zsh" || fail "the zsh completion does not parse"; }
command -v fish > /dev/null && { fish -n "$dir/fish" || fail "the fish completion does not parse"; }
for w in $words; do
    grep -q "'$w:" "$dir/zsh" || fail "the zsh completion lacks '$w'"
    grep -q -- "-a $w -d" "$dir/fish" || fail "the fish completion lacks '$w'"
done
"$avsweep" completion csh 2> "$dir/csh"
[ $? = 2 ] || fail "exit for an unknown shell"
grep -q "bash, zsh and fish" "$dir/csh" || fail "the shells are not named"
exit 0
