/* `avsweep-trial ring [RANKS] [tcp]`: the all-reduce of the host ring between processes of this node, checked and timed;
 * tcp: over sockets, as between nodes. */
#ifndef AVS_WORKERS_RING_CHECK_H
#define AVS_WORKERS_RING_CHECK_H

int avs_ring_check_command(int argc, char **argv); /* exit status: 0 right, 1 wrong, 2 usage */

#endif
