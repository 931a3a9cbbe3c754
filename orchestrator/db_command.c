/* Each word opens the database in its own way: init creates, check and snapshot read, migrate, merge and gc write and hold
 * the lease meanwhile, so that no coordinator can be at work. Results go to stdout: a sentence, or one JSON object. */
#include "orchestrator/db_command.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "avs_version.h"
#include "base/fs.h"
#include "base/json.h"
#include "orchestrator/command_io.h"
#include "orchestrator/lease.h"
#include "results/maintain.h"

typedef struct {
    const avs_options *o;
    const char *db;           /* the one the word works on */
    const char *const *other; /* words after it */
    int n_other;
    avs_buf out;
} task;

/* {"type":"db.WORD","v":1,"db":PATH: further members and the end are the caller's. */
static void begin_json(task *t, const char *word)
{
    avs_buf_fmt(&t->out, "{\"type\":\"db.%s\",\"v\":1,\"db\":", word);
    avs_json_write_str(&t->out, t->db);
}

static int init(task *t, avs_err *e)
{
    avs_store *s;
    const bool there = avs_fs_exists(t->db);
    int rc = avs_store_open(t->db, AVS_STORE_WRITE, AVS_VERSION, &s, e);
    if (rc != AVS_OK) return rc;
    if (t->o->json) {
        begin_json(t, "init");
        avs_buf_fmt(&t->out, ",\"created\":%s,\"schema\":%d,\"journal\":\"%s\"}\n", there ? "false" : "true",
                    avs_store_version(s), avs_store_journal(s));
    } else {
        avs_buf_fmt(&t->out, "%s: %s, schema version %d, journal %s\n", t->db,
                    there ? "is there already" : "created", avs_store_version(s), avs_store_journal(s));
    }
    avs_store_close(s);
    return AVS_OK;
}

static int migrate(task *t, avs_err *e)
{
    char backup[PATH_MAX];
    int from, rc = avs_store_migrate(t->db, AVS_VERSION, &from, backup, sizeof backup, e);
    if (rc != AVS_OK) return rc;
    if (t->o->json) {
        begin_json(t, "migrate");
        avs_buf_fmt(&t->out, ",\"from\":%d,\"to\":%d,\"backup\":", from, AVS_STORE_SCHEMA_VERSION);
        avs_json_write_str(&t->out, backup);
        avs_buf_str(&t->out, "}\n");
    } else if (from == AVS_STORE_SCHEMA_VERSION) {
        avs_buf_fmt(&t->out, "%s has schema version %d already\n", t->db, from);
    } else {
        avs_buf_fmt(&t->out, "%s: schema version %d is now %d; the file as it was is %s\n", t->db, from,
                    AVS_STORE_SCHEMA_VERSION, backup);
    }
    return AVS_OK;
}

/* Violations are results, one a line, and an error of the database. */
static int check(task *t, avs_err *e)
{
    avs_store *s;
    avs_buf list = AVS_BUF_INIT;
    int n = 0, rc = avs_store_open(t->db, AVS_STORE_READ, AVS_VERSION, &s, e);
    if (rc != AVS_OK) return rc;
    rc = avs_store_check_all(s, &list, &n, e);
    if (rc == AVS_OK && t->o->json) {
        begin_json(t, "check");
        avs_buf_fmt(&t->out, ",\"schema\":%d,\"violations\":[", avs_store_version(s));
        for (char *line = list.data, *end; n && line && *line; line = end + 1) {
            end = strchr(line, '\n');
            if (!end) break;
            *end = '\0';
            if (line != list.data) avs_buf_char(&t->out, ',');
            avs_json_write_str(&t->out, line);
        }
        avs_buf_str(&t->out, "]}\n");
    } else if (rc == AVS_OK) {
        avs_buf_str(&t->out, avs_buf_cstr(&list));
        if (n == 0) avs_buf_fmt(&t->out, "%s is sound\n", t->db);
    }
    if (rc == AVS_OK && n)
        rc = avs_fail(e, AVS_EDB,
                      "%s breaks %d rule%s; restore a copy, or 'avsweep db merge NEW.db %s' what can be read",
                      t->db, n, n == 1 ? "" : "s", t->db);
    avs_buf_free(&list);
    avs_store_close(s);
    return rc;
}

/* A copy replaces a file at once: only one that nobody would miss or write to. */
static int may_replace(const char *db, const char *to, avs_err *e)
{
    avs_store *s = NULL;
    avs_err why = AVS_ERR_INIT;
    if (avs_same_file(db, to))
        return avs_fail(e, AVS_ERANGE, "a copy of %s cannot be itself (%s): name another file", db, to);
    if (!avs_fs_exists(to)) return AVS_OK;
    const avs_lease_owner w = avs_lease_look(to);
    if (w.held && w.alive)
        return avs_fail(e, AVS_EDB, "%s is in use by avsweep pid %lld on %s; it stays as it is", to,
                        (long long)w.pid, w.host);
    const int rc = avs_store_open(to, AVS_STORE_READ, AVS_VERSION, &s, &why);
    avs_store_close(s);
    return rc == AVS_OK
               ? AVS_OK
               : avs_fail(e, AVS_ERANGE, "%s is there and no copy of a database; it stays as it is (%s)", to,
                          why.msg);
}

static int snapshot(task *t, avs_err *e)
{
    char own[PATH_MAX];
    avs_store *s;
    const char *to = t->o->output ? t->o->output : own;
    if ((size_t)snprintf(own, sizeof own, "%s" AVS_STORE_SNAPSHOT_SUFFIX, t->db) >= sizeof own)
        return avs_fail(e, AVS_EIO, "%s: the path is too long", t->db);
    int rc = may_replace(t->db, to, e);
    if (rc == AVS_OK) rc = avs_store_open(t->db, AVS_STORE_READ, AVS_VERSION, &s, e);
    if (rc != AVS_OK) return rc;
    rc = avs_store_copy(s, to, e);
    avs_store_close(s);
    if (rc != AVS_OK) return rc;
    if (t->o->json) {
        begin_json(t, "snapshot");
        avs_buf_str(&t->out, ",\"to\":");
        avs_json_write_str(&t->out, to);
        avs_buf_str(&t->out, "}\n");
    } else {
        avs_buf_fmt(&t->out, "%s copied to %s\n", t->db, to);
    }
    return AVS_OK;
}

/* One object for each line of the list: a trial that has other results there. */
static void conflicts_json(task *t, const char *from, const avs_buf *list)
{
    for (const char *line = list->data, *end; list->len && *line; line = end + 1) {
        avs_buf one = AVS_BUF_INIT;
        end = strchr(line, '\n');
        if (!end) break;
        avs_buf_put(&one, line, (size_t)(end - line));
        avs_buf_str(&t->out, "{\"type\":\"db.conflict\",\"v\":1,\"from\":");
        avs_json_write_str(&t->out, from);
        avs_buf_str(&t->out, ",\"text\":");
        avs_json_write_str(&t->out, avs_buf_cstr(&one));
        avs_buf_str(&t->out, "}\n");
        avs_buf_free(&one);
    }
}

static void say_merge(task *t, const char *from, const avs_merge_count *c, const avs_buf *list)
{
    if (t->o->json) {
        conflicts_json(t, from, list);
        begin_json(t, "merge");
        avs_buf_str(&t->out, ",\"from\":");
        avs_json_write_str(&t->out, from);
        avs_buf_fmt(&t->out,
                    ",\"configs\":%lld,\"trials\":%lld,\"attempts\":%lld,\"sweeps\":%lld,\"done\":%lld,"
                    "\"conflicts\":%lld}\n",
                    (long long)c->configs, (long long)c->trials, (long long)c->attempts, (long long)c->sweeps,
                    (long long)c->taken, (long long)c->conflicts);
        return;
    }
    avs_buf_str(&t->out, list->len ? list->data : "");
    avs_buf_fmt(&t->out,
                "%s: %lld configurations, %lld trials, %lld attempts, %lld sweeps are new; %lld trials are "
                "done by it, %lld "
                "have other results there\n",
                from, (long long)c->configs, (long long)c->trials, (long long)c->attempts,
                (long long)c->sweeps, (long long)c->taken, (long long)c->conflicts);
}

static int merge(task *t, avs_err *e)
{
    avs_store *s;
    if (t->n_other == 0)
        return avs_fail(e, AVS_ERANGE, "merge needs a file to take over: avsweep db merge TARGET FILE..");
    for (int i = 0; i < t->n_other; i++)
        if (avs_same_file(t->db, t->other[i]))
            return avs_fail(e, AVS_ERANGE, "%s and %s are one file: there is nothing to take over", t->db,
                            t->other[i]);
    int rc = avs_store_open(t->db, AVS_STORE_WRITE, AVS_VERSION, &s, e);
    for (int i = 0; i < t->n_other && rc == AVS_OK; i++) {
        avs_buf list = AVS_BUF_INIT;
        avs_merge_count c;
        rc = avs_store_merge(s, t->other[i], &list, &c, e);
        if (rc == AVS_OK) say_merge(t, t->other[i], &c, &list);
        avs_buf_free(&list);
    }
    avs_store_close(s);
    return rc;
}

static int gc(task *t, avs_err *e)
{
    avs_store *s;
    avs_gc_count c;
    if (!avs_fs_exists(t->db)) return avs_fail(e, AVS_EMISSING, "%s: there is no such database", t->db);
    int rc = avs_store_open(t->db, AVS_STORE_WRITE, AVS_VERSION, &s, e);
    if (rc == AVS_OK) rc = avs_store_gc(s, NULL, &c, e);
    avs_store_close(s);
    if (rc != AVS_OK) return rc;
    if (t->o->json) {
        begin_json(t, "gc");
        avs_buf_fmt(&t->out,
                    ",\"rows\":%lld,\"files_gone\":%lld,\"bytes_before\":%lld,\"bytes_after\":%lld}\n",
                    (long long)c.rows, (long long)c.files, (long long)c.before, (long long)c.after);
    } else {
        avs_buf_fmt(&t->out,
                    "%s: %lld rows that nothing referred to removed, %lld artifacts marked as gone, %lld "
                    "bytes are now %lld\n",
                    t->db, (long long)c.rows, (long long)c.files, (long long)c.before, (long long)c.after);
    }
    return AVS_OK;
}

typedef struct {
    const char *word;
    int (*run)(task *, avs_err *);
    bool writes;
} row;
static const row rows[] = {{"init", init, true},          {"migrate", migrate, true}, {"check", check, false},
                           {"snapshot", snapshot, false}, {"merge", merge, true},     {"gc", gc, true}};

int avs_command_db(const avs_options *o)
{
    task t = {.o = o, .db = o->db, .out = AVS_BUF_INIT};
    avs_lease lease = {.fd = -1};
    avs_err err = AVS_ERR_INIT;
    const row *r = NULL;
    const char *const *file = o->words + 1;
    int n = o->n_words - 1, rc;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].word, o->words[0]) == 0) r = &rows[i];
    if (!r) {
        avs_fail(&err, AVS_ERANGE,
                 "'db %s' is not known; there are init, migrate, check, snapshot, merge and gc", o->words[0]);
        return avs_complain(AVS_EXIT_USAGE, &err);
    }
    /* The first file is the one to work on, but for a merge of a single file into --db. */
    if (n > 1 || (n == 1 && !(r->run == merge && o->db))) {
        t.db = *file++;
        n--;
    }
    t.other = file;
    t.n_other = n;
    if (!t.db) return avs_need_db(o);
    if (n && r->run != merge) {
        avs_fail(&err, AVS_ERANGE, "'db %s' works on one database and does not take '%s'", r->word, file[0]);
        return avs_complain(AVS_EXIT_USAGE, &err);
    }
    rc = r->writes ? avs_lease_take(&lease, t.db, false, &err) : AVS_OK;
    if (rc == AVS_OK) rc = r->run(&t, &err);
    avs_lease_drop(&lease);
    const int shown = avs_print(&t.out);
    if (rc == AVS_OK) return shown;
    return avs_complain(rc == AVS_ERANGE ? AVS_EXIT_USAGE : AVS_EXIT_DB, &err);
}
