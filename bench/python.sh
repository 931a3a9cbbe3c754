# Sourced by the benchmarks: sets `python` to an interpreter that has torch and torchvision. AVS_PYTHON names another
# one, for example of a virtual environment with a newer PyTorch from pip.
python=
for p in "${AVS_PYTHON:-}" /usr/bin/python3 python3; do
  [ -n "$p" ] && "$p" -c 'import torch, torchvision, numpy, PIL' 2>/dev/null && { python=$p; break; }
done
[ -n "$python" ] || { echo "no interpreter with torch and torchvision: scripts/install-packages.sh bench, or set AVS_PYTHON" >&2; exit 1; }
