// SPDX-License-Identifier: GPL-2.0-only
/*
 * One run of the guest: load what changed, enter, come back, put the host's state in place.
 *
 * Between CLGI and STGI nothing interrupts, so the CPU may hold the guest's XCR0, XSS, PKRU and debug registers there, each
 * switched only when it differs.  Everything else is the VMCB's business or entry.S's.
 */
#include <linux/context_tracking.h>
#include <linux/entry-kvm.h>
#include <linux/irqflags.h>
#include <linux/lockdep.h>
#include <asm/debugreg.h>
#include <asm/fpu/api.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>
#include <asm/processor.h>

#include "x86/svm/svm.h"
#include "x86/xswitch.h"

static void svm_load_dirty(struct svm_vcpu *svm)
{
	struct x86_vcpu *vcpu = &svm->x86;
	struct vmcb_save *s = &svm->vmcb->save;

	/* Each is a plain copy: not worth a branch of its own. */
	s->cr0 = vcpu->cr0;
	s->cr2 = vcpu->cr2;
	s->cr3 = vcpu->cr3;
	s->cr4 = vcpu->cr4;
	s->efer = vcpu->efer | EFER_SVME;
	/* Translations of other paging modes are tagged with the same ASID. */
	if (vcpu->dirty & (VCPU_DIRTY_CR0 | VCPU_DIRTY_CR3 | VCPU_DIRTY_CR4 | VCPU_DIRTY_EFER))
		svm->asid.flush = true;
	vcpu->dirty = 0;
}

/*
 * TPR to the hardware.  A guest that lowers it while something waits below must be seen doing so.  While a window is open, each
 * write is seen: QEMU's emulator aborts when a guest writes CR8 with V_IRQ set, as UEFI's interrupt handlers do.
 */
static __always_inline u8 svm_load_tpr(struct svm_vcpu *svm)
{
	struct lapic *l = svm->x86.lapic;
	struct vmcb *v = svm->vmcb;
	u8 tpr = l ? l->regs[0x80] >> 4 : svm->x86.cr8;

	v->control.int_ctl = (v->control.int_ctl & ~SVM_V_TPR) | tpr;
	if (l) {
		if (unlikely((tpr && READ_ONCE(l->irr_pending)) || v->control.int_ctl & SVM_V_IRQ))
			vmcb_set_intercept(v, ICPT_CR_WRITE + 8);
		else
			vmcb_clear_intercept(v, ICPT_CR_WRITE + 8);
	}
	return tpr;
}

static __always_inline void svm_save_tpr(struct svm_vcpu *svm, u8 old)
{
	u8 tpr = svm->vmcb->control.int_ctl & SVM_V_TPR;

	if (likely(tpr == old))
		return;
	if (svm->x86.lapic)
		lapic_set_tpr(svm->x86.lapic, tpr << 4);
	else
		svm->x86.cr8 = tpr;
}

/* To lockdep and to context tracking a guest runs like user space. */
static noinstr void svm_enter(struct svm_vcpu *svm, u64 host_save_pa)
{
	instrumentation_begin();
	trace_hardirqs_on_prepare();
	lockdep_hardirqs_on_prepare();
	instrumentation_end();
	context_tracking_guest_enter();
	lockdep_hardirqs_on(CALLER_ADDR0);

	amd_clear_divider();
	svm_vmrun(svm->x86.regs, svm->vmcb_pa, host_save_pa, svm->spec_ctrl);

	lockdep_hardirqs_off(CALLER_ADDR0);
	context_tracking_guest_exit();
	instrumentation_begin();
	trace_hardirqs_off_finish();
	instrumentation_end();
}

static void svm_run_once(struct svm_vcpu *svm)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);
	struct x86_vcpu *vcpu = &svm->x86;
	struct vmcb_save *s = &svm->vmcb->save;
	u32 host_pkru = 0;
	bool refused;
	u8 tpr;

	if (unlikely(vcpu->dirty))
		svm_load_dirty(svm);
	svm->vmcb->control.tlb_control = asid_prepare(&svm->asid, &c->asid, vcpu->core.cpu, svm_caps.flush_by_asid);
	svm->vmcb->control.asid = svm->asid.asid;
	tpr = svm_load_tpr(svm);
	s->rax = vcpu->regs[REG_RAX];
	s->rsp = vcpu->regs[REG_RSP];
	s->rip = vcpu->rip;
	s->rflags = vcpu->rflags;

	/* Held off until the guest runs and its event is in: an exit before it executes anything. */
	if (unlikely(svm->nmi_next))
		smp_send_reschedule(smp_processor_id());
	asm volatile("clgi" : : : "memory");
	if (unlikely(s->dr7 & 0xff))
		xswitch_breakpoints(vcpu);
	xswitch_enter(vcpu, &host_pkru);

	svm_enter(svm, c->host_save_pa);

	refused = svm_refused(svm);
	if (likely(!refused))
		vcpu->cr4 = s->cr4;
	xswitch_leave(vcpu, host_pkru);
	if (unlikely(hw_breakpoint_active()))
		hw_breakpoint_restore();
	asm volatile("stgi" : : : "memory");
	if (unlikely(refused))
		return;

	vcpu->regs[REG_RAX] = s->rax;
	vcpu->regs[REG_RSP] = s->rsp;
	vcpu->rip = s->rip;
	vcpu->rflags = s->rflags;
	vcpu->cr0 = s->cr0;
	vcpu->cr2 = s->cr2;
	vcpu->cr3 = s->cr3;
	vcpu->efer = s->efer & ~(u64)EFER_SVME;
	svm_save_tpr(svm, tpr);
	if (unlikely(svm->event || svm->iret_seen || (svm->vmcb->control.exit_int_info & SVM_EVENT_VALID)))
		svm_complete_events(svm);
}

void svm_run(struct x86_vcpu *vcpu, struct lodge_exit *e)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	/* Softirqs may have used the FPU. */
	if (unlikely(test_thread_flag(TIF_NEED_FPU_LOAD)))
		switch_fpu_return();

	do {
		svm_run_once(svm);
		if (!svm_hot_exit(svm)) {
			svm_decode_exit(svm, e);
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
