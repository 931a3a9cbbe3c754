# Several nodes on one machine, for scripts that have sourced lib.sh: nodes.sh makes them of name spaces where the kernel
# allows it, else (or on demand) several agents of this machine act as nodes.
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
command -v mpirun > /dev/null || skip "no mpirun"
"$AVSWEEP" version | grep -q "MPI *none" && skip "built without MPI"
export TMPDIR=$dir ASAN_OPTIONS=detect_leaks=0

# several_nodes N SECONDS HOW VARIABLE..: sets $MPI (the launcher's line for an agent on each node), $why (no name spaces;
# empty: they are used) and nodes SCRIPT, which runs it on node 0 for at most so many seconds. HOW "agents": no name spaces.
several_nodes() {
    local n=$1 seconds=$2 how=$3 hosts= vars= i
    shift 3
    why=
    if [ "$how" = agents ]; then
        why="asked for"
    elif ! command -v ip > /dev/null; then
        why="no ip (iproute2)"
    elif ! unshare -Urn true 2> /dev/null; then
        why="user name spaces are switched off and this is not root (unshare -Urn)"
    elif ! timeout 20 "$here/nodes.sh" run 1 true 2> nodes.err; then
        why="network name spaces cannot be made: $(tail -1 nodes.err)"
    fi
    if [ -n "$why" ]; then
        echo "NOTE: several agents of one machine act as nodes ($why)"
        export MPI="mpirun --allow-run-as-root --oversubscribe --bind-to none -n $n -x AVSWEEP_EMULATE_NODES=1"
        eval "nodes() { timeout -k 5 $seconds bash -c \"cd $dir; \$1\"; }"
        return
    fi
    for i in $(seq "$n"); do hosts=$hosts${hosts:+,}10.77.0.$i:1; done
    for i in "$@"; do vars="$vars -x $i"; done
    export MPI="mpirun --allow-run-as-root --bind-to none -H $hosts -n $n --mca plm_rsh_agent $here/nodes-agent.sh --mca oob_tcp_if_include eth0 --mca btl tcp,self --mca btl_tcp_if_include eth0 -x ASAN_OPTIONS$vars"
    eval "nodes() { timeout -k 5 $seconds '$here/nodes.sh' run $n bash -c \"cd $dir; \$1\"; }"
}
