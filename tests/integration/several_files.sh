#!/bin/bash
# run with several files: one after the other into one database, checked together, stopped together.
. "$(dirname "$0")/lib.sh"
sweep one 3
sweep two 4
sed -i 's/task: s4/task: ms3/' two.yaml
avs run one.yaml two.yaml --db r.db 2> run.err
expect 0 $? "exit"
expect "done 7 " "$(states r.db)" "states"
expect "one two " "$(sqlite3 r.db "SELECT name FROM sweep WHERE ended IS NOT NULL ORDER BY sweep_id" | tr '\n' ' ')" "sweeps"
expect 0 "$(cat r.db.exit)" "DB.exit"
sound r.db
avs run one.yaml two.yaml --db r.db 2> again.err
expect 0 $? "exit of the same command again"
expect 7 "$(grep -c ^start "$FAKE_LOG")" "starts after the same command again"

# Nothing starts while one of them is wrong, and all that is wrong is told.
sed 's/retries: 2/retrys: 2/' two.yaml > bad.yaml
avs run one.yaml bad.yaml absent.yaml --db b.db 2> bad.err
expect 3 $? "exit with an invalid file"
grep -q "bad.yaml:[0-9]*:[0-9]*: error" bad.err || fail "the invalid file is not named: $(cat bad.err)"
grep -q "absent.yaml" bad.err || fail "the second invalid file is not named: $(cat bad.err)"
[ -e b.db ] && fail "a database was begun"

# A failed trial of the first file leaves its status and does not keep the second from running; --fail-fast does.
FAKE_PLAN="1=exit3" avs run one.yaml --db f.db 2> f0.err
avs run one.yaml two.yaml --db f.db 2> f1.err
expect 1 $? "exit with a failed trial in the first file"
expect 1 "$(cat f.db.exit)" "DB.exit with a failed trial in the first file"
expect "done 6 failed 1 " "$(states f.db)" "states with a failed trial in the first file"
FAKE_PLAN="*=exit3" avs run one.yaml two.yaml --db g.db --fail-fast 2> g.err
expect 1 $? "exit with --fail-fast"
expect 1 "$(sqlite3 g.db "SELECT count(*) FROM sweep")" "sweeps begun with --fail-fast"

# A stop ends the whole command.
: > "$FAKE_LOG"
export FAKE_MS=50 FAKE_STEPS=10
avs_bg stop.err run one.yaml two.yaml --db s.db --max-parallel 1
for i in $(seq 300); do [ "$(grep -c ^start "$FAKE_LOG")" -ge 1 ] && break; sleep 0.02; done
kill -USR1 $bg
wait $bg
expect 75 $? "exit after USR1"
bg=
expect 75 "$(cat s.db.exit)" "DB.exit after USR1"
expect 1 "$(sqlite3 s.db "SELECT count(*) FROM sweep")" "sweeps begun before the stop"
avs run one.yaml two.yaml --db s.db --walltime 0.2s 2> wall.err
expect 75 $? "exit at the wall time"
unset FAKE_MS FAKE_STEPS
avs run one.yaml two.yaml --db s.db 2> rest.err
expect 0 $? "exit of the rest"
expect "done 7 " "$(states s.db)" "states at the end"
sound s.db

avs run one.yaml two.yaml -n --db s.db > dry.txt 2> dry.err
expect 0 $? "exit of --dry-run"
expect 2 "$(grep -c "trials, 0 to run" dry.txt)" "dry runs"
if command -v mpirun > /dev/null && ! "$AVSWEEP" version | grep -q "MPI *none"; then
    mpirun --oversubscribe --allow-run-as-root -n 2 "$AVSWEEP" run one.yaml two.yaml --db m.db --trial-program "$FAKE" 2> mpi.err
    grep -q "under mpirun or srun a run takes one FILE" mpi.err || fail "mpirun: $(cat mpi.err)"
    [ -e m.db ] && fail "a database was begun under mpirun"
fi
exit 0
