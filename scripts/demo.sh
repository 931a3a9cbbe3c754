#!/bin/bash
# From a fresh Debian 12 machine to a leaderboard: packages, release build, data set, sweep under mpirun, report.
# Every step looks first whether it is done, so a second run only reads the database.
#
#   AVS_DEMO_SWEEP=sweeps/smoke.yaml scripts/demo.sh    the small sweep on the small data set
set -eu
cd "$(dirname "$0")/.."

sweep=${AVS_DEMO_SWEEP:-sweeps/demo.yaml}
name=$(basename "$sweep" .yaml)
bin=build/release/bin
started=$SECONDS
step() { printf '\n== %s  (%d s)\n' "$1" $((SECONDS - started)); }

[ -f "$sweep" ] || { echo "demo.sh: there is no sweep file '$sweep'" >&2; exit 2; }

# Where the sweep reads its data, and the size that its recipe is made for.
data=$(sed -n 's/.*data_root: *["'\'']\{0,1\}\([^"'\'',} ]*\).*/\1/p' "$sweep" | head -n 1)
case $name in
smoke) size="--classes 8 --size 64 --train 600 --val 64 --test 128" ;;
*) size="--classes 16 --size 96 --train 800 --val 128 --test 128" ;;
esac
data=${data:-demo/data}
db=demo/results.db report=demo/report.html
[ "$name" = demo ] || { db=demo/$name.db report=demo/$name.html; }
mkdir -p demo

step "packages"
scripts/install-packages.sh build demo

step "build"
[ -f build/release/build.ninja ] || cmake --preset release
cmake --build --preset release

step "data set"
if [ -f "$data/Multi-sources/ms3_meta_data.csv" ]; then
  echo "$data is there"
else
  $bin/avsweep data compose "$data" --settings ms3 $size --seed 1
fi

# One rank is the coordinator and serves this machine too. mpirun would bind a single rank to one core: trials get all.
step "sweep $sweep"
rc=0
mpirun --allow-run-as-root --oversubscribe --bind-to none -n 1 \
  $bin/avsweep run "$sweep" --db "$db" || rc=$?

step "leaderboard"
$bin/avsweep report --db "$db" --format text
$bin/avsweep report --db "$db" --format html --output "$report"
printf '\nreport: %s   database: %s   %d s in all\n' "$report" "$db" $((SECONDS - started))
exit $rc
