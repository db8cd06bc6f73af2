// SPDX-License-Identifier: GPL-2.0-only
/*
 * Birth, reset, loading and end of a vCPU's hardware state, and which of the guest's acts end its run.
 *
 * The guest is left alone where the hardware can be: CR0 and CR3 belong to it (nested paging), CR4 too unless its CPUID hides
 * a bit that this CPU would take, CR8 through V_TPR, the system-call and base MSRs through VMLOAD and VMSAVE.
 */
#include <linux/kvm.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <asm/io.h>
#include <asm/msr-index.h>
#include <asm/nospec-branch.h>

#include "x86/svm/svm.h"
#include "x86/regs.h"

int svm_vm_init(struct x86_vm *vm)
{
	return 0;
}

void svm_vm_destroy(struct x86_vm *vm)
{
}

static const u8 svm_always[] = {
	ICPT_INTR, ICPT_NMI, ICPT_SMI, ICPT_INIT, ICPT_RDPMC, ICPT_CPUID, ICPT_RSM, ICPT_INVD, ICPT_INVLPGA, ICPT_IOIO, ICPT_MSR,
	ICPT_TASK_SWITCH, ICPT_SHUTDOWN, ICPT_VMRUN, ICPT_VMMCALL, ICPT_VMLOAD, ICPT_VMSAVE, ICPT_STGI, ICPT_CLGI, ICPT_SKINIT,
	ICPT_WBINVD, ICPT_XSETBV, ICPT_RDPRU,
	ICPT_EXCEPTION + 1,	/* #DB and #AC: their delivery can raise them again without end, and a CPU would be lost */
	ICPT_EXCEPTION + 17,
	ICPT_EXCEPTION + 6,	/* #UD: the other vendor's hypercall instruction */
	ICPT_EXCEPTION + 18,	/* #MC is the host's */
};

static void svm_want(struct vmcb *v, unsigned int icpt, bool want)
{
	if (want)
		vmcb_set_intercept(v, icpt);
	else
		vmcb_clear_intercept(v, icpt);
}

void svm_update_intercepts(struct x86_vcpu *vcpu)
{
	struct vmcb *v = to_svm(vcpu)->vmcb;
	u64 off = x86_vcpu_vm(vcpu)->disabled_exits;

	svm_want(v, ICPT_CR_WRITE + 4, svm_caps.cr4_hw & ~vcpu->cr4_guest_bits);
	svm_want(v, ICPT_CR_WRITE + 8, !vcpu->lapic);
	svm_want(v, ICPT_HLT, !(off & KVM_X86_DISABLE_EXITS_HLT));
	svm_want(v, ICPT_MONITOR, !(off & KVM_X86_DISABLE_EXITS_MWAIT));
	svm_want(v, ICPT_MWAIT, !(off & KVM_X86_DISABLE_EXITS_MWAIT));
	svm_want(v, ICPT_MWAIT_ARMED, !(off & KVM_X86_DISABLE_EXITS_MWAIT));
	svm_want(v, ICPT_EXCEPTION + 3, (vcpu->debug_control & KVM_GUESTDBG_ENABLE) &&
		 (vcpu->debug_control & KVM_GUESTDBG_USE_SW_BP));
	msrpm_update(to_svm(vcpu));
}

int svm_vcpu_init(struct x86_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct page *page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	struct vmcb_control *c;
	unsigned int i;
	int r;

	if (!page)
		return -ENOMEM;
	svm->vmcb = page_address(page);
	svm->vmcb_pa = page_to_phys(page);
	svm->asid.cpu = -1;
	r = msrpm_create(svm);
	if (r)
		return r;

	for (i = 0; i < ARRAY_SIZE(svm_always); i++)
		vmcb_set_intercept(svm->vmcb, svm_always[i]);
	for (i = 0; i < 16; i++) {
		vmcb_set_intercept(svm->vmcb, ICPT_DR_READ + i);
		vmcb_set_intercept(svm->vmcb, ICPT_DR_WRITE + i);
	}
	c = &svm->vmcb->control;
	c->iopm_pa = svm_caps.iopm_pa;
	c->msrpm_pa = __pa(svm->msrpm);
	c->int_ctl = SVM_V_INTR_MASKING;
	c->np_control = SVM_NP_ENABLE;
	c->n_cr3 = x86_vcpu_vm(vcpu)->stage2.root_pa;
	svm->vmcb->save.g_pat = 0x0007040600070406ull;
	svm_update_intercepts(vcpu);
	return 0;
}

void svm_vcpu_destroy(struct x86_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	int cpu;

	/* A VMCB that comes to lie in the same page must not be taken for this one. */
	for_each_possible_cpu(cpu)
		cmpxchg(&per_cpu_ptr(&svm_cpu, cpu)->last, svm->vmcb, NULL);
	msrpm_destroy(svm);
	if (svm->vmcb)
		free_page((unsigned long)svm->vmcb);
	svm->vmcb = NULL;
}

static void svm_reset_seg(struct vmcb_seg *s, u16 attr)
{
	*s = (struct vmcb_seg){ .attr = attr, .limit = 0xffff };
}

void svm_vcpu_reset(struct x86_vcpu *vcpu, bool init)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_save *s = &svm->vmcb->save;
	struct vmcb_seg *data[] = { &s->es, &s->ss, &s->ds, &s->fs, &s->gs };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(data); i++)
		svm_reset_seg(data[i], 0x93);
	svm_reset_seg(&s->cs, 0x9b);
	s->cs.selector = 0xf000;
	s->cs.base = 0xffff0000;
	svm_reset_seg(&s->ldtr, 0x82);
	svm_reset_seg(&s->tr, 0x8b);
	svm_reset_seg(&s->gdtr, 0);
	svm_reset_seg(&s->idtr, 0);
	s->cpl = 0;
	s->dbgctl = 0;
	if (!init) {
		s->star = 0;
		s->lstar = 0;
		s->cstar = 0;
		s->sfmask = 0;
		s->kernel_gs_base = 0;
		s->sysenter_cs = 0;
		s->sysenter_esp = 0;
		s->sysenter_eip = 0;
		s->g_pat = 0x0007040600070406ull;
		svm->tsc_aux = 0;
		svm->spec_ctrl = 0;
	}
	svm_irq_window_close(svm);
	svm->vmcb->control.event_inj = 0;
	svm->vmcb->control.int_state = 0;
	svm->vmcb->control.exit_int_info = 0;
	svm_set_nmi_mask(vcpu, false);
	svm->nmi_step = false;
	svm->soft_injected = false;
	svm->asid.flush = true;
}

/* Preemption is off: @vcpu runs on this CPU until put. */
void svm_load(struct x86_vcpu *vcpu, int cpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);

	/* What VMLOAD brings back after an exit: this thread's FS, GS and the CPU's TR and system-call MSRs. */
	if (c->enabled)
		asm volatile("vmsave %0" : : "a" (c->host_save_pa) : "memory");
	if (c->last != svm->vmcb) {
		c->last = svm->vmcb;
		indirect_branch_prediction_barrier();
	}
	svm_tsc_aux_load(svm);
}

void svm_put(struct x86_vcpu *vcpu)
{
}
