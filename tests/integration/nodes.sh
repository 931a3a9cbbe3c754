#!/bin/bash
# nodes.sh run N CMD ..: CMD on node 0 of N emulated nodes (10.77.0.1 .. 10.77.0.N). Each node is a network name space
# with its own host name, all inside one private PID name space: when the outermost process ends, so does everything.
# nodes.sh agent [ssh options] ADDRESS COMMAND: the "ssh" that mpirun uses to reach a node.
set -eu
me=$(readlink -f "$0") net=10.77.0
case $1 in
run)
    n=$2
    shift 2
    exec unshare -Urnmpf --mount-proc --kill-child "$me" inside "$n" "$@"
    ;;
inside)
    n=$2
    shift 2
    mount -t tmpfs none /run
    mkdir -p /run/netns
    ip link add br0 type bridge
    ip link set br0 up
    ip link set lo up
    for i in $(seq 0 $((n - 1))); do
        ip netns add n$i
        ip -n n$i link set lo up
        ip link add p$i type veth peer name eth0 netns n$i
        ip link set p$i master br0 up
        ip -n n$i addr add $net.$((i + 1))/24 dev eth0
        ip -n n$i link set eth0 up
    done
    exec "$me" on 0 "$@"
    ;;
on)
    i=$2
    shift 2
    exec ip netns exec n$i unshare -u sh -c 'hostname "$0"; exec "$@"' avs-n$i "$@"
    ;;
agent)
    shift
    while [ "${1#-}" != "$1" ]; do shift; done
    i=$((${1##*.} - 1))
    shift
    exec "$me" on $i sh -c "$*"
    ;;
esac
