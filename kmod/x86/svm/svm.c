// SPDX-License-Identifier: GPL-2.0-only
/*
 * AMD SVM: is it there, and taking and returning it on each CPU.
 *
 * SVM belongs to whoever set EFER.SVME.  We take it with the first VM and give it back with the last; finding it set already
 * means that another hypervisor is at work, and we keep our hands off.  The kernel's own emergency paths (crash, reboot)
 * clear EFER.SVME by themselves, so that nothing needs to be registered for them.
 */
#include <linux/cpu.h>
#include <linux/kernel.h>
#include <linux/user-return-notifier.h>
#include <asm/cpufeature.h>
#include <asm/io.h>
#include <asm/msr.h>
#include <asm/processor.h>
#include <asm/set_memory.h>

#include "x86/svm/svm.h"

#define IOPM_ORDER	2		/* 12 KiB are used */
#define VM_CR_SVMDIS	(1u << 4)
#define VM_CR_LOCK	(1u << 3)

struct svm_caps svm_caps;
DEFINE_PER_CPU(struct svm_cpu, svm_cpu);
static struct page *svm_iopm;

static u32 svm_cr4_hw(void)
{
	u32 bits = X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_MCE |
		   X86_CR4_PGE | X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;

	/* Straight from CPUID: the kernel may have hidden a feature from itself that the hardware still takes. */
	if (cpuid_ecx(1) & (1u << 26))
		bits |= X86_CR4_OSXSAVE;
	if (cpuid_ecx(1) & (1u << 17))
		bits |= X86_CR4_PCIDE;
	if (boot_cpu_data.cpuid_level >= 7) {
		u32 ebx = cpuid_ebx(7), ecx = cpuid_ecx(7);

		if (ebx & (1u << 0))
			bits |= X86_CR4_FSGSBASE;
		if (ebx & (1u << 7))
			bits |= X86_CR4_SMEP;
		if (ebx & (1u << 20))
			bits |= X86_CR4_SMAP;
		if (ecx & (1u << 2))
			bits |= X86_CR4_UMIP;
		if (ecx & (1u << 3))
			bits |= X86_CR4_PKE;
		if (ecx & (1u << 7))
			bits |= 1u << 23;	/* CET */
		if (ecx & (1u << 16))
			bits |= X86_CR4_LA57;
	}
	return bits;
}

/* One missing thing by name, or NULL. */
static const char *svm_missing(void)
{
	u64 vm_cr;
	u32 edx;

	if (boot_cpu_data.x86_vendor != X86_VENDOR_AMD && boot_cpu_data.x86_vendor != X86_VENDOR_HYGON)
		return "the CPU is not from AMD or Hygon";
	if (cpuid_eax(0x80000000) < 0x8000000a || !(cpuid_ecx(0x80000001) & (1u << 2)))
		return "the CPU has no SVM";
	if (rdmsrl_safe(MSR_VM_CR, &vm_cr) == 0 && (vm_cr & VM_CR_SVMDIS))
		return vm_cr & VM_CR_LOCK ? "SVM is switched off and locked by the firmware" :
					    "SVM is switched off (VM_CR.SVMDIS)";
	if (cpuid_ebx(0x8000000a) < 2)
		return "the CPU has no address space identifiers";
	edx = cpuid_edx(0x8000000a);
	if (!(edx & 1))
		return "the CPU has no nested paging (NPT)";
	if (!boot_cpu_has(X86_FEATURE_NX))
		return "the CPU has no NX bit";
	return NULL;
}

static void svm_read_caps(void)
{
	u32 edx = cpuid_edx(0x8000000a);

	svm_caps.asids = cpuid_ebx(0x8000000a);
	svm_caps.nrip = edx & (1u << 3);
	svm_caps.flush_by_asid = edx & (1u << 6);
	svm_caps.rdtscp = boot_cpu_has(X86_FEATURE_RDTSCP);
	svm_caps.spec_ctrl = boot_cpu_has(X86_FEATURE_MSR_SPEC_CTRL);
	svm_caps.cr4_hw = svm_cr4_hw();
}

static void svm_free_pages(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct svm_cpu *c = per_cpu_ptr(&svm_cpu, cpu);

		if (c->hsave)
			__free_page(c->hsave);
		if (c->host_save)
			__free_page(c->host_save);
		kfree(c->urn);
		memset(c, 0, sizeof(*c));
	}
	if (svm_iopm)
		__free_pages(svm_iopm, IOPM_ORDER);
	svm_iopm = NULL;
}

static void svm_user_return(struct user_return_notifier *urn);

static int svm_alloc_cpu(int cpu)
{
	struct svm_cpu *c = per_cpu_ptr(&svm_cpu, cpu);

	c->hsave = alloc_pages_node(cpu_to_node(cpu), GFP_KERNEL | __GFP_ZERO, 0);
	c->host_save = alloc_pages_node(cpu_to_node(cpu), GFP_KERNEL | __GFP_ZERO, 0);
	c->urn = kzalloc_node(sizeof(*c->urn), GFP_KERNEL, cpu_to_node(cpu));
	if (!c->hsave || !c->host_save || !c->urn)
		return -ENOMEM;
	c->urn->on_user_return = svm_user_return;
	c->host_save_pa = page_to_phys(c->host_save);
	return 0;
}

int svm_init(void)
{
	const char *missing = svm_missing();
	int cpu, r;

	if (missing) {
		pr_err("lodge: %s\n", missing);
		return -ENODEV;
	}
	svm_read_caps();

	svm_iopm = alloc_pages(GFP_KERNEL, IOPM_ORDER);
	if (!svm_iopm)
		return -ENOMEM;
	memset(page_address(svm_iopm), 0xff, PAGE_SIZE << IOPM_ORDER);	/* every port exits */
	svm_caps.iopm_pa = page_to_phys(svm_iopm);

	for_each_possible_cpu(cpu) {
		r = svm_alloc_cpu(cpu);
		if (r) {
			svm_free_pages();
			return r;
		}
	}
	return 0;
}

void svm_exit(void)
{
	svm_free_pages();
}

bool svm_has_feature(int feature)
{
	switch (feature) {
	case HW_INSN_LEN:
		return svm_caps.nrip;
	case HW_SPEC_CTRL:
		return svm_caps.spec_ctrl;
	default:
		return false;
	}
}

int svm_hw_enable(void)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);
	u64 efer;

	rdmsrl(MSR_EFER, efer);
	if (efer & EFER_SVME)
		return -EBUSY;
	wrmsrl(MSR_EFER, efer | EFER_SVME);
	wrmsrl(MSR_VM_HSAVE_PA, page_to_phys(c->hsave));
	/* Whoever used SVM before us left translations under ASIDs that we are about to give out. */
	asid_cpu_init(&c->asid, svm_caps.asids);
	c->last = NULL;
	if (svm_caps.rdtscp) {
		rdmsrl(MSR_TSC_AUX, c->host_tsc_aux);
		c->tsc_aux = c->host_tsc_aux;
	}
	c->enabled = true;
	return 0;
}

/* Back to user space, or the CPU is given back: it wants its own TSC_AUX (the vDSO's getcpu reads it). */
static void svm_user_return(struct user_return_notifier *urn)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);
	unsigned long flags;

	/* hw_disable may come from an IPI while this runs on the way out. */
	local_irq_save(flags);
	if (c->tsc_aux != c->host_tsc_aux) {
		wrmsrl(MSR_TSC_AUX, c->host_tsc_aux);
		c->tsc_aux = c->host_tsc_aux;
		user_return_notifier_unregister(urn);
	}
	local_irq_restore(flags);
}

/* Preemption off.  The CPU's TSC_AUX becomes the guest's until the thread returns to user space. */
void svm_tsc_aux_load(struct svm_vcpu *svm)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);
	bool was_host, is_host;
	unsigned long flags;

	if (!svm_caps.rdtscp || c->tsc_aux == svm->tsc_aux)
		return;
	local_irq_save(flags);
	was_host = c->tsc_aux == c->host_tsc_aux;
	is_host = svm->tsc_aux == c->host_tsc_aux;
	wrmsrl(MSR_TSC_AUX, svm->tsc_aux);
	c->tsc_aux = svm->tsc_aux;
	if (was_host)
		user_return_notifier_register(c->urn);
	else if (is_host)
		user_return_notifier_unregister(c->urn);
	local_irq_restore(flags);
}

void svm_hw_disable(void)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);
	u64 efer;

	if (!c->enabled)
		return;
	svm_user_return(c->urn);
	c->enabled = false;
	rdmsrl(MSR_EFER, efer);
	if (!(efer & EFER_SVME))
		return;
	/* On a crash path GIF may be clear, and would stay so: INIT and NMI have to get through. */
	asm volatile("stgi" : : : "memory");
	wrmsrl(MSR_VM_HSAVE_PA, 0);
	wrmsrl(MSR_EFER, efer & ~(u64)EFER_SVME);
}

const struct x86_ops svm_ops = {
	.name			= "svm",
	.vcpu_size		= sizeof(struct svm_vcpu),
	.vm_size		= sizeof(struct x86_vm),
	.stage2			= &stage2_npt,

	.init			= svm_init,
	.exit			= svm_exit,
	.hw_enable		= svm_hw_enable,
	.hw_disable		= svm_hw_disable,
	.has_feature		= svm_has_feature,

	.vm_init		= svm_vm_init,
	.vm_destroy		= svm_vm_destroy,
	.vcpu_init		= svm_vcpu_init,
	.vcpu_destroy		= svm_vcpu_destroy,
	.vcpu_reset		= svm_vcpu_reset,
	.cpuid_changed		= svm_update_intercepts,
	.load			= svm_load,
	.put			= svm_put,

	.run			= svm_run,

	.get_segment		= svm_get_segment,
	.set_segment		= svm_set_segment,
	.get_table		= svm_get_table,
	.set_table		= svm_set_table,
	.cpl			= svm_cpl,
	.get_cs			= svm_get_cs,
	.get_msr		= svm_get_msr,
	.set_msr		= svm_set_msr,
	.pass_msr		= svm_pass_msr,
	.get_dr			= svm_get_dr,
	.set_dr			= svm_set_dr,
	.set_tsc_offset		= svm_set_tsc_offset,
	.flush_tlb		= svm_flush_tlb,
	.flush_gva		= svm_flush_gva,

	.inject_exception	= svm_inject_exception,
	.inject_irq		= svm_inject_irq,
	.inject_nmi		= svm_inject_nmi,
	.nmi_blocked		= svm_nmi_blocked,
	.set_nmi_mask		= svm_set_nmi_mask,
	.irq_window		= svm_irq_window,
	.nmi_window		= svm_nmi_window,
	.shadow			= svm_shadow,
	.set_shadow		= svm_set_shadow,
	.cancel_injection	= svm_cancel_injection,
};
