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
echo "listening: ok"
