/* The published table: all rows are read, words become parameters, broken tables are refused with their line. */
#include "tests/results/sample.h"

#include <sqlite3.h>
#include "results/published.h"

static double ask(const char *name, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_open_v2(sample_path(name), &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK) fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    double v = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_double(st, 0) : -1;
    sqlite3_finalize(st);
    sqlite3_close(db);
    return v;
}

#define ROW                                                                                                  \
    "SELECT value FROM published JOIN metric USING(metric_id) WHERE json_extract(config_match,'$.model')="

static void the_built_in_table_is_mapped(void **state)
{
    (void)state;
    avs_published_count n;
    avs_store *s = sample_open("table.db");
    OK(avs_published_import(s, &n, e));
    OK(avs_store_flush(s, e));
    avs_store_close(s);
    assert_int_equal(n.rows, 489);
    assert_int_equal(n.stored + n.unmapped, n.rows);
    assert_true(ask("table.db", "SELECT count(*) FROM published") == (double)n.stored);
    /* every number that the AVESFormer paper gives for AVESFormer: tables 1 to 9 */
    assert_true(
        ask("table.db",
            "SELECT count(*) FROM published WHERE json_extract(config_match,'$.model')='avesformer'") >= 120);
    assert_true(fabs(ask("table.db", ROW
                         "'avesformer' AND name='miou' AND json_extract(config_match,'$.num_queries')=8 AND"
                         " json_extract(config_match,'$.task')='ms3'") -
                     0.558) < 1e-12);
    assert_true(fabs(ask("table.db", ROW
                         "'avesformer' AND name='fscore' AND json_extract(config_match,'$.elf_stages')='TTT'"
                         " AND json_extract(config_match,'$.task')='s4'") -
                     0.876) < 1e-12);
    assert_true(ask("table.db",
                    ROW "'avesformer' AND name='latency_p50' AND json_extract(config_match,'$.backbone')="
                        "'resnet18' AND note LIKE '%Table 3%'") == 8.8e6);
    assert_true(ask("table.db",
                    "SELECT count(*) FROM published WHERE json_extract(config_match,'$.fusion')='cha' AND"
                    " json_extract(config_match,'$.query_generator')='pqg'") == 4);
    assert_true(ask("table.db",
                    "SELECT count(*) FROM published WHERE json_extract(config_match,'$.aux_loss')='ar' AND"
                    " json_extract(config_match,'$.variant')='paper'") == 4);
    /* a row holds what its paper kept fixed: the main numbers are none of a sweep over something else */
    assert_true(ask("table.db",
                    "SELECT count(*) FROM published WHERE json_extract(config_match,'$.model')='save'"
                    " AND json_extract(config_match,'$.adapter_ratio')<>0.25") == 0);
    assert_true(ask("table.db",
                    ROW "'save' AND name='miou' AND json_extract(config_match,'$.adapter_ratio')=0.25"
                        " AND json_extract(config_match,'$.resolution')=256 AND"
                        " json_extract(config_match,'$.task')='s4'") == 0.8406);
    assert_true(
        ask("table.db",
            "SELECT count(*) FROM published WHERE json_extract(config_match,'$.model')='lightavseg' AND"
            " json_extract(config_match,'$.aux_loss')='none' AND json_extract(config_match,'$.har')") == 1);
    assert_true(ask("table.db",
                    ROW "'aavs' AND name='miou' AND json_extract(config_match,'$.stage')='two' AND"
                        " json_extract(config_match,'$.task')='avss'") == 0.485);
}

static void a_sweep_adds_its_own_rows_once(void **state)
{
    (void)state;
    static const char json[] =
        "{\"source\":\"paper, table 8\",\"rows\":[{\"where\":{\"num_queries\":16,\"task\":\"s4\"},"
        "\"miou\":79.9,\"fscore\":89.1,\"latency_p50\":12}]}";
    avs_err bad = AVS_ERR_INIT;
    avs_store *s = sample_open("own.db");
    char list[400];
    snprintf(list, sizeof list, "[%s]", json); /* several sources come as a list */
    OK(avs_published_add_json(s, json, e));
    OK(avs_published_add_json(s, list, e));
    assert_int_equal(avs_published_add_json(s, "{\"rows\":[{\"miou\":1}]}", &bad), AVS_EPARSE);
    assert_non_null(strstr(bad.msg, "row 1 has no map"));
    assert_int_equal(avs_published_add_json(s, "{\"rows\":[{\"where\":{},\"miou\":\"x\"}]}", &bad),
                     AVS_EPARSE);
    assert_int_equal(avs_published_add_json(s, "{}", &bad), AVS_EPARSE);
    assert_int_equal(avs_published_add_json(s, "{", &bad), AVS_EPARSE);
    OK(avs_store_flush(s, e));
    avs_store_close(s);
    assert_true(ask("own.db", "SELECT count(*) FROM published WHERE origin='sweep'") == 3);
    assert_true(ask("own.db", "SELECT sum(value) FROM published WHERE origin='sweep'") ==
                0.799 + 0.891 + 12e6);
}

static void the_report_block_of_a_sweep_brings_its_published_rows(void **state)
{
    (void)state;
    avs_store *s = sample_open("block.db");
    sample_sweep(s, "x",
                 "{\"by\":[\"num_queries\"],\"published\":{\"source\":\"p\",\"rows\":[{\"where\":{\"num_"
                 "queries\":8},\"miou\":55.8}]}}");
    sample_sweep(s, "y", "{\"by\":[\"num_queries\"]}");
    OK(avs_store_flush(s, e));
    avs_store_close(s);
    assert_true(ask("block.db", "SELECT count(*) FROM published WHERE origin='sweep' AND source='p' AND "
                                "abs(value-0.558)<1e-12") == 1);
}

static void broken_tables_are_refused_with_their_line(void **state)
{
    (void)state;
#define HEAD "source,arxiv,table,method,backbone,setting,variant,metric,value,unit,hardware\n"
    static const struct {
        const char *text, *words;
    } bad_tables[] = {
        {"", "column 1 is ''"},
        {"source,arxiv\n", "2 columns"},
        {"source,arxiv,table,model,backbone,setting,variant,metric,value,unit,hardware\n",
         "column 4 is 'model'"},
        {HEAD "a,b,c,d,e,f,g,h,i,j,k,l\n", ":2: more than 11"},
        {HEAD "a,b,c,d,e,f,g,h,x1,j,k\n", ":2: value 'x1'"},
        {HEAD "a,b,c,d,e,f,g,h,nan,j,k\n", "not a number"},
        {HEAD "a,b,\"c\n\n,d", ":4: a quoted field does not end"},
    };
    avs_store *s = sample_open("broken.db");
    for (size_t i = 0; i < sizeof bad_tables / sizeof *bad_tables; i++) {
        avs_err bad = AVS_ERR_INIT;
        assert_int_equal(
            avs_published_import_csv(s, "t.csv", bad_tables[i].text, strlen(bad_tables[i].text), NULL, &bad),
            AVS_EPARSE);
        if (!strstr(bad.msg, bad_tables[i].words))
            fail_msg("'%s' does not say '%s'", bad.msg, bad_tables[i].words);
    }
    avs_published_count n;
    static const char good[] =
        HEAD "AVESFormer,1,Table 8,AVESFormer,\"ResNet-50\",S4,queries=8,mIoU,50,%,\"a \"\"b\"\", c\"\r\n"
             "X,1,T,Other,,S4,main,mIoU,50,%,";
    OK(avs_published_import_csv(s, "t.csv", good, sizeof good - 1, &n, e));
    assert_int_equal(n.rows, 2);
    assert_int_equal(n.stored, 1);
    OK(avs_store_flush(s, e));
    avs_store_close(s);
    assert_true(ask("broken.db",
                    "SELECT count(*) FROM published WHERE note='AVESFormer, Table 8, on a \"b\", c'") == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_built_in_table_is_mapped),
        cmocka_unit_test(a_sweep_adds_its_own_rows_once),
        cmocka_unit_test(the_report_block_of_a_sweep_brings_its_published_rows),
        cmocka_unit_test(broken_tables_are_refused_with_their_line),
    };
    return cmocka_run_group_tests(tests, sample_setup, sample_teardown);
}
