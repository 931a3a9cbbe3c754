/* The store of the report tests: AVESFormer with 8, 16 and 32 queries on S4, five seeds each (8 queries: one crashed, one
 * pending), latency of each, one learning curve and one prediction sheet. All numbers are known. */
#ifndef AVS_TESTS_RESULTS_BOARD_H
#define AVS_TESTS_RESULTS_BOARD_H

#include "tests/results/sample.h"

static const unsigned char one_pixel_png[] = {
    0x89, 'P',  'N',  'G', 13,  10, 26,   10,   0,    0,    0,    13,   'I',  'H',  'D',  'R', 0, 0,
    0,    1,    0,    0,   0,   1,  8,    2,    0,    0,    0,    0x90, 0x77, 0x53, 0xde, 0,   0, 0,
    12,   'I',  'D',  'A', 'T', 8,  0xd7, 0x63, 0xf8, 0xcf, 0xc0, 0,    0,    3,    1,    1,   0, 0x18,
    0xdd, 0x8d, 0xb0, 0,   0,   0,  0,    'I',  'E',  'N',  'D',  0xae, 0x42, 0x60, 0x82};

static inline const char *board_params(int queries, const char *extra)
{
    static char text[4][512];
    static int turn;
    char *p = text[turn++ % 4];
    snprintf(p, 512,
             "{\"model\":\"avesformer\",\"task\":\"s4\",\"backbone\":\"resnet50\",\"elf_stages\":\"CTT\","
             "\"fusion\":"
             "\"cross\",\"num_queries\":%d,\"query_generator\":\"pqg\",\"resolution\":224%s}",
             queries, extra);
    return p;
}

static inline void board_fill(avs_store *s)
{
    static const double miou[3][5] = {{0.781, 0.779, 0.784, 0, 0},
                                      {0.796, 0.803, 0.799, 0.794, 0.801},
                                      {0.797, 0.800, 0.796, 0.796, 0.799}};
    static const int queries[3] = {8, 16, 32};
    int64_t sweep = sample_sweep(s, "queries", NULL);
    int64_t train = sample_stage(s, sweep, "train", "train"),
            speed = sample_stage(s, sweep, "speed", "latency");

    for (int q = 0; q < 3; q++) {
        for (int seed = 0; seed < 5; seed++) {
            int64_t t = sample_register(s, sweep,
                                        sample_trial(train, 5 * q + seed, "train", "avesformer", "s4",
                                                     board_params(queries[q], ""), seed));
            if (q == 0 && seed == 3) sample_failed(s, t, "segmentation fault in <resize> & \"pool\"");
            if (q == 0 && seed >= 3) continue;
            int64_t attempt = sample_done(s, t, miou[q][seed], miou[q][seed] + 0.09);
            if (seed) continue;
            avs_store_point p[40];
            for (int i = 0; i < 40; i++)
                p[i] = (avs_store_point){"loss", 10 * i, 1.0 / (1 + 0.2 * i) + 0.05 * q};
            OK(avs_store_points(s, attempt, p, 40, e));
            if (q != 1) continue;
            OK(avs_fs_write_atomic(sample_path("sheet.png"), one_pixel_png, sizeof one_pixel_png, e));
            avs_store_artifact a = {"test clips", "prediction", "sheet.png", sizeof one_pixel_png, NULL, -1};
            OK(avs_store_artifact_add(s, attempt, &a, e));
            a.path = "gone <&>.png";
            OK(avs_store_artifact_add(s, attempt, &a, e));
        }
        sample_latency(s,
                       sample_register(s, sweep,
                                       sample_trial(speed, q, "latency", "avesformer", "s4",
                                                    board_params(queries[q], ",\"frames\":1"), 0)),
                       12.0 + 0.5 * q, 200, "{\"cpu\":\"Test CPU\",\"code_fp\":\"abc\"}");
    }
    OK(avs_store_flush(s, e));
}

#endif
