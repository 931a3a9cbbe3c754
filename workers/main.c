/* avsweep-trial: one rank of one trial, and the commands that need the engine. Only this file exits the process. */
#include <stdio.h>
#include <string.h>

#include "avs_version.h"
#include "workers/golden/run.h"

int main(int argc, char **argv)
{
    if (argc >= 2 && !strcmp(argv[1], "golden")) return avs_golden_main(argc - 2, argv + 2);
    fprintf(stderr, "avsweep-trial %s\n", AVS_VERSION);
    return 2;
}
