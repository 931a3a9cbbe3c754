#!/bin/bash
# Each system that is too large for trial.sh, at its smallest, with masks and with classes: it trains, a killed run continues
# to the same bytes, it evaluates with the numbers that training ended with (attention dissipation too), goes on from its
# checkpoint where that stood, predicts and is timed.
TRIAL=$1 TOYS=$2
. "$(dirname "$0")/lib.sh"
toys 5 32 4 2 2 ms3,avss

# of NAME KIND MODEL PARAMS [TOP]: writes $W/NAME.json for $task
task=ms3
of() {
  printf '{"kind":"%s","seed":3,"threads":1,"work_dir":"%s","cache_dir":"%s"%s,"params":{"model":"%s","task":"%s","data_root":"%s",%s}}' \
    "$2" "$W/$1" "$W/cache" "${5:+,$5}" "$3" "$task" "$W/data" "$4" >"$W/$1.json"
}

# resumes MODEL MODEL_PARAMS TRAINING_PARAMS: sets m and net
resumes() {
  local size=64; case $1 in save|sama) size=32 ;; esac
  m=$1-$task net="\"resolution\":$size,\"backbone_weights\":\"random\",\"audio_weights\":\"random\",$2"
  local train="$net,\"batch\":2,\"steps\":3,\"eval_batch\":1${3:+,$3}"
  of "$m" train "$1" "$train"; run "$m" || { cat "$W/$m.log"; die "$m: training"; }
  [ -n "$(result "$m" miou@test)" ] || { cat "$W/$m.log"; die "$m: no miou@test"; }

  of "$m-k" train "$1" "$train" '"limits":{"checkpoint_every_s":0.001}'
  cut "$m-k" has_checkpoint "$m-k"
  same "$W/$m/last.safetensors" "$W/$m-k/last.safetensors" "$m: after a kill"

  of "$m-e" eval "$1" "$net,\"eval_batch\":2,\"init\":\"$W/$m/best.safetensors\""
  run "$m-e" || { cat "$W/$m-e.log"; die "$m: evaluation"; }
  same <(grep '^result.*@test' "$W/$m.log") <(grep '^result.*@test' "$W/$m-e.log") "$m: training and evaluation"

  # further training starts at the score that was saved
  of "$m-i" train "$1" "$train,\"init\":\"$W/$m/best.safetensors\""
  run "$m-i" || { cat "$W/$m-i.log"; die "$m: further training"; }
  [ "$(result "$m-i" init_miou@val)" = "$(result "$m" miou@val)" ] || die "$m: starts at $(result "$m-i" init_miou@val), saved was $(result "$m" miou@val)"
}

# system MODEL MODEL_PARAMS TRAINING_PARAMS
system() {
  resumes "$@"
  of "$m-l" latency "$1" "$net,\"latency_warmup\":1,\"latency_min_samples\":64,\"latency_min_seconds\":0.1,\"latency_max_seconds\":2,\"latency_scope\":\"model\""
  run "$m-l" || { cat "$W/$m-l.log"; die "$m: latency"; }
  grep -q '^latency {"n":' "$W/$m-l.log" || die "$m: no latency line"

  "$TRIAL" predict "$W/$m/best.safetensors" --data "$W/data" --clips 1 --out "$W/$m-p" >"$W/$m-p.log" 2>&1 || { cat "$W/$m-p.log"; die "$m: predict"; }
  [ "$(find "$W/$m-p" -name '*.overlay.png' | wc -l)" -eq 5 ] || die "$m: expected 5 overlays"
}

light='"backbone":"seaformer_t","embed_dim":16'
tpavi='"backbone":"pvt_v2_b0","embed_dim":16,"tpavi_visual_visual":true'
system lightavseg "$light"
system tpavi "$tpavi"
[ -z "$(result lightavseg-ms3 dissipation_index@test)" ] || die "lightavseg has no attention to report on"
[ -n "$(result tpavi-ms3 replication_index@test)" ] || die "tpavi: no replication_index@test"
task=avss
resumes lightavseg "$light"

case $("$TRIAL" version) in *Release*) ;; *) echo "systems: ok (the others in optimised builds)"; exit 0;; esac
# their VGGish is too large for the sanitizers
small='"backbone":"pvt_v2_b0","embed_dim":32,"num_heads":4,"ffn_dim":16,"mask_mlp_dim":8,"dropout":0.1,"drop_path":0.1'
vit='"backbone":"sam_vit_custom","backbone_patch_size":8,"backbone_embed_dim":16,"backbone_depths":2,"backbone_num_heads":2,"backbone_window_size":3,"backbone_global_blocks":[1],"embed_dim":16,"num_heads":2,"ffn_dim":16,"iou_hidden_dim":8,"audio_hidden_dim":8'
resumes tpavi "$tpavi"
for task in ms3 avss; do
  resumes avesformer_mini '"num_queries":4,"embed_dim":32,"backbone_width":8,"dropout":0.1'
  resumes avesformer "$small,\"num_queries\":4"
  resumes avsegformer "$small,\"num_queries\":4,\"num_encoder_layers\":1,\"num_decoder_layers\":1" '"freeze_backbone_epochs":1'
done
task=ms3
resumes save "$vit"
resumes sama "$vit"

# Audio alone as the one key: softmax over it is 1, every place gets the same (AVESFormer, equation 4), trained or not.
of plain eval avesformer "\"resolution\":64,\"backbone_weights\":\"random\",\"audio_weights\":\"random\",$small,\"fusion\":\"dissipation\""
sed -i 's/,"dropout":0.1,"drop_path":0.1//' "$W/plain.json"
run plain || { cat "$W/plain.log"; die "plain cross-attention"; }
for name in dissipation_index attention_entropy; do
  for layer in 2 3 4 5; do
    [ "$(result plain "$name/decoder.$layer.fuse@test")" = 1 ] || { grep result "$W/plain.log"; die "plain: $name of layer $layer is not 1"; }
  done
  [ "$(result plain $name@test)" = 1 ] || die "plain: $name is $(result plain $name@test)"
done
awk -v r="$(result plain replication_index@test)" 'BEGIN { exit !(r > 1 - 1e-5 && r < 1 + 1e-5) }' || die "plain: replication_index is $(result plain replication_index@test)"
awk -v d="$(result avesformer-ms3 dissipation_index@test)" 'BEGIN { exit !(d > 0 && d < 1) }' || die "prompt queries: dissipation_index is $(result avesformer-ms3 dissipation_index@test)"
echo "systems: ok"
