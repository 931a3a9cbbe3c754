#!/bin/bash
# The same no-op trials through avsweep and through what people use for sweeps, one after the other on this machine.
#   bench/dispatch-peers.sh BUILD [TRIALS]      AVS_PYTHON=/path/to/python with mpi4py, optuna, ray as far as they install
# avsweep stores every result durably; mpi4py.futures, GNU parallel and Ray Tune store nothing that survives a crash.
set -u
build=${1:?build folder} n=${2:-1000} python=${AVS_PYTHON:-python3}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/dev/shm}/avs-peers.XXXXXX")
trap 'rm -rf "$work"' EXIT
now() { date +%s.%N; }
row() { awk -v w="$1" -v n="$2" -v s="$3" -v t="$4" 'BEGIN { printf "| %s | %d | %.2f | %.0f | %s |\n", w, n, s, n / s, t }'; }
missing() { echo "| $1 | - | - | - | not installed here |"; }
timed() { # timed NAME NOTE COMMAND..
    local name=$1 note=$2 t0 t1
    shift 2
    t0=$(now)
    timeout 280 "$@" > "$work/out" 2> "$work/err" || { echo "| $name | - | - | - | ended with $?: $(tail -n 1 "$work/err" | tr '|\n' '  ' | cut -c1-80) |"; return; }
    t1=$(now)
    row "$name" "$n" "$(awk -v a="$t0" -v b="$t1" 'BEGIN { print b - a }')" "$note"
}
has() { "$python" -c "import $1" 2> /dev/null; }

echo "$(nproc) cores, $(uname -sr), load average $(cut -d' ' -f1 /proc/loadavg), start-up included"
echo
echo "| system | trials | seconds | trials/s | what a trial is |"
echo "| --- | --- | --- | --- | --- |"
cat > "$work/noop.yaml" <<END
avsweep: 1
name: noop
kind: noop
base: {model: avesformer, task: s4}
seeds: $n
resources: {cpus: 1}
END
timed "avsweep run" "a process, result committed" "$build/bin/avsweep" run "$work/noop.yaml" --db "$work/r.db" --quiet
"$build/bin/avsweep" bench-dispatch "no-ops in agents, committed" --json |
    sed -n 's/.*"name":"no-ops in agents.*"value":\([0-9.e+]*\).*/\1/p' |
    awk '{ printf "| avsweep, in agents | 20000 | %.2f | %.0f | in the agent, result committed |\n", 20000 / $1, $1 }'
if command -v parallel > /dev/null; then
    timed "GNU parallel" "a process, log only" sh -c "seq $n | parallel -j$(nproc) --joblog $work/log true"
else
    missing "GNU parallel"
fi
timed "xargs -P" "a process" sh -c "seq $n | xargs -P$(nproc) -n1 true"
if has mpi4py.futures; then
    timed "mpi4py.futures" "a function call" mpirun --oversubscribe -n 3 "$python" -m mpi4py.futures "$here/pytorch/peer_futures.py" "$n"
else
    missing "mpi4py.futures"
fi
if has optuna; then
    timed "Optuna (SQLite)" "a function call, result committed" "$python" "$here/pytorch/peer_optuna.py" "$n" "$work/optuna.db"
else
    missing "Optuna (SQLite)"
fi
if has ray.tune; then
    few=$(((n + 49) / 50)) # it takes about a second for each
    n=$few timed "Ray Tune" "an actor call" "$python" "$here/pytorch/peer_tune.py" "$few" "$work/ray"
else
    missing "Ray Tune"
fi
