#!/bin/bash
# Weights from files of PyTorch: convert, its refusals, and training that starts from a .pth. The parts that need PyTorch to
# write files say so where it is missing; the fixtures of tests/engine/tensor stand for it everywhere else.
TRIAL=$1 TOYS=$2 FEATURES=$3
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
fixtures=$here/../engine/tensor/fixtures
export AVSWEEP_WEIGHTS=$W/weights
mkdir "$W/weights"

# good NAME ARGS..: convert succeeds. bad NAME STATUS TEXT ARGS..: it fails, TEXT is in the one error line, nothing is written
good() {
  local name=$1; shift
  "$TRIAL" convert "$@" >"$W/$name.log" 2>&1 || { cat "$W/$name.log"; die "convert: $name"; }
}
bad() {
  local name=$1 status=$2 text=$3 rc; shift 3
  set +e; (trap '' XFSZ; ulimit -f ${limit:-unlimited}; "$TRIAL" convert "$@") 2>&1 | cat >"$W/$name.log"; rc=${PIPESTATUS[0]}; set -e
  [ $rc -eq "$status" ] || { cat "$W/$name.log"; die "$name: status $rc, not $status"; }
  grep -E '^(error|avsweep convert): ' "$W/$name.log" >"$W/line" || { cat "$W/$name.log"; die "$name: no error line"; }
  [ "$(wc -l <"$W/line")" -eq 1 ] || { cat "$W/$name.log"; die "$name: not one error line"; }
  grep -qF -- "$text" "$W/line" || die "$name: '$text' is not in: $(cat "$W/line")"
  [ -z "$(find "$W" -name 'no*.safetensors*')" ] || die "$name: something was written"
}
no=$W/no.safetensors

# ---- fixtures
for f in kinds kinds-legacy kinds-protocol4 kinds-legacy-protocol4; do good $f "$fixtures/$f.pth" "$W/$f.safetensors"; done
grep -q 'kinds.pth (zip)' "$W/kinds.log" && grep -q '(legacy)' "$W/kinds-legacy.log" || die "the container is not told"
grep -q 'wrote .*: 17 tensors' "$W/kinds.log" || die "not 17 tensors"
same <(tail -c +2000 "$W/kinds.safetensors") <(tail -c +2000 "$W/kinds-legacy.safetensors") "both containers"
good again "$W/kinds.safetensors" "$W/again.safetensors"
good nested "$fixtures/nested.pth" "$W/nested.safetensors"
grep -q 'the mapping under state_dict' "$W/nested.log" || die "nested.pth: $(cat "$W/nested.log")"
good ema "$fixtures/two.pth" "$W/ema.safetensors" --key ema --rename w=net.w --ignore 'x*'
grep -q '"net.w"' "$W/ema.safetensors" || die "w was not renamed"

# ---- wrong input: one line, nothing written
head -c 900 "$fixtures/kinds.pth" >"$W/cut.pth"
head -c 900 "$fixtures/kinds-legacy.pth" >"$W/cut-legacy.pth"
echo '<!DOCTYPE html><html>404</html>' >"$W/page.pth"
: >"$W/empty.pth"
mkfifo "$W/pipe"
bad cut 1 'cut.pth: begins like a zip file but has no zip directory' "$W/cut.pth" "$no"
bad cut-legacy 1 cut-legacy.pth "$W/cut-legacy.pth" "$no"
bad page 1 'page.pth: neither a safetensors file nor a checkpoint of torch.save' "$W/page.pth" "$no"
bad empty 1 'empty.pth: neither' "$W/empty.pth" "$no"
bad missing 1 'nowhere.pth' "$W/nowhere.pth" "$no"
bad folder 1 'a folder' "$W" "$no"
bad pipe 1 'a regular file is expected' "$W/pipe" "$no"
bad module 1 'an object of torch.nn.modules.linear.Linear' "$fixtures/module.pth" "$no"
bad sparse 1 '_rebuild_sparse_tensor' "$fixtures/sparse.pth" "$no"
printf '\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.' >"$W/call.pth"
bad call 1 'magic number' "$W/call.pth" "$no"
printf '\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02i.' >"$W/opcode.pth"
bad opcode 1 'pickle opcode 0x69: this opcode is not one that torch.save writes' "$W/opcode.pth" "$no"
bad choice 1 'several mappings could be meant' "$fixtures/two.pth" "$no"
bad key 1 "'net' is not there" "$fixtures/two.pth" "$no" --key net
bad stkey 1 'only a checkpoint of torch.save has a mapping' "$W/kinds.safetensors" "$no" --key net
bad twice 1 'occurs twice' "$fixtures/kinds.pth" "$no" --rename base=tied
bad nothing 1 'nothing is left to write' "$fixtures/two.pth" "$no" --key ema --ignore '*'
bad unwritable 1 "$W/none/x.safetensors" "$fixtures/kinds.pth" "$W/none/x.safetensors"
bad notdir 1 'cut.pth/no.safetensors' "$fixtures/kinds.pth" "$W/cut.pth/no.safetensors"
bad shape 1 'does not fit resnet18: 100 keys are missing' "$fixtures/nested.pth" "$no" --backbone-only resnet18
grep -q '100 missing in the file:' "$W/shape.log" && grep -q '^  .. and 80 more' "$W/shape.log" || die "$(cat "$W/shape.log")"
bad backbone 1 "backbone 'resnet19' is not built in (resnet18," "$fixtures/kinds.pth" "$no" --backbone-only resnet19
bad model 1 'num_querys' "$fixtures/kinds.pth" "$no" --model avesformer_mini --num_querys 3
bad usage1 2 'OUT.safetensors are wanted' "$fixtures/kinds.pth"
bad usage2 2 'third file' a b c
bad usage3 2 'wants A=B' a b --rename x
bad usage4 2 'without its value' a b --key
bad usage5 2 'no --model' a b --num_queries 3
bad usage6 2 'is model, backbone or audio' a b --model avesformer --part head
bad usage7 2 'takes --resolution alone' a b --backbone-only resnet18 --batch 3
"$TRIAL" convert --help | grep -q 'resnet18, resnet34, resnet50, pvt_v2_b0..b5' || die "help does not name the backbones"
# where the file may not grow, nothing is left behind, not even a file begun
limit=1 bad full 1 no.safetensors "$fixtures/kinds.pth" "$no"

# ---- training starts from a .pth as from safetensors
toys 4 32 4 2 2
small='"resolution":32,"num_queries":4,"embed_dim":32,"backbone_width":8,"batch":4,"frames_per_clip":2,"steps":2,"eval_batch":2'
job first "$small"; run first || { cat "$W/first.log"; die "first run"; }
"$TRIAL" convert "$W/first/best.safetensors" "$W/plain.safetensors" --model avesformer_mini --task ms3 --resolution 32 \
  --num_queries 4 --embed_dim 32 --backbone_width 8 >"$W/plain.log" || die "convert of a checkpoint"
start() { job "$1" "$small,\"init\":\"$2\""; run "$1" || { cat "$W/$1.log"; die "init $2"; }; }
start st "$W/first/best.safetensors"; start last "$W/first/last.safetensors"; start plain "$W/plain.safetensors"
grep -q '^weights: .*best.safetensors: \([0-9]*\) of \1 keys of avesformer_mini taken$' "$W/st.log" || die "no line about the weights"
grep -q 'left aside (opt.m' "$W/last.log" || die "no line about optimiser state"
init_state() { tail -c +"$((9 + $(od -An -tu8 -N8 "$1")))" "$1" | sha256sum; } # tensors without header: it names the option
[ "$(init_state "$W/st/last.safetensors")" = "$(init_state "$W/plain/last.safetensors")" ] || die "checkpoint and converted file start differently"
! cmp -s "$W/st/last.safetensors" "$W/first/last.safetensors" || die "init changed nothing"
job queries "$(echo "$small" | sed 's/"num_queries":4/"num_queries":6/'),\"init\":\"$W/plain.safetensors\""
run queries || { cat "$W/queries.log"; die "init with other queries"; }
grep -q 'keep their values (generator.query, mask_head.mlp.0.weight)' "$W/queries.log" || die "no line about the queries: $(cat "$W/queries.log")"
job eval "$(echo "$small" | sed 's/"num_queries":4/"num_queries":6/; s/"batch":4,"frames_per_clip":2,"steps":2,//'),\"init\":\"$W/plain.safetensors\""
sed -i 's/"kind":"train"/"kind":"eval"/' "$W/eval.json"
run eval && die "an evaluation with queries of another shape"
grep -q 'error: init: .*2 of another shape (generator.query, mask_head.mlp.0.weight)' "$W/eval.log" || { cat "$W/eval.log"; die "eval"; }

# ---- a frozen encoder is not in the checkpoint of a training on its cached output: prediction finds it by audio_weights
case $("$TRIAL" version) in
*Release*)
  job deaf "$small,\"audio_backbone\":\"vggish\",\"audio_weights\":\"random\""; run deaf || { cat "$W/deaf.log"; die vggish; }
  ! grep -q '"vggish[.]' "$W/deaf/best.safetensors" || die "the frozen encoder is in the checkpoint"
  "$TRIAL" predict "$W/deaf/best.safetensors" --data "$W/data" --clips 1 --out "$W/p" >"$W/p.log" 2>&1 || { cat "$W/p.log"; die predict; }
  job none "$small,\"audio_backbone\":\"vggish\",\"audio_weights\":\"pretrained\""
  run none && die "pretrained vggish without a file"
  grep -q 'error: audio_weights: pretrained weights of vggish are wanted but .*weights/vggish.safetensors (or .pth, .pt) is missing' \
    "$W/none.log" || { cat "$W/none.log"; die "no pretrained vggish"; } ;;
*) echo "convert: VGGish is tried in optimised builds" ;;
esac

# ---- files that PyTorch writes now
python=
for p in "${AVS_PYTHON:-}" /usr/bin/python3 python3; do
  [ -n "$p" ] && "$p" -c 'import torch, numpy' 2>/dev/null && { python=$p; break; }
done
[ -n "$python" ] || { echo "convert: ok (no PyTorch here: fresh files of torch.save are skipped, fixtures were read)"; exit 0; }
py() { OMP_NUM_THREADS=1 "$python" -W ignore "$here/convert_torch.py" "$@" || die "convert_torch.py $*"; }
py write "$W"
for f in mixed mixed-legacy; do good $f "$W/$f.pth" "$W/$f.safetensors"; py same "$W/$f.safetensors" "$W/$f.pth"; done
good mixed-nested "$W/nested.pth" "$W/mixed-nested.safetensors"; py same "$W/mixed-nested.safetensors" "$W/nested.pth" state_dict
bad whole 1 'save the state_dict of a module' "$W/whole-module.pth" "$no"
bad wrong 1 '1 keys are missing (layer1.0.conv1.weight), 1 not expected (fc2.weight), 1 of another shape (conv1.weight)' \
  "$W/resnet18-wrong.pth" "$no" --backbone-only resnet18
grep -qF 'conv1.weight is [64,1,7,7], the model wants [64,3,7,7]' "$W/wrong.log" || die "$(cat "$W/wrong.log")"

# a ResNet-18 with torchvision's keys: same features from either container and from PyTorch
good r18 "$W/resnet18.pth" "$W/weights/resnet18.safetensors" --backbone-only resnet18
grep -q '100 of 100 keys of resnet18 taken; by rule 22 are left aside' "$W/r18.log" || die "$(cat "$W/r18.log")"
for f in resnet18.pth resnet18-legacy.pth weights/resnet18.safetensors; do
  "$FEATURES" resnet18 "$W/$f" "$W/features.safetensors" 2>"$W/features.log" || { cat "$W/features.log"; die "features of $f"; }
done >"$W/sums"
[ "$(wc -l <"$W/sums")" -eq 3 ] && [ "$(sort -u "$W/sums" | wc -l)" -eq 1 ] || die "features differ: $(cat "$W/sums")"
py features "$W/resnet18.pth" "$W/features.safetensors"

# pretrained finds the .pth, and the .safetensors before it
r18='"backbone":"resnet18","resolution":32,"batch":2,"frames_per_clip":1,"steps":1,"eval_batch":2,"audio_weights":"random","backbone_weights":'
pre() { job "$1" "$r18$2"; sed -i 's/"avesformer_mini"/"avesformer"/' "$W/$1.json"; run "$1" || { cat "$W/$1.log"; die "$1"; }; }
case $("$TRIAL" version) in
*Release*)
  pre st18 '"pretrained"'; rm "$W/weights/resnet18.safetensors"; cp "$W/resnet18.pth" "$W/weights/"; pre pth18 '"pretrained"'
  grep -q '^weights: .*weights/resnet18.safetensors: 100 of 100' "$W/st18.log" || die "$(cat "$W/st18.log")"
  grep -q '^weights: .*weights/resnet18.pth: 100 of 100' "$W/pth18.log" || die "$(cat "$W/pth18.log")"
  same "$W/st18/last.safetensors" "$W/pth18/last.safetensors" "pretrained from either container"
  # SAM at 1024 pixels to tables for 256
  good sam "$W/sam.pth" "$W/sam.safetensors" --backbone-only sam_vit_b --resolution 256
  grep -q '9 are interpolated (pos_embed, ..' "$W/sam.log" || grep -q 'by rule 9 are interpolated' "$W/sam.log" || die "$(cat "$W/sam.log")"
  py resized "$W/sam.pth" "$W/sam.safetensors" ;;
*) echo "convert: whole trainings with a ResNet-18 and SAM's tables are tried in optimised builds" ;;
esac
echo "convert: ok"
