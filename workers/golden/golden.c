/* The golden command: reads each case, picks its kind, prints one summary line. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "engine/pass/pass.h"
#include "models/backbones/backbones.h"
#include "models/model.h"
#include "workers/golden/run.h"
#include "workers/net.h"

typedef int (*runner)(avs_golden_case *c, avs_err *e);

static runner runner_of(const avs_json *root)
{
    static const struct {
        const char *component;
        runner run;
    } parts[] = {{"query_generator", avs_golden_run_generator},
                 {"sea_attention", avs_golden_run_sea_attention},
                 {"position_resize", avs_golden_run_position},
                 {"elf_block", avs_golden_run_elf_block},
                 {"ms_deform_attn", avs_golden_run_msdeform}},
      aavs[] = {{"query_generator", avs_golden_run_aavs_queries},
                {"key_generator", avs_golden_run_aavs_keys},
                {"loss", avs_golden_run_aavs_loss},
                {"post_processing", avs_golden_run_aavs_post}};
    const char *model = avs_json_str(root, "model", ""), *component = avs_json_str(root, "component", NULL);
    if (avs_json_get(root, "fnv1a64") && !model[0]) return avs_golden_run_probe;
    for (size_t i = 0; component && !strcmp(model, "aavs") && i < sizeof aavs / sizeof *aavs; i++)
        if (!strcmp(aavs[i].component, component)) return aavs[i].run;
    for (size_t i = 0; component && i < sizeof parts / sizeof *parts; i++)
        if (!strcmp(parts[i].component, component)) return parts[i].run;
    if (component && !strcmp(component, "loss") && !strcmp(model, "tpavi")) return avs_golden_run_matching;
    if (component) return NULL;
    if (!strcmp(model, "metrics")) return avs_golden_run_metrics;
    if (!strcmp(model, "mel_frontend")) return avs_golden_run_mel;
    if (!strcmp(model, "preprocess")) return avs_golden_run_preprocess;
    if (!strcmp(model, "sam")) return avs_golden_run_sam;
    if (!strcmp(model, "vggish")) return avs_golden_run_vggish;
    if (!strcmp(model, "mobilenet_v2")) return avs_golden_run_mobilenet;
    if (!strncmp(model, "seaformer_", 10)) return avs_golden_run_seaformer;
    if (!strncmp(model, "swin_", 5)) return avs_golden_run_swin;
    if (avs_backbone_known(model)) return avs_golden_run_backbone;
    return avs_model_find(model) ? avs_golden_run_model : NULL;
}

/* CASE.json -> CASE.safetensors beside it; a case without one has no whole outputs. */
static int open_files(avs_golden_case *c, const char *path, avs_err *e)
{
    const size_t n = strlen(path);
    char st[4096];
    if (n < 5 || strcmp(path + n - 5, ".json") != 0 || n + 12 > sizeof st)
        return avs_fail(e, AVS_EPARSE, "a golden case is named CASE.json");
    snprintf(st, sizeof st, "%.*s.safetensors", (int)(n - 5), path);
    if (!avs_fs_exists(st)) {
        const avs_json *outputs = avs_json_get(c->root, "outputs");
        return outputs && outputs->len
                   ? avs_fail(e, AVS_EMISSING, "%s is missing, the case holds %zu outputs", st, outputs->len)
                   : AVS_OK;
    }
    return avs_st_open(&c->files, st, e);
}

/* `with`: backend and passes of the case to be. */
static int run_case(const char *path, const avs_golden_case *with, avs_golden_report *r, avs_err *e)
{
    avs_json *root = NULL;
    avs_golden_case c = *with;
    c.arena = avs_arena_new();
    c.report = r;
    int rc = c.arena ? avs_json_file(c.arena, path, &root, e) : avs_fail(e, AVS_ENOMEM, "out of memory");
    if (rc == AVS_OK) {
        c.root = root;
        c.prefix = avs_json_str(root, "param_prefix", "");
        const char *format = avs_json_str(root, "format", NULL);
        runner run = runner_of(root);
        if (format && strcmp(format, "avs-golden-1") != 0)
            rc = avs_fail(e, AVS_EPARSE, "format is '%s', expected 'avs-golden-1'", format);
        else if (!run)
            rc = avs_fail(e, AVS_EMISSING, "model '%s'%s%s is not built in", avs_json_str(root, "model", "?"),
                          avs_json_get(root, "component") ? ", component " : "",
                          avs_json_str(root, "component", ""));
        else
            rc = open_files(&c, path, e);
        if (rc == AVS_OK) rc = run(&c, e);
    }
    avs_st_close(&c.files);
    avs_arena_free(c.arena);
    return rc;
}

static bool number_of(const char *s, double *v)
{
    char *end;
    errno = 0;
    *v = strtod(s, &end);
    return end != s && !*end && errno == 0 && *v > 0 && isfinite(*v);
}

static int usage(const char *what)
{
    fprintf(stderr,
            "avsweep-trial golden: %s\nusage: avsweep-trial golden [--backend cpu|cuda|ref] [--precision "
            "fp32|tf32|bf16] "
            "[--tol X] [--grad-tol Y] [--no-pass NAME,..|all] [--mem-budget MB] [--verbose] CASE.json..\n",
            what);
    return 2;
}

int avs_golden_main(int argc, char **argv)
{
    avs_golden_case with = {.backend = "cpu", .prec = AVS_PREC_F32};
    avs_err wrong = AVS_ERR_INIT;
    double tol = 0, grad_tol = 0, budget = 0;
    bool verbose = false;
    int i = 0, failed = 0, cases = 0;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (!strcmp(argv[i], "--verbose"))
            verbose = true;
        else if (i + 1 >= argc)
            return usage("an option needs its value");
        else if (!strcmp(argv[i], "--backend"))
            with.backend = argv[++i];
        else if (!strcmp(argv[i], "--no-pass")) {
            if (avs_pass_parse(argv[++i], &with.passes_off, &wrong) != AVS_OK) return usage(wrong.msg);
        } else if ((!strcmp(argv[i], "--precision") &&
                    avs_net_precision(argv[i + 1], &with.prec, NULL) == AVS_OK) ||
                   (!strcmp(argv[i], "--mem-budget") && number_of(argv[i + 1], &budget)) ||
                   (!strcmp(argv[i], "--tol") && number_of(argv[i + 1], &tol)) ||
                   (!strcmp(argv[i], "--grad-tol") && number_of(argv[i + 1], &grad_tol)))
            i++;
        else
            return usage(
                "unknown option, an unknown precision, or a tolerance or budget that is no positive number");
    }
    with.mem_budget = budget > 0 ? (size_t)(fmin(budget, 1e9) * 1048576.0) + 1 : 0;
    if (i == argc) return usage("no case was named");
    if (tol == 0) tol = with.prec == AVS_PREC_BF16 ? 5e-2 : with.prec == AVS_PREC_TF32 ? 1e-2 : 1e-4;
    if (grad_tol == 0) grad_tol = with.prec == AVS_PREC_F32 ? 2e-2 : 2e-1;
    for (; i < argc; i++, cases++) {
        const char *slash = strrchr(argv[i], '/');
        char name[128];
        snprintf(name, sizeof name, "%s", slash ? slash + 1 : argv[i]);
        char *dot = strstr(name, ".json");
        if (dot) *dot = 0;
        avs_golden_report r = {
            .forward = tol, .gradient = grad_tol, .verbose = verbose, .out = stdout, .case_name = name};
        avs_err e = AVS_ERR_INIT;
        const int64_t t0 = avs_now_ns();
        const int rc = run_case(argv[i], &with, &r, &e);
        const double s = (double)(avs_now_ns() - t0) * 1e-9;
        if (rc != AVS_OK)
            printf("FAIL %-32s %s: %s\n", name, argv[i], e.msg);
        else if (r.failed)
            printf("FAIL %-32s %d of %d checks, first: %s, %.2f s\n", name, r.failed, r.checks,
                   r.first_failed, s);
        else if (!r.checks)
            printf("FAIL %-32s the case holds nothing that could be checked\n", name);
        else
            printf("PASS %-32s %d checks, worst %.3g of its bound (%s), %.2f s\n", name, r.checks, r.worst,
                   r.worst_name, s);
        failed += rc != AVS_OK || r.failed || !r.checks;
        (void)fflush(stdout);
    }
    printf("%d passed, %d failed\n", cases - failed, failed);
    return failed ? 1 : 0;
}
