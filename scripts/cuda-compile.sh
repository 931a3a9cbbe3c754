#!/bin/bash
# Compiles every CUDA source for sm_80, sm_90 and, where nvcc knows them, sm_100 and sm_120 without a GPU and prints one
# line per kernel: registers, shared memory, stack and spills. Exit status 1 if a source does not compile or a kernel
# spills, 77 (skipped) without nvcc.
#   AVS_NVCC=/path/to/nvcc scripts/cuda-compile.sh
#   scripts/cuda-compile.sh --report FILE [NODES]
# also writes FILE, Markdown: every kernel's registers and spills per architecture, its shared memory and what its sm_90 machine
# code consists of (cuobjdump and nvdisasm: in the toolkit, or pip's nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm), and the
# kernels of one frame per kind of op. NODES: tests/workers/workers.test_nodes of a build, by default that of build/dev.
set -eu -o pipefail
cd "$(dirname "$0")/.."
report=
if [ "${1:-}" = --report ]; then
  report=$(realpath -m "${2:?--report wants a file}")
  nodes=${3:-build/dev/tests/workers/workers.test_nodes}
  for tool in cuobjdump nvdisasm; do
    command -v $tool >/dev/null || { echo "--report wants $tool in PATH"; exit 1; }
  done
fi
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
plain() { c++filt 2>/dev/null || cat; }
for src in engine/backend/cuda/*.cu; do
  log=$out/$(basename "$src").log
  if ! "$nvcc" -ccbin g++ -std=c++17 -O3 -I. "${arch[@]}" \
    -Xptxas -v -c "$src" -o "$out/$(basename "$src").o" >"$log" 2>&1; then
    cat "$log"
    echo "$src does not compile"
    exit 1
  fi
done
# one line per build of a kernel: FILE KERNEL ARCH REGISTERS SHARED STACK SPILLS
for log in "$out"/*.log; do
  plain <"$log" | awk -v file="$(basename "$log" .log)" '
    /Compiling entry function/ { split($0, q, "\047"); name = q[2]; sub(/\(.*/, "", name); arch = q[4] }
    /bytes stack frame/ { stack = $1; spill = $5 + $9 }
    /Used [0-9]+ registers/ {
      shared = 0
      for (i = 2; i <= NF; i++) if ($i ~ /^smem/) shared = $(i - 2) + 0
      for (i = 1; i <= NF; i++) if ($i == "Used") registers = $(i + 1)
      print file, name, arch, registers, shared, stack, spill
    }'
done | LC_ALL=C sort -k1,1 -k2,2 -k3,3V >"$out/builds"
awk '
  { printf "%-28s %s  %3d registers  %5d B shared  %3d B stack  %3d B spills\n", $2, $3, $4, $5, $6, $7; spills += $7; n++ }
  END { printf "%d kernels, %d bytes of spills\n", n, spills; exit spills > 0 || n == 0 }' "$out/builds"

[ -n "$report" ] || exit 0

# one line per kernel: KERNEL, then how many instructions there are in all and of each kind
for src in engine/backend/cuda/*.cu; do
  cuobjdump -sass -arch sm_90 "$out/$(basename "$src").o" | plain | awk '
    /Function : / { name = $0; sub(/^.*Function : /, "", name); sub(/\(.*/, "", name); order[++n] = name; next }
    !/^ *\/\*[0-9a-f]+\*\/ / { next }
    { op = $2; if (op ~ /^@/) op = $3; if (op == "NOP") next; all[name]++ }
    op ~ /^LDG\..*128/ { wide[name]++ }
    op ~ /^LDG/ { load[name]++ }
    op ~ /^STG\..*128/ { wide_out[name]++ }
    op ~ /^STG/ { store[name]++ }
    op ~ /^(LDS|STS)/ { shared[name]++ }
    op ~ /^FFMA/ { fma[name]++ }
    op ~ /^D(FMA|ADD|MUL)/ { dbl[name]++ }
    op ~ /^SHFL/ { shuffle[name]++ }
    op ~ /^BAR/ { barrier[name]++ }
    op ~ /^(ATOM|RED)/ { atomic[name]++ }
    op ~ /^(LDL|STL)/ { loc[name]++ }
    op ~ /^(H|I|D|Q|B|WG|HG|IG|QG|UTC)MMA/ { tensor[name]++ } # HFMA2.MMA is none
    op ~ /^(LDGSTS|UTMA|UBLKCP)/ { async[name]++ }
    END { for (i = 1; i <= n; i++) { k = order[i]
      printf "%s %d %d %d %d %d %d %d %d %d %d %d %d %d %d\n", k, all[k], load[k], wide[k], store[k], wide_out[k], shared[k],
        fma[k], dbl[k], shuffle[k], barrier[k], atomic[k], loc[k], tensor[k], async[k] } }'
done >"$out/code"
"$nodes" >"$out/nodes" 2>/dev/null || true
grep -q '^nodes ' "$out/nodes" || { echo "$nodes printed no nodes"; exit 1; }
{
  echo "# The CUDA backend as far as it is known without a GPU"
  echo
  echo "Nothing here ran on a GPU: the kernels were compiled for real architectures and disassembled, the plans were recorded on the"
  echo "emulated device, whose kernels are the same sources on fibres. Made by"
  echo "\`scripts/cuda-compile.sh --report bench/results/cuda-compile.md\` with"
  "$nvcc" --version | sed -n 's/.*release \([0-9.]*\), \(V[0-9.]*\).*/nvcc \1 (\2),/p'
  cuobjdump --version | sed -n 's/.*release \([0-9.]*\), \(V[0-9.]*\).*/cuobjdump \1 (\2)./p'
  echo
  awk '{ spills += $7; stack += $6; n++; if ($4 > most) { most = $4; who = $2 " on " $3 } arch[$3] }
    END { m = 0; for (a in arch) m++
      printf "%d kernels for %d architectures, %d builds: %d bytes of spills, %d bytes of stack; most registers: %d (%s).\n", n / m, m, n, spills, stack, most, who }' "$out/builds"
  echo
  echo "## Kernels of one frame"
  echo "224 x 224, ResNet-50, one frame with its second of sound (VGGish included), fp32, everything up to the mask: one launch of one"
  echo "recorded graph. A product (cuBLASLt) or convolution (cuDNN, bias and ReLU fused) counts as one kernel: what the libraries add"
  echo "is known on a GPU alone. The goal for AVSegFormer is 300; test \`workers.test_nodes\` keeps it."
  awk '
    $1 != "nodes" { next }
    { model[$2]; if ($3 == "all") { steps[$2] = $4; kernels[$2] = $5; next } }
    !($3 in seen) { seen[$3]; op[++n] = $3 }
    { s[$2, $3] = $4; k[$2, $3] = $5 }
    END {
      printf "\n| op | AVSegFormer: steps | kernels | AVESFormer: steps | kernels |\n| --- | ---: | ---: | ---: | ---: |\n"
      for (i = 1; i <= n; i++)
        printf "| %s | %d | %d | %d | %d |\n", op[i], s["avsegformer", op[i]], k["avsegformer", op[i]], s["avesformer", op[i]], k["avesformer", op[i]]
      printf "| **all** | %d | **%d** | %d | **%d** |\n", steps["avsegformer"], kernels["avsegformer"], steps["avesformer"], kernels["avesformer"]
    }' "$out/nodes"
  echo
  echo "## Kernels of the sources"
  echo "Registers and, where there are any, bytes of spills per architecture; shared memory in bytes; instructions of sm_90's machine code:"
  echo "all, loads and stores of global memory (of those, 16 bytes wide), of shared memory, fused multiply-adds, double precision,"
  echo "shuffles, barriers, atomics of global memory, tensor cores, asynchronous copies. Products and convolutions are the libraries', so no"
  echo "kernel here has tensor-core instructions."
  awk '
    FILENAME ~ /code$/ { code[$1] = $0; next }
    { file = $1; name = $2; arch = $3
      if (!(name in in_file)) { in_file[name] = file; kernel[++n] = name }
      cell[name, arch] = $7 ? $4 " (" $7 ")" : $4
      if (arch == "sm_90") shared[name] = $5
      if (!(arch in seen)) { seen[arch]; archs[++m] = arch } }
    END {
      for (i = 1; i <= n; i++) {
        name = kernel[i]
        if (in_file[name] != last) {
          last = in_file[name]
          printf "\n### %s\n| kernel |", last
          for (j = 1; j <= m; j++) printf " %s |", archs[j]
          printf " shared | code | loads (wide) | stores (wide) | LDS, STS | FFMA | double | SHFL | BAR | atomics | tensor | async |\n| --- |"
          for (j = 1; j <= m + 12; j++) printf " ---: |"
          printf "\n"
        }
        split(code[name], c, " ")
        printf "| %s |", name
        for (j = 1; j <= m; j++) printf " %s |", cell[name, archs[j]]
        printf " %d | %d | %d (%d) | %d (%d) | %d | %d | %d | %d | %d | %d | %d | %d |\n", shared[name], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9], c[10], c[11], c[12], c[14], c[15]
      }
    }' "$out/code" "$out/builds"
} >"$report.tmp"
mv "$report.tmp" "$report"
