#!/bin/bash
# bench-dispatch measures what it says: one object per number, and nothing stays behind.
. "$(dirname "$0")/lib.sh"
export TMPDIR=$dir
for row in "end to next start" "gang of 4"; do
    "$AVSWEEP" bench-dispatch "$row" --json --trial-program "$FAKE" > bench.json 2> bench.err || fail "$row"
    grep -q '"type":"machine".*"cores":' bench.json || fail "no machine: $(cat bench.json)"
    grep -q "\"name\":\"$row.*\"value\":[0-9.]*,\"unit\":\"[a-z]*\",\"target\":[0-9]*,\"met\":" bench.json || fail "$(cat bench.json)"
done
expect "" "$(ls "$dir" | grep avs-bench)" "what stays behind"
no_leftovers
