/* Between the files of the sweep language: a stage as it was parsed, before its points are made. */
#ifndef AVS_SWEEPS_STAGE_H
#define AVS_SWEEPS_STAGE_H

#include "models/schema.h"
#include "sweeps/document.h"
#include "sweeps/expr.h"

enum { AVS_MAX_BLOCKS = 256, AVS_MAX_AXES = 1024, AVS_MAX_KEYS = 256, AVS_MAX_VALUES = 1000000 };

/* One key with its value and where both were written. */
typedef struct avs_setting {
    const char *key;
    const avs_json *value;
    const avs_ynode *key_node, *value_node;
    bool computed; /* by `let`: dies with the point */
    uint32_t text_len;
    const avs_param_spec *spec; /* for which text is the value's canonical JSON, or NULL (shape.c) */
    const char *text;
} avs_setting;

typedef struct {
    const char *key;
    const avs_ynode *key_node;
    avs_setting *values;
    int64_t n;
} avs_axis;

typedef enum {
    AVS_B_GRID,
    AVS_B_ZIP,
    AVS_B_LIST,
    AVS_B_ANY
} avs_block_kind; /* random is a zip of drawn lists */

typedef struct avs_block {
    avs_block_kind kind;
    const avs_ynode *node, *when_node;
    const avs_expr *when; /* NULL: always */
    avs_axis *axes;       /* GRID, ZIP: a key each; LIST: a point each (values with different keys) */
    int64_t n_axes;
    struct avs_block *alternatives, *next; /* next: the following block of the list, or alternative */
} avs_block;

typedef struct {
    avs_setting setting; /* value NULL: computed */
    const avs_expr *expr;
} avs_let;

typedef struct {
    const avs_expr *expr;
    const avs_ynode *node;
} avs_condition;

/* A number that may be an expression. */
typedef struct {
    bool given;
    double value;
    const avs_expr *expr;
    const avs_ynode *node;
} avs_amount;

typedef struct {
    const char *alias;
    const avs_ynode *node; /* the alias, for messages */
    int from;              /* index of the upstream stage */
    const char **match;
    int n_match;
} avs_need_def;

typedef struct {
    avs_sweep_stage *out;
    const avs_ynode *node;
    avs_setting *base;
    int n_base;
    avs_let *lets;
    int n_lets;
    avs_block *blocks;
    avs_condition *rules; /* as out->rules */
    uint32_t *seeds;
    int64_t n_seeds;
    const avs_ynode *seeds_node;
    avs_sweep_resources resources;
    avs_amount gpus, cpus, cpus_per_gpu, mem_gb, priority;
    avs_need_def *needs;
    int n_needs;
    bool broken; /* errors were found while parsing: it is not expanded */
} avs_stage_def;

typedef struct avs_shapes avs_shapes;
typedef struct avs_point avs_point;

typedef struct avs_parse {
    avs_arena *a;
    avs_diag *d;
    const avs_sweep_options *o;
    avs_sweep *sweep;
    avs_stage_def *stages;
    int n_axes, n_blocks; /* of the stage being parsed */
    avs_shapes *shapes;
    bool unindexed; /* data without a fingerprint was met */
} avs_parse;

/* Parses the expression in a string node; NULL after E030. */
const avs_expr *avs_parse_expr(avs_parse *p, const avs_ynode *n);
/* Place of byte `offset` of a string node. */
avs_pos avs_string_pos(const avs_ynode *n, size_t offset);
avs_setting avs_parse_setting(avs_parse *p, const avs_ynode *key, const avs_ynode *value);

/* blocks.c: the list of blocks, linked by next; NULL for none or after an error. */
avs_block *avs_parse_blocks(avs_parse *p, const avs_ynode *list);

/* settings.c. Each accepts NULL (defaults) and reports what is wrong. */
void avs_parse_seeds(avs_parse *p, const avs_ynode *n, avs_stage_def *s);
void avs_parse_resources(avs_parse *p, const avs_ynode *n, avs_stage_def *s);
void avs_parse_limits(avs_parse *p, const avs_ynode *n, avs_sweep_limits *out);
void avs_parse_order(avs_parse *p, const avs_ynode *n, avs_stage_def *s);
void avs_parse_stop(avs_parse *p, const avs_ynode *n, avs_sweep_stage *out); /* after the objective */
void avs_parse_objective(avs_parse *p, const avs_ynode *n, avs_sweep_stage *out);
/* report.c */
void avs_parse_report(avs_parse *p, const avs_ynode *n);
/* stage.c: all stages of the document into p->stages and p->sweep. */
void avs_parse_stages(avs_parse *p, const avs_ynode *root);
/* expand.c: the points, trials and identities of every stage that is not broken. AVS_ENOMEM. */
int avs_expand(avs_parse *p, avs_err *e);

/* join.c: finding the one upstream trial of a downstream trial. */
typedef struct avs_join avs_join;
avs_join *avs_join_new(const avs_sweep *s, avs_arena *a, const avs_need_def *need);
/* count: how many match. key: the values in words ("backbone=swin_b, seed=3"). */
const avs_sweep_trial *avs_join_find(avs_join *j, avs_arena *scratch, const avs_json *params,
                                     const avs_point *pt, uint32_t seed, int64_t *count, const char **key);

#endif
