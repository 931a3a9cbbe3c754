/* What an external command says about itself: JSON objects, one a line (docs/exec-trials.md), turned into frames.
 *
 *   {"step": 12, "steps": 100, "loss": 0.31}      points of series
 *   {"result": {"miou": 0.79}, "split": "test"}   final numbers; a number or {"value": .., "unit": .., "better": 1}
 *   {"checkpoint": "PATH", "step": 12}            a file that a later attempt resumes from
 *   {"artifact": "PATH", "name": "..", "kind": ".."}
 *   {"resumed": "PATH", "step": 12}, {"error": "one sentence"}
 *
 * Anything else is counted and noted in the log, never fatal. Memory is bounded: a line over 1 MiB is left out. */
#ifndef AVS_WORKERS_EXEC_LINES_H
#define AVS_WORKERS_EXEC_LINES_H

#include "base/buf.h"
#include "workers/control.h"

enum { AVS_EXEC_LINE = 1 << 20, AVS_EXEC_NAMES = 256 };

typedef struct {
    avs_control *control;
    const char *what;    /* "fd 3" or "stdout", for notes                                       */
    const char *folder;  /* relative paths start here                                           */
    bool only_objects;   /* stdout: lines that do not begin with { are ordinary output          */
    avs_buf line;        /* begun, not yet ended                                                */
    bool skipping;       /* the line is too long: wait for its end                              */
    int64_t number, bad; /* lines seen; lines that could not be used                            */
} avs_exec_stream;

/* What was heard over all streams of an attempt. */
typedef struct {
    int64_t step, steps;
    int n_names, n_results;
    struct {
        char name[128];
        double value;
        bool is_result;
    } names[AVS_EXEC_NAMES]; /* the last value of every series and result */
    char error[400];         /* "" or what the command says went wrong    */
} avs_exec_heard;

void avs_exec_feed(avs_exec_stream *s, avs_exec_heard *h, const char *data, size_t n);
void avs_exec_end(avs_exec_stream *s, avs_exec_heard *h); /* a last line without its newline; frees */

#endif
