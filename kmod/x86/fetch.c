// SPDX-License-Identifier: GPL-2.0-only
/*
 * From the guest's virtual addresses to its bytes.
 *
 * There are two ways.  guest_translate() is the architectural walk, with every check.  The quick one serves exits on a CPU
 * that reports neither the next RIP nor the instruction's bytes: the instruction has just been fetched by the CPU, so its
 * address translates and the permissions are right; only the address is wanted.  It reads the tables through the VMM's
 * mapping without sleeping, so it also runs with interrupts off, and gives up on anything unusual: the caller then takes the
 * long way.  Nothing is cached between exits except which memory slot was used last, since a guest may change its tables
 * and its code without our seeing it.  Another CPU of the guest may do so between its fetch and ours: then the guest gets
 * an instruction length of its own making, and harms nobody else.
 */
#include <linux/srcu.h>
#include <linux/uaccess.h>
#include <asm/processor-flags.h>

#include "core/memslot.h"
#include "x86/cpuid.h"
#include "x86/fetch.h"
#include "x86/vcpu.h"

#define PTE_PRESENT	1ull
#define PTE_LARGE	(1ull << 7)
#define PTE_ADDR	0x000ffffffffff000ull

/* ---- the long way ---- */

static int translate_read(void *opaque, u64 gpa, void *buf, int len)
{
	struct x86_vcpu *vcpu = opaque;

	return lodge_guest_read(vcpu->core.vm, gpa, buf, len);
}

static int translate_cmpxchg(void *opaque, u64 gpa, u64 old, u64 new, int len)
{
	struct x86_vcpu *vcpu = opaque;
	hva_t hva = lodge_gfn_to_hva(vcpu->core.vm, gpa_to_gfn(gpa), true);
	u32 old32 = old;
	int r;

	if (lodge_hva_bad(hva))
		return -EFAULT;
	if (!lodge_can_mark_dirty(vcpu->core.vm, lodge_gfn_to_slot(vcpu->core.vm, gpa_to_gfn(gpa))))
		return -EAGAIN;
	hva += offset_in_page(gpa);
	if (len == 8)
		r = __try_cmpxchg_user((u64 __user *)hva, &old, new, fault64);
	else
		r = __try_cmpxchg_user((u32 __user *)hva, &old32, (u32)new, fault32);
	if (!r)
		lodge_mark_dirty(vcpu->core.vm, gpa_to_gfn(gpa));
	return r;
}

static const struct gwalk_ops translate_ops = {
	.read = translate_read,
	.cmpxchg = translate_cmpxchg,
};

int guest_translate(struct x86_vcpu *vcpu, u64 gva, unsigned int flags, struct gwalk_result *res)
{
	struct gwalk_regs regs = {
		.cr0 = vcpu->cr0,
		.cr3 = vcpu->cr3,
		.cr4 = vcpu->cr4,
		.efer = vcpu->efer,
		.rflags = vcpu->rflags,
		.pkru = vcpu->pkru,
		.maxphyaddr = cpuid_maxphyaddr(vcpu),
		.gbpages = cpuid_has(vcpu, CPUW_80000001_EDX, 26),
	};

	return gwalk(&regs, &translate_ops, vcpu, gva, flags, res);
}

/* ---- the quick way ---- */

/* Make vcpu->fetch_slot hold @gfn; false where there is no memory. */
static bool fetch_find_slot(struct x86_vcpu *vcpu, gfn_t gfn)
{
	const struct lodge_memslot *slot = lodge_gfn_to_slot(vcpu->core.vm, gfn);

	if (!slot || (slot->flags & LODGE_SLOT_INVALID))
		return false;
	vcpu->fetch_slot.gpa = gfn_to_gpa(slot->gfn);
	vcpu->fetch_slot.size = (u64)slot->npages << PAGE_SHIFT;
	vcpu->fetch_slot.hva = slot->hva;
	return true;
}

static __always_inline const void __user *fetch_hva(struct x86_vcpu *vcpu, u64 gpa)
{
	u64 off = gpa - vcpu->fetch_slot.gpa;

	if (unlikely(off >= vcpu->fetch_slot.size)) {
		if (!fetch_find_slot(vcpu, gpa_to_gfn(gpa)))
			return NULL;
		off = gpa - vcpu->fetch_slot.gpa;
	}
	return (const void __user *)(vcpu->fetch_slot.hva + off);
}

/* Reads that do not sleep: in the run loop preemption is off, elsewhere a page may be brought in. */
static __always_inline bool fetch_u64(const void __user *p, u64 *val)
{
	if (!user_read_access_begin(p, 8))
		return false;
	unsafe_get_user(*val, (const u64 __user *)p, fault);
	user_read_access_end();
	return true;
fault:
	user_read_access_end();
	return false;
}

static __always_inline bool fetch_u32(const void __user *p, u32 *val)
{
	if (!user_read_access_begin(p, 4))
		return false;
	unsafe_get_user(*val, (const u32 __user *)p, fault);
	user_read_access_end();
	return true;
fault:
	user_read_access_end();
	return false;
}

/* 8-byte entries: @levels of them, from @table; @large: how far up (shift) a large page may be. */
static __always_inline u64 fetch_walk64(struct x86_vcpu *vcpu, u64 linear, u64 table, int shift, int large)
{
	const void __user *p;
	u64 pte;

	for (;;) {
		p = fetch_hva(vcpu, table + (linear >> shift & 511) * 8);
		if (!p || !fetch_u64(p, &pte) || !(pte & PTE_PRESENT))
			return GPA_INVALID;
		if (shift == 12 || ((pte & PTE_LARGE) && shift <= large))
			break;
		table = pte & PTE_ADDR;
		shift -= 9;
	}
	return (pte & PTE_ADDR & ~((1ull << shift) - 1)) | (linear & ((1ull << shift) - 1));
}

static u64 fetch_walk_pae(struct x86_vcpu *vcpu, u32 linear)
{
	const void __user *p = fetch_hva(vcpu, (vcpu->cr3 & 0xffffffe0) + (linear >> 30) * 8);
	u64 pdpte;

	if (!p || !fetch_u64(p, &pdpte) || !(pdpte & PTE_PRESENT))
		return GPA_INVALID;
	return fetch_walk64(vcpu, linear, pdpte & PTE_ADDR, 21, 21);
}

static u64 fetch_walk32(struct x86_vcpu *vcpu, u32 linear)
{
	const void __user *p = fetch_hva(vcpu, (vcpu->cr3 & 0xfffff000) + (linear >> 22) * 4);
	u32 pte;

	if (!p || !fetch_u32(p, &pte) || !(pte & PTE_PRESENT))
		return GPA_INVALID;
	if ((pte & PTE_LARGE) && (vcpu->cr4 & X86_CR4_PSE))	/* PSE-36: bits 13-20 are bits 32-39 */
		return (pte & 0xffc00000) | (u64)(pte >> 13 & 0xff) << 32 | (linear & 0x3fffff);
	p = fetch_hva(vcpu, (pte & 0xfffff000) + (linear >> 12 & 1023) * 4);
	if (!p || !fetch_u32(p, &pte) || !(pte & PTE_PRESENT))
		return GPA_INVALID;
	return (pte & 0xfffff000) | (linear & 0xfff);
}

static __always_inline u64 fetch_walk(struct x86_vcpu *vcpu, u64 linear)
{
	if (likely(vcpu_long_mode(vcpu)))
		return fetch_walk64(vcpu, linear, vcpu->cr3 & PTE_ADDR, vcpu->cr4 & X86_CR4_LA57 ? 48 : 39, 30);
	if (!(vcpu->cr0 & X86_CR0_PG))
		return (u32)linear;
	if (vcpu->cr4 & X86_CR4_PAE)
		return fetch_walk_pae(vcpu, linear);
	return fetch_walk32(vcpu, linear);
}

/* vm->srcu held: the slot that was used last is good if the set has not changed. */
static __always_inline void fetch_check_slot(struct x86_vcpu *vcpu)
{
	u64 generation = lodge_memslots(vcpu->core.vm)->generation;

	if (unlikely(vcpu->fetch_slot.generation != generation)) {
		vcpu->fetch_slot.generation = generation;
		vcpu->fetch_slot.size = 0;
	}
}

u64 fetch_linear_rip(struct x86_vcpu *vcpu)
{
	bool l, db;
	u64 base = x86_ops->get_cs(vcpu, &l, &db);

	if (l && vcpu_long_mode(vcpu))
		return vcpu->rip;
	return (u32)(base + vcpu->rip);
}

int fetch_quick(struct x86_vcpu *vcpu, u64 linear, u8 buf[16])
{
	int n = min_t(int, 16, PAGE_SIZE - offset_in_page(linear)), i, idx;
	const void __user *p = NULL;
	u64 gpa, word;

	idx = srcu_read_lock(&vcpu->core.vm->srcu);
	fetch_check_slot(vcpu);
	gpa = fetch_walk(vcpu, linear);
	if (gpa != GPA_INVALID)
		p = fetch_hva(vcpu, gpa);
	if (!p)
		goto fail;
	if (n == 16) {
		if (!fetch_u64(p, (u64 *)buf) || !fetch_u64(p + 8, (u64 *)(buf + 8)))
			goto fail;
		goto out;
	}
	/* The last 16 bytes of the page hold the wanted ones at their end. */
	p -= 16 - n;
	for (i = 0; i < 16; i += 8) {
		u8 tmp[8];
		int j;

		if (!fetch_u64(p + i, &word))
			goto fail;
		memcpy(tmp, &word, 8);
		for (j = 0; j < 8; j++)
			if (i + j >= 16 - n)
				buf[i + j - (16 - n)] = tmp[j];
	}
out:
	srcu_read_unlock(&vcpu->core.vm->srcu, idx);
	return n;
fail:
	srcu_read_unlock(&vcpu->core.vm->srcu, idx);
	return 0;
}

bool fetch_matches(struct x86_vcpu *vcpu, u32 bytes, int len)
{
	u64 linear = fetch_linear_rip(vcpu), gpa;
	const void __user *p;
	bool good = false;
	u32 found;
	int idx;

	if (offset_in_page(linear) > PAGE_SIZE - 4)
		return false;
	idx = srcu_read_lock(&vcpu->core.vm->srcu);
	fetch_check_slot(vcpu);
	gpa = fetch_walk(vcpu, linear);
	if (gpa != GPA_INVALID) {
		p = fetch_hva(vcpu, gpa);
		good = p && fetch_u32(p, &found) && !((found ^ bytes) << (32 - 8 * len));
	}
	srcu_read_unlock(&vcpu->core.vm->srcu, idx);
	return good;
}
