/* `status`: what a database says about its sweeps now, gathered once, shown as text, as JSON lines or by watch.c. */
#ifndef AVS_ORCHESTRATOR_STATUS_H
#define AVS_ORCHESTRATOR_STATUS_H

#include "base/buf.h"
#include "orchestrator/cli.h"
#include "orchestrator/lease.h"
#include "results/status_rows.h"

typedef struct {
    avs_status_rows rows;
    avs_lease_owner owner;
} avs_status;

/* sweep may be NULL: everything in the file. */
int avs_status_read(avs_store *db, const char *path, const char *sweep, avs_status *s, avs_err *e);
/* One screen; width in columns, bar and colours by it. with_live: the running trials too. */
void avs_status_text(const avs_status *s, int width, bool color, bool with_live, avs_buf *out);
void avs_status_line(const avs_status *s, avs_buf *out); /* one line, no newline */
void avs_status_json(const avs_status *s, avs_buf *out);

int avs_command_status(const avs_options *o); /* --watch: watch.c */

#endif
