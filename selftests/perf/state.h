/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * state.h - does everything survive an exit that the exit has no business with?
 *
 * state_round() runs in the guest.  It fills the processor with known values - fifteen general registers, the arithmetic flags
 * and DF, the x87 unit with its control and status words and its stack, MXCSR, the sixteen vector registers as wide as XCR0
 * has them - executes one operation, which is a function that makes an exit and returns, and keeps all that it finds
 * afterwards.  The same with an operation that does nothing, and so makes no exit, tells what should have been found:
 * thereby it does not matter what XSAVE keeps of the x87 unit's pointers on this CPU.  Two rounds with complementary values find a
 * bit that is stuck at either.
 *
 * MSRs, debug registers and CR2 need no such care: state_arm() sets them, state_check() looks at them any time later.
 *
 * None of this runs inside of a measured loop.  What is wrong is collected in state_bad, a bit for each of state_names.
 * One vCPU at a time, for the buffers are global.  Before all else the host calls state_host_prepare(), the guest state_prepare().
 */
#ifndef SELFTESTS_PERF_STATE_H
#define SELFTESTS_PERF_STATE_H

#include "../vm/guest.h"

#define STATE_FLAGS	0xcd5u		/* CF PF AF ZF SF DF OF */
#define STATE_XCR0	7u		/* x87, SSE, AVX: those of them that there are */
#define STATE_YMM	576		/* in the standard XSAVE form, SDM 1 §13.4.3, APM 2 §11.5 */

/* What an operation may change: registers by their number, of rax the low byte alone, the arithmetic flags. */
enum { RAX = 1 << 0, RCX = 1 << 1, RDX = 1 << 2, RBX = 1 << 3, AL = 1 << 16, FLAGS = 1 << 17 };

enum { BAD_GENERAL, BAD_FLAGS, BAD_X87, BAD_MXCSR, BAD_XMM, BAD_YMM, BAD_DEBUG, BAD_CR2, BAD_MSRS, NR_BAD };

static const char *const state_names[NR_BAD] __attribute__((unused)) = {
	"general registers", "flags", "x87 state", "MXCSR", "XMM registers", "YMM registers", "debug registers", "CR2", "MSRs",
};
static volatile u64 state_bad __attribute__((unused));

/* By number: rax rcx rdx rbx rsp rbp rsi rdi r8-r15. */
struct state_regs {
	u64 gpr[16], flags;
};

extern struct state_regs state_in, state_out;
extern u8 state_fpu_in[1024], state_fpu_out[1024], state_fpu_init[1024];
extern void *state_op;
extern u64 state_mask;
extern void state_run(void);

/* Nothing but symbols' addresses is at hand while the registers hold values; MOV and LEA leave the flags alone. */
asm(".pushsection .bss\n"
    ".balign 64\n"
    "state_fpu_in: .skip 1024\n"
    "state_fpu_out: .skip 1024\n"
    "state_fpu_init: .skip 1024\n"
    "state_in: .skip 17 * 8\n"
    "state_out: .skip 17 * 8\n"
    "state_op: .skip 8\n"
    "state_mask: .skip 8\n"
    "state_rsp: .skip 8\n"
    ".popsection\n"
    ".macro state_each what\n"
    "	i = 0\n"
    "	.irp r, rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15\n"
    "	\\what \\r, i\n"
    "	i = i + 8\n"
    "	.endr\n"
    ".endm\n"
    ".macro state_load r, at\n"
    "	.ifnc \\r, rsp\n"
    "	mov state_in + \\at(%rip), %\\r\n"
    "	.endif\n"
    ".endm\n"
    ".macro state_store r, at\n"
    "	mov %\\r, state_out + \\at(%rip)\n"
    ".endm\n"
    ".pushsection .text\n"
    "state_run:\n"
    "	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "	mov state_mask(%rip), %eax\n"
    "	xor %edx, %edx\n"
    "	xrstor64 state_fpu_in(%rip)\n"
    "	mov %rsp, state_rsp(%rip)\n"
    "	mov %rsp, state_in + 4 * 8(%rip)\n"
    "	push state_in + 16 * 8(%rip)\n"
    "	popf\n"
    "	state_each state_load\n"
    "	call *state_op(%rip)\n"
    "	state_each state_store\n"
    "	mov state_rsp(%rip), %rsp\n"
    "	pushf\n"
    "	pop state_out + 16 * 8(%rip)\n"
    "	cld\n"
    "	mov state_mask(%rip), %eax\n"
    "	xor %edx, %edx\n"
    "	xsave64 state_fpu_out(%rip)\n"
    "	xrstor64 state_fpu_init(%rip)\n"	/* with no bit set in its header: the initial state */
    "	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "	ret\n"
    "state_nothing:\n"
    "	ret\n"
    ".popsection\n");
extern char state_nothing[];

static const u32 state_msrs[] __attribute__((unused)) = {
	0x174, 0x175, 0x176, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102
};
#define NR_STATE_MSRS	(sizeof(state_msrs) / sizeof(state_msrs[0]))

GUEST_INLINE u64 state_pattern(unsigned int i)
{
	return 0x00007a5a5a000000ull + i * 0x1111;	/* canonical, whatever the MSR */
}

GUEST_INLINE u64 state_msr_value(unsigned int i)
{
	return i == 0 ? 8 : i == 6 ? 0x47700 : state_pattern(i);
}

GUEST_INLINE void state_arm(void)
{
	unsigned int i;

	for (i = 0; i < NR_STATE_MSRS; i++)
		wrmsr_(state_msrs[i], state_msr_value(i));
	asm volatile("mov %0, %%dr0; mov %1, %%dr1; mov %2, %%dr2; mov %3, %%dr3" : :
		     "r"(state_pattern(100)), "r"(state_pattern(101)), "r"(state_pattern(102)), "r"(state_pattern(103)));
	asm volatile("mov %0, %%cr2" : : "r"(state_pattern(104)));
}

GUEST_INLINE void state_check(void)
{
	u64 a, b, c, d;
	unsigned int i;

	for (i = 0; i < NR_STATE_MSRS; i++)
		if (rdmsr_(state_msrs[i]) != state_msr_value(i))
			state_bad |= 1 << BAD_MSRS;
	asm volatile("mov %%dr0, %0; mov %%dr1, %1; mov %%dr2, %2; mov %%dr3, %3" : "=r"(a), "=r"(b), "=r"(c), "=r"(d));
	if (a != state_pattern(100) || b != state_pattern(101) || c != state_pattern(102) || d != state_pattern(103))
		state_bad |= 1 << BAD_DEBUG;
	asm volatile("mov %%cr2, %0" : "=r"(a));
	if (a != state_pattern(104))
		state_bad |= 1 << BAD_CR2;
}

/* CR4.OSXSAVE; XCR0 the host has set (state_host_prepare). */
GUEST_INLINE void state_prepare(void)
{
	u64 cr4;

	asm volatile("mov %%cr4, %0" : "=r"(cr4));
	asm volatile("mov %0, %%cr4" : : "r"(cr4 | 1 << 18));
	*(u32 *)&state_fpu_init[24] = 0x1f80;	/* MXCSR is loaded whatever the header says */
}

/* The values of a round: those of @odd rounds have their bits the other way round, as far as hardware lets them. */
GUEST_INLINE void state_fill(bool odd)
{
	u64 flip = odd ? ~0ull : 0, flags;
	u8 *fpu = state_fpu_in;
	unsigned int i;

	for (i = 0; i < 16; i++)
		state_in.gpr[i] = flip ^ (0x0123456789abcdefull * (i + 1));
	asm volatile("pushf; pop %0" : "=r"(flags));
	state_in.flags = (flags & ~(u64)STATE_FLAGS) | (odd ? 0 : STATE_FLAGS);
	for (i = 0; i < sizeof(state_fpu_in); i++)
		fpu[i] = flip ^ (i * 0x35 + 0x11);
	*(u16 *)&fpu[0] = odd ? 0x0b7f : 0x067f;	/* FCW: exceptions masked, precision and rounding */
	*(u16 *)&fpu[2] = odd ? 0x2610 : 0x5920;	/* FSW: TOP, conditions, a masked exception */
	for (i = 4; i < 24; i++)			/* of FOP, FIP and FDP a CPU keeps what it likes */
		fpu[i] = 0;
	fpu[4] = 0xff;					/* all eight registers are in use */
	*(u32 *)&fpu[24] = odd ? 0x3f82 : 0x7fa1;	/* MXCSR: rounding, exceptions that were met */
	for (i = 0; i < 8; i++) {			/* normal numbers, which no load or store alters */
		*(u64 *)&fpu[32 + 16 * i] |= 1ull << 63;
		*(u64 *)&fpu[40 + 16 * i] = 0x3fff + i;
	}
	for (i = 512; i < STATE_YMM; i++)
		fpu[i] = 0;
	*(u64 *)&fpu[512] = state_mask;			/* XSTATE_BV */
}

GUEST_INLINE bool state_differs(const u8 *a, const u8 *b, unsigned int from, unsigned int to)
{
	for (; from < to; from++)
		if (a[from] != b[from])
			return true;
	return false;
}

/* Compare what a round left in state_fpu_out with @want, the first @words bytes as well. */
GUEST_INLINE void state_compare_fpu(const u8 *want, unsigned int words)
{
	const u8 *got = state_fpu_out;

	if (state_differs(got, want, 0, words) || state_differs(got, want, 32, 160))
		state_bad |= 1 << BAD_X87;
	if (state_differs(got, want, 24, 28))
		state_bad |= 1 << BAD_MXCSR;
	if (state_differs(got, want, 160, 416))
		state_bad |= 1 << BAD_XMM;
	if ((state_mask & 4) && state_differs(got, want, STATE_YMM, STATE_YMM + 256))
		state_bad |= 1 << BAD_YMM;
}

/* Run @op with these registers, known values in all others; @changes: what it may leave otherwise. */
GUEST_INLINE void state_round(void *op, u64 rax, u64 rcx, u64 rdx, unsigned int changes, bool odd)
{
	static u8 want[1024];
	u64 keep;
	unsigned int i;

	state_fill(odd);
	state_in.gpr[0] = rax;
	state_in.gpr[1] = rcx;
	state_in.gpr[2] = rdx;
	state_op = state_nothing;
	state_run();
	/* What was put in is there, so that nothing is compared with nothing. */
	state_compare_fpu(state_fpu_in, 6);
	for (i = 0; i < sizeof(want); i++)
		want[i] = state_fpu_out[i];
	state_op = op;
	state_run();
	state_compare_fpu(want, 24);
	for (i = 0; i < 16; i++) {
		keep = changes & (1u << i) ? 0 : i == 0 && (changes & AL) ? ~0xffull : ~0ull;
		if ((state_out.gpr[i] ^ state_in.gpr[i]) & keep)
			state_bad |= 1 << BAD_GENERAL;
	}
	keep = changes & FLAGS ? ~(u64)(STATE_FLAGS & ~0x400u) : ~0ull;
	if ((state_out.flags ^ state_in.flags) & keep)
		state_bad |= 1 << BAD_FLAGS;
}

/*
 * In the host, before the guest calls state_prepare(): XCR0 of vCPU @id has what there is of STATE_XCR0.  Not by the guest itself,
 * whose XSETBV QEMU's emulator executes without an exit, unseen by a stock module.
 */
static inline void state_host_prepare(struct guest *g, unsigned int id)
{
	struct kvm_xcrs xcrs = { .nr_xcrs = 1 };
	u32 a = 0xd, b, c = 0, d;

	asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	state_mask = a & STATE_XCR0;
	xcrs.xcrs[0].value = state_mask;
	guest_must(ioctl(g->vcpu[id], KVM_SET_XCRS, &xcrs));
}

/* In the host, between two exits: what a VMM that computes does to its own registers, which the guest must not see. */
static inline void state_host_dirty(void)
{
	static const u32 mxcsr = 0x1f80;

	asm volatile("fninit; fld1; fldpi; fldl2e; fldln2; fldz; fld1; fldpi; fldl2e; fninit\n"
		     "ldmxcsr %0" : : "m"(mxcsr));
	if (__builtin_cpu_supports("avx"))
		asm volatile("vzeroall");
	asm volatile(".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
		     "pcmpeqd %%xmm\\n, %%xmm\\n\n"
		     ".endr"
		     : : : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
		     "xmm12", "xmm13", "xmm14", "xmm15");
}

#endif
