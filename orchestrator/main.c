/* avsweep: reads the command line and hands over. The two internal words are how this program starts itself as the
 * agent of its node and as that agent's spawner. */
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "orchestrator/agent.h"
#include "orchestrator/commands.h"
#include "orchestrator/doctor.h"
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
    if (argc == 2 && strcmp(argv[1], AVS_PROBE_WORD) == 0) return avs_doctor_probe();
    if (avs_cli_parse(&o, argc, argv, &err) != AVS_OK) return usage_error(&err);
    for (size_t i = 0; i < avs_cli_n_commands; i++)
        if (avs_cli_commands[i].command == o.command) return avs_cli_commands[i].run(&o);
    return avs_command_help(&o);
}
