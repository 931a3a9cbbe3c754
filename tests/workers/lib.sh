# For the scripts beside this file: toy data, jobs, and checks that name what they compared. Source it with TRIAL and TOYS set.
set -eu
W=$(mktemp -d "${TMPDIR:-/tmp}/avs-trial-XXXXXX")
trap 'rm -rf "$W"' EXIT
die() { echo "FAIL: $*" >&2; exit 1; }
same() { cmp -s "$1" "$2" || die "$1 and $2 differ${3:+ ($3)}"; }

# toys CLASSES SIZE TRAIN VAL TEST [SETTINGS]: composes $W/data once; with avss at most 5 classes, named as class maps have them
toys() {
  local settings=${6:-ms3} i=0 name end
  "$TOYS" "$W/src" "$1"
  case $settings in *avss*)
    for name in dog duck sheep horse lion; do
      for end in png wav; do mv "$W/src/stamps/c0$i.$end" "$W/src/stamps/$name.$end"; done
      i=$((i + 1))
    done ;;
  esac
  "$TRIAL" data compose "$W/data" --settings "$settings" --classes "$1" --size "$2" --train "$3" --val "$4" --test "$5" --seed 5 \
    --stamps "$W/src/stamps" --backgrounds "$W/src/backgrounds" --threads 2 >"$W/compose.log" 2>&1 || { cat "$W/compose.log"; die compose; }
}

# job NAME PARAMS [TOP]: writes $W/NAME.json; PARAMS and TOP are JSON members without braces
job() {
  printf '{"kind":"train","seed":3,"threads":2,"work_dir":"%s","cache_dir":""%s,"params":{"model":"avesformer_mini","task":"ms3","data_root":"%s",%s}}' \
    "$W/$1" "${3:+,$3}" "$W/data" "$2" >"$W/$1.json"
}
# refused NAME TEXT..: the run ends with one line that holds each text
refused() {
  local name=$1 t; shift
  run "$name" && die "$name was not refused"
  [ "$(grep -c '^error' "$W/$name.log")" -eq 1 ] || die "$name: not one error line: $(cat "$W/$name.log")"
  for t in "$@"; do grep -q "^error.*$t" "$W/$name.log" || die "$name: '$t' is not in $(cat "$W/$name.log")"; done
}
run() { "$TRIAL" run "$W/$1.json" >"$W/$1.log" 2>&1; }
# result NAME METRIC: the number that run NAME reported
result() { sed -n "s|^result $2 \([^ ]*\).*|\1|p" "$W/$1.log" | tail -n 1; } # names have slashes

# kill_when NAME CONDITION..: runs NAME until the command CONDITION holds, then kills it. False: it had ended by itself.
kill_when() {
  local name=$1 end=$((SECONDS + 120)) killed=0; shift
  "$TRIAL" run "$W/$name.json" >"$W/$name.log" 2>&1 & local pid=$!
  while ! "$@" && kill -0 $pid 2>/dev/null; do
    [ $SECONDS -lt $end ] || { kill -9 $pid; die "$name: after two minutes not yet: $*"; }
    sleep 0.002
  done
  kill -9 $pid 2>/dev/null || killed=1
  wait $pid 2>/dev/null || true
  return $killed
}
# cut NAME CONDITION..: NAME from the start, killed when CONDITION holds, then run to its end: it must go on from its checkpoint.
# A run that was too quick for the kill is made again.
cut() {
  local name=$1 i
  for i in 1 2 3 4 5 6 7 8; do
    rm -rf "${W:?}/$name"
    ! kill_when "$@" || break
  done
  run "$name" || { cat "$W/$name.log"; die "$name: run after a kill"; }
  grep -q '^resumed from .*last.safetensors at step' "$W/$name.log" || { cat "$W/$name.log"; die "$name: did not resume ($i tries)"; }
}
has_checkpoint() { [ -e "$W/$1/last.safetensors" ]; }
# For CONDITION: a checkpoint with another inode than INODE, which checkpoint_inode NAME told before.
checkpoint_inode() { stat -c %i "$W/$1/last.safetensors" 2>/dev/null || echo none; }
has_new_checkpoint() { [ "$(checkpoint_inode "$1")" != "$2" ]; }
