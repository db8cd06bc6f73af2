// SPDX-License-Identifier: GPL-2.0-only
/*
 * The VMCS and the host's registers, on and off the CPU.
 *
 * load() makes the VMCS active and current on this CPU, after fetching it from the one that had it, and writes into it what is
 * this CPU's.  The registers that neither entry nor exit switches (system-call MSRs, the inactive GS base, TSC_AUX) and those
 * that an exit only sets to fixed values (the selectors of DS, ES, FS, GS) stay the host's until the first entry, become the
 * guest's then, and the host's again in put(), before its thread is scheduled away or returns to user space.
 */
#include <linux/list.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <asm/cpu_entry_area.h>
#include <asm/desc.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>
#include <asm/segment.h>
#include <asm/special_insns.h>

#include "x86/vmx/vmx.h"

const u32 vmx_msr_index[VMX_MSRS] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK, MSR_KERNEL_GS_BASE, MSR_TSC_AUX,
};

/* ---- the VMCS ---- */

/* On the CPU that has it, interrupts off. */
static void vmcs_clear_here(struct vmx_vcpu *vmx)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);

	vmx_vmclear(vmx->vmcs_pa);
	if (c->current_vmcs == vmx)
		c->current_vmcs = NULL;
	list_del(&vmx->link);
	vmx->launched = false;
	/* After all is written back: the CPU that takes it next looks here. */
	smp_store_release(&vmx->vmcs_cpu, -1);
}

static void vmcs_clear_call(void *arg)
{
	struct vmx_vcpu *vmx = arg;

	/* That CPU may have gone offline in between, and come back. */
	if (vmx->vmcs_cpu == smp_processor_id())
		vmcs_clear_here(vmx);
}

void vmx_clear_vmcs(struct vmx_vcpu *vmx)
{
	int cpu = READ_ONCE(vmx->vmcs_cpu);

	if (cpu >= 0)
		smp_call_function_single(cpu, vmcs_clear_call, vmx, 1);
}

void vmx_clear_cpu(struct vmx_cpu *c)
{
	struct vmx_vcpu *vmx, *next;

	list_for_each_entry_safe(vmx, next, &c->loaded, link)
		vmcs_clear_here(vmx);
}

/* What the VMCS says of the CPU that it is on. */
static void vmcs_write_cpu(int cpu)
{
	u64 val;

	vmcs_write(VMCS_HOST_TR_BASE, (unsigned long)&get_cpu_entry_area(cpu)->tss.x86_tss);
	vmcs_write(VMCS_HOST_GDTR_BASE, (unsigned long)get_cpu_gdt_ro(cpu));
	rdmsrl(MSR_GS_BASE, val);
	vmcs_write(VMCS_HOST_GS_BASE, val);
	rdmsrl(MSR_IA32_SYSENTER_ESP, val);
	vmcs_write(VMCS_HOST_SYSENTER_ESP, val);
}

static void vmcs_activate(struct vmx_vcpu *vmx, struct vmx_cpu *c, int cpu)
{
	unsigned long flags;

	/* Pairs with the release in vmcs_clear_here(). */
	if (smp_load_acquire(&vmx->vmcs_cpu) != cpu) {
		vmx_clear_vmcs(vmx);
		local_irq_save(flags);
		list_add(&vmx->link, &c->loaded);
		WRITE_ONCE(vmx->vmcs_cpu, cpu);
		/* Also the first time of all: the CPU may take the page's old contents for an active VMCS's. */
		vmx_vmclear(vmx->vmcs_pa);
		vmx_vmptrld(vmx->vmcs_pa);
		c->current_vmcs = vmx;
		local_irq_restore(flags);
		vmcs_write_cpu(cpu);
	} else if (c->current_vmcs != vmx) {
		vmx_vmptrld(vmx->vmcs_pa);
		c->current_vmcs = vmx;
	}
}

void vmx_load(struct x86_vcpu *vcpu, int cpu)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	vmcs_activate(vmx, c, cpu);
	/* Translations that are here from an earlier stay may be stale: flushes since then went to the CPU it was on. */
	if (vmx->last_cpu != cpu) {
		vmx->last_cpu = cpu;
		vmx->flush = true;
	}
	if (c->last != vmx) {
		c->last = vmx;
		indirect_branch_prediction_barrier();
	}
}

/* ---- the host's registers ---- */

/* Interrupts off, the VMCS is current. */
void vmx_switch_to_guest(struct vmx_vcpu *vmx)
{
	unsigned int i;

	savesegment(ds, vmx->host_ds);
	savesegment(es, vmx->host_es);
	savesegment(fs, vmx->host_fs);
	savesegment(gs, vmx->host_gs);
	rdmsrl(MSR_FS_BASE, vmx->host_fs_base);
	vmcs_write(VMCS_HOST_FS_BASE, vmx->host_fs_base);
	for (i = 0; i < VMX_MSRS; i++) {
		if (i == VMX_MSR_TSC_AUX && !vmx_caps.rdtscp)
			continue;
		rdmsrl(vmx_msr_index[i], vmx->host_msr[i]);
		if (vmx->msr[i] != vmx->host_msr[i])
			wrmsrl(vmx_msr_index[i], vmx->msr[i]);
	}
	vmx->switched = true;
}

static void switch_to_host(struct vmx_vcpu *vmx)
{
	unsigned int i;

	/* The guest changes it with SWAPGS, and may have written it. */
	rdmsrl(MSR_KERNEL_GS_BASE, vmx->msr[VMX_MSR_KERNEL_GS]);
	/* Loading a selector loads a base; the MSRs come after. */
	if (unlikely(vmx->host_ds | vmx->host_es)) {
		loadsegment(ds, vmx->host_ds);
		loadsegment(es, vmx->host_es);
	}
	if (unlikely(vmx->host_fs)) {
		loadsegment(fs, vmx->host_fs);
		wrmsrl(MSR_FS_BASE, vmx->host_fs_base);
	}
	if (unlikely(vmx->host_gs))
		load_gs_index(vmx->host_gs);
	for (i = 0; i < VMX_MSRS; i++) {
		if (i == VMX_MSR_TSC_AUX && !vmx_caps.rdtscp)
			continue;
		if (vmx->msr[i] != vmx->host_msr[i] || (i == VMX_MSR_KERNEL_GS && vmx->host_gs))
			wrmsrl(vmx_msr_index[i], vmx->host_msr[i]);
	}
	/* An exit leaves limits that are fixed: TR's is too small for the port bitmap, GDTR's too large. */
	invalidate_tss_limit();
	load_fixmap_gdt(raw_smp_processor_id());
	vmx->switched = false;
}

void vmx_put(struct x86_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	if (vmx->switched)
		switch_to_host(vmx);
}
