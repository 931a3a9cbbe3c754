/* `avsweep-trial data compose|index|list|check`: data sets from the command line. Returns the exit status. */
#ifndef AVS_WORKERS_DATA_COMMAND_H
#define AVS_WORKERS_DATA_COMMAND_H

int avs_data_command(int argc, char **argv);

#endif
