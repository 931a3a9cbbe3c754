#!/bin/bash
# A gang trains what one rank trains: `avsweep run` with 1, 2 and 4 ranks on the host ring gives the same losses, because
# one sample per pass means that no rank count changes what a norm sees, or (sync) because BatchNorm's statistics are those
# of all ranks; with statistics of each rank's own (own) it does not. Results say
# whose statistics were used. adam_eps keeps zero gradients (a key's bias) from being normalised to noise.
TRIAL=$1 TOYS=$2
. "$(dirname "$0")/lib.sh"
"$TOYS" src 5
"$TRIAL" data compose data --settings ms3 --classes 5 --size 32 --train 12 --val 4 --test 4 --seed 5 \
    --stamps src/stamps --backgrounds src/backgrounds --threads 2 > compose.log 2>&1 || fail "compose: $(tail -3 compose.log)"
# gang NAME RANKS OPTIONS [STEPS]: runs the sweep, leaves NAME.db and NAME.loss
gang() {
    cat > "$1.yaml" <<END
avsweep: 1
name: $1
kind: train
base: {model: avesformer_mini, task: ms3, data_root: $dir/data, resolution: 32, num_queries: 4, embed_dim: 32,
       backbone_width: 8, batch: 4, frames_per_clip: 2, steps: 30, eval_every: 30, eval_batch: 2,
       lr_warmup_steps: 3, adam_eps: 1.0e-4, dropout: 0, $3}
seeds: 1
objective: {metric: miou, mode: max}
resources: {gpus: $2, cpus: $2}
END
    "$AVSWEEP" run "$1.yaml" --db "$1.db" 2> "$1.err" || fail "$1"
    expect "done 1 " "$(states "$1.db")" "state of $1"
    sqlite3 "$1.db" "SELECT step, printf('%.17g', value) FROM point JOIN metric USING(metric_id) WHERE name='loss' ORDER BY step" > "$1.loss"
    sound "$1.db"
    [ -s "$1.loss" ] || fail "no losses of $1"
}
# apart A B: the largest relative difference of two series of losses
apart() {
    paste -d'|' "$1.loss" "$2.loss" | awk -F'|' '
        { d = $2 - $4; if (d < 0) d = -d; if (d / $2 > worst) worst = d / $2; if ($1 != $3) bad = 1 }
        END { if (bad || NR < 2) print "different steps"; else printf "%.3g\n", worst }'
}
# ranks_of DB: whose statistics were used
ranks_of() { sqlite3 "$1.db" "SELECT value FROM result JOIN metric USING(metric_id) WHERE name='batchnorm_ranks'"; }
within() {
    echo "$1: losses within $2 of one rank"
    awk -v d="$2" -v max="$3" 'BEGIN { exit !(d + 0 == d && d <= max) }' || fail "losses of $1 are $2 apart"
}
for ranks in 1 2 4; do
    gang g$ranks $ranks 'micro_batch: 1'
    gang sync$ranks $ranks 'sync_batchnorm: true'
    expect 1.0 "$(ranks_of g$ranks)" "ranks in a statistic of g$ranks"
    expect "$ranks.0" "$(ranks_of sync$ranks)" "ranks in a statistic of sync$ranks"
done
for ranks in 2 4; do
    within g$ranks "$(apart g1 g$ranks)" 1e-3
    within sync$ranks "$(apart sync1 sync$ranks)" 1e-3
done
gang own2 2 'sync_batchnorm: false'
expect 1.0 "$(ranks_of own2)" "ranks in a statistic of own2"
d=$(apart sync1 own2)
awk -v d="$d" 'BEGIN { exit !(d + 0 == d && d > 2e-3) }' || fail "statistics of each rank's own are only $d away: the comparison shows nothing"
