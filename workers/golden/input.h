/* Inputs of golden cases: probe tensors, literals, generated audio and pictures, and the steps that change
 * them, by the rules of tests/golden/FORMAT.md. Values are float32 in the reference layout (B,C,H,W). */
#ifndef AVS_WORKERS_GOLDEN_INPUT_H
#define AVS_WORKERS_GOLDEN_INPUT_H

#include "base/arena.h"
#include "base/json.h"
#include "engine/tensor/safetensors.h"

enum { AVS_GOLDEN_RANK = 8 };

typedef struct {
    const char *role;
    int rank;
    int64_t d[AVS_GOLDEN_RANK], n;
    float *v;
} avs_golden_tensor;

typedef struct {
    avs_golden_tensor *t;
    int n;
} avs_golden_inputs;

typedef struct {
    avs_arena *arena;
    const avs_json *root;     /* the case: palette and the like are looked up here */
    const avs_json *list;     /* array of {role, make, ..}                         */
    const avs_json *config;   /* for `when`; may be NULL                           */
    const avs_st_file *files; /* for make: output; may be NULL                     */
} avs_golden_source;

/* Item i of a list; where there is none (or no list) something without value, number 0. */
const avs_json *avs_golden_item(const avs_json *list, size_t i);
/* Makes every input of the list whose `when` fits. AVS_EPARSE names the role and what is wrong. */
int avs_golden_make(const avs_golden_source *src, avs_golden_inputs *out, avs_err *e);
const avs_golden_tensor *avs_golden_find(const avs_golden_inputs *in, const char *role);
/* The same, but absent is AVS_EMISSING. */
int avs_golden_need(const avs_golden_inputs *in, const char *role, const avs_golden_tensor **out, avs_err *e);

#endif
