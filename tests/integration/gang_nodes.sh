#!/bin/bash
# A gang trains the same bits wherever its ranks lie: 2 and 4 ranks on one node (ring in shared memory) and on two (ring
# over TCP). A rank killed on the other node costs one attempt. With the word agents: as three_nodes.sh.
TRIAL=$1 TOYS=$2
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/nodes_lib.sh"
several_nodes 2 200 "${3:-}" AVSWEEP_CORES
"$TOYS" src 5
"$TRIAL" data compose data --settings ms3 --classes 5 --size 32 --train 12 --val 4 --test 4 --seed 5 \
    --stamps src/stamps --backgrounds src/backgrounds --threads 2 > compose.log 2>&1 || fail "compose: $(tail -3 compose.log)"
gang() { # gang NAME RANKS STEPS; batch statistics of four ranks are those of all
    local sync=false
    [ $2 = 4 ] && sync=true
    cat > $1.yaml <<END
avsweep: 1
name: $1
kind: train
base: {model: avesformer_mini, task: ms3, data_root: $dir/data, resolution: 32, num_queries: 4, embed_dim: 32,
       backbone_width: 8, batch: 4, micro_batch: 1, frames_per_clip: 2, steps: $3, eval_every: $3, eval_batch: 2,
       lr_warmup_steps: 3, dropout: 0, sync_batchnorm: $sync}
seeds: 1
objective: {metric: miou, mode: max}
resources: {gpus: $2, cpus: $2, pack: any}
limits: {retries: 2}
END
}
two() { # two NAME CORES: on two nodes of so many cores
    AVSWEEP_CORES=$2 nodes "$MPI $AVSWEEP run $1.yaml --db $1.db --backoff-ms 20" 2> $1.err
}
# sums NAME: digests of the checkpoints
sums() { (cd $1.db.work && find . -name '*.safetensors' -exec sha256sum {} + | awk '{ sub(".*/", "", $2); print $2, $1 }' | sort); }
# spread_of NAME: nodes and ranks of the last attempt
spread_of() {
    sqlite3 $1.db "SELECT count(DISTINCT host) || ' ' || count(*) FROM attempt_rank WHERE attempt_id=(SELECT max(attempt_id) FROM attempt)"
}
for ranks in 2 4; do
    gang one$ranks $ranks 12
    gang two$ranks $ranks 12
    AVSWEEP_CORES=4 "$AVSWEEP" run one$ranks.yaml --db one$ranks.db 2> one$ranks.err || fail "$ranks ranks on one node"
    two two$ranks $((ranks / 2)) || fail "$ranks ranks on two nodes"
    expect "1 $ranks" "$(spread_of one$ranks)" "nodes and ranks, one node"
    expect "2 $ranks" "$(spread_of two$ranks)" "nodes and ranks, two nodes"
    expect 1 "$(sqlite3 two$ranks.db 'SELECT count(*) FROM attempt')" "attempts on two nodes"
    sums one$ranks > one$ranks.sums
    sums two$ranks > two$ranks.sums
    [ -s one$ranks.sums ] || fail "no checkpoints"
    cmp -s one$ranks.sums two$ranks.sums || fail "$ranks ranks: other checkpoints on two nodes: $(diff one$ranks.sums two$ranks.sums)"
    sound two$ranks.db
done

# kill -9 of a rank on the other node, as soon as its ring is open (a socket beside that of its agent).
gang kill 2 100
gang calm 2 100
two kill 1 &
run=$!
victim=
for _ in $(seq 3000); do
    victim=$(pgrep -f " run $dir/kill.db.work/.*/job-r1.json") && [ "$(ls -l /proc/$victim/fd 2> /dev/null | grep -c socket:)" -ge 2 ] && break
    sleep 0.01
done
[ -n "$victim" ] || fail "no rank 1 found to kill"
kill -9 $victim
wait $run || fail "exit after a killed rank"
expect "done 1 " "$(states kill.db)" "state after a killed rank"
expect 2 "$(sqlite3 kill.db 'SELECT count(*) FROM attempt')" "attempts with a killed rank"
why=$(sqlite3 kill.db "SELECT r.name || ': ' || message FROM attempt JOIN reason_name r USING(reason) ORDER BY n LIMIT 1")
case "$why" in "crash: rank 1: killed by signal 9"*) ;; *) fail "cause: $why" ;; esac
AVSWEEP_CORES=2 "$AVSWEEP" run calm.yaml --db calm.db 2> calm.err || fail "undisturbed run"
sums kill > kill.sums
sums calm > calm.sums
cmp -s kill.sums calm.sums || fail "other checkpoints after a killed rank: $(diff kill.sums calm.sums)"
sound kill.db
