#!/bin/bash
# kill.sh WHO ROUNDS SEED: kill -9 of the coordinator, the agent, the spawner or a trial at a random moment of the run;
# then the same command until it is done. The table must be that of an undisturbed run.
. "$(dirname "$0")/../integration/lib.sh"
who=$1 rounds=$2 RANDOM=$3
sweep demo 30
export FAKE_MS=8
avs run demo.yaml --db calm.db 2> calm.err
expect 0 $? "undisturbed run"
table calm.db > calm.txt
for round in $(seq "$rounds"); do
    db=r$round.db
    : > "$FAKE_LOG"
    avs_bg run$round.err run demo.yaml --db $db
    # A seeded moment between the first trial and the last: after so many ends.
    after=$((RANDOM % 24)) pause=$((RANDOM % 40))
    for i in $(seq 400); do
        [ "$(grep -c ^done "$FAKE_LOG")" -ge "$after" ] && [ -s "$FAKE_LOG" ] && break
        sleep 0.01
    done
    sleep 0.0$((pause / 10))$((pause % 10))
    agent=$(pgrep -P $bg | head -1)
    case $who in
    coordinator) victim=$bg ;;
    agent) victim=$agent ;;
    spawner) victim=$(pgrep -P "${agent:-1}" avs-spawner | head -1) ;;
    trial) victim=$(sed -n 's/^start .*pid=//p' "$FAKE_LOG" | tail -1) ;;
    esac
    [ -n "$victim" ] && kill -9 "$victim" 2> /dev/null
    wait $bg
    rc=$?
    bg=
    case $who in
    coordinator) [ $rc = 137 ] || [ $rc = 0 ] || fail "round $round: exit $rc" ;;
    trial) [ $rc = 0 ] || fail "round $round: a killed trial ended the run with $rc" ;;
    *) [ $rc = 75 ] || [ $rc = 0 ] || fail "round $round: exit $rc" ;;
    esac
    no_leftovers
    [ -e $db ] && sound $db
    # The second run may start from any state; the third finds nothing to do.
    avs run demo.yaml --db $db 2> again$round.err
    expect 0 $? "round $round: the same command again"
    sound $db
    table $db | cmp -s - calm.txt || fail "round $round: the table differs from the undisturbed run"
    starts=$(grep -c ^start "$FAKE_LOG")
    avs run demo.yaml --db $db 2> third$round.err
    expect "$starts" "$(grep -c ^start "$FAKE_LOG")" "round $round: a third run starts nothing"
done
