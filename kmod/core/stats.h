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

/* X(name, kind): COUNT grows only, GAUGE goes up and down, NS grows, in nanoseconds, FLAG is 0 or 1.  All are u64. */
#define LODGE_VM_STATS(X) \
	X(remote_tlb_flush, COUNT) X(mmu_pages, GAUGE) X(pages_4k, GAUGE) X(pages_2m, GAUGE) X(pages_1g, GAUGE) \
	X(mmu_notifier_invalidate, COUNT)

#define LODGE_VCPU_STATS(X) \
	X(exits, COUNT) X(halt_exits, COUNT) X(halt_successful_poll, COUNT) X(halt_attempted_poll, COUNT) \
	X(halt_poll_invalid, COUNT) X(halt_wakeup, COUNT) X(halt_poll_success_ns, NS) X(halt_poll_fail_ns, NS) \
	X(halt_wait_ns, NS) X(io_exits, COUNT) X(mmio_exits, COUNT) X(signal_exits, COUNT) X(irq_exits, COUNT) \
	X(irq_injections, COUNT) X(nmi_injections, COUNT) X(irq_window_exits, COUNT) X(nmi_window_exits, COUNT) \
	X(request_irq_exits, COUNT) X(hypercalls, COUNT) X(insn_emulation, COUNT) X(insn_emulation_fail, COUNT) \
	X(exceptions, COUNT) X(pf_taken, COUNT) X(pf_fixed, COUNT) X(pf_fast, COUNT) X(pf_mmio, COUNT) X(tlb_flush, COUNT) \
	X(invlpg, COUNT) X(msr_exits, COUNT) X(cpuid_exits, COUNT) X(preemption_reported, COUNT) X(guest_mode, FLAG)

#define LODGE_STAT_FIELD(name, kind) name,
struct lodge_vm_stats { u64 LODGE_VM_STATS(LODGE_STAT_FIELD) unused; };
struct lodge_vcpu_stats { u64 LODGE_VCPU_STATS(LODGE_STAT_FIELD) unused; };

/* debugfs: lodge/PID-FD/stats and lodge/PID-FD/vcpuN/stats; gone before the object is.  Failures are harmless. */
void lodge_stats_init(void);
void lodge_stats_exit(void);
void lodge_stats_vm_debugfs(struct lodge_vm *vm, int fd);
void lodge_stats_vcpu_debugfs(struct lodge_vcpu *vcpu);

/* KVM_GET_STATS_FD: a descriptor with header, names and descriptors, data; holds a VM reference. */
int lodge_stats_vm_fd(struct lodge_vm *vm);
int lodge_stats_vcpu_fd(struct lodge_vcpu *vcpu);

#endif
