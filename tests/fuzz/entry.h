/* The entry point of every fuzz target; CMakeLists.txt includes this file in front of each of them. */
#ifndef AVS_TESTS_FUZZ_ENTRY_H
#define AVS_TESTS_FUZZ_ENTRY_H

#include <stddef.h>
#include <stdint.h>

/* Runs one input; a defect ends the process. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#endif
