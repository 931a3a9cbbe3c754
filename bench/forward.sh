#!/bin/bash
# Forward time of whole systems against PyTorch on the same cores in the same run -> bench/results/forward.md
#   bench/forward.sh [--systems avesformer-resnet18,save-vit_b] [--threads 2,1] [--rounds 7] [--runs 10]
set -eu
cd "$(dirname "$0")/.."
. bench/prepare.sh
exec "$python" bench/pytorch/forward.py --trial "$trial" --out bench/results/forward.md "$@"
