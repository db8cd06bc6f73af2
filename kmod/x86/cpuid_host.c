// SPDX-License-Identifier: GPL-2.0-only
/*
 * The CPUID that this host and this module can offer: the processor's own answers, less what the host kernel has switched
 * off, less what nobody here saves, restores or emulates; plus the paravirtual leaves at 0x40000000.
 *
 * A feature bit is offered only if it is in the mask below.  Two kinds of features are: instructions that need nothing but
 * registers which are saved and restored, and features that this module implements (x2APIC, TSC_ADJUST).  Nested
 * virtualization, performance counters, SGX, debug stores and supervisor state components are not.
 */
#include "x86/cpuid.h"

#include <linux/errno.h>
#include <linux/kvm_para.h>
#include <linux/mutex.h>
#include <linux/sched/stat.h>
#include <linux/string.h>
#include <asm/cpufeature.h>
#include <asm/fpu/api.h>
#include <asm/fpu/xcr.h>
#include <asm/processor.h>

#include "x86/ops.h"

#define B(n)	(1u << (n))
#define BS(first, last)	((~0u >> (31 - (last))) & (~0u << (first)))

/* FPU VME DE PSE TSC MSR PAE MCE CX8 APIC: common to leaves 1 and 0x80000001. */
#define CPUID_EDX_COMMON	(BS(0, 9) | BS(12, 17) | B(23) | B(24))

static const struct {
	u32 leaf, index;
	u8 reg;			/* 0 eax .. 3 edx */
	s8 kernel_word;		/* of boot_cpu_data.x86_capability, or -1 */
	u32 mask;
} cpuid_masks[CPUW_WORDS] = {
	/* SSE3 PCLMUL SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND */
	[CPUW_1_ECX] = { 1, 0, 2, CPUID_1_ECX,
		B(0) | B(1) | B(9) | B(12) | B(13) | B(17) | B(19) | B(20) | B(22) | B(23) | B(25) | B(26) | B(28) |
		B(29) | B(30) },
	/* + SEP CLFLUSH SSE SSE2 */
	[CPUW_1_EDX] = { 1, 0, 3, CPUID_1_EDX, CPUID_EDX_COMMON | B(11) | B(19) | B(25) | B(26) },
	/*
	 * FSGSBASE BMI1 HLE AVX2 FDP_EXCPTN SMEP BMI2 ERMS INVPCID RTM ZERO_FCS AVX512F/DQ RDSEED ADX SMAP IFMA CLFLUSHOPT
	 * CLWB AVX512PF/ER/CD SHA AVX512BW/VL
	 */
	[CPUW_7_EBX] = { 7, 0, 1, CPUID_7_0_EBX,
		B(0) | BS(3, 11) | B(13) | BS(16, 21) | B(23) | B(24) | BS(26, 31) },
	/* VBMI UMIP VBMI2 GFNI VAES VPCLMUL VNNI BITALG VPOPCNT LA57 RDPID CLDEMOTE MOVDIRI MOVDIR64B */
	[CPUW_7_ECX] = { 7, 0, 2, CPUID_7_ECX,
		B(1) | B(2) | B(6) | BS(8, 12) | B(14) | B(16) | B(22) | B(25) | B(27) | B(28) },
	/* 4VNNIW 4FMAPS FSRM VP2INTERSECT MD_CLEAR SERIALIZE TSXLDTRK AVX512FP16 */
	[CPUW_7_EDX] = { 7, 0, 3, CPUID_7_EDX, B(2) | B(3) | B(4) | B(8) | B(10) | B(14) | B(16) | B(23) },
	/* XSAVEOPT XSAVEC XGETBV1 */
	[CPUW_D_1_EAX] = { 0xd, 1, 0, CPUID_D_1_EAX, B(0) | B(1) | B(2) },
	/* LAHF CMP_LEGACY CR8 ABM SSE4A MISALIGNSSE 3DNOWPREFETCH OSVW XOP FMA4 TBM TOPOEXT */
	[CPUW_80000001_ECX] = { 0x80000001, 0, 2, CPUID_8000_0001_ECX,
		B(0) | B(1) | BS(4, 9) | B(11) | B(16) | B(21) | B(22) },
	/* + SYSCALL NX MMXEXT FXSR_OPT PDPE1GB RDTSCP LM 3DNOWEXT 3DNOW */
	[CPUW_80000001_EDX] = { 0x80000001, 0, 3, CPUID_8000_0001_EDX,
		CPUID_EDX_COMMON | B(11) | B(20) | B(22) | BS(25, 27) | BS(29, 31) },
	/* invariant TSC */
	[CPUW_80000007_EDX] = { 0x80000007, 0, 3, -1, B(8) },
	/* CLZERO XSAVEERPTR WBNOINVD SSB_NO */
	[CPUW_80000008_EBX] = { 0x80000008, 0, 1, CPUID_8000_0008_EBX, B(0) | B(2) | B(9) | B(26) },
};

/* State components that may be given to a guest: x87 SSE AVX, AVX-512 (3), PKRU.  MPX is dead, AMX needs XFD. */
#define CPUID_XCR0_MASK	(0x7ull | 0xe0ull | 0x200ull)

static struct cpuid_host host_caps;
static bool host_caps_ready;
static DEFINE_MUTEX(host_caps_lock);

static u32 cpuid_reg(u32 leaf, u32 index, int reg)
{
	u32 r[4];

	cpuid_count(leaf, index, &r[0], &r[1], &r[2], &r[3]);
	return r[reg];
}

static void cpuid_host_xsave(struct cpuid_host *h)
{
	unsigned int i;

	if (!boot_cpu_has(X86_FEATURE_OSXSAVE))
		return;
	h->xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK) & CPUID_XCR0_MASK & xstate_get_guest_group_perm();
	if (!(h->word[CPUW_7_ECX] & B(3)))
		h->xcr0 &= ~(1ull << 9);
	for (i = 2; i < ARRAY_SIZE(h->xcomp); i++) {
		u32 a, b, c, d;

		if (!(h->xcr0 & (1ull << i)))
			continue;
		cpuid_count(0xd, i, &a, &b, &c, &d);
		h->xcomp[i].size = a;
		h->xcomp[i].offset = b;
		h->xcomp[i].align = c & 2;
	}
}

static void cpuid_host_compute(struct cpuid_host *h)
{
	u32 basic = cpuid_eax(0), extended = cpuid_eax(0x80000000);
	int w;

	for (w = 0; w < CPUW_WORDS; w++) {
		u32 leaf = cpuid_masks[w].leaf, v;

		if (!cpuid_masks[w].mask || leaf > (leaf & 0x80000000 ? extended : basic))
			continue;
		v = cpuid_reg(leaf, cpuid_masks[w].index, cpuid_masks[w].reg) & cpuid_masks[w].mask;
		if (cpuid_masks[w].kernel_word >= 0)
			v &= boot_cpu_data.x86_capability[cpuid_masks[w].kernel_word];
		h->word[w] = v;
	}
	/* Protection keys need the host's own support, for PKRU is switched with the FPU state. */
	if (boot_cpu_has(X86_FEATURE_OSPKE))
		h->word[CPUW_7_ECX] |= B(3);
	if (!boot_cpu_has(X86_FEATURE_OSXSAVE)) {
		h->word[CPUW_1_ECX] &= ~(B(26) | B(12) | B(28) | B(29));
		h->word[CPUW_D_1_EAX] = 0;
	}
	/* What this module makes itself, whatever the hardware has: x2APIC, HYPERVISOR, TSC_ADJUST, ARCH_CAPABILITIES. */
	h->word[CPUW_1_ECX] |= B(21) | B(31);
	h->word[CPUW_7_EBX] |= B(1);
	h->word[CPUW_7_EDX] |= B(29);
	if (x86_ops->has_feature(HW_SPEC_CTRL)) {
		/* SPEC_CTRL, STIBP, SSBD in Intel's spelling and IBPB, IBRS, STIBP, SSBD in AMD's, as the host has them */
		h->word[CPUW_7_EDX] |= cpuid_reg(7, 0, 3) & (B(26) | B(27) | B(31));
		if (extended >= 0x80000008)
			h->word[CPUW_80000008_EBX] |=
				cpuid_reg(0x80000008, 0, 1) & (B(12) | B(14) | B(15) | B(24));
	}
	h->word[CPUW_KVM_EAX] = B(KVM_FEATURE_CLOCKSOURCE) | B(KVM_FEATURE_NOP_IO_DELAY) |
		B(KVM_FEATURE_CLOCKSOURCE2) | B(KVM_FEATURE_ASYNC_PF) | B(KVM_FEATURE_ASYNC_PF_INT) |
		B(KVM_FEATURE_PV_EOI) | B(KVM_FEATURE_PV_UNHALT) |
		B(KVM_FEATURE_PV_SEND_IPI) | B(KVM_FEATURE_POLL_CONTROL) | B(KVM_FEATURE_PV_SCHED_YIELD) |
		B(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT);
	if (sched_info_on())
		h->word[CPUW_KVM_EAX] |= B(KVM_FEATURE_STEAL_TIME) | B(KVM_FEATURE_PV_TLB_FLUSH);
	cpuid_host_xsave(h);
}

const struct cpuid_host *cpuid_host(void)
{
	/* pairs with the release below: who sees it ready sees what was computed */
	if (!smp_load_acquire(&host_caps_ready)) {
		mutex_lock(&host_caps_lock);
		if (!host_caps_ready) {
			cpuid_host_compute(&host_caps);
			/* pairs with the acquire above */
			smp_store_release(&host_caps_ready, true);
		}
		mutex_unlock(&host_caps_lock);
	}
	return &host_caps;
}

u32 cpuid_xsave_size(u64 mask, bool compacted)
{
	const struct cpuid_host *h = cpuid_host();
	u32 size = 576;		/* legacy area and header */
	unsigned int i;

	for (i = 2; i < ARRAY_SIZE(h->xcomp); i++) {
		if (!(mask & h->xcr0 & (1ull << i)))
			continue;
		if (!compacted)
			size = max(size, h->xcomp[i].offset + h->xcomp[i].size);
		else
			size = (h->xcomp[i].align ? ALIGN(size, 64) : size) + h->xcomp[i].size;
	}
	return size;
}

struct cpuid_list {
	struct kvm_cpuid_entry2 *e;
	unsigned int n, max;
};

/* One more entry, filled from the hardware; past the end a scratch entry, so that callers need not check. */
static struct kvm_cpuid_entry2 *cpuid_emit(struct cpuid_list *l, u32 leaf, u32 index, bool indexed)
{
	static struct kvm_cpuid_entry2 scratch;
	struct kvm_cpuid_entry2 *e = l->n < l->max ? &l->e[l->n] : &scratch;

	l->n++;
	memset(e, 0, sizeof(*e));
	e->function = leaf;
	e->index = index;
	e->flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
	if ((leaf & 0xf0000000) != 0x40000000)
		cpuid_count(leaf, index, &e->eax, &e->ebx, &e->ecx, &e->edx);
	return e;
}

static void cpuid_emit_xsave(struct cpuid_list *l, const struct cpuid_host *h)
{
	struct kvm_cpuid_entry2 *e = cpuid_emit(l, 0xd, 0, true);
	unsigned int i;

	e->eax = h->xcr0;
	e->edx = h->xcr0 >> 32;
	e->ebx = e->ecx = h->xcr0 ? cpuid_xsave_size(h->xcr0, false) : 0;
	if (!h->xcr0)
		return;
	e = cpuid_emit(l, 0xd, 1, true);
	e->eax = h->word[CPUW_D_1_EAX];
	e->ebx = e->eax & B(1) ? cpuid_xsave_size(h->xcr0, true) : 0;
	e->ecx = e->edx = 0;
	for (i = 2; i < 63; i++) {
		if (!(h->xcr0 & (1ull << i)))
			continue;
		e = cpuid_emit(l, 0xd, i, true);
		e->edx = 0;
	}
}

static void cpuid_emit_basic(struct cpuid_list *l, const struct cpuid_host *h)
{
	struct kvm_cpuid_entry2 *e = cpuid_emit(l, 0, 0, false);
	u32 max = min(e->eax, 0x1fu), i;

	e->eax = max;
	e = cpuid_emit(l, 1, 0, false);
	e->ebx &= 0x0000ffff;		/* APIC id and logical processor count are the VMM's */
	e->ecx = h->word[CPUW_1_ECX];
	e->edx = h->word[CPUW_1_EDX];
	if (max >= 2)
		cpuid_emit(l, 2, 0, false);
	for (i = 0; max >= 4 && i < 8; i++) {
		e = cpuid_emit(l, 4, i, true);
		e->eax &= ~0xffffc000;	/* how many share it is the VMM's */
		if (!(e->eax & 0x1f))
			break;
	}
	if (max >= 6) {
		e = cpuid_emit(l, 6, 0, false);
		e->eax = B(2);		/* the APIC timer never stops */
		e->ebx = e->ecx = e->edx = 0;
	}
	if (max >= 7) {
		u32 avx_vnni_bf16;

		e = cpuid_emit(l, 7, 0, true);
		i = e->eax = min(e->eax, 1u);
		e->ebx = h->word[CPUW_7_EBX];
		e->ecx = h->word[CPUW_7_ECX];
		e->edx = h->word[CPUW_7_EDX];
		avx_vnni_bf16 = boot_cpu_data.x86_capability[CPUID_7_1_EAX] & (B(4) | B(5));
		if (i) {
			e = cpuid_emit(l, 7, 1, true);
			e->eax &= avx_vnni_bf16;
			e->ebx = e->ecx = e->edx = 0;
		}
	}
	if (max >= 0xb) {
		e = cpuid_emit(l, 0xb, 0, true);	/* topology is the VMM's */
		e->eax = e->ebx = e->ecx = e->edx = 0;
	}
	if (max >= 0xd)
		cpuid_emit_xsave(l, h);
}

static void cpuid_emit_pv(struct cpuid_list *l, const struct cpuid_host *h)
{
	struct kvm_cpuid_entry2 *e = cpuid_emit(l, KVM_CPUID_SIGNATURE, 0, false);
	u32 sig[3];

	memcpy(sig, KVM_SIGNATURE, sizeof(sig));
	e->eax = KVM_CPUID_FEATURES;
	e->ebx = sig[0];
	e->ecx = sig[1];
	e->edx = sig[2];
	e = cpuid_emit(l, KVM_CPUID_FEATURES, 0, false);
	e->eax = h->word[CPUW_KVM_EAX];
}

static void cpuid_emit_extended(struct cpuid_list *l, const struct cpuid_host *h)
{
	struct kvm_cpuid_entry2 *e = cpuid_emit(l, 0x80000000, 0, false);
	u32 max = min(e->eax, 0x80000021), leaf;

	if (!(max & 0x80000000))
		max = 0x80000000;
	e->eax = max;
	for (leaf = 0x80000001; leaf <= max; leaf++) {
		/* APM 3 appendix E.4; what is missing here is reserved, or belongs to a feature that is not offered. */
		if ((leaf > 0x80000008 && leaf < 0x80000019) || (leaf > 0x8000001a && leaf < 0x8000001d) ||
		    leaf == 0x8000001f || leaf == 0x80000020)
			continue;
		if ((leaf == 0x8000001d || leaf == 0x8000001e) && !(h->word[CPUW_80000001_ECX] & B(22)))
			continue;
		if (leaf == 0x8000001d) {
			u32 i;

			for (i = 0; i < 8; i++) {
				e = cpuid_emit(l, leaf, i, true);
				e->eax &= ~0x03ffc000;
				if (!(e->eax & 0x1f))
					break;
			}
			continue;
		}
		e = cpuid_emit(l, leaf, 0, false);
		if (leaf == 0x80000001) {
			e->ebx &= ~0x0fffffffu;
			e->ecx = h->word[CPUW_80000001_ECX];
			e->edx = h->word[CPUW_80000001_EDX];
		} else if (leaf == 0x80000007) {
			e->eax = e->ebx = e->ecx = 0;
			e->edx = h->word[CPUW_80000007_EDX];
		} else if (leaf == 0x80000008) {
			/* Nested paging: what the guest addresses the host's tables translate. */
			e->eax = (e->eax & 0xff00) | min_t(u32, e->eax & 0xff, boot_cpu_data.x86_phys_bits);
			e->ebx = h->word[CPUW_80000008_EBX];
			e->ecx = e->edx = 0;
		} else if (leaf == 0x8000001a) {
			e->ebx = e->ecx = e->edx = 0;
		} else if (leaf == 0x8000001e) {
			e->eax = e->ebx = e->ecx = e->edx = 0;
		} else if (leaf == 0x80000021) {
			/* null selectors clear the base, LFENCE serialises, no nested data breakpoints */
			e->eax &= B(0) | B(2) | B(6);
			e->ebx = e->ecx = e->edx = 0;
		}
	}
}

int cpuid_host_table(struct kvm_cpuid_entry2 *e, unsigned int max)
{
	const struct cpuid_host *h = cpuid_host();
	struct cpuid_list l = { .e = e, .max = max };

	cpuid_emit_basic(&l, h);
	cpuid_emit_pv(&l, h);
	cpuid_emit_extended(&l, h);
	return l.n > max ? -E2BIG : l.n;
}
