#!/bin/bash
# The demo recipe in avsweep and in PyTorch, one after the other on the same cores -> bench/results/train-demo.*
#   bench/train-demo.sh [--steps 1100] [--seed 0] [--threads n]
set -eu
cd "$(dirname "$0")/.."
scripts/install-packages.sh demo
. bench/prepare.sh
[ -f demo/data/Multi-sources/ms3_meta_data.csv ] ||
  "$trial" data compose demo/data --settings ms3 --classes 16 --size 96 --train 800 --val 128 --test 128 --seed 1
exec "$python" bench/pytorch/train_demo.py --trial "$trial" "$@"
