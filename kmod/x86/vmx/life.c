// SPDX-License-Identifier: GPL-2.0-only
/*
 * Birth, reset and end of a vCPU's VMCS, and which of the guest's acts end its run.
 *
 * The guest is left alone where the hardware can be: with EPT its CR3, page faults and INVLPG are its own; of CR0 and CR4 it owns
 * the bits whose change needs nobody; CR8 is the TPR in the LAPIC's own register page, which the hardware reads and writes.
 */
#include <linux/bitmap.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <asm/desc.h>
#include <asm/io.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>

#include "x86/cpuid.h"
#include "x86/msr.h"
#include "x86/regs.h"
#include "x86/vmx/vmx.h"

#define VPIDS	(1u << 16)

/* In TSC ticks, SDM 3C §25.6.13: PAUSEs this close belong to one loop, and one this long ends the run. */
#define PAUSE_GAP	128
#define PAUSE_WINDOW	4096

static unsigned long *vpid_map;
static DEFINE_MUTEX(vpid_lock);		/* vpid_map */

int vmx_life_init(void)
{
	vpid_map = bitmap_zalloc(VPIDS, GFP_KERNEL);
	if (!vpid_map)
		return -ENOMEM;
	__set_bit(0, vpid_map);		/* the host's */
	return 0;
}

void vmx_life_exit(void)
{
	bitmap_free(vpid_map);
	vpid_map = NULL;
}

static u16 vpid_take(void)
{
	unsigned int vpid;

	if (!vmx_caps.vpid)
		return 0;
	mutex_lock(&vpid_lock);
	vpid = find_first_zero_bit(vpid_map, VPIDS);
	if (vpid < VPIDS)
		__set_bit(vpid, vpid_map);
	else
		vpid = 0;
	mutex_unlock(&vpid_lock);
	return vpid;
}

static void vpid_give_back(u16 vpid)
{
	if (!vpid)
		return;
	mutex_lock(&vpid_lock);
	__clear_bit(vpid, vpid_map);
	mutex_unlock(&vpid_lock);
}

int vmx_vm_init(struct x86_vm *vm)
{
	return 0;
}

void vmx_vm_destroy(struct x86_vm *vm)
{
}

/* ---- controls ---- */

/* The VMCS is current. */
static void vmx_write_exceptions(struct x86_vcpu *vcpu)
{
	/* #DB and #AC: their delivery can raise them again without end; #UD: the other vendor's hypercall; #MC is the host's. */
	u32 bits = BIT(1) | BIT(6) | BIT(17) | BIT(18);

	if ((vcpu->debug_control & KVM_GUESTDBG_ENABLE) && (vcpu->debug_control & KVM_GUESTDBG_USE_SW_BP))
		bits |= BIT(3);
	vmcs_write(VMCS_EXCEPTION_BITMAP, bits);
}

/* CR4 bits that the guest may change without an exit. */
static u64 vmx_cr4_guest(const struct x86_vcpu *vcpu)
{
	const u64 free = X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE |
			 X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_UMIP | X86_CR4_FSGSBASE | X86_CR4_SMEP |
			 X86_CR4_SMAP;

	return free & vcpu->cr4_guest_bits & vmx_caps.cr4_fixed1 & ~vmx_caps.cr4_fixed0;
}

static const u32 vmx_free_msrs[] = {
	MSR_KERNEL_GS_BASE, MSR_FS_BASE, MSR_GS_BASE, MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
};

static void vmx_update_msr_bitmap(struct x86_vcpu *vcpu)
{
	struct x86_vm *vm = x86_vcpu_vm(vcpu);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(vmx_free_msrs); i++)
		vmx_pass_msr(vcpu, vmx_free_msrs[i], msr_filter_allows(vm, vmx_free_msrs[i], false),
			     msr_filter_allows(vm, vmx_free_msrs[i], true));
}

void vmx_update_controls(struct x86_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	u64 off = x86_vcpu_vm(vcpu)->disabled_exits;
	u32 ctls = vmx_caps.cpu, ctls2 = vmx_caps.cpu2;

	ctls |= vmx->cpu_ctls & (VMX_CPU_INTR_WINDOW | VMX_CPU_NMI_WINDOW);
	if (off & KVM_X86_DISABLE_EXITS_HLT)
		ctls &= ~VMX_CPU_HLT;
	if (off & KVM_X86_DISABLE_EXITS_MWAIT)
		ctls &= ~(VMX_CPU_MWAIT | VMX_CPU_MONITOR);
	if (!vcpu->lapic)
		ctls = (ctls & ~VMX_CPU_TPR_SHADOW) | VMX_CPU_CR8_LOAD | VMX_CPU_CR8_STORE;
	vmx_set_cpu_ctls(vmx, ctls);

	/* Without the control the instruction is #UD, which is what a guest without the feature expects. */
	if (!cpuid_has(vcpu, CPUW_80000001_EDX, 27) && !cpuid_has(vcpu, CPUW_7_ECX, 22))
		ctls2 &= ~VMX_CPU2_RDTSCP;
	if (!cpuid_has(vcpu, CPUW_7_EBX, 10))
		ctls2 &= ~VMX_CPU2_INVPCID;
	if (!cpuid_has(vcpu, CPUW_D_1_EAX, 3))
		ctls2 &= ~VMX_CPU2_XSAVES;
	if (!vmx->vpid)
		ctls2 &= ~VMX_CPU2_VPID;
	if (off & KVM_X86_DISABLE_EXITS_PAUSE)
		ctls2 &= ~VMX_CPU2_PAUSE_LOOP;
	if (ctls2 != vmx->cpu_ctls2) {
		vmx->cpu_ctls2 = ctls2;
		vmcs_write(VMCS_CPU_CTLS2, ctls2);
	}
	vmcs_write(VMCS_CR0_MASK, ~(u64)VMX_CR0_GUEST);
	vmcs_write(VMCS_CR4_MASK, ~vmx_cr4_guest(vcpu));
	vcpu->dirty |= VCPU_DIRTY_CR0 | VCPU_DIRTY_CR4;
	vmx_write_exceptions(vcpu);
	vmx_update_msr_bitmap(vcpu);
}

/* ---- birth ---- */

static void vmx_write_host_state(void)
{
	struct desc_ptr idt;
	u64 val;

	vmcs_write(VMCS_HOST_CR0, read_cr0() & ~(u64)X86_CR0_TS);
	vmcs_write(VMCS_HOST_CS_SEL, __KERNEL_CS);
	vmcs_write(VMCS_HOST_SS_SEL, __KERNEL_DS);
	vmcs_write(VMCS_HOST_DS_SEL, 0);
	vmcs_write(VMCS_HOST_ES_SEL, 0);
	vmcs_write(VMCS_HOST_FS_SEL, 0);
	vmcs_write(VMCS_HOST_GS_SEL, 0);
	vmcs_write(VMCS_HOST_TR_SEL, GDT_ENTRY_TSS * 8);
	store_idt(&idt);
	vmcs_write(VMCS_HOST_IDTR_BASE, idt.address);
	vmcs_write(VMCS_HOST_RIP, (unsigned long)vmx_guest_exit);
	rdmsrl(MSR_IA32_SYSENTER_CS, val);
	vmcs_write(VMCS_HOST_SYSENTER_CS, val);
	rdmsrl(MSR_IA32_SYSENTER_EIP, val);
	vmcs_write(VMCS_HOST_SYSENTER_EIP, val);
	vmcs_write(VMCS_HOST_EFER, vmx_caps.host_efer);
	vmcs_write(VMCS_HOST_PAT, vmx_caps.host_pat);
}

/* The VMCS is new, active and current: everything that it does not get later. */
static void vmx_write_new(struct vmx_vcpu *vmx)
{
	struct x86_vcpu *vcpu = &vmx->x86;
	u64 eptp = x86_vcpu_vm(vcpu)->stage2.root_pa | 6 | 3 << 3 | (vmx_caps.ept_ad ? BIT(6) : 0);

	vmcs_write(VMCS_PIN_CTLS, vmx_caps.pin);
	vmcs_write(VMCS_EXIT_CTLS, vmx_caps.exit);
	vmx->entry_ctls = vmx_caps.entry;
	vmcs_write(VMCS_ENTRY_CTLS, vmx->entry_ctls);
	vmcs_write(VMCS_PF_MASK, 0);
	vmcs_write(VMCS_PF_MATCH, 0);
	vmcs_write(VMCS_CR3_TARGETS, 0);
	vmcs_write(VMCS_EXIT_MSR_STORES, 0);
	vmcs_write(VMCS_EXIT_MSR_LOADS, 0);
	vmcs_write(VMCS_ENTRY_MSR_LOADS, 0);
	vmcs_write(VMCS_ENTRY_EVENT, 0);
	vmcs_write(VMCS_MSR_BITMAP, __pa(vmx->msr_bitmap));
	vmcs_write(VMCS_EPTP, eptp);
	vmcs_write(VMCS_LINK_POINTER, ~0ull);
	vmcs_write(VMCS_GUEST_DEBUGCTL, 0);
	vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
	vmcs_write(VMCS_GUEST_ACTIVITY, 0);
	vmcs_write(VMCS_GUEST_INT_STATE, 0);
	if (vmx_caps.vpid)
		vmcs_write(VMCS_VPID, vmx->vpid);
	if (vcpu->lapic) {
		vmcs_write(VMCS_VAPIC_PAGE, __pa(vcpu->lapic->regs));
		vmcs_write(VMCS_TPR_THRESHOLD, 0);
	}
	if (vmx_caps.cpu2 & VMX_CPU2_PAUSE_LOOP) {
		vmcs_write(VMCS_PAUSE_GAP, PAUSE_GAP);
		vmcs_write(VMCS_PAUSE_WINDOW, PAUSE_WINDOW);
	}
	if (vmx_caps.cpu2 & VMX_CPU2_XSAVES)
		vmcs_write(VMCS_XSS_EXIT_BITMAP, 0);
	vmx_write_host_state();
	vmx_update_controls(vcpu);
}

int vmx_vcpu_init(struct x86_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	vmx->vmcs_cpu = -1;
	vmx->last_cpu = -1;
	vmx->vmcs = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	vmx->msr_bitmap = (u64 *)__get_free_page(GFP_KERNEL_ACCOUNT);
	if (!vmx->vmcs || !vmx->msr_bitmap)
		return -ENOMEM;
	memset(vmx->msr_bitmap, 0xff, PAGE_SIZE);	/* every MSR exits */
	vmx->vmcs_pa = page_to_phys(vmx->vmcs);
	*(u32 *)page_address(vmx->vmcs) = vmx_caps.revision;
	vmx->vpid = vpid_take();
	return 0;
}

void vmx_vcpu_destroy(struct x86_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	int cpu;

	if (!vmx->vmcs && !vmx->msr_bitmap)
		return;
	vmx_clear_vmcs(vmx);
	/* A vCPU that comes to lie in the same memory must not be taken for this one. */
	for_each_possible_cpu(cpu)
		cmpxchg(&per_cpu_ptr(&vmx_cpu, cpu)->last, vmx, NULL);
	vpid_give_back(vmx->vpid);
	if (vmx->vmcs)
		__free_page(vmx->vmcs);
	free_page((unsigned long)vmx->msr_bitmap);
	vmx->vmcs = NULL;
	vmx->msr_bitmap = NULL;
}

/* ---- reset ---- */

static void vmx_reset_segments(struct x86_vcpu *vcpu)
{
	const struct kvm_segment data = { .limit = 0xffff, .type = 3, .s = 1, .present = 1 };
	const struct kvm_dtable table = { .limit = 0xffff };
	struct kvm_segment s = data;
	int seg;

	for (seg = SEG_ES; seg <= SEG_GS; seg++)
		if (seg != SEG_CS)
			vmx_set_segment(vcpu, seg, &data);
	s.type = 11;
	s.selector = 0xf000;
	s.base = 0xffff0000;
	vmx_set_segment(vcpu, SEG_CS, &s);
	s = (struct kvm_segment){ .limit = 0xffff, .type = 2, .present = 1 };
	vmx_set_segment(vcpu, SEG_LDTR, &s);
	s.type = 11;
	vmx_set_segment(vcpu, SEG_TR, &s);
	vmx_set_table(vcpu, false, &table);
	vmx_set_table(vcpu, true, &table);
}

void vmx_vcpu_reset(struct x86_vcpu *vcpu, bool init)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	/* The first time: nothing is in it. */
	if (!vmx->entry_ctls)
		vmx_write_new(vmx);
	vmx_reset_segments(vcpu);
	if (!init) {
		memset(vmx->msr, 0, sizeof(vmx->msr));
		vmcs_write(VMCS_GUEST_SYSENTER_CS, 0);
		vmcs_write(VMCS_GUEST_SYSENTER_ESP, 0);
		vmcs_write(VMCS_GUEST_SYSENTER_EIP, 0);
		vmcs_write(VMCS_GUEST_PAT, 0x0007040600070406ull);
		vmx->spec_ctrl = 0;
	}
	vmx_set_cpu_ctls(vmx, vmx->cpu_ctls & ~(VMX_CPU_INTR_WINDOW | VMX_CPU_NMI_WINDOW));
	vmcs_write(VMCS_ENTRY_EVENT, 0);
	vmcs_write(VMCS_GUEST_INT_STATE, 0);
	vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
	vmx->event = false;
	vmx->idt_event = 0;
	vmx->flush = true;
}
