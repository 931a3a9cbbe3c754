#!/bin/bash
# Three emulated nodes under mpirun: every node works, and whoever is killed, the same command brings the same table.
# With the word agents, or where the kernel makes no name spaces: three agents of this machine that act as nodes.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/nodes_lib.sh"
export AVSWEEP_CORES=2 FAKE_MS=30
sweep demo 24
several_nodes 3 60 "${1:-}" AVSWEEP_CORES FAKE_LOG FAKE_MS
run="$AVSWEEP run demo.yaml --trial-program $FAKE --db"

FAKE_MS=2 avs run demo.yaml --db calm.db 2> calm.err
expect 0 $? "undisturbed run on one node"
table calm.db > calm.txt

nodes "$MPI $run three.db" 2> three.err
expect 0 $? "three nodes"
table three.db | cmp -s - calm.txt || fail "three nodes: another table"
expect 3 "$(sqlite3 three.db "SELECT count(DISTINCT host) FROM attempt_rank")" "nodes that did work"
sound three.db

# kill WHO: a process of the job on a node, seen from node 0 (one PID name space)
victim() {
    cat <<'END'
for i in $(seq 300); do [ "$(grep -c ^done $FAKE_LOG)" -ge 6 ] && break; sleep 0.05; done
END
    case $1 in
    agent) [ -n "$why" ] && echo 'kill -9 $(for p in $(pgrep -f "^[^ ]*avsweep run .*$DB"); do grep -qz "^OMPI_COMM_WORLD_RANK=2$" /proc/$p/environ && echo $p; done)' ||
        echo 'kill -9 $(for p in $(ip netns pids n2); do tr "\0" " " < /proc/$p/cmdline | grep -q "^[^ ]*avsweep run" && echo $p; done)' ;;
    trial) echo 'until kill -9 $(sed -n "s/^start .*pid=//p" $FAKE_LOG | tail -1) 2> /dev/null; do sleep 0.01; done' ;;
    coordinator) echo 'kill -9 $(sed -n "s/.*\"pid\":\([0-9]*\).*/\1/p" $DB.lock)' ;;
    node) echo 'kill -9 $(ip netns pids n2)' ;;
    esac
}
for who in trial agent coordinator node; do
    [ $who = node ] && [ -n "$why" ] && continue # no node dies without name spaces
    : > "$FAKE_LOG"
    export DB=$who.db
    nodes "$MPI $run $DB & $(victim $who); wait \$!" 2> $who.err
    rc=$?
    if [ $who = trial ]; then expect 0 $rc "exit after a trial was killed"; fi
    [ $rc = 0 ] && [ $who != trial ] && fail "$who: killed in the middle, yet the run says 0"
    sound $DB
    nodes "$MPI $run $DB" 2> $who-again.err
    expect 0 $? "$who: the same command again"
    table $DB | cmp -s - calm.txt || fail "$who: the table differs from the undisturbed run"
    sound $DB
done

# With --enable-recovery the others go on when an agent dies: nothing is left to do afterwards.
: > "$FAKE_LOG"
export DB=recover.db
nodes "$MPI --enable-recovery $run $DB --lost-after 8s & $(victim agent); wait \$!" 2> recover.err
expect "done 24 " "$(states $DB)" "states after an agent died with --enable-recovery"
table $DB | cmp -s - calm.txt || fail "recovery: another table"
expect 0 "$(cat $DB.exit)" "DB.exit after recovery"
sound $DB
