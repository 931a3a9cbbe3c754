/* `models [--format text|json]`: every built-in system with each of its main backbones, sizes counted on its graph. */
#ifndef AVS_WORKERS_MODELS_COMMAND_H
#define AVS_WORKERS_MODELS_COMMAND_H

int avs_models_command(int argc, char **argv);

#endif
