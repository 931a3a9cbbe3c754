#!/bin/bash
# Each system that is too large for trial.sh, at its smallest: it trains, a killed run continues to the same bytes, it
# evaluates, predicts and is timed.
TRIAL=$1 TOYS=$2
. "$(dirname "$0")/lib.sh"
toys 5 32 4 2 2

# of NAME KIND MODEL PARAMS [TOP]: writes $W/NAME.json
of() {
  printf '{"kind":"%s","seed":3,"threads":1,"work_dir":"%s","cache_dir":"%s"%s,"params":{"model":"%s","task":"ms3","data_root":"%s",%s}}' \
    "$2" "$W/$1" "$W/cache" "${5:+,$5}" "$3" "$W/data" "$4" >"$W/$1.json"
}

# system MODEL MODEL_PARAMS TRAINING_PARAMS
system() {
  local m=$1 net="\"resolution\":64,\"backbone_weights\":\"random\",\"audio_weights\":\"random\",$2"
  local train="$net,\"batch\":2,\"steps\":3,\"eval_batch\":1${3:+,$3}"
  of "$m" train "$m" "$train"; run "$m" || { cat "$W/$m.log"; die "$m: training"; }
  [ -n "$(result "$m" miou@test)" ] || { cat "$W/$m.log"; die "$m: no miou@test"; }

  of "$m-k" train "$m" "$train" '"limits":{"checkpoint_every_s":0.001}'
  "$TRIAL" run "$W/$m-k.json" >"$W/$m-k.log" 2>&1 & local pid=$!
  while kill -0 $pid 2>/dev/null && [ ! -e "$W/$m-k/last.safetensors" ]; do :; done
  kill -9 $pid 2>/dev/null && wait $pid 2>/dev/null || true
  run "$m-k" || { cat "$W/$m-k.log"; die "$m: run after a kill"; }
  grep -q '^resumed from .*last.safetensors at step' "$W/$m-k.log" || die "$m: did not resume"
  same "$W/$m/last.safetensors" "$W/$m-k/last.safetensors" "$m: after a kill"

  of "$m-e" eval "$m" "$net,\"eval_batch\":2,\"init\":\"$W/$m/best.safetensors\""
  run "$m-e" || { cat "$W/$m-e.log"; die "$m: evaluation"; }
  [ "$(result "$m-e" miou@test)" = "$(result "$m" miou@test)" ] || die "$m: evaluation says $(result "$m-e" miou@test), training $(result "$m" miou@test)"

  of "$m-l" latency "$m" "$net,\"latency_warmup\":1,\"latency_min_samples\":64,\"latency_min_seconds\":0.1,\"latency_max_seconds\":2,\"latency_scope\":\"model\""
  run "$m-l" || { cat "$W/$m-l.log"; die "$m: latency"; }
  grep -q '^latency {"n":' "$W/$m-l.log" || die "$m: no latency line"

  "$TRIAL" predict "$W/$m/best.safetensors" --data "$W/data" --clips 1 --out "$W/$m-p" >"$W/$m-p.log" 2>&1 || { cat "$W/$m-p.log"; die "$m: predict"; }
  [ "$(find "$W/$m-p" -name '*.overlay.png' | wc -l)" -eq 5 ] || die "$m: expected 5 overlays"
}

system lightavseg '"backbone":"seaformer_t","embed_dim":16'
system tpavi '"backbone":"pvt_v2_b0","embed_dim":16,"tpavi_visual_visual":true'
echo "systems: ok"
