/* The command line: what is accepted, what is refused, and in which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "orchestrator/cli.h"

static int parse(avs_options *o, avs_err *e, const char *const *words)
{
    static char room[16][64];
    char *argv[17] = {NULL};
    int n = 1;
    strcpy(room[0], "avsweep");
    argv[0] = room[0];
    for (; words[n - 1]; n++) {
        strcpy(room[n], words[n - 1]);
        argv[n] = room[n];
    }
    return avs_cli_parse(o, n, argv, e);
}
#define PARSE(...) parse(&o, &e, (const char *const[]){__VA_ARGS__, NULL})

static void options_and_words_may_be_mixed(void **state)
{
    (void)state;
    avs_options o;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(
        PARSE("run", "--db=r.db", "x.yaml", "--set", "base.lr=1", "--set", "profile=quick", "-n"), AVS_OK);
    assert_int_equal(o.command, AVS_CMD_RUN);
    assert_string_equal(o.words[0], "x.yaml");
    assert_string_equal(o.db, "r.db");
    assert_int_equal(o.n_sets, 2);
    assert_true(o.dry_run);
    assert_int_equal(PARSE("run", "--db", "r.db", "--", "-odd.yaml"), AVS_OK);
    assert_string_equal(o.words[0], "-odd.yaml");
}

static void misspelt_words_get_a_suggestion(void **state)
{
    (void)state;
    avs_options o;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(PARSE("exapnd"), AVS_ERANGE);
    assert_non_null(strstr(e.msg, "did you mean 'expand'"));
    assert_int_equal(PARSE("run", "x", "--keep-goin"), AVS_ERANGE);
    assert_non_null(strstr(e.msg, "did you mean --keep-going"));
    /* An option of another command is none of this one. */
    assert_int_equal(PARSE("status", "--fail-fast"), AVS_ERANGE);
}

static void missing_and_wrong_values_are_refused(void **state)
{
    (void)state;
    avs_options o;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(PARSE("run"), AVS_ERANGE);
    assert_non_null(strstr(e.msg, "FILE"));
    assert_int_equal(PARSE("check", "a", "b"), AVS_ERANGE);
    assert_int_equal(PARSE("run", "a", "--db"), AVS_ERANGE);
    assert_int_equal(PARSE("run", "a", "--max-parallel", "0"), AVS_ERANGE);
    assert_int_equal(PARSE("run", "a", "--max-parallel", "3x"), AVS_ERANGE);
    assert_int_equal(PARSE("run", "a", "--dry-run=yes"), AVS_ERANGE);
    for (const char *const *w = (const char *const[]){"nan", "0", "-3", "inf", "95x", "", NULL}; *w; w++) {
        assert_int_equal(PARSE("report", "--ci", *w), AVS_ERANGE);
        assert_int_equal(PARSE("run", "a", "--max-gpu-hours", *w), AVS_ERANGE);
        assert_non_null(strstr(e.msg, "a number above 0"));
    }
    assert_int_equal(PARSE("run", "a", "--fail-fast", "--keep-going"), AVS_ERANGE);
    assert_non_null(strstr(e.msg, "contradict"));
    assert_int_equal(PARSE("logs", "abcdef", "--rank", "-1"), AVS_ERANGE);
    assert_int_equal(PARSE("logs", "abcdef", "--rank", "0"), AVS_OK);
    assert_int_equal(PARSE("logs", "abcdef", "--attempt", "0"), AVS_ERANGE);
}

static void more_words_than_fit_are_refused(void **state)
{
    (void)state;
    static char word[] = "x.db", db[] = "db", merge[] = "merge", program[] = "avsweep";
    char *argv[AVS_CLI_MANY + 8] = {program, db, merge};
    avs_options o;
    avs_err e = AVS_ERR_INIT;
    for (int i = 3; i < AVS_CLI_MANY + 8; i++) argv[i] = word;
    assert_int_equal(avs_cli_parse(&o, AVS_CLI_MANY + 2, argv, &e), AVS_OK);
    assert_int_equal(o.n_words, AVS_CLI_MANY);
    assert_int_equal(avs_cli_parse(&o, AVS_CLI_MANY + 3, argv, &e), AVS_ERANGE);
    assert_non_null(strstr(e.msg, "at most 64 words"));
}

static void global_options_stand_before_or_after_the_command(void **state)
{
    (void)state;
    avs_options o;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(PARSE("--db", "r.db", "-vv", "status", "-v", "--json"), AVS_OK);
    assert_int_equal(o.command, AVS_CMD_STATUS);
    assert_string_equal(o.db, "r.db");
    assert_int_equal(o.verbose, 3);
    assert_true(o.json);
    assert_string_equal(o.format, "json");
    assert_int_equal(PARSE("--sweep", "x", "status"), AVS_ERANGE); /* not a global one */
    assert_int_equal(PARSE("-q"), AVS_ERANGE);
    assert_int_equal(PARSE("-vq", "status"), AVS_ERANGE);
    assert_int_equal(PARSE("-qq", "status"), AVS_ERANGE);
    assert_int_equal(PARSE("--version"), AVS_OK);
    assert_int_equal(o.command, AVS_CMD_VERSION);
}

static void values_outside_their_list_are_refused(void **state)
{
    (void)state;
    avs_options o;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(PARSE("ls", "--format", "xml"), AVS_ERANGE);
    assert_non_null(strstr(e.msg, "text json"));
    assert_int_equal(PARSE("report", "--format", "html"), AVS_OK);
    assert_int_equal(PARSE("status", "--format", "html"), AVS_ERANGE);
    assert_int_equal(PARSE("ls", "--state", "runnin"), AVS_ERANGE);
    assert_int_equal(PARSE("expand", "x", "--json", "--format", "csv"), AVS_ERANGE);
    assert_int_equal(PARSE("status", "--color", "auto"), AVS_OK);
}

static void an_option_comes_before_the_environment(void **state)
{
    (void)state;
    avs_options o;
    avs_err e = AVS_ERR_INIT;
    setenv("AVSWEEP_DB", "env.db", 1);
    assert_int_equal(PARSE("status"), AVS_OK);
    assert_string_equal(o.db, "env.db");
    assert_int_equal(PARSE("status", "--db", "flag.db"), AVS_OK);
    assert_string_equal(o.db, "flag.db");
    setenv("AVSWEEP_DB", "", 1);
    assert_int_equal(PARSE("status"), AVS_OK);
    assert_null(o.db);
    unsetenv("AVSWEEP_DB");
    setenv("AVSWEEP_LOG", "debug", 1);
    assert_int_equal(PARSE("status"), AVS_OK);
    assert_int_equal(o.verbose, 2);
    assert_int_equal(PARSE("status", "-v"), AVS_OK);
    assert_int_equal(o.verbose, 1);
    assert_int_equal(PARSE("status", "-q"), AVS_OK);
    assert_int_equal(o.verbose, 0);
    setenv("AVSWEEP_LOG", "loud", 1);
    assert_int_equal(PARSE("status"), AVS_ERANGE);
    assert_non_null(strstr(e.msg, "quiet normal verbose debug"));
    unsetenv("AVSWEEP_LOG");
}

static void every_row_of_the_table_is_complete(void **state)
{
    (void)state;
    for (size_t i = 0; i < avs_cli_n_commands; i++) {
        const avs_cli_command *c = &avs_cli_commands[i];
        assert_non_null(c->run);
        assert_true(c->min_words <= c->max_words && c->max_words <= AVS_CLI_MANY);
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(c->word, avs_cli_commands[k].word);
            /* One function a command: main takes the first row with it. */
            if (c->command == avs_cli_commands[k].command) assert_ptr_equal(c->run, avs_cli_commands[k].run);
        }
    }
    for (size_t i = 0; i < avs_cli_n_options; i++) {
        const avs_cli_option *r = &avs_cli_options[i];
        assert_true(r->at < sizeof(avs_options));
        assert_int_equal(r->arg == NULL, r->kind == AVS_OPT_FLAG || r->kind == AVS_OPT_TALLY);
        for (size_t k = 0; k < i && r->letter; k++)
            if (avs_cli_options[k].letter == r->letter)
                assert_int_equal(avs_cli_options[k].commands & r->commands, 0);
    }
}

static void every_command_has_a_help_text(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    for (size_t i = 0; i < avs_cli_n_commands; i++) {
        const char *word = avs_cli_commands[i].word;
        avs_buf b = AVS_BUF_INIT, all = AVS_BUF_INIT;
        assert_int_equal(avs_cli_help(&b, word, &e), AVS_OK);
        assert_int_equal(avs_cli_help(&all, NULL, &e), AVS_OK);
        assert_non_null(strstr(avs_buf_cstr(&b), word));
        assert_non_null(strstr(avs_buf_cstr(&all), word));
        avs_buf_free(&b);
        avs_buf_free(&all);
    }
    avs_buf b = AVS_BUF_INIT;
    assert_int_equal(avs_cli_help(&b, "runn", &e), AVS_EMISSING);
    avs_buf_free(&b);
}

static void durations_have_units(void **state)
{
    (void)state;
    double s = 0;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(avs_cli_duration("90", &s, &e), AVS_OK);
    assert_true(s == 90);
    assert_int_equal(avs_cli_duration("1.5h", &s, &e), AVS_OK);
    assert_true(s == 5400);
    assert_int_equal(avs_cli_duration("2d", &s, &e), AVS_OK);
    assert_true(s == 172800);
    assert_int_equal(avs_cli_duration("1h30m", &s, &e), AVS_OK);
    assert_true(s == 5400);
    for (const char *const *w = (const char *const[]){"", "h", "5 h", "1h30", "90 ", "1e12", "1h-3m", ".",
                                                      "-3s", "0", "1w", "nan", NULL};
         *w; w++)
        assert_int_equal(avs_cli_duration(*w, &s, &e), AVS_ERANGE);
}

int main(void)
{
    unsetenv("AVSWEEP_DB");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_and_words_may_be_mixed),
        cmocka_unit_test(misspelt_words_get_a_suggestion),
        cmocka_unit_test(missing_and_wrong_values_are_refused),
        cmocka_unit_test(more_words_than_fit_are_refused),
        cmocka_unit_test(global_options_stand_before_or_after_the_command),
        cmocka_unit_test(values_outside_their_list_are_refused),
        cmocka_unit_test(an_option_comes_before_the_environment),
        cmocka_unit_test(every_row_of_the_table_is_complete),
        cmocka_unit_test(every_command_has_a_help_text),
        cmocka_unit_test(durations_have_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
