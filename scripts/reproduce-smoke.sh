#!/bin/bash
# Every sweep of a paper with its smoke profile, or those that are named: data, run, table. Each has a database of its own;
# what is done already is not done again. The tables go between the markers of docs/reproduce.md.
#
#   scripts/reproduce-smoke.sh [SWEEP ..]             names without folder and ending; none: all of them
#   AVS_BIN=build/release/bin AVS_REPRODUCE=demo/reproduce AVS_PAPER_DATA=demo/paper     the defaults
#   AVS_TABLE_ONLY=1 scripts/reproduce-smoke.sh ..    the tables of what the databases hold, without running anything
set -eu
cd "$(dirname "$0")/.."
bin=${AVS_BIN:-build/release/bin} dir=${AVS_REPRODUCE:-demo/reproduce} data=${AVS_PAPER_DATA:-demo/paper}
doc=docs/reproduce.md
[ -x "$bin/avsweep" ] || { echo "reproduce-smoke.sh: no $bin/avsweep: cmake --preset release && cmake --build --preset release" >&2; exit 2; }
mkdir -p "$dir"

if [ -z "${AVS_TABLE_ONLY:-}" ] && [ ! -f "$data/metadata.csv" ]; then
  "$bin/avsweep" data compose "$data" --settings s4,ms3,avss --classes 16 --size 64 --train 12 --val 4 --test 8 --seed 1
fi

if [ $# -eq 0 ]; then
  for file in sweeps/*.yaml; do
    grep -q '^  smoke:' "$file" && set -- "$@" "$(basename "$file" .yaml)"
  done
fi

# Seconds on the clock and of the processors, added up over the runs that it took.
add_time() {
  awk '{ clock += $1; cpu += $2 + $3 } END { printf "%d s, %d s of a core", clock + 0.5, cpu + 0.5 }' "$1"
}

# put NAME: the section of one sweep in the document, in place of the one that is there
put() {
  {
    printf '### %s (%s)\n```\n' "$1" "$(add_time "$dir/$1.time")"
    cat "$dir/$1.txt"
    printf '```\n'
  } >"$dir/section"
  grep -q "<!-- $1 -->" "$doc" || { echo "reproduce-smoke.sh: $doc has no place for $1" >&2; return 1; }
  awk -v name="$1" -v section="$dir/section" '
    $0 == "<!-- " name " -->" { print; while ((getline line < section) > 0) print line; inside = 1; next }
    $0 == "<!-- end of " name " -->" { inside = 0 }
    !inside' "$doc" >"$dir/document"
  cat "$dir/document" >"$doc"
}

failed=0
TIMEFORMAT='%R %U %S'
for name in "$@"; do
  db=$dir/$name.db
  if [ -z "${AVS_TABLE_ONLY:-}" ] && [ ! -f "$dir/$name.txt" ]; then
    rc=0
    mkdir -p "$dir/cache" "$db.work" # features of the frozen audio encoders, which the sweeps share
    [ -e "$db.work/cache" ] || ln -s "$(cd "$dir" && pwd)/cache" "$db.work/cache"
    { time "$bin/avsweep" run "sweeps/$name.yaml" --set profile=smoke --set "base.data_root=$data" --db "$db" \
      >"$dir/$name.log" 2>&1; } 2>>"$dir/$name.time" || rc=$?
    tail -n 1 "$dir/$name.log"
    [ $rc -le 1 ] || { echo "reproduce-smoke.sh: $name: exit $rc, see $dir/$name.log" >&2; failed=1; continue; }
    [ $rc -eq 0 ] || failed=1
  fi
  [ -f "$db" ] || continue
  # the table without what names this machine and this day
  "$bin/avsweep" report --db "$db" --format text | awk '/^sweep / { exit } { print }' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' \
    >"$dir/report"
  mv "$dir/report" "$dir/$name.txt"
  put "$name"
done
exit $failed
