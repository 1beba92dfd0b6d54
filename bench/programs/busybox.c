/* Programs of busybox: a shell loop, a digest, two compressors. */
#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs busybox with these arguments. Its output goes to standard output's place: a pipe, of which a digest is returned
   of the first line, or /dev/null. */
static struct outcome spawn(const struct surroundings *around, char **arguments, int keep)
{
    int pipes[2];
    if (pipe(pipes) != 0)
        fail("pipe");
    uint64_t begin = now();
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        int out = keep ? pipes[1] : open("/dev/null", O_WRONLY);
        if (dup2(out, 1) != 1)
            _exit(126);
        execv(around->busybox, arguments);
        _exit(127);
    }
    close(pipes[1]);
    char line[256] = { 0 }, rest[4096];
    unsigned long length = 0;
    for (ssize_t got; (got = read(pipes[0], rest, sizeof rest)) > 0;)
        for (ssize_t i = 0; i < got && length < sizeof line; i++)
            line[length++] = rest[i];
    int status;
    if (waitpid(child, &status, 0) != child)
        fail("waitpid");
    struct outcome outcome = { now() - begin, 0 };
    close(pipes[0]);
    if (status != 0) {
        fprintf(stderr, "bench: %s ended with status %#x\n", arguments[0], (unsigned)status);
        exit(1);
    }
    /* 64 digits of SHA-256, or the first word of another output; the file's name after it differs between places. */
    unsigned long word = 0;
    while (word < length && line[word] != ' ' && line[word] != '\n')
        word++;
    outcome.check = keep ? digest(line, word) : 0;
    return outcome;
}

/* One iteration: one turn of a counting loop in busybox's shell. */
static struct outcome run_shell(uint64_t count, const struct surroundings *around)
{
    char script[128];
    snprintf(script, sizeof script, "i=0; while [ $i -lt %" PRIu64 " ]; do i=$((i+1)); done; [ $i = %" PRIu64 " ]",
             count, count);
    char *arguments[] = { "sh", "-c", script, 0 };
    return spawn(around, arguments, 0);
}

/* One iteration: one more time the same file, for one process that is given all of them. */
static struct outcome repeat(const struct surroundings *around, uint64_t count, char *applet, char *option,
                             const char *name, int keep)
{
    char file[512];
    snprintf(file, sizeof file, "%s/%s", around->data, name);
    char **arguments = calloc(count + 3, sizeof *arguments);
    if (!arguments)
        fail("calloc");
    unsigned long used = 0;
    arguments[used++] = applet;
    if (option)
        arguments[used++] = option;
    for (uint64_t i = 0; i < count; i++)
        arguments[used++] = file;
    return spawn(around, arguments, keep);
}

static struct outcome run_sha256(uint64_t count, const struct surroundings *around)
{
    return repeat(around, count, "sha256sum", 0, "text", 1);
}

static struct outcome run_gzip(uint64_t count, const struct surroundings *around)
{
    return repeat(around, count, "gzip", "-c", "text", 0);
}

static struct outcome run_xz(uint64_t count, const struct surroundings *around)
{
    return repeat(around, count, "xz", "-dc", "text.xz", 0);
}

const struct program busybox_programs[] = {
    { "shell", run_shell },
    { "sha256", run_sha256 },
    { "gzip", run_gzip },
    { "xz", run_xz },
    { 0, 0 },
};
