/* avsweep: reads the command line and hands over. The two internal words are how this program starts itself as the
 * agent of its node and as that agent's spawner. */
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "orchestrator/agent.h"
#include "orchestrator/commands.h"
#include "orchestrator/run.h"
#include "orchestrator/spawner.h"

static int usage_error(const avs_err *err)
{
    avs_buf b = AVS_BUF_INIT;
    avs_buf_fmt(&b, "error: %s\n", err->msg);
    avs_fs_full_write(STDERR_FILENO, b.data, b.len);
    avs_buf_free(&b);
    return 2;
}

int main(int argc, char **argv)
{
    avs_options o;
    avs_err err = AVS_ERR_INIT;
    if (argc == 2 && strcmp(argv[1], AVS_SPAWNER_WORD) == 0) return avs_spawner_serve(3);
    if (argc > 1 && strcmp(argv[1], AVS_AGENT_WORD) == 0) return avs_run_agent(argc, argv);
    if (avs_cli_parse(&o, argc, argv, &err) != AVS_OK) return usage_error(&err);
    switch (o.command) {
    case AVS_CMD_RUN:
        return avs_run(&o, argc, argv);
    case AVS_CMD_CHECK:
        return avs_command_check(&o);
    case AVS_CMD_EXPAND:
        return avs_command_expand(&o);
    case AVS_CMD_REPORT:
        return avs_command_report(&o);
    case AVS_CMD_STATUS:
        return avs_command_status(&o);
    case AVS_CMD_SHOW:
        return avs_command_show(&o);
    case AVS_CMD_LS:
        return avs_command_ls(&o);
    case AVS_CMD_EXPLAIN:
        return avs_command_explain(&o, argv);
    case AVS_CMD_VERSION:
        return avs_command_version(&o);
    case AVS_CMD_TRIAL:
        return avs_command_trial(&o, argv);
    case AVS_CMD_HELP:
    case AVS_CMD_COUNT:
        break;
    }
    return avs_command_help(&o);
}
