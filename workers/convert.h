/* `avsweep-trial convert IN OUT.safetensors ..`: weights of PyTorch (or safetensors with other keys) as safetensors. */
#ifndef AVS_WORKERS_CONVERT_H
#define AVS_WORKERS_CONVERT_H

/* Returns the exit status: 0, 1 the file cannot be converted or does not fit the model, 2 usage. */
int avs_convert_command(int argc, char **argv);

#endif
