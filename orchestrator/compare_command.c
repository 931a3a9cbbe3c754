/* What A and B are: a file is a database; otherwise, in the database of --db, KEY=VALUE,.. is a list, hex digits are a
 * configuration or trial, and any other word is a sweep. */
#include "orchestrator/compare_command.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "avs_version.h"
#include "base/fs.h"
#include "orchestrator/command_io.h"
#include "orchestrator/select.h"
#include "results/compare.h"

static int open_side(const avs_options *o, const char *word, avs_compare_side *side, avs_err *e)
{
    const bool is_file = avs_fs_exists(word) && !avs_fs_is_dir(word);
    side->name = word;
    if (!is_file) {
        if (!o->db)
            return avs_fail(e, AVS_ERANGE,
                            "'%s' is no file; a sweep, a list or a hash needs --db DB or AVSWEEP_DB", word);
        if (strchr(word, '='))
            side->where = word;
        else if (avs_is_hash_prefix(word))
            side->hash = word;
        else
            side->sweep = word;
    }
    return avs_store_open(is_file ? word : o->db, AVS_STORE_READ, AVS_VERSION, &side->store, e);
}

/* "1%" or "0.01". */
static int read_threshold(const char *text, avs_compare_spec *s, avs_err *e)
{
    char *end;
    if (!text) return AVS_OK;
    s->threshold = strtod(text, &end);
    s->is_relative = end != text && *end == '%';
    if (end == text || end[s->is_relative] || !isfinite(s->threshold) || s->threshold < 0)
        return avs_fail(e, AVS_ERANGE,
                        "--threshold is '%s', expected 1%% (of A) or a number as it is stored, like 0.005",
                        text);
    if (s->is_relative) s->threshold /= 100;
    return AVS_OK;
}

int avs_command_compare(const avs_options *o)
{
    avs_compare_spec s = {.metric = o->metric,
                          .ci = o->ci,
                          .nonparametric = o->nonparametric,
                          .mixed = o->mixed,
                          .suspect = o->suspect,
                          .standalone = o->standalone,
                          .color = avs_wants_color(o)};
    avs_err err = AVS_ERR_INIT;
    avs_buf out = AVS_BUF_INIT;
    int verdicts[AVS_VERDICTS] = {0}, rc = AVS_OK;

    if (avs_check_output(o)) return AVS_EXIT_USAGE;
    if (!o->metric) rc = avs_fail(&err, AVS_ERANGE, "compare needs --metric, for example --metric miou");
    if (rc == AVS_OK) rc = read_threshold(o->threshold, &s, &err);
    if (rc == AVS_OK) rc = avs_report_format_parse(o->format ? o->format : "text", &s.format, &err);
    if (rc == AVS_OK) rc = open_side(o, o->words[0], &s.a, &err);
    if (rc == AVS_OK) rc = open_side(o, o->words[1], &s.b, &err);
    const bool opened = s.a.store && s.b.store;
    if (rc == AVS_OK) rc = avs_compare(&s, &out, verdicts, &err);
    avs_store_close(s.a.store);
    avs_store_close(s.b.store);
    if (rc != AVS_OK) {
        avs_buf_free(&out);
        return avs_complain(!opened && rc != AVS_ERANGE ? AVS_EXIT_DB : avs_exit_of(rc), &err);
    }
    int shown = AVS_EXIT_OK;
    if (o->output && strcmp(o->output, "-") != 0) {
        rc = avs_fs_write_atomic(o->output, avs_buf_cstr(&out), out.len, &err);
        avs_buf_free(&out);
        if (rc != AVS_OK) shown = avs_complain(avs_exit_of(rc), &err);
    } else {
        shown = avs_print(&out);
    }
    return shown ? shown : verdicts[AVS_WORSE] ? AVS_EXIT_REGRESSION : AVS_EXIT_OK;
}
