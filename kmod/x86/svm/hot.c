// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exits that are answered at once, with interrupts off, without leaving the run loop: listed with their figures in x86/ops.h.
 *
 * Each declines whatever is out of the ordinary (a prefix, single-stepping, an event in delivery, a debugger), and the long way
 * takes over; nothing has been changed then.
 */
#include <asm/msr-index.h>
#include <asm/processor-flags.h>

#include "core/trace.h"
#include "x86/cpuid.h"
#include "x86/fetch.h"
#include "x86/msr.h"
#include "x86/svm/svm.h"

#define X2APIC_EOI	0x80b
#define X2APIC_ICR	0x830

/* RIP after the instruction, or 0 if this is none of the simple cases. */
static u64 hot_next_rip(struct svm_vcpu *svm, u32 bytes)
{
	struct vmcb_control *c = &svm->vmcb->control;

	if (unlikely((svm->x86.rflags & X86_EFLAGS_TF) || svm->x86.debug_control ||
		     (c->exit_int_info & SVM_EVENT_VALID)))
		return 0;
	if (svm_caps.nrip)
		return c->next_rip;
	return fetch_matches(&svm->x86, bytes, 2) ? svm->x86.rip + 2 : 0;
}

static void hot_skip(struct svm_vcpu *svm, u64 next)
{
	svm->x86.rip = next;
	svm->x86.rflags &= ~(u64)X86_EFLAGS_RF;
	svm->vmcb->control.int_state = 0;
}

static bool hot_cpuid(struct svm_vcpu *svm)
{
	struct x86_vcpu *vcpu = &svm->x86;
	u64 next = hot_next_rip(svm, 0xa20f);
	u32 eax, ebx, ecx, edx;

	if (!next)
		return false;
	/* CPUID reports OSXSAVE and OSPKE, which the guest may have changed without an exit. */
	if ((vcpu->cr4 ^ svm->cpuid_cr4) & (X86_CR4_OSXSAVE | X86_CR4_PKE)) {
		svm->cpuid_cr4 = vcpu->cr4;
		cpuid_update_runtime(vcpu);
	}
	eax = vcpu->regs[REG_RAX];
	ecx = vcpu->regs[REG_RCX];
	cpuid_query(vcpu, &eax, &ebx, &ecx, &edx);
	vcpu->regs[REG_RAX] = eax;
	vcpu->regs[REG_RBX] = ebx;
	vcpu->regs[REG_RCX] = ecx;
	vcpu->regs[REG_RDX] = edx;
	hot_skip(svm, next);
	vcpu->core.stats.cpuid_exits++;
	return true;
}

static bool hot_wrmsr(struct svm_vcpu *svm)
{
	struct x86_vcpu *vcpu = &svm->x86;
	u32 msr = vcpu->regs[REG_RCX];
	u64 next;

	if (!vcpu->lapic || (msr != MSR_IA32_TSC_DEADLINE && msr != X2APIC_EOI && msr != X2APIC_ICR))
		return false;
	if (rcu_access_pointer(x86_vcpu_vm(vcpu)->msr_filter))
		return false;
	next = hot_next_rip(svm, 0x300f);
	if (!next || !msr_write_hot(vcpu, msr, (u32)vcpu->regs[REG_RAX] | vcpu->regs[REG_RDX] << 32))
		return false;
	hot_skip(svm, next);
	vcpu->core.stats.msr_exits++;
	return true;
}

bool svm_hot_exit(struct svm_vcpu *svm)
{
	struct vmcb_control *c = &svm->vmcb->control;

	/* Who traces sees all of them. */
	if (trace_lodge_entry_enabled() || trace_lodge_exit_enabled() || trace_lodge_cpuid_enabled() ||
	    trace_lodge_msr_enabled())
		return false;
	if (c->exit_code == SVM_EXIT_CPUID)
		return hot_cpuid(svm);
	if (c->exit_code == SVM_EXIT_MSR && c->exit_info1)
		return hot_wrmsr(svm);
	return false;
}
