#!/bin/bash
# Which trials run, and what they are estimated to take: --only, --fresh, --stale-code, --retry, --dry-run, --max-gpu-hours.
. "$(dirname "$0")/lib.sh"
cat > c.yaml <<END
avsweep: 1
name: c
base: {model: avesformer, task: s4}
kind: noop
seeds: 2
resources: {gpus: 2, cpus: 1}
limits: {retries: 0, time: 3h}
stages:
  - {name: up, sweep: [{grid: {num_queries: [8, 16, 32]}}], exclude: ["num_queries == 32"]}
  - {name: down, needs: {s: {from: up, match: [num_queries, seed]}}, base: {lr: 0.5}, sweep: [{grid: {num_queries: [8, 16]}}]}
END
# Nothing is known: limits.time is the bound. 8 trials of 3 h on 2 GPUs: 48 GPU-hours; two stages: 6 h.
"$AVSWEEP" run c.yaml -n > dry.txt || fail "dry run"
grep -q "c: 8 trials, 8 to run" dry.txt || fail "counts: $(cat dry.txt)"
grep -q "exclude num_queries == 32: 1 points dropped" dry.txt || fail "dropped points: $(cat dry.txt)"
grep -q "estimate: 48.0 GPU-hours, 24.0 trial-hours; longest path 6.0 h; on 2 GPUs about 24.0 h" dry.txt || fail "sums: $(cat dry.txt)"
grep -q "8 trials: upper bound: limits.time" dry.txt || fail "basis: $(cat dry.txt)"
"$AVSWEEP" run c.yaml -n --gpus 16 | grep -q "on 16 GPUs about 6.0 h" || fail "on 16 GPUs"
avs run c.yaml --db c.db --max-gpu-hours 47 2> much.err
expect 3 $? "exit above --max-gpu-hours"
grep -q 'error\[R008\]' much.err || fail "R008 is not named"
expect 0 "$(sqlite3 c.db 'SELECT count(*) FROM trial')" "trials of a refused sweep"

# Only some, and what they need.
avs run c.yaml --db c.db --only "stage == 'down' and num_queries == 8 and seed == 1" 2> only.err || fail "--only"
expect "done 2 pending 6 " "$(states c.db)" "states after --only"
avs run c.yaml --db c.db --only "num_querys == 8" 2> bad.err
expect 3 $? "exit of an --only that fails"
grep -q "num_querys" bad.err || fail "the name is not told"
avs run c.yaml --db c.db --only "num_queries" 2> bad.err
expect 3 $? "exit of an --only that is no condition"
FAKE_PLAN='1=exit3' avs run c.yaml --db c.db 2> rest.err
expect "blocked 1 done 6 failed 1 " "$(states c.db)" "states with a failed trial"

# The past of this database.
"$AVSWEEP" run c.yaml -n --db c.db > past.txt || fail "dry run with a database"
grep -q "down: 4 trials of 2 configurations (noop): 0 new, 3 reused, 0 failed, 1 begun or waiting" past.txt || fail "states: $(cat past.txt)"
grep -q "1 trials: median of past attempts of the same configuration" past.txt || fail "basis: $(cat past.txt)"
"$AVSWEEP" run c.yaml -n --db c.db --set base.resolution=448 > scaled.txt || fail "dry run of other trials"
grep -q "median of past attempts of equal model, task, kind and GPU" scaled.txt || fail "basis: $(cat scaled.txt)"
"$AVSWEEP" run c.yaml -n --db c.db --set base.task=ms3 --set base.resolution=448 > scaled.txt || fail "dry run of another task"
grep -q "past attempts of the same model, scaled by pixels" scaled.txt || fail "basis: $(cat scaled.txt)"
"$AVSWEEP" run c.yaml -n --db c.db --json | python3 -c 'import json,sys; d=json.load(sys.stdin); assert d["type"]=="dry_run" and d["to_run"]==1 and d["stages"][0]["failed"]==1, d' || fail "JSON"

# Retry of what was lost leaves what failed by itself alone.
avs run c.yaml --db c.db --retry lost 2> lost.err
expect "blocked 1 done 6 failed 1 " "$(states c.db)" "states after --retry lost"
avs run c.yaml --db c.db --retry failed,lost 2> retry.err || fail "--retry failed,lost"
expect "done 8 " "$(states c.db)" "states after --retry"
avs run c.yaml --db c.db --retry everything 2> usage.err
expect 2 $? "exit of a wrong --retry"
table c.db > before.txt

# Fresh: every trial again, from the start; its earlier folder is put aside and its files are found there.
ls c.db.work/trials > folders
: > "$FAKE_LOG"
avs run c.yaml --db c.db --fresh 2> fresh.err || fail "--fresh"
expect 8 "$(grep -c ^start "$FAKE_LOG")" "attempts of --fresh"
table c.db | cmp -s - before.txt || fail "the table after --fresh differs"
ls -d c.db.work/trials/*.before-* > aside || fail "no folder was put aside"
"$AVSWEEP" db check --db c.db > check.txt || fail "db check after --fresh: $(cat check.txt)"
expect 8 "$(sqlite3 c.db 'SELECT count(DISTINCT attempt_id) FROM attempt_result')" "attempts that do not count any more"

# Results of other code.
sqlite3 c.db "INSERT INTO env(env_id, hash, code_fp) SELECT 99, randomblob(32), 'other'; UPDATE attempt_rank SET env_id=99 WHERE attempt_id IN (SELECT best_attempt FROM trial WHERE seed=0)"
: > "$FAKE_LOG"
avs run c.yaml --db c.db 2> warn.err || fail "other code"
grep -q 'warning\[W034\]: 4 finished trials' warn.err || fail "no warning about other code"
avs run c.yaml --db c.db --stale-code=keep 2> keep.err || fail "--stale-code=keep"
grep -q W034 keep.err && fail "--stale-code=keep warns"
expect 0 "$(grep -c ^start "$FAKE_LOG")" "attempts while other code counts"
avs run c.yaml --db c.db --stale-code=rerun 2> rerun.err || fail "--stale-code=rerun"
expect 4 "$(grep -c ^start "$FAKE_LOG")" "attempts of --stale-code=rerun"
"$AVSWEEP" db check --db c.db > check.txt || fail "db check after --stale-code: $(cat check.txt)"

# Another sweep with the same trials reuses them.
sed 's/name: c$/name: d/' c.yaml > d.yaml
avs run d.yaml --db c.db 2> reuse.err || fail "reuse"
grep -q "8 of 8 trials are done already" reuse.err || fail "nothing is reused"
expect 8 "$(sqlite3 c.db "SELECT count(*) FROM sweep_trial JOIN sweep USING(sweep_id) WHERE name='d' AND reused=1")" "reused"
no_leftovers

# A changed file: what it lists no more is told, and cancelled with --prune; done trials stay done.
: > "$FAKE_LOG"
sweep shrinks 6
FAKE_PLAN="4=exit3,5=exit3" avs run shrinks.yaml --db gone.db --max-parallel 1 --fail-fast 2> gone.err
expect "done 4 failed 1 pending 1 " "$(states gone.db)" "states before the file changes"
sweep shrinks 2
avs run shrinks.yaml --db gone.db 2> told.err
expect 0 $? "exit of the smaller sweep"
grep -q "lists 4 earlier trials no more: .*; 1 of them are open (--prune" told.err || fail "what is gone: $(cat told.err)"
expect "done 4 failed 1 pending 1 " "$(states gone.db)" "states without --prune"
avs run shrinks.yaml --db gone.db --prune 2> prune.err || fail "--prune"
expect "cancelled 1 done 4 failed 1 " "$(states gone.db)" "states after --prune"
avs run shrinks.yaml --db gone.db --prune 2> again.err || fail "--prune again"
grep -q "earlier trials" again.err && fail "--prune twice tells the same twice"
"$AVSWEEP" db check gone.db > /dev/null || fail "db check after --prune"
sound gone.db
