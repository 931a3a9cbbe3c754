/* The trials are chosen here, by reading the database. Then the wish goes to the coordinator that holds the lease; when
 * nobody holds it, this process takes it for the moment of the change, so no run can start in between. */
#include "orchestrator/steer.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "avs_version.h"
#include "base/fs.h"
#include "base/log.h"
#include "orchestrator/command_io.h"
#include "orchestrator/lease.h"
#include "orchestrator/select.h"
#include "orchestrator/wish.h"
#include "results/store.h"

enum { PATIENCE_MS = 10000, LOOK_MS = 50 };

typedef struct {
    avs_wish_verb verb;
    int64_t *ids;
    char (*names)[13];
    size_t n, cap, running, unfit;
    bool no_memory;
} chosen;

/* Which states the verb can do something about. */
static bool fits(avs_wish_verb v, const char *state)
{
    static const char *const fit[AVS_WISHES] = {
        [AVS_WISH_RETRY] = " failed cancelled paused blocked pruned ",
        [AVS_WISH_CANCEL] = " pending running paused preempted blocked failed ",
        [AVS_WISH_PAUSE] = " pending running preempted blocked ",
        [AVS_WISH_PRIORITISE] = " pending running paused preempted blocked failed cancelled "};
    char word[32];
    snprintf(word, sizeof word, " %.28s ", state);
    return strstr(fit[v], word) != NULL;
}

static void choose(void *ctx, const avs_selected *t)
{
    chosen *c = ctx;
    if (!fits(c->verb, t->row->state)) {
        c->unfit++;
        return;
    }
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 64;
        int64_t *ids = avs_xrealloc(c->ids, cap * sizeof *ids);
        if (ids) c->ids = ids;
        char(*names)[13] = avs_xrealloc(c->names, cap * sizeof *names);
        if (names) c->names = names;
        if (!ids || !names) {
            c->no_memory = true;
            return;
        }
        c->cap = cap;
    }
    c->running += strcmp(t->row->state, "running") == 0;
    snprintf(c->names[c->n], sizeof *c->names, "%.12s", t->row->hash);
    c->ids[c->n++] = t->row->trial_id;
}

/* Nobody runs: the database is changed here, under the lease. */
static int apply(const char *path, const avs_wish *w, avs_err *e)
{
    static const avs_trial_state next[AVS_WISHES] = {[AVS_WISH_RETRY] = AVS_TRIAL_PENDING,
                                                     [AVS_WISH_CANCEL] = AVS_TRIAL_CANCELLED,
                                                     [AVS_WISH_PAUSE] = AVS_TRIAL_PAUSED};
    avs_store *db = NULL;
    char text[200];
    int rc = avs_store_open(path, AVS_STORE_WRITE, AVS_VERSION, &db, e);
    for (size_t i = 0; rc == AVS_OK && i < w->n; i++)
        rc = w->verb == AVS_WISH_PRIORITISE ? avs_store_set_priority(db, w->trials[i], w->priority, e)
                                            : avs_store_set_state(db, w->trials[i], next[w->verb], e);
    snprintf(text, sizeof text, "%s: %zu trials, by command", avs_wish_word(w->verb), w->n);
    if (rc == AVS_OK) rc = avs_store_event(db, 'I', NULL, 0, avs_wish_word(w->verb), text, e);
    if (rc == AVS_OK) rc = avs_store_flush(db, e);
    avs_store_close(db);
    return rc;
}

/* Waits until the coordinator has taken the file away. */
static bool taken(const char *file)
{
    int64_t until = avs_now_ns() + (int64_t)PATIENCE_MS * 1000000;
    while (avs_fs_exists(file)) {
        if (avs_now_ns() >= until) return false;
        poll(NULL, 0, LOOK_MS); /* another process's file: there is nothing to wait on */
    }
    return true;
}

static int deliver(const avs_options *o, const avs_wish *w, bool *live)
{
    avs_err err = AVS_ERR_INIT;
    avs_lease lease = {.fd = -1};
    char file[4096];
    *live = false;
    int rc = avs_lease_take(&lease, o->db, false, &err);
    if (rc == AVS_OK) {
        rc = apply(o->db, w, &err);
        avs_lease_drop(&lease);
        return rc == AVS_OK ? AVS_EXIT_OK : avs_complain(AVS_EXIT_DB, &err);
    }
    if (rc != AVS_EDB) return avs_complain(AVS_EXIT_DB, &err);
    *live = true;
    rc = avs_wish_put(o->db, w, file, &err);
    if (rc != AVS_OK) return avs_complain(AVS_EXIT_DB, &err);
    if (taken(file)) return AVS_EXIT_OK;
    avs_fail(
        &err, AVS_EDB,
        "%s holds the wish, but the run that owns %s has not taken it within %d s; it will when it looks, "
        "remove the file to take it back",
        file, o->db, PATIENCE_MS / 1000);
    return avs_complain(AVS_EXIT_DB, &err);
}

/* true: go on. Only a person at a terminal is asked, and only before running trials are killed. */
static bool agreed(const avs_options *o, const chosen *c)
{
    char answer[16] = "";
    if (c->verb != AVS_WISH_CANCEL || c->running == 0 || o->no_input || !isatty(STDIN_FILENO) ||
        !isatty(STDERR_FILENO))
        return true;
    fprintf(stderr, "%zu trials, %zu of them running: cancel? [y/N] ", c->n, c->running);
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static int report(const avs_options *o, const chosen *c, const avs_wish *w, bool live)
{
    avs_buf b = AVS_BUF_INIT;
    if (o->json)
        for (size_t i = 0; i < c->n; i++) {
            avs_buf_fmt(&b, "{\"type\":\"wish\",\"v\":1,\"verb\":\"%s\",\"trial\":\"%s\",\"live\":%s",
                        avs_wish_word(w->verb), c->names[i], live ? "true" : "false");
            if (w->verb == AVS_WISH_PRIORITISE) {
                avs_buf_str(&b, ",\"priority\":");
                avs_json_write_num(&b, w->priority);
            }
            avs_buf_str(&b, "}\n");
        }
    avs_tell(o, "%s: %zu trial%s%s%s", avs_wish_word(w->verb), c->n, c->n == 1 ? "" : "s",
             live ? ", taken by the run" : "",
             !live && w->verb == AVS_WISH_RETRY ? "; 'avsweep run' starts them" : "");
    if (c->unfit)
        avs_tell(o, "%zu more match, but are in a state that %s does not change", c->unfit,
                 avs_wish_word(w->verb));
    return avs_print(&b);
}

static int steer(const avs_options *o, avs_wish_verb verb, double priority)
{
    avs_err err = AVS_ERR_INIT;
    avs_store *db = NULL;
    chosen c = {.verb = verb};
    int64_t n = 0;
    bool live = false;
    if (avs_need_db(o)) return AVS_EXIT_USAGE;
    int rc = avs_store_open(o->db, AVS_STORE_READ, AVS_VERSION, &db, &err);
    if (rc != AVS_OK) return avs_complain(AVS_EXIT_DB, &err);
    rc = avs_select(db, &(avs_selection){o->words[0], o->sweep, o->state}, choose, &c, &n, &err);
    avs_store_close(db);
    int code = AVS_EXIT_OK;
    if (rc == AVS_OK && c.no_memory)
        rc = avs_fail(&err, AVS_ENOMEM, "no memory for %lld trials", (long long)n);
    if (rc == AVS_OK && c.n == 0)
        rc = c.unfit
                 ? avs_fail(&err, AVS_EMISSING, "%zu trials match, but none is in a state that %s changes",
                            c.unfit, avs_wish_word(verb))
                 : avs_fail(&err, AVS_EMISSING, "%s: no trial matches '%s'", o->db, o->words[0]);
    if (rc != AVS_OK) {
        code = avs_complain(avs_exit_of(rc), &err);
    } else if (!agreed(o, &c)) {
        avs_tell(o, "nothing was changed");
        code = AVS_EXIT_USAGE;
    } else {
        const avs_wish w = {verb, priority, c.ids, c.n};
        code = deliver(o, &w, &live);
        if (code == AVS_EXIT_OK) code = report(o, &c, &w, live);
    }
    free(c.ids);
    free(c.names);
    return code;
}

int avs_command_retry(const avs_options *o)
{
    return steer(o, AVS_WISH_RETRY, 0);
}

int avs_command_cancel(const avs_options *o)
{
    return steer(o, AVS_WISH_CANCEL, 0);
}

int avs_command_pause(const avs_options *o)
{
    return steer(o, AVS_WISH_PAUSE, 0);
}

int avs_command_prioritise(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    char *end = NULL;
    double p = o->priority ? strtod(o->priority, &end) : 1;
    if (o->priority && (end == o->priority || *end || !isfinite(p))) {
        avs_fail(&err, AVS_ERANGE, "--priority is '%s', expected a number", o->priority);
        return avs_complain(AVS_EXIT_USAGE, &err);
    }
    return steer(o, AVS_WISH_PRIORITISE, p);
}
