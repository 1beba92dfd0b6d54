/* Programs that stay in user mode: integers, calls, sorting, floating point. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define REPEAT(count, body, result, label)                  \
    struct outcome outcome = { 0, 0 };                      \
    uint64_t begin = now();                                 \
    for (uint64_t iteration = 0; iteration < (count); iteration++) { \
        body;                                               \
        if (iteration == 0)                                 \
            outcome.check = (result);                       \
        same(outcome.check, (result), label);               \
    }                                                       \
    outcome.nanoseconds = now() - begin;                    \
    return outcome

static __attribute__((noipa)) uint64_t alu(uint64_t steps)
{
    uint64_t a = 0x9e3779b97f4a7c15u, b = 1, c = 0;
    for (uint64_t i = 0; i < steps; i++) {
        a ^= a << 13;
        a ^= a >> 7;
        b += a + i;
        c = (c << 5 | c >> 59) - b;
        if (c & 1)
            b ^= i;
    }
    return a ^ b ^ c;
}

/* One iteration: a million rounds of shifts, sums and one unpredictable branch. */
static struct outcome run_alu(uint64_t count, const struct surroundings *around)
{
    (void)around;
    uint64_t value;
    REPEAT(count, value = alu(1000000), value, "alu");
}

static __attribute__((noipa, optimize("no-optimize-sibling-calls", "no-inline"))) unsigned fib(unsigned n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

/* One iteration: fib(24), 150,049 calls. */
static struct outcome run_fib(uint64_t count, const struct surroundings *around)
{
    (void)around;
    volatile unsigned n = 24;
    uint64_t value;
    REPEAT(count, value = fib(n), value, "fib");
}

enum { SIEVE = 1 << 20 };

static uint64_t sieve(unsigned char *composite)
{
    uint64_t primes = 0;
    memset(composite, 0, SIEVE);
    for (unsigned i = 2; i < SIEVE; i++) {
        if (composite[i])
            continue;
        primes++;
        for (unsigned j = i + i; j < SIEVE; j += i)
            composite[j] = 1;
    }
    return primes;
}

/* One iteration: the primes below 2^20 in a byte array. */
static struct outcome run_sieve(uint64_t count, const struct surroundings *around)
{
    (void)around;
    unsigned char *composite = malloc(SIEVE);
    if (!composite)
        fail("malloc");
    memset(composite, 1, SIEVE);
    uint64_t value;
    REPEAT(count, value = sieve(composite), value, "sieve");
}

enum { SORTED = 50000 };

static int compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static void fill(uint32_t *numbers)
{
    uint32_t seed = 12345;
    for (unsigned i = 0; i < SORTED; i++)
        numbers[i] = seed = seed * 1664525u + 1013904223u;
}

/* One iteration: the C library's qsort of 50,000 random numbers. */
static struct outcome run_qsort(uint64_t count, const struct surroundings *around)
{
    (void)around;
    static uint32_t numbers[SORTED];
    REPEAT(count, (fill(numbers), qsort(numbers, SORTED, sizeof numbers[0], compare)),
           (uint64_t)numbers[SORTED / 2] << 32 | numbers[0], "qsort");
}

enum { SIDE = 128 };

static double left[SIDE][SIDE], right[SIDE][SIDE], product[SIDE][SIDE];

static __attribute__((noipa)) void multiply(void)
{
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            double sum = 0;
            for (int k = 0; k < SIDE; k++)
                sum += left[i][k] * right[k][j];
            product[i][j] = sum;
        }
}

/* One iteration: the product of two 128 by 128 matrices of doubles. */
static struct outcome run_matmul(uint64_t count, const struct surroundings *around)
{
    (void)around;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            left[i][j] = 1.0 / (1 + i + j);
            right[i][j] = (i - j) / 3.0;
        }
    REPEAT(count, multiply(), digest(product, 64 * sizeof(double)), "matmul");
}

const struct program compute_programs[] = {
    { "alu", run_alu },
    { "fib", run_fib },
    { "sieve", run_sieve },
    { "qsort", run_qsort },
    { "matmul", run_matmul },
    { 0, 0 },
};
