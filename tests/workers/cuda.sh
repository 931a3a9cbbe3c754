#!/bin/bash
# Training on the cuda backend's emulated device: near the CPU's loss and scores, the same bytes for equal seeds, with
# micro-batches, a backbone that thaws and a clipped norm, after a kill, and with two ranks whose gradients go over the ring.
TRIAL=$1 TOYS=$2
. "$(dirname "$0")/lib.sh"
toys 5 32 4 2 2
small='"resolution":32,"num_queries":2,"embed_dim":16,"backbone_width":4,"batch":2,"frames_per_clip":2,"steps":3,"eval_batch":2,"lr_warmup_steps":2'
emul='"backend":"cuda-emul"'
go() { run "$1" || { cat "$W/$1.log"; die "$1"; }; }
# near A B TEXT: the numbers after TEXT in both logs agree within 1e-3
near() {
  local a b
  a=$(sed -n "s/^$3 \([^ ]*\).*/\1/p" "$W/$1.log") b=$(sed -n "s/^$3 \([^ ]*\).*/\1/p" "$W/$2.log")
  awk -v a="$a" -v b="$b" 'BEGIN{d=a-b; exit !(a!="" && b!="" && d*d<=1e-6)}' || die "$1 and $2: $3 is '$a' and '$b'"
}

frozen=',"freeze_backbone_epochs":1,"grad_clip":0.05'
i=0
for more in '' "$frozen" ",\"micro_batch\":1$frozen"; do
  i=$((i + 1))
  job c$i "$small$more"; go c$i
  job g$i "$small$more" "$emul"; go g$i
  grep -q '^at most [1-9][0-9]* bytes on the device$' "$W/g$i.log" || die "g$i does not tell its memory"
  near c$i g$i 'step 3 loss'; near c$i g$i 'result miou@test'; near c$i g$i 'result fscore@test'
  [ "$(result g$i steps)" = 3 ] || die "g$i: $(result g$i steps) steps"
done
cmp -s "$W/g1/last.safetensors" "$W/g2/last.safetensors" && die "freezing and clipping changed nothing"
job h "$small,\"micro_batch\":1$frozen" "$emul"; go h
same "$W/g3/last.safetensors" "$W/h/last.safetensors" "equal seeds"

# stopped after a checkpoint
job k "$small,\"micro_batch\":1$frozen" "$emul,\"limits\":{\"checkpoint_every_s\":0.001}"
cut k has_checkpoint k
same "$W/g3/last.safetensors" "$W/k/last.safetensors" "after a kill"

# two ranks, in one pass (buckets during the backward) and in two
for more in '' ',"micro_batch":1'; do
  for d in cpu emul; do
    top=; [ $d = emul ] && top=",$emul"
    for rank in 0 1; do
      job $d$rank "$small,\"batch\":4$more" "\"rank\":$rank,\"ranks\":2,\"ring\":\"/avs-cuda-$$\"$top"
      sed -i "s#$W/$d$rank#$W/$d#; s#\"batch\":2,##" "$W/$d$rank.json"
    done
    rm -rf "${W:?}/$d"
    "$TRIAL" run "$W/${d}1.json" >"$W/${d}1.log" 2>&1 & pid=$!
    go ${d}0
    wait $pid || { cat "$W/${d}1.log"; die "rank 1 on $d"; }
  done
  near cpu0 emul0 'step 3 loss'; near cpu0 emul0 'result miou@test'
done
echo "cuda: ok"
