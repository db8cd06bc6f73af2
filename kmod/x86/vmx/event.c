// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events into the guest: the entry event, the interruptibility state, windows; SDM 3C §25.8.3, §27.6, §28.2.4.
 *
 * An event that was being delivered when the guest left is given back to the vCPU as injected, and goes in again at the next
 * entry.  INT n and ICEBP are the exception: their RIP still points at the instruction, so the guest simply executes it again.
 *
 * NMI blocking is the hardware's (virtual NMIs); two of its corners are ours: an NMI that was interrupted in its delivery has
 * already set it, and an IRET that faults has already ended it.
 */
#include <linux/kvm.h>
#include <asm/processor-flags.h>

#include "x86/emulate.h"
#include "x86/vmx/vmx.h"

#define VEC_BP	3
#define VEC_OF	4
#define VEC_DF	8

static void vmx_inject(struct vmx_vcpu *vmx, u32 event)
{
	vmcs_write(VMCS_ENTRY_EVENT, event | VMX_EVENT_VALID);
	vmx->event = true;
}

void vmx_inject_exception(struct x86_vcpu *vcpu)
{
	const struct x86_exception *x = &vcpu->exception;
	u32 event = VMX_EVENT_EXCEPTION | x->vector;

	if (x->has_error) {
		event |= VMX_EVENT_HAS_ERROR;
		vmcs_write(VMCS_ENTRY_ERROR, x->error);
	}
	/* INT3 and INTO must go in as what they are; RIP is behind the instruction already, hence no length. */
	if (x->vector == VEC_BP || x->vector == VEC_OF) {
		event = VMX_EVENT_SOFT_EXCEPTION | x->vector;
		vmcs_write(VMCS_ENTRY_LEN, 1);
		vcpu->rip--;
	}
	vmx_inject(to_vmx(vcpu), event);
}

void vmx_inject_irq(struct x86_vcpu *vcpu)
{
	u32 event = vcpu->irq.vector;

	if (vcpu->irq.soft) {
		u64 at = vcpu->rip;

		/* RIP is at INT n: its length makes the CPU push what follows. */
		event |= VMX_EVENT_SOFT_INTR;
		if (vcpu_skip(vcpu, 0) == 1) {
			vmcs_write(VMCS_ENTRY_LEN, vcpu->rip - at);
			vcpu->rip = at;
		}
	}
	vmx_inject(to_vmx(vcpu), event);
}

void vmx_inject_nmi(struct x86_vcpu *vcpu)
{
	vmx_inject(to_vmx(vcpu), VMX_EVENT_NMI | 2);
}

bool vmx_nmi_blocked(struct x86_vcpu *vcpu)
{
	return vmcs_read(VMCS_GUEST_INT_STATE) & VMX_INT_STATE_NMI;
}

void vmx_set_nmi_mask(struct x86_vcpu *vcpu, bool masked)
{
	u32 state = vmcs_read(VMCS_GUEST_INT_STATE);

	vmcs_write(VMCS_GUEST_INT_STATE, masked ? state | VMX_INT_STATE_NMI : state & ~VMX_INT_STATE_NMI);
}

void vmx_irq_window(struct x86_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	vmx_set_cpu_ctls(vmx, vmx->cpu_ctls | VMX_CPU_INTR_WINDOW);
}

/* The exit comes as soon as nothing blocks an NMI, neither an earlier one nor the shadow of STI or MOV SS. */
void vmx_nmi_window(struct x86_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	vmx_set_cpu_ctls(vmx, vmx->cpu_ctls | VMX_CPU_NMI_WINDOW);
}

u8 vmx_shadow(struct x86_vcpu *vcpu)
{
	u32 state = vmcs_read(VMCS_GUEST_INT_STATE);

	return (state & VMX_INT_STATE_STI ? KVM_X86_SHADOW_INT_STI : 0) |
	       (state & VMX_INT_STATE_MOV_SS ? KVM_X86_SHADOW_INT_MOV_SS : 0);
}

void vmx_set_shadow(struct x86_vcpu *vcpu, u8 shadow)
{
	u32 old = vmcs_read(VMCS_GUEST_INT_STATE), state = old & ~(VMX_INT_STATE_STI | VMX_INT_STATE_MOV_SS);

	/* At most one of them may be set on entry; the shadow of MOV SS is the longer one. */
	if (shadow & KVM_X86_SHADOW_INT_MOV_SS)
		state |= VMX_INT_STATE_MOV_SS;
	else if (shadow & KVM_X86_SHADOW_INT_STI)
		state |= VMX_INT_STATE_STI;
	if (state != old)
		vmcs_write(VMCS_GUEST_INT_STATE, state);
}

/* Hand an event back to the vCPU, as what is to be injected at the next entry. */
static void vmx_take_back(struct vmx_vcpu *vmx, u32 info)
{
	struct x86_vcpu *vcpu = &vmx->x86;

	switch (info & VMX_EVENT_TYPE) {
	case VMX_EVENT_NMI:
		vcpu->nmi_injected = true;
		vmx_set_nmi_mask(vcpu, false);	/* its delivery sets it */
		break;
	case VMX_EVENT_SOFT_EXCEPTION:
		/* User space may have injected it: there need be no instruction that could execute again. */
		if (vmx->reason == VMX_REASON_TASK_SWITCH)
			return;
		vcpu->rip++;
		fallthrough;
	case VMX_EVENT_EXCEPTION:
		vcpu->exception.injected = true;
		vcpu->exception.pending = false;
		vcpu->exception.vector = info & VMX_EVENT_VECTOR;
		vcpu->exception.has_error = info & VMX_EVENT_HAS_ERROR;
		if (info & VMX_EVENT_HAS_ERROR)
			vcpu->exception.error = vmcs_read(VMCS_IDT_ERROR);
		vcpu->exception.has_payload = false;
		break;
	case VMX_EVENT_INTR:
		vcpu->irq.injected = true;
		vcpu->irq.soft = false;
		vcpu->irq.vector = info & VMX_EVENT_VECTOR;
		break;
	default:
		return;		/* the instruction executes again */
	}
	lodge_request(&vcpu->core, LODGE_REQ_EVENT);
}

/* Did the exit come from an IRET that had ended NMI blocking before it faulted?  SDM 3C §28.2.3. */
static bool vmx_iret_faulted(const struct vmx_vcpu *vmx)
{
	u32 info;

	if (vmx->idt_event & VMX_EVENT_VALID)
		return false;
	switch (vmx->reason) {
	case VMX_REASON_EXCEPTION:
		info = vmcs_read(VMCS_EXIT_EVENT);
		return (info & VMX_EVENT_NMI_UNBLOCKED) && (info & VMX_EVENT_VECTOR) != VEC_DF;
	case VMX_REASON_EPT_VIOLATION:
		return vmcs_read(VMCS_QUALIFICATION) & VMX_EPT_VIOLATION_NMI_UNBLOCKED;
	default:
		return false;
	}
}

/* After an exit: what was injected has been delivered, unless the hardware says otherwise. */
void vmx_complete_events(struct vmx_vcpu *vmx)
{
	struct x86_vcpu *vcpu = &vmx->x86;

	if (vmx->event || (vmx->idt_event & VMX_EVENT_VALID)) {
		vcpu->exception.injected = false;
		vcpu->nmi_injected = false;
		vcpu->irq.injected = false;
		vmx->event = false;
	}
	if (vmx_iret_faulted(vmx))
		vmx_set_nmi_mask(vcpu, true);
	if (vmx->idt_event & VMX_EVENT_VALID)
		vmx_take_back(vmx, vmx->idt_event);
}

void vmx_cancel_injection(struct x86_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	/* What vmx_inject_* noted in the vCPU (injected) is still there; only the hardware forgets. */
	if (!vmx->event)
		return;
	vmcs_write(VMCS_ENTRY_EVENT, 0);
	vmx->event = false;
	if (vcpu->exception.injected && (vcpu->exception.vector == VEC_BP || vcpu->exception.vector == VEC_OF))
		vcpu->rip++;
	lodge_request(&vcpu->core, LODGE_REQ_EVENT);
}
