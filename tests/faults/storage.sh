#!/bin/bash
# What storage can do to a run: EIO and a full disk in the middle, a read-only database, a log folder that vanishes, a
# second coordinator, a database of a newer version. Injected by AVSWEEP_FAULT where the kernel cannot be asked for it.
. "$(dirname "$0")/../integration/lib.sh"
export FAKE_MS=4
sweep demo 40
avs run demo.yaml --db calm.db 2> calm.err
expect 0 $? "undisturbed run"
table calm.db > calm.txt

for fault in eio:db:after=140 eio:db:after=200 enospc:db:after=170; do
    rm -rf r.db*
    AVSWEEP_FAULT=$fault avs run demo.yaml --db r.db 2> fault.err
    expect 4 $? "exit with $fault"
    grep -q "error\[D001\]" fault.err || fail "$fault: the code is not told"
    grep -q "r.db" fault.err || fail "$fault: the path is not told"
    grep -q "help: " fault.err || fail "$fault: no help"
    [ -e r.db.lock ] && fail "$fault: the lease is still there"
    expect 4 "$(cat r.db.exit)" "$fault: DB.exit"
    no_leftovers
    sound r.db
    avs run demo.yaml --db r.db 2> again.err
    expect 0 $? "$fault: the same command again"
    table r.db | cmp -s - calm.txt || fail "$fault: the table differs from the undisturbed run"
    sound r.db
done
AVSWEEP_FAULT=eio:db avs run demo.yaml --db x.db 2> bad.err
expect 2 $? "exit for a fault that is none"
[ -e x.db ] && fail "a database was begun"

# The words kill:..: a trial costs an attempt, a coordinator costs the run.
AVSWEEP_FAULT=kill:trial=5:after=0 avs run demo.yaml --db k.db 2> k.err
expect 1 $? "exit when one trial is killed each time"
expect 3 "$(sqlite3 k.db "SELECT attempts FROM trial WHERE seed=5")" "attempts of the killed trial"
AVSWEEP_FAULT=kill:coordinator:after=0.3s avs run demo.yaml --db c.db --max-parallel 1 2> c.err
expect 137 $? "exit of a killed coordinator"
no_leftovers
avs run demo.yaml --db c.db 2> c2.err
expect 0 $? "the same command again"
table c.db | cmp -s - calm.txt || fail "after the coordinator's death: another table"

# The folder of the logs vanishes in the middle: it is made again.
: > "$FAKE_LOG"
avs_bg l.err run demo.yaml --db l.db --max-parallel 2
for i in $(seq 300); do [ "$(grep -c ^done "$FAKE_LOG")" -ge 8 ] && break; sleep 0.01; done
mv l.db.work/logs vanished
wait $bg
expect 0 $? "exit after the logs vanished"
bg=
[ -d l.db.work/logs ] || fail "the logs were not begun again"
table l.db | cmp -s - calm.txt || fail "after the logs vanished: another table"
"$AVSWEEP" logs "$("$AVSWEEP" ls --db l.db | head -1 | cut -c1-12)" --db l.db 2> log.err
[ $? = 0 ] || grep -q "No such file" log.err || fail "logs of a trial whose log is gone: $(cat log.err)"

# Two coordinators: the second is refused by name, also while the first is stopped.
: > "$FAKE_LOG"
FAKE_MS=50 avs_bg one.err run demo.yaml --db t.db --max-parallel 2
for i in $(seq 300); do [ "$(grep -c ^done "$FAKE_LOG")" -ge 2 ] && break; sleep 0.01; done
avs run demo.yaml --db t.db 2> two.err
expect 4 $? "exit of a second coordinator"
grep -q "error\[D002\].*t.db is in use by avsweep pid $bg on $(hostname)" two.err || fail "the owner is not named: $(cat two.err)"
kill -STOP $bg
avs run demo.yaml --db t.db 2> two.err
expect 4 $? "exit of a second coordinator beside a stopped one"
kill -CONT $bg
wait $bg
expect 0 $? "exit of the first coordinator"
bg=
table t.db | cmp -s - calm.txt || fail "two coordinators: another table"
sound t.db

# A newer database is left alone by a run and is not changed by a look.
cp k.db newer.db # one trial of it has failed
sqlite3 newer.db "PRAGMA user_version=99; UPDATE meta SET value='99' WHERE key='schema_version'"
before=$(sha256sum < newer.db)
avs run demo.yaml --db newer.db 2> newer.err
expect 4 $? "exit for a newer database"
grep -q "newer.db.*\(newer\|99\)" newer.err || fail "the version is not told: $(cat newer.err)"
"$AVSWEEP" retry "seed == 5" --db newer.db 2> newer.err
expect 4 $? "exit of retry for a newer database"
[ "$before" = "$(sha256sum < newer.db)" ] || fail "a newer database was changed"

# Read-only: a folder that cannot be written, in a mount name space of our own.
cat > ro.sh << 'END'
mkdir -p ro && mount -t tmpfs none ro && cp k.db ro/r.db && mount -o remount,ro ro || exit 77
"$AVSWEEP" run demo.yaml --db ro/r.db --trial-program "$FAKE" 2> ro.err
[ $? = 4 ] || { echo "run says $? on a read-only volume: $(cat ro.err)"; exit 1; }
grep -qi "read-only" ro.err || { echo "the reason is not told: $(cat ro.err)"; exit 1; }
"$AVSWEEP" retry "seed == 5" --db ro/r.db 2> ro2.err
[ $? = 4 ] || { echo "retry on a read-only volume: $(cat ro2.err)"; exit 1; }
"$AVSWEEP" status --db ro/r.db > ro.txt 2> ro3.err || { echo "status does not read a read-only volume: $(cat ro3.err)"; exit 1; }
grep -q "39/40 done" ro.txt
END
if unshare -Urm true 2> /dev/null; then
    unshare -Urm bash ro.sh > ro.out 2>&1
    rc=$?
    [ $rc = 77 ] && echo "no tmpfs: the read-only volume was not tried"
    [ $rc = 0 ] || [ $rc = 77 ] || fail "read-only: $(cat ro.out)"
else
    echo "mount name spaces cannot be made (unshare -Urm): the read-only volume was not tried"
fi
exit 0
