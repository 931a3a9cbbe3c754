/* The list of cases; n gets their number. Static storage. */
#ifndef AVS_TESTS_OP_LIST_H
#define AVS_TESTS_OP_LIST_H
#include "tests/engine/kernel/op_case.h"
const op_case *op_list(int *n);
#endif
