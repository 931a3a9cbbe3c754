#!/bin/bash
# Systems on SAM, tiny: equal seeds give equal bytes, a trained system is evaluated, starts another as a checkpoint of SAM
# and predicts, latency runs, ablations train what they say.
TRIAL=$1 TOYS=$2
. "$(dirname "$0")/lib.sh"
toys 5 32 6 2 2
sizes='"backbone":"sam_vit_custom","backbone_patch_size":8,"backbone_embed_dim":16,"backbone_depths":2,"backbone_num_heads":2,"backbone_window_size":3,"backbone_global_blocks":[1],"embed_dim":16,"num_heads":2,"ffn_dim":16,"iou_hidden_dim":8,"mask_channels":4,"audio_hidden_dim":8'
common="\"resolution\":32,\"audio_weights\":\"random\",\"eval_batch\":2,$sizes"
train="\"batch\":4,\"steps\":4,\"lr\":0.002,\"eval_every\":2,\"backbone_weights\":\"random\",$common"

sam_job() { # NAME MODEL PARAMS [KIND]
  job "$1" "$3"
  sed -i "s/\"model\":\"avesformer_mini\"/\"model\":\"$2\"/; s/\"kind\":\"train\"/\"kind\":\"${4:-train}\"/; s#\"cache_dir\":\"\"#\"cache_dir\":\"$W/cache\"#" "$W/$1.json"
}

sam_job save save "$train"; run save || { cat "$W/save.log"; die save; }
sam_job again save "$train"; run again || die "save again"
same "$W/save/last.safetensors" "$W/again/last.safetensors" "equal seeds"
[ -n "$(result save miou@test)" ] || die "no miou@test in $(cat "$W/save.log")"

# an evaluation of the trained weights gives the numbers that training ended with
sam_job eval save "\"backbone_weights\":\"random\",\"init\":\"$W/save/best.safetensors\",$common" eval
run eval || { cat "$W/eval.log"; die eval; }
[ "$(result save miou@test)" = "$(result eval miou@test)" ] || die "eval: $(result eval miou@test), training: $(result save miou@test)"

sam_job start save "\"backbone_weights\":\"$W/save/best.safetensors\",$common" eval
run start || { cat "$W/start.log"; die "start from a whole checkpoint"; }
[ "$(result save miou@test)" = "$(result start miou@test)" ] || die "start: $(result start miou@test), training: $(result save miou@test)"
grep -q 'keys of save/sam_vit_custom taken' "$W/start.log" || { cat "$W/start.log"; die "no word on the checkpoint"; }

"$TRIAL" predict "$W/save/best.safetensors" --data "$W/data" --clips 1 --out "$W/p" >"$W/p.log" 2>&1 || { cat "$W/p.log"; die predict; }
[ "$(find "$W/p" -name '*.overlay.png' | wc -l)" -eq 5 ] || die "expected 5 overlays"

# SAMA, and SAVE that cannot hear and keeps its decoder: the image adapters alone train
sam_job sama sama "$train"; run sama || { cat "$W/sama.log"; die sama; }
[ -n "$(result sama miou@test)" ] || die "no miou@test in $(cat "$W/sama.log")"
sam_job deaf save "\"audio_adapter\":false,\"freeze_mask_decoder\":true,${train/,\"audio_hidden_dim\":8/}"; run deaf || { cat "$W/deaf.log"; die deaf; }
[ "$(result deaf params_trainable)" -eq $((2 * (25 * 16 * 16 + 2 * 16 * 4 + 2 * 16))) ] || die "deaf: $(result deaf params_trainable) parameters train"

sam_job lat save "${common/\"eval_batch\":2,/},\"backbone_weights\":\"random\",\"latency_scope\":\"model\",\"latency_warmup\":2,\"latency_min_samples\":64,\"latency_min_seconds\":0.1,\"latency_max_seconds\":5" latency
run lat || { cat "$W/lat.log"; die latency; }
grep -q '^latency {"n":' "$W/lat.log" || die "no latency line"

sam_job odd save "$train"; sed -i 's/"resolution":32/"resolution":24/' "$W/odd.json"
! run odd || die "an odd number of patches was accepted with the image adapter"
grep -q 'resolution' "$W/odd.log" || { cat "$W/odd.log"; die "no word on the resolution"; }
echo "sam: ok"
