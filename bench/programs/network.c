/*
 * Programs that talk to the runner, which listens at BENCH_SERVER (ADDRESS:PORT). A connection begins with one byte that says
 * what is wanted and eight that say how much of it, lowest first: 's', so many bytes come; 'r', so many bytes are wanted;
 * 'e', so many bytes come one by one and are wanted back. After 's' the runner answers with one byte when it has them all.
 * The switch programs do the same with another machine, in which switch-serve answers as the runner does, at BENCH_PARTNER.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEBIBYTE (1ul << 20)

static unsigned char block[256 << 10];

static int connect_for(const char *variable, char what, uint64_t amount)
{
    char text[64];
    const char *server = getenv(variable);
    snprintf(text, sizeof text, "%s", server ? server : "");
    char *colon = strchr(text, ':');
    if (!colon) {
        fprintf(stderr, "bench: %s is not ADDRESS:PORT\n", variable);
        exit(1);
    }
    *colon = 0;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1)) };
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1)
        fail("inet_pton");
    int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    if (s < 0 || connect(s, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connect");
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    unsigned char request[9] = { (unsigned char)what };
    for (int i = 0; i < 8; i++)
        request[1 + i] = (unsigned char)(amount >> (8 * i));
    if (write(s, request, sizeof request) != sizeof request)
        fail("write");
    return s;
}

static void read_byte(int s)
{
    unsigned char byte;
    if (read(s, &byte, 1) != 1)
        fail("read");
}

static struct outcome send_to(const char *variable, uint64_t count)
{
    uint64_t left = count * MEBIBYTE, begin = now();
    int s = connect_for(variable, 's', left);
    while (left > 0) {
        ssize_t done = write(s, block, left < sizeof block ? left : sizeof block);
        if (done <= 0)
            fail("write");
        left -= (uint64_t)done;
    }
    read_byte(s);
    struct outcome outcome = { now() - begin, 1 };
    close(s);
    return outcome;
}

static struct outcome receive_from(const char *variable, uint64_t count)
{
    uint64_t left = count * MEBIBYTE, begin = now();
    int s = connect_for(variable, 'r', left);
    while (left > 0) {
        ssize_t done = read(s, block, sizeof block);
        if (done <= 0)
            fail("read");
        left -= (uint64_t)done;
    }
    struct outcome outcome = { now() - begin, 1 };
    close(s);
    return outcome;
}

static struct outcome echo_with(const char *variable, uint64_t count)
{
    int s = connect_for(variable, 'e', count);
    uint64_t begin = now();
    for (uint64_t i = 0; i < count; i++) {
        if (write(s, block, 1) != 1)
            fail("write");
        read_byte(s);
    }
    struct outcome outcome = { now() - begin, 1 };
    close(s);
    return outcome;
}

static struct outcome net_send(uint64_t count, const struct surroundings *around)
{
    (void)around;
    return send_to("BENCH_SERVER", count);
}

static struct outcome net_receive(uint64_t count, const struct surroundings *around)
{
    (void)around;
    return receive_from("BENCH_SERVER", count);
}

static struct outcome net_echo(uint64_t count, const struct surroundings *around)
{
    (void)around;
    return echo_with("BENCH_SERVER", count);
}

static struct outcome switch_send(uint64_t count, const struct surroundings *around)
{
    (void)around;
    return send_to("BENCH_PARTNER", count);
}

static struct outcome switch_receive(uint64_t count, const struct surroundings *around)
{
    (void)around;
    return receive_from("BENCH_PARTNER", count);
}

static struct outcome switch_echo(uint64_t count, const struct surroundings *around)
{
    (void)around;
    return echo_with("BENCH_PARTNER", count);
}

static void serve(int s)
{
    unsigned char request[9];
    uint64_t left = 0;
    for (size_t have = 0; have < sizeof request;) {
        ssize_t done = read(s, request + have, sizeof request - have);
        if (done <= 0)
            return;
        have += (size_t)done;
    }
    for (int i = 0; i < 8; i++)
        left |= (uint64_t)request[1 + i] << (8 * i);
    while (left > 0) {
        size_t most = request[0] == 'e' ? 1 : left < sizeof block ? left : sizeof block;
        ssize_t done = request[0] == 'r' ? write(s, block, most) : read(s, block, most);
        if (done <= 0 || (request[0] == 'e' && write(s, block, (size_t)done) != done))
            return;
        left -= (uint64_t)done;
    }
    if (request[0] == 's' && write(s, block, 1) != 1)
        return;
}

/* Serves one connection after the other until its machine is killed. */
static struct outcome switch_serve(uint64_t port, const struct surroundings *around)
{
    (void)around;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4) != 0)
        fail("listen");
    for (;;) {
        int s = accept(listener, NULL, NULL);
        if (s < 0)
            fail("accept");
        setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        serve(s);
        close(s);
    }
}

const struct program network_programs[] = {
    { "net-send", net_send },
    { "net-receive", net_receive },
    { "net-echo", net_echo },
    { "switch-send", switch_send },
    { "switch-receive", switch_receive },
    { "switch-echo", switch_echo },
    { "switch-serve", switch_serve },
    { 0, 0 },
};
