#!/bin/bash
# Precision bf16: refused with what was found where the processor lacks it; else equal seeds give equal bytes, a run that
# was stopped continues to the same bytes, and the mode is told with the results.
TRIAL=$1 TOYS=$2
. "$(dirname "$0")/lib.sh"
toys 4 32 8 2 2
small='"resolution":32,"num_queries":4,"embed_dim":32,"backbone_width":8,"batch":4,"frames_per_clip":2,"eval_every":3,"eval_batch":2,"lr_warmup_steps":3,"dropout":0.1'

job avx2 "$small,\"steps\":2,\"precision\":\"bf16\""
DNNL_MAX_CPU_ISA=AVX2 refused avx2 'AVX512-BF16 or AMX' 'offers AVX2\|offers AVX \|offers SSE' fp32
job tf32 "$small,\"steps\":2,\"precision\":\"tf32\""; refused tf32 tf32 'fp32 and bf16'
if ! grep -qw -e avx512_bf16 -e amx_bf16 /proc/cpuinfo; then
  job b "$small,\"steps\":2,\"precision\":\"bf16\""; refused b 'AVX512-BF16 or AMX'
  echo "bf16: ok (this processor has none)"; exit 0
fi

for n in f32 b c; do
  p=bf16; [ $n = f32 ] && p=fp32
  job $n "$small,\"steps\":6,\"precision\":\"$p\""
  run $n || { cat "$W/$n.log"; die "$n"; }
done
same "$W/b/last.safetensors" "$W/c/last.safetensors" "equal seeds"
same "$W/b/best.safetensors" "$W/c/best.safetensors" "equal seeds"
cmp -s "$W/b/last.safetensors" "$W/f32/last.safetensors" && die "bf16 and fp32 gave the same weights"

# stopped after each checkpoint until it ends by itself
job k "$small,\"steps\":6,\"precision\":\"bf16\"" '"limits":{"checkpoint_every_s":0.001}'
kills=0
while [ $kills -lt 2 ]; do
  kill_when k has_new_checkpoint k "$(checkpoint_inode k)" && kills=$((kills + 1))
  grep -q '^result miou@test' "$W/k.log" && break
done
[ $kills -ge 1 ] || die "the run was never killed"
run k || { cat "$W/k.log"; die "last run after $kills kills"; }
same "$W/b/last.safetensors" "$W/k/last.safetensors" "after $kills kills"

for p in fp32 bf16; do
  printf '{"kind":"latency","seed":0,"threads":1,"work_dir":"%s","params":{"model":"avesformer_mini","task":"ms3","resolution":32,"precision":"%s","latency_warmup":2,"latency_min_samples":64,"latency_min_seconds":0.1,"latency_max_seconds":5}}' "$W/lat" "$p" >"$W/lat.json"
  run lat || { cat "$W/lat.log"; die "latency $p"; }
  grep -q '^latency {"n":' "$W/lat.log" || die "no latency line"
done
echo "bf16: ok ($kills kills)"
