/* The kill is a kernel timer that sends SIGKILL to the process itself: no thread, no handler, no way to miss it. */
#include "base/fault.h"

#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    char what[16], who[32], after[32];
    int64_t number; /* -1: any */
} fault;

/* "kill:trial=7:after=3s" of n bytes. */
static bool parse(const char *text, size_t n, fault *f)
{
    char word[128], *rest = NULL;
    if (n >= sizeof word) return false;
    memcpy(word, text, n);
    word[n] = '\0';
    const char *what = strtok_r(word, ":", &rest), *who = strtok_r(NULL, ":", &rest),
               *after = strtok_r(NULL, ":", &rest);
    if (!what || !who || !after || strtok_r(NULL, ":", &rest) || strncmp(after, "after=", 6) != 0)
        return false;
    *f = (fault){.number = -1};
    (void)snprintf(f->what, sizeof f->what, "%s", what);
    (void)snprintf(f->who, sizeof f->who, "%s", who);
    (void)snprintf(f->after, sizeof f->after, "%s", after + 6);
    char *equals = strchr(f->who, '=');
    if (equals) {
        char *end = NULL;
        f->number = strtoll(equals + 1, &end, 10);
        if (end == equals + 1 || *end || strncmp(f->who, "trial=", 6) != 0) return false;
        *equals = '\0';
    }
    return true;
}

static bool seconds(const char *text, double *s)
{
    char *end = NULL;
    *s = strtod(text, &end);
    return end != text && isfinite(*s) && *s >= 0 && (*end == '\0' || strcmp(end, "s") == 0);
}

static const char *const messages[] = {"start", "go", "stop", NULL};

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(word, *words) == 0) return true;
    return false;
}

static bool sane(const fault *f)
{
    static const char *const who[] = {"coordinator", "agent", "spawner", "trial", NULL};
    double s;
    if (strcmp(f->what, "kill") == 0) return is_one_of(f->who, who) && seconds(f->after, &s);
    if (strcmp(f->what, "drop") == 0)
        return is_one_of(f->who, messages) && seconds(f->after, &s) && floor(s) >= s;
    const bool disk = strcmp(f->what, "eio") == 0 || strcmp(f->what, "enospc") == 0;
    return disk && strcmp(f->who, "db") == 0 && seconds(f->after, &s) && floor(s) >= s;
}

/* Every fault of the list in turn; false at the end. *ok is false at one that is malformed. */
static bool next(const char **at, fault *f, bool *ok)
{
    *at += strspn(*at, " ");
    const size_t n = strcspn(*at, " ");
    if (n == 0) return false;
    *ok = parse(*at, n, f) && sane(f);
    *at += n;
    return true;
}

static const char *list(void)
{
    const char *v = getenv("AVSWEEP_FAULT");
    return v ? v : "";
}

int avs_fault_check(avs_err *e)
{
    fault f;
    bool ok = true;
    for (const char *at = list(); next(&at, &f, &ok);)
        if (!ok)
            return avs_fail(
                e, AVS_ERANGE,
                "AVSWEEP_FAULT is '%s', expected words like kill:trial=7:after=3s or eio:db:after=100",
                list());
    return AVS_OK;
}

void avs_fault_arm(const char *who, int64_t number)
{
    fault f;
    bool ok = true;
    for (const char *at = list(); next(&at, &f, &ok);) {
        double s = 0;
        if (!ok || strcmp(f.what, "kill") != 0 || strcmp(f.who, who) != 0) continue;
        if ((f.number >= 0 && f.number != number) || !seconds(f.after, &s)) continue;
        struct sigevent kill_me = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
        struct itimerspec when = {.it_value = {(time_t)s, (long)((s - floor(s)) * 1e9) + 1}};
        timer_t timer;
        if (timer_create(CLOCK_MONOTONIC, &kill_me, &timer) == 0) (void)timer_settime(timer, 0, &when, NULL);
    }
}

avs_fault_kind avs_fault_db(int64_t *after)
{
    fault f;
    bool ok = true;
    for (const char *at = list(); next(&at, &f, &ok);) {
        if (!ok || strcmp(f.who, "db") != 0) continue;
        *after = strtoll(f.after, NULL, 10);
        return strcmp(f.what, "eio") == 0 ? AVS_FAULT_EIO : AVS_FAULT_ENOSPC;
    }
    return AVS_FAULT_NONE;
}

bool avs_fault_drops(const char *message)
{
    static int64_t seen[sizeof messages / sizeof *messages];
    fault f;
    bool ok = true;
    size_t k = 0;
    if (!*list()) return false;
    while (messages[k] && strcmp(messages[k], message) != 0) k++;
    const int64_t number = seen[k]++;
    for (const char *at = list(); next(&at, &f, &ok);)
        if (ok && strcmp(f.what, "drop") == 0 && strcmp(f.who, message) == 0 &&
            strtoll(f.after, NULL, 10) == number)
            return true;
    return false;
}
