/* `avsweep-trial predict`: masks and overlays as PNG from a checkpoint. Returns the exit status. */
#ifndef AVS_WORKERS_PREDICT_H
#define AVS_WORKERS_PREDICT_H

int avs_predict_command(int argc, char **argv);

#endif
