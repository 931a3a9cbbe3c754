/* The Pareto plot as a file of its own, and the choice of its axes. */
#include <string.h>
#include "results/plot.h"
#include "results/render.h"

static int column_of(const avs_table *t, const char *name)
{
    for (int c = 0; c < t->n_columns; c++)
        if (strcmp(t->column[c].name, name) == 0) return c;
    return -1;
}

int avs_pareto_axes(const avs_report_spec *spec, const avs_table *t, int axis[2], avs_err *e)
{
    const char *names[2] = {spec->pareto_x, spec->pareto_y};
    int cost = -1;

    axis[0] = axis[1] = -1;
    for (int i = 0; i < 2; i++)
        if (names[i] && (axis[i] = column_of(t, names[i])) < 0)
            return avs_fail(e, AVS_EMISSING, "the plot needs the column '%s', which the report does not have",
                            names[i]);
    for (int c = t->n_columns - 1; c >= 0; c--) {
        if (t->column[c].latency) cost = c;
        if (!names[1] && t->column[c].unit == AVS_U_FRACTION && t->column[c].better >= 0) axis[1] = c;
    }
    if (cost < 0) cost = column_of(t, "params");
    if (!names[0]) axis[0] = cost;
    return AVS_OK;
}

int avs_render_svg(const avs_report_spec *spec, const avs_table *t, avs_arena *a, avs_buf *out, avs_err *e)
{
    int axis[2], rc = avs_pareto_axes(spec, t, axis, e);
    if (rc != AVS_OK) return rc;
    if (axis[0] < 0 || axis[1] < 0)
        return avs_fail(
            e, AVS_EMISSING,
            "the plot needs a cost and a quality, and the report has no %s; name both with --pareto "
            "x=METRIC,y=METRIC",
            axis[0] < 0 ? "latency or params" : "metric in percent");
    if (!avs_plot_pareto(t, a, axis[0], axis[1], true, out))
        return avs_fail(e, AVS_EMISSING, "no row has both %s and %s", t->column[axis[0]].name,
                        t->column[axis[1]].name);
    return AVS_OK;
}
