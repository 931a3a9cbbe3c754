/* JOB.json into avs_job. The parameters are resolved again by their schema, so a job written by hand may leave defaults
 * out. */
#include "workers/job.h"

#include <string.h>
#include <unistd.h>

static int parse(avs_arena *a, const avs_json *j, avs_job *job, avs_err *e)
{
    static const char *const kinds[] = {"train", "eval", "latency", "noop", "exec"};
    enum { N_KINDS = sizeof kinds / sizeof *kinds };
    const char *kind = avs_json_str(j, "kind", "train");
    int k = 0;
    while (k < N_KINDS && strcmp(kinds[k], kind) != 0) k++;
    if (k == N_KINDS)
        return avs_fail(e, AVS_EPARSE, "kind is '%s', expected train, eval, latency, noop or exec", kind);
    job->arena = a;
    job->kind = (avs_job_kind)k;
    job->kind_name = kinds[k];
    job->seed = (uint64_t)avs_json_int(j, "seed", 0);
    job->trial = avs_json_str(j, "trial", "");
    job->attempt = avs_json_int(j, "attempt", 1);
    job->epoch = (uint32_t)avs_json_int(j, "epoch", 1);
    job->rank = (int)avs_json_int(j, "rank", 0);
    job->ranks = (int)avs_json_int(j, "ranks", 1);
    job->ring = avs_json_str(j, "ring", "");
    job->backend = avs_json_str(j, "backend", "");
    job->threads = (int)avs_json_int(j, "threads", sysconf(_SC_NPROCESSORS_ONLN));
    job->work_dir = avs_json_str(j, "work_dir", ".");
    job->cache_dir = avs_json_str(j, "cache_dir", "");
    job->checkpoint_every_s = avs_json_num(avs_json_get(j, "limits"), "checkpoint_every_s", 0);
    if (job->ranks < 1 || job->rank < 0 || job->rank >= job->ranks)
        return avs_fail(e, AVS_ERANGE, "rank %d of %d ranks", job->rank, job->ranks);
    if (job->ranks > 1 && !job->ring[0])
        return avs_fail(e, AVS_EMISSING, "'ring' is needed with %d ranks", job->ranks);
    if (job->threads < 1) return avs_fail(e, AVS_ERANGE, "threads is %d, expected at least 1", job->threads);
    const avs_json *params = avs_json_get(j, "params");
    job->params = params;
    job->objective = avs_json_get(j, "objective");
    job->dir = avs_json_str(j, "dir", ".");
    if (job->kind == AVS_JOB_NOOP) return AVS_OK;

    avs_problem *problems = NULL;
    if (!params || params->kind != AVS_J_OBJ)
        return avs_fail(e, AVS_EMISSING, "'params' is missing or no object");
    if (job->kind == AVS_JOB_EXEC) return AVS_OK; /* the sweep has checked it; parameters have any names */
    int rc = avs_cfg_resolve(a, job->kind_name, params, &job->cfg, &problems, e);
    if (rc != AVS_OK && problems)
        return avs_fail(e, rc, "params.%s: %s", problems->key ? problems->key : "?", problems->text);
    return rc;
}

int avs_job_read(avs_arena *a, const char *path, avs_job *job, avs_err *e)
{
    avs_json *j;
    *job = (avs_job){0};
    int rc = avs_json_file(a, path, &j, e);
    if (rc != AVS_OK) return rc;
    rc = parse(a, j, job, e);
    return rc == AVS_OK ? AVS_OK : avs_ctx(e, "%s", path);
}
