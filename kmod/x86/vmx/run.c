// SPDX-License-Identifier: GPL-2.0-only
/*
 * One run of the guest: load what changed, enter, come back, and tell what happened.
 *
 * What entry and exit do not switch is switched here, each register only when it differs: CR2, XCR0, XSS, PKRU, the breakpoint
 * addresses.  The host's CR3 and CR4 are looked at before every entry, for the kernel changes them as it likes, and an exit
 * loads what the VMCS says.
 *
 * An NMI of the host's that ended the run has set NMI blocking, so it is handled before anything that may return with IRET.
 */
#include <linux/context_tracking.h>
#include <linux/entry-kvm.h>
#include <linux/hw_breakpoint.h>
#include <linux/irqflags.h>
#include <linux/lockdep.h>
#include <asm/debugreg.h>
#include <asm/fpu/api.h>
#include <asm/mmu_context.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>
#include <asm/processor.h>
#include <asm/tlbflush.h>

#include "x86/vmx/vmx.h"
#include "x86/xswitch.h"

void vmx_set_cpu_ctls(struct vmx_vcpu *vmx, u32 ctls)
{
	if (ctls == vmx->cpu_ctls)
		return;
	vmx->cpu_ctls = ctls;
	vmcs_write(VMCS_CPU_CTLS, ctls);
}

static void vmx_flush_now(struct vmx_vcpu *vmx)
{
	vmx->flush = false;
	vmx_invept(INVEPT_CONTEXT, vmcs_read(VMCS_EPTP));
	if (vmx->vpid)
		vmx_invvpid(INVVPID_CONTEXT, vmx->vpid, 0);
}

static void vmx_load_dirty(struct vmx_vcpu *vmx)
{
	struct x86_vcpu *vcpu = &vmx->x86;
	u32 dirty = vcpu->dirty, entry = vmx->entry_ctls & ~VMX_ENTRY_LONG_MODE;
	int i;

	if (dirty & VCPU_DIRTY_CR0) {
		/* Unrestricted guest: of what VMX operation fixes, PE and PG are the guest's own. */
		u64 fixed = vmx_caps.cr0_fixed0 & ~(u64)(X86_CR0_PE | X86_CR0_PG);

		vmcs_write(VMCS_GUEST_CR0, (vcpu->cr0 & ~(u64)(X86_CR0_CD | X86_CR0_NW)) | fixed);
		vmcs_write(VMCS_CR0_SHADOW, vcpu->cr0);
	}
	if (dirty & VCPU_DIRTY_CR4) {
		/* MCE stays on for the host's sake, SDM 3C §28.1. */
		vmcs_write(VMCS_GUEST_CR4, vcpu->cr4 | vmx_caps.cr4_fixed0 | (cr4_read_shadow() & X86_CR4_MCE));
		vmcs_write(VMCS_CR4_SHADOW, vcpu->cr4);
	}
	if (dirty & VCPU_DIRTY_CR3)
		vmcs_write(VMCS_GUEST_CR3, vcpu->cr3);
	if (dirty & VCPU_DIRTY_EFER)
		vmcs_write(VMCS_GUEST_EFER, vcpu->efer);
	if (dirty & VCPU_DIRTY_PDPTES)
		for (i = 0; i < 4; i++)
			vmcs_write(VMCS_GUEST_PDPTE0 + 2 * i, vcpu->pdpte[i]);
	if (vcpu_long_mode(vcpu))
		entry |= VMX_ENTRY_LONG_MODE;
	if (entry != vmx->entry_ctls) {
		vmx->entry_ctls = entry;
		vmcs_write(VMCS_ENTRY_CTLS, entry);
	}
	/* What MOV to CR3 and a change of the paging mode would flush. */
	if (dirty & (VCPU_DIRTY_CR0 | VCPU_DIRTY_CR3 | VCPU_DIRTY_CR4 | VCPU_DIRTY_EFER))
		vmx->flush = true;
	vcpu->dirty = 0;
}

/* The guest's TPR is in the LAPIC's page.  If it hides what waits, lowering it must be seen: SDM 3C §30.1.1. */
static __always_inline void vmx_load_tpr(struct vmx_vcpu *vmx)
{
	struct lapic *l = vmx->x86.lapic;
	u32 threshold;

	if (!l)
		return;
	threshold = READ_ONCE(l->irr_pending) ? l->regs[0x80] >> 4 : 0;
	if (unlikely(threshold != vmx->tpr_threshold)) {
		vmx->tpr_threshold = threshold;
		vmcs_write(VMCS_TPR_THRESHOLD, threshold);
	}
}

static __always_inline void vmx_load_host(struct vmx_vcpu *vmx)
{
	u64 cr3 = __get_current_cr3_fast(), cr4 = cr4_read_shadow();

	if (unlikely(cr3 != vmx->host_cr3)) {
		vmx->host_cr3 = cr3;
		vmcs_write(VMCS_HOST_CR3, cr3);
	}
	if (unlikely(cr4 != vmx->host_cr4)) {
		vmx->host_cr4 = cr4;
		vmcs_write(VMCS_HOST_CR4, cr4);
	}
}

/* A trap that single-stepping owes the guest goes with the shadow of STI or MOV SS: SDM 3C §27.3.1.5. */
static void vmx_load_step(struct vmx_vcpu *vmx)
{
	u64 pending = vmcs_read(VMCS_GUEST_PENDING_DEBUG), want = pending & ~(u64)VMX_PENDING_DEBUG_BS;

	if (vmcs_read(VMCS_GUEST_INT_STATE) & (VMX_INT_STATE_STI | VMX_INT_STATE_MOV_SS))
		want |= VMX_PENDING_DEBUG_BS;
	else
		want = pending;
	if (want != pending)
		vmcs_write(VMCS_GUEST_PENDING_DEBUG, want);
}

/*
 * L1 terminal fault: nothing of the host's may be in the first-level cache.  The flush takes the CPU's buffers along; where it
 * is not needed, and entry.S does not clear them either, MMIO stale data may still ask for it.
 */
static __always_inline void vmx_flush_l1d(void)
{
	if (unlikely(vmx_caps.l1d_flush))
		wrmsrl(MSR_IA32_FLUSH_CMD, L1D_FLUSH);
	else if (static_branch_unlikely(&mmio_stale_data_clear))
		x86_clear_cpu_buffers();
}

/*
 * To lockdep and to context tracking a guest runs like user space.  What ended the run is looked at here, before
 * instrumentation: an NMI has to be handled while it blocks others.
 */
static noinstr int vmx_enter(struct vmx_vcpu *vmx)
{
	int refused;
	u32 info;

	instrumentation_begin();
	trace_hardirqs_on_prepare();
	lockdep_hardirqs_on_prepare();
	instrumentation_end();
	context_tracking_guest_enter();
	lockdep_hardirqs_on(CALLER_ADDR0);

	if (vmx->x86.cr2 != native_read_cr2())
		native_write_cr2(vmx->x86.cr2);
	refused = vmx_enter_guest(vmx->x86.regs, vmx->launched, &vmx->host_rsp, vmx->spec_ctrl);
	vmx->x86.cr2 = native_read_cr2();

	lockdep_hardirqs_off(CALLER_ADDR0);
	context_tracking_guest_exit();
	instrumentation_begin();
	trace_hardirqs_off_finish();
	instrumentation_end();
	if (unlikely(refused))
		return refused;

	vmx->reason = vmcs_read(VMCS_EXIT_REASON);
	if (unlikely(vmx->reason == VMX_REASON_EXCEPTION)) {
		info = vmcs_read(VMCS_EXIT_EVENT);
		if ((info & VMX_EVENT_TYPE) == VMX_EVENT_NMI)
			asm volatile("int $2" : ASM_CALL_CONSTRAINT : : "memory");
		else if ((info & VMX_EVENT_VECTOR) == 18)
			asm volatile("int $18" : ASM_CALL_CONSTRAINT : : "memory");
	} else if (unlikely(vmx->reason == VMX_REASON_MACHINE_CHECK)) {
		asm volatile("int $18" : ASM_CALL_CONSTRAINT : : "memory");
	}
	return 0;
}

/* The guest's registers as they are now; the rest of them entry.S has stored. */
static __always_inline void vmx_save(struct vmx_vcpu *vmx)
{
	struct x86_vcpu *vcpu = &vmx->x86;

	vcpu->regs[REG_RSP] = vmcs_read(VMCS_GUEST_RSP);
	vcpu->rip = vmcs_read(VMCS_GUEST_RIP);
	vcpu->rflags = vmcs_read(VMCS_GUEST_RFLAGS);
	vcpu->cr0 = (vcpu->cr0 & ~(u64)VMX_CR0_GUEST) | (vmcs_read(VMCS_GUEST_CR0) & VMX_CR0_GUEST);
	vcpu->cr3 = vmcs_read(VMCS_GUEST_CR3);
	vcpu->efer = vmcs_read(VMCS_GUEST_EFER);
	vmx->idt_event = vmcs_read(VMCS_IDT_EVENT);
}

/* CR4: the guest's own bits from the VMCS, the others as the guest last set them. */
static __always_inline void vmx_save_cr4(struct vmx_vcpu *vmx)
{
	struct x86_vcpu *vcpu = &vmx->x86;
	u64 host_owned = vmcs_read(VMCS_CR4_MASK);

	vcpu->cr4 = (vcpu->cr4 & host_owned) | (vmcs_read(VMCS_GUEST_CR4) & ~host_owned);
}

static int vmx_run_once(struct vmx_vcpu *vmx)
{
	struct x86_vcpu *vcpu = &vmx->x86;
	u32 host_pkru = 0;
	u64 debugctl;
	int refused;

	if (unlikely(!vmx->switched))
		vmx_switch_to_guest(vmx);
	if (unlikely(vcpu->dirty))
		vmx_load_dirty(vmx);
	if (unlikely(vmx->flush))
		vmx_flush_now(vmx);
	vmx_load_tpr(vmx);
	vmx_load_host(vmx);
	vmcs_write(VMCS_GUEST_RSP, vcpu->regs[REG_RSP]);
	vmcs_write(VMCS_GUEST_RIP, vcpu->rip);
	vmcs_write(VMCS_GUEST_RFLAGS, vcpu->rflags);
	if (unlikely(vcpu->rflags & X86_EFLAGS_TF))
		vmx_load_step(vmx);
	if (unlikely((vcpu->debug_control & KVM_GUESTDBG_USE_HW_BP ? vcpu->debug_dr7 : vcpu->dr7) & 0xff))
		xswitch_breakpoints(vcpu);
	xswitch_enter(vcpu, &host_pkru);
	debugctl = get_debugctlmsr();
	vmx_flush_l1d();

	refused = vmx_enter(vmx);

	/* An exit clears it: the host's branch records, bus-lock detection. */
	if (unlikely(debugctl && !refused))
		update_debugctlmsr(debugctl);
	xswitch_leave(vcpu, host_pkru);
	if (unlikely(hw_breakpoint_active()))
		hw_breakpoint_restore();
	if (unlikely(refused))
		return refused;
	/* A failed entry leaves the launch state as it was, SDM 3C §27.8. */
	if (unlikely(vmx->reason & VMX_REASON_ENTRY_FAILED))
		return 0;
	vmx->launched = true;
	vmx_save(vmx);
	vmx_save_cr4(vmx);
	/* PG with LME turns long mode on and off; the entry control has to follow (SDM 3C §28.3.1). */
	if (unlikely(!!(vmx->entry_ctls & VMX_ENTRY_LONG_MODE) != vcpu_long_mode(vcpu)))
		vcpu->dirty |= VCPU_DIRTY_EFER;
	vmx_complete_events(vmx);
	return 0;
}

void vmx_run(struct x86_vcpu *vcpu, struct lodge_exit *e)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	/* Softirqs may have used the FPU. */
	if (unlikely(test_thread_flag(TIF_NEED_FPU_LOAD)))
		switch_fpu_return();

	do {
		if (unlikely(vmx_run_once(vmx))) {
			e->reason = EXIT_ENTRY_FAIL;
			e->insn_len = 0;
			e->u.hw_reason = vmcs_read(VMCS_INSN_ERROR);
			break;
		}
		if (!vmx_hot_exit(vmx)) {
			vmx_decode_exit(vmx, e);
			break;
		}
		vcpu->core.stats.exits++;
		e->reason = EXIT_REENTER;
	} while (!READ_ONCE(vcpu->core.requests) && !xfer_to_guest_mode_work_pending());

#ifdef X86_FEATURE_IBPB_EXIT_TO_USER
	/* VMSCAPE: the guest may have trained the predictors that the VMM is about to use. */
	if (cpu_feature_enabled(X86_FEATURE_IBPB_EXIT_TO_USER))
		this_cpu_write(x86_ibpb_exit_to_user, true);
#endif
}
