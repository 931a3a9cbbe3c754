# Shared by the integration scripts. Sourced with: AVSWEEP, FAKE set by ctest; $1.. belong to the script.
# Every script works in a folder of its own and leaves no process behind.
set -u
: "${AVSWEEP:?path of avsweep}" "${FAKE:?path of fake_trial}"
export AVSWEEP FAKE
unset AVSWEEP_DB AVSWEEP_END_TIME SLURM_JOB_END_TIME FAKE_PLAN FAKE_LOG FAKE_MS FAKE_STEPS 2>/dev/null
dir=$(mktemp -d "${TMPDIR:-/tmp}/avs-test.XXXXXX")
cd "$dir" || exit 1
export AVSWEEP_QUIET_WAIT=${AVSWEEP_QUIET_WAIT:-0} # stand-ins measure nothing
export FAKE_LOG=$dir/fake.log AVSWEEP_CORES=${AVSWEEP_CORES:-4}
bg=
: > "$FAKE_LOG"
cleanup() {
    [ -n "$bg" ] && kill -9 "$bg" 2>/dev/null
    cd /
    umount "$dir/small" 2> /dev/null # full_disk.sh
    rm -rf "$dir"
}
trap cleanup EXIT

fail() {
    echo "FAILED: $*" >&2
    for f in "$dir"/*.err; do [ -s "$f" ] && { echo "--- $f"; tail -n 20 "$f"; } >&2; done
    exit 1
}
skip() {
    echo "SKIPPED: $*"
    exit 77
}

# sweep NAME SEEDS [LIMITS]: a sweep of no-op trials
sweep() {
    cat > "$1.yaml" <<END
avsweep: 1
name: $1
kind: noop
base: {model: avesformer, task: s4}
seeds: $2
resources: {cpus: 1}
limits: {retries: 2${3:+, $3}}
END
}

# avs ARGS: the program with the stand-in trial
avs() { "$AVSWEEP" "$@" --trial-program "$FAKE" --backoff-ms 20; }
# avs_bg ERRFILE ARGS: the same in the background; its pid is $bg
avs_bg() {
    local err=$1
    shift
    "$AVSWEEP" "$@" --trial-program "$FAKE" --backoff-ms 20 2> "$err" &
    bg=$!
}

# table DB: the results that count, in an order of their own
table() {
    sqlite3 -readonly "$1" "SELECT hex(t.hash), m.name, r.split, printf('%.17g', r.value) FROM result r
        JOIN trial t USING(trial_id) JOIN metric m USING(metric_id) ORDER BY 1, 2, 3"
}
# states DB: counts per state
states() {
    sqlite3 -readonly -separator ' ' "$1" "SELECT n.name, count(*) FROM trial t JOIN state_name n USING(state) GROUP BY 1 ORDER BY 1" | tr '\n' ' '
}

# attempts_of DB SEED: how many its trial had; first_end DB SEED: how the first of them ended
attempts_of() { sqlite3 -readonly "$1" "SELECT count(*) FROM attempt JOIN trial USING(trial_id) WHERE seed=$2"; }
first_end() {
    sqlite3 -readonly "$1" "SELECT r.name || ': ' || a.message FROM attempt a JOIN reason_name r USING(reason)
        JOIN trial USING(trial_id) WHERE seed=$2 ORDER BY a.n LIMIT 1"
}
# gangs_recovered DB: seed 0 needed one attempt; 1 to 3 a second, after a crash of rank 3, an error and one that is not looked at
gangs_recovered() {
    expect "done 4 " "$(states "$1")" "states with bad ranks"
    expect "1 2 2 2" "$(for i in 0 1 2 3; do attempts_of "$1" $i; done | xargs)" "attempts per seed"
    case "$(first_end "$1" 1)" in "crash: rank 3: killed by signal 11"*) ;; *) fail "seed 1: $(first_end "$1" 1)" ;; esac
    case "$(first_end "$1" 2)" in "error: bad luck"*) ;; *) fail "seed 2: $(first_end "$1" 2)" ;; esac
    sound "$1"
}

# sound DB: what must hold of every database at any time
sound() {
    local db=$1 bad
    [ "$(sqlite3 -readonly "$db" 'PRAGMA integrity_check')" = ok ] || fail "$db: integrity_check"
    bad=$(sqlite3 -readonly "$db" "SELECT count(*) FROM (SELECT trial_id FROM attempt WHERE reason=1 GROUP BY trial_id HAVING count(*)>1)")
    [ "$bad" = 0 ] || fail "$db: $bad trials have two attempts that count"
    bad=$(sqlite3 -readonly "$db" "SELECT count(*) FROM trial JOIN state_name n USING(state) WHERE n.name='done' AND trial_id NOT IN (SELECT trial_id FROM attempt WHERE reason=1)")
    [ "$bad" = 0 ] || fail "$db: $bad trials are done without an attempt"
    bad=$(sqlite3 -readonly "$db" "SELECT count(*) FROM (SELECT trial_id FROM attempt GROUP BY trial_id, epoch HAVING count(*)>1)")
    [ "$bad" = 0 ] || fail "$db: $bad epochs were used twice"
    if grep -q OVERLAP "$FAKE_LOG" 2>/dev/null; then fail "two attempts of one trial ran at one time: $(grep OVERLAP "$FAKE_LOG" | head -3)"; fi
    return 0
}

# expect WANTED GOT WHAT
expect() { [ "$1" = "$2" ] || fail "$3: expected '$1', got '$2'"; }

# no_leftovers: no trial of this test lives (their pids are in the log of the stand-in)
no_leftovers() {
    local pid i
    for i in $(seq 50); do
        local alive=
        for pid in $(sed -n 's/^start .*pid=//p' "$FAKE_LOG" 2>/dev/null); do
            [ "$(readlink /proc/"$pid"/exe 2>/dev/null)" = "$FAKE" ] && alive="$alive $pid"
        done
        [ -z "$alive" ] && return 0
        sleep 0.1 # wait for the kernel to deliver the kills
    done
    fail "trials outlive their agent:$alive"
}
