#!/bin/sh
# Reads every #include of *.c *.h *.cu *.def below ROOT and fails on one that the table of rooms forbids.
#   scripts/check-includes.sh [ROOT]       check a tree (default: the folder above this script)
#   scripts/check-includes.sh --self-test  check the checker on a tree with known faults
set -eu

check() {
  cd "$1"
  find base engine data models metrics workers sweeps results orchestrator -type f \
    \( -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name '*.def' \) 2>/dev/null | sort |
  while IFS= read -r f; do
    awk -v f="$f" '/^[ \t]*#[ \t]*include[ \t]*["<]/ {
      line = $0; sub(/^[ \t]*#[ \t]*include[ \t]*/, "", line)
      kind = substr(line, 1, 1); line = substr(line, 2); sub(/[">].*$/, "", line)
      print f "\t" FNR "\t" kind "\t" line }' "$f"
  done | awk -F '\t' '
    BEGIN {
      split("base engine data models metrics workers sweeps results orchestrator tests bench", names, " ")
      for (i in names) is_room[names[i]] = 1
      # The table of rooms: who may include whom (everyone may include itself and base; base nobody).
      may["models"] = " engine "
      may["workers"] = " engine data models metrics "
      may["results"] = " metrics "
      may["orchestrator"] = " sweeps results "
      # Inside engine/, downwards only.
      level["tensor"] = 1; level["graph"] = 2; level["pass"] = 3; level["plan"] = 4; level["backend"] = 5
      # avsweep-trial never sees these libraries ..
      split("mpi.h sqlite3.h yaml.h", names, " ")
      for (i in names) not_trial[names[i]] = 1
    }
    function bad(why) { print $1 ":" $2 ": includes " $3 $4 ($3 == "<" ? ">" : "\"") ": " why; faults++ }
    function part(path, i,   p) { split(path, p, "/"); return p[i] }
    function check_engine(from, to,   a, b) {
      a = part(from, 2); b = part(to, 2)
      if (a == b) return
      if (a == "kernel") {
        if (b == "tensor" || b == "graph") return # parameter structs of the ops
        # lane.k.h is where a body learns whether its lanes are CUDA threads or fibres of the emulator.
        if (from == "engine/kernel/lane.k.h" && b == "backend") return
        bad("kernel bodies include kernel, graph, tensor and base alone")
        return
      }
      if (a == "optim" && b == "kernel") return # the body of a step is shared with the GPU
      if (a == "optim") { bad("engine/optim includes base and kernel bodies alone"); return }
      if (a == "plan" && to == "engine/optim/adamw.h") return # a plan steps its own slabs
      if (b == "kernel" || b == "optim") {
        if (a != "backend") bad("only engine/backend includes engine/" b)
        return
      }
      if (a == "plan" && to == "engine/backend/backend.h") return
      if (level[a] < level[b]) bad("engine/" a " lies below engine/" b)
    }
    {
      from = part($1, 1); to = part($4, 1)
      if ($3 == "<") {
        if ((from ~ /^(base|engine|data|models|metrics|workers)$/) && ($4 in not_trial))
          bad("the trial program never links this library")
        # .. and avsweep none of these.
        if ((from ~ /^(base|sweeps|results|orchestrator)$/) && $4 ~ /^(dnnl|oneapi\/dnnl|cuda|cublas|cudnn|nccl)/)
          bad("the orchestrator never links this library")
        next
      }
      if (!(to in is_room)) next
      if (from == "base" && to != "base") { bad("base includes nothing of ours"); next }
      if (to == "base") next
      if ($1 ~ /^models\/schema/) {
        if ($4 !~ /^models\/schema/) bad("the schemas include base and each other alone")
        next
      }
      if (from == to) { if (from == "engine") check_engine($1, $4); next }
      if (from == "sweeps" && $4 == "models/schema.h") next
      if (index(may[from], " " to " ") == 0) bad(from "/ may not include " to "/")
    }
    END { if (faults) print faults " forbidden includes"; exit faults > 0 }'
}

self_test() {
  tree=$(mktemp -d)
  trap 'rm -rf "$tree"' EXIT
  put() { mkdir -p "$tree/$(dirname "$1")"; printf '%s\n' "$2" >>"$tree/$1"; }
  # Allowed.
  put base/a.c '#include "base/a.h"'
  put engine/plan/p.c '#include "engine/backend/backend.h"'
  put engine/backend/cpu/x.c '#include "engine/kernel/x.k.h"'
  put engine/kernel/lane.k.h '#include "engine/backend/emul/emul.h"'
  put engine/pass/p.c '#include "engine/graph/graph.h"'
  put models/schema_a.c '#include "models/schema.h"'
  put sweeps/s.c '#include "models/schema.h"'
  put results/r.c '#include "metrics/stats.h"'
  put workers/w.c '#include "data/dataset.h"'
  put orchestrator/o.c '#include <mpi.h>'
  put data/d.c '#include "config.h"'
  (check "$tree") || { echo "self-test: an allowed include was refused"; exit 1; }
  # Forbidden, one each.
  put base/b.c '#include "engine/tensor/type.h"'
  put engine/tensor/t.c '  #  include "engine/graph/graph.h"'
  put engine/graph/g.c '#include "engine/plan/plan.h"'
  put engine/plan/q.c '#include "engine/backend/cpu/x.h"'
  put engine/kernel/k.k.h '#include "engine/backend/backend.h"'
  put engine/optim/o.c '#include "engine/graph/graph.h"'
  put engine/pass/k.c '#include "engine/kernel/x.k.h"'
  put engine/backend/b.cu '#include "workers/comm.h"'
  put data/e.c '#include "engine/tensor/type.h"'
  put models/schema_b.c '#include "models/model.h"'
  put models/m.c '#include "data/dataset.h"'
  put sweeps/t.c '#include "models/model.h"'
  put results/s.c '#include "orchestrator/message.h"'
  put orchestrator/p.c '#include "engine/graph/graph.h"'
  put workers/v.c '#include <sqlite3.h>'
  put orchestrator/q.c '#include <dnnl.h>'
  put metrics/m.c '#include "tests/x.h"'
  out=$(check "$tree") && { echo "self-test: forbidden includes were accepted"; exit 1; }
  case $out in
  *"17 forbidden includes") ;;
  *) echo "self-test: 17 faults were planted, found:"; echo "$out"; exit 1 ;;
  esac
}

case ${1:-} in
--self-test) self_test ;;
*) check "${1:-$(dirname "$0")/..}" ;;
esac
