/* Words for the outcomes of an attempt, as stored in the database and printed. */
#include "orchestrator/message.h"

const char *avs_outcome_name(avs_outcome o)
{
    static const char *const name[AVS_OUT_COUNT] = {"done",    "error",   "crash",   "hang",
                                                    "timeout", "stopped", "killed",  "infra",
                                                    "lost",    "oom",     "oom_gpu", "disturbed"};
    return (unsigned)o < AVS_OUT_COUNT ? name[o] : "unknown";
}
