/* The entry point of every fuzz target; CMakeLists.txt includes this file in front of each of them. */
#ifndef AVS_TESTS_FUZZ_ENTRY_H
#define AVS_TESTS_FUZZ_ENTRY_H

#include <stddef.h>
#include <stdint.h>

/* Runs one input; a defect ends the process. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A target may change inputs itself: libFuzzer calls the first, which calls libFuzzer's own second. Weak, because the
 * replaying main has neither use for the one nor a definition of the other. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t max_n, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t max_n) __attribute__((weak));

#endif
