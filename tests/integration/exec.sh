#!/bin/bash
# External commands (kind: exec) with the real keeper: parameters reach them, their numbers reach the database, and a
# command that fails, hangs, is preempted, killed or talks rubbish costs its own attempts.
. "$(dirname "$0")/lib.sh"
FAKE=$(dirname "$AVSWEEP")/avsweep-trial # the real trial program
[ -x "$FAKE" ] || skip "built without the engine, so without avsweep-trial"
cat > train.sh << 'END'
#!/bin/bash
# train.sh LR SEED HOW: a user's training script
echo "lr=$1 seed=$2 how=$3 work=$AVSWEEP_WORK_DIR" >> "$TEST_LOG"
grep -q '"lr":'"$1" "$AVSWEEP_PARAMS" || exit 9
n=$(cat "$AVSWEEP_WORK_DIR/tries" 2> /dev/null || echo 0)
echo $((n + 1)) > "$AVSWEEP_WORK_DIR/tries"
for i in 1 2 3; do echo "{\"step\": $i, \"steps\": 3, \"loss\": 0.$((5 - i))}" >&3; done
case $3 in
fails) echo "cannot find the data" >&2; exit 3 ;;
says) echo '{"error": "class 7 has no pictures"}' >&3; exit 1 ;;
crashes) kill -SEGV $$ ;;
killed) kill -9 $$ ;;
hangs) sleep 300 ;;
late) while :; do echo '{"step": 4, "loss": 0.1}' >&3; sleep 0.1; done ;;
mute) exit 0 ;;
nan) echo '{"result": {"miou": NaN}}' >&3; exit 0 ;;
once) [ "$n" -ge 1 ] || exit 4 ;;
preempted) [ "$n" -ge 1 ] || exit 75 ;;
garbage) echo "not json" >&3; echo '{"step": "x"}' >&3; echo '[1]' >&3; head -c 10000000 /dev/zero | tr '\0' x >&3; echo >&3; printf '\377\n' >&3
    echo '{"step": 5, "loss": NaN, "acc": 0.5}' >&3 ;;
esac
echo '{"result": {"miou": {"value": 0.5, "unit": "fraction", "better": 1}, "fscore": 0.25}, "split": "test"}' >&3
echo "weights" > "$AVSWEEP_WORK_DIR/model.pt"
echo "{\"artifact\": \"$AVSWEEP_WORK_DIR/model.pt\", \"kind\": \"model\"}" >&3
END
chmod +x train.sh
export TEST_LOG=$dir/test.log
: > "$TEST_LOG"
cat > x.yaml << 'END'
avsweep: 1
name: x
kind: exec
vars: {script: ./train.sh}
base: {model: mynet, command: ["${script}", "${lr}", "${seed}", "${how}"], lr: 0.1}
sweep:
  - grid: {how: [fine, fails, says, crashes, killed, hangs, late, mute, nan, once, preempted, garbage]}
seeds: [7]
objective: {metric: miou, mode: max}
resources: {cpus: 1}
limits: {hang: 2s, time: 6s, retries: 1, retry_on: [crash, error, hang]}
END
"$AVSWEEP" check x.yaml || fail "check"
avs run x.yaml --db r.db 2> run.err
expect 1 $? "exit"
sound r.db
how() { sqlite3 -separator ' ' r.db "SELECT n.name, t.attempts FROM trial t JOIN config c USING(config_id) JOIN state_name n USING(state) WHERE json_extract(c.params,'\$.how')='$1'"; }
why() { sqlite3 r.db "SELECT r.name || ': ' || a.message FROM attempt a JOIN reason_name r USING(reason) JOIN trial USING(trial_id) JOIN config c USING(config_id) WHERE json_extract(c.params,'\$.how')='$1' ORDER BY a.n LIMIT 1"; }
for h in "fine done 1" "fails failed 2" "says failed 2" "crashes failed 2" "killed failed 2" "hangs failed 2" "late failed 1" "mute failed 2" \
    "nan failed 2" "once done 2" "preempted done 2" "garbage done 1"; do
    expect "${h#* }" "$(how ${h%% *})" "state and attempts of '${h%% *}' ($(why ${h%% *}))"
done
case "$(why fails)" in *"ended with status 3"*) ;; *) fail "fails: $(why fails)" ;; esac
expect "error: class 7 has no pictures" "$(why says)" "says"
case "$(why crashes)" in *"signal 11"*) ;; *) fail "crashes: $(why crashes)" ;; esac
case "$(why hangs)" in "hang: no progress for 2 s"*) ;; *) fail "hangs: $(why hangs)" ;; esac
case "$(why late)" in "timeout: "*) ;; *) fail "late: $(why late)" ;; esac
case "$(why mute)" in *"never reported the objective 'miou'"*) ;; *) fail "mute: $(why mute)" ;; esac
case "$(why nan)" in *"no finite number"*) ;; *) fail "nan: $(why nan)" ;; esac
pgrep -f "$dir/train.sh" > /dev/null && fail "a command outlives its trial"
value() { sqlite3 r.db "SELECT $2 FROM result JOIN metric m USING(metric_id) JOIN trial USING(trial_id) JOIN config c USING(config_id) WHERE m.name='$1' AND json_extract(c.params,'\$.how')='fine'"; }
expect "0.5 test fraction 1" "$(value miou "value || ' ' || split || ' ' || unit || ' ' || better")" "the result with its unit"
expect 0.25 "$(value fscore value)" "the bare result"
expect 3 "$(sqlite3 r.db "SELECT count(*) FROM point JOIN attempt USING(attempt_id) JOIN trial USING(trial_id) JOIN config c USING(config_id) WHERE json_extract(c.params,'\$.how')='fine'")" "points"
expect "model 8" "$(sqlite3 -separator ' ' r.db "SELECT f.kind, f.bytes FROM artifact f JOIN attempt USING(attempt_id) JOIN trial USING(trial_id) JOIN config c USING(config_id) WHERE json_extract(c.params,'\$.how')='fine'")" "the artefact"
grep -q "lr=0.1 seed=7 how=fine" "$TEST_LOG" || fail "the parameters do not reach the command"
log=$(sqlite3 r.db "SELECT log_path FROM attempt JOIN trial USING(trial_id) JOIN config c USING(config_id) WHERE json_extract(c.params,'\$.how')='garbage'")
grep -q "line 4 on fd 3 was not used: it is no JSON\|line 4 on fd 3 was not used" "$log" || fail "rubbish is not noted in the log"
grep -q "longer than 1 MiB" "$log" || fail "the long line is not noted in the log"
[ "$(stat -c %s "$log")" -lt 100000 ] || fail "the long line went into the log"
expect 0.5 "$(sqlite3 r.db "SELECT value FROM point JOIN metric m USING(metric_id) WHERE m.name='acc'")" "a value beside a NaN"
[ -n "$(sqlite3 r.db "SELECT code_fp FROM env WHERE code_fp<>'' LIMIT 1")" ] || fail "no code fingerprint"
"$AVSWEEP" report --db r.db --by how --metrics miou --format csv > report.csv || fail "report"
grep -q "fine" report.csv || fail "the report has no row"
"$AVSWEEP" ls --db r.db --where "how == 'fine' and lr < 1" > /dev/null || fail "ls by a parameter"

# The same numbers from stdout, mixed with ordinary output; nothing runs twice.
cat > s.yaml << 'END'
avsweep: 1
name: s
kind: exec
base: {command: [sh, -c, "echo starting; echo '{\"step\": 1, \"acc\": 0.5}'; echo '{broken'; head -c 3000000 /dev/zero | tr '\\0' y; echo; echo '{\"step\": 2, \"acc\": 0.75}'; echo bye"], metrics: stdout}
objective: {metric: acc, mode: max}
resources: {cpus: 1}
END
avs run s.yaml --db s.db 2> s.err
expect 0 $? "exit with metrics on stdout"
expect 0.75 "$(sqlite3 s.db "SELECT value FROM result")" "the last value is the result where no result was written"
grep -q starting "$("$AVSWEEP" show "$("$AVSWEEP" ls --db s.db | cut -c1-12)" --db s.db | sed -n 's/^  log //p')" || fail "stdout is not in the log"
avs run s.yaml --db s.db 2> s2.err
grep -q "1 of 1 trials are done already" s2.err || fail "the second run does not say that all is done"

# SIGINT: the command gets SIGTERM, writes its state, exits 75, and goes on from there in the next run.
cat > slow.sh << 'END'
#!/bin/bash
from=$(cat "$AVSWEEP_WORK_DIR/step" 2> /dev/null || echo 0)
trap 'echo $i > "$AVSWEEP_WORK_DIR/step"; echo "{\"checkpoint\": \"$AVSWEEP_WORK_DIR/step\", \"step\": $i}" >&3; exit 75' TERM
[ "$from" -gt 0 ] && echo "{\"resumed\": \"$AVSWEEP_WORK_DIR/step\", \"step\": $from}" >&3
for ((i = from; i < 30; i++)); do echo "{\"step\": $i, \"acc\": 0.$i}" >&3; sleep 0.1 & wait $!; done
END
chmod +x slow.sh
cat > d.yaml << 'END'
avsweep: 1
name: d
kind: exec
base: {command: [./slow.sh]}
objective: {metric: acc, mode: max}
resources: {cpus: 1}
limits: {grace: 5s}
END
avs_bg d.err run d.yaml --db d.db
for i in $(seq 300); do [ "$(sqlite3 -readonly d.db 'SELECT count(*) FROM point' 2> /dev/null || echo 0)" -ge 3 ] && break; sleep 0.05; done
kill -INT $bg
wait $bg
expect 75 $? "exit after SIGINT"
bg=
[ -s d.db.work/trials/*/step ] || fail "the command wrote no state"
avs run d.yaml --db d.db 2> d2.err
expect 0 $? "exit of the second run"
expect "done 1 " "$(states d.db)" "states"
expect 30 "$(sqlite3 d.db "SELECT count(DISTINCT step) FROM point")" "steps over both attempts"
[ -n "$(sqlite3 d.db "SELECT resumed_from FROM attempt WHERE n=2")" ] || fail "the second attempt did not say that it resumes"
sound d.db

# logs -f shows lines as they are written, and ends with the attempt.
cat > talk.yaml << 'END'
avsweep: 1
name: talk
kind: exec
base: {command: [sh, -c, 'echo first; while [ ! -e "$TEST_GATE" ]; do sleep 0.05; done; echo second; echo "{\"result\": {\"acc\": 0.5}}" >&3']}
resources: {cpus: 1}
END
export TEST_GATE=$dir/gate
avs_bg talk.err run talk.yaml --db talk.db
for i in $(seq 300); do sqlite3 -readonly talk.db "SELECT 1 FROM attempt" 2> /dev/null | grep -q 1 && break; sleep 0.02; done
"$AVSWEEP" logs "$("$AVSWEEP" ls --db talk.db | cut -c1-12)" -f --db talk.db > live.txt 2> live.err &
follower=$!
for i in $(seq 300); do grep -q first live.txt && break; sleep 0.02; done
grep -q first live.txt || fail "logs -f shows nothing while the trial runs"
grep -q second live.txt && fail "the gate does not hold"
touch gate
wait $bg
expect 0 $? "exit of the run that is followed"
bg=
wait $follower
expect 0 $? "exit of logs -f"
expect "first second " "$(tr '\n' ' ' < live.txt)" "what logs -f showed"

# Signs that mean something to a shell or to SQL are text in every parameter, on the way to the command and back.
cat > signs.sh << 'END'
#!/bin/bash
printf '%s\n' "$@" > "$AVSWEEP_WORK_DIR/seen"
cmp -s "$AVSWEEP_WORK_DIR/seen" "$TEST_WANT" || exit 9
echo '{"result": {"it'"'"'s; DROP TABLE result;--": 1, "acc": 0.5}}' >&3
END
chmod +x signs.sh
cat > signs.yaml << 'END'
avsweep: 1
name: signs
kind: exec
base:
  command: [./signs.sh, "${a}", "${b}", "${c}", "$(touch pwned)", "`touch pwned`; touch pwned"]
  model: "Robert'); DROP TABLE trial;--"
  task: "%s %n {} \\ \" <script>&"
  a: "'; DELETE FROM attempt; --"
  b: "$HOME $(touch pwned) | > pwned & * ? ~ !"
  c: "Ünïcödé 漢字 \u202e\U0001F600"
resources: {cpus: 1}
END
export TEST_WANT=$dir/want
printf '%s\n' "'; DELETE FROM attempt; --" '$HOME $(touch pwned) | > pwned & * ? ~ !' "Ünïcödé 漢字 $(printf '\u202e\U0001F600')" \
    '$(touch pwned)' '`touch pwned`; touch pwned' > want
avs run signs.yaml --db "it's a \$(touch pwned); db" 2> signs.err
expect 0 $? "exit with odd signs: $(cat signs.err)"
db="it's a \$(touch pwned); db"
sound "$db"
hash=$("$AVSWEEP" ls --db "$db" --where "model == \"Robert'); DROP TABLE trial;--\"" | cut -c1-12)
[ -n "$hash" ] || fail "the trial is not found by its model"
"$AVSWEEP" ls --db "$db" --metrics "it's; DROP TABLE result;--,acc" | grep -q "DROP TABLE result;-- 1  acc 0.5" || fail "a metric with odd signs"
"$AVSWEEP" show "$hash" --db "$db" | grep -qF "Robert'); DROP TABLE trial;--" || fail "show of odd signs"
for f in html latex md csv json text; do
    "$AVSWEEP" report --by model,c --metrics acc --format $f --db "$db" > "odd.$f" 2> odd.err || fail "report as $f with odd signs: $(cat odd.err)"
done
grep -q "<script>" odd.html && grep -qF '\ " <script>&' odd.html && fail "a parameter is markup in HTML"
grep -q "漢字" odd.md || fail "UTF-8 in Markdown"
"$AVSWEEP" repro "$hash" --db "$db" > signs.run || fail "repro of odd signs"
sh signs.run > signs.out 2>&1 || fail "the printed script does not run: $(cat signs.out)"
"$AVSWEEP" cancel "a == \"'; DELETE FROM attempt; --\"" --db "$db" 2> odd.err
expect 2 $? "exit of cancel of a trial that is done"
[ -z "$(find . -name 'pwned*')" ] || fail "a parameter was run by a shell"

# What is wrong with a sweep of commands is said with its place.
for bad in 's/"${lr}"/"${lrr}"/' 's/base: {model: mynet, command/base: {model: mynet, commond/' 's/lr: 0.1/seed: 1/' 's/lr: 0.1/metrics: stderr/' 's/lr: 0.1/lr: {a: 1}/'; do
    sed "$bad" x.yaml > bad.yaml
    "$AVSWEEP" check bad.yaml 2> bad.txt
    expect 3 $? "exit of check for $bad"
    grep -q "bad.yaml:[0-9]*:[0-9]*: error\[E" bad.txt || fail "$bad: no place: $(cat bad.txt)"
done
sed 's/"${lr}"/"${lrr}"/' x.yaml > bad.yaml
"$AVSWEEP" check bad.yaml 2>&1 | grep -q "did you mean '\${lr}'" || fail "no suggestion for a parameter"
sed -e 's|./train.sh|./nothing.sh|' -e 's/how: \[.*\]/how: [fine]/' x.yaml > gone.yaml
avs run gone.yaml --db gone.db 2> gone.err
expect 1 $? "exit where the program is not there"
grep -q "nothing.sh: No such file" gone.err || fail "a program that is not there is not named"

# The example of the manual, where PyTorch is installed.
example=$(dirname "$(readlink -f "$0")")/../../docs/examples/pytorch
python3 -c 'import torch' 2> /dev/null || export PATH=/usr/bin:$PATH
python3 -c 'import torch' 2> /dev/null || { echo "PyTorch is not installed: its example was not run"; exit 0; }
cp "$example"/* .
avs run sweep.yaml --db torch.db 2> torch.err
expect 0 $? "exit of the PyTorch example"
expect "done 4 " "$(states torch.db)" "states of the PyTorch example"
[ "$(sqlite3 torch.db "SELECT min(value) > 0.6 FROM result JOIN metric USING(metric_id) WHERE name='accuracy'")" = 1 ] || fail "the example learns nothing"
