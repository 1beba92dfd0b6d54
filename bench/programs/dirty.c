/* Writes to memory at a steady rate and never ends: what a migration has to cope with. */
#define _GNU_SOURCE
#include "bench.h"

#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

enum { PAGE = 4096, PAGES = 32768, STEPS = 100 };

/* COUNT MiB a second, page after page over 128 MiB, in a hundred steps a second. */
static struct outcome dirty(uint64_t count, const struct surroundings *around)
{
    (void)around;
    volatile uint64_t *memory = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail("mmap");
    uint64_t each = count * 256 / STEPS, page = 0;
    for (uint64_t i = 0; i < PAGES; i++)
        memory[i * PAGE / sizeof *memory] = i * 0x9e3779b97f4a7c15u;
    printf("@bench loaded\n");
    fflush(stdout);
    struct timespec next;
    if (clock_gettime(CLOCK_MONOTONIC, &next) != 0)
        fail("clock_gettime");
    for (;;) {
        for (uint64_t i = 0; i < each; i++, page = (page + 1) % PAGES)
            memory[page * PAGE / sizeof *memory] += 0x9e3779b97f4a7c15u;
        next.tv_nsec += 1000000000 / STEPS;
        if (next.tv_nsec >= 1000000000) {
            next.tv_nsec -= 1000000000;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
}

const struct program dirty_programs[] = { { "dirty", dirty }, { 0 } };
