// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events on their way into the guest: which one goes first, and what becomes of the others.
 *
 * At most one event enters with an entry.  One that was interrupted in its delivery comes before anything new; then an
 * exception, an NMI, an interrupt.  Whatever has to wait asks for a window: an exit at the first moment at which it could go.
 */
#include <asm/processor-flags.h>

#include "core/trace.h"
#include "core/vcpu.h"
#include "x86/inject.h"
#include "x86/irqchip/irqchip.h"
#include "x86/irqchip/lapic.h"
#include "x86/regs.h"
#include "x86/run.h"
#include "x86/vcpu.h"

enum { VEC_DE = 0, VEC_DB = 1, VEC_DF = 8, VEC_TS = 10, VEC_NP, VEC_SS, VEC_GP, VEC_PF, VEC_AC = 17, VEC_CP = 21 };

#define DR6_BT		(1ull << 15)
#define DR6_BD		(1ull << 13)
#define DR6_RTM		(1ull << 16)	/* active low */
#define DR7_GD		(1ull << 13)

/* SDM table 6-4 */
enum exc_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static enum exc_class exc_class(u8 vector)
{
	switch (vector) {
	case VEC_PF:
		return PAGE_FAULT;
	case VEC_DF:
		return DOUBLE_FAULT;
	case VEC_DE:
	case VEC_TS:
	case VEC_NP:
	case VEC_SS:
	case VEC_GP:
	case VEC_CP:
		return CONTRIBUTORY;
	default:
		return BENIGN;
	}
}

static void exc_queue(struct x86_vcpu *vcpu, u8 vector, bool has_error, u32 error)
{
	struct x86_exception *x = &vcpu->exception;

	x->pending = true;
	x->injected = false;
	x->vector = vector;
	x->has_error = has_error && (vcpu->cr0 & X86_CR0_PE);	/* real mode pushes no error codes */
	x->error = error;
	x->has_payload = false;
	lodge_request(&vcpu->core, LODGE_REQ_EVENT);
}

/* SDM table 6-5: @vector comes while another exception is pending or in delivery.  True: it has been merged with that. */
static bool exc_merge(struct x86_vcpu *vcpu, u8 vector)
{
	const struct x86_exception *x = &vcpu->exception;
	enum exc_class first = exc_class(x->vector), second = exc_class(vector);

	if (!x->pending && !x->injected)
		return false;
	if (first == DOUBLE_FAULT && second != BENIGN) {
		vcpu->exception.pending = false;
		vcpu->exception.injected = false;
		lodge_request(&vcpu->core, LODGE_REQ_TRIPLE_FAULT);
		return true;
	}
	if ((first == CONTRIBUTORY && second == CONTRIBUTORY) ||
	    (first == PAGE_FAULT && (second == CONTRIBUTORY || second == PAGE_FAULT))) {
		exc_queue(vcpu, VEC_DF, true, 0);
		return true;
	}
	return false;	/* handled one after the other: the first one's instruction raises it again */
}

void inject_exception(struct x86_vcpu *vcpu, u8 vector)
{
	if (!exc_merge(vcpu, vector))
		exc_queue(vcpu, vector, false, 0);
}

void inject_exception_error(struct x86_vcpu *vcpu, u8 vector, u32 error)
{
	if (!exc_merge(vcpu, vector))
		exc_queue(vcpu, vector, true, error);
}

/* The payload reaches its register when the exception is delivered; user space that does not know payloads sees it there now. */
static void exc_set_payload(struct x86_vcpu *vcpu, u64 payload)
{
	vcpu->exception.has_payload = true;
	vcpu->exception.payload = payload;
	if (!vcpu->exception_payload)
		inject_payload(vcpu);
}

void inject_page_fault(struct x86_vcpu *vcpu, u32 error, u64 cr2)
{
	if (exc_merge(vcpu, VEC_PF)) {
		/* A double fault: CR2 has been written by then. */
		vcpu->cr2 = cr2;
		vcpu->dirty |= VCPU_DIRTY_CR2;
		return;
	}
	exc_queue(vcpu, VEC_PF, true, error);
	exc_set_payload(vcpu, cr2);
}

void inject_db(struct x86_vcpu *vcpu, u64 dr6_bits)
{
	if (exc_merge(vcpu, VEC_DB))
		return;
	exc_queue(vcpu, VEC_DB, false, 0);
	exc_set_payload(vcpu, dr6_bits);
}

/* Put the pending exception's payload into CR2 or DR6. */
void inject_payload(struct x86_vcpu *vcpu)
{
	struct x86_exception *x = &vcpu->exception;

	if (!x->has_payload)
		return;
	x->has_payload = false;
	if (x->vector == VEC_PF) {
		vcpu->cr2 = x->payload;
		vcpu->dirty |= VCPU_DIRTY_CR2;
	} else if (x->vector == VEC_DB) {
		x86_ops->get_dr(vcpu);
		vcpu->dr6 &= ~15ull;
		vcpu->dr6 |= DR6_RTM | x->payload;
		/* The payload of a transaction abort clears the active-low bit. */
		vcpu->dr6 ^= x->payload & DR6_RTM;
		vcpu->dr6 &= ~(1ull << 12);
		vcpu->dr7 &= ~DR7_GD;
		x86_ops->set_dr(vcpu);
	}
}

bool inject_irq_allowed(struct x86_vcpu *vcpu)
{
	return (vcpu->rflags & X86_EFLAGS_IF) && !x86_ops->shadow(vcpu);
}

bool inject_irq_waiting(struct x86_vcpu *vcpu)
{
	struct lapic *l = vcpu->lapic;

	if (vcpu->user_irq_pending)
		return true;
	if (!l)
		return false;
	if (lapic_pending_vector(l) >= 0)
		return true;
	return vcpu_is_bsp(vcpu) && x86_vcpu_vm(vcpu)->irqchip.mode == IRQCHIP_FULL && lapic_accepts_extint(l) &&
	       irqchip_pic_pending(&vcpu->core);
}

/* The vector to inject: acknowledges it where it comes from.  -1 if it went away. */
static int inject_take_irq(struct x86_vcpu *vcpu)
{
	struct lapic *l = vcpu->lapic;
	int vector;

	/* ExtINT comes first, from the VMM's PIC or ours: it has no priority that could be compared. */
	if (vcpu->user_irq_pending) {
		vcpu->user_irq_pending = false;
		return vcpu->user_irq;
	}
	if (vcpu_is_bsp(vcpu) && x86_vcpu_vm(vcpu)->irqchip.mode == IRQCHIP_FULL && lapic_accepts_extint(l) &&
	    irqchip_pic_pending(&vcpu->core)) {
		vector = irqchip_pic_take(&vcpu->core);
		if (vector >= 0)
			return vector;
	}
	vector = lapic_pending_vector(l);
	if (vector >= 0)
		lapic_take(l, vector);
	return vector;
}

/* What was in delivery when the guest left goes in again.  True if there was such a thing. */
static bool inject_again(struct x86_vcpu *vcpu)
{
	const struct x86_exception *x = &vcpu->exception;

	if (x->injected) {
		trace_lodge_inj_exception(vcpu->core.id, x->vector, x->has_error, x->error, true);
		x86_ops->inject_exception(vcpu);
	} else if (x->pending) {
		return false;
	} else if (vcpu->nmi_injected) {
		x86_ops->inject_nmi(vcpu);
	} else if (vcpu->irq.injected) {
		x86_ops->inject_irq(vcpu);
	} else {
		return false;
	}
	return true;
}

static void inject_pending_exception(struct x86_vcpu *vcpu)
{
	struct x86_exception *x = &vcpu->exception;

	inject_payload(vcpu);
	/* A fault's saved RFLAGS have RF set, so that a code breakpoint does not hit again: SDM 3B §17.3.1.1. */
	if (x->vector != VEC_DB && x->vector != 3 && x->vector != 4)
		vcpu->rflags |= X86_EFLAGS_RF;
	x->pending = false;
	x->injected = true;
	trace_lodge_inj_exception(vcpu->core.id, x->vector, x->has_error, x->error, false);
	x86_ops->inject_exception(vcpu);
	vcpu->core.stats.exceptions++;
}

static bool inject_nmi(struct x86_vcpu *vcpu)
{
	if (!vcpu->nmi_pending || x86_ops->nmi_blocked(vcpu) || x86_ops->shadow(vcpu))
		return false;
	vcpu->nmi_pending--;
	vcpu->nmi_injected = true;
	x86_ops->inject_nmi(vcpu);
	vcpu->core.stats.nmi_injections++;
	trace_lodge_inj_nmi(vcpu->core.id);
	return true;
}

static bool inject_irq(struct x86_vcpu *vcpu)
{
	int vector;

	if (!inject_irq_waiting(vcpu) || !inject_irq_allowed(vcpu))
		return false;
	vector = inject_take_irq(vcpu);
	if (vector < 0)
		return false;
	vcpu->irq.injected = true;
	vcpu->irq.soft = false;
	vcpu->irq.vector = vector;
	x86_ops->inject_irq(vcpu);
	vcpu->core.stats.irq_injections++;
	trace_lodge_inj_virq(vcpu->core.id, vector, false);
	return true;
}

int inject_events(struct x86_vcpu *vcpu)
{
	bool busy = inject_again(vcpu);

	if (!busy && vcpu->exception.pending) {
		inject_pending_exception(vcpu);
		busy = true;
	}
	/* A debugger that steps does not want to land in an interrupt handler (KVM_GUESTDBG_BLOCKIRQ). */
	if (vcpu->debug_control & KVM_GUESTDBG_BLOCKIRQ)
		return 0;
	if (!busy)
		busy = inject_nmi(vcpu);
	if (!busy)
		busy = inject_irq(vcpu);

	if (vcpu->nmi_pending)
		x86_ops->nmi_window(vcpu);
	if (inject_irq_waiting(vcpu) || run_wants_irq_window(vcpu))
		x86_ops->irq_window(vcpu);
	return 0;
}
