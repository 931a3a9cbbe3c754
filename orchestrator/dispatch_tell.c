/* What a run tells while it goes on beyond its progress lines: one JSON object per event on stdout (--format json), and
 * sentences on stderr (-v: every attempt; -vv: nodes and messages too).
 *
 * A trial is told as done only after its results are committed. Who reads stdout may go away: the run goes on. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/json.h"
#include "orchestrator/dispatch_state.h"

/* SIGPIPE is ignored (self.c), so a write whose reader is gone costs the stream, not the process. */
static void put_line(dispatch_run *r, const avs_buf *b)
{
    if (r->stdout_gone || !avs_buf_ok(b)) return;
    r->stdout_gone = avs_fs_full_write(STDOUT_FILENO, b->data, b->len) != 0;
}

static void member(avs_buf *b, const char *key, const char *text)
{
    if (!text || !*text) return;
    avs_buf_fmt(b, ",\"%s\":", key);
    avs_json_write_str(b, text);
}

/* The members that start and end of an attempt share. */
static void put_attempt(dispatch_run *r, avs_buf *b, const char *type, const avs_action *a)
{
    const avs_listed *x = &r->cfg->list->at[a->trial];
    char hex[65];
    avs_trial_hex(r->cfg->list, a->trial, hex);
    const avs_sweep_config *c = x->trial->config;
    avs_buf_fmt(b, "{\"type\":\"%s\",\"v\":1,\"trial\":\"%s\",\"attempt\":%llu,\"epoch\":%u", type, hex,
                (unsigned long long)a->attempt, a->epoch);
    member(b, "kind", c->kind);
    member(b, "model", c->model);
    member(b, "task", c->task);
    avs_buf_fmt(b, ",\"seed\":%u", x->trial->seed);
    member(b, "node", r->peers[a->agent].host);
}

void dispatch_tell_start(dispatch_run *r, const avs_action *a)
{
    const avs_listed *x = &r->cfg->list->at[a->trial];
    char hex[65];
    avs_trial_hex(r->cfg->list, a->trial, hex);
    if (r->cfg->verbose > 0)
        avs_progress_say(
            &r->progress, "trial %.12s (seed %u), attempt %u: %d of %d ranks on %s, %d cores, %d GPUs each",
            hex, x->trial->seed, a->epoch, a->n_ranks, a->ranks, r->peers[a->agent].host, a->cores, a->gpus);
    if (!r->cfg->json) return;
    avs_buf b = AVS_BUF_INIT;
    put_attempt(r, &b, "start", a);
    avs_buf_fmt(&b, ",\"ranks\":%d,\"first_rank\":%d,\"ranks_here\":%d,\"cores\":%d,\"gpus\":%d}\n", a->ranks,
                a->first_rank, a->n_ranks, a->cores, a->gpus);
    put_line(r, &b);
    avs_buf_free(&b);
}

void dispatch_tell_end(dispatch_run *r, const avs_action *a, const char *state, const char *text)
{
    const avs_listed *x = &r->cfg->list->at[a->trial];
    char hex[65];
    avs_trial_hex(r->cfg->list, a->trial, hex);
    if (r->cfg->verbose > 0 && a->outcome == AVS_OUT_DONE)
        avs_progress_say(&r->progress, "trial %.12s (seed %u), attempt %u: done on %s", hex, x->trial->seed,
                         a->epoch, r->peers[a->agent].host);
    if (!r->cfg->json) return;
    avs_buf b = AVS_BUF_INIT;
    put_attempt(r, &b, "end", a);
    member(&b, "outcome", avs_outcome_name(a->outcome));
    member(&b, "state", state);
    member(&b, "text", text);
    avs_buf_str(&b, "}\n");
    put_line(r, &b);
    avs_buf_free(&b);
}

void dispatch_tell_counts(dispatch_run *r, const char *type)
{
    if (!r->cfg->json) return;
    avs_coord_counts c = avs_coord_count(r->coord);
    avs_buf b = AVS_BUF_INIT;
    avs_buf_fmt(&b,
                "{\"type\":\"%s\",\"v\":1,\"total\":%d,\"done\":%d,\"done_before\":%d,\"running\":%d,"
                "\"pending\":%d,\"waiting\":%d,\"failed\":%d,\"blocked\":%d,\"held\":%d,\"cancelled\":%d,"
                "\"pruned\":%d,\"nodes\":%d,\"cores\":%d,\"cores_busy\":%d,\"gpus\":%d,\"gpus_busy\":%d",
                type, c.total, c.done, c.done_before, c.running + c.committing, c.pending, c.waiting,
                c.failed, c.blocked, c.held, c.cancelled, c.pruned, c.agents, c.cores, c.cores_busy, c.gpus,
                c.gpus_busy);
    if (r->finished) avs_buf_fmt(&b, ",\"code\":%d", r->code);
    avs_buf_str(&b, "}\n");
    put_line(r, &b);
    avs_buf_free(&b);
}

void dispatch_tell_message(dispatch_run *r, int agent, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    if (r->cfg->verbose < 2) return;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    avs_progress_say(&r->progress, "%s: %s", r->peers[agent].host, text);
}
