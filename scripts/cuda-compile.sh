#!/bin/bash
# Compiles every CUDA source for sm_80, sm_90 and, where nvcc knows them, sm_100 and sm_120 without a GPU and prints one
# line per kernel: registers, shared memory, stack and spills. Exit status 1 if a source does not compile or a kernel
# spills, 77 (skipped) without nvcc.
#   AVS_NVCC=/path/to/nvcc scripts/cuda-compile.sh
set -eu -o pipefail
cd "$(dirname "$0")/.."
nvcc=${AVS_NVCC:-$(PATH="$PATH:/usr/local/cuda/bin" command -v nvcc || true)}
if [ -z "$nvcc" ]; then
  echo "skipped: nvcc was not found (AVS_NVCC names one), so no CUDA source is compiled"
  exit 77
fi
if ! command -v g++ >/dev/null; then
  echo "skipped: nvcc needs g++, which was not found, so no CUDA source is compiled"
  exit 77
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
known=$("$nvcc" --list-gpu-arch)
arch=()
for a in 80 90 100 120; do
  grep -q "compute_$a\$" <<<"$known" && arch+=(-gencode "arch=compute_$a,code=sm_$a")
done
for src in engine/backend/cuda/*.cu; do
  log=$out/$(basename "$src").log
  if ! "$nvcc" -ccbin g++ -std=c++17 -O3 -I. "${arch[@]}" \
    -Xptxas -v -c "$src" -o "$out/$(basename "$src").o" >"$log" 2>&1; then
    cat "$log"
    echo "$src does not compile"
    exit 1
  fi
done
{ c++filt 2>/dev/null || cat; } <<<"$(cat "$out"/*.log)" | awk '
  /Compiling entry function/ { split($0, q, "\047"); name = q[2]; sub(/\(.*/, "", name); arch = q[4] }
  /bytes stack frame/ { stack = $1; spill = $5 + $9 }
  /Used [0-9]+ registers/ {
    shared = 0
    for (i = 2; i <= NF; i++) if ($i ~ /^smem/) shared = $(i - 2)
    for (i = 1; i <= NF; i++) if ($i == "Used") registers = $(i + 1)
    printf "%-28s %s  %3d registers  %5d B shared  %3d B stack  %3d B spills\n", name, arch, registers, shared, stack, spill | "sort"
    spills += spill; n++
  }
  END { close("sort"); printf "%d kernels, %d bytes of spills\n", n, spills; exit spills > 0 || n == 0 }'
