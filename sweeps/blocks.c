/* Blocks of a sweep: grid, zip, list, any, random, with numeric axes. Everything becomes axes of explicit values here;
 * a random block is a zip of drawn lists. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/rng.h"
#include "sweeps/stage.h"

static bool is_num(const avs_ynode *n)
{
    return n->kind == AVS_Y_INT || n->kind == AVS_Y_FLOAT;
}

/* Twelve digits: 0.1 + 2 * 0.1 is 0.3, and the last bits of pow() on this machine do not enter an identity. */
static double tidy(double v)
{
    char text[40];
    (void)snprintf(text, sizeof text, "%.12g", v);
    return strtod(text, NULL);
}

static avs_json *number(avs_parse *p, bool whole, double d, int64_t i)
{
    avs_json *v = avs_json_new(p->a, whole ? AVS_J_INT : AVS_J_FLOAT);
    if (!v) {
        p->d->no_memory = true;
        return NULL;
    }
    v->i = whole ? i : 0;
    v->d = whole ? (double)i : d;
    return v;
}

avs_setting avs_parse_setting(avs_parse *p, const avs_ynode *key, const avs_ynode *value)
{
    avs_setting s = {
        .key = key->s, .value = avs_yaml_json(p->a, value), .key_node = key, .value_node = value};
    if (!s.value) p->d->no_memory = true;
    return s;
}

/* Room for n values; false after an error. */
static bool room(avs_parse *p, avs_axis *x, const avs_ynode *node, int64_t n)
{
    if (n > AVS_MAX_VALUES) {
        avs_diag_add(p->d, "E024", node->pos, NULL, "an axis of more than %d values", AVS_MAX_VALUES);
        return false;
    }
    x->values = AVS_NEW_N(p->a, avs_setting, n + 1);
    if (!x->values) p->d->no_memory = true;
    return x->values != NULL;
}

static bool push(avs_axis *x, const avs_json *value, const avs_ynode *where)
{
    if (!value) return false;
    x->values[x->n++] =
        (avs_setting){.key = x->key, .value = value, .key_node = x->key_node, .value_node = where};
    return true;
}

static bool malformed(avs_parse *p, const avs_ynode *n, const char *form)
{
    avs_diag_add(p->d, "E023", n->pos, NULL, "an axis wants %s", form);
    return false;
}

/* [start, stop, step], stop included. */
static bool range(avs_parse *p, const avs_ynode *n, avs_axis *x)
{
    static const char form[] = "{range: [start, stop, step]} with a step that leads from start to stop";
    if (n->kind != AVS_Y_SEQ || n->n != 3) return malformed(p, n, form);
    const avs_ynode *start = n->items[0], *stop = n->items[1], *step = n->items[2];
    if (!is_num(start) || !is_num(stop) || !is_num(step)) return malformed(p, n, form);
    bool whole = start->kind == AVS_Y_INT && step->kind == AVS_Y_INT;
    double steps = (stop->d - start->d) / step->d;
    if (!(steps >= 0) || !isfinite(steps) || !(fabs(start->d) < 1e15) || !(fabs(stop->d) < 1e15))
        return malformed(p, n, form);
    double count = floor(steps + 1e-9) + 1;
    if (!room(p, x, n, count > 2e6 ? 2000000 : (int64_t)count)) return false;
    for (int64_t i = 0; i < (int64_t)count; i++)
        if (!push(x, number(p, whole, tidy(start->d + (double)i * step->d), start->i + i * step->i), n))
            return false;
    return true;
}

static bool pow2(avs_parse *p, const avs_ynode *n, avs_axis *x)
{
    static const char form[] = "{pow2: [low, high]} with a power of two below or equal to high";
    if (n->kind != AVS_Y_SEQ || n->n != 2 || n->items[0]->kind != AVS_Y_INT || n->items[1]->kind != AVS_Y_INT)
        return malformed(p, n, form);
    int64_t lo = n->items[0]->i, hi = n->items[1]->i;
    if (lo < 1 || (lo & (lo - 1)) || hi < lo || hi > ((int64_t)1 << 60)) return malformed(p, n, form);
    if (!room(p, x, n, 64)) return false;
    for (int64_t v = lo; v <= hi; v *= 2)
        if (!push(x, number(p, true, 0, v), n)) return false;
    return true;
}

static bool logspace(avs_parse *p, const avs_ynode *n, avs_axis *x)
{
    static const char form[] = "{logspace: [first, last, count]} with positive ends and two values or more";
    if (n->kind != AVS_Y_SEQ || n->n != 3 || !is_num(n->items[0]) || !is_num(n->items[1]) ||
        n->items[2]->kind != AVS_Y_INT)
        return malformed(p, n, form);
    double lo = n->items[0]->d, hi = n->items[1]->d;
    int64_t count = n->items[2]->i;
    const int64_t most = (int64_t)2 * AVS_MAX_VALUES; /* more only need to be refused */
    if (!(lo > 0 && hi > 0 && isfinite(lo) && isfinite(hi)) || count < 2) return malformed(p, n, form);
    if (!room(p, x, n, count > most ? most : count)) return false;
    for (int64_t i = 0; i < count; i++) {
        double v = i == 0           ? lo
                   : i == count - 1 ? hi
                                    : tidy(lo * pow(hi / lo, (double)i / (double)(count - 1)));
        if (!push(x, number(p, false, v, 0), n)) return false;
    }
    return true;
}

static bool axis(avs_parse *p, const avs_ynode *key, const avs_ynode *n, avs_axis *x)
{
    static const char *const keys[] = {"range", "pow2", "logspace", NULL};
    *x = (avs_axis){.key = key->s, .key_node = key};
    if (++p->n_axes > AVS_MAX_AXES) {
        avs_diag_add(p->d, "E024", key->pos, NULL, "more than %d axes in one stage", AVS_MAX_AXES);
        return false;
    }
    if (n->kind == AVS_Y_SEQ) {
        if (n->n == 0) {
            avs_diag_add(p->d, "E025", n->pos, NULL, "%.60s is an empty list: no point would be left",
                         key->s);
            return false;
        }
        if (!room(p, x, n, n->n)) return false;
        for (uint32_t i = 0; i < n->n; i++)
            if (!push(x, avs_yaml_json(p->a, n->items[i]), n->items[i])) {
                p->d->no_memory = true;
                return false;
            }
        return true;
    }
    if (n->kind == AVS_Y_MAP && n->n == 1) {
        if (strcmp(n->keys[0]->s, "range") == 0) return range(p, n->items[0], x);
        if (strcmp(n->keys[0]->s, "pow2") == 0) return pow2(p, n->items[0], x);
        if (strcmp(n->keys[0]->s, "logspace") == 0) return logspace(p, n->items[0], x);
        return avs_check_keys(p->d, n, keys, "in an axis");
    }
    return malformed(p, n,
                     n->kind == AVS_Y_MAP
                         ? "one of range, pow2, logspace"
                         : "a list, as in [8, 16], or {range: ..}, {pow2: ..}, {logspace: ..}");
}

static bool axes(avs_parse *p, const avs_ynode *map, avs_block *b, const char *what)
{
    if (map->kind != AVS_Y_MAP || map->n == 0) {
        avs_diag_add(p->d, map->kind == AVS_Y_MAP ? "E025" : "E011", map->pos, NULL,
                     "%s wants a map of keys and values, found %s", what,
                     map->kind == AVS_Y_MAP ? "an empty one" : avs_yaml_kind(map));
        return false;
    }
    b->axes = AVS_NEW_N(p->a, avs_axis, map->n);
    if (!b->axes) {
        p->d->no_memory = true;
        return false;
    }
    bool ok = true;
    for (uint32_t i = 0; i < map->n; i++) ok &= axis(p, map->keys[i], map->items[i], &b->axes[i]);
    b->n_axes = map->n;
    return ok;
}

static bool zip(avs_parse *p, const avs_ynode *map, avs_block *b)
{
    if (!axes(p, map, b, "zip")) return false;
    for (int64_t i = 1; i < b->n_axes; i++)
        if (b->axes[i].n != b->axes[0].n) {
            avs_diag_add(p->d, "E021", avs_yaml_key(map, b->axes[0].key)->pos, NULL,
                         "zip lists differ in length: %.60s has %lld, %.60s has %lld (line %u)",
                         b->axes[0].key, (long long)b->axes[0].n, b->axes[i].key, (long long)b->axes[i].n,
                         b->axes[i].key_node->pos.line);
            return false;
        }
    return true;
}

/* Explicit points: one "axis" per point, whose values have different keys. */
static bool points(avs_parse *p, const avs_ynode *list, avs_block *b)
{
    if (list->kind != AVS_Y_SEQ || list->n == 0) {
        avs_diag_add(p->d, list->kind == AVS_Y_SEQ ? "E025" : "E011", list->pos, NULL,
                     "list wants a list of points, found %s",
                     list->kind == AVS_Y_SEQ ? "an empty one" : avs_yaml_kind(list));
        return false;
    }
    b->axes = AVS_NEW_N(p->a, avs_axis, list->n);
    if (!b->axes) {
        p->d->no_memory = true;
        return false;
    }
    for (uint32_t i = 0; i < list->n; i++) {
        const avs_ynode *point = list->items[i];
        avs_axis *x = &b->axes[b->n_axes++];
        if (point->kind != AVS_Y_MAP) {
            avs_diag_add(p->d, "E011", point->pos, NULL, "a point wants a map, found %s",
                         avs_yaml_kind(point));
            return false;
        }
        if (!room(p, x, point, point->n)) return false;
        for (uint32_t k = 0; k < point->n; k++)
            x->values[x->n++] = avs_parse_setting(p, point->keys[k], point->items[k]);
    }
    return !p->d->no_memory;
}

/* ---- random ---------------------------------------------------------------------------------------------------- */

static double draw(const char *key, uint64_t seed, int64_t j)
{
    uint64_t state = (avs_fnv1a64_str(key) ^ seed) + (uint64_t)j * UINT64_C(0x9E3779B97F4A7C15);
    return (double)(avs_splitmix64(state) >> 11) * 0x1p-53;
}

static bool random_value(avs_parse *p, const avs_ynode *dist, double u, avs_axis *x)
{
    const char *kind = dist->keys[0]->s;
    const avs_ynode *v = dist->items[0];
    double lo = v->items[0]->d, hi = v->n > 1 ? v->items[1]->d : 0;
    if (strcmp(kind, "choice") == 0) {
        const avs_ynode *item = v->items[(uint32_t)(u * v->n)];
        return push(x, avs_yaml_json(p->a, item), item);
    }
    if (strcmp(kind, "int") == 0) {
        int64_t first = v->items[0]->i, n = v->items[1]->i - first + 1;
        return push(x, number(p, true, 0, first + (int64_t)(u * (double)n)), v);
    }
    if (strcmp(kind, "uniform") == 0) return push(x, number(p, false, tidy(lo + (hi - lo) * u), 0), v);
    double d = lo * pow(hi / lo, u);
    if (strcmp(kind, "qlog") == 0) {
        double q = v->items[2]->d;
        d = fmin(fmax(round(d / q) * q, lo), hi);
    }
    return push(x, number(p, false, tidy(d), 0), v);
}

static bool check_distribution(avs_parse *p, const avs_ynode *n)
{
    static const char *const keys[] = {"choice", "int", "uniform", "loguniform", "qlog", NULL};
    static const char form[] = "one of {choice: [..]}, {int: [low, high]}, {uniform: [low, high]}, "
                               "{loguniform: [low, high]}, {qlog: [low, high, step]}";
    if (n->kind != AVS_Y_MAP || n->n != 1) return malformed(p, n, form);
    if (!avs_check_keys(p->d, n, keys, "in a random parameter")) return false;
    const char *kind = n->keys[0]->s;
    const avs_ynode *v = n->items[0];
    bool choice = strcmp(kind, "choice") == 0, whole = strcmp(kind, "int") == 0;
    bool is_log = strcmp(kind, "loguniform") == 0 || strcmp(kind, "qlog") == 0;
    uint32_t want = strcmp(kind, "qlog") == 0 ? 3 : 2;
    if (v->kind != AVS_Y_SEQ || v->n == 0 || (!choice && v->n != want)) return malformed(p, v, form);
    for (uint32_t i = 0; !choice && i < v->n; i++)
        if (!is_num(v->items[i]) || (whole && v->items[i]->kind != AVS_Y_INT) ||
            !(fabs(v->items[i]->d) < 1e15) || (is_log && v->items[i]->d <= 0))
            return malformed(p, v->items[i], form);
    if (!choice && v->items[1]->d < v->items[0]->d) return malformed(p, v, form);
    return true;
}

static bool random_block(avs_parse *p, const avs_ynode *n, avs_block *b)
{
    static const char *const keys[] = {"n", "seed", "params", NULL};
    const avs_ynode *count = avs_yaml_get(n, "n"), *seed = avs_yaml_get(n, "seed"),
                    *params = avs_yaml_get(n, "params");
    if (n->kind != AVS_Y_MAP || !count || count->kind != AVS_Y_INT || count->i < 1 ||
        count->i > AVS_MAX_VALUES || !params || params->kind != AVS_Y_MAP || params->n == 0 ||
        (seed && (seed->kind != AVS_Y_INT || seed->i < 0))) {
        avs_diag_add(p->d, "E020", n->pos, NULL,
                     "random wants {n: 1 to %d, seed: 0 or more, params: {key: distribution}}",
                     AVS_MAX_VALUES);
        return false;
    }
    bool ok = avs_check_keys(p->d, n, keys, "in 'random'");
    b->axes = AVS_NEW_N(p->a, avs_axis, params->n);
    if (!b->axes) {
        p->d->no_memory = true;
        return false;
    }
    b->n_axes = params->n;
    for (uint32_t k = 0; k < params->n; k++) {
        avs_axis *x = &b->axes[k];
        *x = (avs_axis){.key = params->keys[k]->s, .key_node = params->keys[k]};
        if (++p->n_axes > AVS_MAX_AXES || !check_distribution(p, params->items[k]) ||
            !room(p, x, params, count->i)) {
            ok = false;
            continue;
        }
        for (int64_t j = 0; j < count->i; j++)
            if (!random_value(p, params->items[k], draw(x->key, seed ? (uint64_t)seed->i : 0, j), x)) {
                p->d->no_memory = true;
                return false;
            }
    }
    return ok;
}

/* ---- lists of blocks --------------------------------------------------------------------------------------------- */

static avs_block *block(avs_parse *p, const avs_ynode *n)
{
    static const char *const keys[] = {"grid", "zip", "list", "any", "random", "when", NULL};
    avs_block *b = AVS_NEW(p->a, avs_block);
    if (!b) {
        p->d->no_memory = true;
        return NULL;
    }
    if (n->kind != AVS_Y_MAP) {
        avs_diag_add(p->d, "E020", n->pos, NULL,
                     "a block wants a map with grid, zip, list, any or random, found %s", avs_yaml_kind(n));
        return NULL;
    }
    if (++p->n_blocks > AVS_MAX_BLOCKS) {
        avs_diag_add(p->d, "E024", n->pos, NULL, "more than %d blocks in one stage", AVS_MAX_BLOCKS);
        return NULL;
    }
    bool ok = avs_check_keys(p->d, n, keys, "in a block");
    const avs_ynode *body = NULL;
    int found = 0, kind = 0;
    for (int k = 0; k < 5; k++)
        if (avs_yaml_get(n, keys[k])) {
            body = avs_yaml_get(n, keys[k]);
            kind = k;
            found++;
        }
    b->node = n;
    b->when_node = avs_yaml_get(n, "when");
    if (b->when_node) {
        b->when = avs_parse_expr(p, b->when_node);
        ok = ok && b->when;
    }
    if (found != 1) {
        if (ok)
            avs_diag_add(p->d, "E020", n->pos, NULL,
                         "a block wants exactly one of grid, zip, list, any, random, found %s",
                         found ? "several" : "none");
        return NULL;
    }
    if (kind == 0) {
        b->kind = AVS_B_GRID;
        ok &= axes(p, body, b, "grid");
    } else if (kind == 1) {
        b->kind = AVS_B_ZIP;
        ok &= zip(p, body, b);
    } else if (kind == 2) {
        b->kind = AVS_B_LIST;
        ok &= points(p, body, b);
    } else if (kind == 3) {
        b->kind = AVS_B_ANY;
        b->alternatives = avs_parse_blocks(p, body);
        ok &= b->alternatives != NULL;
    } else {
        b->kind = AVS_B_ZIP;
        ok &= random_block(p, body, b);
    }
    return ok ? b : NULL;
}

avs_block *avs_parse_blocks(avs_parse *p, const avs_ynode *list)
{
    avs_block *first = NULL, **at = &first;
    bool ok = true;
    if (list->kind != AVS_Y_SEQ || list->n == 0) {
        avs_diag_add(p->d, list->kind == AVS_Y_SEQ ? "E025" : "E011", list->pos,
                     "write - grid: {key: [values]}", "a list of blocks is expected, found %s",
                     list->kind == AVS_Y_SEQ ? "an empty one" : avs_yaml_kind(list));
        return NULL;
    }
    for (uint32_t i = 0; i < list->n && !avs_diag_full(p->d); i++) {
        *at = block(p, list->items[i]);
        if (!*at)
            ok = false;
        else
            at = &(*at)->next;
    }
    return ok ? first : NULL;
}
