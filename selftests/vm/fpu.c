// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest's x87, SSE and AVX state: what the VMM sets the guest sees, what the guest sets the VMM gets, and neither the host nor
 * another guest on the same CPU changes any of it.
 *
 * The stock module's KVM_GET_FPU and KVM_SET_FPU leave MXCSR out, and it cannot know of an XSETBV that QEMU's emulator does not
 * intercept: MXCSR there and AVX there are not judged.
 *
 * Not for Bochs's ryzen model: there the upper halves of YMM are lost on the stock module, too.
 *
 * CFLAGS: -mno-red-zone
 */
#include <cpuid.h>
#include <pthread.h>
#include <sched.h>

#include "guest.h"
#include "tap.h"

#define YMM_HI	576		/* of the XSAVE area, CPUID(0xd, 2).EBX */
#define ROUNDS	60

struct area {			/* XSAVE's standard form, as far as it is of interest */
	u16 fcw, fsw;
	u8 ftw, pad;
	u16 fop;
	u64 fip, fdp;
	u32 mxcsr, mxcsr_mask;
	u8 st[8][16];
	u8 xmm[16][16];
	u8 pad2[96];
	u64 xstate_bv, xcomp_bv, reserved[6];
	u8 ymm_hi[16][16];
	u8 rest[4096 - 832];
} __attribute__((aligned(64)));

static const char *node;
static bool has_avx, stock;
static struct guest g;
static struct area give[2], seen[2];
static volatile u64 wrong[2], rounds[2], faults, xcr0;

/* Every register different, and all of them valid. */
static void fill(struct area *a, unsigned int seed)
{
	unsigned int i, j;

	memset(a, 0, sizeof(*a));
	a->fcw = 0x37f | (seed & 3) << 10;
	a->fsw = (seed & 7) << 11;
	a->ftw = 0xff;
	a->mxcsr = 0x1f80 | (seed & 3) << 13 | (seed & 0x1f);
	for (i = 0; i < 8; i++) {
		for (j = 0; j < 7; j++)
			a->st[i][j] = seed * 7 + i * 16 + j;
		a->st[i][7] = 0x80 | (seed + i);
		a->st[i][8] = seed + i;
		a->st[i][9] = 0x40;
	}
	for (i = 0; i < 16; i++)
		for (j = 0; j < 16; j++) {
			a->xmm[i][j] = seed * 13 + i * 16 + j;
			a->ymm_hi[i][j] = ~(seed * 17 + i * 16 + j);
		}
	a->xstate_bv = has_avx ? 7 : 3;
}

/* Instruction and data pointers, and their opcode, are kept for unmasked exceptions only. */
static bool same(const struct area *a, const struct area *b, bool ymm)
{
	unsigned int i;

	for (i = 0; i < 8; i++)
		if (memcmp(a->st[i], b->st[i], 10))
			return false;
	return a->fcw == b->fcw && a->fsw == b->fsw && a->ftw == b->ftw && a->mxcsr == b->mxcsr &&
	       !memcmp(a->xmm, b->xmm, sizeof(a->xmm)) && (!ymm || !memcmp(a->ymm_hi, b->ymm_hi, sizeof(a->ymm_hi)));
}

/* The host's own use of the same registers. */
static void clobber(void)
{
	static const u32 odd = 0x7f80, plain = 0x1f80;

	asm volatile("fninit; fldpi; fld1; fldl2e; fldpi; fld1; fldl2e; fldpi; fld1; ldmxcsr %0\n\t"
		     "pcmpeqd %%xmm0, %%xmm0; pcmpeqd %%xmm1, %%xmm1; pcmpeqd %%xmm7, %%xmm7; pcmpeqd %%xmm15, %%xmm15"
		     : : "m"(odd) : "memory");
	if (has_avx)
		asm volatile("vpxor %%xmm2, %%xmm2, %%xmm2; vinsertf128 $1, %%xmm0, %%ymm3, %%ymm3; vzeroupper" : : : "memory");
	usleep(1);
	asm volatile("fninit; ldmxcsr %0" : : "m"(plain) : "memory");
}

/* ---- what the guest does ---- */

GUEST_INLINE void xsetbv_(u64 v)
{
	asm volatile("xsetbv" : : "a"((u32)v), "d"((u32)(v >> 32)), "c"(0));
}

GUEST_INLINE void osxsave(void)
{
	u64 cr4;

	asm volatile("mov %%cr4, %0; bts $18, %0; mov %0, %%cr4" : "=&r"(cr4) : : "memory");
}

GUEST_INLINE void load(const struct area *a, bool avx)
{
	if (avx)
		asm volatile("xrstor64 %0" : : "m"(*a), "a"(7), "d"(0) : "memory");
	else
		asm volatile("fxrstor64 %0" : : "m"(*a) : "memory");
}

GUEST_INLINE void save(struct area *a, bool avx)
{
	if (avx)
		asm volatile("xsave64 %0" : "+m"(*a) : "a"(7), "d"(0) : "memory");
	else
		asm volatile("fxsave64 %0" : "=m"(*a) : : "memory");
}

GUEST_INLINE void begin(bool avx)
{
	if (avx) {
		osxsave();
		xsetbv_(7);
	}
}

static GUEST void body_save(void)
{
	save(&seen[0], false);
	guest_exit();
}

static GUEST void body_save_ymm(void)
{
	begin(true);
	save(&seen[0], true);
	guest_exit();
}

static GUEST void body_load(void)
{
	load(&give[0], false);
	guest_exit();
}

static GUEST void body_load_ymm(void)
{
	begin(true);
	load(&give[0], true);
	guest_exit();
}

static GUEST void body_stay(void)
{
	int i;

	begin(has_avx);
	load(&give[0], has_avx);
	for (i = 0; i < 5; i++)
		outb(0x90, i);
	save(&seen[0], has_avx);
	guest_exit();
}

static GUEST void on_fault(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)error;
	faults++;
	frame[0] += 3;		/* XSETBV */
}

static GUEST void body_xsetbv(void)
{
	u32 lo, hi;

	xsetbv_(1);		/* CR4.OSXSAVE is clear: #UD */
	osxsave();
	xsetbv_(0);
	xsetbv_(2);
	xsetbv_(5);
	xsetbv_(1ull << 62 | 1);
	asm volatile("xsetbv" : : "a"(1), "d"(0), "c"(1));
	xsetbv_(7);
	asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	xcr0 = lo | (u64)hi << 32;
	guest_exit();
}

/* One of two: keeps its pattern over all that may come between. */
GUEST_INLINE void keep(unsigned int id, bool avx)
{
	u32 eax, ebx, ecx, edx;
	unsigned int n, i;

	begin(avx);
	for (n = 0; n < ROUNDS; n++) {
		const u64 *a = (const u64 *)&give[id].xmm, *b = (const u64 *)&seen[id].xmm;
		bool bad = false;

		load(&give[id], avx);
		asm volatile("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(0), "c"(0));
		for (i = 0; i < 20000; i++)
			asm volatile("nop");
		outb(0x90, n);
		save(&seen[id], avx);
		for (i = 0; i < 32; i++)
			bad |= a[i] != b[i];
		for (i = 0; avx && i < 32; i++)
			bad |= ((const u64 *)&give[id].ymm_hi)[i] != ((const u64 *)&seen[id].ymm_hi)[i];
		for (i = 0; i < 8; i++)
			bad |= *(u64 *)give[id].st[i] != *(u64 *)seen[id].st[i];
		bad |= give[id].fcw != seen[id].fcw || give[id].mxcsr != seen[id].mxcsr;
		wrong[id] += bad;
		rounds[id]++;
	}
	guest_exit();
}

static GUEST void body_keep0(void) { keep(0, has_avx); }
static GUEST void body_keep1(void) { keep(1, false); }

/* ---- the host's side ---- */

static void set_fpu(void)
{
	struct kvm_fpu f = {};

	fill(&give[0], 3);
	memcpy(f.fpr, give[0].st, sizeof(f.fpr));
	memcpy(f.xmm, give[0].xmm, sizeof(f.xmm));
	f.fcw = give[0].fcw;
	f.fsw = give[0].fsw;
	f.ftwx = give[0].ftw;
	f.mxcsr = give[0].mxcsr;
	guest_must(ioctl(g.vcpu[0], KVM_SET_FPU, &f));
	clobber();
	guest_start64(&g, 0, body_save);
	TAP_REQUIRE(guest_run(&g, 0) == GUEST_DONE, "the guest reads its registers");
	if (stock)
		seen[0].mxcsr = give[0].mxcsr;
	tap_ok(same(&seen[0], &give[0], false), "what KVM_SET_FPU set the guest finds in x87, XMM and MXCSR");
}

static void get_fpu(void)
{
	struct area a = {};
	struct kvm_fpu f;

	fill(&give[0], 5);
	guest_start64(&g, 0, body_load);
	TAP_REQUIRE(guest_run(&g, 0) == GUEST_DONE, "the guest loads its registers");
	clobber();
	guest_must(ioctl(g.vcpu[0], KVM_GET_FPU, &f));
	memcpy(a.st, f.fpr, sizeof(a.st));
	memcpy(a.xmm, f.xmm, sizeof(a.xmm));
	a.fcw = f.fcw;
	a.fsw = f.fsw;
	a.ftw = f.ftwx;
	a.mxcsr = stock ? give[0].mxcsr : f.mxcsr;
	tap_ok(same(&a, &give[0], false), "what the guest loaded KVM_GET_FPU shows");
	memset(&a, 0, sizeof(a));
	guest_must(ioctl(g.vcpu[0], KVM_GET_XSAVE, &a));
	tap_ok(same(&a, &give[0], false) && (a.xstate_bv & 3) == 3, "and KVM_GET_XSAVE");
}

static void set_xsave(void)
{
	fill(&give[0], 6);
	guest_must(ioctl(g.vcpu[0], KVM_SET_XSAVE, &give[0]));
	clobber();
	guest_start64(&g, 0, has_avx ? body_save_ymm : body_save);
	TAP_REQUIRE(guest_run(&g, 0) == GUEST_DONE, "the guest reads its registers again");
	tap_ok(same(&seen[0], &give[0], has_avx), "what KVM_SET_XSAVE set the guest finds%s", has_avx ? ", YMM too" : "");
}

static void ymm(void)
{
	static struct area a;
	struct kvm_xcrs x;

	if (!has_avx) {
		tap_skip("XSETBV and YMM", "the CPU has no AVX, or nobody can tell what the guest makes of it");
		return;
	}
	fill(&give[0], 9);
	guest_start64(&g, 0, body_load_ymm);
	TAP_REQUIRE(guest_run(&g, 0) == GUEST_DONE, "the guest loads YMM");
	clobber();
	guest_must(ioctl(g.vcpu[0], KVM_GET_XSAVE, &a));
	tap_ok(same(&a, &give[0], true) && (a.xstate_bv & 7) == 7, "KVM_GET_XSAVE shows the upper halves of YMM");
	guest_must(ioctl(g.vcpu[0], KVM_GET_XCRS, &x));
	tap_ok(x.nr_xcrs == 1 && x.xcrs[0].value == 7, "KVM_GET_XCRS shows what the guest's XSETBV set");

	guest_irq[6] = guest_irq[13] = on_fault;
	guest_start64(&g, 0, body_xsetbv);
	TAP_REQUIRE(guest_run(&g, 0) == GUEST_DONE, "the guest comes through its XSETBVs");
	tap_eq(faults, 6, "XSETBV: #UD without CR4.OSXSAVE, #GP for XCR0 of 0, 2, 5, an unknown bit, and for XCR1");
	tap_eq(xcr0, 7, "and XGETBV reads what was set last");
}

static void stay(void)
{
	int r, exits = 0;

	fill(&give[0], 11);
	guest_start64(&g, 0, body_stay);
	while ((r = guest_run(&g, 0)) == KVM_EXIT_IO && exits++ < 10)
		clobber();
	tap_ok(r == GUEST_DONE && exits == 5 && same(&seen[0], &give[0], has_avx),
	       "registers survive exits to a user space that uses its own");
}

static void *run_one(void *arg)
{
	unsigned int id = (unsigned long)arg;
	int r;

	while ((r = guest_run(&g, id)) == KVM_EXIT_IO)
		clobber();
	return (void *)(long)r;
}

static void two(void)
{
	pthread_t thread[2];
	unsigned long i;
	cpu_set_t one;
	void *r[2];

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	for (i = 0; i < 2; i++) {
		fill(&give[i], 20 + 7 * i);
		guest_start64(&g, i, i ? body_keep1 : body_keep0);
		if (pthread_create(&thread[i], NULL, run_one, (void *)i))
			tap_bail("pthread_create");
	}
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], &r[i]);
	tap_ok((long)r[0] == GUEST_DONE && (long)r[1] == GUEST_DONE && rounds[0] == ROUNDS && rounds[1] == ROUNDS,
	       "two vCPUs take turns on one CPU");
	tap_ok(!wrong[0] && !wrong[1], "and each keeps its registers (%lu and %lu of %d rounds wrong)", (long)wrong[0], (long)wrong[1],
	       ROUNDS);
}

static bool guest_has_avx(void)
{
	unsigned int eax, ebx, ecx, edx;

	/* The vCPUs have what the host has. */
	return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_OSXSAVE) && (ecx & bit_AVX) &&
	       __get_cpuid_count(0xd, 2, &eax, &ebx, &ecx, &edx) && ebx == YMM_HI;
}

static bool on_tcg(void)
{
	unsigned int eax, ebx, ecx, edx;

	__cpuid(0x40000000, eax, ebx, ecx, edx);
	return ebx == 0x54474354;	/* "TCGT" */
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	stock = strstr(node, "kvm");
	has_avx = guest_has_avx() && !(stock && on_tcg());
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_vcpu(&g, 1);
	/* The stock module drops what is set while all is in its initial state. */
	if (!stock)
		set_fpu();
	get_fpu();
	set_fpu();
	set_xsave();
	ymm();
	stay();
	two();
	guest_destroy(&g);
	return tap_done();
}
