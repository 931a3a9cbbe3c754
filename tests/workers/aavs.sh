#!/bin/bash
# Stepping Stones at its smallest: stage one trains on binary masks and leaves its predictions, stage two reads them; runs
# that were killed, in either phase, go on to the same bytes; evaluation, prediction, timing; masks from the ground truth,
# whole or made worse; what is missing is told.
TRIAL=$1 TOYS=$2
. "$(dirname "$0")/lib.sh"
toys 5 32 4 2 2 avss

tiny='"backbone":"swin_custom","backbone_patch_size":4,"backbone_embed_dim":8,"backbone_depths":[1,2,1,1],"backbone_num_heads":[1,2,2,4],"backbone_window_size":4'
tiny="$tiny,\"embed_dim\":32,\"num_heads\":4,\"num_encoder_layers\":1,\"num_decoder_layers\":2,\"encoder_ffn_dim\":32,\"ffn_dim\":32,\"num_queries\":4"
net="\"resolution\":40,\"backbone_weights\":\"random\",\"audio_weights\":\"random\",$tiny"
loss='"train_num_points":64,"eval_batch":1'

# of NAME KIND PARAMS [TOP]: writes $W/NAME.json
of() {
  printf '{"kind":"%s","seed":3,"threads":1,"work_dir":"%s","cache_dir":"%s"%s,"params":{"model":"aavs","task":"avss","data_root":"%s",%s}}' \
    "$2" "$W/$1" "$W/cache" "${4:+,$4}" "$W/data" "$3" >"$W/$1.json"
}
go() { run "$1" || { cat "$W/$1.log"; die "$1"; }; }
# has_steps NAME N: its checkpoint holds at least N steps
has_steps() { has_checkpoint "$1" && head -c 100000 "$W/$1/last.safetensors" | grep -aq "\"step\":\"\([$2-9]\|[1-9][0-9]\)\""; }

# stage one: phase two begins at step 4 of 8
one="\"stage\":\"one\",$net,$loss,\"epochs\":2"
of one train "$one"; go one
[ -n "$(result one miou@test)" ] || die "one: no miou@test"
grep -q "^wrote masks $W/one/masks$" "$W/one.log" || die "one: no masks"
[ "$(find "$W/one/masks" -name '*.png' | wc -l)" = "$(grep -c . "$W/one/masks/index.txt")" ] || die "one: index.txt"
for split in train val test; do [ -d "$W/one/masks/$split" ] || die "one: no masks of $split"; done
[ -e "$W/one/phase1.safetensors" ] || die "one: no phase two"
# queries made of sound look at the picture: between one place for all and places of their own
spread() { awk -v d="$(result "$1" dissipation_index@test)" 'BEGIN { exit !(d > 0 && d < 1) }' || { grep result "$W/$1.log"; die "$1: dissipation_index"; }; }
spread one
for step in 1 5; do
  of "one-k$step" train "$one" '"limits":{"checkpoint_every_s":0.000001}'
  cut "one-k$step" has_steps "one-k$step" $step
  same "$W/one/last.safetensors" "$W/one-k$step/last.safetensors" "killed after step $step"
  diff -r "$W/one/masks" "$W/one-k$step/masks" >/dev/null || die "masks differ after a kill"
done
# the features of a random encoder are known by its seed: one file for each split, whoever asks
[ "$(find "$W/cache/audio-features" -name '*.safetensors' | wc -l)" -eq 3 ] || die "cache: $(ls "$W/cache/audio-features")"
of one-e eval "\"stage\":\"one\",$net,\"eval_batch\":2,\"init\":\"$W/one/best.safetensors\""; go one-e
[ "$(result one-e miou@test)" = "$(result one miou@test)" ] || die "evaluation says $(result one-e miou@test), training $(result one miou@test)"

# stage two, on what stage one predicted
two="\"stage\":\"two\",$net,\"batch\":2,$loss"
masks="\"stage1_masks\":\"$W/one/masks\""
of two train "$two,$masks,\"epochs\":2,\"stage1_mask_train\":\"predicted\",\"init\":\"$W/one/best.safetensors\""; go two
[ -n "$(result two miou@test)" ] || die "two: no miou@test"
spread two
# masks of one split alone are read as the public code lays them out
of two-e eval "\"stage\":\"two\",$net,\"eval_batch\":2,\"stage1_masks\":\"$W/one/masks/test\",\"init\":\"$W/two/best.safetensors\""; go two-e
[ "$(result two-e miou@test)" = "$(result two miou@test)" ] || die "evaluation says $(result two-e miou@test), training $(result two miou@test)"

# masks from the ground truth, whole and made worse
truth='"stage1_mask_eval":"ground_truth","steps":2'
of oracle train "$two,$truth"; go oracle
of bad train "$two,$truth,\"stage1_mask_iou\":0.3,\"stage1_mask_seed\":1"; go bad
# the values of a checkpoint: what stands behind its header
values() { tail -c +$(($(od -An -tu8 -N8 "$1") + 9)) "$1"; }
[ "$(values "$W/bad/last.safetensors" | wc -c)" = "$(values "$W/oracle/last.safetensors" | wc -c)" ] || die "bad and oracle differ in size"
cmp -s <(values "$W/bad/last.safetensors") <(values "$W/oracle/last.safetensors") && die "masks were not made worse"

# end to end, other options, another backbone
of whole train "\"stage\":\"end_to_end\",$net,$loss,\"steps\":2,\"query_generator\":\"concat\",\"masked_attention\":false,\"deep_supervision\":false"; go whole
of plain train "$two,$truth,\"query_generator\":\"fixed\",\"robust_key\":false,\"stage1_mask_attention\":false,\"stage1_mask_features\":false,\"decoder_adapter\":false,\"backbone_adapter\":\"always\",\"freeze_backbone\":false"; go plain

# a lone query that no mask guides: all that look get the same
of lone eval "\"stage\":\"one\",${net/\"num_queries\":4/\"num_queries\":1},\"masked_attention\":false"; go lone
for name in dissipation_index replication_index; do
  for i in 0 1; do
    layer=model.model.transformer_module.decoder.layers.$i.cross_attn
    awk -v r="$(result lone "$name/$layer@test")" 'BEGIN { exit !(r > 1 - 1e-6 && r < 1 + 1e-6) }' || { grep result "$W/lone.log"; die "lone: $name of layer $i is not 1"; }
  done
done

# prediction and timing
"$TRIAL" predict "$W/two/best.safetensors" --data "$W/data" --clips 1 --out "$W/p" >"$W/p.log" 2>&1 || { cat "$W/p.log"; die predict; }
[ "$(find "$W/p" -name '*.overlay.png' | wc -l)" -ge 5 ] || die "too few overlays"
"$TRIAL" predict "$W/one/best.safetensors" --data "$W/data" --clips 1 --out "$W/p1" >"$W/p.log" 2>&1 || { cat "$W/p.log"; die "predict, stage one"; }
"$TRIAL" predict "$W/one/best.safetensors" "$W/one-k1/best.safetensors" --data "$W/data" --clips 1 --out "$W/p2" >"$W/p.log" 2>&1 || { cat "$W/p.log"; die "predict, two checkpoints"; }
diff -r "$W/p1" "$W/p2/1" >/dev/null && diff -r "$W/p1" "$W/p2/2" >/dev/null || die "two checkpoints predict otherwise than each alone"
[ "$(od -An -tu1 -j16 -N4 "$W/p2/sheet.png" | tr -s ' ')" = " 0 0 1 232" ] || die "sheet.png has not three columns of 160"
of fast latency "\"stage\":\"two\",$net,\"latency_warmup\":1,\"latency_min_samples\":64,\"latency_min_seconds\":0.1,\"latency_max_seconds\":2,\"latency_scope\":\"model\""; go fast
grep -q '^latency {"n":' "$W/fast.log" || die "no latency line"

# what is missing
of gone train "$two,\"stage1_masks\":\"$W/nowhere\""; refused gone "stage1_masks: there is no folder"
mkdir -p "$W/empty"
of empty train "$two,\"stage1_masks\":\"$W/empty\""; refused empty "stage1_masks: .* is missing"
of none train "$two"; refused none "stage1_masks"
cp -r "$W/one/masks" "$W/torn"; first=$(find "$W/torn/test" -name 0.png | sort | head -1); : >"$first"
of torn eval "\"stage\":\"two\",$net,\"stage1_masks\":\"$W/torn\",\"init\":\"$W/two/best.safetensors\""; refused torn "stage1_masks: $first"
echo "aavs: ok"
