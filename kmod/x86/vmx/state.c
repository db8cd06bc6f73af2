// SPDX-License-Identifier: GPL-2.0-only
/*
 * Architectural state that lives in the VMCS: segments, descriptor tables, MSRs, debug registers, TSC offset.
 */
#include <linux/kvm.h>
#include <asm/msr.h>
#include <asm/msr-index.h>

#include "x86/vmx/vmx.h"

/* enum x86_seg is in the order of the fields. */
#define SEL(seg)	(VMCS_GUEST_ES_SEL + 2 * (seg))
#define LIMIT(seg)	(VMCS_GUEST_ES_LIMIT + 2 * (seg))
#define AR(seg)		(VMCS_GUEST_ES_AR + 2 * (seg))
#define BASE(seg)	(VMCS_GUEST_ES_BASE + 2 * (seg))

#define TYPE_TSS16_BUSY	3
#define TYPE_TSS_BUSY	11

void vmx_get_segment(struct x86_vcpu *vcpu, int seg, struct kvm_segment *s)
{
	u32 ar = vmcs_read(AR(seg));

	*s = (struct kvm_segment){
		.base = vmcs_read(BASE(seg)),
		.limit = vmcs_read(LIMIT(seg)),
		.selector = vmcs_read(SEL(seg)),
		.type = ar & 15,
		.s = ar >> 4 & 1,
		.dpl = ar >> 5 & 3,
		/* An unusable segment's P is not kept by every CPU; it is absent for whoever asks. */
		.present = !(ar & VMX_AR_UNUSABLE),
		.avl = ar >> 12 & 1,
		.l = ar >> 13 & 1,
		.db = ar >> 14 & 1,
		.g = ar >> 15 & 1,
		.unusable = ar >> 16 & 1,
	};
}

void vmx_set_segment(struct x86_vcpu *vcpu, int seg, const struct kvm_segment *s)
{
	u32 ar = (s->type & 15) | (s->s & 1) << 4 | (s->dpl & 3) << 5 | (s->present & 1) << 7 | (s->avl & 1) << 12 |
		 (s->l & 1) << 13 | (s->db & 1) << 14 | (s->g & 1) << 15;

	/* Entries insist on what a loaded segment is: accessed, TR busy; other vendors' state may say otherwise. */
	if (s->unusable || !s->present)
		ar |= VMX_AR_UNUSABLE;
	else if (seg == SEG_TR && (ar & 15) != TYPE_TSS16_BUSY)
		ar = (ar & ~15u) | TYPE_TSS_BUSY;
	else if (seg != SEG_LDTR && seg != SEG_TR)
		ar |= 1;
	if (seg == SEG_TR)
		ar &= ~VMX_AR_UNUSABLE;
	vmcs_write(SEL(seg), s->selector);
	vmcs_write(BASE(seg), s->base);
	vmcs_write(LIMIT(seg), s->limit);
	vmcs_write(AR(seg), ar);
}

void vmx_get_table(struct x86_vcpu *vcpu, bool idt, struct kvm_dtable *t)
{
	*t = (struct kvm_dtable){
		.base = vmcs_read(idt ? VMCS_GUEST_IDTR_BASE : VMCS_GUEST_GDTR_BASE),
		.limit = vmcs_read(idt ? VMCS_GUEST_IDTR_LIMIT : VMCS_GUEST_GDTR_LIMIT),
	};
}

void vmx_set_table(struct x86_vcpu *vcpu, bool idt, const struct kvm_dtable *t)
{
	vmcs_write(idt ? VMCS_GUEST_IDTR_BASE : VMCS_GUEST_GDTR_BASE, t->base);
	vmcs_write(idt ? VMCS_GUEST_IDTR_LIMIT : VMCS_GUEST_GDTR_LIMIT, t->limit);
}

u8 vmx_cpl(struct x86_vcpu *vcpu)
{
	/* SS.DPL is the CPL, also of an unusable SS and in virtual-8086 mode (SDM 3C §25.4.1). */
	return vmcs_read(VMCS_GUEST_SS_AR) >> 5 & 3;
}

u64 vmx_get_cs(struct x86_vcpu *vcpu, bool *l, bool *db)
{
	u32 ar = vmcs_read(VMCS_GUEST_CS_AR);

	*l = ar & BIT(13);
	*db = ar & BIT(14);
	return vmcs_read(VMCS_GUEST_CS_BASE);
}

/* ---- MSRs ---- */

/* The field that holds @msr, or 0. */
static u32 vmx_msr_field(u32 msr)
{
	switch (msr) {
	case MSR_FS_BASE:
		return VMCS_GUEST_FS_BASE;
	case MSR_GS_BASE:
		return VMCS_GUEST_GS_BASE;
	case MSR_IA32_SYSENTER_CS:
		return VMCS_GUEST_SYSENTER_CS;
	case MSR_IA32_SYSENTER_ESP:
		return VMCS_GUEST_SYSENTER_ESP;
	case MSR_IA32_SYSENTER_EIP:
		return VMCS_GUEST_SYSENTER_EIP;
	case MSR_IA32_CR_PAT:
		return VMCS_GUEST_PAT;
	default:
		return 0;
	}
}

/* Its place in msr[], or -1. */
static int vmx_msr_slot(u32 msr)
{
	int i;

	for (i = 0; i < VMX_MSRS; i++)
		if (vmx_msr_index[i] == msr)
			return i;
	return -1;
}

int vmx_get_msr(struct x86_vcpu *vcpu, u32 msr, u64 *val)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	u32 field = vmx_msr_field(msr);
	int slot = vmx_msr_slot(msr);

	if (field) {
		*val = vmcs_read(field);
	} else if (slot == VMX_MSR_KERNEL_GS) {
		preempt_disable();
		if (vmx->switched)
			rdmsrl(MSR_KERNEL_GS_BASE, vmx->msr[slot]);
		*val = vmx->msr[slot];
		preempt_enable();
	} else if (slot >= 0) {
		*val = vmx->msr[slot];
	} else if (msr == MSR_IA32_SPEC_CTRL) {
		*val = vmx->spec_ctrl;
	} else {
		return 1;
	}
	return 0;
}

int vmx_set_msr(struct x86_vcpu *vcpu, u32 msr, u64 val)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	u32 field = vmx_msr_field(msr);
	int slot = vmx_msr_slot(msr);

	if (field) {
		vmcs_write(field, val);
	} else if (slot >= 0) {
		preempt_disable();
		vmx->msr[slot] = val;
		if (vmx->switched && (slot != VMX_MSR_TSC_AUX || vmx_caps.rdtscp))
			wrmsrl(msr, val);
		preempt_enable();
	} else if (msr == MSR_IA32_SPEC_CTRL) {
		vmx->spec_ctrl = val;
	} else {
		return 1;
	}
	return 0;
}

/* SDM 3C §25.6.9: read bits of MSRs from 0 and from C0000000h, then write bits; 1 KiB each, set means exit. */
void vmx_pass_msr(struct x86_vcpu *vcpu, u32 msr, bool read, bool write)
{
	unsigned long *map = (unsigned long *)to_vmx(vcpu)->msr_bitmap;
	unsigned int bit = msr & 0x1fff;

	if (msr >= 0xc0000000 && msr < 0xc0002000)
		bit += 0x400 * 8;
	else if (msr >= 0x2000)
		return;
	__assign_bit(bit, map, !read);
	__assign_bit(bit + 0x800 * 8, map, !write);
}

/* ---- the rest ---- */

void vmx_get_dr(struct x86_vcpu *vcpu)
{
	/* Accesses exit, and every #DB exits before the CPU has written DR6: vmx_decode_exit() keeps it. */
}

void vmx_set_dr(struct x86_vcpu *vcpu)
{
	vmcs_write(VMCS_GUEST_DR7, vcpu->debug_control & KVM_GUESTDBG_USE_HW_BP ? vcpu->debug_dr7 : vcpu->dr7);
	vmx_update_controls(vcpu);
}

void vmx_set_tsc_offset(struct x86_vcpu *vcpu, u64 offset)
{
	vmcs_write(VMCS_TSC_OFFSET, offset);
}

void vmx_flush_tlb(struct x86_vcpu *vcpu)
{
	to_vmx(vcpu)->flush = true;
}

void vmx_flush_gva(struct x86_vcpu *vcpu, u64 gva)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	if (vmx->vpid && vmx_caps.vpid_address)
		vmx_invvpid(INVVPID_ADDRESS, vmx->vpid, gva);
	vmx->flush = true;	/* cached walks are not reached by address alone */
}
