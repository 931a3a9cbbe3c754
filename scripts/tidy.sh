#!/bin/bash
# clang-tidy over every C file of the release build's compile database, as many at a time as there are CPUs.
#   scripts/tidy.sh [FILE..]     only these files
set -eu -o pipefail
cd "$(dirname "$0")/.."
[ -f build/release/compile_commands.json ] || cmake --preset release
cmake --build --preset release --target avs_version_header >/dev/null
if [ $# -gt 0 ]; then
  printf '%s\n' "$@"
else
  sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' build/release/compile_commands.json | sort -u | grep -F "$PWD/" |
    grep -v "^$PWD/build/" || true
fi | xargs -n 1 -P "$(nproc)" clang-tidy -p build/release --quiet 2>&1 |
  { grep -v '^[0-9]* warnings\{0,1\} generated' || true; }
