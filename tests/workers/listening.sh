#!/bin/bash
# Does a model that can hear listen, and one that cannot hear not? A model without audio input must score the same with
# any sound, to the bit. In optimised builds a small model also learns to listen to tones.
TRIAL=$1 TOYS=$2
. "$(dirname "$0")/lib.sh"
toys 4 32 60 8 12
small='"resolution":32,"num_queries":4,"embed_dim":32,"backbone_width":8,"batch":8,"frames_per_clip":2,"eval_every":100,"protocol":"listening"'

job deaf "$small,\"steps\":10,\"audio_backbone\":\"none\""; run deaf || { cat "$W/deaf.log"; die deaf; }
for m in miou_swapped miou_silent; do
  [ "$(result deaf miou@test)" = "$(result deaf $m@test)" ] || die "a model without audio: miou $(result deaf miou@test), $m $(result deaf $m@test)"
done
[ -n "$(result deaf miou_constant@test)" ] && [ -n "$(result deaf miou_objects@test)" ] || die "the floor or the ceiling is missing"

case $("$TRIAL" version) in *Release*) ;; *) echo "listening: ok (learning itself is tried in optimised builds)"; exit 0;; esac
job hear "$small,\"steps\":400"; run hear || { cat "$W/hear.log"; die hear; }
echo "right $(result hear miou@test) swapped $(result hear miou_swapped@test) silent $(result hear miou_silent@test) constant $(result hear miou_constant@test) objects $(result hear miou_objects@test)"
awk -v r="$(result hear miou@test)" -v s="$(result hear miou_swapped@test)" 'BEGIN { exit !(r - s > 0.1) }' || die "right minus swapped is not above 0.1"

# the same weights in precision bf16: within 0.3 points
if grep -qw -e avx512_bf16 -e amx_bf16 /proc/cpuinfo; then
  for p in fp32 bf16; do
    printf '{"kind":"eval","seed":0,"threads":2,"work_dir":"%s","cache_dir":"","params":{"model":"avesformer_mini","task":"ms3","data_root":"%s","resolution":32,"num_queries":4,"embed_dim":32,"backbone_width":8,"precision":"%s","init":"%s"}}' \
      "$W/$p" "$W/data" $p "$W/hear/best.safetensors" >"$W/$p.json"
    run $p || { cat "$W/$p.log"; die "evaluation in $p"; }
  done
  echo "evaluated in fp32 $(result fp32 miou@test) bf16 $(result bf16 miou@test)"
  awk -v a="$(result fp32 miou@test)" -v b="$(result bf16 miou@test)" 'BEGIN { d = a - b; exit !(a != b && d < 0.003 && d > -0.003) }' ||
    die "bf16 is more than 0.3 points from fp32, or the same"
fi
echo "listening: ok"
