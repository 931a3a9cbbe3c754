/* Every sweep file that comes with the project, as it is and with its smoke profile: it must expand without a complaint, and
 * each published number must have trials of its own, or the column `paper` would stay empty. */
#include "sweeps/sweep.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/fs.h"
#include "base/json.h"
#include "sweeps/listing.h"

static int is_sweep(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 5 && strcmp(d->d_name + n - 5, ".yaml") == 0;
}

static avs_sweep *load(avs_arena *a, const char *path, const char *profile)
{
    const char *sets[] = {profile};
    avs_sweep_options o = {.sets = sets, .n_sets = profile ? 1 : 0};
    avs_diag d;
    avs_err e = AVS_ERR_INIT;
    avs_buf text = AVS_BUF_INIT;
    avs_diag_init(&d, a);
    avs_sweep *s = avs_sweep_load(a, path, &o, &d, &e);
    avs_diag_write(&d, &text);
    if (!s || text.len)
        fail_msg("%s%s%s: %s%s", path, profile ? ", " : "", profile ? profile : "", avs_buf_cstr(&text),
                 e.msg);
    return s;
}

/* The word of a value, as in `where` and in the trial's line. */
static const char *word(avs_arena *a, const avs_json *v)
{
    avs_buf b = AVS_BUF_INIT;
    if (v->kind == AVS_J_STR) return v->s;
    avs_json_write(&b, v, true);
    const char *text = avs_arena_str(a, avs_buf_cstr(&b));
    avs_buf_free(&b);
    return text;
}

static const avs_json *find(const avs_json *trial, const char *key)
{
    const avs_json *p = avs_json_get(avs_json_get(trial, "params"), key);
    return p ? p : avs_json_get(trial, key);
}

static bool matches(avs_arena *a, const avs_json *where, const avs_json *trial)
{
    for (const avs_json *w = where->first; w; w = w->next) {
        const avs_json *v = find(trial, w->key);
        if (!v || strcmp(word(a, w), word(a, v)) != 0) return false;
    }
    return true;
}

static void check_published(avs_arena *a, const char *path, const avs_sweep *s)
{
    const avs_json *blocks = avs_json_get(s->report, "published"),
                   *rows = avs_json_get(avs_json_at(blocks, 0), "rows");
    avs_buf lines = AVS_BUF_INIT;
    avs_json *trial[512];
    int n = 0;
    if (!rows) return;
    avs_list_json(&lines, s);
    for (char *rest = NULL, *l = strtok_r(lines.data, "\n", &rest); l; l = strtok_r(NULL, "\n", &rest)) {
        avs_err e = AVS_ERR_INIT;
        assert_true(n < 512);
        if (avs_json_parse(a, "trial", l, strlen(l), &trial[n], &e) != AVS_OK)
            fail_msg("%s: %s", path, e.msg);
        n++;
    }
    for (const avs_json *r = rows->first; r; r = r->next) {
        bool any = false;
        for (int i = 0; i < n && !any; i++) any = matches(a, avs_json_get(r, "where"), trial[i]);
        if (any) continue;
        avs_json_write(&lines, avs_json_get(r, "where"), false);
        fail_msg("%s: no trial for the published row %s", path, strrchr(lines.data, '{'));
    }
    avs_buf_free(&lines);
}

static bool has_smoke(const char *path)
{
    avs_buf text = AVS_BUF_INIT;
    avs_err e = AVS_ERR_INIT;
    if (avs_fs_read(path, 0, &text, &e) != AVS_OK) fail_msg("%s", e.msg);
    bool has = strstr(text.data, "\n  smoke:\n") != NULL;
    avs_buf_free(&text);
    return has;
}

static void every_sweep_expands(void **state)
{
    struct dirent **list;
    int n = scandir(AVS_SOURCE_DIR "/sweeps", &list, is_sweep, alphasort), papers = 0;
    (void)state;
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        char path[600];
        avs_arena *a = avs_arena_new();
        snprintf(path, sizeof path, "%s/sweeps/%s", AVS_SOURCE_DIR, list[i]->d_name);
        avs_sweep *s = load(a, path, NULL);
        assert_true(s->n_trials > 0);
        char *dot = strrchr(list[i]->d_name, '.');
        *dot = 0;
        assert_string_equal(s->name,
                            list[i]->d_name); /* the file is named after the table, and so is the sweep */
        check_published(a, path, s);
        if (has_smoke(path)) {
            papers++;
            avs_sweep *smoke = load(a, path, "profile=smoke");
            assert_true(smoke->n_trials > 0 && smoke->n_trials <= 16); /* minutes on two cores */
            check_published(a, path, smoke);
        }
        avs_arena_free(a);
        free(list[i]);
    }
    assert_true(papers >= 9 + 5 + 4 + 3 + 6); /* AVESFormer, AVSegFormer, LightAVSeg, SAVE, Stepping Stones */
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_sweep_expands)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
