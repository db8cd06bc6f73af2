// SPDX-License-Identifier: GPL-2.0-only
/*
 * Architectural state that lives in the VMCB: segments, descriptor tables, MSRs, debug registers, TSC offset.
 */
#include <linux/kvm.h>
#include <asm/msr-index.h>

#include "x86/svm/svm.h"

static struct vmcb_seg *svm_seg(struct svm_vcpu *svm, int seg)
{
	struct vmcb_save *s = &svm->vmcb->save;

	switch (seg) {
	case SEG_ES:
		return &s->es;
	case SEG_CS:
		return &s->cs;
	case SEG_SS:
		return &s->ss;
	case SEG_DS:
		return &s->ds;
	case SEG_FS:
		return &s->fs;
	case SEG_GS:
		return &s->gs;
	case SEG_LDTR:
		return &s->ldtr;
	default:
		return &s->tr;
	}
}

void svm_get_segment(struct x86_vcpu *vcpu, int seg, struct kvm_segment *s)
{
	const struct vmcb_seg *v = svm_seg(to_svm(vcpu), seg);

	*s = (struct kvm_segment){
		.base = v->base,
		.limit = v->limit,
		.selector = v->selector,
		.type = v->attr & 15,
		.s = v->attr >> 4 & 1,
		.dpl = v->attr >> 5 & 3,
		.present = v->attr >> 7 & 1,
		.avl = v->attr >> 8 & 1,
		.l = v->attr >> 9 & 1,
		.db = v->attr >> 10 & 1,
		.g = v->limit > 0xfffff,	/* some CPUs do not keep the bit; this form is right and moves to VT-x */
		.unusable = !(v->attr >> 7 & 1),
	};
	switch (seg) {
	case SEG_TR:
		s->type |= 2;		/* busy: VMRUN does not insist, VT-x does */
		break;
	case SEG_SS:
		/* A null SS is usable in 64-bit mode, and its DPL is the CPL. */
		if (s->unusable)
			s->db = 1;
		s->dpl = to_svm(vcpu)->vmcb->save.cpl;
		break;
	case SEG_DS:
	case SEG_ES:
	case SEG_FS:
	case SEG_GS:
		if (!s->unusable)
			s->type |= 1;	/* accessed: not every CPU reports it */
		break;
	}
}

void svm_set_segment(struct x86_vcpu *vcpu, int seg, const struct kvm_segment *s)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_seg *v = svm_seg(svm, seg);

	v->base = s->base;
	v->limit = s->limit;
	v->selector = s->selector;
	v->attr = (s->type & 15) | (s->s & 1) << 4 | (s->dpl & 3) << 5 | (s->present && !s->unusable) << 7 |
		  (s->avl & 1) << 8 | (s->l & 1) << 9 | (s->db & 1) << 10 | (s->g & 1) << 11;
	if (seg == SEG_SS)
		svm->vmcb->save.cpl = s->dpl & 3;
}

void svm_get_table(struct x86_vcpu *vcpu, bool idt, struct kvm_dtable *t)
{
	struct vmcb_save *s = &to_svm(vcpu)->vmcb->save;
	const struct vmcb_seg *v = idt ? &s->idtr : &s->gdtr;

	*t = (struct kvm_dtable){ .base = v->base, .limit = v->limit };
}

void svm_set_table(struct x86_vcpu *vcpu, bool idt, const struct kvm_dtable *t)
{
	struct vmcb_save *s = &to_svm(vcpu)->vmcb->save;
	struct vmcb_seg *v = idt ? &s->idtr : &s->gdtr;

	v->base = t->base;
	v->limit = t->limit;
}

u8 svm_cpl(struct x86_vcpu *vcpu)
{
	return to_svm(vcpu)->vmcb->save.cpl;
}

u64 svm_get_cs(struct x86_vcpu *vcpu, bool *l, bool *db)
{
	const struct vmcb_seg *cs = &to_svm(vcpu)->vmcb->save.cs;

	*l = cs->attr & (1u << 9);
	*db = cs->attr & (1u << 10);
	return cs->base;
}

/* Where @msr lives, or NULL. */
static u64 *svm_msr(struct svm_vcpu *svm, u32 msr)
{
	struct vmcb_save *s = &svm->vmcb->save;

	switch (msr) {
	case MSR_STAR:
		return &s->star;
	case MSR_LSTAR:
		return &s->lstar;
	case MSR_CSTAR:
		return &s->cstar;
	case MSR_SYSCALL_MASK:
		return &s->sfmask;
	case MSR_FS_BASE:
		return &s->fs.base;
	case MSR_GS_BASE:
		return &s->gs.base;
	case MSR_KERNEL_GS_BASE:
		return &s->kernel_gs_base;
	case MSR_IA32_SYSENTER_CS:
		return &s->sysenter_cs;
	case MSR_IA32_SYSENTER_ESP:
		return &s->sysenter_esp;
	case MSR_IA32_SYSENTER_EIP:
		return &s->sysenter_eip;
	case MSR_IA32_CR_PAT:
		return &s->g_pat;
	case MSR_TSC_AUX:
		return &svm->tsc_aux;
	case MSR_IA32_SPEC_CTRL:
		return &svm->spec_ctrl;
	default:
		return NULL;
	}
}

int svm_get_msr(struct x86_vcpu *vcpu, u32 msr, u64 *val)
{
	const u64 *p = svm_msr(to_svm(vcpu), msr);

	if (!p)
		return 1;
	*val = *p;
	return 0;
}

int svm_set_msr(struct x86_vcpu *vcpu, u32 msr, u64 val)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	u64 *p = svm_msr(svm, msr);

	if (!p)
		return 1;
	*p = val;
	if (msr == MSR_TSC_AUX && vcpu->core.loaded) {
		preempt_disable();
		svm_tsc_aux_load(svm);
		preempt_enable();
	}
	return 0;
}

void svm_get_dr(struct x86_vcpu *vcpu)
{
	struct vmcb_save *s = &to_svm(vcpu)->vmcb->save;

	/* Accesses to DR0-DR3 exit, so dr[] is current.  DR7 in the VMCB may be a debugger's. */
	vcpu->dr6 = s->dr6;
	if (!(vcpu->debug_control & KVM_GUESTDBG_USE_HW_BP))
		vcpu->dr7 = s->dr7;
}

void svm_set_dr(struct x86_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	svm->vmcb->save.dr6 = vcpu->dr6;
	svm->vmcb->save.dr7 = vcpu->debug_control & KVM_GUESTDBG_USE_HW_BP ? vcpu->debug_dr7 : vcpu->dr7;
	svm_update_intercepts(vcpu);
}

void svm_set_tsc_offset(struct x86_vcpu *vcpu, u64 offset)
{
	to_svm(vcpu)->vmcb->control.tsc_offset = offset;
}

void svm_flush_tlb(struct x86_vcpu *vcpu)
{
	to_svm(vcpu)->asid.flush = true;
}

void svm_flush_gva(struct x86_vcpu *vcpu, u64 gva)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	if (svm->asid.cpu == vcpu->core.cpu && svm->vmcb->control.asid)
		asm volatile("invlpga %0, %1" : : "a" (gva), "c" (svm->vmcb->control.asid) : "memory");
	svm->asid.flush = true;	/* INVLPGA reaches this CPU alone and not every cached walk: cheap enough to be sure */
}
