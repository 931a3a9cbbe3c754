# Sourced by the benchmarks that compare with PyTorch, from the top of the tree: installs what they need, builds the trial
# program and sets `trial` to it and `python` to an interpreter that has torch and torchvision. AVS_PYTHON names another one,
# for example of a virtual environment with a newer PyTorch from pip.
scripts/install-packages.sh build bench
python=
for p in "${AVS_PYTHON:-}" /usr/bin/python3 python3; do
  [ -n "$p" ] && "$p" -c 'import torch, torchvision, numpy, PIL' 2>/dev/null && { python=$p; break; }
done
[ -n "$python" ] || { echo "no interpreter with torch and torchvision: scripts/install-packages.sh bench, or set AVS_PYTHON" >&2; exit 1; }
[ -f build/release/build.ninja ] || cmake --preset release
cmake --build --preset release
trial=$PWD/build/release/bin/avsweep-trial
