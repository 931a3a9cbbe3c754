#!/bin/bash
# Bad input ends in one clear line that names the file and the place, with its exit code, and nothing half written.
. "$(dirname "$0")/lib.sh"
sweep demo 2
sed 's/retries: 2/retrys: 2/' demo.yaml > typo.yaml
avs run typo.yaml --db t.db 2> typo.err
expect 3 $? "exit for an unknown key"
grep -q "typo.yaml:[0-9]*:[0-9]*: error\[E" typo.err || fail "no place is named: $(cat typo.err)"
ls t.db* 2> /dev/null && fail "a database was begun for an invalid file"
avs run absent.yaml --db t.db 2> absent.err
expect 3 $? "exit for a file that is not there"
grep -q absent.yaml absent.err || fail "absent.yaml is not named"

echo "not a database, but somebody's notes" > notes.db
cp notes.db before
avs run demo.yaml --db notes.db 2> notes.err
expect 4 $? "exit for a file that is no database"
grep -q notes.db notes.err || fail "notes.db is not named"
cmp -s notes.db before || fail "notes.db was changed"
[ -e notes.db.lock ] && fail "the lease is still there"
expect 4 "$(cat notes.db.exit)" "DB.exit"
[ -s fake.log ] && fail "a trial was started"

"$AVSWEEP" run demo.yaml --db x.db --trial-program ./nothing 2> prog.err
expect 70 $? "exit without the trial program"
[ -e x.db ] && fail "a database was begun without a trial program"
"$AVSWEEP" run demo.yaml 2> nodb.err
expect 2 $? "exit without --db"
"$AVSWEEP" runn demo.yaml 2> cmd.err
expect 2 $? "exit for an unknown command"
grep -q "did you mean 'run'" cmd.err || fail "no suggestion: $(cat cmd.err)"
"$AVSWEEP" run demo.yaml --dbb x 2> opt.err
grep -q "did you mean --db" opt.err || fail "no suggestion: $(cat opt.err)"
"$AVSWEEP" status --db nowhere.db 2> status.err
expect 4 $? "status of a database that is not there"
[ -e nowhere.db ] && fail "status made a database"

# A trial that fits no node.
sed 's/cpus: 1/cpus: 64/' demo.yaml > wide.yaml
avs run wide.yaml --db w.db 2> wide.err
expect 6 $? "exit when no node is large enough"
grep -q "error\[R006\]" wide.err || fail "no R006: $(cat wide.err)"

# Two coordinators at one time.
export FAKE_MS=100 FAKE_STEPS=30
avs_bg one.err run demo.yaml --db two.db
for i in $(seq 200); do [ -s "$FAKE_LOG" ] && break; sleep 0.02; done
avs run demo.yaml --db two.db 2> two.err
expect 4 $? "exit of the second coordinator"
grep -q "in use by avsweep pid" two.err || fail "the owner is not named: $(cat two.err)"
[ -e two.db.exit ] && fail "the second coordinator wrote DB.exit of the first"
kill -9 $bg
wait $bg 2> /dev/null
bg=
no_leftovers
export FAKE_MS=2
avs run demo.yaml --db two.db 2> three.err
expect 0 $? "run after the owner was killed"
sound two.db
