/* Text of a graph: one line per node, then outputs and updates.
 *
 *   %12 = conv2d(%3, conv1.weight) {k7x7 s2 p3} f32[2,112,112,64] @backbone
 *
 * %n is a value; parameters, buffers and inputs go by name, scalar constants by value, views as BASE:[extents]+offset.
 * Attributes with their usual value are left out. */
#include "engine/graph/graph.h"

#include "engine/graph/ops.h"

static const char *const EW_NAME[AVS_EW_N_CODES] = {
    "load",          "add",       "sub",       "rsub",     "mul",        "div",
    "rdiv",          "max",       "min",       "gt",       "save",       "neg",
    "relu",          "sigmoid",   "tanh",      "gelu",     "silu",       "exp",
    "log",           "sqrt",      "rsqrt",     "square",   "relu6",      "hardsigmoid",
    "hardswish",     "sin",       "cos",       "abs",      "relu_grad",  "sigmoid_grad",
    "tanh_grad",     "gelu_grad", "silu_grad", "sign_mul", "relu6_grad", "hardsigmoid_grad",
    "hardswish_grad"};

static void put_value(const avs_graph *g, avs_val v, FILE *f)
{
    const avs_value *p = &g->v[v];
    char t[64];
    if (!v)
        fprintf(f, "-");
    else if (p->name)
        fprintf(f, "%s", p->name);
    else if (p->view_of) {
        put_value(g, p->view_of, f);
        fprintf(f, ":[");
        for (int i = 0; i < p->type.rank; i++) fprintf(f, "%s%d", i ? "," : "", p->type.d[i]);
        fprintf(f, "]");
        if (p->view_off) fprintf(f, "+%lld", (long long)p->view_off);
    } else if (p->kind != AVS_V_CONST)
        fprintf(f, "%%%u", v);
    else if (avs_type_count(&p->type) != 1)
        fprintf(f, "const%%%u:%s", v, avs_type_text(&p->type, t, sizeof(t)));
    else if (p->type.dtype == AVS_I32)
        fprintf(f, "%d", *(const int32_t *)p->data);
    else
        fprintf(f, "%.9g", (double)*(const float *)p->data);
}

static void put_ew(const avs_ew_attr *a, FILE *f)
{
    for (int i = 0; i < a->n; i++) {
        const avs_ew_instr *p = &a->instr[i];
        fprintf(f, "%s%s", i ? "; " : "", EW_NAME[p->code]);
        if (p->code == AVS_EW_SAVE)
            fprintf(f, " t%d", p->arg);
        else if (p->code >= AVS_EW_NEG && p->code <= AVS_EW_ABS)
            continue;
        else if (p->src == AVS_EW_IMM)
            fprintf(f, " %.9g", (double)p->imm);
        else
            fprintf(f, " %c%d", p->src == AVS_EW_TEMP ? 't' : '$', p->arg);
    }
}

static void put_pair(FILE *f, const char *name, int a, int b, int usual)
{
    if (a == usual && b == usual) return;
    if (a == b)
        fprintf(f, " %s%d", name, a);
    else
        fprintf(f, " %s%dx%d", name, a, b);
}

static void put_act(FILE *f, int act)
{
    static const char *const names[] = {"", " relu", " relu6", " gelu"};
    (void)fputs(names[act], f);
}

static void put_conv(const avs_conv_attr *c, FILE *f)
{
    fprintf(f, "k%dx%d", c->kh, c->kw);
    put_pair(f, "s", c->sh, c->sw, 1);
    put_pair(f, "p", c->ph, c->pw, 0);
    put_pair(f, "d", c->dh, c->dw, 1);
    put_pair(f, "g", c->groups, c->groups, 1);
    put_act(f, c->act);
}

static void put_matmul(const avs_matmul_attr *m, FILE *f)
{
    fprintf(f, "%s", m->ta ? m->tb ? "tt" : "tn" : m->tb ? "nt" : "nn");
    if (m->heads)
        fprintf(f, " h%d %s%s%s", m->heads, m->a_split ? "a" : "-", m->b_split ? "b" : "-",
                m->c_split ? "c" : "-");
    if (m->alpha < 1 || m->alpha > 1) fprintf(f, " alpha %.9g", (double)m->alpha);
    put_act(f, m->act);
}

static void put_msdeform(const avs_msdeform_attr *m, FILE *f)
{
    fprintf(f, "h%d p%d", m->heads, m->points);
    for (int l = 0; l < m->levels; l++) fprintf(f, " %dx%d", m->h[l], m->w[l]);
}

static void put_attr(const avs_node *n, FILE *f)
{
    static const char *const LOSS[] = {"bce", "ce", "dice", "iou"};
    const avs_norm_attr *norm = n->attr;
    const avs_pool_attr *pool = n->attr;
    const avs_pool_avg_attr *avg = n->attr;
    const avs_resize_attr *rs = n->attr;
    const avs_reduce_attr *red = n->attr;
    const avs_axis_attr *ax = n->attr;
    const avs_dropout_attr *drop = n->attr;
    const avs_loss_attr *loss = n->attr;
    const avs_set_loss_attr *set = n->attr;
    switch (n->op) {
    case AVS_OP_CONV2D:
    case AVS_OP_CONV2D_BWD_X:
    case AVS_OP_CONV2D_BWD_W:
        put_conv(n->attr, f);
        break;
    case AVS_OP_MATMUL:
        put_matmul(n->attr, f);
        break;
    case AVS_OP_GROUPNORM:
    case AVS_OP_GROUPNORM_BWD:
        fprintf(f, "g%d ", norm->groups); /* fall through */
    case AVS_OP_LAYERNORM:
    case AVS_OP_LAYERNORM_BWD:
    case AVS_OP_BATCHNORM:
    case AVS_OP_BATCHNORM_BWD:
        fprintf(f, "eps %.9g%s%s", (double)norm->eps, norm->act == AVS_ACT_RELU ? " relu" : "",
                norm->is_sync ? " sync" : "");
        break;
    case AVS_OP_POOL_MAX:
    case AVS_OP_POOL_MAX_BWD:
        fprintf(f, "k%d s%d p%d", pool->k, pool->s, pool->p);
        break;
    case AVS_OP_POOL_AVG:
    case AVS_OP_POOL_AVG_BWD:
        if (avg->k)
            fprintf(f, "k%d s%d p%d", avg->k, avg->s, avg->p);
        else
            fprintf(f, "adaptive %dx%d to %dx%d", avg->in_h, avg->in_w, avg->out_h, avg->out_w);
        break;
    case AVS_OP_RESIZE:
    case AVS_OP_RESIZE_BWD:
        fprintf(f, "%s %dx%d to %dx%d%s", rs->mode == AVS_RESIZE_NEAREST ? "nearest" : "bilinear", rs->in_h,
                rs->in_w, rs->out_h, rs->out_w, rs->align_corners ? " corners" : "");
        break;
    case AVS_OP_MSDEFORM:
    case AVS_OP_MSDEFORM_BWD:
        put_msdeform(n->attr, f);
        break;
    case AVS_OP_EW:
        put_ew(n->attr, f);
        break;
    case AVS_OP_REDUCE:
        fprintf(f, "%s %d..%d", red->mean ? "mean" : "sum", red->from, red->to);
        break;
    case AVS_OP_CONCAT:
        fprintf(f, "axis %d", ax->axis);
        break;
    case AVS_OP_SLICE:
        fprintf(f, "axis %d, %d from %d", ax->axis, ax->len, ax->before);
        break;
    case AVS_OP_PAD:
        fprintf(f, "axis %d, %d before, %d after", ax->axis, ax->before, ax->after);
        break;
    case AVS_OP_PERMUTE:
        for (int i = 0; i < AVS_MAX_RANK; i++)
            fprintf(f, "%s%d", i ? " " : "", ((const avs_permute_attr *)n->attr)->perm[i]);
        break;
    case AVS_OP_GATHER_ROWS:
    case AVS_OP_GATHER_ROWS_BWD:
    case AVS_OP_ROW_MAX:
    case AVS_OP_ROW_MAX_BWD:
        fprintf(f, "%d rows", ((const avs_gather_attr *)n->attr)->rows);
        break;
    case AVS_OP_DROPOUT:
        fprintf(f, "p %.9g stream %08x%s", (double)drop->p, drop->stream, drop->per_row ? " rows" : "");
        break;
    case AVS_OP_LOSS:
    case AVS_OP_LOSS_BWD:
        fprintf(f, "%s%s", LOSS[loss->kind], loss->squared ? " squared" : "");
        break;
    case AVS_OP_SET_LOSS:
        fprintf(f, "%d points, %d of %d candidates, stream %08x", set->points, set->uncertain,
                set->candidates, set->stream);
        break;
    default:
        break;
    }
}

static void put_node(const avs_graph *g, const avs_node *n, FILE *f)
{
    const avs_op_rule *rule = &avs_op_rules[n->op];
    char t[64];
    for (int i = 0; i < n->n_out; i++) fprintf(f, "%s%%%u", i ? "," : "", n->out[i]);
    fprintf(f, " = %s(", rule->name);
    for (int i = 0; i < n->n_in; i++) {
        if (i) fprintf(f, ", ");
        put_value(g, n->in[i], f);
    }
    fprintf(f, ")");
    if (n->op != AVS_OP_SOFTMAX && n->op != AVS_OP_SOFTMAX_BWD) {
        fprintf(f, " {");
        put_attr(n, f);
        fprintf(f, "}");
    }
    for (int i = 0; i < n->n_out; i++) fprintf(f, " %s", avs_type_text(avs_t(g, n->out[i]), t, sizeof(t)));
    if (n->scope && n->scope[0]) fprintf(f, " @%s", n->scope);
    fprintf(f, "\n");
}

void avs_graph_dump(const avs_graph *g, FILE *f)
{
    for (uint32_t i = 1; i < g->n_node; i++) put_node(g, &g->node[i], f);
    for (uint32_t i = 0; i < g->n_output; i++) {
        fprintf(f, "output %s = ", g->output[i].name);
        put_value(g, g->output[i].val, f);
        fprintf(f, "\n");
    }
    for (uint32_t i = 0; i < g->n_update; i++) {
        fprintf(f, "update ");
        put_value(g, g->update[i].buffer, f);
        fprintf(f, " = ");
        put_value(g, g->update[i].value, f);
        fprintf(f, "\n");
    }
}
