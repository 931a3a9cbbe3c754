/* The walk over trials. The key of a trial is the first eight bytes of its hash as the machine stores an integer, so the
 * digits of a prefix are its low bytes and no range of the index holds them: the index is read from end to end, which for
 * a million trials takes a fifth of the time that reading the trials does; from 16 digits on it is one look. */
#include "results/trial_rows.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include "results/db.h"

bool avs_is_hash_prefix(const char *text)
{
    const size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        if (!isxdigit((unsigned char)text[i])) return false;
    return n >= 6 && n <= 64;
}

/* The bits of a key that the digits say, and what they say. */
static void key_bits(const char *digits, int64_t *mask, int64_t *value)
{
    uint8_t m[8] = {0}, v[8] = {0};
    for (int i = 0; i < 16 && digits[i]; i++) {
        const int c = tolower((unsigned char)digits[i]), digit = c <= '9' ? c - '0' : c - 'a' + 10;
        const int shift = i % 2 ? 0 : 4;
        m[i / 2] |= (uint8_t)(0xf << shift);
        v[i / 2] |= (uint8_t)(digit << shift);
    }
    memcpy(mask, m, sizeof *mask);
    memcpy(value, v, sizeof *value);
}

#define ROWS                                                                                                 \
    "SELECT t.trial_id, t.config_id, lower(hex(t.hash)), n.name, c.kind, c.model, c.task, t.seed,"           \
    " t.attempts, t.priority, c.params FROM trial t JOIN config c USING(config_id) JOIN state_name n"        \
    " USING(state) WHERE (?1=0 OR t.trial_id IN (SELECT trial_id FROM sweep_trial WHERE sweep_id=?1))"       \
    " AND (?2='' OR n.name=?2)"
static const char ALL[] = ROWS " ORDER BY t.trial_id";
static const char BY_PREFIX[] =
    ROWS " AND t.trial_id IN (SELECT k.trial_id FROM trial k WHERE (k.key & ?4)=?5)"
         " AND lower(hex(t.hash)) LIKE ?3||'%' ORDER BY t.trial_id";
static const char BY_KEY[] = ROWS " AND t.key=?4 AND lower(hex(t.hash)) LIKE ?3||'%' ORDER BY t.trial_id";

static int find(avs_store *s, const avs_trial_filter *f, sqlite3_stmt **st, avs_err *e)
{
    const char *state = f->state ? f->state : "";
    int64_t sweep, mask, value;
    int rc = avs_db_sweep_id(s, f->sweep, &sweep, e);
    if (rc != AVS_OK) return rc;
    if (!f->prefix) return avs_db_bind(s, st, e, ALL, "it", sweep, state);
    key_bits(f->prefix, &mask, &value);
    if (mask == -1) return avs_db_bind(s, st, e, BY_KEY, "itti", sweep, state, f->prefix, value);
    return avs_db_bind(s, st, e, BY_PREFIX, "ittii", sweep, state, f->prefix, mask, value);
}

int avs_store_trials(avs_store *s, const avs_trial_filter *f, avs_trial_row_fn each, void *ctx, avs_err *e)
{
    sqlite3_stmt *st;
    bool row;
    int rc;

    AVS_TRY(find(s, f, &st, e));
    while ((rc = avs_db_step(s, st, &row, e)) == AVS_OK && row) {
        const avs_trial_row t = {.trial_id = sqlite3_column_int64(st, 0),
                                 .config_id = sqlite3_column_int64(st, 1),
                                 .hash = avs_db_text(st, 2),
                                 .state = avs_db_text(st, 3),
                                 .kind = avs_db_text(st, 4),
                                 .model = avs_db_text(st, 5),
                                 .task = avs_db_text(st, 6),
                                 .seed = sqlite3_column_int64(st, 7),
                                 .attempts = sqlite3_column_int64(st, 8),
                                 .priority = sqlite3_column_double(st, 9),
                                 .params = avs_db_text(st, 10)};
        rc = each(ctx, &t, e);
        if (rc != AVS_OK) {
            sqlite3_reset(st);
            return rc;
        }
    }
out:
    return rc;
}

typedef struct {
    int64_t id, n;
    char hex[65];
} found;

static int keep(void *ctx, const avs_trial_row *t, avs_err *e)
{
    found *f = ctx;
    (void)e;
    f->id = t->trial_id;
    f->n++;
    snprintf(f->hex, sizeof f->hex, "%s", t->hash);
    return AVS_OK;
}

int avs_store_trial_by_prefix(avs_store *s, const char *prefix, int64_t *trial_id, char hex[65], avs_err *e)
{
    found f = {0};
    if (!avs_is_hash_prefix(prefix))
        return avs_fail(e, AVS_ERANGE, "'%s' is no trial hash: 6 to 64 hex digits are expected", prefix);
    const int rc = avs_store_trials(s, &(avs_trial_filter){.prefix = prefix}, keep, &f, e);
    if (rc != AVS_OK) return rc;
    if (f.n == 0) return avs_fail(e, AVS_EMISSING, "%s has no trial %s", s->path, prefix);
    if (f.n > 1)
        return avs_fail(e, AVS_ERANGE, "%lld trials begin with %s; give more digits", (long long)f.n, prefix);
    *trial_id = f.id;
    memcpy(hex, f.hex, 65);
    return AVS_OK;
}

int avs_store_trial_metric(avs_store *s, int64_t trial_id, const char *name, size_t n, bool *found_one,
                           double *value, avs_err *e)
{
    sqlite3_stmt *st;
    int rc;

    *found_one = false;
    AVS_TRY(avs_db_bind(s, &st, e,
                        "SELECT r.value FROM result r JOIN metric m USING(metric_id) WHERE r.trial_id=?1"
                        " AND m.name=CAST(?2 AS TEXT) ORDER BY CASE r.split WHEN 'test' THEN 0 WHEN '' THEN 1"
                        " ELSE 2 END LIMIT 1",
                        "ib", trial_id, (const void *)name, n));
    AVS_TRY(avs_db_step(s, st, found_one, e));
    if (*found_one) {
        *value = sqlite3_column_double(st, 0);
        sqlite3_reset(st);
    }
out:
    return rc;
}
