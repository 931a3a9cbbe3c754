#!/bin/bash
# clang-tidy over every C file of the release build's compile database, as many at a time as there are CPUs. Every
# finding is printed once; exit status 1 if there is one or a file cannot be analysed.
#   scripts/tidy.sh [FILE..]     only these files
#   AVS_JOBS=n scripts/tidy.sh   n at a time
set -u
cd "$(dirname "$0")/.."
[ -f build/release/compile_commands.json ] || cmake --preset release >/dev/null || exit
cmake --build build/release --target avs_version_header >/dev/null || exit
sources() {
  sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' build/release/compile_commands.json | sort -u | grep -F "$PWD/" |
    grep -v "^$PWD/build/"
}
if [ $# -gt 0 ]; then files=$(printf '%s\n' "$@"); else files=$(sources); fi
if [ -z "$files" ]; then
  echo "scripts/tidy.sh: build/release/compile_commands.json names no source of this tree; remove build/release" >&2
  exit 1
fi
# A finding in a header comes once per file that includes it: lines are kept until the finding's next appearance.
printf '%s\n' "$files" | xargs -n 1 -P "${AVS_JOBS:-$(nproc)}" clang-tidy -p build/release --quiet 2>&1 | awk '
  BEGIN { is_new = 1 }
  /^[0-9]+ warnings? (generated|treated as errors?)/ || /^Suppressed / { next }
  /(^|: )(warning|error): / { is_new = !seen[$0]++; n += is_new }
  is_new { print; fflush() }
  END { print n + 0 " findings"; exit n > 0 }'
status=("${PIPESTATUS[@]}")
echo "$(printf '%s\n' "$files" | wc -l) files"
[ "${status[1]}" -eq 0 ] && [ "${status[2]}" -eq 0 ]
