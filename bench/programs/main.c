/*
 * bench NAME COUNT BUSYBOX DATA: runs COUNT iterations of the program NAME and prints
 *     @bench result NAME COUNT NANOSECONDS CHECK
 * BUSYBOX is the path of a busybox, DATA a directory with text and text.xz. Exit status 1 on any failure.
 */
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct program *const tables[] = {
    compute_programs, memory_programs, kernel_programs, busybox_programs, network_programs, disk_programs, dirty_programs,
};

uint64_t now(void)
{
    struct timespec time;
    if (clock_gettime(CLOCK_MONOTONIC, &time) != 0)
        fail("clock_gettime");
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void fail(const char *what)
{
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

uint64_t digest(const void *block, unsigned long size)
{
    const unsigned char *bytes = block;
    uint64_t hash = 0xcbf29ce484222325u;
    for (unsigned long i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

void same(uint64_t first, uint64_t other, const char *what)
{
    if (first == other)
        return;
    fprintf(stderr, "bench: %s: one iteration gave %" PRIx64 ", a later one %" PRIx64 "\n", what, first, other);
    exit(1);
}

static const struct program *find(const char *name)
{
    for (unsigned i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (const struct program *p = tables[i]; p->name; p++)
            if (strcmp(p->name, name) == 0)
                return p;
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: bench NAME COUNT BUSYBOX DATA\n");
        return 1;
    }
    const struct program *program = find(argv[1]);
    uint64_t count = strtoull(argv[2], NULL, 10);
    if (!program || count == 0) {
        fprintf(stderr, "bench: no program '%s', or count '%s' is not a positive number\n", argv[1], argv[2]);
        return 1;
    }
    struct surroundings around = { argv[3], argv[4] };
    struct outcome outcome = program->run(count, &around);
    printf("@bench result %s %" PRIu64 " %" PRIu64 " %" PRIx64 "\n",
           program->name, count, outcome.nanoseconds, outcome.check);
    return 0;
}
