#!/bin/bash
# Gangs whose ranks lie on two nodes: placed by `pack`, together in life and
# death, whichever node has the trouble.
. "$(dirname "$0")/../integration/lib.sh"
. "$(dirname "$0")/../integration/nodes_lib.sh"
export AVSWEEP_CORES=2
several_nodes 2 60 agents
gang() { # gang NAME SEEDS RANKS PACK [LIMITS]
    cat > "$1.yaml" <<END
avsweep: 1
name: $1
kind: train
base: {model: avesformer_mini, task: ms3}
seeds: $2
resources: {gpus: $3, cpus: $3, pack: $4}
limits: {retries: 2${5:+, $5}}
END
}
two() { # two NAME OPTIONS: on two nodes; the others go on when one dies
    local name=$1
    shift
    nodes "$MPI --enable-recovery $AVSWEEP run $name.yaml --db $name.db --trial-program $FAKE --backoff-ms 20 $*" 2> $name.err
    return $(cat $name.db.exit)
}
# places DB: how many attempts have how many ranks on each of their nodes
places() {
    sqlite3 -readonly "$1" "SELECT group_concat(n, '+') FROM (SELECT attempt_id, count(*) AS n FROM attempt_rank
        GROUP BY attempt_id, host) GROUP BY attempt_id" | sort | uniq -c | sed 's/^ *//' | tr '\n' ' '
}

# A gang of two fits on one node and stays there; one of four fills both; spread wants two nodes for two ranks.
gang small 4 2 any
two small || fail "exit of gangs of two"
expect "done 4 " "$(states small.db)" "states of gangs of two"
expect "4 2 " "$(places small.db)" "places of gangs of two"
gang full 2 4 any
two full || fail "exit of gangs of four"
expect "done 2 " "$(states full.db)" "states of gangs of four"
expect "2 2+2 " "$(places full.db)" "places of gangs of four"
gang wide 2 2 spread
two wide || fail "exit of spread gangs"
expect "2 1+1 " "$(places wide.db)" "places of spread gangs"
sound full.db

# What does not fit is told before anything starts.
: > "$FAKE_LOG"
gang tight 1 4 node
two tight && fail "a gang of four ran on one node of two cores"
grep -q "error\[R006\].*4 cores on one node; the largest node has 2" tight.err || fail "no R006 for pack node"
gang vast 1 6 any
two vast && fail "a gang of six ran on four cores"
grep -q "error\[R006\].*6 cores; the nodes together have 4" vast.err || fail "no R006 for pack any"
gang apart 1 3 spread
two apart && fail "three ranks on nodes of their own on two nodes"
grep -q "error\[R006\].*each on a node of its own; the nodes do not have that" apart.err || fail "no R006 for pack spread"
expect 0 "$(grep -c ^start "$FAKE_LOG")" "starts of gangs that do not fit"

# Ranks other than 0 say nothing while they work, which is no hang.
gang mute 1 4 any "hang: 4s"
export FAKE_PLAN="0r1=mute,0r2=mute,0r3=mute"
FAKE_MS=50 FAKE_STEPS=110 two mute || fail "exit with silent ranks"
expect 1 "$(sqlite3 mute.db 'SELECT count(*) FROM attempt')" "attempts with silent ranks"

# Trouble of a rank on either node ends the attempt on both, once.
: > "$FAKE_LOG"
gang bad 4 4 any "retry_on: [crash, hang, infra, error]"
export FAKE_PLAN="1r3=crash*1,2r2=error-new*1,3r1=crash*1"
FAKE_MS=20 FAKE_STEPS=10 two bad || fail "exit with bad ranks"
unset FAKE_PLAN
gangs_recovered bad.db

# The other node dies: the attempt is over here too.
: > "$FAKE_LOG"
gang half 1 4 any
FAKE_MS=50 FAKE_STEPS=400 two half --lost-after 3s &
run=$!
for _ in $(seq 200); do [ "$(grep -c ^start "$FAKE_LOG")" = 4 ] && break; sleep 0.1; done
expect 4 "$(grep -c ^start "$FAKE_LOG")" "starts before the node dies"
agent=
for p in /proc/[0-9]*; do
    tr '\0' '\n' 2> /dev/null < $p/environ | grep -qx "OMPI_COMM_WORLD_RANK=1" || continue
    tr '\0' ' ' 2> /dev/null < $p/cmdline | grep -q " half.yaml " && agent="$agent ${p#/proc/}"
done
[ -n "$agent" ] || fail "no agent of the second node found"
kill -9 $agent
ended() { sqlite3 half.db "SELECT count(*) FROM attempt WHERE ended IS NOT NULL" 2> /dev/null; }
for _ in $(seq 300); do [ "$(ended)" = 1 ] && break; sleep 0.1; done
expect 1 "$(ended)" "attempts that ended with the node"
for _ in $(seq 100); do kill -0 $run 2> /dev/null || break; sleep 0.1; done
kill -TERM $run 2> /dev/null
wait $run
no_leftovers
