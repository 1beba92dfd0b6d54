/* What the guest's kernel does for a process: system calls, faults, mappings, pipes, processes. */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, CHUNK = 4096 };

static struct outcome since(uint64_t begin, uint64_t check)
{
    struct outcome outcome = { now() - begin, check };
    return outcome;
}

/* One iteration: one system call that does nothing. */
static struct outcome run_getppid(uint64_t count, const struct surroundings *around)
{
    (void)around;
    long parent = syscall(SYS_getppid);
    uint64_t begin = now(), wrong = 0;
    for (uint64_t i = 0; i < count; i++)
        wrong += syscall(SYS_getppid) != parent;
    return since(begin, wrong);
}

/* One iteration: the first write to a page of anonymous memory. Mapping and unmapping are not counted. */
static struct outcome run_fault(uint64_t count, const struct surroundings *around)
{
    (void)around;
    struct outcome outcome = { 0, 0 };
    for (uint64_t done = 0; done < count; done += CHUNK) {
        unsigned long pages = count - done < CHUNK ? count - done : CHUNK;
        unsigned char *memory = mmap(0, (unsigned long)CHUNK * PAGE, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            fail("mmap");
        /* Kernels built without huge pages say EINVAL, which is what is wanted. */
        if (madvise(memory, (unsigned long)CHUNK * PAGE, MADV_NOHUGEPAGE) != 0 && errno != EINVAL)
            fail("madvise");
        uint64_t begin = now();
        for (unsigned long page = 0; page < pages; page++) {
            outcome.check |= memory[page * PAGE + 8];
            memory[page * PAGE] = 1;
        }
        outcome.nanoseconds += now() - begin;
        if (munmap(memory, (unsigned long)CHUNK * PAGE) != 0)
            fail("munmap");
    }
    return outcome;
}

/* One iteration: 16 pages mapped, two of them touched, all unmapped. */
static struct outcome run_mmap(uint64_t count, const struct surroundings *around)
{
    (void)around;
    uint64_t begin = now(), check = 0;
    for (uint64_t i = 0; i < count; i++) {
        volatile unsigned char *memory = mmap(0, 16 * PAGE, PROT_READ | PROT_WRITE,
                                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            fail("mmap");
        check |= memory[8];
        memory[0] = 1;
        memory[8 * PAGE] = 1;
        if (munmap((void *)memory, 16 * PAGE) != 0)
            fail("munmap");
    }
    return since(begin, check);
}

static void transfer(ssize_t moved, const char *what)
{
    if (moved != 1)
        fail(what);
}

/* One iteration: a byte to another process and back, through two pipes. */
static struct outcome run_pipe(uint64_t count, const struct surroundings *around)
{
    (void)around;
    int there[2], back[2];
    if (pipe(there) != 0 || pipe(back) != 0)
        fail("pipe");
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    unsigned char byte = 0;
    if (child == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1) {
            byte++;
            transfer(write(back[1], &byte, 1), "write to the parent");
        }
        _exit(0);
    }
    close(there[0]);
    uint64_t begin = now(), wrong = 0;
    for (uint64_t i = 0; i < count; i++) {
        byte = (unsigned char)i;
        transfer(write(there[1], &byte, 1), "write to the child");
        transfer(read(back[0], &byte, 1), "read from the child");
        wrong += byte != (unsigned char)(i + 1);
    }
    struct outcome outcome = since(begin, wrong);
    close(there[1]);
    if (waitpid(child, 0, 0) != child)
        fail("waitpid");
    return outcome;
}

static uint64_t reap(pid_t child)
{
    int status;
    if (child < 0)
        fail("fork");
    if (waitpid(child, &status, 0) != child)
        fail("waitpid");
    return (uint64_t)status;
}

/* One iteration: a child that ends at once, awaited. */
static struct outcome run_fork(uint64_t count, const struct surroundings *around)
{
    (void)around;
    uint64_t begin = now(), check = 0;
    for (uint64_t i = 0; i < count; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        check |= reap(child);
    }
    return since(begin, check);
}

/* One iteration: a child that becomes busybox's true, awaited. */
static struct outcome run_exec(uint64_t count, const struct surroundings *around)
{
    uint64_t begin = now(), check = 0;
    for (uint64_t i = 0; i < count; i++) {
        pid_t child = fork();
        if (child == 0) {
            execl(around->busybox, "true", (char *)0);
            _exit(127);
        }
        check |= reap(child);
    }
    return since(begin, check);
}

const struct program kernel_programs[] = {
    { "getppid", run_getppid },
    { "fault", run_fault },
    { "mmap", run_mmap },
    { "pipe", run_pipe },
    { "fork", run_fork },
    { "exec", run_exec },
    { 0, 0 },
};
