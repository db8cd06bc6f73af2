// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events into the guest: EVENTINJ, EXITINTINFO, the interrupt shadow, windows, and NMI masking; APM 2 §15.20, §15.21.
 *
 * An event that was being delivered when the guest left (EXITINTINFO) is given back to the vCPU as injected, and goes in again
 * at the next entry.  Software interrupts and INT3, INTO are the exception: their RIP still points at the instruction, so the
 * guest simply executes it again; but not a #BP or #OF that we had injected, which need not have an instruction behind it.
 *
 * SVM has no NMI-blocking state without virtual NMIs.  We keep it: set when an NMI is injected, with IRET intercepted.  The
 * exit comes before IRET executes, so masking ends at the first later exit at which RIP has moved; a pending NMI makes us
 * step over the IRET with TF.
 */
#include <linux/kvm.h>
#include <asm/processor-flags.h>

#include "x86/svm/svm.h"
#include "x86/emulate.h"

#define VEC_DB	1
#define VEC_BP	3
#define VEC_OF	4

void svm_inject_exception(struct x86_vcpu *vcpu)
{
	const struct x86_exception *x = &vcpu->exception;
	u64 ev = SVM_EVENT_VALID | SVM_EVENT_EXCEPTION | x->vector;

	if (x->has_error)
		ev |= SVM_EVENT_HAS_ERROR | (u64)x->error << 32;
	to_svm(vcpu)->vmcb->control.event_inj = ev;
	to_svm(vcpu)->event = true;
	to_svm(vcpu)->trap_injected = x->vector == VEC_BP || x->vector == VEC_OF;
	to_svm(vcpu)->trap_rip = vcpu->rip;
}

/* The hardware pushes the VMCB's RIP: the instruction after INT n has to be there. */
static void svm_step_past_int(struct svm_vcpu *svm)
{
	u64 old = svm->x86.rip;

	if (svm->soft_injected || vcpu_skip(&svm->x86, 0) != 1)
		return;
	svm->soft_injected = true;
	svm->soft_rip = old;
}

void svm_inject_irq(struct x86_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	u64 ev = SVM_EVENT_VALID | vcpu->irq.vector;

	if (vcpu->irq.soft) {
		svm_step_past_int(svm);
		ev |= SVM_EVENT_SOFT;
	}
	svm->vmcb->control.event_inj = ev;
	svm->event = true;
}

void svm_inject_nmi(struct x86_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	svm->vmcb->control.event_inj = SVM_EVENT_VALID | SVM_EVENT_NMI | 2;
	svm->event = true;
	svm_set_nmi_mask(vcpu, true);
}

bool svm_nmi_blocked(struct x86_vcpu *vcpu)
{
	return to_svm(vcpu)->nmi_masked;
}

void svm_set_nmi_mask(struct x86_vcpu *vcpu, bool masked)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	svm->nmi_masked = masked;
	svm->iret_seen = false;
	if (masked)
		vmcb_set_intercept(svm->vmcb, ICPT_IRET);
	else
		vmcb_clear_intercept(svm->vmcb, ICPT_IRET);
}

/* The guest is about to execute the IRET that ends NMI masking. */
void svm_iret_seen(struct svm_vcpu *svm)
{
	vmcb_clear_intercept(svm->vmcb, ICPT_IRET);
	svm->iret_seen = true;
	svm->iret_rip = svm->x86.rip;
}

void svm_irq_window(struct x86_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_control *c = &svm->vmcb->control;

	/* A virtual interrupt of the highest priority, never delivered: its intercept is the window. */
	c->int_ctl = (c->int_ctl & ~SVM_V_PRIO) | SVM_V_IRQ | SVM_V_IGN_TPR | SVM_V_PRIO;
	c->int_vector = 0;
	vmcb_set_intercept(svm->vmcb, ICPT_VINTR);
}

void svm_irq_window_close(struct svm_vcpu *svm)
{
	svm->vmcb->control.int_ctl &= ~(SVM_V_IRQ | SVM_V_IGN_TPR | SVM_V_PRIO);
	vmcb_clear_intercept(svm->vmcb, ICPT_VINTR);
}

void svm_nmi_window(struct x86_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	if (svm->nmi_masked && !svm->iret_seen)
		return;				/* the IRET exit will come */
	if (svm->nmi_step)
		return;
	if (svm->event && !svm->nmi_masked) {
		/* An exception or interrupt goes in first, the NMI before its handler's first instruction: vol. 2, 8.5. */
		svm->nmi_next = true;
		return;
	}
	if (!svm->iret_seen && (vcpu->rflags & X86_EFLAGS_IF)) {
		svm_irq_window(vcpu);		/* only STI's shadow is in the way */
		return;
	}
	/* One step: over the IRET, or over the instruction in the shadow of STI or MOV SS. */
	svm->nmi_step = true;
	svm->nmi_step_flags = vcpu->rflags & (X86_EFLAGS_TF | X86_EFLAGS_RF);
	vcpu->rflags |= X86_EFLAGS_TF | X86_EFLAGS_RF;
}

/* A #DB exit: true if it was only our step; the guest's own flags are back then. */
bool svm_db_was_ours(struct svm_vcpu *svm)
{
	bool guest_tf = svm->nmi_step_flags & X86_EFLAGS_TF;

	if (!svm->nmi_step)
		return false;
	svm->nmi_step = false;
	if (!guest_tf)
		svm->x86.rflags &= ~(u64)X86_EFLAGS_TF;
	lodge_request(&svm->x86.core, LODGE_REQ_EVENT);
	if (guest_tf || svm->x86.debug_control & KVM_GUESTDBG_SINGLESTEP)
		return false;
	/* BS is ours; any other cause in DR6 is the guest's. */
	if (svm->vmcb->save.dr6 & 0xf)
		return false;
	svm->vmcb->save.dr6 &= ~(1ull << 14);
	return true;
}

u8 svm_shadow(struct x86_vcpu *vcpu)
{
	/* The hardware does not say which of the two it is. */
	return to_svm(vcpu)->vmcb->control.int_state & SVM_INT_STATE_SHADOW ? KVM_X86_SHADOW_INT_STI | KVM_X86_SHADOW_INT_MOV_SS : 0;
}

void svm_set_shadow(struct x86_vcpu *vcpu, u8 shadow)
{
	struct vmcb_control *c = &to_svm(vcpu)->vmcb->control;

	if (shadow)
		c->int_state |= SVM_INT_STATE_SHADOW;
	else
		c->int_state &= ~SVM_INT_STATE_SHADOW;
}

/* Hand an event back to the vCPU, as what is to be injected at the next entry. */
static void svm_take_back(struct svm_vcpu *svm, u64 info)
{
	struct x86_vcpu *vcpu = &svm->x86;
	u8 vector = info & SVM_EVENT_VECTOR;

	if (svm->soft_injected) {
		vcpu->rip = svm->soft_rip;
		svm->soft_injected = false;
		if ((info & SVM_EVENT_TYPE) == SVM_EVENT_SOFT)
			return;		/* RIP is at INT n: it executes */
	}
	switch (info & SVM_EVENT_TYPE) {
	case SVM_EVENT_NMI:
		vcpu->nmi_injected = true;
		svm_set_nmi_mask(vcpu, false);	/* injecting sets it */
		break;
	case SVM_EVENT_EXCEPTION:
		if ((vector == VEC_BP || vector == VEC_OF) && !(svm->trap_injected && vcpu->rip == svm->trap_rip))
			return;		/* it executes again */
		vcpu->exception.injected = true;
		vcpu->exception.pending = false;
		vcpu->exception.vector = vector;
		vcpu->exception.has_error = info & SVM_EVENT_HAS_ERROR;
		vcpu->exception.error = info >> 32;
		vcpu->exception.has_payload = false;
		break;
	case SVM_EVENT_INTR:
		vcpu->irq.injected = true;
		vcpu->irq.soft = false;
		vcpu->irq.vector = vector;
		break;
	default:
		return;			/* INT n */
	}
	lodge_request(&vcpu->core, LODGE_REQ_EVENT);
}

/* After an exit: what was injected has been delivered, unless EXITINTINFO says otherwise. */
void svm_complete_events(struct svm_vcpu *svm)
{
	struct x86_vcpu *vcpu = &svm->x86;
	u64 info = svm->vmcb->control.exit_int_info;

	vcpu->exception.injected = false;
	vcpu->nmi_injected = false;
	vcpu->irq.injected = false;
	svm->vmcb->control.event_inj = 0;
	svm->event = false;
	if (svm->nmi_next)
		lodge_request(&vcpu->core, LODGE_REQ_EVENT);
	svm->nmi_next = false;

	if (svm->iret_seen && vcpu->rip != svm->iret_rip) {
		svm_set_nmi_mask(vcpu, false);
		lodge_request(&vcpu->core, LODGE_REQ_EVENT);
	}
	if (info & SVM_EVENT_VALID)
		svm_take_back(svm, info);
	svm->soft_injected = svm->trap_injected = false;
}

void svm_cancel_injection(struct x86_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	/* What svm_inject_* noted in the vCPU (injected) is still there; only the hardware forgets. */
	if (!svm->event)
		return;
	svm->vmcb->control.event_inj = 0;
	svm->event = svm->trap_injected = svm->nmi_next = false;
	if (vcpu->nmi_injected)
		svm_set_nmi_mask(vcpu, false);
	if (svm->soft_injected) {
		vcpu->rip = svm->soft_rip;
		svm->soft_injected = false;
	}
	lodge_request(&vcpu->core, LODGE_REQ_EVENT);
}
