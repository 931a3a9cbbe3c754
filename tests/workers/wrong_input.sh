#!/bin/bash
# Wrong input of each kind ends in one line that names the file and the place, a non-zero status, and nothing half written.
TRIAL=$1 TOYS=$2
. "$(dirname "$0")/lib.sh"
toys 4 32 4 2 2
small='"resolution":32,"num_queries":4,"embed_dim":32,"backbone_width":8,"batch":4,"frames_per_clip":2,"steps":2,"eval_batch":2'
bad() { # NAME TEXT.. : the job fails with status 1 and its last line holds every TEXT
  local name=$1 t line; shift
  set +e; run "$name"; local rc=$?; set -e
  line=$(grep '^error' "$W/$name.log" || true)
  [ $rc -eq 1 ] || die "$name: status $rc: $line"
  for t in "$@"; do case $line in *"$t"*) ;; *) die "$name: '$t' is not in: $line";; esac; done
  [ "$(grep -c '^error' "$W/$name.log")" -eq 1 ] || die "$name: not one error line: $(cat "$W/$name.log")"
}
for command in $("$TRIAL" help | sed -n 's/^  \([a-z-]*\) .*/\1/p'); do # asked for help, a command tells it and does nothing
  "$TRIAL" "$command" --help >"$W/help.log" 2>&1 || die "$command --help: $(cat "$W/help.log")"
  grep -q "$command" "$W/help.log" || die "$command --help: $(cat "$W/help.log")"
done
ms3=$W/data/Multi-sources
keep() { cp -r "$W/data" "$W/keep"; }
back() { rm -rf "$W/data"; cp -r "$W/keep" "$W/data"; }
keep

job key "$small,\"num_querys\":3"; bad key key.json num_querys
job range "$small,\"dropout\":7"; bad range range.json dropout
job nodata "$small"; sed -i "s#$W/data#$W/nowhere#" "$W/nodata.json"; bad nodata nowhere
printf '{"kind":' >"$W/syntax.json"; bad syntax syntax.json:1
job init "$small,\"init\":\"$W/none.safetensors\""; bad init none.safetensors
job pre "$small,\"backbone_weights\":\"pretrained\""; sed -i 's/"avesformer_mini"/"avesformer"/; s/"embed_dim":32,"backbone_width":8,//' "$W/pre.json"; bad pre resnet50

png=$(find "$ms3" -name '*mp4_3.png' | sort | head -n 1)
head -c 200 "$png" >"$W/cut" && cp "$W/cut" "$png"; job png "$small"; bad png "$(basename "$png")"; back
wav=$(find "$ms3/ms3_data/audio_wav/train" -name '*.wav' | sort | head -n 1)
printf 'RIFX' | dd of="$wav" conv=notrunc status=none; job wav "$small"; bad wav "$(basename "$wav")"; back
printf 'ghost,train\n' >>"$ms3/ms3_meta_data.csv"; job csv "$small"; bad csv ms3_meta_data.csv: ghost; back

job ok "$small"; run ok || { cat "$W/ok.log"; die "the undamaged data"; }
head -c 4000 "$W/ok/best.safetensors" >"$W/cut.safetensors"
"$TRIAL" predict "$W/cut.safetensors" --data "$W/data" --out "$W/p" 2>"$W/predict.log" && die "a cut checkpoint was read"
grep -q cut.safetensors "$W/predict.log" || die "$(cat "$W/predict.log")"
[ ! -e "$W/p" ] || die "something was written"
# a damaged last checkpoint costs work, not the trial
head -c 4000 "$W/ok/last.safetensors" >"$W/cut" && cp "$W/cut" "$W/ok/last.safetensors"
run ok || { cat "$W/ok.log"; die "damaged last.safetensors"; }
grep -q 'warning: starting anew' "$W/ok.log" || die "no warning about the damaged checkpoint"
# a work folder of another trial is refused
sed 's/"seed":3/"seed":9/' "$W/ok.json" >"$W/other.json"; bad other last.safetensors 'another trial'
echo "wrong_input: ok"
