#!/bin/bash
# Every built-in system on the three composed data sets, in one run: data, sweep, further training from each checkpoint,
# table. What is done already is not done again. The table goes between the markers of docs/systems.md.
#
#   scripts/systems-table.sh [PROGRAMS [FOLDER]]      defaults: build/release/bin demo/systems-run
#   AVS_TABLE_ONLY=1 scripts/systems-table.sh ..      the table of what the database holds, without running anything
set -eu
cd "$(dirname "$0")/.."
bin=${1:-build/release/bin} dir=${2:-demo/systems-run}
db=$dir/systems.db doc=docs/systems.md
[ -x "$bin/avsweep" ] || { echo "systems-table.sh: no $bin/avsweep: cmake --preset release && cmake --build --preset release" >&2; exit 2; }
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

if [ -z "${AVS_TABLE_ONLY:-}" ]; then
  if [ ! -f "$dir/data/metadata.csv" ]; then
    # five classes that all three data sets can have
    printf '%s\n' dog elephant firetruck drum_tomtom_floor violin >"$dir/classes.txt"
    "$bin/avsweep" data compose "$dir/data" --settings s4,ms3,avss --list "$dir/classes.txt" --classes 5 --size 64 \
      --train 300 --val 32 --test 64 --seed 1
  fi
  "$bin/avsweep" data index "$dir/data"
  "$bin/avsweep" run sweeps/systems.yaml --db "$db" --set "data=$dir/data"
fi

# of FILE KEY: the text of a string or number in a job file
of() { sed -n "s/.*\"$2\":\"\{0,1\}\([^\",}]*\).*/\1/p" "$1" | head -n 1; }

# Twenty more steps from the best checkpoint of each ms3 trial: the score before the first of them, beside the saved one.
further() {
  local job work log start saved
  for job in "$db".work/trials/*/attempt-*/job.json; do
    work=${job%/attempt-*}
    [ -f "$work/best.safetensors" ] && [ "$(of "$job" task)" = ms3 ] && [ "$(of "$job" kind)" = train ] || continue
    log=$work/further.log
    if ! grep -qs '^result miou@test' "$log"; then
      rm -rf "$work/further"
      sed -e "s#\"work_dir\":\"[^\"]*\"#\"work_dir\":\"$work/further\"#" -e 's/"steps":[0-9]*/"steps":20/' \
        -e "s#\"init\":\"\"#\"init\":\"$work/best.safetensors\"#" -e 's/"protocol":"listening"/"protocol":"plain"/' \
        -e 's/"lr_warmup_steps":[0-9]*/"lr_warmup_steps":0/' "$job" >"$work/further.json"
      "$bin/avsweep-trial" run "$work/further.json" >"$log" 2>&1 || { tail -n 1 "$log" >&2; continue; }
    fi
    saved=$("$bin/avsweep" show "$(basename "$work")" --db "$db" | sed -n 's/^result *miou:val = \([0-9.]*\).*/\1/p' | head -n 1)
    start=$(sed -n 's/^result init_miou@val \([^ ]*\).*/\1/p' "$log" | xargs printf '%.6g')
    printf '| %s | %s | %s | %s | %s |\n' "$(of "$job" model)" "$(of "$job" variant)" "$saved" "$start" \
      "$(sed -n 's/^result miou@val \([^ ]*\).*/\1/p' "$log" | xargs printf '%.6g')"
  done | sort
}

{
  echo "Written by \`scripts/systems-table.sh\`; $("$bin/avsweep" version | head -n 1)."
  echo
  "$bin/avsweep" report --db "$db" --sweep systems --by task,model,variant --where kind=train --no-published --format md \
    --metrics miou,fscore,miou_swapped,miou_silent,miou_constant,dissipation_index,train_seconds | grep '^|'
  echo
  echo "Twenty more steps from the best checkpoint, ms3, mIoU on val:"
  echo
  echo "| model | variant | saved | before the first step | after the last, best |"
  echo "| --- | --- | ---: | ---: | ---: |"
  further
} >"$dir/table.md"

awk -v table="$dir/table.md" '
  /<!-- systems-table -->/ { print; while ((getline line < table) > 0) print line; inside = 1; next }
  /<!-- end of systems-table -->/ { inside = 0 }
  !inside' "$doc" >"$dir/systems.md"
cat "$dir/systems.md" >"$doc"
cat "$dir/table.md"
