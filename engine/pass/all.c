/* The passes in the order in which they profit from each other: recomputation sees single operations, which are then
 * fused on both sides; the order of nodes is settled last. */
#include "engine/pass/pass.h"

#include <stdio.h>
#include <string.h>

static int recompute(avs_graph *g, const avs_pass_cfg *cfg, avs_err *e)
{
    return avs_pass_recompute(g, cfg->mem_budget, e);
}

static const struct {
    const char *name;
    unsigned bit;
    int (*run)(avs_graph *, avs_err *); /* NULL: see with_cfg; both NULL: the planner does it */
    int (*with_cfg)(avs_graph *, const avs_pass_cfg *, avs_err *);
} passes[] = {
    {"dce", AVS_PASS_DCE, avs_pass_dce, NULL},
    {"cse", AVS_PASS_CSE, avs_pass_cse, NULL},
    {"fold_bn", AVS_PASS_FOLD_BN, avs_pass_fold_bn, NULL},
    {"fold_sum", AVS_PASS_FOLD_SUM, avs_pass_fold_sum, NULL},
    {"fuse_bn_relu", AVS_PASS_FUSE_BN_RELU, avs_pass_fuse_bn_relu, NULL},
    {"remake_bn", AVS_PASS_REMAKE_BN, avs_pass_remake_bn, NULL},
    {"recompute", AVS_PASS_RECOMPUTE, NULL, recompute},
    {"fuse_epilogue", AVS_PASS_FUSE_EPILOGUE, avs_pass_fuse_epilogue, NULL},
    {"fuse_ew", AVS_PASS_FUSE_EW, avs_pass_fuse_ew, NULL},
    {"bucket", AVS_PASS_BUCKET, NULL, NULL},
    {"dce", AVS_PASS_DCE, avs_pass_dce, NULL},
    {"schedule", AVS_PASS_SCHEDULE, avs_pass_schedule, NULL},
};
enum { N_PASSES = sizeof passes / sizeof *passes };

int avs_pass_all(avs_graph *g, const avs_pass_cfg *cfg, avs_err *e)
{
    int rc = AVS_OK;
    g->n_tap = 0; /* taps that are wanted are outputs by now; the others must not hold on to dropped values */
    for (int i = 0; i < N_PASSES && rc == AVS_OK; i++) {
        if (cfg->off & passes[i].bit) continue;
        if (passes[i].run) rc = passes[i].run(g, e);
        if (passes[i].with_cfg) rc = passes[i].with_cfg(g, cfg, e);
    }
    return rc;
}

static unsigned bit_of(const char *name, size_t n)
{
    if (n == 3 && !strncmp(name, "all", n)) return AVS_PASS_EVERY;
    for (int i = 0; i < N_PASSES; i++)
        if (strlen(passes[i].name) == n && !strncmp(passes[i].name, name, n)) return passes[i].bit;
    return 0;
}

int avs_pass_parse(const char *names, unsigned *off, avs_err *e)
{
    for (const char *p = names;; p++) {
        const size_t n = strcspn(p, ",");
        const unsigned bit = bit_of(p, n);
        if (!bit) {
            char known[160] = "all";
            unsigned seen = 0;
            for (int i = 0; i < N_PASSES; seen |= passes[i++].bit) {
                const size_t used = strlen(known);
                if (!(seen & passes[i].bit))
                    snprintf(known + used, sizeof known - used, ", %s", passes[i].name);
            }
            return avs_fail(e, AVS_EPARSE, "there is no pass '%.*s'; the names are %s", (int)n, p, known);
        }
        *off |= bit;
        p += n;
        if (!*p) return AVS_OK;
    }
}
