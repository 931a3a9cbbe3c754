#!/bin/bash
# Forward time of every backbone against PyTorch on the same cores in the same run -> bench/results/backbones.md; with
# --training forward and backward -> bench/results/backbones-training.md
#   bench/backbones.sh [--backbones resnet18,seaformer_l] [--threads 2,1] [--rounds 5] [--runs 10] [--training --batch 4]
set -eu
cd "$(dirname "$0")/.."
scripts/install-packages.sh build bench
. bench/python.sh
[ -f build/release/build.ninja ] || cmake --preset release
cmake --build --preset release --target avsweep-trial
out=bench/results/backbones.md
case " $* " in *" --training "*) out=bench/results/backbones-training.md ;; esac
exec "$python" bench/pytorch/backbones.py --trial "$PWD/build/release/bin/avsweep-trial" --out "$out" "$@"
