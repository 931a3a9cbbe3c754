#!/bin/bash
# One machine, no launcher: everything runs once, a second run has nothing to do, the traces are as documented.
. "$(dirname "$0")/lib.sh"
sweep demo 12
avs run demo.yaml --db out/r.db 2> run.err
expect 0 $? "exit of the first run"
expect "done 12 " "$(states out/r.db)" "states"
expect 24 "$(table out/r.db | wc -l)" "results"
expect 0 "$(cat out/r.db.exit)" "DB.exit"
[ -e out/r.db.lock ] && fail "the lease is still there"
expect 12 "$(grep -c ^start "$FAKE_LOG")" "attempts"
expect 60 "$(sqlite3 out/r.db 'SELECT count(*) FROM point')" "points"
[ -z "$(ls out/r.db.work/spool 2>/dev/null)" ] || fail "acknowledged results lie in the spool"
sound out/r.db

avs run demo.yaml --db out/r.db 2> again.err
expect 0 $? "exit of the second run"
expect 12 "$(grep -c ^start "$FAKE_LOG")" "attempts after the second run"
grep -q "12 of 12 trials are done already" again.err || fail "the second run does not say that all is done"

# The order of the default queue: seed 0 first.
sweep order 3
: > "$FAKE_LOG"
avs run order.yaml --db order.db --max-parallel 1 2> order.err || fail "one at a time"
expect "seed=0 seed=1 seed=2 " "$(grep ^start "$FAKE_LOG" | grep -o 'seed=[0-9]' | tr '\n' ' ')" "order"

# As users start it, no number of cores given: those of the machine.
sweep own 2
(unset AVSWEEP_CORES; avs run own.yaml --db own.db 2> own.err) || fail "cores of the machine"
expect "done 2 " "$(states own.db)" "states with the machine's cores"

# Looking at it.
expect 12 "$("$AVSWEEP" ls --db out/r.db | wc -l)" "lines of ls"
hash=$("$AVSWEEP" ls --db out/r.db | head -1 | cut -c1-8)
"$AVSWEEP" show "$hash" --db out/r.db > show.out || fail "show $hash"
grep -q "result    miou:test" show.out || fail "show prints no result"
"$AVSWEEP" status --db out/r.db > /dev/null || fail "status"
"$AVSWEEP" report --db out/r.db --by model,task --metrics miou --format csv > report.csv || fail "report"
grep -q avesformer report.csv || fail "the report has no row"

# --format json: every attempt's start and end and the end of the run, one object a line on stdout; -v says them on stderr.
sweep told 3 "retry_on: [error]"
FAKE_PLAN="1=error-new*1" avs run told.yaml --db told.db --format json -vv > told.json 2> told.err
expect 0 $? "exit with --format json"
python3 - << 'END' || fail "the JSON of run: $(cat told.json)"
import json
rows = [json.loads(line) for line in open("told.json")]
assert all("type" in r and r["v"] == 1 for r in rows)
starts, ends = ([r for r in rows if r["type"] == t] for t in ("start", "end"))
assert sorted(r["seed"] for r in starts) == [0, 1, 1, 2], starts
assert sorted((r["seed"], r["outcome"], r["state"]) for r in ends) == [
    (0, "done", "done"), (1, "done", "done"), (1, "error", "pending"), (2, "done", "done")], ends
assert len({r["attempt"] for r in ends}) == 4 and all(r["node"] for r in ends)
last = rows[-1]
assert (last["type"], last["code"], last["total"], last["done"]) == ("run", 0, 3, 3), last
END
expect 3 "$(grep -c "^trial .*: done on" told.err)" "done trials told with -v"
expect 4 "$(grep -c "^trial .* of 1 ranks on" told.err)" "starts told with -v"
grep -q "HELLO: 4 cores" told.err || fail "-vv tells no node: $(cat told.err)"
sweep gone 40
avs run gone.yaml --db gone.db --format json 2> gone.err | head -1 > /dev/null
expect 0 "${PIPESTATUS[0]}" "exit when nobody reads the JSON any more"
expect "done 40 " "$(states gone.db)" "states when nobody reads the JSON any more"

# The two programs keep to their libraries.
ldd "$AVSWEEP" | grep -qi dnnl && fail "avsweep links oneDNN"
trial=$(dirname "$AVSWEEP")/avsweep-trial
if [ -x "$trial" ]; then ldd "$trial" | grep -qiE 'libmpi|sqlite' && fail "avsweep-trial links MPI or SQLite"; fi
no_leftovers
