#!/bin/bash
# retry, cancel, pause and prioritise while a run goes on: it takes the wish within a second, and the database agrees.
. "$(dirname "$0")/lib.sh"
sweep demo 12
export FAKE_MS=60 FAKE_STEPS=5 AVSWEEP_DB=r.db
a() { "$AVSWEEP" "$@"; }
state() { sqlite3 -readonly r.db "SELECT n.name FROM trial t JOIN state_name n USING(state) WHERE seed=$1"; }
FAKE_PLAN="0=exit3" avs_bg run.err run demo.yaml --max-parallel 1
for i in $(seq 300); do [ "$(grep -c ^start "$FAKE_LOG")" -ge 2 ] && break; sleep 0.02; done
begin=$(date +%s%N)
a cancel "seed in [8, 9]" 2> c.err || fail "cancel"
[ $((($(date +%s%N) - begin) / 1000000)) -lt 1500 ] || fail "the run took more than a second to see the wish"
grep -q "2 trials, taken by the run" c.err || fail "cancel does not say who took it: $(cat c.err)"
a pause "seed == 7" --json 2> /dev/null | grep -q '"verb":"pause".*"live":true' || fail "pause --json"
a prioritise "seed == 11" --priority 5 2> p.err || fail "prioritise"
echo "{nonsense" > r.db.commands/00000000000000000001-1.json
a retry "seed == 9" 2> r.err || fail "retry of a cancelled trial"
wait $bg
rc=$?
bg=
expect 75 $rc "exit with a paused trial left"
expect "cancelled done paused" "$(state 8) $(state 9) $(state 7)" "states of cancelled, retried, paused"
expect "seed=11 seed=6 " "$(grep ^start "$FAKE_LOG" | grep -o 'seed=11 \|seed=6 ' | tr -d '\n')" "the prioritised trial comes before others"
expect 5.0 "$(sqlite3 r.db "SELECT priority FROM trial WHERE seed=11")" "stored priority"
expect 0 "$(grep -c "seed=[78] " "$FAKE_LOG")" "starts of the cancelled and the paused trial"
[ -e r.db.commands/00000000000000000001-1.json.bad ] || fail "a broken file is not put aside"
grep -q "is put aside" run.err || fail "a broken file is not told"
[ -z "$(ls r.db.commands | grep 'json$')" ] || fail "wishes lie around: $(ls r.db.commands)"
expect 4 "$(sqlite3 r.db "SELECT count(*) FROM event WHERE code IN ('cancel', 'pause', 'prioritise', 'retry')")" "events"
sound r.db

# The next run leaves cancelled and paused trials alone; after retry it does them.
before=$(grep -c ^start "$FAKE_LOG")
avs run demo.yaml 2> again.err
expect "cancelled paused" "$(state 8) $(state 7)" "states after the second run"
expect "$before" "$(grep -c ^start "$FAKE_LOG")" "starts of the second run"
a retry "state in ['cancelled', 'paused', 'failed']" 2> r2.err || fail "retry without a run"
avs run demo.yaml 2> third.err
expect 0 $? "exit of the third run"
expect "done 12 " "$(states r.db)" "states at the end"
sound r.db

# A running trial that is paused writes its checkpoint and goes on from there when it is retried.
: > "$FAKE_LOG"
FAKE_MS=50 FAKE_STEPS=200 avs_bg pause.err run demo.yaml --db p.db --max-parallel 1
for i in $(seq 300); do [ "$(grep -c ^start "$FAKE_LOG")" -ge 1 ] && break; sleep 0.02; done
seed=$(sed -n 's/^start.*seed=\([0-9]*\) .*/\1/p' "$FAKE_LOG" | head -1)
for i in $(seq 100); do sqlite3 -readonly p.db "SELECT 1 FROM trial JOIN state_name USING(state) WHERE seed=$seed AND name='running'" 2> /dev/null | grep -q 1 && break; sleep 0.02; done
a pause "seed == $seed" --db p.db 2> pc.err || fail "pause of a running trial: $(cat pc.err)"
for i in $(seq 300); do sqlite3 -readonly p.db "SELECT 1 FROM trial JOIN state_name USING(state) WHERE seed=$seed AND name='paused'" | grep -q 1 && break; sleep 0.02; done
expect "paused" "$(sqlite3 -readonly p.db "SELECT name FROM trial JOIN state_name USING(state) WHERE seed=$seed")" "state of a running trial that was paused"
grep -q "^stopped.*seed=$seed " "$FAKE_LOG" || fail "the paused trial wrote no checkpoint"
expect "paused" "$(sqlite3 -readonly p.db "SELECT r.name FROM attempt a JOIN reason_name r USING(reason) JOIN trial USING(trial_id) WHERE seed=$seed")" "the end of its attempt"
a cancel "seed != $seed" --db p.db --no-input 2> /dev/null || fail "cancel of the others"
wait $bg
expect 75 $? "exit with a paused trial left"
bg=
a retry "seed == $seed" --db p.db 2> /dev/null || fail "retry of what was paused while it ran"
avs run demo.yaml --db p.db 2> p2.err
expect "done" "$(sqlite3 p.db "SELECT name FROM trial JOIN state_name USING(state) WHERE seed=$seed")" "state after the retry"
sound p.db

# A running trial that is cancelled ends, and what it needs is not asked on a pipe.
: > "$FAKE_LOG"
FAKE_PLAN='*=hang' avs_bg hang.err run demo.yaml --db h.db --max-parallel 1
for i in $(seq 300); do [ "$(grep -c ^start "$FAKE_LOG")" -ge 1 ] && break; sleep 0.02; done
for i in $(seq 100); do [ "$(sqlite3 -readonly h.db "SELECT count(*) FROM trial JOIN state_name USING(state) WHERE name='running'" 2> /dev/null)" = 1 ] && break; sleep 0.02; done
a cancel "model == 'avesformer'" --db h.db 2> hc.err < /dev/null || fail "cancel of everything: $(cat hc.err)"
wait $bg
expect 1 $? "exit after everything was cancelled"
bg=
expect "cancelled 12 " "$(states h.db)" "states after everything was cancelled"
no_leftovers
sound h.db
