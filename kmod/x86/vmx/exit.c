// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the hardware says of an exit, in the neutral words of x86/exit.h: SDM 3C §28.2.
 */
#include <linux/kvm.h>
#include <asm/processor-flags.h>

#include "x86/vmx/vmx.h"

/* Exits that say nothing more than which instruction it was; 0 is EXIT_REENTER and means: not plain. */
static const u8 vmx_plain[] = {
	[VMX_REASON_INTR]		= EXIT_INTERRUPT,
	[VMX_REASON_TRIPLE_FAULT]	= EXIT_TRIPLE_FAULT,
	[VMX_REASON_INIT]		= EXIT_INIT,
	[VMX_REASON_SIPI]		= EXIT_INIT,
	[VMX_REASON_INTR_WINDOW]	= EXIT_IRQ_WINDOW,
	[VMX_REASON_NMI_WINDOW]		= EXIT_NMI_WINDOW,
	[VMX_REASON_CPUID]		= EXIT_CPUID,
	[VMX_REASON_GETSEC]		= EXIT_FORBIDDEN,
	[VMX_REASON_HLT]		= EXIT_HLT,
	[VMX_REASON_INVD]		= EXIT_INVD,
	[VMX_REASON_RDPMC]		= EXIT_RDPMC,
	[VMX_REASON_RDTSC]		= EXIT_RDTSC,
	[VMX_REASON_RSM]		= EXIT_FORBIDDEN,
	[VMX_REASON_VMCALL]		= EXIT_HYPERCALL,
	[VMX_REASON_VMCLEAR]		= EXIT_FORBIDDEN,
	[VMX_REASON_VMLAUNCH]		= EXIT_FORBIDDEN,
	[VMX_REASON_VMPTRLD]		= EXIT_FORBIDDEN,
	[VMX_REASON_VMPTRST]		= EXIT_FORBIDDEN,
	[VMX_REASON_VMREAD]		= EXIT_FORBIDDEN,
	[VMX_REASON_VMRESUME]		= EXIT_FORBIDDEN,
	[VMX_REASON_VMWRITE]		= EXIT_FORBIDDEN,
	[VMX_REASON_VMXOFF]		= EXIT_FORBIDDEN,
	[VMX_REASON_VMXON]		= EXIT_FORBIDDEN,
	[VMX_REASON_RDMSR]		= EXIT_MSR_READ,
	[VMX_REASON_WRMSR]		= EXIT_MSR_WRITE,
	[VMX_REASON_MWAIT]		= EXIT_MWAIT,
	[VMX_REASON_MONITOR]		= EXIT_MONITOR,
	[VMX_REASON_PAUSE]		= EXIT_PAUSE,
	[VMX_REASON_INVEPT]		= EXIT_FORBIDDEN,
	[VMX_REASON_RDTSCP]		= EXIT_RDTSCP,
	[VMX_REASON_INVVPID]		= EXIT_FORBIDDEN,
	[VMX_REASON_WBINVD]		= EXIT_WBINVD,
	[VMX_REASON_XSETBV]		= EXIT_XSETBV,
	[VMX_REASON_INVPCID]		= EXIT_FORBIDDEN,
	[VMX_REASON_VMFUNC]		= EXIT_FORBIDDEN,
	[VMX_REASON_XSAVES]		= EXIT_FORBIDDEN,
	[VMX_REASON_XRSTORS]		= EXIT_FORBIDDEN,
};

static void vmx_decode_io(struct vmx_vcpu *vmx, struct lodge_exit *e)
{
	u64 q = vmcs_read(VMCS_QUALIFICATION);

	e->reason = EXIT_IO;
	e->u.io.size = (q & 7) + 1;
	e->u.io.in = q & BIT(3);
	e->u.io.string = q & BIT(4);
	e->u.io.rep = q & BIT(5);
	e->u.io.port = q >> 16;
	e->u.io.seg = 0;		/* strings are decoded by whoever emulates them */
	e->u.io.addr_size = 0;
	e->u.io.next_rip = vmx->x86.rip + e->insn_len;
}

static void vmx_decode_violation(struct lodge_exit *e)
{
	u64 q = vmcs_read(VMCS_QUALIFICATION);

	e->reason = EXIT_STAGE2;
	e->insn_len = 0;
	e->u.s2.gpa = vmcs_read(VMCS_GUEST_PHYS);
	e->u.s2.has_gva = q & VMX_EPT_VIOLATION_GVA;
	e->u.s2.gva = e->u.s2.has_gva ? vmcs_read(VMCS_GUEST_LINEAR) : 0;
	/* With accessed and dirty bits the walk's own accesses count as reads and writes. */
	e->u.s2.write = q & VMX_EPT_VIOLATION_WRITE;
	e->u.s2.fetch = q & VMX_EPT_VIOLATION_FETCH;
	e->u.s2.read = !e->u.s2.write && !e->u.s2.fetch;
	e->u.s2.present = q & VMX_EPT_VIOLATION_PRESENT;
	e->u.s2.in_walk = e->u.s2.has_gva && !(q & VMX_EPT_VIOLATION_FINAL);
}

static void vmx_decode_task(struct vmx_vcpu *vmx, struct lodge_exit *e)
{
	static const u8 kinds[] = { 0, 1, 2, 3 };	/* CALL, IRET, JMP, a task gate in the IDT */
	u64 q = vmcs_read(VMCS_QUALIFICATION);
	u32 event = vmx->idt_event, type = event & VMX_EVENT_TYPE;

	e->reason = EXIT_TASK_SWITCH;
	e->u.task.selector = q;
	e->u.task.kind = kinds[q >> 30 & 3];
	e->u.task.has_error = false;
	e->u.task.error = 0;
	e->u.task.idt_vector = -1;
	e->u.task.soft = false;
	if (e->u.task.kind != 3 || !(event & VMX_EVENT_VALID))
		return;
	e->u.task.idt_vector = event & VMX_EVENT_VECTOR;
	e->u.task.soft = type == VMX_EVENT_SOFT_INTR || type == VMX_EVENT_SOFT_EXCEPTION || type == VMX_EVENT_ICEBP;
	e->u.task.has_error = event & VMX_EVENT_HAS_ERROR;
	if (e->u.task.has_error)
		e->u.task.error = vmcs_read(VMCS_IDT_ERROR);
	/* The switch delivers the event: it must not be delivered again. */
	vmx->x86.exception.injected = false;
	vmx->x86.irq.injected = false;
	if (vmx->x86.nmi_injected)
		vmx_set_nmi_mask(&vmx->x86, true);
	vmx->x86.nmi_injected = false;
}

static void vmx_decode_cr(struct lodge_exit *e)
{
	u64 q = vmcs_read(VMCS_QUALIFICATION);

	e->u.reg.nr = q & 15;
	e->u.reg.gpr = q >> 8 & 15;
	e->u.reg.has_reg = (q >> 4 & 3) < 2;	/* CLTS and LMSW have no register of this kind */
	e->reason = (q >> 4 & 3) == 1 ? EXIT_CR_READ : EXIT_CR_WRITE;
}

static void vmx_decode_dr(struct lodge_exit *e)
{
	u64 q = vmcs_read(VMCS_QUALIFICATION);

	e->reason = q & BIT(4) ? EXIT_DR_READ : EXIT_DR_WRITE;
	e->u.reg.nr = q & 7;
	e->u.reg.gpr = q >> 8 & 15;
	e->u.reg.has_reg = true;
}

/* #DB: what caused it is in the qualification, in DR6's own bits; the register itself has not been written. */
static u64 vmx_debug_cause(struct vmx_vcpu *vmx)
{
	const u64 causes = GENMASK(3, 0) | BIT(13) | BIT(14);
	struct x86_vcpu *vcpu = &vmx->x86;
	u64 cause = vmcs_read(VMCS_QUALIFICATION) & causes;

	if (!(vcpu->debug_control & (KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP)))
		vcpu->dr6 = (vcpu->dr6 & ~15ull) | cause;
	return (vcpu->dr6 & ~(causes)) | cause;
}

/* An intercepted exception; NMIs and machine checks of the host were dealt with on the way out. */
static void vmx_decode_exception(struct vmx_vcpu *vmx, struct lodge_exit *e)
{
	u32 info = vmcs_read(VMCS_EXIT_EVENT), vector = info & VMX_EVENT_VECTOR;

	if ((info & VMX_EVENT_TYPE) == VMX_EVENT_NMI) {
		e->reason = EXIT_NMI;
		return;
	}
	if (vector == 18) {
		e->reason = EXIT_INTERRUPT;
		return;
	}
	e->reason = EXIT_EXCEPTION;
	e->u.exc.vector = vector;
	e->u.exc.has_error = info & VMX_EVENT_HAS_ERROR;
	e->u.exc.error = e->u.exc.has_error ? vmcs_read(VMCS_EXIT_ERROR) : 0;
	e->u.exc.payload = vector == 1 ? vmx_debug_cause(vmx) : 0;
}

/* The window has come: no more exits for it. */
static void vmx_close_window(struct vmx_vcpu *vmx)
{
	if (vmx->reason == VMX_REASON_INTR_WINDOW)
		vmx_set_cpu_ctls(vmx, vmx->cpu_ctls & ~VMX_CPU_INTR_WINDOW);
	else if (vmx->reason == VMX_REASON_NMI_WINDOW)
		vmx_set_cpu_ctls(vmx, vmx->cpu_ctls & ~VMX_CPU_NMI_WINDOW);
}

static void vmx_decode_other(struct vmx_vcpu *vmx, struct lodge_exit *e)
{
	switch (vmx->reason) {
	case VMX_REASON_EPT_VIOLATION:
		vmx_decode_violation(e);
		break;
	case VMX_REASON_IO:
		vmx_decode_io(vmx, e);
		break;
	case VMX_REASON_CR:
		vmx_decode_cr(e);
		break;
	case VMX_REASON_DR:
		vmx_decode_dr(e);
		break;
	case VMX_REASON_EXCEPTION:
		vmx_decode_exception(vmx, e);
		break;
	case VMX_REASON_TASK_SWITCH:
		vmx_decode_task(vmx, e);
		break;
	case VMX_REASON_TPR:
		/* The TPR fell below what waits: the same as a window. */
		e->reason = EXIT_IRQ_WINDOW;
		break;
	case VMX_REASON_MACHINE_CHECK:
		e->reason = EXIT_INTERRUPT;
		break;
	default:
		e->reason = vmx->reason & VMX_REASON_ENTRY_FAILED ? EXIT_ENTRY_FAIL : EXIT_UNKNOWN;
		e->u.hw_reason = vmx->reason;
	}
}

void vmx_decode_exit(struct vmx_vcpu *vmx, struct lodge_exit *e)
{
	u32 reason = vmx->reason;

	e->insn_len = vmcs_read(VMCS_EXIT_LEN);
	if (reason < ARRAY_SIZE(vmx_plain) && vmx_plain[reason]) {
		e->reason = vmx_plain[reason];
		vmx_close_window(vmx);
	} else {
		vmx_decode_other(vmx, e);
	}
}
