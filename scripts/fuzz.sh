#!/bin/bash
# Runs one fuzz target with libFuzzer (clang, preset fuzz): the checked-in corpus plus what earlier runs found new.
#   scripts/fuzz.sh TARGET [SECONDS]     TARGET: csv, frame, jpeg, .. (tests/fuzz/fuzz_TARGET.c); default 60 seconds
#   scripts/fuzz.sh --list               the targets
# An input that crashes, hangs for 10 seconds, or makes the parser ask for 256 MiB at once or 512 MiB in all ends the run
# with exit status 1; the file is build/fuzz/findings/TARGET-*. Make it small with
#   build/fuzz/tests/fuzz/fuzz_TARGET -minimize_crash=1 -max_total_time=60 FILE
# and put it into tests/fuzz/corpus/TARGET, where every build replays it.
set -eu
cd "$(dirname "$0")/.."
targets=$(cd tests/fuzz && printf '%s\n' fuzz_*.c | sed 's/^fuzz_\(.*\)\.c$/\1/')
case "${1:-}" in
--list) echo "$targets" && exit ;;
'' | -*) sed -n '2,8s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
target=$1 seconds=${2:-60}
if ! printf '%s\n' "$targets" | grep -qxF -- "$target"; then
  echo "scripts/fuzz.sh: no target \"$target\"; expected one of: $(echo $targets)" >&2
  exit 2
fi
case "$seconds" in '' | *[!0-9]*)
  echo "scripts/fuzz.sh: expected a number of seconds, found \"$seconds\"" >&2
  exit 2 ;;
esac
if ! command -v clang >/dev/null; then
  echo "scripts/fuzz.sh: clang is missing; fuzzing needs its libFuzzer (Debian: clang)" >&2
  exit 2
fi

[ -f build/fuzz/build.ninja ] || cmake --preset fuzz >/dev/null
cmake --build build/fuzz --target "fuzz_$target" >/dev/null
found=build/fuzz/corpus/$target
mkdir -p "$found" build/fuzz/findings
nice -n 19 "build/fuzz/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -rss_limit_mb=512 -malloc_limit_mb=256 \
  -timeout=10 -print_final_stats=1 -artifact_prefix="build/fuzz/findings/$target-" "$found" "tests/fuzz/corpus/$target" ||
  { echo "scripts/fuzz.sh: $target has a finding in build/fuzz/findings" >&2 && exit 1; }
