// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_GET/SET_VCPU_EVENTS, KVM_INTERRUPT, KVM_NMI: what user space sees and says of events under way.
 */
#include <linux/kvm.h>

#include "core/memslot.h"
#include "x86/emulate.h"
#include "x86/inject.h"
#include "x86/irqchip/up.h"
#include "x86/vcpu.h"
#include "x86/vcpu_events.h"

long vcpu_events_ioctl_get(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	struct x86_exception *x = &vcpu->exception;
	struct kvm_vcpu_events *ev = arg;
	bool payload = vcpu->exception_payload;

	memset(ev, 0, sizeof(*ev));
	/* Who knows no payloads must find it in its register, and sees a pending exception as one in delivery. */
	if (!payload && x->pending)
		inject_payload(vcpu);
	ev->exception.pending = payload && x->pending;
	ev->exception.injected = x->injected || (!payload && x->pending);
	ev->exception.nr = x->vector;
	ev->exception.has_error_code = x->has_error;
	ev->exception.error_code = x->error;
	ev->exception_has_payload = x->has_payload;
	ev->exception_payload = x->payload;

	ev->interrupt.injected = vcpu->irq.injected && !vcpu->irq.soft;
	ev->interrupt.nr = vcpu->irq.vector;
	ev->interrupt.soft = vcpu->irq.soft;
	ev->interrupt.shadow = x86_ops->shadow(vcpu);

	ev->nmi.injected = vcpu->nmi_injected;
	ev->nmi.pending = vcpu->nmi_pending + atomic_read(&vcpu->nmi_queued) != 0;
	ev->nmi.masked = x86_ops->nmi_blocked(vcpu);

	ev->flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM;
	if (vcpu->lapic) {
		ev->sipi_vector = vcpu->lapic->sipi_vector;
		ev->flags |= KVM_VCPUEVENT_VALID_SIPI_VECTOR;
	}
	if (payload)
		ev->flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
	if (x86_vcpu_vm(vcpu)->triple_fault_event) {
		ev->triple_fault.pending = test_bit(LODGE_REQ_TRIPLE_FAULT, &vcpu->core.requests);
		ev->flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	}
	return 0;
}

static bool vcpu_events_valid(struct x86_vcpu *vcpu, const struct kvm_vcpu_events *ev)
{
	const u32 known = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR | KVM_VCPUEVENT_VALID_SHADOW |
			  KVM_VCPUEVENT_VALID_SMM | KVM_VCPUEVENT_VALID_PAYLOAD | KVM_VCPUEVENT_VALID_TRIPLE_FAULT;

	if (ev->flags & ~known)
		return false;
	if ((ev->flags & KVM_VCPUEVENT_VALID_PAYLOAD) && !vcpu->exception_payload)
		return false;
	if ((ev->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT) && !x86_vcpu_vm(vcpu)->triple_fault_event)
		return false;
	/* There is no system management mode here. */
	if ((ev->flags & KVM_VCPUEVENT_VALID_SMM) && (ev->smi.smm || ev->smi.pending))
		return false;
	if ((ev->exception.injected || ev->exception.pending) && (ev->exception.nr > 31 || ev->exception.nr == 2))
		return false;
	return true;
}

static void vcpu_events_set_exception(struct x86_vcpu *vcpu, const struct kvm_vcpu_events *ev)
{
	struct x86_exception *x = &vcpu->exception;
	bool payload = ev->flags & KVM_VCPUEVENT_VALID_PAYLOAD;

	x->pending = payload && ev->exception.pending;
	x->injected = ev->exception.injected && !x->pending;	/* it cannot be both */
	x->vector = ev->exception.nr;
	x->has_error = ev->exception.has_error_code;
	x->error = ev->exception.error_code;
	x->has_payload = x->pending && ev->exception_has_payload;
	x->payload = ev->exception_payload;
}

long vcpu_events_ioctl_set(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	const struct kvm_vcpu_events *ev = arg;

	if (!vcpu_events_valid(vcpu, ev))
		return -EINVAL;
	vcpu_events_set_exception(vcpu, ev);
	vcpu->irq.injected = ev->interrupt.injected;
	vcpu->irq.vector = ev->interrupt.nr;
	vcpu->irq.soft = ev->interrupt.soft;
	if (ev->flags & KVM_VCPUEVENT_VALID_SHADOW)
		x86_ops->set_shadow(vcpu, ev->interrupt.shadow);
	vcpu->nmi_injected = ev->nmi.injected;
	if (ev->flags & KVM_VCPUEVENT_VALID_NMI_PENDING) {
		vcpu->nmi_pending = !!ev->nmi.pending;
		atomic_set(&vcpu->nmi_queued, 0);
	}
	x86_ops->set_nmi_mask(vcpu, ev->nmi.masked);
	if ((ev->flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR) && vcpu->lapic)
		vcpu->lapic->sipi_vector = ev->sipi_vector;
	if (ev->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT) {
		if (ev->triple_fault.pending)
			lodge_request(&vcpu->core, LODGE_REQ_TRIPLE_FAULT);
		else
			clear_bit(LODGE_REQ_TRIPLE_FAULT, &vcpu->core.requests);
	}
	lodge_request(&vcpu->core, LODGE_REQ_EVENT);
	return 0;
}

long vcpu_events_ioctl_interrupt(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	const struct kvm_interrupt *k = arg;

	if (k->irq > 255)
		return -EINVAL;
	/* With PICs in the kernel there is no line for this.  Beside LAPICs alone it is the VMM's PIC. */
	if (x86_vcpu_vm(vcpu)->irqchip.mode == IRQCHIP_FULL)
		return -ENXIO;
	if (vcpu->user_irq_pending)
		return -EEXIST;
	vcpu->user_irq_pending = true;
	vcpu->user_irq = k->irq;
	lodge_request(&vcpu->core, LODGE_REQ_EVENT);
	return 0;
}

long vcpu_events_ioctl_nmi(void *obj, void *arg)
{
	vcpu_post_nmi(obj);
	return 0;
}
