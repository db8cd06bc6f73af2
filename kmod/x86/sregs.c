// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_GET/SET_SREGS and SREGS2: segments, tables and control registers in one piece, and KVM_TRANSLATE.
 *
 * A set that the hardware would refuse to enter is refused here with EINVAL, before anything has changed.
 */
#include <linux/kvm.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>

#include "x86/cpuid.h"
#include "x86/emulate.h"
#include "x86/fetch.h"
#include "x86/regs.h"
#include "x86/vcpu.h"

static void sregs_get_common(struct x86_vcpu *vcpu, struct kvm_sregs *s)
{
	x86_ops->get_segment(vcpu, SEG_CS, &s->cs);
	x86_ops->get_segment(vcpu, SEG_DS, &s->ds);
	x86_ops->get_segment(vcpu, SEG_ES, &s->es);
	x86_ops->get_segment(vcpu, SEG_FS, &s->fs);
	x86_ops->get_segment(vcpu, SEG_GS, &s->gs);
	x86_ops->get_segment(vcpu, SEG_SS, &s->ss);
	x86_ops->get_segment(vcpu, SEG_TR, &s->tr);
	x86_ops->get_segment(vcpu, SEG_LDTR, &s->ldt);
	x86_ops->get_table(vcpu, true, &s->idt);
	x86_ops->get_table(vcpu, false, &s->gdt);
	s->cr0 = vcpu->cr0;
	s->cr2 = vcpu->cr2;
	s->cr3 = vcpu->cr3;
	s->cr4 = vcpu->cr4;
	s->cr8 = vcpu_get_cr8(vcpu);
	s->efer = vcpu->efer;
	s->apic_base = vcpu->lapic ? vcpu->lapic->base : vcpu->apic_base_user;
}

long sregs_ioctl_get(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	struct kvm_sregs *s = arg;

	memset(s, 0, sizeof(*s));
	sregs_get_common(vcpu, s);
	if (vcpu->irq.injected && !vcpu->irq.soft)
		__set_bit(vcpu->irq.vector, (unsigned long *)s->interrupt_bitmap);
	else if (vcpu->user_irq_pending)
		__set_bit(vcpu->user_irq, (unsigned long *)s->interrupt_bitmap);
	return 0;
}

static bool sregs_valid(struct x86_vcpu *vcpu, const struct kvm_sregs *s)
{
	const u64 efer_known = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX | EFER_FFXSR;

	if (!regs_cr0_valid(s->cr0) || !regs_cr4_valid(vcpu, s->cr4) || (s->efer & ~efer_known) || s->cr8 > 15)
		return false;
	if ((s->efer & EFER_LME) && (s->cr0 & X86_CR0_PG)) {
		/* Long mode: with PAE, with LMA, with a CR3 that exists. */
		return (s->cr4 & X86_CR4_PAE) && (s->efer & EFER_LMA) && !(s->cr3 >> cpuid_maxphyaddr(vcpu));
	}
	return !(s->efer & EFER_LMA) && !s->cs.l;
}

static int sregs_set_apic_base(struct x86_vcpu *vcpu, u64 base)
{
	if (vcpu->lapic)
		return lapic_set_base(vcpu->lapic, base, true) ? -EINVAL : 0;
	vcpu->apic_base_user = base;
	cpuid_update_runtime(vcpu);
	return 0;
}

static int sregs_set_common(struct x86_vcpu *vcpu, const struct kvm_sregs *s)
{
	int r;

	if (!sregs_valid(vcpu, s))
		return -EINVAL;
	r = sregs_set_apic_base(vcpu, s->apic_base);
	if (r)
		return r;
	x86_ops->set_table(vcpu, true, &s->idt);
	x86_ops->set_table(vcpu, false, &s->gdt);
	vcpu->cr2 = s->cr2;
	vcpu->cr3 = s->cr3;
	vcpu_set_cr8(vcpu, s->cr8);
	vcpu->efer = s->efer;
	vcpu->cr0 = s->cr0 | X86_CR0_ET;
	vcpu->cr4 = s->cr4;
	/* Memory may be restored after this: the top entries of PAE are read when the vCPU runs. */
	vcpu->dirty = VCPU_DIRTY_ALL & ~VCPU_DIRTY_PDPTES;
	vcpu->pdptes_stale = (s->cr0 & X86_CR0_PG) && (s->cr4 & X86_CR4_PAE) && !(s->efer & EFER_LMA);
	cpuid_update_runtime(vcpu);
	x86_ops->set_segment(vcpu, SEG_CS, &s->cs);
	x86_ops->set_segment(vcpu, SEG_DS, &s->ds);
	x86_ops->set_segment(vcpu, SEG_ES, &s->es);
	x86_ops->set_segment(vcpu, SEG_FS, &s->fs);
	x86_ops->set_segment(vcpu, SEG_GS, &s->gs);
	x86_ops->set_segment(vcpu, SEG_SS, &s->ss);
	x86_ops->set_segment(vcpu, SEG_TR, &s->tr);
	x86_ops->set_segment(vcpu, SEG_LDTR, &s->ldt);

	/* Clients of the first day start a boot CPU by putting it at the reset vector. */
	if (vcpu_is_bsp(vcpu) && vcpu->rip == 0xfff0 && s->cs.selector == 0xf000 && s->cs.base == 0xffff0000 &&
	    !(s->cr0 & X86_CR0_PE))
		vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
	lodge_request(&vcpu->core, LODGE_REQ_EVENT);
	return 0;
}

long sregs_ioctl_set(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	const struct kvm_sregs *s = arg;
	int r, vector;

	r = sregs_set_common(vcpu, s);
	if (r)
		return r;
	vector = find_first_bit((const unsigned long *)s->interrupt_bitmap, 256);
	vcpu->irq.injected = vector < 256;
	if (vector < 256) {
		vcpu->irq.vector = vector;
		vcpu->irq.soft = false;
	}
	return 0;
}

/* SREGS2 is SREGS with PDPTRs and flags in place of the interrupt bitmap. */
long sregs_ioctl_get2(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	struct kvm_sregs2 *s2 = arg;
	struct kvm_sregs s = { 0 };

	BUILD_BUG_ON(offsetof(struct kvm_sregs, interrupt_bitmap) != offsetof(struct kvm_sregs2, flags));
	sregs_get_common(vcpu, &s);
	memset(s2, 0, sizeof(*s2));
	memcpy(s2, &s, offsetof(struct kvm_sregs, interrupt_bitmap));
	/* With nested paging the hardware reads the PDPTEs from memory: there is nothing cached to save. */
	return 0;
}

long sregs_ioctl_set2(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	const struct kvm_sregs2 *s2 = arg;
	struct kvm_sregs s = { 0 };

	if (s2->flags & ~(u64)KVM_SREGS2_FLAGS_PDPTRS_VALID)
		return -EINVAL;
	if ((s2->flags & KVM_SREGS2_FLAGS_PDPTRS_VALID) &&
	    (!(s2->cr0 & X86_CR0_PG) || !(s2->cr4 & X86_CR4_PAE) || (s2->efer & EFER_LMA)))
		return -EINVAL;
	memcpy(&s, s2, offsetof(struct kvm_sregs, interrupt_bitmap));
	return sregs_set_common(vcpu, &s);
}

long sregs_ioctl_translate(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	struct kvm_translation *t = arg;
	struct gwalk_result res;
	int r;

	r = guest_translate(vcpu, t->linear_address, GWALK_NO_SET, &res);
	t->valid = r == 0;
	t->physical_address = r == 0 ? res.gpa : GPA_INVALID;
	t->writeable = r == 0 && res.writable;
	t->usermode = r == 0 && res.user;
	return 0;
}
