#!/bin/bash
# kill.sh WHO ROUNDS SEED SWEEP: kill -9 of WHO (coordinator, agent, spawner, trial, mpirun, rank, or any: one of them each
# round) at a seeded random moment of sweep A as no-ops; then the same command until it is done. The table must be that of
# an undisturbed run, nothing may count twice, the database must be sound. By hand: kill.sh any 200 1 .../queries.yaml
SWEEP=$(readlink -f "${4:?a sweep of 60 trials}")
. "$(dirname "$0")/../integration/lib.sh"
who=$1 rounds=$2 RANDOM=$3
command -v mpirun > /dev/null && ! "$AVSWEEP" version | grep -q "MPI *none" && mpi=1 || mpi=0
case $who in mpirun | rank) [ $mpi = 1 ] || skip "no mpirun" ;; esac
export FAKE_MS=8 FAKE_STEPS=4 AVSWEEP_CORES=24 # four trials of 6 cores at a time
export TMPDIR=$dir ASAN_OPTIONS=detect_leaks=0 # Open MPI leaks by design
args=(run "$SWEEP" --set kind=noop)
avs "${args[@]}" --db calm.db 2> calm.err
expect 0 $? "undisturbed run"
table calm.db > calm.txt
expect 120 "$(wc -l < calm.txt)" "results of the undisturbed run"
parties=(coordinator agent spawner trial)
[ $mpi = 1 ] && parties+=(mpirun rank)
declare -A killed
round=1 tries=0
while [ "$round" -le "$rounds" ]; do
    tries=$((tries + 1))
    [ "$tries" -le $((3 * rounds + 10)) ] || fail "the victims are not met: $round rounds of $rounds after $tries tries"
    target=$who
    [ "$who" = any ] && target=${parties[RANDOM % ${#parties[@]}]}
    db=r.db
    rm -rf r.db*
    : > "$FAKE_LOG"
    if [ $target = mpirun ] || [ $target = rank ]; then
        timeout -k 5 120 mpirun --allow-run-as-root --oversubscribe --bind-to none -n 2 "$AVSWEEP" "${args[@]}" --db $db \
            --trial-program "$FAKE" --backoff-ms 20 2> run.err &
        bg=$!
    else
        avs_bg run.err "${args[@]}" --db $db
    fi
    # A seeded moment: from the very beginning to the last trial.
    after=$((RANDOM % 56)) pause=$((RANDOM % 40))
    for i in $(seq 600); do
        [ "$(grep -c ^done "$FAKE_LOG")" -ge "$after" ] && break
        kill -0 $bg 2> /dev/null || break
        sleep 0.01
    done
    sleep 0.0$((pause / 10))$((pause % 10))
    agent=$(pgrep -P $bg | head -1)
    case $target in
    coordinator) victim=$bg ;;
    agent) victim=$agent ;;
    spawner) victim=$(pgrep -P "${agent:-1}" avs-spawner | head -1) ;;
    trial) victim= ;;
    mpirun) victim=$(pgrep -P $bg mpirun | head -1) ;;
    rank) victim=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' $db.lock 2> /dev/null) ;;
    esac
    hit=no
    if [ $target = trial ]; then # they are short: whoever has started and is still there
        for i in $(seq 200); do
            for victim in $(sed -n 's/^start .*pid=//p' "$FAKE_LOG" | tail -4); do
                [ "$(readlink /proc/"$victim"/exe 2> /dev/null)" = "$FAKE" ] && kill -9 "$victim" 2> /dev/null && hit=yes && break 2
            done
            kill -0 $bg 2> /dev/null || break
        done
    else
        [ -n "$victim" ] && kill -9 "$victim" 2> /dev/null && hit=yes
    fi
    wait $bg 2> /dev/null
    rc=$?
    bg=
    owner=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' $db.lock 2> /dev/null)
    for i in $(seq 300); do # without mpirun its ranks take a moment to notice; until then the database is theirs
        [ -n "$owner" ] && kill -0 "$owner" 2> /dev/null || break
        sleep 0.1
    done
    [ $hit = yes ] || continue # the run was over before: another moment
    killed[$target]=$((${killed[$target]:-0} + 1))
    case $target in
    coordinator) [ $rc = 137 ] || [ $rc = 0 ] || fail "round $round: exit $rc" ;;
    trial) [ $rc = 0 ] || fail "round $round: a killed trial ended the run with $rc" ;;
    agent | spawner) [ $rc = 75 ] || [ $rc = 0 ] || fail "round $round ($target): exit $rc" ;;
    esac
    no_leftovers
    [ -s $db ] && sound $db
    # The second run may start from any state; the third finds nothing to do.
    avs "${args[@]}" --db $db 2> again.err
    expect 0 $? "round $round ($target after $after): the same command again"
    sound $db
    table $db | cmp -s - calm.txt || fail "round $round ($target after $after): the table differs from the undisturbed run"
    starts=$(grep -c ^start "$FAKE_LOG")
    avs "${args[@]}" --db $db 2> third.err
    expect "$starts" "$(grep -c ^start "$FAKE_LOG")" "round $round: a third run starts nothing"
    round=$((round + 1))
done
for p in "${!killed[@]}"; do echo "$p: ${killed[$p]} killed"; done
echo "$rounds rounds, seed $3: every table is that of the undisturbed run"
