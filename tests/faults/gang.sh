#!/bin/bash
# Gangs: ranks start together, one rank's death takes the others along and fences the attempt, a stop reaches all.
. "$(dirname "$0")/../integration/lib.sh"
gang() { # gang NAME SEEDS RANKS [LIMITS]
    cat > "$1.yaml" <<END
avsweep: 1
name: $1
kind: train
base: {model: avesformer_mini, task: ms3}
seeds: $2
resources: {gpus: $3, cpus: $3}
limits: {retries: 2${4:+, $4}}
END
}

# Two gangs of two on four cores, each rank once.
gang pair 4 2
avs run pair.yaml --db pair.db 2> pair.err
expect 0 $? "exit of gangs of two"
expect "done 4 " "$(states pair.db)" "states of gangs of two"
expect "4 4" "$(grep -c '^start.*rank=0' "$FAKE_LOG") $(grep -c '^start.*rank=1' "$FAKE_LOG")" "starts per rank"
sound pair.db

# A rank that crashes, fails or hangs: the whole attempt, once more.
: > "$FAKE_LOG"
gang bad 4 4 "hang: 2s, retry_on: [crash, hang, infra, error]"
export FAKE_PLAN="1r3=crash*1,2r1=error-new*1,3r2=hang*1"
avs run bad.yaml --db bad.db 2> bad.err
expect 0 $? "exit with bad ranks"
gangs_recovered bad.db

# A rank that only saw another one end is not the cause, however much earlier it is gone.
gang echo 1 4 "hang: 20s"
export FAKE_PLAN="0r1=follow*1,0r2=crash*1"
FAKE_MS=100 FAKE_STEPS=10 avs run echo.yaml --db echo.db 2> echo.err
expect 0 $? "exit with a rank that followed"
expect 2 "$(attempts_of echo.db 0)" "attempts with a rank that followed"
case "$(first_end echo.db 0)" in "crash: rank 2: killed by signal 11"*) ;; *) fail "the cause: $(first_end echo.db 0)" ;; esac

# What no node can hold is told before anything starts.
: > "$FAKE_LOG"
unset FAKE_PLAN
gang wide 1 8
avs run wide.yaml --db wide.db 2> wide.err
expect 6 $? "exit of a gang of eight on four cores"
grep -q "error\[R006\].*8 cores; the nodes together have 4" wide.err || fail "no R006"
expect 0 "$(grep -c ^start "$FAKE_LOG")" "starts of a gang that does not fit"

# A drain stops every rank with a checkpoint; the next run goes on.
gang long 1 4
FAKE_MS=50 FAKE_STEPS=200 avs_bg long.err run long.yaml --db long.db
for _ in $(seq 100); do [ "$(grep -c ^start "$FAKE_LOG")" = 4 ] && break; sleep 0.1; done
kill -TERM $bg
wait $bg
expect 75 $? "exit of the drained run"
bg=
expect 4 "$(grep -c ^stopped "$FAKE_LOG")" "ranks that stopped"
avs run long.yaml --db long.db 2> longer.err
expect 0 $? "exit after the drain"
expect "done 1 " "$(states long.db)" "state after the drain"
sound long.db
no_leftovers
