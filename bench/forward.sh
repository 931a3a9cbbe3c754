#!/bin/bash
# Forward time of AVESFormer against PyTorch on the same cores in the same run -> bench/results/forward.md
#   bench/forward.sh [--backbones resnet18,resnet50] [--threads 2,1] [--rounds 7] [--runs 10]
set -eu
cd "$(dirname "$0")/.."
. bench/prepare.sh
exec "$python" bench/pytorch/forward.py --trial "$trial" --out bench/results/forward.md "$@"
