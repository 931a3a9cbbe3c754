#!/bin/bash
# Successive halving through the whole program: 9 trials of 20 steps, rungs at 2 and 6. What is pruned has its state, no
# result and no failure; a run that is killed goes on from what it recorded.
. "$(dirname "$0")/lib.sh"
export FAKE_CURVES=1 FAKE_STEPS=20 FAKE_MS=10
for variant in promote stop; do
    cat > $variant.yaml <<END
avsweep: 1
name: $variant
kind: noop
base: {model: avesformer, task: s4}
seeds: 9
objective: {metric: loss, mode: min}
stop: {asha: {rung: step, min: 2, eta: 3, max: 19, variant: $variant}}
resources: {cpus: 1}
END
    : > "$FAKE_LOG"
    avs run $variant.yaml --db $variant.db 2> $variant.err
    expect 0 $? "exit with $variant"
    done=$(sqlite3 $variant.db 'SELECT count(*) FROM trial WHERE state=2')
    pruned=$(sqlite3 $variant.db 'SELECT count(*) FROM trial WHERE state=8')
    expect 9 $((done + pruned)) "trials with an end under $variant: $(states $variant.db)"
    [ "$done" -ge 1 ] && [ "$done" -le 4 ] || fail "$done trials are done under $variant"
    "$AVSWEEP" db check --db $variant.db > check.txt || fail "db check: $(cat check.txt)"
    avs run $variant.yaml --db $variant.db 2> again.err || fail "a second run under $variant"
    expect "$pruned" "$(sqlite3 $variant.db 'SELECT count(*) FROM trial WHERE state=8')" "pruned after a second run"
    no_leftovers
done
expect 1 "$(sqlite3 promote.db 'SELECT count(*) FROM trial WHERE state=2')" "done under promote: floor(9/3)=3, then 1"
# The survivor is the best at the first rung: curves do not cross here.
best=$(sqlite3 promote.db "SELECT a.trial_id FROM point p JOIN attempt a USING(attempt_id) WHERE p.step=2 ORDER BY p.value LIMIT 1")
expect "$best" "$(sqlite3 promote.db 'SELECT trial_id FROM trial WHERE state=2')" "the survivor"

# Killed in the middle, twice; then to the end.
for moment in 4 9; do
    : > "$FAKE_LOG"
    avs_bg kill$moment.err run promote.yaml --db k.db
    for i in $(seq 300); do
        [ "$(grep -c ^start "$FAKE_LOG")" -ge $moment ] && break
        sleep 0.02
    done
    kill -9 $bg
    wait $bg 2> /dev/null
    bg=
    no_leftovers
done
avs run promote.yaml --db k.db 2> resume.err
expect 0 $? "exit of the resumed run"
done=$(sqlite3 k.db 'SELECT count(*) FROM trial WHERE state=2')
expect 9 "$(sqlite3 k.db 'SELECT count(*) FROM trial WHERE state IN (2, 8)')" "trials with an end after kills: $(states k.db)"
[ "$done" -ge 1 ] && [ "$done" -le 3 ] || fail "$done trials are done after kills"
"$AVSWEEP" db check --db k.db > check.txt || fail "db check after kills: $(cat check.txt)"
