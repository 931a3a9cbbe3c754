#!/bin/bash
# Under mpirun on one node: the same results as without, superfluous ranks are parked, a killed coordinator ends the job
# and the same command resumes.
. "$(dirname "$0")/lib.sh"
command -v mpirun > /dev/null || skip "no mpirun"
"$AVSWEEP" version | grep -q "MPI *none" && skip "built without MPI"
export TMPDIR=$dir ASAN_OPTIONS=detect_leaks=0 # Open MPI leaks by design
mpi() { timeout -k 5 60 mpirun --allow-run-as-root --oversubscribe -n "$@"; }
sweep demo 20
avs run demo.yaml --db plain.db 2> plain.err
expect 0 $? "without a launcher"
mpi 1 "$AVSWEEP" run demo.yaml --db one.db --trial-program "$FAKE" 2> one.err
expect 0 $? "one rank"
[ "$(table one.db)" = "$(table plain.db)" ] || fail "one rank: another table"
mpi 3 "$AVSWEEP" run demo.yaml --db three.db --trial-program "$FAKE" 2> three.err
expect 0 $? "three ranks on one node"
[ "$(table three.db)" = "$(table plain.db)" ] || fail "three ranks: another table"
expect 1 "$(grep -c "2 ranks are parked" three.err)" "warnings about parked ranks"

# The exit code of a run with failures comes through.
FAKE_PLAN="3=exit3" mpi 2 -x FAKE_PLAN "$AVSWEEP" run demo.yaml --db fail.db --trial-program "$FAKE" --backoff-ms 20 2> fail.err
expect 1 $? "exit with a failed trial"
expect 1 "$(cat fail.db.exit)" "DB.exit with a failed trial"

: > "$FAKE_LOG"
export FAKE_MS=20
mpi 2 "$AVSWEEP" run demo.yaml --db kill.db --trial-program "$FAKE" 2> kill.err &
bg=$!
for i in $(seq 500); do [ "$(grep -c ^done "$FAKE_LOG")" -ge 5 ] && break; sleep 0.02; done
coordinator=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' kill.db.lock)
kill -9 "$coordinator"
wait $bg
[ $? != 0 ] || fail "mpirun says 0 after the coordinator was killed"
bg=
no_leftovers
sound kill.db
mpi 2 "$AVSWEEP" run demo.yaml --db kill.db --trial-program "$FAKE" 2> resume.err
expect 0 $? "resume under mpirun"
[ "$(table kill.db)" = "$(table plain.db)" ] || fail "after the kill: another table"
sound kill.db

# mpirun forwards USR1: drain.
: > "$FAKE_LOG"
mpirun --allow-run-as-root --oversubscribe -n 2 "$AVSWEEP" run demo.yaml --db usr.db --trial-program "$FAKE" 2> usr.err &
bg=$!
for i in $(seq 500); do [ "$(grep -c ^done "$FAKE_LOG")" -ge 5 ] && break; sleep 0.02; done
kill -USR1 $bg
wait $bg
expect 75 $? "exit after SIGUSR1 to mpirun"
bg=
expect 75 "$(cat usr.db.exit)" "DB.exit after SIGUSR1"
no_leftovers
