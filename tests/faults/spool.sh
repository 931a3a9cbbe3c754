#!/bin/bash
# Results that were finished but not committed survive the coordinator: they lie in the spool and are not run again.
. "$(dirname "$0")/../integration/lib.sh"
sweep demo 8
export FAKE_PLAN='*=gate' FAKE_GATE=$PWD/gate # no trial ends before the coordinator stands still
avs_bg run.err run demo.yaml --db r.db
for i in $(seq 300); do [ "$(grep -c ^start "$FAKE_LOG")" -ge 4 ] && break; sleep 0.02; done
kill -STOP $bg
for i in $(seq 300); do [ "$(awk '{ print $3 }' /proc/$bg/stat)" = T ] && break; sleep 0.02; done
touch gate # the agent and four trials go on without it
for i in $(seq 300); do [ "$(ls r.db.work/spool 2> /dev/null | grep -c frames$)" -ge 4 ] && break; sleep 0.02; done
expect 4 "$(ls r.db.work/spool | grep -c frames$)" "results in the spool"
kill -9 $bg
wait $bg 2> /dev/null
bg=
no_leftovers
expect "0" "$(sqlite3 r.db "SELECT count(*) FROM result")" "committed results"
echo "half a frame" > r.db.work/spool/00000000000000000001-0000000009.frames
avs run demo.yaml --db r.db 2> again.err
expect 0 $? "exit of the second run"
expect "done 8 " "$(states r.db)" "states"
expect 8 "$(grep -c ^start "$FAKE_LOG")" "attempts in both runs together"
expect 0 "$(ls r.db.work/spool | grep -c frames$)" "results left in the spool"
expect 1 "$(ls r.db.work/spool | grep -c bad$)" "damaged spool files put aside"
sound r.db
avs run demo.yaml --db calm.db 2> calm.err
[ "$(table r.db)" = "$(table calm.db)" ] || fail "the table differs from an undisturbed run"
