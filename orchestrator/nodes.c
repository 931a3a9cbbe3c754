/* One node: how many ranks of a class fit, which GPUs and cores they get; and the index that finds nodes.
 *
 * GPUs of an attempt come from one NVLink island or one NUMA domain where that is possible, the tightest one first;
 * cores come from the domain of the GPUs, then from others. The index keeps every usable, unreserved node in three
 * lists of buckets (by free GPUs, by free cores, empty ones), so a fitting node is found without a look at the rest. */
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include "orchestrator/coordinator_state.h"

bool node_usable(const node *a)
{
    return a->up && !a->suspect && !a->quarantined;
}

/* ---- the index ---- */

static void unlist(avs_coord *c, int32_t id, int k)
{
    node *a = &c->node[id];
    node_list *l = &c->list[k];
    int32_t b = a->bucket[k];
    if (b < 0) return;
    if (a->prev[k] >= 0)
        c->node[a->prev[k]].next[k] = a->next[k];
    else
        l->head[b] = a->next[k];
    if (a->next[k] >= 0) c->node[a->next[k]].prev[k] = a->prev[k];
    if (l->head[b] < 0) l->used[b / 64] &= ~(1ULL << (b % 64));
    a->bucket[k] = -1;
}

static void enlist(avs_coord *c, int32_t id, int k, int32_t b)
{
    node *a = &c->node[id];
    node_list *l = &c->list[k];
    a->bucket[k] = b;
    a->prev[k] = -1;
    a->next[k] = l->head[b];
    if (l->head[b] >= 0) c->node[l->head[b]].prev[k] = id;
    l->head[b] = id;
    l->used[b / 64] |= 1ULL << (b % 64);
}

static void move_to(avs_coord *c, int32_t id, int k, int32_t b)
{
    if (c->node[id].bucket[k] == b) return;
    unlist(c, id, k);
    if (b >= 0) enlist(c, id, k, b);
}

void node_file(avs_coord *c, int32_t id)
{
    node *a = &c->node[id];
    bool in = node_usable(a) && a->reserved < 0 && !a->held;
    int32_t cores = a->free_cores < CORE_BUCKETS ? a->free_cores : CORE_BUCKETS;
    int32_t gpus = a->n_gpu_free;
    if (a->reserved >= 0 && !node_usable(a)) coord_unreserve(c, a->reserved); /* calls this again */
    if (a->bucket[BY_GPUS] >= 0) c->free_gpus -= a->bucket[BY_GPUS];
    move_to(c, id, BY_GPUS, in ? gpus : -1);
    move_to(c, id, BY_CORES, in ? cores : -1);
    move_to(c, id, EMPTY, in && a->n_parts == 0 ? a->info.n_gpus : -1);
    if (in) c->free_gpus += gpus;
}

int32_t node_bucket_up(const node_list *l, int32_t b)
{
    int32_t n = (int32_t)(sizeof l->used / sizeof *l->used);
    for (int32_t w = b / 64; w < n; w++) {
        uint64_t bits = l->used[w];
        if (w == b / 64) bits &= ~0ULL << (b % 64);
        if (bits) return 64 * w + __builtin_ctzll(bits);
    }
    return -1;
}

int32_t node_bucket_down(const node_list *l, int32_t b)
{
    for (int32_t w = b / 64; b >= 0 && w >= 0; w--) {
        uint64_t bits = l->used[w];
        if (w == b / 64 && b % 64 < 63) bits &= (2ULL << (b % 64)) - 1;
        if (bits) return 64 * w + 63 - __builtin_clzll(bits);
    }
    return -1;
}

/* ---- inventory ---- */

static uint8_t model_id(avs_coord *c, const char *name)
{
    if (!name) name = "";
    for (int32_t m = 0; m < c->n_models; m++)
        if (strcmp(c->model_name[m], name) == 0) return (uint8_t)m;
    if (c->n_models == MODELS) return MODELS - 1; /* more kinds of GPU than anybody has: they share a name */
    char *copy = strdup(name);
    if (!copy) {
        c->oom = true;
        return 0;
    }
    int32_t m = c->n_models++;
    c->model_name[m] = copy;
    for (int32_t k = 0; k < c->n_cls; k++) {
        regex_t re;
        if (!c->cls[k].in.gpu_model || regcomp(&re, c->cls[k].in.gpu_model, REG_EXTENDED | REG_NOSUB) != 0)
            continue;
        if (regexec(&re, name, 0, NULL, 0) == 0) c->cls[k].models |= 1ULL << m;
        regfree(&re);
    }
    return (uint8_t)m;
}

void node_init(avs_coord *c, int32_t id, const avs_node_info *info)
{
    node *a = &c->node[id];
    *a = (node){.info = *info, .reserved = -1, .bucket = {-1, -1, -1}};
    avs_node_info *x = &a->info;
    if (x->n_numa < 1 || x->n_numa > AVS_NODE_NUMA) {
        x->n_numa = 1;
        x->numa_cores[0] = x->cores;
    }
    if (x->n_gpus > AVS_NODE_GPUS) x->n_gpus = AVS_NODE_GPUS;
    a->free_cores = x->cores;
    a->free_mb = x->mem_mb;
    a->n_gpu_free = x->n_gpus;
    for (int32_t d = 0; d < x->n_numa; d++) a->numa_free[d] = x->numa_cores[d];
    for (int32_t g = 0; g < x->n_gpus; g++) {
        if (x->gpu[g].numa < 0 || x->gpu[g].numa >= x->n_numa) x->gpu[g].numa = 0;
        a->model[g] = model_id(c, x->gpu[g].model);
        x->gpu[g].model = NULL;
        a->numa_gpus[x->gpu[g].numa] |= 1u << g;
        a->gpu_free |= 1u << g;
    }
    a->gpu_all = a->gpu_free;
}

/* ---- fitting ---- */

static int count(uint32_t bits)
{
    return __builtin_popcount(bits);
}

static uint32_t lowest(uint32_t bits, int n)
{
    uint32_t out = 0;
    for (; n > 0 && bits; n--) {
        out |= bits & -bits;
        bits &= bits - 1;
    }
    return out;
}

static uint32_t matching(const node *a, const job_class *k, uint32_t gpus)
{
    if (k->models == UINT64_MAX) return gpus;
    for (uint32_t left = gpus; left; left &= left - 1) {
        int g = __builtin_ctz(left);
        if (!(k->models >> a->model[g] & 1)) gpus &= ~(1u << g);
    }
    return gpus;
}

static int32_t least(int32_t x, int32_t y)
{
    return x < y ? x : y;
}

/* Ranks that a set of free things can hold. cores 0 of the class: checked by the caller. */
static int32_t room(const job_class *k, int32_t gpus, int32_t cores, int32_t mb, bool mem_known, int32_t want)
{
    if (k->in.gpus > 0) want = least(want, gpus / k->in.gpus);
    want = least(want, cores / (k->in.cores > 0 ? k->in.cores : 1));
    if (k->in.mem_mb > 0 && mem_known) want = least(want, mb / k->in.mem_mb);
    return want > 0 ? want : 0;
}

/* The GPUs for n ranks out of `gpus`: one linked island or one domain if it holds them all, the tightest first. */
static uint32_t choose_gpus(const node *a, const job_class *k, uint32_t gpus, int32_t n)
{
    int32_t need = n * k->in.gpus, best = AVS_NODE_GPUS + 1;
    uint32_t pick = 0;
    for (uint32_t left = gpus; left;) {
        int g = __builtin_ctz(left);
        uint32_t group = 0;
        for (int h = g; h < a->info.n_gpus; h++) {
            bool same = k->in.nvlink ? a->info.gpu[h].island == a->info.gpu[g].island
                                     : a->info.gpu[h].numa == a->info.gpu[g].numa;
            if (same) group |= 1u << h;
        }
        group &= left;
        left &= ~group;
        if (count(group) >= need && count(group) < best) {
            best = count(group);
            pick = lowest(group, need);
        }
    }
    return pick ? pick : lowest(gpus, need);
}

static void take_cores(int32_t *left, int32_t n_numa, int32_t first, int32_t cores, rank_at *r)
{
    for (int32_t k = 0; k < n_numa && cores > 0; k++) {
        int32_t d = k == 0 ? first : k <= first ? k - 1 : k;
        int32_t some = least(left[d], cores);
        left[d] -= some;
        cores -= some;
        r->taken[d] = (uint16_t)some;
    }
}

static int32_t freest(const int32_t *left, int32_t n_numa, int32_t cores)
{
    int32_t tight = -1, loose = 0;
    for (int32_t d = 0; d < n_numa; d++) {
        if (left[d] >= cores && (tight < 0 || left[d] < left[tight])) tight = d;
        if (left[d] > left[loose]) loose = d;
    }
    return tight >= 0 ? tight : loose;
}

/* Lays n ranks out; only_numa: -1 or the domain that all come from. The caller knows that they fit. */
static void lay_out(const node *a, const job_class *k, uint32_t gpus, int32_t n, int32_t only_numa,
                    rank_at *out)
{
    int32_t left[AVS_NODE_NUMA];
    memcpy(left, a->numa_free, sizeof left);
    for (int32_t d = 0; d < a->info.n_numa; d++)
        if (a->numa_held >> d & 1) left[d] = 0;
    uint32_t pick = k->in.gpus > 0 ? choose_gpus(a, k, gpus, n) : 0;
    for (int32_t i = 0; i < n; i++) {
        rank_at *r = &out[i];
        *r = (rank_at){.place.cores = k->in.cores > 0 ? k->in.cores : a->info.cores / n};
        if (k->in.cores == 0 && i < a->info.cores % n) r->place.cores++;
        r->place.gpus = lowest(pick, k->in.gpus);
        pick &= ~r->place.gpus;
        int32_t d = only_numa >= 0  ? only_numa
                    : r->place.gpus ? a->info.gpu[__builtin_ctz(r->place.gpus)].numa
                                    : freest(left, a->info.n_numa, r->place.cores);
        r->place.numa = d;
        take_cores(left, a->info.n_numa, d, r->place.cores, r);
    }
}

/* All want ranks in one domain: the tightest one. */
static int32_t fit_numa(const node *a, const job_class *k, int32_t want, uint32_t gpus, rank_at *out)
{
    int32_t best = -1, best_left = INT32_MAX;
    for (int32_t d = 0; d < a->info.n_numa; d++) {
        if (a->numa_held >> d & 1 || (k->in.exclusive == AVS_EXCL_NUMA && a->numa_parts[d] > 0)) continue;
        uint32_t here = gpus & a->numa_gpus[d];
        int32_t n = room(k, count(here), a->numa_free[d], a->free_mb, a->info.mem_mb > 0, want);
        int32_t left = 1024 * count(here) + a->numa_free[d];
        if (n < want || left >= best_left) continue;
        best = d;
        best_left = left;
    }
    if (best < 0) return 0;
    if (out) lay_out(a, k, gpus & a->numa_gpus[best], want, best, out);
    return want;
}

int32_t node_fit(const node *a, const job_class *k, int32_t want, rank_at *out)
{
    bool whole = k->in.cores == 0 || k->in.exclusive == AVS_EXCL_NODE;
    if (a->held || (whole && a->n_parts > 0)) return 0;
    uint32_t gpus = matching(a, k, a->gpu_free);
    int32_t cores = a->free_cores;
    if (k->in.pack == AVS_PACK_NUMA || k->in.exclusive == AVS_EXCL_NUMA)
        return fit_numa(a, k, want, gpus, out);
    for (int32_t d = 0; a->numa_held && d < a->info.n_numa; d++)
        if (a->numa_held >> d & 1) { /* nobody enters a domain that is held */
            gpus &= ~a->numa_gpus[d];
            cores -= a->numa_free[d];
        }
    int32_t n = room(k, count(gpus), cores, a->free_mb, a->info.mem_mb > 0, want);
    if (out && n > 0) lay_out(a, k, gpus, n, -1, out);
    return n;
}

int32_t node_could(const node *a, const job_class *k, int32_t want)
{
    node bare = *a;
    bare.gpu_free = a->gpu_all;
    bare.free_cores = a->info.cores;
    bare.free_mb = a->info.mem_mb;
    bare.n_parts = 0;
    bare.held = false;
    bare.numa_held = 0;
    memset(bare.numa_parts, 0, sizeof bare.numa_parts);
    memcpy(bare.numa_free, a->info.numa_cores, sizeof bare.numa_free);
    return node_fit(&bare, k, want, NULL);
}

/* ---- taking and giving back ---- */

static void account(node *a, const job_class *k, const rank_at *r, int32_t n, int sign)
{
    uint32_t touched = 0;
    for (int32_t i = 0; i < n; i++) {
        a->gpu_free ^= r[i].place.gpus;
        a->n_gpu_free -= sign * count(r[i].place.gpus);
        a->free_cores -= sign * r[i].place.cores;
        a->free_mb -= sign * k->in.mem_mb;
        for (int32_t d = 0; d < a->info.n_numa; d++) {
            a->numa_free[d] -= sign * r[i].taken[d];
            if (r[i].taken[d] || r[i].place.gpus & a->numa_gpus[d]) touched |= 1u << d;
        }
    }
    for (int32_t d = 0; d < a->info.n_numa; d++)
        if (touched >> d & 1) a->numa_parts[d] += sign;
    if (k->in.exclusive == AVS_EXCL_NUMA) a->numa_held ^= touched;
    if (k->in.exclusive == AVS_EXCL_NODE) a->held = sign > 0;
    a->n_parts += sign;
}

static void busy(avs_coord *c, const rank_at *r, int32_t n, int sign)
{
    for (int32_t i = 0; i < n; i++) {
        c->cores_busy += (int64_t)sign * r[i].place.cores;
        c->gpus_busy += (int64_t)sign * count(r[i].place.gpus);
    }
}

void node_take(avs_coord *c, int32_t id, const job_class *k, const rank_at *r, int32_t n)
{
    account(&c->node[id], k, r, n, 1);
    busy(c, r, n, 1);
    node_file(c, id);
}

void node_return(node *a, const job_class *k, const rank_at *r, int32_t n)
{
    account(a, k, r, n, -1);
}

void node_give(avs_coord *c, int32_t id, const job_class *k, const rank_at *r, int32_t n)
{
    account(&c->node[id], k, r, n, -1);
    busy(c, r, n, -1);
    c->freed = true;
    int32_t res = c->node[id].reserved;
    c->reserved_freed |= res >= 0;
    if (res >= 0 && !c->res[res].dirty) {
        c->res[res].dirty = true;
        c->dirty[c->n_dirty++] = res;
    }
    node_file(c, id);
}
