#!/bin/bash
# A gang trains what one rank trains: `avsweep run` with 1, 2 and 4 ranks on the host ring gives the same losses. One
# sample per pass, so no rank count changes what a norm sees; the sums of gradients differ in their last bits only.
TRIAL=$1 TOYS=$2
. "$(dirname "$0")/lib.sh"
"$TOYS" src 5
"$TRIAL" data compose data --settings ms3 --classes 5 --size 32 --train 12 --val 4 --test 4 --seed 5 \
    --stamps src/stamps --backgrounds src/backgrounds --threads 2 > compose.log 2>&1 || fail "compose: $(tail -3 compose.log)"
for ranks in 1 2 4; do
    cat > g$ranks.yaml <<END
avsweep: 1
name: g$ranks
kind: train
base: {model: avesformer_mini, task: ms3, data_root: $dir/data, resolution: 32, num_queries: 4, embed_dim: 32,
       backbone_width: 8, batch: 4, micro_batch: 1, frames_per_clip: 2, steps: 30, eval_every: 30, eval_batch: 2,
       lr_warmup_steps: 3, dropout: 0}
seeds: 1
objective: {metric: miou, mode: max}
resources: {gpus: $ranks, cpus: $ranks}
END
    "$AVSWEEP" run g$ranks.yaml --db g$ranks.db 2> g$ranks.err || fail "$ranks ranks"
    expect "done 1 " "$(states g$ranks.db)" "state with $ranks ranks"
    sqlite3 g$ranks.db "SELECT step, printf('%.17g', value) FROM point JOIN metric USING(metric_id) WHERE name='loss' ORDER BY step" > g$ranks.loss
    sound g$ranks.db
done
[ -s g1.loss ] || fail "no losses"
for ranks in 2 4; do
    paste -d'|' g1.loss g$ranks.loss | awk -F'|' -v r=$ranks '
        { d = $2 - $4; if (d < 0) d = -d; if (d / $2 > worst) worst = d / $2; if ($1 != $3) bad = 1 }
        END { printf "%d ranks: losses within %.2g of one rank (%d steps)\n", r, worst, NR; exit bad || NR < 2 || !(worst <= 1e-3) }' \
        || fail "losses of $ranks ranks: $(paste g1.loss g$ranks.loss)"
done
