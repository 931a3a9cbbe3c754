#!/bin/bash
# The volume of the database fills up in the middle of a run: nothing committed is lost, the run ends with 4 and says why,
# and with room again the same command does the rest. The volume is a small tmpfs in a private mount name space.
if [ "${1:-}" != inside ]; then
    unshare -Urm true 2> /dev/null || { echo "SKIPPED: mount name spaces cannot be made (unshare -Urm)"; exit 77; }
    exec unshare -Urm "$0" inside
fi
. "$(dirname "$0")/../integration/lib.sh"
export FAKE_MS=5
sweep demo 160
avs run demo.yaml --db calm.db 2> calm.err
expect 0 $? "undisturbed run"
mkdir small work
mount -t tmpfs -o size=2m none small || skip "no tmpfs"
ln -s "$dir/work" small/r.db.work # only the database lies on the small volume
: > "$FAKE_LOG"
avs_bg run.err run demo.yaml --db small/r.db
kept() { sqlite3 -readonly small/r.db "SELECT count(*) FROM attempt WHERE reason=1" 2> /dev/null || echo 0; }
for i in $(seq 300); do [ "$(kept)" -ge 1 ] && break; sleep 0.01; done # fill it up only when something is committed
dd if=/dev/zero of=small/filler bs=1k 2> /dev/null
wait $bg
expect 4 $? "exit on a full volume"
bg=
grep -q "error\[D001\].*full" run.err || fail "the reason is not told"
grep -q "small/r.db: 0.0 MiB are free on its volume; the [0-9]* trials that are left need about [1-9][0-9.]* MiB there" run.err || fail "the room that is needed is not told"
no_leftovers
rm small/filler
mount -o remount,size=64m small # room for the write-ahead log too
sound small/r.db
done_before=$(sqlite3 small/r.db "SELECT count(*) FROM attempt WHERE reason=1")
[ "$done_before" -ge 1 ] || fail "nothing was kept"
avs run demo.yaml --db small/r.db 2> again.err
expect 0 $? "exit with room again"
sound small/r.db
[ "$(table small/r.db)" = "$(table calm.db)" ] || fail "the table differs from an undisturbed run"
