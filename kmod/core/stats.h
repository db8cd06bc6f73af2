/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counters of a VM and of a vCPU, read through KVM_GET_STATS_FD (binary) and debugfs.
 *
 * One list defines the fields, their names and descriptors.  A vCPU's counters are written by its own thread only.
 */
#ifndef LODGE_CORE_STATS_H
#define LODGE_CORE_STATS_H

#include <linux/types.h>

struct lodge_vm;
struct lodge_vcpu;

/* X(name): cumulative u64 counters */
#define LODGE_VM_STATS(X) \
	X(remote_tlb_flush) X(mmu_pages) X(pages_4k) X(pages_2m) X(pages_1g) X(mmu_notifier_invalidate)

#define LODGE_VCPU_STATS(X) \
	X(exits) X(halt_exits) X(halt_successful_poll) X(halt_attempted_poll) X(halt_poll_invalid) X(halt_wakeup) \
	X(halt_poll_success_ns) X(halt_poll_fail_ns) X(halt_wait_ns) \
	X(io_exits) X(mmio_exits) X(signal_exits) X(irq_exits) X(irq_injections) X(nmi_injections) X(irq_window_exits) \
	X(nmi_window_exits) X(request_irq_exits) X(hypercalls) X(insn_emulation) X(insn_emulation_fail) X(exceptions) \
	X(pf_taken) X(pf_fixed) X(pf_mmio) X(tlb_flush) X(invlpg) X(msr_exits) X(cpuid_exits) X(preemption_reported) \
	X(guest_mode)

#define LODGE_STAT_FIELD(name) u64 name;
struct lodge_vm_stats { LODGE_VM_STATS(LODGE_STAT_FIELD) };
struct lodge_vcpu_stats { LODGE_VCPU_STATS(LODGE_STAT_FIELD) };

/* KVM_GET_STATS_FD: a descriptor with header, names and descriptors, data; holds a VM reference. */
int lodge_stats_vm_fd(struct lodge_vm *vm);
int lodge_stats_vcpu_fd(struct lodge_vcpu *vcpu);

#endif
