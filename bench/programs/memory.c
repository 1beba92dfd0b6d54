/* Copying: with 16-byte SSE moves, and with one string instruction. */
#include "bench.h"

#include <emmintrin.h>
#include <sys/mman.h>

enum { BLOCK = 1 << 20 };

static __attribute__((noipa)) void copy_sse(unsigned char *to, const unsigned char *from)
{
    for (unsigned i = 0; i < BLOCK; i += 64) {
        __m128i a = _mm_loadu_si128((const __m128i *)(from + i));
        __m128i b = _mm_loadu_si128((const __m128i *)(from + i + 16));
        __m128i c = _mm_loadu_si128((const __m128i *)(from + i + 32));
        __m128i d = _mm_loadu_si128((const __m128i *)(from + i + 48));
        _mm_storeu_si128((__m128i *)(to + i), a);
        _mm_storeu_si128((__m128i *)(to + i + 16), b);
        _mm_storeu_si128((__m128i *)(to + i + 32), c);
        _mm_storeu_si128((__m128i *)(to + i + 48), d);
    }
}

static __attribute__((noipa)) void copy_rep(unsigned char *to, const unsigned char *from)
{
    unsigned long size = BLOCK;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

/* One iteration: a MiB from one buffer to another. */
static struct outcome copy(uint64_t count, void (*copier)(unsigned char *, const unsigned char *))
{
    unsigned char *from = mmap(0, 2 * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (from == MAP_FAILED)
        fail("mmap");
    unsigned char *to = from + BLOCK;
    for (unsigned i = 0; i < BLOCK; i++)
        from[i] = (unsigned char)(i * 7 + (i >> 9));
    copier(to, from);
    uint64_t begin = now();
    for (uint64_t i = 0; i < count; i++)
        copier(to, from);
    struct outcome outcome = { now() - begin, digest(to, BLOCK) };
    return outcome;
}

static struct outcome run_sse(uint64_t count, const struct surroundings *around)
{
    (void)around;
    return copy(count, copy_sse);
}

static struct outcome run_rep(uint64_t count, const struct surroundings *around)
{
    (void)around;
    return copy(count, copy_rep);
}

const struct program memory_programs[] = {
    { "memcpy-sse", run_sse },
    { "memcpy-rep", run_rep },
    { 0, 0 },
};
