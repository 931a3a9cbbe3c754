#!/bin/bash
# Stages that need each other: order, what fails blocks, a retry unblocks, a kill in the middle loses nothing; then real
# trials, whose second stage starts from the checkpoint of the first.
TRIAL=$1 TOYS=$2
. "$(dirname "$0")/lib.sh"
cat > two.yaml <<END
avsweep: 1
name: two
base: {model: avesformer, task: s4}
kind: noop
seeds: 6
resources: {cpus: 1}
limits: {retries: 0}
stages:
  - {name: up, sweep: [{grid: {num_queries: [8, 16]}}]}
  - name: down
    needs: {s1: {from: up, match: [num_queries, seed]}}
    base: {lr: 0.5, init: "\${s1.checkpoint.best}"}
    sweep: [{grid: {num_queries: [8, 16]}}]
END
stage_of() { sqlite3 "$1" "SELECT n.name, count(*) FROM sweep_trial JOIN stage g USING(stage_id) JOIN trial t USING(trial_id)
    JOIN state_name n USING(state) WHERE g.name='$2' GROUP BY 1 ORDER BY 1" | tr '\n|' ' ='; }
avs run two.yaml --db calm.db 2> calm.err || fail "two stages"
expect "done 24 " "$(states calm.db)" "states"
expect 12 "$(sqlite3 calm.db 'SELECT count(*) FROM trial_dep d JOIN trial u ON u.trial_id=d.upstream_id
    JOIN trial t ON t.trial_id=d.trial_id WHERE u.seed=t.seed AND d.alias="s1"')" "dependencies"
early=$(sqlite3 calm.db 'SELECT count(*) FROM trial_dep d JOIN attempt a ON a.trial_id=d.trial_id
    JOIN attempt u ON u.trial_id=d.upstream_id WHERE a.started < u.ended')
expect 0 "$early" "trials that began before what they need was over"
table calm.db > calm.txt

# Two seeds fail in the first stage: what needs them is blocked, nothing else; a retry runs both.
FAKE_PLAN='3=exit3' avs run two.yaml --db bad.db --keep-going 2> bad.err
expect 1 $? "exit with a failed stage"
expect "done=10 failed=2 " "$(stage_of bad.db up)" "first stage"
expect "blocked=2 done=10 " "$(stage_of bad.db down)" "second stage"
"$AVSWEEP" status --db bad.db | grep -q blocked || fail "status does not show what is blocked"
avs run two.yaml --db bad.db 2> again.err
expect "blocked=2 done=10 " "$(stage_of bad.db down)" "second stage without a retry"
avs run two.yaml --db bad.db --retry failed 2> retry.err || fail "retry"
expect "done 24 " "$(states bad.db)" "states after the retry"
table bad.db | cmp -s - calm.txt || fail "the table after a retry differs"

# kill -9 in the middle, then the same command.
for after in 3 9 14 20; do
    : > "$FAKE_LOG"
    FAKE_MS=8 avs_bg kill$after.err run two.yaml --db k$after.db
    for i in $(seq 500); do
        [ "$(grep -c ^done "$FAKE_LOG")" -ge "$after" ] && break
        sleep 0.01
    done
    kill -9 $bg
    wait $bg 2> /dev/null
    bg=
    no_leftovers
    avs run two.yaml --db k$after.db 2> resume$after.err || fail "resume after $after"
    sound k$after.db
    table k$after.db | cmp -s - calm.txt || fail "the table differs after a kill at $after"
done

# Real trials.
"$TOYS" src 5
"$TRIAL" data compose data --settings ms3 --classes 5 --size 32 --train 8 --val 4 --test 4 --seed 5 \
    --stamps src/stamps --backgrounds src/backgrounds --threads 2 > compose.log 2>&1 || fail "compose: $(tail -3 compose.log)"
cat > real.yaml <<END
avsweep: 1
name: real
base: {model: avesformer_mini, task: ms3, data_root: $dir/data, resolution: 32, num_queries: 4, embed_dim: 32,
       backbone_width: 8, eval_batch: 2, dropout: 0}
seeds: 2
objective: {metric: miou, mode: max}
resources: {cpus: 2}
stages:
  - {name: train, kind: train, base: {batch: 4, frames_per_clip: 2, steps: 6, eval_every: 6, lr_warmup_steps: 1}}
  - name: eval
    kind: eval
    base: {init: "\${t.checkpoint.best}"}
    needs: {t: {from: train, match: [seed]}}
END
"$AVSWEEP" run real.yaml --db real.db --walltime 2h > /dev/null 2> real.err &
bg=$!
for i in $(seq 600); do # killed when the first upstream trial is done
    [ "$(sqlite3 real.db "SELECT count(*) FROM trial WHERE state=2" 2> /dev/null || echo 0)" -ge 1 ] && break
    sleep 0.1
done
kill -9 $bg
wait $bg 2> /dev/null
bg=
"$AVSWEEP" run real.yaml --db real.db 2> real2.err || fail "real stages"
expect "done 4 " "$(states real.db)" "states of the real trials"
sound real.db
# The evaluation of a checkpoint is that of the training that made it.
sqlite3 real.db "SELECT t.seed, c.kind, printf('%.9f', r.value) FROM result r JOIN metric m USING(metric_id) JOIN trial t USING(trial_id)
    JOIN config c USING(config_id) WHERE m.name='miou' AND r.split='test' ORDER BY t.seed, c.kind" > scores
expect 4 "$(wc -l < scores)" "scores"
awk -F'|' '{ v[$1, $2] = $3 } END { exit v[0, "train"] != v[0, "eval"] || v[1, "train"] != v[1, "eval"] }' scores ||
    fail "the evaluations differ from the trainings: $(cat scores)"
no_leftovers
