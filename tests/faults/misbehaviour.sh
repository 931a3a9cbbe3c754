#!/bin/bash
# Trials that crash, fail, hang, lie or talk rubbish: each costs its own attempts, the rest is done.
. "$(dirname "$0")/../integration/lib.sh"
sweep bad 14 "hang: 2s, time: 60s, retry_on: [crash, hang, infra, error]"
export FAKE_PLAN="1=crash*1,2=crash,3=error,4=error-new,5=exit3,6=garbage*1,7=hang*1,8=big,9=stale,10=nan,11=exit3*2"
avs run bad.yaml --db r.db 2> run.err
expect 1 $? "exit"
sound r.db
# done: 0, 1 (second try), 6, 7, 8, 9, 11 (third try), 12, 13; failed: 2, 3, 4, 5, 10
expect "done 9 failed 5 " "$(states r.db)" "states"
n() { sqlite3 r.db "SELECT count(*) FROM attempt JOIN trial USING(trial_id) WHERE seed=$1"; }
expect "2 3 2 3 3 2 2 1 1 2 3" "$(n 1) $(n 2) $(n 3) $(n 4) $(n 5) $(n 6) $(n 7) $(n 8) $(n 9) $(n 10) $(n 11)" "attempts per seed"
why() { sqlite3 r.db "SELECT r.name || ': ' || a.message FROM attempt a JOIN reason_name r USING(reason) JOIN trial USING(trial_id) WHERE seed=$1 ORDER BY a.n LIMIT 1"; }
case "$(why 2)" in "crash: killed by signal 11 (Segmentation fault)"*) ;; *) fail "seed 2: $(why 2)" ;; esac
expect "error: data/x.png: not a PNG" "$(why 3)" "seed 3"
case "$(why 5)" in *"exit status 3"*"the last words of seed 5"*) ;; *) fail "seed 5: $(why 5)" ;; esac
case "$(why 6)" in *"broken frame"*) ;; *) fail "seed 6: $(why 6)" ;; esac
case "$(why 7)" in "hang: no progress for 2 s"*) ;; *) fail "seed 7: $(why 7)" ;; esac
case "$(why 10)" in *"not finite"*) ;; *) fail "seed 10: $(why 10)" ;; esac
expect 2097152 "$(sqlite3 r.db "SELECT latency.n FROM latency JOIN attempt USING(attempt_id) JOIN trial USING(trial_id) WHERE seed=8")" "samples of the big result"
expect 0 "$(sqlite3 r.db "SELECT count(*) FROM result WHERE value > 1")" "results of a stale epoch"
grep -q "failed" run.err || fail "the terminal shows no failure"

# Failed trials stay failed, until they are asked for.
avs run bad.yaml --db r.db 2> again.err
expect 1 $? "exit of the second run"
before=$(grep -c ^start "$FAKE_LOG")
unset FAKE_PLAN
avs run bad.yaml --db r.db --retry failed 2> retry.err
expect 0 $? "exit with --retry failed"
expect 5 $(($(grep -c ^start "$FAKE_LOG") - before)) "attempts with --retry failed"
expect "done 14 " "$(states r.db)" "states at the end"
sound r.db
no_leftovers

# The time limit ends an attempt for good, whatever retry_on says.
sweep slow 2 "time: 1s, retry_on: [crash, hang, infra, error]"
FAKE_PLAN="0=hang" avs run slow.yaml --db s.db 2> slow.err
expect 1 $? "exit after a time limit"
expect "timeout: the time limit of 1 s is over" "$(sqlite3 s.db "SELECT r.name || ': ' || a.message FROM attempt a JOIN reason_name r USING(reason) JOIN trial USING(trial_id) WHERE seed=0")" "the end by the time limit"
no_leftovers

# Enough failures end the run early and say so; the rest is left for the next one.
sweep many 30 "max_failures: 4"
FAKE_PLAN="*=error" avs run many.yaml --db m.db --max-parallel 1 2> many.err
expect 1 $? "exit after max_failures"
expect "failed 4 pending 26 " "$(states m.db)" "states after max_failures"
expect 4 "$(grep -c "error: data/x.png: not a PNG; failed" many.err)" "errors in full"
grep -q "stopped: 4 trials failed in this run, as many as limits.max_failures allows" many.err || fail "the reason of the early end: $(cat many.err)"
FAKE_PLAN="*=error" avs run many.yaml --db m.db --fail-fast --max-parallel 1 2> fast.err
expect "failed 5 pending 25 " "$(states m.db)" "states after --fail-fast"
grep -q "stopped: 1 trials failed in this run, and --fail-fast allows none" fast.err || fail "the reason of --fail-fast: $(cat fast.err)"
FAKE_PLAN="*=error" avs run many.yaml --db m.db --keep-going 2> going.err
expect "failed 30 " "$(states m.db)" "states after --keep-going"
grep -q "stopped:" going.err && fail "--keep-going stops early"
sweep default 30
FAKE_PLAN="*=error" avs run default.yaml --db d.db --max-parallel 1 2> default.err
expect "failed 20 pending 10 " "$(states d.db)" "states after the default of max_failures"
sound m.db
no_leftovers
