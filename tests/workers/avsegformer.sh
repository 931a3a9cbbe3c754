#!/bin/bash
# AVSegFormer, tiny, in both variants: a frozen and then trained backbone, a killed run that continues to the same bytes,
# evaluation of the trained weights, prediction, latency; options that do not go together are refused with both names.
TRIAL=$1 TOYS=$2
. "$(dirname "$0")/lib.sh"
toys 5 32 4 2 2
sizes='"backbone":"pvt_v2_b0","embed_dim":32,"num_heads":4,"num_queries":4,"num_encoder_layers":1,"num_decoder_layers":2,"ffn_dim":32,"mask_mlp_dim":16,"num_points":2'
net="\"resolution\":32,\"backbone_weights\":\"random\",\"audio_weights\":\"random\",$sizes"
train="\"batch\":2,\"steps\":4,\"freeze_backbone_epochs\":1,\"eval_batch\":2,$net"

avs_job() { # NAME PARAMS [KIND] [TOP]
  job "$1" "$2" ${4:+"$4"}
  sed -i "s/\"model\":\"avesformer_mini\"/\"model\":\"avsegformer\"/; s/\"kind\":\"train\"/\"kind\":\"${3:-train}\"/; s#\"cache_dir\":\"\"#\"cache_dir\":\"$W/cache\"#" "$W/$1.json"
}

avs_job a "$train"; run a || { cat "$W/a.log"; die training; }
[ -n "$(result a miou@test)" ] || { cat "$W/a.log"; die "no miou@test"; }

# killed once there is a checkpoint
avs_job k "$train" train '"limits":{"checkpoint_every_s":0.001}'
cut k has_checkpoint k
same "$W/a/last.safetensors" "$W/k/last.safetensors" "after a kill"

avs_job e "\"eval_batch\":2,\"init\":\"$W/a/best.safetensors\",$net" eval
run e || { cat "$W/e.log"; die evaluation; }
[ "$(result e miou@test)" = "$(result a miou@test)" ] || die "evaluation says $(result e miou@test), training $(result a miou@test)"

"$TRIAL" predict "$W/a/best.safetensors" --data "$W/data" --clips 1 --out "$W/p" >"$W/p.log" 2>&1 || { cat "$W/p.log"; die predict; }
[ "$(find "$W/p" -name '*.overlay.png' | wc -l)" -eq 5 ] || die "expected 5 overlays"

avs_job r "\"variant\":\"released\",\"num_generator_layers\":1,\"generator_ffn_dim\":16,$train"; run r || { cat "$W/r.log"; die released; }
[ -n "$(result r miou@test)" ] || die "no miou@test of the released variant"

avs_job l "\"latency_scope\":\"model\",\"latency_warmup\":1,\"latency_min_samples\":64,\"latency_min_seconds\":0.1,\"latency_max_seconds\":5,$net" latency
run l || { cat "$W/l.log"; die latency; }
grep -q '^latency {"n":' "$W/l.log" || die "no latency line"

avs_job odd "\"aux_loss\":\"mix\",$train"
! run odd || die "aux_loss mix was accepted with variant paper"
grep -q 'aux_loss mix needs variant released' "$W/odd.log" || { cat "$W/odd.log"; die "no word on variant"; }
echo "avsegformer: ok"
