#!/bin/bash
# Everything that must hold: packages, a sanitizer build (preset dev: ASan, UBSan, warnings are errors) with all tests
# that are quick enough for it, an optimised build (preset check) for the golden comparisons, the thread sanitizer for what
# has threads of its own, formatting and the table of rooms. The last line counts tests. Exit status 0 only if all passed.
#
#   AVS_TIDY=1 scripts/test.sh       clang-tidy over all sources as well (slow)
#   AVS_JOBS=n scripts/test.sh       builds and tests n at a time (default: number of CPUs)
set -u
cd "$(dirname "$0")/.."
jobs=${AVS_JOBS:-$(nproc)}
started=$SECONDS
passed=0 failed=0 skipped=0
step() { printf '\n== %s  (%d s)\n' "$1" $((SECONDS - started)); }

finish() {
  [ "$skipped" -gt 0 ] && echo "$skipped skipped: what they need is not on this machine (named above)"
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
  exit
}

# One check that is no ctest entry; it counts like a test. Exit status 77: skipped.
check() {
  what=$1
  shift
  step "$what"
  "$@"
  case $? in
  0) passed=$((passed + 1)) ;;
  77) skipped=$((skipped + 1)) ;;
  *)
    failed=$((failed + 1))
    echo "FAILED: $what"
    ;;
  esac
}

# ctest in the folder of a preset; counts are read from its JUnit file. A run that selects nothing is a fault.
run_tests() {
  preset=$1
  shift
  step "ctest, preset $preset"
  junit=$PWD/build/$preset/junit.xml
  rm -f "$junit"
  ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$jobs" --output-junit "$junit" "$@"
  rc=$?
  attr() { sed -n "s/^[[:space:]]*$1=\"\([0-9]*\)\".*/\1/p" "$junit" 2>/dev/null | head -n 1; }
  n=$(attr tests) f=$(attr failures) s=$(attr skipped) d=$(attr disabled)
  n=${n:-0} f=${f:-0} s=$((${s:-0} + ${d:-0}))
  [ $rc -ne 0 ] && [ "$f" -eq 0 ] && f=1 # ctest itself failed
  [ "$n" -ge $((f + s)) ] && passed=$((passed + n - f - s))
  failed=$((failed + f))
  skipped=$((skipped + s))
}

# build PRESET [TARGET..]
build() {
  preset=$1
  shift
  step "build, preset $preset"
  if ! cmake --preset "$preset" || ! cmake --build "build/$preset" -j "$jobs" ${1:+--target "$@"} -- -k 0; then
    echo "FAILED: the build of preset $preset"
    failed=$((failed + 1))
    finish
  fi
}

# Formatting of what git knows (of every source file where there is no git). Files that differ are named with a count.
sources() {
  { git -c "safe.directory=$PWD" ls-files -- '*.c' '*.h' '*.cu' 2>/dev/null ||
    find . -path ./build -prune -o -type f -name '*.[ch]' -print; } | grep -v '^third_party/'
}
formatting() {
  out=$(sources | xargs clang-format --dry-run -Werror 2>&1) && return 0
  printf '%s\n' "$out" | sed -n 's/^\([^:]*\):[0-9]*:[0-9]*: error: .*/\1/p' | sort | uniq -c
  printf '%s\n' "$out" | grep -v ': error: ' | grep -i 'clang-format:\|no such file' | head -n 5
  return 1
}

step "packages"
if ! scripts/install-packages.sh build demo test; then
  echo "FAILED: packages"
  failed=1
  finish
fi

# Tests start mpirun with several ranks on few cores, as root in containers.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none
# Several tests run at once: threads that wait at a kernel's end sleep instead of taking a core from the others.
export OMP_WAIT_POLICY=passive

check "formatting" formatting
check "table of rooms" scripts/check-includes.sh
check "CUDA sources: registers and spills" scripts/cuda-compile.sh
build dev
build check
build tsan data.test_loader data.test_dataset workers.test_ring
run_tests dev -LE 'golden|perf'
run_tests dev -L '^small$' # decoders, front end, blocks; whole models are too slow under the sanitizers
run_tests check -L golden
run_tests tsan -R 'data.test_loader|data.test_dataset|workers.test_ring' # what has threads of its own
[ "${AVS_TIDY:-0}" = 1 ] && check "clang-tidy" scripts/tidy.sh
printf '\n%d s in all\n' $((SECONDS - started))
finish
