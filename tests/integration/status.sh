#!/bin/bash
# status: one screen, its numbers, JSON, and the live view: a line now and then in a pipe, the whole screen on a terminal.
. "$(dirname "$0")/lib.sh"
a() { "$AVSWEEP" "$@"; }
cat > demo.yaml << 'END'
avsweep: 1
name: demo
kind: noop
base: {model: avesformer, task: s4}
sweep: [{grid: {num_queries: [8, 16]}}]
seeds: 5
objective: {metric: miou, mode: max}
resources: {cpus: 1}
limits: {retries: 1}
END
FAKE_PLAN="3=exit3,4=error" avs run demo.yaml --db r.db 2> run.err
expect 1 $? "exit"
a status --db r.db > s.txt || fail "status"
[ "$(wc -l < s.txt)" -le 24 ] || fail "more than one screen"
grep -q "^demo \[#*x*\.*\] 6/10 done, 4 failed" s.txt || fail "the bar: $(head -1 s.txt)"
grep -q "^run     none" s.txt || fail "who runs"
grep -q "^best    miou .* num_queries=\(8\|16\)" s.txt || fail "the best"
grep -q "crash 4x, last .*exit status 3" s.txt || fail "failures by cause: $(cat s.txt)"
grep -q "error 2x, last .*not a PNG" s.txt || fail "the second cause"
a status --db r.db --color always | grep -q $'\x1b\[32m' || fail "--color always"
a status --db r.db | grep -q $'\x1b' && fail "colours in a pipe"
a status --db r.db --json > s.json || fail "--json"
grep -q '"type":"status","v":1,"sweep":"demo","total":10,.*"done":6.*"failed":4' s.json || fail "JSON: $(head -1 s.json)"
expect 2 "$(grep -c '"type":"failure"' s.json)" "causes in JSON"
a status --db r.db --sweep demo | grep -q "6/10" || fail "--sweep"
a status --db r.db --sweep other 2> o.err
expect 2 $? "exit for another sweep"

# The label of the best names what differs within its sweep, whatever else the database holds.
sed -e 's/^name: demo/name: wide/' -e 's/task: s4/task: s4, resolution: 384/' -e 's/^seeds: 5/seeds: 1/' demo.yaml > wide.yaml
avs run wide.yaml --db r.db 2> wide.err || fail "another sweep in the same database"
a status --db r.db | grep -q "resolution=" || fail "over all sweeps the resolution differs"
a status --db r.db --sweep demo > own.txt || fail "status of demo"
grep -q "num_queries=" own.txt || fail "the label of demo: $(cat own.txt)"
grep -q "resolution=" own.txt && fail "the label of demo names what another sweep varies: $(grep best own.txt)"

# In a pipe: a line now and then, ended by the end of the run.
export FAKE_MS=60
avs_bg run2.err run demo.yaml --db w.db
for i in $(seq 300); do [ -s w.db ] && [ "$(grep -c ^start "$FAKE_LOG")" -ge 13 ] && break; sleep 0.02; done
timeout 30 "$AVSWEEP" status --watch --every 0.1s --db w.db > lines.txt || fail "--watch in a pipe"
wait $bg
bg=
[ "$(wc -l < lines.txt)" -ge 3 ] || fail "too few lines: $(cat lines.txt)"
grep -q "/10 done.*running" lines.txt || fail "no line shows running trials"
tail -1 lines.txt | grep -q "^10/10 done$" || fail "the last line: $(tail -1 lines.txt)"
grep -q $'\x1b' lines.txt && fail "control codes in a pipe"
a status --db w.db | grep -q "ETA" || fail "ETA"

# On a terminal: the alternate screen, cut to its width, resized, left by q. script(1) lends a terminal.
command -v script > /dev/null || { echo "no script(1): the full screen was not tried"; exit 0; }
export FAKE_MS=400 TERM=xterm
: > "$FAKE_LOG"
avs_bg run3.err run demo.yaml --db t.db
for i in $(seq 300); do [ "$(grep -c ^start "$FAKE_LOG")" -ge 2 ] && break; sleep 0.02; done
(sleep 1.2; printf q) | timeout 20 script -qec "stty cols 60 rows 12; '$AVSWEEP' status --watch --every 0.2s --db t.db; echo left \$?" typescript > /dev/null
expect "left 0" "$(grep -o 'left [0-9][0-9]*' typescript)" "exit after q"
grep -q $'\x1b\[?1049h' typescript || fail "the alternate screen is not entered"
grep -q $'\x1b\[?1049l' typescript || fail "the alternate screen is not left"
grep -q $'\x1b\[?25h' typescript || fail "the cursor stays hidden"
[ "$(grep -c $'\x1b\[H' typescript)" -ge 3 ] || fail "fewer than three frames"
[ "$(grep -o $'\x1b\[2J' typescript | wc -l)" = 1 ] || fail "the screen is cleared while it is drawn"
grep -q "running" typescript || fail "no running trial is shown"
sed 's/\x1b\[[0-9;?]*[a-zA-Z]//g' typescript | tr -d '\r' | grep "on .*seed" | awk 'length > 60 { exit 1 }' || fail "a line is wider than the terminal"
kill -INT $bg
wait $bg
bg=
no_leftovers
