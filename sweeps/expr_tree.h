/* Between parser and evaluator of expressions: the tree. */
#ifndef AVS_SWEEPS_EXPR_TREE_H
#define AVS_SWEEPS_EXPR_TREE_H

#include "sweeps/expr.h"

typedef enum {
    AVS_X_CONST,
    AVS_X_NAME,
    AVS_X_LIST,
    AVS_X_DEFINED,
    AVS_X_MIN,
    AVS_X_MAX,
    AVS_X_ROUND,
    AVS_X_NEG,
    AVS_X_NOT,
    AVS_X_ADD,
    AVS_X_SUB,
    AVS_X_MUL,
    AVS_X_DIV,
    AVS_X_MOD,
    AVS_X_EQ,
    AVS_X_NE,
    AVS_X_LT,
    AVS_X_LE,
    AVS_X_GT,
    AVS_X_GE,
    AVS_X_IN,
    AVS_X_NOT_IN,
    AVS_X_AND,
    AVS_X_OR,
    AVS_X_IF
} avs_xop;

typedef struct avs_xnode {
    avs_xop op;
    size_t offset;    /* where the operator or value stands         */
    avs_json value;   /* CONST                                      */
    const char *name; /* NAME, DEFINED                              */
    int n;            /* operands; IF: condition, then, else        */
    struct avs_xnode *first, *next;
} avs_xnode;

struct avs_expr {
    const char *text;
    avs_xnode *root;
};

#endif
