/* Runs random programs natively and reports their faults: the same log as the guest's fault handler writes.
 * Standard input: programs one after the other, each the entry, the flags and the sixteen registers, then the regions,
 * then the lengths of the instructions. Standard output: for each the number of log entries, the entries, the regions.
 * A program's start and end are signals as well: no assembly is needed. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

struct region {
	uint64_t address, size;
};
static const struct region regions[] = {REGIONS};
enum { COUNT = sizeof regions / sizeof regions[0] };

static struct {
	uint64_t entry, flags, gpr[16];
} start;
static uint8_t lengths[CODE_SIZE];
static uint64_t log_words[LOG_LIMIT][LOG_WORDS];
static uint64_t log_count;
static int running;
static gregset_t saved;

/* In the order of an instruction's encoding. */
static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static void fail(const char *what)
{
	perror(what);
	_exit(1);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
	if (!running) {
		memcpy(saved, g, sizeof saved);
		for (int i = 0; i < 16; i++)
			g[order[i]] = (greg_t)start.gpr[i];
		g[REG_RIP] = (greg_t)start.entry;
		g[REG_EFL] = (greg_t)start.flags;
		running = 1;
		return;
	}

	uint64_t *entry = log_words[log_count++], offset = (uint64_t)g[REG_RIP] - CODE;
	int vector = (int)g[REG_TRAPNO];
	entry[0] = (uint64_t)vector;
	entry[1] = (uint64_t)g[REG_ERR];
	entry[2] = vector == 14 ? (uint64_t)g[REG_CR2] : 0;
	entry[3] = (uint64_t)g[REG_RIP];
	entry[4] = (uint64_t)g[REG_EFL];
	for (int i = 0; i < 16; i++)
		entry[5 + i] = (uint64_t)g[order[i]];
	int length = vector == 3 ? 0 : offset < CODE_SIZE ? lengths[offset] : 0;
	if ((length != 0 || vector == 3) && log_count < LOG_LIMIT) {
		g[REG_RIP] += length;
		return;
	}

	memcpy(g, saved, sizeof saved);
	g[REG_RIP] += 2; /* behind UD2 */
	running = 0;
}

static int read_all(void *to, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = read(0, (char *)to + done, size - done);
		if (n <= 0)
			return 0;
		done += (size_t)n;
	}

	return 1;
}

static void write_all(const void *from, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = write(1, (const char *)from + done, size - done);
		if (n <= 0)
			fail("write");
		done += (size_t)n;
	}
}

/* The regions' pages as they are while a program runs, or all readable and writable. */
static void protect(int for_run)
{
	for (int i = 0; i < COUNT; i++) {
		for (uint64_t page = 0; page < regions[i].size / 4096; page++) {
			char kind = regions[i].address == DATA ? DATA_PAGES[page] : 'w';
			int protection = regions[i].address == CODE ? PROT_READ | PROT_WRITE | PROT_EXEC : PROT_READ | PROT_WRITE;
			if (for_run && kind == 'r')
				protection = PROT_READ;
			else if (for_run && kind == '-')
				protection = PROT_NONE;
			if (mprotect((void *)(regions[i].address + 4096 * page), 4096, protection) != 0)
				fail("mprotect");
		}
	}
}

int main(void)
{
	stack_t stack = {.ss_size = 1 << 16};
	stack.ss_sp = malloc(stack.ss_size);
	if (sigaltstack(&stack, NULL) != 0)
		fail("sigaltstack");
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
	for (unsigned i = 0; i < sizeof signals / sizeof signals[0]; i++)
		sigaction(signals[i], &action, NULL);
	for (int i = 0; i < COUNT; i++) {
		void *at = (void *)regions[i].address;
		if (mmap(at, regions[i].size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1, 0) != at)
			fail("mmap");
	}

	while (read_all(&start, sizeof start)) {
		protect(0);
		for (int i = 0; i < COUNT; i++) {
			if (!read_all((void *)regions[i].address, regions[i].size))
				fail("read");
		}

		if (!read_all(lengths, sizeof lengths))
			fail("read");
		protect(1);
		log_count = 0;
		alarm(20);
		/* Before it, everything is written; behind it, read anew. */
		__asm__ volatile("ud2" ::: "memory", "cc", "rax", "rcx", "rdx", "rbx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
			"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
		alarm(0);
		protect(0);
		write_all(&log_count, sizeof log_count);
		write_all(log_words, log_count * sizeof log_words[0]);
		for (int i = 0; i < COUNT; i++)
			write_all((void *)regions[i].address, regions[i].size);
	}

	return 0;
}
