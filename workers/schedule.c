/* Learning-rate schedules. polynomial: lr (1 - progress)^power; cosine: from lr to lr_min. */
#include "workers/schedule.h"

#include <math.h>
#include <string.h>

avs_schedule avs_schedule_of(const avs_cfg *cfg, int64_t steps, int64_t steps_per_epoch)
{
    return (avs_schedule){.kind = avs_cfg_str(cfg, "schedule"),
                          .lr = avs_cfg_num(cfg, "lr"),
                          .power = avs_cfg_num(cfg, "schedule_power"),
                          .lr_min = avs_cfg_num(cfg, "lr_min"),
                          .steps = steps,
                          .warmup = avs_cfg_int(cfg, "lr_warmup_steps"),
                          .steps_per_epoch = steps_per_epoch,
                          .per_epoch = avs_cfg_is(cfg, "schedule_step", "epoch")};
}

double avs_schedule_lr(const avs_schedule *s, int64_t step)
{
    if (step < s->warmup) return s->lr * (double)(step + 1) / (double)s->warmup;
    const int64_t at =
        s->per_epoch && s->steps_per_epoch > 0 ? step / s->steps_per_epoch * s->steps_per_epoch : step;
    const double progress = s->steps > 0 ? (double)at / (double)s->steps : 0;
    if (!strcmp(s->kind, "polynomial")) return s->lr * pow(progress < 1 ? 1 - progress : 0, s->power);
    if (!strcmp(s->kind, "cosine"))
        return s->lr_min + (s->lr - s->lr_min) * 0.5 * (1 + cos(3.14159265358979323846 * progress));
    return s->lr;
}
