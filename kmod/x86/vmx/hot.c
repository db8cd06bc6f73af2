// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exits that are answered at once, with interrupts off, without leaving the run loop: listed with their figures in x86/ops.h.
 *
 * Each declines whatever is out of the ordinary (single-stepping, an event in delivery, a debugger), and the long way takes over;
 * nothing has been changed then.
 */
#include <asm/msr-index.h>
#include <asm/processor-flags.h>

#include "core/trace.h"
#include "x86/cpuid.h"
#include "x86/msr.h"
#include "x86/vmx/vmx.h"

#define X2APIC_EOI	0x80b
#define X2APIC_ICR	0x830

static bool hot_plain(const struct vmx_vcpu *vmx)
{
	return likely(!(vmx->x86.rflags & X86_EFLAGS_TF) && !vmx->x86.debug_control && !(vmx->idt_event & VMX_EVENT_VALID));
}

static void hot_skip(struct vmx_vcpu *vmx)
{
	struct x86_vcpu *vcpu = &vmx->x86;
	u64 next = vcpu->rip + vmcs_read(VMCS_EXIT_LEN);
	bool l, db;

	vmx_get_cs(vcpu, &l, &db);
	vcpu->rip = l && vcpu_long_mode(vcpu) ? next : (u32)next;
	vcpu->rflags &= ~(u64)X86_EFLAGS_RF;
	vmx_set_shadow(vcpu, 0);
}

static bool hot_cpuid(struct vmx_vcpu *vmx)
{
	struct x86_vcpu *vcpu = &vmx->x86;
	u32 eax, ebx, ecx, edx;

	/* OSXSAVE and OSPKE, which CPUID reports, do not change without an exit. */
	eax = vcpu->regs[REG_RAX];
	ecx = vcpu->regs[REG_RCX];
	cpuid_query(vcpu, &eax, &ebx, &ecx, &edx);
	vcpu->regs[REG_RAX] = eax;
	vcpu->regs[REG_RBX] = ebx;
	vcpu->regs[REG_RCX] = ecx;
	vcpu->regs[REG_RDX] = edx;
	hot_skip(vmx);
	vcpu->core.stats.cpuid_exits++;
	return true;
}

static bool hot_wrmsr(struct vmx_vcpu *vmx)
{
	struct x86_vcpu *vcpu = &vmx->x86;
	u32 msr = vcpu->regs[REG_RCX];

	if (!vcpu->lapic || (msr != MSR_IA32_TSC_DEADLINE && msr != X2APIC_EOI && msr != X2APIC_ICR))
		return false;
	if (rcu_access_pointer(x86_vcpu_vm(vcpu)->msr_filter))
		return false;
	if (!msr_write_hot(vcpu, msr, (u32)vcpu->regs[REG_RAX] | vcpu->regs[REG_RDX] << 32))
		return false;
	hot_skip(vmx);
	vcpu->core.stats.msr_exits++;
	return true;
}

bool vmx_hot_exit(struct vmx_vcpu *vmx)
{
	/* Who traces sees all of them. */
	if (trace_lodge_entry_enabled() || trace_lodge_exit_enabled() || trace_lodge_cpuid_enabled() ||
	    trace_lodge_msr_enabled())
		return false;
	if (vmx->reason == VMX_REASON_CPUID)
		return hot_plain(vmx) && hot_cpuid(vmx);
	if (vmx->reason == VMX_REASON_WRMSR)
		return hot_plain(vmx) && hot_wrmsr(vmx);
	return false;
}
