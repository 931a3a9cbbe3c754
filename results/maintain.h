/* Looking after a result file: migrate, copy, check, merge, collect garbage. Each is one transaction or none; a file is never
 * left half changed. Errors: AVS_EDB and AVS_EIO with path and cause. */
#ifndef AVS_RESULTS_MAINTAIN_H
#define AVS_RESULTS_MAINTAIN_H

#include "base/buf.h"
#include "results/store.h"

/* Brings an older file up to date after copying it to PATH.v<N>.bak (a number is added where that exists). *from is the
 * version found; equal to the current one: nothing was done. backup receives the path of the copy ("" if none). Refused:
 * newer files, files that somebody is writing to. */
int avs_store_migrate(const char *path, const char *tool_version, int *from, char *backup, size_t cap,
                      avs_err *e);

/* A whole, consistent copy under another name, while others may go on writing. */
int avs_store_copy(avs_store *s, const char *path, avs_err *e);

/* PRAGMA integrity_check and every invariant of the store: one line for each violation is appended to out, *n counts them.
 * AVS_OK also when there are some. */
int avs_store_check_all(avs_store *s, avs_buf *out, int *n, avs_err *e);

typedef struct {
    int64_t configs, trials, attempts,
        sweeps;        /* that were not there                                           */
    int64_t taken;     /* trials that are done now and were not                         */
    int64_t conflicts; /* trials done in both with different results                    */
} avs_merge_count;
/* Takes over everything of the file `from` that s lacks. Trials are the same by hash, attempts by trial, start, end and
 * host. Where both have results of a trial, those of s count; different ones are kept with their attempt (table
 * attempt_result), and a line for each such trial is appended to out. Merging twice changes nothing the second time.
 * Nothing may be unflushed. */
int avs_store_merge(avs_store *s, const char *from, avs_buf *out, avs_merge_count *count, avs_err *e);

typedef struct {
    int64_t rows;          /* that nothing referred to any more */
    int64_t files;         /* artifacts whose file is gone and that are marked as deleted now */
    int64_t before, after; /* bytes of the file */
} avs_gc_count;
/* Removes rows that nothing refers to (configurations, environments, GPUs, repeated published rows), marks artifacts whose file is gone, counts the summaries anew and gives free pages back. artifact_root:
 * where relative paths begin; NULL: the folder of the database. No file but the database is touched. */
int avs_store_gc(avs_store *s, const char *artifact_root, avs_gc_count *count, avs_err *e);

#endif
