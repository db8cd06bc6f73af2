// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Running single instructions on the real CPU under signal handlers.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <asm/ldt.h>

#include "native.h"

#define XSAVE_YMM	576
#define COMPAT_CS	0x23
#define FLAT_DS		0x2b
#define LDT_CS		0x07
#define LDT_DS		0x0f

static const int order[16] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static struct {
	struct native_state *state;
	bool running;
	unsigned int bits;
	uint64_t entry;
	greg_t host[NGREG];
} now;

static void vectors(ucontext_t *uc, bool load)
{
	uint8_t *area = (uint8_t *)uc->uc_mcontext.fpregs;
	uint64_t bv;
	int i;

	for (i = 0; i < 16; i++) {
		uint8_t *lo = area + 160 + 16 * i, *hi = area + XSAVE_YMM + 16 * i, *v = now.state->vec[i];

		memcpy(load ? lo : v, load ? v : lo, 16);
		memcpy(load ? hi : v + 16, load ? v + 16 : hi, 16);
	}
	memcpy(&bv, area + 512, 8);
	if (!load && !(bv & 4)) {
		for (i = 0; i < 16; i++)
			memset(now.state->vec[i] + 16, 0, 16);
	}
	bv |= 7;
	if (load)
		memcpy(area + 512, &bv, 8);
}

static void enter(ucontext_t *uc)
{
	greg_t *g = uc->uc_mcontext.gregs;
	int i;

	memcpy(now.host, g, sizeof(now.host));
	for (i = 0; i < 16; i++)
		g[order[i]] = now.state->regs[i];
	g[REG_RIP] = now.bits == 16 ? now.entry - NATIVE_CODE : now.entry;
	g[REG_EFL] = now.state->rflags;
	if (now.bits != 64)
		g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xffffll) | (now.bits == 16 ? LDT_CS : COMPAT_CS);
	vectors(uc, true);
	now.running = true;
}

static void leave(ucontext_t *uc, const siginfo_t *info)
{
	greg_t *g = uc->uc_mcontext.gregs;
	struct native_state *s = now.state;
	int i;

	for (i = 0; i < 16; i++)
		s->regs[i] = g[order[i]];
	s->rip = g[REG_RIP];
	s->rflags = g[REG_EFL];
	s->vector = g[REG_TRAPNO];
	s->error = g[REG_ERR];
	s->cr2 = g[REG_CR2];
	if (s->vector == 3) {
		s->vector = -1;
		s->rip--;
	}
	(void)info;
	vectors(uc, false);
	memcpy(g, now.host, sizeof(now.host));
	now.running = false;
}

static void handler(int sig, siginfo_t *info, void *context)
{
	if (!now.state) {
		signal(sig, SIG_DFL);
		return;
	}
	if (now.running)
		leave(context, info);
	else if (sig == SIGTRAP)
		enter(context);
	else
		signal(sig, SIG_DFL);
}

static bool map_at(uint64_t address, size_t size, int prot)
{
	void *want = (void *)(uintptr_t)address;

	return mmap(want, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == want;
}

static bool set_ldt(unsigned int entry, unsigned int base, unsigned int limit, unsigned int contents)
{
	struct user_desc d = { .entry_number = entry, .base_addr = base, .limit = limit, .contents = contents };

	return syscall(SYS_modify_ldt, 1, &d, sizeof(d)) == 0;
}

bool native_init(void)
{
	static const int signals[] = { SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE };
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	static char room[1 << 18];
	stack_t stack = { .ss_sp = room, .ss_size = sizeof(room) };
	unsigned int i;

	if (!__builtin_cpu_supports("avx2"))
		return false;
	if (!map_at(NATIVE_CODE, NATIVE_CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC))
		return false;
	if (!map_at(NATIVE_DATA, NATIVE_DATA_SIZE, PROT_READ | PROT_WRITE))
		return false;
	if (!set_ldt(0, NATIVE_CODE, NATIVE_CODE_SIZE - 1, 2) || !set_ldt(1, NATIVE_DATA, 0xffff, 0))
		return false;
	if (sigaltstack(&stack, NULL))
		return false;
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &sa, NULL);
	memset((void *)(uintptr_t)NATIVE_CODE, 0xcc, NATIVE_CODE_SIZE);
	return true;
}

void native_run(struct native_state *state, uint64_t entry, const uint8_t *code, unsigned int n, unsigned int bits)
{
	uint8_t *at = (uint8_t *)(uintptr_t)entry;
	unsigned int ds = bits == 16 ? LDT_DS : FLAT_DS;

	memcpy(at, code, n);
	now.state = state;
	now.bits = bits;
	now.entry = entry;
	/* Compatibility mode needs data segments; a 64-bit process may have null ones, and may lose others. */
	__asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(ds));
	__asm__ volatile("int3" : : : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
			 "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	__asm__ volatile("fninit" : : : "memory");
	now.state = NULL;
	memset(at, 0xcc, n);
}
