/* Allowed globals by name. A tensor is only put together here: whether it lies inside its storage is checked where it is
 * taken, with the name that it has in the checkpoint. */
#include "engine/tensor/pth_reduce.h"

#include <stdio.h>
#include <string.h>

static const avs_pk_dtype DTYPES[] = {
    {"FloatStorage", "F32", 4},  {"HalfStorage", "F16", 2}, {"BFloat16Storage", "BF16", 2},
    {"DoubleStorage", "F64", 8}, {"LongStorage", "I64", 8}, {"IntStorage", "I32", 4},
    {"ShortStorage", "I16", 2},  {"CharStorage", "I8", 1},  {"ByteStorage", "U8", 1},
    {"BoolStorage", "BOOL", 1},
};

static const struct {
    const char *name;
    avs_pk_global what;
} GLOBALS[] = {
    {"collections OrderedDict", AVS_PKG_ORDERED_DICT},
    {"torch._utils _rebuild_tensor", AVS_PKG_REBUILD_TENSOR},
    {"torch._utils _rebuild_tensor_v2", AVS_PKG_REBUILD_TENSOR_V2},
    {"torch._utils _rebuild_parameter", AVS_PKG_REBUILD_PARAMETER},
    {"torch Size", AVS_PKG_SIZE},
};

void avs_pk_name_global(avs_pk_node *x)
{
    for (size_t i = 0; i < sizeof GLOBALS / sizeof *GLOBALS; i++)
        if (!strcmp(x->s, GLOBALS[i].name)) {
            x->kind = AVS_PK_GLOBAL;
            x->what = (uint8_t)GLOBALS[i].what;
            return;
        }
    if (strncmp(x->s, "torch ", 6) != 0) return;
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++)
        if (!strcmp(x->s + 6, DTYPES[i].torch)) {
            x->kind = AVS_PK_GLOBAL;
            x->what = AVS_PKG_STORAGE;
            x->dtype = &DTYPES[i];
            return;
        }
}

/* Items 0..n-1 of a tuple, None where it is shorter. */
static void items(const avs_pk_node *tuple, const avs_pk_node *out[], int n)
{
    static const avs_pk_node none = {.kind = AVS_PK_NONE};
    const avs_pk_item *it = tuple->first;
    for (int k = 0; k < n; k++) {
        out[k] = it ? it->v : &none;
        if (it) it = it->next;
    }
}

static bool is_index(const avs_pk_node *v)
{
    return v->kind == AVS_PK_INT && !v->is_big && v->i >= 0;
}

static bool are_indices(const avs_pk_node *t)
{
    if (t->kind != AVS_PK_TUPLE && t->kind != AVS_PK_LIST) return false;
    for (const avs_pk_item *it = t->first; it; it = it->next)
        if (!is_index(it->v)) return false;
    return true;
}

static const char *rebuild_tensor(const avs_pk_node *args, bool is_v2, avs_pk_node *out)
{
    const avs_pk_node *a[7];
    items(args, a, 7);
    if (is_v2 ? args->n < 6 || args->n > 7 : args->n != 4)
        return "a tensor is rebuilt from the wrong number of arguments";
    if (a[0]->kind != AVS_PK_STORAGE) return "a tensor is rebuilt from what is no storage";
    if (!is_index(a[1])) return "the offset of a tensor is no non-negative integer";
    if (!are_indices(a[2]) || !are_indices(a[3]))
        return "extents and strides of a tensor must be tuples of non-negative integers";
    if (a[2]->n != a[3]->n) return "a tensor has not as many strides as extents";
    out->kind = AVS_PK_TENSOR;
    out->has_tensor = true;
    out->storage = a[0];
    out->offset = a[1]->i;
    out->size = a[2];
    out->stride = a[3];
    return NULL;
}

static const char *ordered_dict(const avs_pk_node *args, avs_pk_node *out)
{
    out->kind = AVS_PK_DICT;
    if (args->n == 0) return NULL;
    const avs_pk_node *pairs = args->first->v;
    if (args->n != 1 || pairs->kind != AVS_PK_LIST) return "an OrderedDict takes one list of pairs";
    for (const avs_pk_item *it = pairs->first; it; it = it->next)
        if ((it->v->kind != AVS_PK_LIST && it->v->kind != AVS_PK_TUPLE) || it->v->n != 2)
            return "an OrderedDict takes a list of pairs";
    return NULL;
}

const char *avs_pk_reduce(const avs_pk_node *f, const avs_pk_node *args, avs_pk_node *out,
                          avs_pk_node **given)
{
    const avs_pk_node *a[1];
    items(args, a, 1);
    switch ((avs_pk_global)f->what) {
    case AVS_PKG_ORDERED_DICT:
        return ordered_dict(args, out);
    case AVS_PKG_REBUILD_TENSOR:
        return rebuild_tensor(args, false, out);
    case AVS_PKG_REBUILD_TENSOR_V2:
        return rebuild_tensor(args, true, out);
    case AVS_PKG_REBUILD_PARAMETER:
        if (args->n != 3 || a[0]->kind != AVS_PK_TENSOR)
            return "a parameter is rebuilt from what is no tensor";
        *given = args->first->v;
        return NULL;
    case AVS_PKG_SIZE:
        if (args->n != 1 || !are_indices(a[0])) return "a Size takes one tuple of integers";
        *given = args->first->v;
        return NULL;
    case AVS_PKG_STORAGE:
        break;
    }
    return "a storage class is called, which torch.save never does";
}

const char *avs_pk_storage(const avs_pk_node *id, avs_pk_node *x)
{
    const avs_pk_node *a[6], *view[3];
    if (id->kind != AVS_PK_TUPLE || id->n < 5 || id->n > 6)
        return "a persistent id must be (\"storage\", type, key, location, count)";
    items(id, a, 6);
    if (a[0]->kind != AVS_PK_STR || strcmp(a[0]->s, "storage") != 0)
        return "a persistent id is not of a storage";
    if (a[1]->kind != AVS_PK_GLOBAL || a[1]->what != AVS_PKG_STORAGE)
        return "the type of a storage is none of Float, Half, BFloat16, Double, Long, Int, Short, Char, "
               "Byte, "
               "BoolStorage";
    if (a[2]->kind != AVS_PK_STR || !a[2]->s[0]) return "the key of a storage is no string";
    if (!is_index(a[4]) || a[4]->i > INT64_MAX / 16) return "the element count of a storage is out of range";
    x->s = a[2]->s;
    x->dtype = a[1]->dtype;
    x->count = x->view_count = a[4]->i;
    x->view_at = 0;
    if (a[5]->kind == AVS_PK_NONE) return NULL;
    items(a[5], view, a[5]->kind == AVS_PK_TUPLE ? 3 : 0);
    if (a[5]->kind != AVS_PK_TUPLE || a[5]->n != 3 || !is_index(view[1]) || !is_index(view[2]))
        return "a view of a storage must be (key, offset, count)";
    if (view[1]->i > x->count || view[2]->i > x->count - view[1]->i)
        return "a view of a storage reaches beyond it";
    x->view_at = view[1]->i;
    x->view_count = view[2]->i;
    return NULL;
}

avs_pk_node *avs_pk_get(const avs_pk_node *dict, const char *key)
{
    avs_pk_node *found = NULL;
    if (dict->kind != AVS_PK_DICT) return NULL;
    for (const avs_pk_item *it = dict->first; it; it = it->next)
        if (it->key->kind == AVS_PK_STR && !strcmp(it->key->s, key)) found = it->v;
    return found;
}

const char *avs_pk_text(const avs_pk_node *v, char *buf, size_t n)
{
    static const char *const names[] = {"None",     "a bool",   "an integer", "a float",
                                        "a string", "bytes",    "a tuple",    "a list",
                                        "a dict",   "a global", "a storage",  "a tensor"};
    if (v->kind == AVS_PK_OPAQUE) {
        (void)snprintf(buf, n, "an object of %.120s", v->s);
        char *space = strrchr(buf, ' ');
        if (space) *space = '.';
    } else {
        (void)snprintf(buf, n, "%s", names[v->kind]);
    }
    return buf;
}
