#!/bin/bash
# The commands that look at a database and steer what becomes of its trials, in words and as JSON lines.
. "$(dirname "$0")/lib.sh"
a() { "$AVSWEEP" "$@"; }
# json FILE: every line is an object with a type and a version
json() {
    [ -s "$1" ] || fail "$1 is empty"
    python3 - "$1" << 'END' || fail "$1 is not one object with type and v per line"
import json, sys
for line in open(sys.argv[1]):
    o = json.loads(line)
    assert isinstance(o["type"], str) and o["v"] == 1, line
END
}
sweep demo 8
FAKE_PLAN="3=exit3" avs run demo.yaml --db r.db 2> run.err
expect 1 $? "exit with a failed trial"
export AVSWEEP_DB=r.db

expect 8 "$(a ls | wc -l)" "ls"
expect 1 "$(a ls --state failed | wc -l)" "ls --state failed"
expect 3 "$(a ls --where 'seed < 4 and state == "done"' | wc -l)" "ls --where"
expect 8 "$(a ls --where "model == 'avesformer' and num_queries >= 1" | wc -l)" "ls --where on a parameter"
above=$(a ls --where 'metric.miou > 0.5' | wc -l)
expect "$(sqlite3 r.db "SELECT count(*) FROM result JOIN metric USING(metric_id) WHERE name='miou' AND value>0.5")" "$above" "ls --where metric"
a ls --where 'seed <' 2> w.err && fail "a broken expression is taken"
grep -q "character" w.err || fail "the place in the expression is not told"
a ls --where 'no_such_key == 1' 2> w.err
expect 2 $? "exit for a name that no trial has"
grep -q no_such_key w.err || fail "the missing name is not told: $(cat w.err)"
a ls --where 'seed == 99' 2> w.err
expect 2 $? "exit where nothing matches"
a ls --sweep nosuch 2> w.err
expect 2 $? "exit of ls for a sweep that is not there"
grep -q "r.db has no sweep 'nosuch'" w.err || fail "the missing sweep is not named: $(cat w.err)"
a retry true --sweep nosuch 2> w.err
grep -q "r.db has no sweep 'nosuch'" w.err || fail "the missing sweep is not named by retry: $(cat w.err)"
a ls --metrics miou,nothing | grep -q "miou 0\..*nothing -" || fail "ls --metrics"

done_one=$(a ls --state done | head -1 | cut -c1-12)
failed=$(a ls --state failed | cut -c1-12)
upper=$(echo "$done_one" | tr a-f A-F)
[ "$(a show "$upper")" = "$(a show "$done_one")" ] || fail "a hash in capital letters"
a show "$done_one" | grep -q "result    miou:test" || fail "show prints no result"
a show "$failed" | grep -q "exit status 3" || fail "show prints no reason"
a show abcdef012345 2> s.err
expect 2 $? "exit of show for a hash that is not there"
a show xyz 2> s.err
expect 2 $? "exit of show for something that is no hash"
a logs "$failed" > log.txt || fail "logs"
grep -q "the last words of seed 3" log.txt || fail "the log is not printed"
a logs "$failed" --attempt 1 | grep -q "last words" || fail "logs --attempt"
a logs "$failed" --attempt 9 2> l.err
expect 2 $? "exit of logs for an attempt that is not there"
a logs "$failed" --rank 0 | grep -q "last words" || fail "logs --rank 0"
a logs "$failed" -f | grep -q "last words" || fail "logs -f of an attempt that is over"
mv r.db.work/logs away
a logs "$failed" 2> l.err
expect 2 $? "exit of logs when the folder is gone"
grep -q "No such file" l.err || fail "the path of the log is not told"
mv away r.db.work/logs

for c in "ls" "ls --metrics miou" "show $done_one" "show $failed" "logs $failed" "show --effective" "show --effective demo.yaml" \
    "check demo.yaml" "expand demo.yaml" "expand demo.yaml --count" "explain E012" "explain E012 W031" "version" \
    "status" "report" "compare num_queries=16 num_queries=16 --metric miou" "export --to json" "repro $done_one --trial-program $FAKE" \
    "run demo.yaml -n" "slurm demo.yaml" "db check" "db init" "db migrate" "db snapshot -o copy.db" "db merge r.db copy.db" \
    "completion bash" "help" "help run" "help --man"; do
    a $c --format json > j.json 2> j.err || fail "$c --format json"
    json j.json
    a --format json $c > k.json 2> j.err
    cmp -s j.json k.json || fail "$c: --format before the command gives something else"
done
a db gc --json > j.json || fail "db gc --json" # its bytes differ from call to call
json j.json
sed 's/retries: 2/retrys: 2/' demo.yaml > typo.yaml
a check typo.yaml --json > j.json 2> j.err
expect 3 $? "exit of check --json"
json j.json
grep -q '"code":"E0' j.json || fail "check --json names no code"
a show --effective | grep -q "^db .*r.db .*environment AVSWEEP_DB" || fail "show --effective: db from the environment"
a show --effective --db r.db | grep -q "^db .*r.db .*option" || fail "show --effective: db from the option"
a show --effective demo.yaml --set base.num_queries=8 > eff.txt || fail "show --effective FILE"
grep -q "num_queries  *8  *--set" eff.txt || fail "show --effective: --set"
grep -q "task  *s4  *demo.yaml:4" eff.txt || fail "show --effective: the line of the file"
grep -q "resolution .*default" eff.txt || fail "show --effective: default"

# Nobody runs: the database is changed directly.
a cancel "$done_one" 2> c.err
expect 2 $? "exit of cancel where nothing can be cancelled"
a retry "$failed" 2> c.err || fail "retry"
expect "done 7 pending 1 " "$(states r.db)" "states after retry"
a cancel "seed == 3" --no-input 2> c.err || fail "cancel"
expect "cancelled 1 done 7 " "$(states r.db)" "states after cancel"
a retry "state == 'cancelled'" --format json > j.json 2> c.err || fail "retry by expression"
json j.json
a prioritise "seed == 3" --priority 2.5 2> c.err || fail "prioritise"
expect 2.5 "$(sqlite3 r.db "SELECT priority FROM trial WHERE seed=3")" "priority"
a pause "seed == 3" 2> c.err || fail "pause"
expect "done 7 paused 1 " "$(states r.db)" "states after pause"
[ -e r.db.lock ] && fail "the lease is still there"
sound r.db
a retry "seed == 3" 2> /dev/null || fail "retry of a paused trial"
avs run demo.yaml 2> again.err
expect 0 $? "exit of the second run"
expect "done 8 " "$(states r.db)" "states at the end"

# What is written never takes the place of what is read, nor a table that of a database.
before=$(sha256sum < r.db)
cp r.db second.db
ln -s r.db alias.db
for c in "report" "export --to csv" "export --to sqlite" "compare num_queries=16 num_queries=16 --metric miou" "db snapshot"; do
    for to in r.db ./r.db alias.db; do
        a $c -o $to 2> o.err > o.out
        expect 2 $? "exit of $c -o $to"
        grep -q "$to" o.err || fail "$c -o $to: the file is not named: $(cat o.err)"
    done
done
a report -o second.db 2> o.err
expect 2 $? "exit of report -o onto another database"
a compare second.db r.db --metric miou --db second.db -o r.db 2> o.err
expect 2 $? "exit of compare -o onto one of its sides"
[ "$before" = "$(sha256sum < r.db)" ] || fail "the database was changed by what was written"
a report -o table.txt && a report -o table.txt || fail "a table over a table"
a export --to sqlite -o second.db || fail "a copy over a copy"

# Several codes at once; one that is none spoils them all.
expect 2 "$(a explain E012 W031 | grep -c '^[EW]0[0-9]*: ')" "explained codes"
a explain E012 E999 2> x.err > x.out
expect 2 $? "exit of explain with a code that is none"
[ -s x.out ] && fail "explain prints half of what was asked"

# AVSWEEP_LOG speaks where no option does; an empty variable says nothing.
AVSWEEP_LOG=quiet a retry "seed == 3" 2> q.err
AVSWEEP_LOG=quiet avs run demo.yaml 2> q.err
[ -s q.err ] && fail "AVSWEEP_LOG=quiet: $(cat q.err)"
AVSWEEP_LOG=verbose avs run demo.yaml --db v.db 2> v.err
grep -q "attempt" v.err || fail "AVSWEEP_LOG=verbose: $(cat v.err)"
AVSWEEP_LOG=verbose avs run demo.yaml --db v2.db -q 2> v.err
[ -s v.err ] && fail "-q is weaker than AVSWEEP_LOG: $(cat v.err)"
AVSWEEP_LOG=loud a ls 2> v.err
expect 2 $? "exit for an AVSWEEP_LOG that is none"
AVSWEEP_LOG=debug a show --effective | grep -q "^log  *debug .*environment AVSWEEP_LOG" || fail "show --effective: log"
AVSWEEP_DB= a ls 2> v.err
expect 2 $? "exit with an empty AVSWEEP_DB"
a bench-dispatch nothing 2> v.err
expect 2 $? "exit of bench-dispatch for a row that is none"
grep -q "no-ops as processes" v.err || fail "bench-dispatch names no rows: $(cat v.err)"

# Exit codes: usage 2, no database 4.
a ls --db nothing.db 2> n.err
expect 4 $? "exit of ls without a database file"
(unset AVSWEEP_DB; a ls 2> n.err)
expect 2 $? "exit of ls without --db"
a statsu 2> n.err
expect 2 $? "exit for an unknown command"
exit 0
