/* The script drains on USR1 before the time is over, reads DB.exit (mpirun --enable-recovery returns 0 whatever its ranks
 * return), and asks for a requeue while work is left. Cores and GPUs are what the largest trial needs. */
#include "orchestrator/slurm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "orchestrator/command_io.h"
#include "orchestrator/commands.h"
#include "orchestrator/transport.h"

/* A word for the shell, quoted where it must be. */
static void quoted(avs_buf *out, const char *s)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./=:,+-@%";
    if (*s && strspn(s, plain) == strlen(s)) {
        avs_buf_str(out, s);
        return;
    }
    avs_buf_char(out, '\'');
    for (; *s; s++)
        if (*s == '\'')
            avs_buf_str(out, "'\\''");
        else
            avs_buf_char(out, *s);
    avs_buf_char(out, '\'');
}

/* minutes, minutes:seconds, hours:minutes:seconds, days-hours, ..: what sbatch takes. */
static bool is_slurm_time(const char *t)
{
    return *t >= '0' && *t <= '9' && strspn(t, "0123456789:-") == strlen(t);
}

static void largest(const avs_sweep *s, int *gpus, int *cpus)
{
    *gpus = *cpus = 0;
    for (int64_t i = 0; i < s->n_trials; i++) {
        const avs_sweep_resources *r = &s->trials[i]->config->resources;
        const int c = r->cpus ? r->cpus : r->gpus * r->cpus_per_gpu;
        if (r->gpus > *gpus) *gpus = r->gpus;
        if (c > *cpus) *cpus = c;
    }
}

static void put_modules(avs_buf *b)
{
    const char *m = getenv("LOADEDMODULES");
    if (!m || !*m) {
        avs_buf_str(b, "# module purge; module load ..   (none are loaded here)\n");
        return;
    }
    avs_buf_str(b, "module purge; module load");
    while (*m) {
        const size_t n = strcspn(m, ":");
        char word[256] = "";
        if (n < sizeof word) memcpy(word, m, n);
        avs_buf_char(b, ' ');
        quoted(b, word);
        m += n + (m[n] == ':');
    }
    avs_buf_char(b, '\n');
}

static void script(const avs_options *o, const avs_sweep *s, const char *self, avs_buf *b)
{
    int gpus, cpus;
    largest(s, &gpus, &cpus);
    avs_buf_fmt(b, "#!/bin/bash\n#SBATCH --job-name=%s\n#SBATCH --nodes=%d --ntasks-per-node=1", s->name,
                o->nodes ? o->nodes : 1);
    if (gpus) avs_buf_fmt(b, " --gpus-per-node=%d", gpus);
    if (cpus) avs_buf_fmt(b, " --cpus-per-task=%d", cpus);
    if (!cpus) avs_buf_str(b, " --exclusive"); /* trials that name no number take all cores */
    avs_buf_fmt(b, " --time=%s\n#SBATCH --requeue --open-mode=append --signal=B:USR1@300\n",
                o->time ? o->time : "12:00:00");
    put_modules(b);
    avs_buf_str(b, "export AVSWEEP_DB=");
    quoted(b, o->db ? o->db : "results.db");
    avs_buf_str(b, "\nmpirun --enable-recovery --bind-to none -N 1 ");
    quoted(b, self);
    avs_buf_str(b, " run ");
    quoted(b, o->words[0]);
    for (int i = 0; i < o->n_sets; i++) {
        avs_buf_str(b, " --set ");
        quoted(b, o->sets[i]);
    }
    if (o->allow_env) avs_buf_str(b, " --allow-env");
    avs_buf_str(
        b, " & pid=$!\n"
           "# or: srun --no-kill --kill-on-bad-exit=0 ..\n"
           "trap 'kill -USR1 \"$pid\"' USR1 TERM # checkpoint, stop, exit 75\n"
           "# A trapped signal ends wait too, with a status above 128: wait again while the run lives.\n"
           "until wait \"$pid\"; rc=$?; [ \"$rc\" -lt 128 ] || ! kill -0 \"$pid\" 2> /dev/null; do :; done\n"
           "rc=$(cat \"$AVSWEEP_DB.exit\" 2> /dev/null || echo 75) # written by rank 0 as its last act\n"
           "if [ \"$rc\" -eq 75 ] && [ \"${SLURM_RESTART_COUNT:-0}\" -lt 50 ]; then scontrol requeue "
           "\"$SLURM_JOB_ID\"; fi\n"
           "exit \"$rc\"\n");
}

int avs_command_slurm(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    avs_buf b = AVS_BUF_INIT;
    char self[4096];
    if (o->time && !is_slurm_time(o->time)) {
        avs_fail(&err, AVS_ERANGE, "--time is '%s', expected what sbatch takes: 30, 12:00:00 or 2-00:00:00",
                 o->time);
        return avs_complain(AVS_EXIT_USAGE, &err);
    }
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    avs_arena *a = avs_arena_new();
    const avs_sweep *s = a ? avs_load_sweep(a, o) : NULL;
    int code = AVS_EXIT_SWEEP;
    if (s) {
        script(o, s, self[0] ? self : "avsweep", &b);
        code = avs_print_text(o, "script", &b);
    }
    avs_arena_free(a);
    return code;
}
