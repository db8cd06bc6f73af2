// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hypercalls of the KVM interface.
 */
#include "x86/hypercall.h"

#include <linux/kvm_para.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <asm/apicdef.h>

#include "x86/cpuid.h"
#include "x86/irqchip/up.h"
#include "x86/time.h"
#include "x86/vcpu.h"

static struct lodge_vcpu *hypercall_vcpu_by_apic_id(struct x86_vcpu *vcpu, u64 apic_id)
{
	return apic_id < LODGE_MAX_VCPU_ID ? lodge_vm_vcpu_by_id(vcpu->core.vm, apic_id) : NULL;
}

/* KVM_HC_SCHED_YIELD: give the host CPU to a processor that this one waits for. */
static void hypercall_yield(struct x86_vcpu *vcpu, u64 apic_id)
{
	struct lodge_vcpu *target = hypercall_vcpu_by_apic_id(vcpu, apic_id);
	struct task_struct *task = NULL;
	struct pid *pid;

	if (!target || target == &vcpu->core || !READ_ONCE(target->preempted))
		return;
	rcu_read_lock();
	pid = rcu_dereference(target->pid);
	if (pid)
		task = get_pid_task(pid, PIDTYPE_PID);
	rcu_read_unlock();
	if (!task)
		return;
	yield_to(task, true);
	put_task_struct(task);
}

/* KVM_HC_KICK_CPU: wake a processor that halted waiting for a lock, which the caller has just left to it. */
static void hypercall_kick(struct x86_vcpu *vcpu, u64 apic_id)
{
	struct lodge_vcpu *target = hypercall_vcpu_by_apic_id(vcpu, apic_id);

	if (!target)
		return;
	WRITE_ONCE(to_x86(target)->pv_unhalted, true);
	vcpu_post_event(target);
	hypercall_yield(vcpu, apic_id);
}

/* KVM_HC_SEND_IPI: one interrupt to the processors of a bitmap that begins at APIC id @min.  How many got it. */
static u64 hypercall_send_ipi(struct x86_vcpu *vcpu, u64 low, u64 high, u32 min, u64 icr, bool long_mode)
{
	u64 maps[2] = { low, high };
	int word = long_mode ? 64 : 32, i;
	u64 count = 0;

	if (!vcpu->lapic || (icr & (APIC_DEST_LOGICAL | (3u << 18))) || min >= LODGE_MAX_VCPU_ID)
		return -KVM_EINVAL;
	for (i = 0; i < 2; i++) {
		unsigned long map = long_mode ? maps[i] : (u32)maps[i];
		int bit;

		for_each_set_bit(bit, &map, word) {
			struct lapic_msg msg = {
				.dest = min + i * word + bit,
				.vector = icr & APIC_VECTOR_MASK,
				.mode = (icr & APIC_MODE_MASK) >> 8,
				.assert = true,
			};

			if (msg.mode != LAPIC_DM_FIXED && msg.mode != LAPIC_DM_NMI)
				return -KVM_EINVAL;
			if (lapic_send(vcpu->core.vm, vcpu->lapic, &msg) >= 0)
				count++;
		}
	}
	return count;
}

/* KVM_HC_CLOCK_PAIRING: the wall clock and this vCPU's TSC at one moment, for the guest's PTP clock. */
static u64 hypercall_clock_pairing(struct x86_vcpu *vcpu, u64 gpa, u64 type)
{
	struct kvm_clock_pairing p = {};
	struct timespec64 now;
	u64 tsc;

	if (type != KVM_CLOCK_PAIRING_WALLCLOCK || !pvclock_pair(x86_vcpu_vm(vcpu), &tsc, &now))
		return -KVM_EOPNOTSUPP;
	p.sec = now.tv_sec;
	p.nsec = now.tv_nsec;
	p.tsc = time_read_tsc(vcpu, tsc);
	return lodge_guest_write(vcpu->core.vm, gpa, &p, sizeof(p)) ? -KVM_EFAULT : 0;
}

int hypercall(struct x86_vcpu *vcpu)
{
	u64 nr = vcpu->regs[REG_RAX], a0 = vcpu->regs[REG_RBX], a1 = vcpu->regs[REG_RCX];
	u64 a2 = vcpu->regs[REG_RDX], a3 = vcpu->regs[REG_RSI], ret;
	bool long_mode = false, l, db;

	if (vcpu_long_mode(vcpu)) {
		x86_ops->get_cs(vcpu, &l, &db);
		long_mode = l;
	}
	if (!long_mode) {
		nr = (u32)nr;
		a0 = (u32)a0;
		a1 = (u32)a1;
		a2 = (u32)a2;
		a3 = (u32)a3;
	}
	vcpu->core.stats.hypercalls++;
	ret = -KVM_ENOSYS;
	if (x86_ops->cpl(vcpu)) {
		ret = -KVM_EPERM;
		goto out;
	}
	switch (nr) {
	case KVM_HC_VAPIC_POLL_IRQ:
		ret = 0;	/* the exit alone makes pending interrupts be looked at */
		break;
	case KVM_HC_KICK_CPU:
		if (cpuid_pv_allowed(vcpu, KVM_FEATURE_PV_UNHALT)) {
			hypercall_kick(vcpu, a1);
			ret = 0;
		}
		break;
	case KVM_HC_SEND_IPI:
		if (cpuid_pv_allowed(vcpu, KVM_FEATURE_PV_SEND_IPI))
			ret = hypercall_send_ipi(vcpu, a0, a1, a2, a3, long_mode);
		break;
	case KVM_HC_SCHED_YIELD:
		if (cpuid_pv_allowed(vcpu, KVM_FEATURE_PV_SCHED_YIELD)) {
			hypercall_yield(vcpu, a0);
			ret = 0;
		}
		break;
	case KVM_HC_CLOCK_PAIRING:
		ret = hypercall_clock_pairing(vcpu, a0, a1);
		break;
	}
out:
	vcpu->regs[REG_RAX] = long_mode ? ret : (u32)ret;
	return 1;
}
