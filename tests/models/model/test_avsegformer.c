/* AVSegFormer in both variants: parameters against the counts measured on the public code, and every combination of the
 * options that the published ablations vary. Graphs are built and counted; no plan is made of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/graph/ops.h"
#include "tests/models/model/net.h"

enum { VGGISH = 72141184, TWIN = 22063104, RESNET = 45571136, PVT = 81443008, MODULES = 20 };

static void open_avsegformer(net *n, const char *options, const avs_build *b)
{
    char text[600];
    (void)snprintf(text, sizeof text, "\"model\":\"avsegformer\"%s%s", *options ? "," : "", options);
    open_net(n, "train", text, b);
}

static void parameters_are_those_of_the_public_code(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        int64_t total; /* VGGish included */
    } cases[] = {
        {"", 144517376},
        {"\"variant\":\"released\"", 150902528},
        {"\"backbone\":\"pvt_v2_b5\"", 179668352},
        {"\"variant\":\"released\",\"backbone\":\"pvt_v2_b5\"", 186053504},
        {"\"task\":\"avss\"", 144517376 + 4480},
        {"\"task\":\"avss\",\"variant\":\"released\"", 150902528 + 4480},
        {"\"num_queries\":1", 71687296 + VGGISH},
        {"\"num_queries\":100", 71915392 + VGGISH},
        {"\"num_queries\":200", 72145792 + VGGISH},
        {"\"learnable_queries\":false", 144517376},
        {"\"mixer\":\"none\"", 72113792 + VGGISH},
        {"\"mixer\":\"cra\"", 144517376},
        {"\"aux_loss\":\"ar\"", 73087540 + VGGISH},
        {"\"aux_loss\":\"none\"", 144517376},
        {"\"variant\":\"released\",\"aux_loss\":\"none\"", 150902528},
        {"\"variant\":\"released\",\"query_generator\":\"pqg\"",
         146233344}, /* as AVESFormer prints it: 146.2 M */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        net n;
        open_avsegformer(&n, cases[i].options, &(avs_build){.rows = 1, .height = 64, .width = 64});
        const int64_t got = avs_graph_param_count(n.g, false);
        if (got != cases[i].total)
            fail_msg("%s: %lld parameters, not %lld", cases[i].options, (long long)got,
                     (long long)cases[i].total);
        avs_arena_free(n.arena);
    }
}

static void modules_have_the_sizes_of_the_public_code(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        struct {
            const char *prefix;
            int64_t n;
        } want[MODULES];
    } cases[] = {
        {"\"variant\":\"released\"",
         {{"backbone.", RESNET},
          {"audio_proj.", 33024},
          {"head.", 33157184},
          {"head.level_embed", 768},
          {"head.learnable_query.weight", 76800},
          {"head.in_proj.", 986112},
          {"head.transformer.encoder.", 7545024},
          {"head.transformer.encoder.layers.3.", 1257504},
          {"head.transformer.decoder.", 9472512},
          {"head.transformer.decoder.layers.5.", 1578752},
          {"head.mlp.layers.", 5337344},
          {"head.fusion_block.", 262400},
          {"head.lateral_conv.", 66304},
          {"head.out_conv.", 590592},
          {"head.fpn.", 1770240},
          {"head.attn_fc.", 331968},
          {"head.fc.", 331968},
          {"head.query_generator.", 6385152}}},
        {"\"backbone\":\"pvt_v2_b5\"",
         {{"backbone.", PVT}, {"head.", 26051136}, {"head.in_proj.", 265216}, {"head.query_generator.", 0}}},
        {"\"task\":\"avss\"", {{"head.fc.", 331968 + 2240}, {"head.attn_fc.", 331968 + 2240}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        net n;
        open_avsegformer(&n, cases[i].options, &(avs_build){.rows = 1, .height = 64, .width = 64});
        for (int k = 0; k < MODULES && cases[i].want[k].prefix; k++) {
            const int64_t got = count_under(n.g, cases[i].want[k].prefix);
            if (got != cases[i].want[k].n)
                fail_msg("%s: %s has %lld parameters, not %lld", cases[i].options, cases[i].want[k].prefix,
                         (long long)got, (long long)cases[i].want[k].n);
        }
        avs_arena_free(n.arena);
    }
}

static void inference_runs_neither_second_branch_nor_auxiliary_convolutions(void **state)
{
    (void)state;
    net n;
    const avs_build b = {.rows = 1, .height = 64, .width = 64, .audio_input = AVS_AUDIO_FEATURE};
    open_avsegformer(&n, "", &b);
    assert_int_equal(avs_graph_param_count(n.g, false), 72376192);
    assert_int_equal(avs_graph_param_used(n.g), 72376192 - TWIN - 2102208);
    avs_arena_free(n.arena);
    open_avsegformer(&n, "\"variant\":\"released\"", &b);
    assert_int_equal(avs_graph_param_used(n.g), 54596032);
    avs_arena_free(n.arena);
}

/* Gradient outputs of the parameters below a prefix. */
static int gradients_under(const avs_graph *g, const char *prefix)
{
    int n = 0;
    for (uint32_t i = 0; i < g->n_output; i++)
        n += !strncmp(g->output[i].name, "grad:", 5) &&
             !strncmp(g->output[i].name + 5, prefix, strlen(prefix));
    return n;
}

static void every_option_of_the_ablations_trains(void **state)
{
    (void)state;
    static const char *const mixers[] = {"none", "cha", "cra"};
    static const struct {
        const char *options;
        int auxiliary; /* does the branch behind the intermediate masks train? */
    } forms[] = {
        {"\"aux_loss\":\"qr\"", 1},
        {"\"aux_loss\":\"ar\"", 1},
        {"\"aux_loss\":\"none\"", 0},
        {"\"variant\":\"released\",\"query_generator\":\"qg\"", 0},
        {"\"variant\":\"released\",\"query_generator\":\"pqg\",\"num_queries\":5", 0},
        {"\"variant\":\"released\",\"aux_loss\":\"none\"", 0},
        {"\"task\":\"ms3\",\"seg_loss\":\"bce\"", 1},
        {"\"task\":\"avss\",\"num_classes\":3", 1},
        {"\"task\":\"avss\",\"variant\":\"released\",\"num_classes\":3", 0},
        {"\"num_levels\":1,\"num_points\":1", 1},
        {"\"num_levels\":2,\"learnable_queries\":false", 1},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        for (size_t m = 0; m < 3; m++) {
            net n;
            char options[400];
            const bool avss = strstr(forms[i].options, "avss") != NULL;
            snprintf(options, sizeof options,
                     "\"backbone\":\"pvt_v2_b0\",\"embed_dim\":32,\"num_heads\":4,\"num_encoder_layers\":1,"
                     "\"num_decoder_layers\":2,\"ffn_dim\":16,\"mask_mlp_dim\":8,\"mixer\":\"%s\",%s%s",
                     mixers[m], forms[i].options,
                     strstr(forms[i].options, "num_queries") ? "" : ",\"num_queries\":7");
            open_avsegformer(&n, options,
                             &(avs_build){.rows = 2,
                                          .height = 64,
                                          .width = 32,
                                          .training = true,
                                          .with_loss = true,
                                          .with_frame_mask = avss,
                                          .audio_input = AVS_AUDIO_FEATURE});
            const avs_type *t = avs_t(n.g, n.io.logits);
            assert_int_equal(t->d[1], 64);
            assert_int_equal(t->d[2], 32);
            assert_int_equal(t->d[3], avss ? 3 : 1);
            if (avs_backward(n.g, n.io.loss) != AVS_OK) fail_msg("%s: %s", options, n.g->err.msg);
            assert_int_equal(gradients_under(n.g, "head.fpn.") > 0, forms[i].auxiliary);
            assert_int_equal(gradients_under(n.g, "head.attn_fc."), forms[i].auxiliary ? 5 : 0);
            assert_int_equal(gradients_under(n.g, "head.learnable_query."),
                             strstr(options, "learnable_queries") == NULL);
            assert_int_equal(gradients_under(n.g, "head.fusion_block."), m ? 4 : 0);
            assert_true(gradients_under(n.g, "backbone.") > 0);
            avs_arena_free(n.arena);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_those_of_the_public_code),
        cmocka_unit_test(modules_have_the_sizes_of_the_public_code),
        cmocka_unit_test(inference_runs_neither_second_branch_nor_auxiliary_convolutions),
        cmocka_unit_test(every_option_of_the_ablations_trains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
