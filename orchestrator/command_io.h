/* What the commands share: exit statuses, one-line errors on stderr, results on stdout. */
#ifndef AVS_ORCHESTRATOR_COMMAND_IO_H
#define AVS_ORCHESTRATOR_COMMAND_IO_H

#include "orchestrator/cli.h"

enum {
    AVS_EXIT_OK = 0,
    AVS_EXIT_FAILED = 1,
    AVS_EXIT_USAGE = 2,
    AVS_EXIT_SWEEP = 3,
    AVS_EXIT_DB = 4,
    AVS_EXIT_INTERNAL = 70
};

/* "error: ..." to stderr; returns code. */
int avs_complain(int code, const avs_err *err);
/* A line for people, to stderr. */
void avs_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same; nothing with --quiet. */
void avs_tell(const avs_options *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "14 min" of seconds, in the unit that fits. */
void avs_duration(avs_buf *out, double s);
/* Writes to stdout and frees; returns the exit status. A reader that went away (EPIPE) is no error. */
int avs_print(avs_buf *b);
/* The same; with --format json as the text of one object of this type. */
int avs_print_text(const avs_options *o, const char *type, avs_buf *b);
bool avs_same_file(const char *a, const char *b); /* both are there and are one file */
/* 0, or the exit status after complaining that --output names the database that is read, or another database in place of
 * which only a database may be written. */
int avs_check_output(const avs_options *o);
/* 0, or the exit status after complaining that no database is named. */
int avs_need_db(const avs_options *o);
/* The exit status of a failure: database trouble 4, else usage. */
int avs_exit_of(int rc);
/* Whether stdout takes colour: --color, NO_COLOR, TERM, a terminal. */
bool avs_wants_color(const avs_options *o);

#endif
