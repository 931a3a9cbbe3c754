#!/bin/bash
# Training steps (forward, backward, AdamW) in avsweep and in PyTorch eager: time and peak of memory, and how long plans
# take to build -> bench/results/train-step.md; with --deform the deformable attention -> bench/results/msdeform.md
#   bench/train-step.sh [--nets resnet50,avesformer-resnet18] [--threads 2,1] [--batch 8] [--rounds 3] [--runs 5] [--deform]
set -eu
cd "$(dirname "$0")/.."
. bench/prepare.sh
kernels=
case " $* " in *" --deform "*) # the kernel benchmark is built with the tests
  [ -f build/check/build.ninja ] || cmake --preset check
  cmake --build --preset check --target bench_kernels
  kernels=$PWD/build/check/bench/bench_kernels ;;
esac
exec "$python" bench/pytorch/train_step.py --trial "$trial" --kernels "$kernels" "$@"
