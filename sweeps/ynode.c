/* Working with YAML nodes: look-ups, deep merge, conversion to JSON. */
#include <string.h>
#include "sweeps/yaml.h"

static int64_t index_of(const avs_ynode *map, const char *key)
{
    if (map && map->kind == AVS_Y_MAP)
        for (uint32_t i = 0; i < map->n; i++)
            if (strcmp(map->keys[i]->s, key) == 0) return i;
    return -1;
}

avs_ynode *avs_yaml_get(const avs_ynode *map, const char *key)
{
    int64_t at = index_of(map, key);
    return at < 0 ? NULL : map->items[at];
}

avs_ynode *avs_yaml_key(const avs_ynode *map, const char *key)
{
    int64_t at = index_of(map, key);
    return at < 0 ? NULL : map->keys[at];
}

const char *avs_yaml_kind(const avs_ynode *n)
{
    static const char *const names[] = {"nothing",  "true or false", "a whole number", "a number",
                                        "a string", "a list",        "a map"};
    return n ? names[n->kind] : "nothing";
}

avs_ynode *avs_yaml_merge(avs_arena *a, avs_ynode *base, avs_ynode *over)
{
    if (!base || !over) return base ? base : over;
    if (base->kind != AVS_Y_MAP || over->kind != AVS_Y_MAP) return over;
    avs_ynode *m = AVS_NEW(a, avs_ynode);
    uint32_t cap = base->n + over->n;
    if (!m) return NULL;
    *m = *over;
    m->keys = AVS_NEW_N(a, avs_ynode *, cap + 1);
    m->items = AVS_NEW_N(a, avs_ynode *, cap + 1);
    if (!m->keys || !m->items) return NULL;
    m->n = 0;
    for (uint32_t i = 0; i < base->n; i++) {
        avs_ynode *item = avs_yaml_get(over, base->keys[i]->s);
        m->keys[m->n] = item ? avs_yaml_key(over, base->keys[i]->s) : base->keys[i];
        m->items[m->n] = item ? avs_yaml_merge(a, base->items[i], item) : base->items[i];
        if (!m->items[m->n++]) return NULL;
    }
    for (uint32_t i = 0; i < over->n; i++)
        if (index_of(base, over->keys[i]->s) < 0) {
            m->keys[m->n] = over->keys[i];
            m->items[m->n++] = over->items[i];
        }
    m->size = base->size + over->size;
    m->height = base->height > over->height ? base->height : over->height;
    return m;
}

avs_ynode *avs_yaml_map(avs_arena *a, const char *key, avs_pos pos, avs_ynode *item)
{
    avs_ynode *m = AVS_NEW(a, avs_ynode), *k = AVS_NEW(a, avs_ynode);
    if (!m || !k) return NULL;
    *k = (avs_ynode){.kind = AVS_Y_STR, .pos = pos, .s = key, .len = strlen(key), .size = 1, .height = 1};
    *m = (avs_ynode){
        .kind = AVS_Y_MAP, .pos = pos, .s = "", .n = 1, .size = 2 + item->size, .height = item->height + 1};
    m->keys = AVS_NEW_N(a, avs_ynode *, 1);
    m->items = AVS_NEW_N(a, avs_ynode *, 1);
    if (!m->keys || !m->items) return NULL;
    m->keys[0] = k;
    m->items[0] = item;
    return m;
}

avs_json *avs_yaml_json(avs_arena *a, const avs_ynode *n)
{
    static const avs_jkind kinds[] = {AVS_J_NULL, AVS_J_BOOL, AVS_J_INT, AVS_J_FLOAT,
                                      AVS_J_STR,  AVS_J_ARR,  AVS_J_OBJ};
    avs_json *j = avs_json_new(a, kinds[n->kind]);
    if (!j) return NULL;
    if (n->kind == AVS_Y_BOOL) j->b = n->b;
    if (n->kind == AVS_Y_INT) j->i = n->i;
    if (n->kind == AVS_Y_INT || n->kind == AVS_Y_FLOAT) j->d = n->d;
    if (n->kind == AVS_Y_STR) {
        j->s = n->s;
        j->len = n->len;
    }
    for (uint32_t i = 0; i < n->n; i++) {
        avs_json *item = avs_yaml_json(a, n->items[i]);
        if (!item || !avs_json_add(a, j, n->kind == AVS_Y_MAP ? n->keys[i]->s : NULL, item)) return NULL;
    }
    return j;
}
