// SPDX-License-Identifier: GPL-2.0-only
/*
 * Steal time, and what comes with it: the guest learns how long its vCPU waited for a host CPU, and whether it is running now
 * (MSR_KVM_STEAL_TIME).
 *
 * On the way into the guest the time that the thread spent runnable but not running is added.  When the thread is preempted,
 * which is with preemption off, a byte says so: the store must not fault, and a page that happens not to be there goes without.
 * Other processors may meanwhile ask in the same byte for a TLB flush instead of sending an IPI to a vCPU that does not run
 * (KVM_FEATURE_PV_TLB_FLUSH): the byte is taken with an atomic exchange.
 */
#include <linux/kvm_para.h>
#include <linux/sched.h>
#include <linux/sched/stat.h>
#include <linux/uaccess.h>
#include <asm/futex.h>

#include "x86/time.h"
#include "x86/vcpu.h"

#define STEAL_PREEMPTED_WORD	offsetof(struct kvm_steal_time, preempted)

int steal_set_msr(struct x86_vcpu *vcpu, u64 val)
{
	struct vcpu_time *t = vcpu->time;

	if (val & KVM_STEAL_RESERVED_MASK)
		return 1;
	t->steal_msr = val;
	t->steal_on = (val & KVM_MSR_ENABLED) &&
		      !lodge_guest_cache_init(vcpu->core.vm, &t->steal_cache, val & KVM_STEAL_VALID_BITS,
					      sizeof(struct kvm_steal_time));
	if (t->steal_on) {
		t->steal_delay = current->sched_info.run_delay;
		lodge_request(&vcpu->core, LODGE_REQ_STEAL);
	}
	return 0;
}

/* Take and clear the preempted byte (and its padding), atomically against the guest.  0 if it cannot be reached. */
static u32 steal_take_preempted(struct lodge_guest_cache *c)
{
	u32 __user *p = (u32 __user *)(c->hva + STEAL_PREEMPTED_WORD);
	u32 old, seen;
	int tries;

	if (lodge_hva_bad(c->hva) || get_user(old, p))
		return 0;
	for (tries = 0; old && tries < 16; tries++) {
		if (futex_atomic_cmpxchg_inatomic(&seen, p, old, 0))
			return 0;
		if (seen == old)
			return old;
		old = seen;
	}
	return old;
}

void time_update_steal(struct x86_vcpu *vcpu)
{
	struct vcpu_time *t = vcpu->time;
	struct lodge_vm *vm = vcpu->core.vm;
	struct kvm_steal_time st;
	u64 delay;
	u32 preempted;

	/* The read also looks the page up again if the slots changed. */
	if (!t->steal_on || lodge_guest_cache_read(vm, &t->steal_cache, 0, &st, sizeof(st)))
		return;
	preempted = steal_take_preempted(&t->steal_cache);
	if (preempted & KVM_VCPU_FLUSH_TLB)
		x86_ops->flush_tlb(vcpu);
	st.version = (st.version | 1) + (st.version & 1 ? 2 : 0);
	if (lodge_guest_cache_write(vm, &t->steal_cache, offsetof(struct kvm_steal_time, version), &st.version,
				    sizeof(st.version)))
		return;
	smp_wmb();	/* the guest sees the version odd before the fields change */
	delay = current->sched_info.run_delay;
	st.steal += delay - t->steal_delay;
	t->steal_delay = delay;
	lodge_guest_cache_write(vm, &t->steal_cache, offsetof(struct kvm_steal_time, steal), &st.steal, sizeof(st.steal));
	smp_wmb();	/* and even after they have */
	st.version++;
	lodge_guest_cache_write(vm, &t->steal_cache, offsetof(struct kvm_steal_time, version), &st.version,
				sizeof(st.version));
}

void steal_put(struct x86_vcpu *vcpu)
{
	struct lodge_guest_cache *c = &vcpu->time->steal_cache;
	struct lodge_memslots *slots;
	u8 preempted = KVM_VCPU_PREEMPTED;
	int idx;

	/*
	 * Not in the midst of an instruction: who reads the flag may leave out a TLB flush and free what our emulation still
	 * goes by.
	 */
	if (!vcpu->core.preempted || vcpu->emulating || lodge_hva_bad(c->hva) || current->mm != vcpu->core.vm->mm)
		return;
	idx = srcu_read_lock(&vcpu->core.vm->srcu);
	slots = lodge_memslots(vcpu->core.vm);
	if (slots->generation == c->generation &&
	    lodge_can_mark_dirty(vcpu->core.vm, lodge_gfn_to_slot(vcpu->core.vm, gpa_to_gfn(c->gpa))) &&
	    !copy_to_user_nofault((void __user *)(c->hva + STEAL_PREEMPTED_WORD), &preempted, 1))
		lodge_mark_dirty(vcpu->core.vm, gpa_to_gfn(c->gpa));
	srcu_read_unlock(&vcpu->core.vm->srcu, idx);
}
