#!/bin/bash
# SIGINT, SIGUSR1 and the wall time: trials write a checkpoint, the run ends with 75, the same command goes on from there.
# A second SIGINT kills: 130.
. "$(dirname "$0")/lib.sh"
export FAKE_MS=40 FAKE_STEPS=20
sweep demo 8 "grace: 5s"
first_start() { for i in $(seq 300); do [ "$(grep -c ^start "$FAKE_LOG" 2>/dev/null)" -ge 4 ] && return; sleep 0.02; done; fail "nothing starts"; }

"$AVSWEEP" run demo.yaml --db r.db --trial-program "$FAKE" 2> int.err &
bg=$!
first_start
sleep 0.2 # let them take a few steps: a resumed trial must be seen to skip them
kill -INT $bg
wait $bg
expect 75 $? "exit after SIGINT"
bg=
expect 75 "$(cat r.db.exit)" "DB.exit after SIGINT"
expect 4 "$(grep -c ^stopped "$FAKE_LOG")" "trials that wrote a checkpoint"
[ -e r.db.lock ] && fail "the lease is still there"
no_leftovers
sound r.db
[ "$(cat r.db.work/trials/*/step | sort -n | tail -1)" -ge 2 ] || fail "no step was kept"

"$AVSWEEP" run demo.yaml --db r.db --trial-program "$FAKE" --walltime 400 2> usr.err &
bg=$!
for i in $(seq 300); do [ "$(grep -c ^start "$FAKE_LOG")" -ge 8 ] && break; sleep 0.02; done
kill -USR1 $bg
wait $bg
expect 75 $? "exit after SIGUSR1"
bg=
"$AVSWEEP" run demo.yaml --db r.db --trial-program "$FAKE" 2> rest.err
expect 0 $? "exit of the last run"
expect "done 8 " "$(states r.db)" "states"
expect 160 "$(sqlite3 r.db "SELECT count(DISTINCT trial_id || '/' || step) FROM point JOIN attempt USING(attempt_id)")" "points over all attempts"
sound r.db

# The other signals that schedulers send do the same.
for s in USR2 TERM HUP; do
    : > "$FAKE_LOG"
    "$AVSWEEP" run demo.yaml --db $s.db --trial-program "$FAKE" 2> $s.err &
    bg=$!
    first_start
    kill -$s $bg
    wait $bg
    expect 75 $? "exit after SIG$s"
    bg=
    expect "pending 8 " "$(states $s.db)" "states after SIG$s"
    no_leftovers
    sound $s.db
done
: > "$FAKE_LOG"
FAKE_PLAN='*=deaf' "$AVSWEEP" run demo.yaml --db k.db --trial-program "$FAKE" 2> kill.err &
bg=$!
first_start
kill -INT $bg
for i in $(seq 100); do grep -q interrupted kill.err && break; sleep 0.02; done
kill -INT $bg
wait $bg
expect 130 $? "exit after a second SIGINT"
bg=
no_leftovers
sound k.db

# What was measured says whether a trial still fits before the end of the run.
export FAKE_MS=100
sweep paced 2 "grace: 1s"
avs run paced.yaml --db paced.db 2> paced.err || fail "the trials that are measured"
: > "$FAKE_LOG"
sweep paced 6 "grace: 1s"
avs run paced.yaml --db paced.db --walltime 3 2> short.err
expect 75 $? "exit where no trial fits before the end"
expect 0 "$(grep -c ^start "$FAKE_LOG")" "starts of trials of 2 s and 1 s of grace in 3 s"
avs run paced.yaml --db paced.db --walltime 60 2> fits.err
expect 0 $? "exit where all fit"
expect "done 6 " "$(states paced.db)" "states where all fit"
