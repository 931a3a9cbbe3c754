#!/bin/bash
# Whole runs of the trial program: equal seeds give equal bytes, a killed run continues to the same bytes, two ranks agree,
# a dead rank ends the other, latency and prediction work.
TRIAL=$1 TOYS=$2
. "$(dirname "$0")/lib.sh"
toys 5 32 12 4 4
small='"resolution":32,"num_queries":4,"embed_dim":32,"backbone_width":8,"batch":4,"frames_per_clip":2,"steps":12,"eval_every":2,"eval_batch":2,"lr_warmup_steps":3,"dropout":0.1'

job a "$small"; job b "$small"
run a || { cat "$W/a.log"; die "first run"; }
run b || die "second run"
same "$W/a/last.safetensors" "$W/b/last.safetensors" "equal seeds"
same "$W/a/best.safetensors" "$W/b/best.safetensors" "equal seeds"
same <(grep -v -e train_seconds -e data_wait_share -e /s$ -e wrote "$W/a.log") <(grep -v -e train_seconds -e data_wait_share -e /s$ -e wrote "$W/b.log") "results of equal seeds"
[ -n "$(result a miou@test)" ] || die "no miou@test in $(cat "$W/a.log")"
wait=$(result a data_wait_share)
awk -v w="$wait" 'BEGIN{exit !(w != "" && w >= 0 && w <= 1)}' || die "data_wait_share is '$wait'"
[ -s "$W/a/predictions.png" ] || die "no prediction sheet"

# other seed, other bytes
sed "s/\"seed\":3/\"seed\":4/; s#$W/a#$W/s4#" "$W/a.json" >"$W/s4.json"; run s4 || die "seed 4"
! cmp -s "$W/a/last.safetensors" "$W/s4/last.safetensors" || die "seeds 3 and 4 gave the same weights"

# killed whenever a checkpoint has appeared, until it ends by itself
job k "$small" '"limits":{"checkpoint_every_s":0.001}'
kills=0
while [ $kills -lt 4 ]; do
  kill_when k has_new_checkpoint k "$(checkpoint_inode k)" && kills=$((kills + 1))
  grep -q '^result miou@test' "$W/k.log" && break
done
[ $kills -ge 1 ] || die "the run was never killed"
run k || die "last run after $kills kills"
same "$W/a/last.safetensors" "$W/k/last.safetensors" "after $kills kills"
grep -q '^resumed from .*last.safetensors at step' "$W/k.log" || die "the last run did not resume"
same "$W/a/best.safetensors" "$W/k/best.safetensors" "after $kills kills"

# a checkpoint that is torn or has a wrong bit is left aside for the one before; with none the run starts anew; the end is the same
torn() { # torn NAME WHAT
  job "$1" "$small" '"limits":{"checkpoint_every_s":0.001}'
  kill_when "$1" test -e "$W/$1/previous.safetensors" || die "$1: the run was never killed"
  # both names may be of one file at this moment; damage is done to one
  for f in last previous; do cp "$W/$1/$f.safetensors" "$W/one"; mv "$W/one" "$W/$1/$f.safetensors"; done
  case $2 in
  cut) truncate -s -100 "$W/$1/last.safetensors" ;;
  bit) printf '\377' | dd of="$W/$1/last.safetensors" bs=1 seek=$(($(stat -c %s "$W/$1/last.safetensors") - 4001)) conv=notrunc 2>/dev/null ;;
  both) : >"$W/$1/last.safetensors"; truncate -s -1 "$W/$1/previous.safetensors" ;;
  esac
  run "$1" || { cat "$W/$1.log"; die "$1: a run after a damaged checkpoint"; }
  same "$W/a/last.safetensors" "$W/$1/last.safetensors" "after a checkpoint that was $2"
  same "$W/a/best.safetensors" "$W/$1/best.safetensors" "after a checkpoint that was $2"
  [ ! -e "$W/$1/previous.safetensors" ] || die "$1: a trial that is done keeps the checkpoint before the last"
}
torn t1 cut; grep -q '^warning: a checkpoint is left aside: .*last.safetensors' "$W/t1.log" || die "a torn checkpoint is not told"
grep -q '^resumed from .*previous.safetensors at step' "$W/t1.log" || die "the checkpoint before a torn one is not used"
torn t2 bit; grep -q '^warning: a checkpoint is left aside: .*last.safetensors: is damaged: the checksum' "$W/t2.log" || die "a wrong bit is not told: $(cat "$W/t2.log")"
grep -q '^resumed from .*previous.safetensors at step' "$W/t2.log" || die "the checkpoint before a damaged one is not used"
torn t3 both; grep -q '^warning: starting anew: no checkpoint is whole' "$W/t3.log" || die "starting anew is not told"

# gradients accumulated over two passes: another batch statistic, but the same twice
job m "$small,\"micro_batch\":2"; run m || { cat "$W/m.log"; die "micro_batch"; }
cp "$W/m/last.safetensors" "$W/m1"; rm -r "$W/m"; run m || die "micro_batch again"; same "$W/m1" "$W/m/last.safetensors" "micro_batch"

# two ranks over the host ring, twice
two() {
  job r0 "$small" "\"rank\":0,\"ranks\":2,\"ring\":\"/avs-test-$$\""; job r1 "$small" "\"rank\":1,\"ranks\":2,\"ring\":\"/avs-test-$$\""
  sed -i "s#$W/r[01]#$W/r#" "$W/r0.json" "$W/r1.json"
}
for i in 1 2; do
  two; rm -rf "$W/r"
  "$TRIAL" run "$W/r1.json" >"$W/r1.log" 2>&1 & pid=$!
  run r0 || { cat "$W/r0.log"; die "rank 0"; }
  wait $pid || { cat "$W/r1.log"; die "rank 1"; }
  cp "$W/r/last.safetensors" "$W/r-$i"
done
same "$W/r-1" "$W/r-2" "two ranks twice"

# a rank that dies ends the other with a message
two; rm -rf "$W/r"; sed -i 's/"steps":12/"steps":100000/' "$W/r0.json" "$W/r1.json"
"$TRIAL" run "$W/r1.json" >"$W/r1.log" 2>&1 & pid=$!
"$TRIAL" run "$W/r0.json" >"$W/r0.log" 2>&1 & pid0=$!
until grep -q '^step' "$W/r0.log"; do
  kill -0 $pid0 || { cat "$W/r0.log"; die "rank 0 ended early"; }
  sleep 0.01
done
kill -9 $pid
wait $pid0 && die "rank 0 did not notice" || [ $? -eq 1 ]
grep -q 'another rank of this trial ended' "$W/r0.log" || { cat "$W/r0.log"; die "no message about the dead rank"; }

# latency
printf '{"kind":"latency","seed":0,"threads":1,"work_dir":"%s","params":{"model":"avesformer_mini","task":"ms3","resolution":32,"latency_warmup":2,"latency_min_samples":64,"latency_min_seconds":0.1,"latency_max_seconds":5}}' "$W/lat" >"$W/lat.json"
run lat || { cat "$W/lat.log"; die latency; }
grep -q '^latency {"n":' "$W/lat.log" && grep -q '^latency_e2e {"n":' "$W/lat.log" || die "no latency line"

# prediction, from clips and from loose files
"$TRIAL" predict "$W/a/best.safetensors" --data "$W/data" --clips 2 --out "$W/p" >/dev/null || die predict
[ "$(find "$W/p" -name '*.overlay.png' | wc -l)" -eq 10 ] || die "expected 10 overlays"
clip=$(find "$W/data/Multi-sources/ms3_data/visual_frames" -mindepth 1 -maxdepth 1 | sort | head -n 1)
"$TRIAL" predict "$W/a/best.safetensors" --pictures "$clip" --sound "$(find "$W/data" -name '*.wav' | sort | head -n 1)" --out "$W/q" >/dev/null || die "predict pictures"
[ "$(find "$W/q" -name '*.mask.png' | wc -l)" -eq 5 ] || die "expected 5 masks"
echo "trial: ok ($kills kills)"
