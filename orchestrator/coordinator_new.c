/* How a coordinator begins: classes and trials are copied, needs become lists in both directions, circles are
 * refused, and every trial gets its first state from what the database knows. */
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include "orchestrator/coordinator_state.h"

static int copy_classes(avs_coord *c, const avs_coord_class *classes, int32_t n, avs_err *e)
{
    c->cls = avs_xrealloc(NULL, sizeof *c->cls * (size_t)(n + 1));
    c->parked = avs_xrealloc(NULL, sizeof *c->parked * (size_t)(n + 1));
    if (!c->cls || !c->parked) return avs_fail(e, AVS_ENOMEM, "no memory for %d kinds of trials", n);
    for (int32_t k = 0; k < n; k++) {
        job_class *x = &c->cls[c->n_cls++];
        *x = (job_class){.in = classes[k], .models = UINT64_MAX, .filed = INT64_MAX};
        const char *model = classes[k].gpu_model;
        x->in.gpu_model = NULL;
        if (x->in.ranks < 1) x->in.ranks = 1;
        if (x->in.grace_ms > c->longest_grace) c->longest_grace = x->in.grace_ms;
        if (!model) continue;
        regex_t re;
        if (regcomp(&re, model, REG_EXTENDED | REG_NOSUB) != 0)
            return avs_fail(e, AVS_EPARSE, "gpu_model '%s' is no regular expression", model);
        regfree(&re);
        x->in.gpu_model = strdup(model);
        x->models = 0;
        if (!x->in.gpu_model) return avs_fail(e, AVS_ENOMEM, "no memory for %d kinds of trials", n);
    }
    return AVS_OK;
}

static int copy_trials(avs_coord *c, const avs_coord_trial *trials, avs_err *e)
{
    c->t = avs_xrealloc(NULL, sizeof *c->t * (size_t)(c->n + 1));
    if (!c->t) return avs_fail(e, AVS_ENOMEM, "no memory for %d trials", c->n);
    for (int32_t i = 0; i < c->n; i++) {
        const avs_coord_trial *x = &trials[i];
        if (x->class_id < 0 || x->class_id >= c->n_cls)
            return avs_fail(e, AVS_ERANGE, "trial %d is of class %d of %d", i, x->class_id, c->n_cls);
        c->t[i] = (trial){.class_id = x->class_id,
                          .unmet = x->n_need,
                          .slot = -1,
                          .last_agent = -1,
                          .epoch = x->epoch,
                          .priority = x->priority};
    }
    c->count[AVS_JOB_WAITING] = c->n;
    return AVS_OK;
}

/* Downstream lists from the upstream lists. */
static int link_trials(avs_coord *c, const avs_coord_trial *trials, avs_err *e)
{
    int64_t total = 0;
    for (int32_t i = 0; i < c->n; i++) total += trials[i].n_need;
    if (total == 0) return AVS_OK;
    if (total > INT32_MAX - 2) return avs_fail(e, AVS_ERANGE, "%lld needs are too many", (long long)total);
    size_t heads = sizeof(int32_t) * (size_t)(c->n + 2), links = sizeof(int32_t) * (size_t)(total + 1);
    c->need_first = avs_xrealloc(NULL, heads);
    c->dep_first = avs_xrealloc(NULL, heads);
    c->need = avs_xrealloc(NULL, links);
    c->dep = avs_xrealloc(NULL, links);
    if (!c->need_first || !c->dep_first || !c->need || !c->dep)
        return avs_fail(e, AVS_ENOMEM, "no memory for %d trials", c->n);
    memset(c->dep_first, 0, heads);
    int32_t at = 0;
    for (int32_t i = 0; i < c->n; i++) {
        c->need_first[i] = at;
        for (int32_t k = 0; k < trials[i].n_need; k++) {
            int32_t up = trials[i].need[k];
            if (up < 0 || up >= c->n || up == i)
                return avs_fail(e, AVS_ERANGE, "trial %d needs trial %d of %d", i, up, c->n);
            c->need[at++] = up;
            c->dep_first[up + 2]++;
        }
    }
    c->need_first[c->n] = at;
    for (int32_t i = 2; i < c->n + 2; i++) c->dep_first[i] += c->dep_first[i - 1];
    for (int32_t i = 0; i < c->n; i++)
        for (int32_t k = c->need_first[i]; k < c->need_first[i + 1]; k++)
            c->dep[c->dep_first[c->need[k] + 1]++] = i;
    return AVS_OK;
}

/* Kahn's count over the downstream lists: every trial must be reachable from those without needs. */
static int refuse_cycles(const avs_coord *c, avs_err *e)
{
    if (!c->dep) return AVS_OK;
    int32_t *unmet = avs_xrealloc(NULL, sizeof(int32_t) * (size_t)(2 * (int64_t)c->n + 1));
    if (!unmet) return avs_fail(e, AVS_ENOMEM, "no memory for %d trials", c->n);
    int32_t *stack = unmet + c->n, top = 0, seen = 0;
    for (int32_t i = 0; i < c->n; i++)
        if ((unmet[i] = c->t[i].unmet) == 0) stack[top++] = i;
    while (top > 0) {
        int32_t i = stack[--top];
        seen++;
        for (int32_t k = c->dep_first[i]; k < c->dep_first[i + 1]; k++)
            if (--unmet[c->dep[k]] == 0) stack[top++] = c->dep[k];
    }
    free(unmet);
    return seen == c->n ? AVS_OK
                        : avs_fail(e, AVS_ERANGE, "%d trials need each other in a circle", c->n - seen);
}

static void first_states(avs_coord *c, const avs_coord_trial *trials)
{
    for (int32_t i = 0; i < c->n; i++) {
        if (!trials[i].done) continue;
        c->done_before++;
        coord_set_state(c, i, AVS_JOB_DONE);
        if (!c->dep) continue;
        for (int32_t k = c->dep_first[i]; k < c->dep_first[i + 1]; k++) c->t[c->dep[k]].unmet--;
    }
    for (int32_t i = 0; i < c->n; i++) {
        if (trials[i].done || (!trials[i].failed && !trials[i].cancelled && !trials[i].pruned)) continue;
        coord_set_state(c, i,
                        trials[i].failed   ? AVS_JOB_FAILED
                        : trials[i].pruned ? AVS_JOB_PRUNED
                                           : AVS_JOB_CANCELLED);
        coord_block_downstream(c, i); /* its STATE actions are dropped: the database knows already */
    }
    for (int32_t i = 0; i < c->n; i++)
        if (c->t[i].state == AVS_JOB_WAITING && c->t[i].unmet == 0) coord_enqueue(c, i, c->now);
    c->n_act = 0;
}

int avs_coord_new(avs_coord **out, const avs_coord_cfg *cfg, const avs_coord_class *classes,
                  int32_t n_classes, const avs_coord_trial *trials, int32_t n, avs_err *e)
{
    *out = NULL;
    avs_coord *c = avs_xrealloc(NULL, sizeof *c);
    if (!c) return avs_fail(e, AVS_ENOMEM, "no memory for the coordinator");
    *c = (avs_coord){.cfg = *cfg, .n = n, .rng = avs_rng_seed(cfg->seed)};
    for (int k = 0; k < 3; k++) memset(c->list[k].head, 0xff, sizeof c->list[k].head);
    int rc = copy_classes(c, classes, n_classes, e);
    if (rc == AVS_OK) rc = copy_trials(c, trials, e);
    if (rc == AVS_OK) rc = link_trials(c, trials, e);
    if (rc == AVS_OK) rc = refuse_cycles(c, e);
    if (rc == AVS_OK) first_states(c, trials);
    if (rc == AVS_OK && c->oom) rc = avs_fail(e, AVS_ENOMEM, "no memory for %d trials", n);
    if (rc != AVS_OK) {
        avs_coord_free(c);
        return rc;
    }
    *out = c;
    return AVS_OK;
}

void avs_coord_free(avs_coord *c)
{
    if (!c) return;
    for (int32_t k = 0; k < c->n_cls; k++) {
        avs_queue_free(&c->cls[k].ready);
        free((void *)(uintptr_t)c->cls[k].in.gpu_model);
    }
    for (int32_t s = 0; s < c->n_slot; s++) free(c->live[s]);
    for (int32_t r = 0; r < c->n_res; r++) free(c->res[r].node);
    for (int32_t m = 0; m < c->n_models; m++) free(c->model_name[m]);
    avs_queue_free(&c->order);
    avs_queue_free(&c->pause);
    avs_queue_free(&c->timer);
    avs_queue_free(&c->quiet);
    avs_id_free(&c->by_attempt);
    free(c->cls);
    free(c->parked);
    free(c->t);
    free(c->need_first);
    free(c->need);
    free(c->dep_first);
    free(c->dep);
    free(c->live);
    free(c->free_slot);
    free(c->node);
    free(c->plan.node);
    free(c->plan.rank);
    free(c->act);
    free(c);
}
