/* PyTorch checkpoints (.pth, .pt), read without running anything of them.
 *
 * Containers: zip (torch 1.6 and later; entries stored, zip64 too) and the five pickles of older versions. The pickle is
 * run by a machine that builds data alone (pth_pickle.h); classes it does not know are left aside. Sparse, quantised and
 * complex tensors, TorchScript programs and whole pickled modules are refused.
 *
 * The tensors come out as those of a safetensors file, dense and row-major: avs_st_find, avs_st_f32 and avs_st_close work
 * on them. dtypes: Float F32, Half F16, BFloat16 BF16, Double F64, Long I64, Int I32, Byte U8, Bool BOOL; Short and Char
 * become I32. Contiguous tensors point into the map, others are copies in the file's arena.
 * Limits: every tensor at most as many bytes as the file, all together at most 8 times as many (tied weights repeat). */
#ifndef AVS_ENGINE_TENSOR_PTH_H
#define AVS_ENGINE_TENSOR_PTH_H

#include "engine/tensor/safetensors.h"

typedef struct {
    const char *container; /* "zip" or "legacy"                                                        */
    const char *taken;     /* name of the mapping that was taken; "": the top level                    */
    const char *skipped;   /* entries of it that are no tensors: up to eight names, "" if there are none */
    int n_skipped;
} avs_pth_info; /* strings belong to the file */

/* Do the first bytes look like a checkpoint of torch.save (either container)? */
bool avs_pth_is(const uint8_t *data, size_t n);

/* Takes the top level if it holds tensors, else the one mapping of tensors under state_dict, model or model_state_dict; or
 * what `key` names (NULL: no wish). info may be NULL. Errors name file, entry or key, byte, expected and found:
 * AVS_EPARSE what is no such file, AVS_EMISSING no tensors or several choices, AVS_ENOMEM, AVS_EIO. */
int avs_pth_open(avs_st_file *f, const char *path, const char *key, avs_pth_info *info, avs_err *e);
/* The same on bytes that the caller keeps until avs_st_close. */
int avs_pth_parse(avs_st_file *f, const char *what, const uint8_t *data, size_t n, const char *key,
                  avs_pth_info *info, avs_err *e);

#endif
