#!/bin/bash
# Forward time of every backbone against PyTorch on the same cores in the same run -> bench/results/backbones.md; with
# --training forward and backward -> bench/results/backbones-training.md
#   bench/backbones.sh [--backbones resnet18,seaformer_l] [--threads 2,1] [--rounds 5] [--runs 10] [--training --batch 4]
set -eu
cd "$(dirname "$0")/.."
. bench/prepare.sh
out=bench/results/backbones.md
case " $* " in *" --training "*) out=bench/results/backbones-training.md ;; esac
exec "$python" bench/pytorch/backbones.py --trial "$trial" --out "$out" "$@"
