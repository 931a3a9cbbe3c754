#!/bin/bash
# db.sh SCHEMA: the words of `avsweep db` on real files, and what they refuse.
set -u
avsweep=$AVSWEEP
schema=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
expect() { # expect STATUS WORDS COMMAND..: exit status and a text in what it says
    local want=$1 words=$2 got
    shift 2
    "$@" > said 2>&1
    got=$?
    [ "$got" = "$want" ] || fail "$* exits $got, not $want: $(cat said)"
    grep -qF -- "$words" said || fail "$* does not say '$words': $(cat said)"
}
expect 0 "created, schema version 2, journal wal" "$avsweep" db init new.db
expect 0 "is there already" "$avsweep" db init new.db
expect 0 "new.db is sound" "$avsweep" db check --db new.db
expect 0 '"type":"db.check","v":1,"db":"new.db","schema":2,"violations":[]' "$avsweep" db check new.db --json
expect 0 "copied to two.db" "$avsweep" db snapshot new.db -o two.db
expect 0 "0 trials, 0 attempts" "$avsweep" db merge new.db two.db
expect 0 "0 trials, 0 attempts" "$avsweep" db merge two.db --db new.db
expect 0 "bytes are now" "$avsweep" db gc new.db
expect 2 "merge needs a file" "$avsweep" db merge --db new.db
expect 2 "'db tidy' is not known" "$avsweep" db tidy new.db
expect 2 "does not take 'two.db'" "$avsweep" db check new.db two.db
expect 4 "there is no such database" "$avsweep" db check absent.db
expect 4 "there is no such database" "$avsweep" db gc absent.db
expect 2 "a copy of new.db cannot be itself (./new.db)" "$avsweep" db snapshot new.db -o ./new.db
ln -s new.db link.db
expect 2 "cannot be itself" "$avsweep" db snapshot new.db -o link.db
echo "somebody's notes, not to be lost" > notes.txt
expect 2 "it stays as it is" "$avsweep" db snapshot new.db -o notes.txt
grep -q "not to be lost" notes.txt || fail "notes.txt was replaced"
expect 0 "copied to two.db" "$avsweep" db snapshot new.db -o two.db
expect 2 "are one file" "$avsweep" db merge new.db link.db
expect 0 "new.db is sound" "$avsweep" db check --db new.db
[ -e absent.db ] && fail "gc made a file"
if command -v sqlite3 > /dev/null; then
    sqlite3 old.db < "$schema" || fail "the old schema"
    expect 4 "avsweep db migrate --db old.db" "$avsweep" db gc old.db
    expect 0 "| 8 |" "$avsweep" report --db old.db --by num_queries --format md
    expect 0 "schema version 1 is now 2; the file as it was is old.db.v1.bak" "$avsweep" db migrate old.db
    expect 0 "has schema version 2 already" "$avsweep" db migrate old.db
    expect 0 "old.db is sound" "$avsweep" db check old.db
    expect 0 "17 attempts, 1 sweeps are new; 16 trials are done by it, 0 have other" "$avsweep" db merge new.db old.db
    expect 0 "| 8 |" "$avsweep" report --db new.db --by num_queries --format md
    expect 0 "1 better, 0 worse, 0 same, 0 undecided" "$avsweep" compare num_queries=8 num_queries=16 --metric miou --db new.db
    expect 7 "0 better, 1 worse" "$avsweep" compare num_queries=16 num_queries=8 --metric miou --db new.db --threshold 0.1%
    expect 0 '"type":"compare_summary"' "$avsweep" compare new.db old.db --metric miou --format json
    expect 2 "compare needs --metric" "$avsweep" compare new.db old.db
    expect 2 "expected 1% (of A)" "$avsweep" compare new.db old.db --metric miou --threshold x
    expect 2 "needs --db DB" env -u AVSWEEP_DB "$avsweep" compare here there --metric miou
    "$avsweep" db snapshot new.db -o other.db > /dev/null || fail "a copy to change"
    sqlite3 other.db "UPDATE result SET value = value + 0.1 WHERE trial_id = 1 AND metric_id = (SELECT metric_id FROM metric WHERE name = 'miou')"
    sqlite3 other.db "UPDATE attempt SET started = started + 5, ended = ended + 5 WHERE trial_id = 1"
    cp new.db third.db
    expect 0 "that one is kept with attempt" "$avsweep" db merge third.db other.db
    cp new.db fourth.db
    expect 0 '"type":"db.conflict","v":1,"from":"other.db","text":"trial ' "$avsweep" db merge fourth.db other.db --json
    expect 0 "fourth.db is sound" "$avsweep" db check fourth.db
    cp old.db newer.db
    sqlite3 newer.db "PRAGMA user_version=99"
    expect 4 "this avsweep knows version 2: use a newer one" "$avsweep" db merge new.db newer.db
    sqlite3 before.db < "$schema" || fail "the old schema"
    expect 4 "'avsweep db migrate --db before.db' first" "$avsweep" db merge new.db before.db
    printf 'avsweep: 1\nname: t\nkind: noop\nbase: {model: avesformer, task: s4}\n' > t.yaml
    expect 4 "'avsweep db migrate --db before.db' brings it up to date" "$avsweep" run t.yaml --db before.db --trial-program /bin/true
    for c in status ls "ls --metrics miou" "show b8846806a96f" "repro b8846806a96f --trial-program /bin/true" "export --to csv"; do
        expect 0 "" "$avsweep" $c --db before.db
    done
    [ -e before.db.lock ] && fail "the lease of an old database is still there"
    sqlite3 old.db "UPDATE trial SET best_attempt=NULL WHERE trial_id=1"
    expect 4 "1 done trials without a finished attempt, for example trial 1" "$avsweep" db check old.db
    printf 'not SQLite at all, but long enough to look at: %0100d' 0 > text.db
    expect 4 "is not an SQLite database" "$avsweep" db migrate text.db
fi
exit 0
