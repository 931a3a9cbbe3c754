/* Comparison of doubles (cmocka's assert_float_equal narrows its arguments to float). NaN is near nothing. */
#ifndef AVS_TESTS_METRICS_NEAR_H
#define AVS_TESTS_METRICS_NEAR_H

#include <math.h>

#define assert_near(got, want, eps)                                                                          \
    do {                                                                                                     \
        double near_got = (got), near_want = (want);                                                         \
        if (!(fabs(near_got - near_want) <= (eps)))                                                          \
            fail_msg("%s is %.17g, wanted %.17g within %g", #got, near_got, near_want, (double)(eps));       \
    } while (0)

#endif
