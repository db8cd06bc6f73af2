// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel VT-x: taking and returning it on each CPU, and the table of operations.
 *
 * VT-x belongs to whoever set CR4.VMXE.  We take it with the first VM and give it back with the last; finding the bit set already
 * means that another hypervisor is at work, and we keep our hands off.  A CPU in VMX operation blocks INIT, so a crash kernel
 * could not start it: the kernel's emergency paths call us to leave.  One hypervisor can be registered there, and the kernel
 * warns of a second, so kvm_intel and we are never loaded at the same time: whoever comes second is told EBUSY.
 *
 * A VMCS is active on one CPU at a time, which may keep any part of it to itself until VMCLEAR.  Each CPU has a list of
 * those that are active on it, so that a CPU that goes offline, or crashes, can write them all back.
 */
#include <linux/cpu.h>
#include <linux/gfp.h>
#include <linux/kernel.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/string.h>
#include <asm/io.h>
#include <asm/msr.h>
#include <asm/processor.h>
#include <asm/reboot.h>
#include <asm/tlbflush.h>

#include "x86/vmx/vmx.h"

#define OTHER	"kvm_intel"

DEFINE_PER_CPU(struct vmx_cpu, vmx_cpu);

/* Leave VMX operation, whatever the state: #UD if the CPU was not in it. */
static void vmx_off(void)
{
	asm volatile("1: vmxoff\n"
		     "2:\n\t"
		     _ASM_EXTABLE(1b, 2b)
		     : : : "cc", "memory");
	cr4_clear_bits(X86_CR4_VMXE);
}

/* The kernel crashes or restarts in a hurry: this CPU, any context, NMI included. */
static void vmx_emergency(void)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);

	if (!c->enabled)
		return;
	vmx_clear_cpu(c);
	vmx_off();
}

static void vmx_free_regions(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct vmx_cpu *c = per_cpu_ptr(&vmx_cpu, cpu);

		if (c->region)
			__free_page(c->region);
		c->region = NULL;
	}
}

static int vmx_alloc_regions(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct vmx_cpu *c = per_cpu_ptr(&vmx_cpu, cpu);

		INIT_LIST_HEAD(&c->loaded);
		c->region = alloc_pages_node(cpu_to_node(cpu), GFP_KERNEL | __GFP_ZERO, 0);
		if (!c->region)
			return -ENOMEM;
		*(u32 *)page_address(c->region) = vmx_caps.revision;
	}
	return 0;
}

/* ---- the other hypervisor ---- */

static int vmx_module_event(struct notifier_block *nb, unsigned long state, void *data)
{
	const struct module *mod = data;

	if (state != MODULE_STATE_COMING || strcmp(mod->name, OTHER))
		return NOTIFY_DONE;
	pr_err("lodge: " OTHER " cannot be loaded beside lodge: rmmod lodge first\n");
	return notifier_from_errno(-EBUSY);
}

static struct notifier_block vmx_module_notifier = { .notifier_call = vmx_module_event };

static bool vmx_other_loaded(void)
{
	struct kobject *other = kset_find_obj(THIS_MODULE->mkobj.kobj.kset, OTHER);

	kobject_put(other);
	return other;
}

/* From here to vmx_admit_other() the kernel's emergency paths are ours alone. */
static int vmx_exclude_other(void)
{
	int r = register_module_notifier(&vmx_module_notifier);

	if (r)
		return r;
	/* The notifier first: what it does not see is in sysfs already. */
	if (vmx_other_loaded()) {
		unregister_module_notifier(&vmx_module_notifier);
		pr_err("lodge: " OTHER " is loaded: rmmod " OTHER " first\n");
		return -EBUSY;
	}
	cpu_emergency_register_virt_callback(vmx_emergency);
	return 0;
}

static void vmx_admit_other(void)
{
	cpu_emergency_unregister_virt_callback(vmx_emergency);
	unregister_module_notifier(&vmx_module_notifier);
}

/* ---- init and exit ---- */

static int vmx_init(void)
{
	int r = vmx_caps_read();

	if (r)
		return r;
	r = vmx_alloc_regions();
	r = r ?: vmx_life_init();
	r = r ?: vmx_exclude_other();
	if (r) {
		vmx_life_exit();
		vmx_free_regions();
		return r;
	}
	if (stage2_ept.nx_huge)
		itlb_multihit_kvm_mitigation = true;
	return 0;
}

static void vmx_exit(void)
{
	if (stage2_ept.nx_huge)
		itlb_multihit_kvm_mitigation = false;
	vmx_admit_other();
	vmx_life_exit();
	vmx_free_regions();
}

static bool vmx_has_feature(int feature)
{
	switch (feature) {
	case HW_INSN_LEN:
	case HW_PDPTES:
		return true;
	case HW_SPEC_CTRL:
		return vmx_caps.spec_ctrl;
	default:
		return false;
	}
}

int vmx_hw_enable(void)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	int r;

	if (__read_cr4() & X86_CR4_VMXE)
		return -EBUSY;
	cr4_set_bits(X86_CR4_VMXE);
	r = vmx_vmxon(page_to_phys(c->region));
	if (r) {
		cr4_clear_bits(X86_CR4_VMXE);
		pr_err_ratelimited("lodge: VMXON fails on CPU %d\n", smp_processor_id());
		return r;
	}
	/* Whoever used VT-x before us left translations under the same names. */
	vmx_invept(INVEPT_GLOBAL, 0);
	if (vmx_caps.vpid)
		vmx_invvpid(INVVPID_ALL, 0, 0);
	c->current_vmcs = NULL;
	c->last = NULL;
	c->enabled = true;
	return 0;
}

void vmx_hw_disable(void)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	unsigned long flags;

	local_irq_save(flags);
	if (c->enabled) {
		vmx_clear_cpu(c);
		c->enabled = false;
		vmx_off();
	}
	local_irq_restore(flags);
}

const struct x86_ops vmx_ops = {
	.name			= "vmx",
	.vcpu_size		= sizeof(struct vmx_vcpu),
	.vm_size		= sizeof(struct x86_vm),
	.stage2			= &stage2_ept,

	.init			= vmx_init,
	.exit			= vmx_exit,
	.hw_enable		= vmx_hw_enable,
	.hw_disable		= vmx_hw_disable,
	.has_feature		= vmx_has_feature,

	.vm_init		= vmx_vm_init,
	.vm_destroy		= vmx_vm_destroy,
	.vcpu_init		= vmx_vcpu_init,
	.vcpu_destroy		= vmx_vcpu_destroy,
	.vcpu_reset		= vmx_vcpu_reset,
	.cpuid_changed		= vmx_update_controls,
	.load			= vmx_load,
	.put			= vmx_put,

	.run			= vmx_run,

	.get_segment		= vmx_get_segment,
	.set_segment		= vmx_set_segment,
	.get_table		= vmx_get_table,
	.set_table		= vmx_set_table,
	.cpl			= vmx_cpl,
	.get_cs			= vmx_get_cs,
	.get_msr		= vmx_get_msr,
	.set_msr		= vmx_set_msr,
	.pass_msr		= vmx_pass_msr,
	.get_dr			= vmx_get_dr,
	.set_dr			= vmx_set_dr,
	.set_tsc_offset		= vmx_set_tsc_offset,
	.flush_tlb		= vmx_flush_tlb,
	.flush_gva		= vmx_flush_gva,

	.inject_exception	= vmx_inject_exception,
	.inject_irq		= vmx_inject_irq,
	.inject_nmi		= vmx_inject_nmi,
	.nmi_blocked		= vmx_nmi_blocked,
	.set_nmi_mask		= vmx_set_nmi_mask,
	.irq_window		= vmx_irq_window,
	.nmi_window		= vmx_nmi_window,
	.shadow			= vmx_shadow,
	.set_shadow		= vmx_set_shadow,
	.cancel_injection	= vmx_cancel_injection,
};
