#!/bin/bash
# tools.sh NVML: repro, slurm and doctor; NVML is the folder of a stand-in for libnvidia-ml.so.1.
. "$(dirname "$0")/lib.sh"
nvml=$1
a() { "$AVSWEEP" "$@"; }
sweep demo 3
avs run demo.yaml --db r.db 2> run.err
expect 0 $? "run"

# slurm: the script parses, is clean, asks for what the largest trial needs, and quotes what must be quoted.
cat > "odd name.yaml" << 'END'
avsweep: 1
name: big
kind: train
base: {model: avesformer, task: s4}
sweep: [{grid: {resolution: [224, 384]}}]
resources: {gpus: "2 if resolution > 224 else 1", cpus_per_gpu: 6}
END
a slurm "odd name.yaml" --nodes 4 --time 2-00:00:00 --db "my results.db" --set base.num_queries=8 > job.sh 2> slurm.err || fail "slurm"
bash -n job.sh || fail "the script does not parse"
command -v shellcheck > /dev/null && { shellcheck job.sh > sc.err || fail "shellcheck of the script"; }
for w in "nodes=4 --ntasks-per-node=1 --gpus-per-node=2 --cpus-per-task=12 --time=2-00:00:00" "signal=B:USR1@300" "AVSWEEP_DB='my results.db'" "'odd name.yaml' --set base.num_queries=8"; do
    grep -qF -- "$w" job.sh || fail "the script lacks: $w"
done
a slurm demo.yaml --time soon 2> t.err
expect 2 $? "exit for a time that is none"
LOADEDMODULES=cuda/12.4:openmpi/4.1 a slurm demo.yaml | grep -q "module load cuda/12.4 openmpi/4.1" || fail "modules"
a slurm demo.yaml --json | grep -q '"type":"script"' || fail "slurm --json"
# The script itself, with mpirun and scontrol that only write down how they were called.
mkdir bin
printf '#!/bin/bash\necho "$@" >> called\nif [ -n "$SLOW" ]; then trap "exit 75" USR1; sleep 30 & wait $!; fi\necho 75 > "$AVSWEEP_DB.exit"\n' > bin/mpirun
printf '#!/bin/bash\necho requeue "$@" >> called\n' > bin/scontrol
chmod +x bin/*
a slurm demo.yaml --db j.db > job2.sh || fail "slurm"
PATH=$PWD/bin:$PATH SLURM_JOB_ID=7 bash job2.sh
expect 75 $? "exit of the script"
grep -q "requeue requeue 7" called || fail "no requeue: $(cat called)"
SLOW=1 PATH=$PWD/bin:$PATH SLURM_JOB_ID=8 bash job2.sh &
bg=$!
for i in $(seq 100); do [ "$(grep -c demo.yaml called)" -ge 2 ] && break; sleep 0.05; done
rm -f j.db.exit
sleep 0.2 # the stand-in sets its trap after it has written
kill -USR1 $bg
wait $bg
expect 75 $? "exit of the script after USR1"
bg=
grep -q "requeue requeue 8" called || fail "no requeue after USR1"

# repro with the real trial program: the printed script runs, --exec gives the same results, a changed record is noticed.
real=$(dirname "$AVSWEEP")/avsweep-trial
hash=$(a ls --db r.db | head -1 | cut -c1-12)
a repro "$hash" --db r.db --trial-program "$FAKE" > repro.sh || fail "repro"
grep -q "# recorded: miou:test = 0\." repro.sh || fail "repro does not name the recorded results"
grep -q "OMP_NUM_THREADS=1" repro.sh || fail "repro does not name the environment"
grep -q "code " repro.sh || fail "repro does not name the code"
a repro "$hash" --db r.db --trial-program "$FAKE" --json | grep -q '"type":"repro","v":1' || fail "repro --json"
a repro "$hash" --db r.db --trial-program "$FAKE" --exec > cmp.txt 2> cmp.err
expect 0 $? "exit of repro --exec: $(cat cmp.txt cmp.err)"
expect 2 "$(grep -c "  same$" cmp.txt)" "results that are the same"
cp r.db forged.db
sqlite3 forged.db "UPDATE result SET value = value + 0.25 WHERE metric_id = (SELECT metric_id FROM metric WHERE name = 'miou')"
a repro "$hash" --db forged.db --trial-program "$FAKE" --exec > cmp.txt 2> cmp.err
expect 1 $? "exit of repro --exec with another record"
expect 1 "$(grep -c "  differs$" cmp.txt)" "results that differ"
FAKE_PLAN='*=exit3' a repro "$hash" --db r.db --trial-program "$FAKE" --exec 2> cmp.err
expect 1 $? "exit of repro --exec when the trial fails"
ls -d "${TMPDIR:-/tmp}"/avsweep-repro-* > /dev/null 2>&1 && rm -rf "${TMPDIR:-/tmp}"/avsweep-repro-*
if [ -x "$real" ]; then
    cat > e.yaml << 'END'
avsweep: 1
name: e
kind: exec
base: {command: [sh, -c, "echo '{\"result\": {\"acc\": 0.${seed}}}' >&3"]}
resources: {cpus: 1}
END
    "$AVSWEEP" run e.yaml --db e.db --trial-program "$real" 2> e.err || fail "an exec trial"
    a repro "$(a ls --db e.db | cut -c1-12)" --db e.db > e.sh || fail "repro of an exec trial"
    sh e.sh > e.out 2>&1 || fail "the printed script does not run: $(cat e.out)"
    grep -q "result acc" e.out || fail "the printed script shows no result"
    a repro "$(a ls --db e.db | cut -c1-12)" --db e.db --exec > e.cmp 2> e.err || fail "repro --exec of an exec trial"
    grep -q "acc: recorded .*same" e.cmp || fail "the exec trial is not the same"
fi

# doctor
TMPDIR=$dir a doctor --db r.db > doc.txt 2> doc.err
expect 0 $? "exit of doctor: $(cat doc.txt doc.err)"
for w in "node .*cores" "locks .*flock keeps" "locks .*fcntl keeps" "locks .*link" "clock " "sqlite .*integrity ok" "scratch "; do
    grep -q "^ok .* $w" doc.txt || fail "doctor: $w: $(cat doc.txt)"
done
ls -d avsweep-doctor-* > /dev/null 2>&1 && fail "doctor leaves a folder"
command -v mpirun > /dev/null && ! "$AVSWEEP" version | grep -q "MPI *none" && { grep -q "signals  mpirun passes USR1 on" doc.txt || fail "signals: $(cat doc.txt)"; }
[ -x "$real" ] && { grep -q "ring .*all-reduce of 1 MiB right" doc.txt || fail "ring: $(cat doc.txt)"; }
[ -x "$real" ] && { grep -q "ring .*over TCP, all-reduce of 1 MiB right" doc.txt || fail "ring over TCP: $(cat doc.txt)"; }
a doctor --json > doc.json
grep -q '"type":"check","v":1,.*"check":"sqlite","state":"ok"' doc.json || fail "doctor --json"
FAKE_GPUS=2 LD_LIBRARY_PATH=$nvml a doctor > gpu.txt
grep -q "^ok .*gpu .*2 GPUs, driver 580.159.04" gpu.txt || fail "GPUs: $(grep gpu gpu.txt)"
grep -q "^ok .*0 NVIDIA H100 80GB HBM3, GPU-fake-0, 80.0 of 80.0 GiB free, 41 C" gpu.txt || fail "the first GPU: $(grep gpu gpu.txt)"
grep -q "^warn .*1 NVIDIA A100-SXM4-40GB.*somebody uses it" gpu.txt || fail "a GPU in use: $(grep gpu gpu.txt)"
grep -q "^ok .*p2p .*no NVLink between the 2 GPUs" gpu.txt || fail "links of two GPUs: $(grep p2p gpu.txt)"
FAKE_GPUS=4 LD_LIBRARY_PATH=$nvml a doctor > gpu.txt
grep -q "^ok .*p2p .*NVLink joins GPUs 0 2$" gpu.txt || fail "links of four GPUs: $(grep p2p gpu.txt)"
LD_LIBRARY_PATH=$nvml a doctor > gpu.txt
expect 1 $? "exit of doctor when the driver does not answer"
grep -q "^FAIL .*gpu .*nvmlInit: Driver Not Loaded" gpu.txt || fail "a driver that does not answer: $(grep gpu gpu.txt)"
FAKE_GPUS=2 FAKE_GPU_LOST=1 LD_LIBRARY_PATH=$nvml a doctor > gpu.txt
expect 1 $? "exit of doctor when a GPU is lost"
grep -q "^FAIL .*gpu .*GPU 1 does not answer: .*GPU is lost" gpu.txt || fail "a lost GPU: $(grep gpu gpu.txt)"
exit 0
