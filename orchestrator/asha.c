/* A rung is its records in order of value; a record is promoted once. Lists are short (n trials at most), so the place of
 * a record is found by insertion. */
#include "orchestrator/asha.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"

enum { MAX_RUNGS = 40 };

typedef enum { RUNNING, PAUSED, PRUNED, OVER } fate;

typedef struct {
    double value; /* larger is better, whatever the objective */
    int32_t trial;
    bool promoted;
} record;

typedef struct {
    int64_t at;
    record *best; /* n, best first */
    int32_t n, cap;
} rung;

typedef struct {
    int32_t rung; /* the next one */
    fate fate;
} runner;

struct avs_asha {
    avs_asha_rule rule;
    rung rungs[MAX_RUNGS];
    int32_t n_rungs, n, running, over;
    runner *t;
};

static int32_t levels(const avs_asha_rule *r, int64_t *at)
{
    int32_t n = 0;
    for (int64_t v = r->min; v < r->max && n < MAX_RUNGS; v *= r->eta) {
        if (at) at[n] = v;
        n++;
        if (v > r->max / r->eta) break;
    }
    return n;
}

int32_t avs_asha_rungs(const avs_asha_rule *rule)
{
    return levels(rule, NULL);
}

avs_asha *avs_asha_new(const avs_asha_rule *rule, int32_t n_trials)
{
    int64_t at[MAX_RUNGS];
    avs_asha *a = avs_xalloc(sizeof *a);
    runner *t = avs_xalloc(sizeof *t * (size_t)(n_trials + 1));
    if (!a || !t) {
        avs_xfree(a);
        avs_xfree(t);
        return NULL;
    }
    a->rule = *rule;
    a->n_rungs = levels(rule, at);
    for (int32_t k = 0; k < a->n_rungs; k++) a->rungs[k].at = at[k];
    a->t = t;
    a->n = a->running = n_trials;
    return a;
}

void avs_asha_free(avs_asha *a)
{
    if (!a) return;
    for (int32_t k = 0; k < a->n_rungs; k++) free(a->rungs[k].best);
    avs_xfree(a->t);
    avs_xfree(a);
}

/* How many of n records go on. */
static int32_t quota(const avs_asha *a, int32_t n)
{
    int32_t q = n / a->rule.eta;
    return !a->rule.promote && q == 0 ? 1 : q;
}

/* Enters a record; its place from the best, or -1 without memory. */
static int32_t enter(rung *g, int32_t trial, double value)
{
    if (g->n == g->cap) {
        int32_t cap = g->cap ? 2 * g->cap : 16;
        record *more = avs_xrealloc(g->best, sizeof *more * (size_t)cap);
        if (!more) return -1;
        g->best = more;
        g->cap = cap;
    }
    int32_t at = g->n++;
    for (; at > 0 && g->best[at - 1].value < value; at--) g->best[at] = g->best[at - 1];
    g->best[at] = (record){value, trial, false};
    return at;
}

static double goodness(const avs_asha *a, double value)
{
    if (!isfinite(value)) return -INFINITY;
    return a->rule.maximise ? value : -value;
}

static void end(avs_asha *a, int32_t trial, fate f)
{
    if (a->t[trial].fate == RUNNING) a->running--;
    a->over += f == OVER;
    a->t[trial].fate = f;
}

avs_asha_verdict avs_asha_report(avs_asha *a, int32_t trial, int64_t at, double value)
{
    avs_asha_verdict v = AVS_ASHA_GO_ON;
    while (v == AVS_ASHA_GO_ON && a->t[trial].fate == RUNNING && a->t[trial].rung < a->n_rungs &&
           at >= a->rungs[a->t[trial].rung].at) {
        rung *g = &a->rungs[a->t[trial].rung++];
        int32_t place = enter(g, trial, goodness(a, value));
        if (place < 0) return AVS_ASHA_GO_ON; /* without memory nobody is stopped */
        if (place < quota(a, g->n)) {
            g->best[place].promoted = true;
        } else {
            v = a->rule.promote ? AVS_ASHA_PAUSE : AVS_ASHA_PRUNE;
            end(a, trial, a->rule.promote ? PAUSED : PRUNED);
        }
    }
    return v;
}

static int32_t go_on(avs_asha *a, record *r)
{
    r->promoted = true;
    a->t[r->trial].fate = RUNNING;
    a->running++;
    return r->trial;
}

int32_t avs_asha_next(avs_asha *a)
{
    for (int32_t k = a->n_rungs; a->rule.promote && k-- > 0;) { /* the furthest first */
        rung *g = &a->rungs[k];
        for (int32_t i = 0; i < quota(a, g->n); i++) {
            runner *t = &a->t[g->best[i].trial];
            if (g->best[i].promoted || t->fate != PAUSED || t->rung != k + 1) continue;
            return go_on(a, &g->best[i]);
        }
    }
    for (int32_t k = a->n_rungs; a->running == 0 && a->over == 0 && k-- > 0;)
        for (int32_t i = 0; i < a->rungs[k].n; i++)
            if (a->t[a->rungs[k].best[i].trial].fate == PAUSED) return go_on(a, &a->rungs[k].best[i]);
    return -1;
}

void avs_asha_over(avs_asha *a, int32_t trial)
{
    end(a, trial, OVER);
}

int32_t avs_asha_rest(avs_asha *a)
{
    for (int32_t i = 0; a->running == 0 && i < a->n; i++)
        if (a->t[i].fate == PAUSED) {
            a->t[i].fate = PRUNED;
            return i;
        }
    return -1;
}

void avs_asha_replay(avs_asha *a, int32_t trial, int64_t at, double value)
{
    while (a->t[trial].rung < a->n_rungs && at >= a->rungs[a->t[trial].rung].at) {
        rung *g = &a->rungs[a->t[trial].rung++];
        int32_t place = enter(g, trial, goodness(a, value));
        if (place >= 0) g->best[place].promoted = true;
    }
}

void avs_asha_was_paused(avs_asha *a, int32_t trial)
{
    int32_t k = a->t[trial].rung - 1;
    end(a, trial, PAUSED);
    for (int32_t i = 0; k >= 0 && i < a->rungs[k].n; i++)
        if (a->rungs[k].best[i].trial == trial) a->rungs[k].best[i].promoted = false;
}

void avs_asha_was_pruned(avs_asha *a, int32_t trial)
{
    end(a, trial, PRUNED);
}
