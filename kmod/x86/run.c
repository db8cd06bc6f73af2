// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_RUN: the loop around the guest.
 *
 * The way in ends with interrupts off and the mode IN_GUEST; only then are requests looked at for the last time, so that
 * whoever sets one either is seen here or sees IN_GUEST and sends an interrupt, which ends the guest's run (core/vcpu.h).
 * vm->srcu is held outside the guest and let go inside: a guest may run for long, and memory slots must not wait for it.
 */
#include <linux/context_tracking.h>
#include <linux/entry-kvm.h>
#include <linux/kvm.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/srcu.h>
#include <linux/vtime.h>
#include <asm/fpu/api.h>
#include <asm/processor-flags.h>

#include "compat/guest_work.h"
#include "core/arch.h"
#include "core/trace.h"
#include "core/vcpu.h"
#include "x86/cpuid.h"
#include "x86/emulate.h"
#include "x86/exit.h"
#include "x86/inject.h"
#include "x86/regs.h"
#include "x86/run.h"
#include "x86/sync_regs.h"
#include "x86/time.h"
#include "x86/vapic.h"
#include "x86/vcpu.h"

static bool run_pic_in_kernel(struct x86_vcpu *vcpu)
{
	return x86_vcpu_vm(vcpu)->irqchip.mode == IRQCHIP_FULL;
}

bool run_ready_for_irq(struct x86_vcpu *vcpu)
{
	return inject_irq_allowed(vcpu) && !vcpu->user_irq_pending && !vcpu->exception.pending && !vcpu->exception.injected &&
	       !vcpu->irq.injected && !vcpu->nmi_injected && (!vcpu->lapic || lapic_accepts_extint(vcpu->lapic));
}

bool run_wants_irq_window(struct x86_vcpu *vcpu)
{
	return READ_ONCE(vcpu->core.run->request_interrupt_window) && !run_pic_in_kernel(vcpu) &&
	       (!vcpu->lapic || lapic_accepts_extint(vcpu->lapic));
}

void run_accept_init(struct x86_vcpu *vcpu)
{
	struct lapic *l = vcpu->lapic;

	if (!l || likely(!READ_ONCE(l->init_sipi)))
		return;
	if (test_and_clear_bit(LAPIC_INIT, &l->init_sipi)) {
		vcpu_reset(vcpu, true);
		vcpu->mp_state = vcpu_is_bsp(vcpu) ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_INIT_RECEIVED;
	}
	if (test_bit(LAPIC_SIPI, &l->init_sipi)) {
		u8 vector;

		clear_bit(LAPIC_SIPI, &l->init_sipi);
		smp_mb__after_atomic();	/* the bit before the vector: a later SIPI sets both anew */
		if (vcpu->mp_state != KVM_MP_STATE_INIT_RECEIVED)
			return;
		vector = READ_ONCE(l->sipi_vector);
		vcpu_start_at(vcpu, vector);
		vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
	}
}

static int run_triple_fault(struct x86_vcpu *vcpu)
{
	vcpu->core.run->exit_reason = KVM_EXIT_SHUTDOWN;
	return 0;
}

/* Requests that are served with interrupts on.  1 = go on. */
static int run_requests(struct x86_vcpu *vcpu)
{
	struct lodge_vcpu *core = &vcpu->core;

	if (lodge_request_take(core, LODGE_REQ_VM_DEAD))
		return -EIO;
	if (test_bit(LODGE_REQ_DIRTY_RING, &core->requests)) {
		/* Before anything that writes to the guest's memory. */
		if (lodge_dirty_ring_soft_full(core)) {
			core->run->exit_reason = KVM_EXIT_DIRTY_RING_FULL;
			return 0;
		}
		clear_bit(LODGE_REQ_DIRTY_RING, &core->requests);
	}
	if (lodge_request_take(core, LODGE_REQ_TLB_FLUSH)) {
		x86_ops->flush_tlb(vcpu);
		core->stats.tlb_flush++;
	}
	if (lodge_request_take(core, LODGE_REQ_HW))
		x86_ops->cpuid_changed(vcpu);
	if (lodge_request_take(core, LODGE_REQ_CLOCK))
		time_update_clock(vcpu);
	if (lodge_request_take(core, LODGE_REQ_STEAL))
		time_update_steal(vcpu);
	if (lodge_request_take(core, LODGE_REQ_TRIPLE_FAULT))
		return run_triple_fault(vcpu);
	if (lodge_request_take(core, LODGE_REQ_SCAN_IOAPIC))
		irqchip_scan(core);
	if (lodge_request_take(core, LODGE_REQ_IOAPIC_EOI)) {
		core->run->exit_reason = KVM_EXIT_IOAPIC_EOI;
		core->run->eoi.vector = vcpu->ioapic_eoi_vector;
		return 0;
	}
	if (lodge_request_take(core, LODGE_REQ_TPR_ACCESS)) {
		vapic_report(vcpu);
		return 0;
	}
	clear_bit(LODGE_REQ_UNBLOCK, &core->requests);
	if (lodge_request_take(core, LODGE_REQ_APF))
		apf_announce(vcpu);
	if (lodge_request_take(core, LODGE_REQ_NMI)) {
		/* At most one in delivery and one waiting: SDM 3A §6.7.1 */
		unsigned int limit = x86_ops->nmi_blocked(vcpu) || vcpu->nmi_injected ? 1 : 2;

		vcpu->nmi_pending = min_t(unsigned int, vcpu->nmi_pending + atomic_xchg(&vcpu->nmi_queued, 0), limit);
		lodge_request(core, LODGE_REQ_EVENT);
	}
	if (lodge_request_take(core, LODGE_REQ_EVENT)) {
		run_accept_init(vcpu);
		if (vcpu->mp_state != KVM_MP_STATE_RUNNABLE)
			return 1;
		if (inject_events(vcpu))
			return 1;
	}
	return 1;
}

/*
 * Into the guest once, and back.  1 = the exit is in @e; 0 = something came up, try again.
 * vm->srcu is held on both sides.  -EIO: the CPU has lost its virtualization.
 */
static int run_enter(struct x86_vcpu *vcpu, struct lodge_exit *e)
{
	struct lodge_vcpu *core = &vcpu->core;

	preempt_disable();
	if (unlikely(!core->loaded)) {
		preempt_enable();
		return -EIO;
	}
	local_irq_disable();
	WRITE_ONCE(core->mode, LODGE_IN_GUEST);
	srcu_read_unlock(&core->vm->srcu, core->srcu_idx);
	smp_mb();	/* mode before requests; srcu_read_unlock has one, but does not promise it */

	if (unlikely(READ_ONCE(core->requests) || xfer_to_guest_mode_work_pending())) {
		WRITE_ONCE(core->mode, LODGE_OUTSIDE_GUEST);
		smp_wmb();	/* the mode before the interrupt that a kicker may have sent */
		local_irq_enable();
		preempt_enable();
		core->srcu_idx = srcu_read_lock(&core->vm->srcu);
		x86_ops->cancel_injection(vcpu);
		return 0;
	}

	vtime_account_guest_enter();
	if (!context_tracking_enabled_this_cpu())
		rcu_virt_note_context_switch(smp_processor_id());

	x86_ops->run(vcpu, e);

	WRITE_ONCE(core->mode, LODGE_OUTSIDE_GUEST);
	smp_wmb();	/* the mode before the interrupt that a kicker may have sent */
	/* The interrupt that ended the run is taken here, while time still counts as the guest's. */
	local_irq_enable();
	core->stats.exits++;
	local_irq_disable();
	vtime_account_guest_exit();
	local_irq_enable();
	preempt_enable();
	core->srcu_idx = srcu_read_lock(&core->vm->srcu);
	return 1;
}

/* What the guest's memory tells of the LAPIC, and the LAPIC of the guest's memory. */
static void run_attend_entry(struct x86_vcpu *vcpu)
{
	if (vcpu->attention & VCPU_ATTEND_PV_EOI)
		lapic_pv_eoi_entry(vcpu->lapic);
	if (vcpu->attention & VCPU_ATTEND_VAPIC)
		vapic_entry(vcpu);
}

static void run_attend_exit(struct x86_vcpu *vcpu)
{
	if (vcpu->attention & VCPU_ATTEND_PV_EOI)
		lapic_pv_eoi_exit(vcpu->lapic);
	if (vcpu->attention & VCPU_ATTEND_VAPIC)
		vapic_exit(vcpu);
}

/* One turn of the loop with a runnable vCPU. */
static int run_once(struct x86_vcpu *vcpu)
{
	struct lodge_vcpu *core = &vcpu->core;
	struct lodge_exit e;
	int r;

	if (READ_ONCE(core->requests)) {
		r = run_requests(vcpu);
		if (r <= 0 || vcpu->mp_state != KVM_MP_STATE_RUNNABLE)
			return r;
	}
	if (unlikely(vcpu->debug_control))
		vcpu->rflags |= vcpu_debug_flags(vcpu);
	if (unlikely(vcpu->attention))
		run_attend_entry(vcpu);
	trace_lodge_entry(core->id, vcpu->rip);
	r = run_enter(vcpu, &e);
	/* Also when the guest was not entered in the end: the next turn may bring it another interrupt. */
	if (unlikely(vcpu->attention))
		run_attend_exit(vcpu);
	if (r <= 0)
		return r ?: 1;
	trace_lodge_exit(core->id, e.reason, vcpu->rip, e.reason == EXIT_STAGE2 ? e.u.s2.gpa : 0);

	if (e.reason == EXIT_REENTER || e.reason == EXIT_INTERRUPT)
		return 1;
	vcpu->emulating = true;
	r = exit_handle(vcpu, &e);
	vcpu->emulating = false;
	if (!r)
		exit_tell(vcpu, &e);
	return r;
}

/* Not runnable: halted, or an AP that waits for SIPI. */
static int run_blocked(struct x86_vcpu *vcpu)
{
	int r;

	if (!lodge_arch_vcpu_runnable(&vcpu->core)) {
		r = lodge_vcpu_block(&vcpu->core);
		if (r)
			return r;
	}
	if (test_bit(LODGE_REQ_VM_DEAD, &vcpu->core.requests))
		return -EIO;
	run_accept_init(vcpu);
	if (vcpu->mp_state == KVM_MP_STATE_HALTED && lodge_arch_vcpu_runnable(&vcpu->core)) {
		vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
		WRITE_ONCE(vcpu->pv_unhalted, false);
		lodge_request(&vcpu->core, LODGE_REQ_EVENT);
	}
	clear_bit(LODGE_REQ_UNBLOCK, &vcpu->core.requests);
	if (lodge_request_take(&vcpu->core, LODGE_REQ_APF))
		apf_announce(vcpu);
	return 1;
}

static int run_loop(struct x86_vcpu *vcpu)
{
	struct lodge_vcpu *core = &vcpu->core;
	int r;

	for (;;) {
		if (likely(vcpu->mp_state == KVM_MP_STATE_RUNNABLE))
			r = run_once(vcpu);
		else
			r = run_blocked(vcpu);
		if (r <= 0)
			return r;

		if (unlikely(run_wants_irq_window(vcpu)) && run_ready_for_irq(vcpu)) {
			core->run->exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
			core->stats.request_irq_exits++;
			return 0;
		}
		if (__xfer_to_guest_mode_work_pending()) {
			srcu_read_unlock(&core->vm->srcu, core->srcu_idx);
			r = guest_work();
			core->srcu_idx = srcu_read_lock(&core->vm->srcu);
			if (r)
				return -EINTR;
		}
	}
}

/*
 * A signal ended the run.  immediate_exit does not come here: it leaves the reason of the exit before it, since clients complete
 * a port or memory access that way and look at the reason afterwards.
 */
static int run_signalled(struct lodge_vcpu *core)
{
	WRITE_ONCE(core->run->exit_reason, KVM_EXIT_INTR);
	core->stats.signal_exits++;
	return -EINTR;
}

/* An AP that nobody has started: only wait.  KVM's answer is EAGAIN, and clients call again. */
static int run_uninitialized(struct x86_vcpu *vcpu)
{
	if (READ_ONCE(vcpu->core.run->immediate_exit))
		return -EINTR;
	if (lodge_vcpu_block(&vcpu->core) == -EINTR)
		return run_signalled(&vcpu->core);
	/* INIT, or a SIPI that follows it, sets the state that the next call finds. */
	run_accept_init(vcpu);
	clear_bit(LODGE_REQ_UNBLOCK, &vcpu->core.requests);
	return -EAGAIN;
}

/* What user space reads after every exit. */
static void run_report(struct x86_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->core.run;

	run->if_flag = vcpu_if_flag(vcpu->rflags);
	run->cr8 = vcpu_get_cr8(vcpu);
	run->apic_base = vcpu->lapic ? vcpu->lapic->base : vcpu->apic_base_user;
	run->ready_for_interrupt_injection = run_pic_in_kernel(vcpu) || run_ready_for_irq(vcpu);
	run->flags = 0;
}

int lodge_arch_vcpu_run(struct lodge_vcpu *core)
{
	struct x86_vcpu *vcpu = to_x86(core);
	struct kvm_run *run = core->run;
	int (*complete)(struct x86_vcpu *vcpu);
	int r = 1;

	fpu_swap_kvm_fpstate(&vcpu->fpu, true);

	if (vcpu->mp_state == KVM_MP_STATE_UNINITIALIZED) {
		r = run_uninitialized(vcpu);
		goto out;
	}
	if (unlikely(READ_ONCE(run->kvm_valid_regs) | READ_ONCE(run->kvm_dirty_regs))) {
		r = sync_regs_load(vcpu);
		if (r)
			goto out;
	}
	if (!vcpu->lapic && vcpu_set_cr8(vcpu, READ_ONCE(run->cr8))) {
		r = -EINVAL;
		goto out;
	}
	if (unlikely(vcpu->pdptes_stale)) {
		vcpu->pdptes_stale = false;
		regs_read_pdptes(vcpu, vcpu->cr3);
	}
	if (run_wants_irq_window(vcpu))
		lodge_request(core, LODGE_REQ_EVENT);
	complete = vcpu->complete;
	if (complete) {
		vcpu->complete = NULL;
		vcpu->emulating = true;
		r = complete(vcpu);
		vcpu->emulating = false;
		if (r <= 0)
			goto ran;
	}
	if (READ_ONCE(run->immediate_exit)) {
		r = -EINTR;
		goto out;
	}
	r = run_loop(vcpu);
ran:
	if (r == -EINTR)
		run_signalled(core);
out:
	fpu_swap_kvm_fpstate(&vcpu->fpu, false);
	if (unlikely(READ_ONCE(run->kvm_valid_regs)))
		sync_regs_store(vcpu);
	run_report(vcpu);
	return r;
}

int run_halt(struct x86_vcpu *vcpu)
{
	vcpu->core.stats.halt_exits++;
	if (!vcpu->lapic) {
		vcpu->core.run->exit_reason = KVM_EXIT_HLT;
		return 0;
	}
	vcpu->mp_state = KVM_MP_STATE_HALTED;
	return 1;
}
