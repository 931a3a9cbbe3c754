/* A ring of slots. Workers take items (one clip of one batch) in order; batch b may be started when b < released + slots,
 * so that the slot of batch b - n_slots is free. Everything shared is under one mutex; a worker holds it only to take an
 * item and to say that it is done. */
#include "data/loader.h"

#include "base/arena.h"
#include "data/logmel.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A pushed list; the queue is a linked list because pushes are not bounded. */
typedef struct request {
    struct request *next;
    int n_items, n_rows;
    int first_row[]; /* [n_items], followed by the items */
} request;

typedef struct {
    request *req; /* NULL: free */
    int taken, done;
    int failed_item; /* smallest that failed, -1: none */
    int rc;
    avs_err err;
    avs_batch pub;
    float *row_weight, *frame_weight;
    float *frames, *logmel, *target;
    int32_t *classes;
} slot;

struct avs_loader {
    avs_loader_cfg cfg;
    int64_t pixels, label_pixels;
    pthread_mutex_t lock;
    pthread_cond_t work, ready;
    request *head, *tail;            /* pushed, not yet in a slot */
    int64_t pushed, begun, returned; /* batches; begun: put into a slot */
    bool holding;                    /* the caller holds batch returned - 1 */
    bool stop;
    int64_t current; /* batch whose items are being handed out, <= begun */
    slot *slots;
    pthread_t *threads;
    int n_started;
};

static avs_loader_item *items_of(request *r)
{
    return (avs_loader_item *)(void *)(r->first_row + r->n_items);
}

static int fill_item(const avs_loader *l, const slot *s, int k, avs_err *e)
{
    const avs_loader_item *it = &items_of(s->req)[k];
    const int64_t row = s->req->first_row[k];
    const avs_pick pick = {.n = it->n, .frames = it->frames, .flip = it->flip};
    avs_clip_out out = {.row_weight = s->row_weight + row, .frame_weight = s->frame_weight + row};
    if (s->frames) out.frames = s->frames + row * l->pixels * 3;
    if (s->target) out.target = s->target + row * l->label_pixels;
    if (s->classes) out.classes = s->classes + row * l->label_pixels;
    float *logmel = s->logmel ? s->logmel + row * AVS_MEL_EXAMPLE : NULL;
    if (it->sound == it->clip) out.logmel = logmel;
    int rc = avs_clip_load(l->cfg.ds, it->clip, &pick, &out, e);
    if (rc == AVS_OK && logmel && it->sound != it->clip)
        rc = avs_clip_load(l->cfg.ds, it->sound, &pick, &(avs_clip_out){.logmel = logmel}, e);
    return rc;
}

/* Under the lock: the slot with an item to hand out, or NULL. */
static slot *next_work(avs_loader *l)
{
    if (l->current < l->begun) return &l->slots[l->current % l->cfg.n_slots];
    const int64_t released = l->returned - (l->holding ? 1 : 0);
    if (!l->head || l->begun >= released + l->cfg.n_slots) return NULL;
    slot *s = &l->slots[l->begun++ % l->cfg.n_slots];
    s->req = l->head;
    s->taken = s->done = 0;
    s->failed_item = -1;
    s->rc = AVS_OK;
    l->head = s->req->next;
    if (!l->head) l->tail = NULL;
    return s;
}

static void *work(void *arg)
{
    avs_loader *l = arg;
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        slot *s = next_work(l);
        if (!s) {
            pthread_cond_wait(&l->work, &l->lock);
            continue;
        }
        const int k = s->taken++;
        if (s->taken == s->req->n_items) l->current++;
        pthread_mutex_unlock(&l->lock);
        avs_err e = AVS_ERR_INIT;
        const int rc = fill_item(l, s, k, &e);
        pthread_mutex_lock(&l->lock);
        if (rc != AVS_OK && (s->failed_item < 0 || k < s->failed_item)) {
            s->failed_item = k;
            s->rc = rc;
            s->err = e;
        }
        if (++s->done == s->req->n_items) pthread_cond_broadcast(&l->ready);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static bool alloc_slot(avs_loader *l, slot *s)
{
    const size_t rows = (size_t)l->cfg.max_rows, pixels = (size_t)l->pixels, label = (size_t)l->label_pixels;
    const avs_loader_cfg *c = &l->cfg;
    s->row_weight = avs_xalloc(sizeof(float) * rows);
    s->frame_weight = avs_xalloc(sizeof(float) * rows);
    if (c->want_frames) s->frames = avs_xalloc(sizeof(float) * rows * pixels * 3);
    if (c->want_logmel) s->logmel = avs_xalloc(sizeof(float) * rows * AVS_MEL_EXAMPLE);
    if (c->want_target) s->target = avs_xalloc(sizeof(float) * rows * label);
    if (c->want_classes) s->classes = avs_xalloc(sizeof(int32_t) * rows * label);
    return s->row_weight && s->frame_weight && (s->frames || !c->want_frames) &&
           (s->logmel || !c->want_logmel) && (s->target || !c->want_target) &&
           (s->classes || !c->want_classes);
}

static void free_slot(slot *s)
{
    free(s->req);
    avs_xfree(s->row_weight);
    avs_xfree(s->frame_weight);
    avs_xfree(s->frames);
    avs_xfree(s->logmel);
    avs_xfree(s->target);
    avs_xfree(s->classes);
}

int avs_loader_new(avs_loader **out, const avs_loader_cfg *cfg, avs_err *e)
{
    *out = NULL;
    if (cfg->n_threads < 1 || cfg->n_threads > 256 || cfg->n_slots < 2 || cfg->n_slots > 1024 ||
        cfg->max_rows < 1)
        return avs_fail(e, AVS_ERANGE,
                        "the loader needs 1..256 threads, 2..1024 slots and rows, got %d, %d and %d",
                        cfg->n_threads, cfg->n_slots, cfg->max_rows);
    avs_loader *l = avs_xalloc(sizeof *l);
    if (!l) return avs_fail(e, AVS_ENOMEM, "no memory for the loader");
    const avs_dataset_cfg *view = avs_dataset_config(cfg->ds);
    l->cfg = *cfg;
    l->pixels = (int64_t)view->height * view->width;
    l->label_pixels = (int64_t)view->label_height * view->label_width;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    l->slots = avs_xalloc(sizeof *l->slots * (size_t)cfg->n_slots);
    l->threads = avs_xalloc(sizeof *l->threads * (size_t)cfg->n_threads);
    bool ok = l->slots && l->threads;
    for (int i = 0; ok && i < cfg->n_slots; i++) ok = alloc_slot(l, &l->slots[i]);
    if (!ok) {
        avs_loader_free(l);
        return avs_fail(e, AVS_ENOMEM, "no memory for %d batches of %d frames", cfg->n_slots, cfg->max_rows);
    }
    while (l->n_started < cfg->n_threads && pthread_create(&l->threads[l->n_started], NULL, work, l) == 0)
        l->n_started++;
    if (l->n_started == 0) {
        avs_loader_free(l);
        return avs_fail(e, AVS_EIO, "no loader thread could be started");
    }
    *out = l;
    return AVS_OK;
}

void avs_loader_free(avs_loader *l)
{
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_started; i++) pthread_join(l->threads[i], NULL);
    for (int i = 0; l->slots && i < l->cfg.n_slots; i++) free_slot(&l->slots[i]);
    while (l->head) {
        request *r = l->head;
        l->head = r->next;
        free(r);
    }
    pthread_cond_destroy(&l->ready);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->lock);
    avs_xfree(l->slots);
    avs_xfree(l->threads);
    avs_xfree(l);
}

static int check_item(const avs_loader *l, const avs_loader_item *it, avs_err *e)
{
    const int n = avs_dataset_count(l->cfg.ds);
    if (it->clip < 0 || it->clip >= n || it->sound < 0 || it->sound >= n)
        return avs_fail(e, AVS_ERANGE, "clip %d with the sound of clip %d: there are %d clips", it->clip,
                        it->sound, n);
    if (it->n < 1 || it->n > AVS_CLIP_MAX_FRAMES)
        return avs_fail(e, AVS_ERANGE, "clip %d: %d frames, expected 1..%d", it->clip, it->n,
                        AVS_CLIP_MAX_FRAMES);
    for (int k = 0; k < it->n; k++)
        if (it->frames[k] < 0 || it->frames[k] >= avs_dataset_clip(l->cfg.ds, it->clip)->T)
            return avs_fail(e, AVS_ERANGE, "clip %d has no frame %d", it->clip, it->frames[k]);
    return AVS_OK;
}

int avs_loader_push(avs_loader *l, const avs_loader_item *items, int n_items, avs_err *e)
{
    int rows = 0, rc;
    if (n_items < 1) return avs_fail(e, AVS_ERANGE, "a batch of %d clips", n_items);
    for (int k = 0; k < n_items; k++) {
        if ((rc = check_item(l, &items[k], e)) != AVS_OK) return rc;
        rows += items[k].n;
    }
    if (rows > l->cfg.max_rows)
        return avs_fail(e, AVS_ERANGE, "a batch of %d frames, the loader was made for %d", rows,
                        l->cfg.max_rows);
    request *r = avs_xrealloc(NULL, sizeof *r + (size_t)n_items * (sizeof(int) + sizeof *items));
    if (!r) return avs_fail(e, AVS_ENOMEM, "no memory for a batch of %d clips", n_items);
    r->next = NULL;
    r->n_items = n_items;
    r->n_rows = rows;
    for (int k = 0, row = 0; k < n_items; row += items[k++].n) r->first_row[k] = row;
    memcpy(items_of(r), items, sizeof *items * (size_t)n_items);
    pthread_mutex_lock(&l->lock);
    if (l->tail)
        l->tail->next = r;
    else
        l->head = r;
    l->tail = r;
    l->pushed++;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    return AVS_OK;
}

int avs_loader_pending(const avs_loader *l)
{
    return (int)(l->pushed - l->returned);
}

int avs_loader_next(avs_loader *l, const avs_batch **out, avs_err *e)
{
    int rc = AVS_OK;
    *out = NULL;
    pthread_mutex_lock(&l->lock);
    if (l->holding) { /* release it */
        slot *held = &l->slots[(l->returned - 1) % l->cfg.n_slots];
        free(held->req);
        held->req = NULL;
        l->holding = false;
        pthread_cond_broadcast(&l->work);
    }
    if (l->returned >= l->pushed) {
        rc = avs_fail(e, AVS_EMISSING, "the loader was asked for a batch that was not pushed");
        goto out;
    }
    slot *s = &l->slots[l->returned % l->cfg.n_slots];
    while (l->begun <= l->returned || s->done < s->req->n_items) pthread_cond_wait(&l->ready, &l->lock);
    l->holding = true;
    s->pub = (avs_batch){.number = l->returned++,
                         .n_rows = s->req->n_rows,
                         .n_items = s->req->n_items,
                         .items = items_of(s->req),
                         .frames = s->frames,
                         .logmel = s->logmel,
                         .target = s->target,
                         .classes = s->classes,
                         .row_weight = s->row_weight,
                         .frame_weight = s->frame_weight};
    if (s->rc != AVS_OK) {
        rc = s->rc;
        if (e) *e = s->err;
        goto out;
    }
    *out = &s->pub;
out:
    pthread_mutex_unlock(&l->lock);
    return rc;
}
