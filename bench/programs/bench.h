/* What the measured programs share: a clock, a failure report, and the table that main.c looks them up in. */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>

/* What a run found. Every iteration of a program does the same work, so `check` does not depend on their number. */
struct outcome {
    uint64_t nanoseconds;
    uint64_t check;
};

/* Where a program finds what it did not bring along. */
struct surroundings {
    const char *busybox;
    const char *data;
};

struct program {
    const char *name;
    struct outcome (*run)(uint64_t count, const struct surroundings *around);
};

extern const struct program compute_programs[];
extern const struct program memory_programs[];
extern const struct program kernel_programs[];
extern const struct program busybox_programs[];
extern const struct program network_programs[];
extern const struct program disk_programs[];
extern const struct program dirty_programs[];

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t now(void);

/* Prints the message and errno to standard error and exits with 1. */
_Noreturn void fail(const char *what);

/* FNV-1a of a block, for the check value. */
uint64_t digest(const void *block, unsigned long size);

/* Ends the process if an iteration gave another result than the one before it. */
void same(uint64_t first, uint64_t other, const char *what);

#endif
