#!/bin/bash
# gpus.sh NVML: trials get GPUs of their own, by UUID; NVML is the folder of a stand-in for libnvidia-ml.so.1.
. "$(dirname "$0")/lib.sh"
nvml=$1
unset CUDA_VISIBLE_DEVICES AVSWEEP_BACKEND
export TEST_DIR=$dir FAKE_GPUS=2 LD_LIBRARY_PATH=$nvml

# Ranks of training, with the trial that only pretends: two gangs of two after each other, each rank its GPU.
train() { # train NAME SEEDS GPUS
    cat > "$1.yaml" << END
avsweep: 1
name: $1
kind: train
base: {model: avesformer_mini, task: ms3}
seeds: $2
resources: {gpus: $3, cpus: $3}
END
}
train gang 2 2
FAKE_GPU_BYTES=5000000000 avs run gang.yaml --db gang.db 2> gang.err
expect 0 $? "exit of gangs of two"
expect "done 2 " "$(states gang.db)" "states of gangs of two"
for k in 0 1; do
    expect 2 "$(grep -c "^start.*rank=$k .*gpus=GPU-fake-$k\$" "$FAKE_LOG")" "starts of rank $k on GPU $k"
done
expect "2 GPU-fake-0 GPU-fake-1" "$(sqlite3 -separator ' ' gang.db "SELECT max(a.gpus), max(CASE k.rank WHEN 0 THEN uuid END),
    max(CASE k.rank WHEN 1 THEN uuid END) FROM attempt a JOIN attempt_rank k USING(attempt_id) JOIN gpu USING(gpu_id)")" "GPUs in the database"
expect "NVIDIA H100 80GB HBM3|85899345920|90" "$(sqlite3 gang.db "SELECT model, mem, sm FROM gpu WHERE uuid='GPU-fake-0'")" "a GPU's row"
expect "10000000000" "$(sqlite3 gang.db "SELECT DISTINCT max_gpu_mem FROM attempt")" "memory of both ranks"
train wide 1 3
avs run wide.yaml --db wide.db 2> wide.err
expect 6 $? "exit of a gang of three on two GPUs"
grep -q "error\[R006\].*3 GPUs; the nodes together have 2" wide.err || fail "no R006 for three GPUs"

# A GPU whose memory does not suffice: told apart from other errors, and not tried again unless the file says so.
train small 3 1
FAKE_PLAN="0=oom,1=torch-oom,2=error" avs run small.yaml --db small.db 2> small.err
expect 1 $? "exit with too little GPU memory"
expect "0 oom_gpu 1|1 oom_gpu 1|2 error 1" "$(sqlite3 -separator ' ' small.db "SELECT seed, r.name, count(*) FROM attempt JOIN trial USING(trial_id)
    JOIN reason_name r USING(reason) GROUP BY 1, 2 ORDER BY 1" | paste -sd '|')" "ends with too little GPU memory"
sed 's/^resources.*/&\nlimits: {retries: 2, retry_on: [oom]}/; s/name: small/name: again/' small.yaml > again.yaml
FAKE_PLAN="0=oom*1,1=torch-oom*1" avs run again.yaml --db again.db 2> again.err
expect 0 $? "exit with retry_on: [oom]"
expect 5 "$(sqlite3 again.db "SELECT count(*) FROM attempt")" "attempts with retry_on: [oom]"

# Without a driver training says that it runs on the host; who asks for the GPU's backend is refused.
train host 1 1
LD_LIBRARY_PATH= avs run host.yaml --db host.db 2> host.err
expect 0 $? "exit of training without a GPU"
grep -q "no node has a GPU: trials that ask for GPUs run on the host" host.err || fail "the host is not mentioned"
LD_LIBRARY_PATH= AVSWEEP_BACKEND=cuda avs run host.yaml --db cuda.db 2> cuda.err
expect 6 $? "exit of training on cuda without a GPU"
grep -q "error\[R006\].*1 GPUs.*no node has one that NVML shows" cuda.err || fail "no R006 on cuda without a GPU"
unset FAKE_GPUS
avs run host.yaml --db dead.db 2> dead.err
expect 0 $? "exit of training with a driver that does not answer"
grep -q "a GPU of this node is left out: nvmlInit: Driver Not Loaded" dead.err || fail "a dead driver is not mentioned"
export FAKE_GPUS=2

# External commands, with the real keeper.
FAKE=$(dirname "$AVSWEEP")/avsweep-trial
[ -x "$FAKE" ] || FAKE=
[ -n "$FAKE" ] || exit 0
cat > see.sh << 'END'
#!/bin/bash
# see.sh HOW SEED: notes its GPUs; a GPU is never seen twice at one time
gpus=${CUDA_VISIBLE_DEVICES-unset}
for g in ${gpus//,/ }; do mkdir "$TEST_DIR/lock.$g" || exit 9; done
echo "$1 $2 $gpus" >> "$TEST_DIR/seen"
if [ "$1" = pair ]; then # both run at one time, or this never ends
    touch "$TEST_DIR/here.$2"
    until [ -e "$TEST_DIR/here.0" ] && [ -e "$TEST_DIR/here.1" ]; do echo '{"step": 1, "acc": 0}' >&3; sleep 0.05; done
fi
sleep 0.02
for g in ${gpus//,/ }; do rmdir "$TEST_DIR/lock.$g"; done
echo '{"result": {"acc": 1}}' >&3
END
chmod +x see.sh
see() { # see NAME SEEDS RESOURCES: sorted lines of what was seen
    cat > "$1.yaml" << END
avsweep: 1
name: $1
kind: exec
base: {command: [./see.sh, $1, "\${seed}"]}
seeds: $2
objective: {metric: acc, mode: max}
resources: {cpus: 1, $3}
limits: {time: 30s, retries: 0}
END
    : > seen
    avs run "$1.yaml" --db "$1.db" 2> "$1.err"
    expect 0 $? "exit of $1: $(cat "$1.err")"
    sort seen
}
expect "GPU-fake-0 GPU-fake-1 " "$(see pair 2 'gpus: 1' | cut -d' ' -f3 | sort | tr '\n' ' ')" "two trials at one time"
expect "GPU-fake-0 GPU-fake-1 " "$(see many 8 'gpus: 1' | cut -d' ' -f3 | sort -u | tr '\n' ' ')" "eight trials"
expect "8" "$(wc -l < seen)" "starts of eight trials"
expect "both 0 GPU-fake-0,GPU-fake-1" "$(see both 1 'gpus: 2')" "one process with two GPUs"
expect "none 0 " "$(see none 1 'gpus: 0')" "a trial that asks for none"
expect "model 0 GPU-fake-1" "$(see model 1 'gpus: 1, gpu_model: A100')" "a GPU by its model"
export CUDA_VISIBLE_DEVICES=1
expect "given 0 GPU-fake-1" "$(see given 1 'gpus: 1')" "what CUDA_VISIBLE_DEVICES leaves"
unset CUDA_VISIBLE_DEVICES
export FAKE_GPU_LOST=0
expect "lost 0 GPU-fake-1" "$(see lost 1 'gpus: 1')" "a GPU that does not answer is left out"
unset FAKE_GPU_LOST
export LD_LIBRARY_PATH=
expect "bare 0 unset" "$(see bare 1 'gpus: 0')" "a node without a driver"
CUDA_VISIBLE_DEVICES=5 avs run bare.yaml --db kept.db 2> kept.err || fail "an inherited variable"
grep -q "^bare 0 5$" seen || fail "the inherited variable does not stay: $(cat seen)"
sed -i 's/cpus: 1, gpus: 2/cpus: 1, gpus: 1/' both.yaml
avs run both.yaml --db no.db 2> no.err
expect 6 $? "exit of a command that needs a GPU where none is"
grep -q "error\[R006\].*1 GPUs on one node; no node has one that NVML shows (see 'avsweep doctor')" no.err || fail "no R006 without a GPU"
expect 0 "$(sqlite3 no.db "SELECT count(*) FROM attempt")" "attempts where no GPU is"
