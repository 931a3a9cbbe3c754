#!/bin/bash
# The six example sweeps run as no-ops: as many trials as they state, each done once; a second run has nothing to do.
EXAMPLES=$1
. "$(dirname "$0")/lib.sh"
export FAKE_MS=0 FAKE_STEPS=1 AVSWEEP_CORES=8 # 6 cores per GPU are asked for
run_example() { # NAME TRIALS STAGES..
    local name=$1 want=$2
    shift 2
    local sets=(--set kind=noop)
    for stage in "$@"; do sets+=(--set "stages.$stage.kind=noop"); done
    : > "$FAKE_LOG"
    avs run "$EXAMPLES/$name.yaml" --db "$name.db" "${sets[@]}" 2> "$name.err"
    expect 0 $? "exit of $name"
    expect "done $want " "$(states "$name.db")" "states of $name"
    expect "$want" "$(grep -c ^start "$FAKE_LOG")" "attempts of $name"
    expect "$want" "$(sqlite3 "$name.db" 'SELECT count(*) FROM sweep_trial')" "places of $name"
    sound "$name.db"
    avs run "$EXAMPLES/$name.yaml" --db "$name.db" "${sets[@]}" 2> "$name.again.err"
    expect "$want" "$(grep -c ^start "$FAKE_LOG")" "attempts of $name after a second run"
}
run_example queries 60
run_example elf 40 train speed
run_example save-adapters 42
run_example lightavseg-loss 30
run_example stepping-stones 18 one two
run_example latency-all 93
expect 12 "$(sqlite3 stepping-stones.db 'SELECT count(*) FROM trial_dep')" "dependencies"
no_leftovers
