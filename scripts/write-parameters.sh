#!/bin/sh
# Writes docs/parameters.md, every option of every model, from the schemas that are built into avsweep.
#   scripts/write-parameters.sh [AVSWEEP]           writes it (default program: build/release/bin/avsweep)
#   scripts/write-parameters.sh --check AVSWEEP     fails if the file is not what the program says; a test runs this
set -eu
cd "$(dirname "$0")/.."
check=0
[ "${1:-}" = --check ] && { check=1; shift; }
avsweep=${1:-build/release/bin/avsweep}
new=$(mktemp)
trap 'rm -f "$new"' EXIT
{
  printf '# Parameters\n\nMade by `scripts/write-parameters.sh`; `avsweep show --schema MODEL` prints one list in the terminal. "for" names\nthe kinds of trial that read an option, "serves" the published table whose rows differ in it.\n'
  for model in avesformer avesformer_mini avsegformer aavs save sama lightavseg tpavi; do
    printf '\n## %s\n' $model
    "$avsweep" show --schema $model --format md
  done
} >"$new"
if [ $check = 1 ]; then
  diff -u docs/parameters.md "$new" || { echo "docs/parameters.md is old: run scripts/write-parameters.sh" >&2; exit 1; }
else
  cp "$new" docs/parameters.md
fi
