/* The database schema, version 2: tables as scripts, views made for the parameters that occur. Private to this
 * room; the tables themselves are documented in schema.c, the views are a public interface for stock sqlite3. */
#ifndef AVS_RESULTS_SCHEMA_H
#define AVS_RESULTS_SCHEMA_H

#include "results/db.h"

/* Creates tables, names, t table and views in an empty database, in one transaction. */
int avs_schema_create(avs_store *s, const char *tool_version, avs_err *e);
/* Brings a file of an older version, 1 or later, to the current one. Runs inside an open transaction. */
int avs_schema_upgrade(avs_store *s, int from, const char *tool_version, avs_err *e);
/* Counts the summary tables (tally, usage) anew. */
int avs_schema_summaries(avs_store *s, avs_err *e);
/* Drops v_trial and makes it again with a column per parameter and per metric that occurs. Runs inside the open group. */
int avs_schema_trial_view(avs_store *s, avs_err *e);

#endif
