/* Parameters of whole systems, by the first words of their keys, against the counts measured on the reference
 * implementations. A graph is built and counted; no plan is made of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/models/model/net.h"

enum { MODULES = 12 };

typedef struct {
    const char *options; /* JSON members, without braces */
    struct {
        const char *prefix; /* "": all */
        int64_t n;
    } want[MODULES];
} system_case;

static void check(const system_case *c)
{
    net n;
    open_net(&n, "latency", c->options, NULL);
    for (int i = 0; i < MODULES && c->want[i].prefix; i++) {
        const int64_t got = count_under(n.g, c->want[i].prefix);
        if (got != c->want[i].n)
            fail_msg("%s: %s has %lld parameters, not %lld", c->options, c->want[i].prefix, (long long)got,
                     (long long)c->want[i].n);
    }
    avs_arena_free(n.arena);
}

static void tpavi_has_the_parameters_of_the_reference(void **state)
{
    (void)state;
    static const system_case cases[] = {
        {"\"model\":\"tpavi\"",
         {{"", 163542145},
          {"vggish.", 72141184},
          {"resnet.", 45571136},
          {"conv1.", 2360320},
          {"conv2.", 4719616},
          {"conv3.", 9438208},
          {"conv4.", 18875392},
          {"path4.", 2360320},
          {"tpavi_b1.", 165760},
          {"tpavi_b4.W_z.", 33536},
          {"output_conv.", 331969}}},
        {"\"model\":\"tpavi\",\"task\":\"avss\"",
         {{"", 163543431},
          {"tpavi_b1.", 165504},
          {"tpavi_b2.align_channel.", 32768},
          {"output_conv.", 334279}}},
        {"\"model\":\"tpavi\",\"backbone\":\"pvt_v2_b5\"",
         {{"", 173461761}, {"encoder_backbone.", 81443008}, {"conv1.", 590848}, {"conv4.", 4719616}}},
        {"\"model\":\"tpavi\",\"tpavi_stages\":[2]", {{"", 163542145 - 3 * 165760}, {"tpavi_b3.", 165760}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(&cases[i]);
}

static void lightavseg_has_the_parameters_of_its_specification(void **state)
{
    (void)state;
#define LIGHT "\"model\":\"lightavseg\""
    static const system_case cases[] = {
        {LIGHT,
         {{"", 20547521},
          {"audio.", 3535040},
          {"visual.", 13725504},
          {"enc_audio.", 148096},
          {"enc_gate.", 123520},
          {"ctx.", 148480},
          {"lateral.", 331776},
          {"mix.", 1116160},
          {"gate.", 329728},
          {"inject.", 1050624},
          {"head_", 38593}}},
        {LIGHT ",\"backbone\":\"seaformer_b\"", {{"", 13037025}, {"visual.", 8485664}}},
        {LIGHT ",\"backbone\":\"seaformer_s\"", {{"", 8054113}, {"visual.", 3912656}}},
        {LIGHT ",\"backbone\":\"seaformer_t\"", {{"", 5461089}, {"visual.", 1620096}}},
        {LIGHT ",\"backbone\":\"resnet50\"", {{"", 39068353}, {"visual.", 23508032}, {"ctx.", 0}}},
        {LIGHT ",\"backbone\":\"seaformer_t\",\"context\":false", {{"", 5423713}, {"visual.", 1620096}}},
        {LIGHT ",\"backbone\":\"seaformer_t\",\"har\":false", {{"", 5439089}, {"enc_gate.", 0}}},
        {LIGHT ",\"backbone\":\"seaformer_t\",\"cmfd\":false", {{"", 5447649}, {"mix.", 0}}},
        {LIGHT ",\"backbone\":\"seaformer_t\",\"agve\":false,\"har\":false,\"cmfd\":false", {{"", 5398273}}},
        {LIGHT ",\"backbone\":\"seaformer_t\",\"task\":\"avss\"", {{"", 5465639}}},
    };
#undef LIGHT
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(&cases[i]);
}

static void aavs_has_the_parameters_of_the_public_code(void **state)
{
    (void)state;
#define AAVS   "\"model\":\"aavs\""
#define VGGISH 72141184
    static const system_case cases[] = {
        {AAVS,
         {{"", VGGISH + 114551675},
          {"model.model.pixel_level_module.encoder.", 93890040},
          {"model.model.pixel_level_module.decoder.", 5742912},
          {"model.model.pixel_level_module.decoder.encoder.", 4591680},
          {"model.model.transformer_module.", 14720576},
          {"model.model.transformer_module.decoder.layers.", 14506560},
          {"model.class_predictor.", 771},
          {"audio_proj.", 197376}}},
        {AAVS ",\"task\":\"avss\"",
         {{"", VGGISH + 114606016},
          {"model.model.transformer_module.", 14757184},
          {"model.class_predictor.", 18504}}},
        {AAVS ",\"backbone_adapter\":\"off\"", {{"model.model.pixel_level_module.encoder.", 86880376}}},
        {AAVS ",\"decoder_adapter\":false", {{"", VGGISH + 114551675 - 496320}}},
        /* own: projections of 2048, 1024 and 512 channels, and of 256 at stride 4 */
        {AAVS ",\"backbone\":\"resnet50\"",
         {{"model.model.pixel_level_module.encoder.", 23508032},
          {"model.model.pixel_level_module.decoder.", 5742912 + 256 * (1024 + 512 + 256 + 128)}}},
    };
#undef AAVS
#undef VGGISH
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(&cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(aavs_has_the_parameters_of_the_public_code),
                                       cmocka_unit_test(tpavi_has_the_parameters_of_the_reference),
                                       cmocka_unit_test(lightavseg_has_the_parameters_of_its_specification)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
