#!/bin/bash
# A latency trial beside a busy process: measured three times, kept as suspect, out of the table; quiet ones are untouched.
. "$(dirname "$0")/../integration/lib.sh"
cat > timed.yaml <<END
avsweep: 1
name: timed
kind: latency
base: {model: avesformer, task: s4}
seeds: 1
END
cores=$(nproc)
export FAKE_PLAN="*=big" FAKE_MS=600

FAKE_MS=2 avs run timed.yaml --db short.db 2> short.err || fail "a short latency trial"
expect 1 "$(sqlite3 short.db 'SELECT count(*) FROM attempt')" "attempts of a trial too short to be judged"

noise=
for _ in $(seq "$cores"); do
    (while :; do :; done) &
    noise="$noise $!"
done
: > "$FAKE_LOG"
AVSWEEP_QUIET_WAIT=1 avs run timed.yaml --db noisy.db 2> noisy.err
rc=$?
kill -9 $noise
wait $noise 2> /dev/null
expect 0 $rc "exit beside busy processes"
expect "infra infra ok " "$(sqlite3 noisy.db 'SELECT name FROM attempt JOIN reason_name USING(reason) ORDER BY attempt_id' | tr '\n' ' ')" "ends of the attempts"
grep -q "the latency is suspect: shared.*it will be tried again" noisy.err || fail "nothing is said: $(cat noisy.err)"
expect "1 1" "$(sqlite3 -separator ' ' noisy.db 'SELECT shared, suspect FROM v_latency WHERE counts')" "flags of what is kept"
expect 3 "$(sqlite3 noisy.db 'SELECT count(*) FROM latency')" "samples of all three are kept"
[ "$(sqlite3 noisy.db "SELECT min(json_extract(clocks, '\$.node.disturbed') >= 1 AND json_extract(clocks, '\$.node.mean') > 0.2) FROM latency")" = 1 ] ||
    fail "the record of the node: $(sqlite3 noisy.db 'SELECT clocks FROM latency')"
"$AVSWEEP" report --db noisy.db --by model --metrics latency_p50 --format text > table.txt || fail "report"
grep -q "1 suspect" table.txt || fail "the table does not say that a suspect measurement is left out: $(cat table.txt)"
sound noisy.db
no_leftovers
