/*
 * Programs that read and write BENCH_DISK, a raw disk on which every 4 KiB block begins with its own number. A guest's disk is
 * used with O_DIRECT, so that each access reaches the device. On the host BENCH_DISK is the file itself, used through the page
 * cache: what a VMM at least does for the guest. `check` counts blocks with another number.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BLOCK = 4096, CHUNK = 1 << 20, BLOCKS_EACH = CHUNK / BLOCK, DEPTH = 16 };

struct disk {
    int file;
    uint64_t blocks;
    unsigned char *buffer;
};

/* What the first bytes of a block hold. */
struct stamp {
    uint64_t number;
    uint64_t written;
};

static struct disk open_disk(void)
{
    struct disk disk;
    struct stat about;
    const char *path = getenv("BENCH_DISK");
    if (!path) {
        fprintf(stderr, "bench: BENCH_DISK does not name a disk\n");
        exit(1);
    }
    if (stat(path, &about) != 0)
        fail(path);
    disk.file = open(path, O_RDWR | (S_ISBLK(about.st_mode) ? O_DIRECT : 0));
    off_t size = disk.file < 0 ? -1 : lseek(disk.file, 0, SEEK_END);
    if (size < CHUNK)
        fail(path);
    disk.blocks = (uint64_t)size / BLOCK;
    disk.buffer = aligned_alloc(BLOCK, CHUNK);
    if (!disk.buffer)
        fail("aligned_alloc");
    memset(disk.buffer, 0, CHUNK);
    return disk;
}

/* Settles what was written, so that the next program does not pay for it, and reads the last of it again. */
static uint64_t close_disk(struct disk *disk, uint64_t last, uint64_t written)
{
    if (fsync(disk->file) != 0)
        fail("fsync");
    if (pread(disk->file, disk->buffer, BLOCK, (off_t)(last * BLOCK)) != BLOCK)
        fail("pread");
    const struct stamp *stamp = (const struct stamp *)disk->buffer;
    uint64_t wrong = stamp->number != last || (written && stamp->written != written);
    free(disk->buffer);
    close(disk->file);
    return wrong;
}

static uint64_t first_of(const struct disk *disk, uint64_t chunk)
{
    return chunk % (disk->blocks / BLOCKS_EACH) * BLOCKS_EACH;
}

/* One iteration: a MiB, each after the one before it. */
static struct outcome run_read(uint64_t count, const struct surroundings *around)
{
    (void)around;
    struct disk disk = open_disk();
    uint64_t begin = now(), wrong = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t first = first_of(&disk, i);
        if (pread(disk.file, disk.buffer, CHUNK, (off_t)(first * BLOCK)) != CHUNK)
            fail("pread");
        for (uint64_t block = 0; block < BLOCKS_EACH; block++)
            wrong += ((const struct stamp *)(disk.buffer + block * BLOCK))->number != first + block;
    }
    struct outcome outcome = { now() - begin, wrong };
    outcome.check += close_disk(&disk, 0, 0);
    return outcome;
}

static struct outcome run_write(uint64_t count, const struct surroundings *around)
{
    (void)around;
    struct disk disk = open_disk();
    uint64_t begin = now();
    for (uint64_t i = 0; i < count; i++) {
        uint64_t first = first_of(&disk, i);
        for (uint64_t block = 0; block < BLOCKS_EACH; block++)
            *(struct stamp *)(disk.buffer + block * BLOCK) = (struct stamp){ first + block, begin };
        if (pwrite(disk.file, disk.buffer, CHUNK, (off_t)(first * BLOCK)) != CHUNK)
            fail("pwrite");
    }
    struct outcome outcome = { now() - begin, 0 };
    outcome.check = close_disk(&disk, first_of(&disk, count - 1) + BLOCKS_EACH - 1, begin);
    return outcome;
}

static uint64_t random_block(const struct disk *disk, uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 33) % disk->blocks;
}

/* One iteration: one block somewhere; no other is asked for before it has come. */
static struct outcome run_latency(uint64_t count, const struct surroundings *around)
{
    (void)around;
    struct disk disk = open_disk();
    uint64_t begin = now(), seed = 1, wrong = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t number = random_block(&disk, &seed);
        if (pread(disk.file, disk.buffer, BLOCK, (off_t)(number * BLOCK)) != BLOCK)
            fail("pread");
        wrong += ((const struct stamp *)disk.buffer)->number != number;
    }
    struct outcome outcome = { now() - begin, wrong };
    outcome.check += close_disk(&disk, 0, 0);
    return outcome;
}

/* One iteration: one block somewhere, DEPTH of them at a time. */
static struct outcome run_random(uint64_t count, uint16_t what)
{
    struct disk disk = open_disk();
    aio_context_t context = 0;
    if (syscall(SYS_io_setup, DEPTH, &context) != 0)
        fail("io_setup");
    struct iocb requests[DEPTH], *ready[DEPTH];
    struct io_event events[DEPTH];
    uint64_t begin = now(), seed = 1, asked = 0, done = 0, wrong = 0, last = 0;
    long idle = DEPTH;
    memset(requests, 0, sizeof requests);
    for (int i = 0; i < DEPTH; i++) {
        requests[i].aio_data = (uint64_t)i;
        ready[i] = &requests[i];
    }
    while (done < count) {
        long wanted = 0;
        for (; wanted < idle && asked < count; wanted++, asked++) {
            struct iocb *request = ready[wanted];
            unsigned char *block = disk.buffer + request->aio_data * BLOCK;
            last = random_block(&disk, &seed);
            if (what == IOCB_CMD_PWRITE)
                *(struct stamp *)block = (struct stamp){ last, begin };
            request->aio_lio_opcode = what;
            request->aio_fildes = (uint32_t)disk.file;
            request->aio_buf = (uintptr_t)block;
            request->aio_nbytes = BLOCK;
            request->aio_offset = (int64_t)(last * BLOCK);
        }
        if (wanted > 0 && syscall(SYS_io_submit, context, wanted, ready) != wanted)
            fail("io_submit");
        idle = syscall(SYS_io_getevents, context, 1l, (long)DEPTH, events, NULL);
        if (idle < 1)
            fail("io_getevents");
        for (long i = 0; i < idle; i++) {
            struct iocb *request = &requests[events[i].data];
            const struct stamp *stamp = (const struct stamp *)(disk.buffer + events[i].data * BLOCK);
            wrong += events[i].res != BLOCK || stamp->number != (uint64_t)request->aio_offset / BLOCK;
            ready[i] = request;
        }
        done += (uint64_t)idle;
    }
    struct outcome outcome = { now() - begin, wrong };
    syscall(SYS_io_destroy, context);
    outcome.check += close_disk(&disk, last, what == IOCB_CMD_PWRITE ? begin : 0);
    return outcome;
}

static struct outcome run_random_read(uint64_t count, const struct surroundings *around)
{
    (void)around;
    return run_random(count, IOCB_CMD_PREAD);
}

static struct outcome run_random_write(uint64_t count, const struct surroundings *around)
{
    (void)around;
    return run_random(count, IOCB_CMD_PWRITE);
}

const struct program disk_programs[] = {
    { "disk-read", run_read },
    { "disk-write", run_write },
    { "disk-random-read", run_random_read },
    { "disk-random-write", run_random_write },
    { "disk-latency", run_latency },
    { 0, 0 },
};
