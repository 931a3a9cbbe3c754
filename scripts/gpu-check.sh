#!/bin/bash
# What a machine with an NVIDIA GPU can show, in one go and without a network: builds, runs the tests labelled gpu and the
# same plan tests on the GPU, every golden case, compute-sanitizer over the kernel tests where it is installed, latency and
# training steps against the PyTorch that is there; writes one Markdown report.
#   scripts/gpu-check.sh [REPORT.md]            default: bench/results/gpu-check.md
#   AVS_DEBS=DIR   folder of *.deb files (libraries and headers of scripts/install-packages.sh) that are unpacked beside
#                  the tree and used from there; needed where they are not installed
#   AVS_QUICK=1    kernel tests, small goldens and latency alone
# Exit status 1 if a test or golden fails; a part that the machine cannot do is said in the report.
set -u -o pipefail
cd "$(dirname "$0")/.."
report=${1:-bench/results/gpu-check.md}
build=build/gpu
log=$build/log
failed=0
export PATH="/usr/local/cuda/bin:$PATH" LD_LIBRARY_PATH="/usr/local/cuda/lib64:${LD_LIBRARY_PATH:-}"
mkdir -p "$log" "$(dirname "$report")"

if [ -n "${AVS_DEBS:-}" ]; then
  root=$PWD/build/debs
  mkdir -p "$root"
  for deb in "$AVS_DEBS"/*.deb; do dpkg -x "$deb" "$root"; done
  arch=$(gcc -print-multiarch)
  export CMAKE_PREFIX_PATH="$root/usr:${CMAKE_PREFIX_PATH:-}" CPATH="$root/usr/include:$root/usr/include/$arch:${CPATH:-}"
  export LIBRARY_PATH="$root/usr/lib/$arch:${LIBRARY_PATH:-}" LD_LIBRARY_PATH="$root/usr/lib/$arch:$LD_LIBRARY_PATH"
  export PKG_CONFIG_PATH="$root/usr/lib/$arch/pkgconfig:$root/usr/share/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$root"
fi

say() { printf '%s\n' "$*" >>"$report"; }
# part TITLE COMMAND..: runs it, puts its last lines into the report, remembers a failure
part() {
  local title=$1 name
  shift
  name=$(tr -c 'a-z0-9\n' '-' <<<"${title,,}")
  say "" "## $title" "" "    $*" ""
  if "$@" >"$log/$name" 2>&1; then say "passed" ""; else say "**failed** (status $?)" ""; failed=1; fi
  say '```'
  tail -n "${LINES_OF:-25}" "$log/$name" >>"$report"
  say '```'
}

: >"$report"
say "# Checks on a GPU" "" "Commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $(date -u +%Y-%m-%d)." ""
if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L >/dev/null 2>&1; then
  say "No NVIDIA GPU answers here: nothing was run."
  echo "no NVIDIA GPU answers here (nvidia-smi -L); the report says so: $report"
  exit 1
fi
say '```' "$(nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.max.sm --format=csv)" \
  "$(nvcc --version | tail -1)" "$(lscpu | grep 'Model name')" "load $(cut -d' ' -f1-3 /proc/loadavg)" '```'

configure=(cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DAVS_WERROR=ON -DAVS_CUDA=ON)
LINES_OF=12 part "Configure" "${configure[@]}"
LINES_OF=5 part "Build" cmake --build "$build" -j "$(nproc)"
trial=$build/bin/avsweep-trial
if [ ! -x "$trial" ]; then
  echo "the build failed, see $report"
  exit 1
fi
LINES_OF=60 part "Registers and spills" scripts/cuda-compile.sh
part "Kernels against the CPU" ctest --test-dir "$build" -L gpu --output-on-failure
for t in test_cuda_plan test_products test_equal; do
  part "Plans on the GPU: $t" env AVS_TEST_BACKEND=cuda "$build/tests/engine/plan/engine.plan.$t"
done
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck; do
    LINES_OF=6 part "compute-sanitizer $tool" compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$build/tests/engine/kernel/engine.kernel.test_cuda"
  done
else
  say "" "## compute-sanitizer" "" "not installed: not run"
fi

small="ms-deform-attn pqg elf-conv-block elf-transformer-block sea-attention resnet18-features swin-mini save-tiny-train"
cases=$(if [ -n "${AVS_QUICK:-}" ]; then printf 'tests/golden/%s.json\n' $small; else ls tests/golden/*.json; fi)
# shellcheck disable=SC2086
LINES_OF=80 part "Goldens, fp32" "$trial" golden --backend cuda $cases
if [ -z "${AVS_QUICK:-}" ]; then
  # shellcheck disable=SC2086
  LINES_OF=80 part "Goldens, tf32" "$trial" golden --backend cuda --precision tf32 $cases
  # shellcheck disable=SC2086
  LINES_OF=80 part "Goldens, bf16" "$trial" golden --backend cuda --precision bf16 $cases
fi

export AVSWEEP_BACKEND=cuda
for precision in fp32 bf16; do
  for model in avesformer avsegformer; do
    LINES_OF=20 part "Latency of $model, T=1, $precision" \
      "$trial" bench-forward --model "$model" --backend cuda --precision "$precision" --frames 1 --runs 500 --json
  done
done
LINES_OF=40 part "Where the time of a frame goes" "$trial" explain avsegformer --backend cuda --profile --precision fp32 --frames 1
if [ -z "${AVS_QUICK:-}" ]; then
  for precision in fp32 bf16; do
    LINES_OF=20 part "Training steps of avsegformer, $precision" \
      "$trial" bench-step --model avsegformer --backend cuda --precision "$precision" --runs 30
  done
fi
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  LINES_OF=60 part "Latency beside PyTorch on this GPU" python3 bench/pytorch/gpu.py --trial "$PWD/$trial"
else
  say "" "## PyTorch" "" "no PyTorch with CUDA is installed: not compared"
fi
echo "report: $report"
exit $failed
