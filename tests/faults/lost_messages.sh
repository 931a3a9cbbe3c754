#!/bin/bash
# A START, a GO or a STOP that never arrives is noticed from the beats and made good within the same run.
. "$(dirname "$0")/../integration/lib.sh"
sweep demo 6
FAKE_MS=2 avs run demo.yaml --db calm.db 2> calm.err || fail "undisturbed run"
table calm.db > calm.txt

: > "$FAKE_LOG"
AVSWEEP_FAULT="drop:start:after=1" avs run demo.yaml --db start.db 2> start.err
expect 0 $? "exit after a lost START"
expect "done 6 " "$(states start.db)" "states after a lost START"
expect 6 "$(grep -c ^start "$FAKE_LOG")" "processes: the lost one never was"
expect 1 "$(sqlite3 start.db "SELECT count(*) FROM attempt JOIN reason_name USING(reason) WHERE name='lost'")" "lost attempts"
grep -q "a message was lost on the way" start.err || fail "nothing is said about the lost START"
table start.db | cmp -s - calm.txt || fail "START: another table"
sound start.db

: > "$FAKE_LOG"
cat > pair.yaml <<END
avsweep: 1
name: pair
kind: train
base: {model: avesformer_mini, task: ms3}
seeds: 1
resources: {gpus: 2, cpus: 2}
END
AVSWEEP_FAULT="drop:go:after=0" avs run pair.yaml --db go.db 2> go.err
expect 0 $? "exit after a lost GO"
expect "1 attempt" "$(sqlite3 go.db 'SELECT count(*) FROM attempt') attempt" "the gang went on"
expect 2 "$(grep -c ^start "$FAKE_LOG")" "processes of the gang"
sound go.db
no_leftovers
