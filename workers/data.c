/* The splits of a trial's data set. */
#include "workers/data.h"

#include <unistd.h>

#include "models/model.h"

int avs_data_open(avs_dataset **ds, const avs_cfg *cfg, avs_split split, int threads, avs_err *e)
{
    avs_dataset_cfg dc = {.split = split};
    int h, w;
    *ds = NULL;
    if (!avs_cfg_is(cfg, "dataset", "avsbench"))
        return avs_fail(e, AVS_EMISSING, "dataset '%s' has no reader yet (built in: avsbench)",
                        avs_cfg_str(cfg, "dataset"));
    int rc = avs_task_parse(avs_cfg_str(cfg, "task"), &dc.task, e);
    if (rc != AVS_OK) return rc;
    avs_cfg_size(cfg, "resolution", &h, &w);
    if (!avs_cfg_has(cfg, "data_root"))
        return avs_fail(e, AVS_EMISSING, "'data_root' is needed: the root folder of the data set");
    dc.root = avs_cfg_str(cfg, "data_root");
    dc.height = h;
    dc.width = w;
    avs_model_label_size(cfg, &h, &w);
    dc.label_height = h;
    dc.label_width = w;
    dc.stretch = avs_cfg_is(cfg, "model", "aavs");
    avs_model_normalisation(cfg, dc.mean, dc.std);
    rc = avs_dataset_open(ds, &dc, e);
    const size_t budget = (size_t)sysconf(_SC_AVPHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE) / 4;
    if (rc == AVS_OK && avs_dataset_count(*ds)) rc = avs_dataset_preload(*ds, threads, budget, e);
    if (rc != AVS_OK) {
        avs_dataset_close(*ds);
        *ds = NULL;
    }
    return rc;
}
