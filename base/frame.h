/* Frames: the one message format of avsweep, on fd 3 between agent and trial and over MPI between coordinator and
 * agent. A frame is a fixed little-endian header (28 bytes) and a body of tag-length-value fields.
 *
 *   header: magic u32 'AVSF' | version u16 | type u16 | epoch u32 | attempt u64 | length u32 (body bytes) | crc u32 (body)
 *   field : tag u16 | length u32 | bytes
 *
 * Decoding never trusts a length: a frame longer than AVS_FRAME_MAX or with a bad magic, version or crc is AVS_EPARSE.
 * Strings are not NUL-terminated on the wire; avs_frame_str copies them into an arena. */
#ifndef AVS_BASE_FRAME_H
#define AVS_BASE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum {
    AVS_FRAME_VERSION = 1,
    AVS_FRAME_HEADER = 28,
    AVS_FRAME_MAX = 64 << 20,
    AVS_FRAME_RING = 1024 /* RING is shorter */
};

/* Types 1..63: trial -> agent; 64..127: agent -> trial; 128..: coordinator and agent (orchestrator/message.h). */
typedef enum {
    AVS_F_HELLO = 1, /* pid, version; ring: where rank 0 of a gang across nodes lets the others in */
    AVS_F_PROGRESS,  /* step, steps, rate: proof of life                */
    AVS_F_POINT,     /* name, step, value: one sample of a series       */
    AVS_F_RESULT,    /* name, split, value, unit, better: a final number */
    AVS_F_LATENCY,   /* name ("latency", "latency_e2e"), blob u32 LE samples, unit_ns, flags, json */
    AVS_F_ARTIFACT,  /* name, kind, path, bytes, sha256, step            */
    AVS_F_CKPT,      /* step, path, bytes, sha256; sent after fsync and rename */
    AVS_F_ENV,       /* json: versions, cpu, threads, flags, determinism of this process */
    AVS_F_DONE,      /* all results were sent; ends carry bytes: the most memory held on a GPU */
    AVS_F_FAIL,      /* code, text                                      */
    AVS_F_STOPPED,   /* stopped on request with a checkpoint at step     */
    AVS_F_RESUMED,   /* path, step: the checkpoint that this attempt goes on from */
    AVS_F_STOP = 64, /* reason, mode: write a checkpoint and end         */
    AVS_F_GO         /* every rank of the gang is up: open the ring; across nodes: ring, as rank 0 said it */
} avs_frame_type;

/* clang-format off */
typedef enum {
    AVS_T_NAME = 1, AVS_T_SPLIT, AVS_T_VALUE /* f64 */, AVS_T_STEP /* i64 */, AVS_T_STEPS, AVS_T_RATE, AVS_T_UNIT,
    AVS_T_BETTER /* i64 */, AVS_T_PATH, AVS_T_KIND, AVS_T_BYTES /* i64 */, AVS_T_SHA256, AVS_T_BLOB,
    AVS_T_UNIT_NS /* f64 */, AVS_T_FLAGS /* i64 */, AVS_T_JSON, AVS_T_CODE /* i64 */, AVS_T_TEXT, AVS_T_PID,
    AVS_T_VERSION, AVS_T_REASON, AVS_T_RING, AVS_T_FIRST_FREE = 64 /* tags from here on are orchestrator/message.h's */
} avs_frame_tag;
/* clang-format on */

typedef struct {
    uint16_t type;
    uint32_t epoch;
    uint64_t attempt;
    const uint8_t *body; /* points into the reader's buffer: valid until the next avs_frame_next */
    size_t len;
} avs_frame;

/* Writing: begin, fields, end. Several frames may be appended to one buffer. */
size_t avs_frame_begin(avs_buf *b, uint16_t type, uint32_t epoch,
                       uint64_t attempt); /* returns a mark for end */
void avs_frame_put(avs_buf *b, uint16_t tag, const void *data, size_t n);
void avs_frame_put_str(avs_buf *b, uint16_t tag, const char *s);
void avs_frame_put_i64(avs_buf *b, uint16_t tag, int64_t v);
void avs_frame_put_f64(avs_buf *b, uint16_t tag, double v);
void avs_frame_end(avs_buf *b, size_t mark);

/* Reading from a byte stream: append bytes to the reader, then take frames. */
typedef struct {
    avs_buf in;
    size_t used;
} avs_frame_reader;
void avs_frame_feed(avs_frame_reader *r, const void *data, size_t n);
/* *got = false: more bytes are needed. AVS_EPARSE: the stream is broken and must be closed. */
int avs_frame_next(avs_frame_reader *r, avs_frame *f, bool *got, avs_err *e);
void avs_frame_reader_free(avs_frame_reader *r);

/* Fields of a frame; a field that is absent or of the wrong length gives the fallback. */
const uint8_t *avs_frame_get(const avs_frame *f, uint16_t tag, size_t *n);
int64_t avs_frame_i64(const avs_frame *f, uint16_t tag, int64_t fallback);
double avs_frame_f64(const avs_frame *f, uint16_t tag, double fallback);
char *avs_frame_str(const avs_frame *f, uint16_t tag, avs_arena *a); /* NULL when absent */

#endif
