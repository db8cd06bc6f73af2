/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the VT-x back end share: its vCPU, the CPU's state, and the functions behind vmx_ops.
 */
#ifndef LODGE_VMX_H
#define LODGE_VMX_H

#include <linux/list.h>
#include <linux/percpu.h>

#include "x86/vcpu.h"
#include "x86/vmx/insn.h"
#include "x86/vmx/vmcs.h"

/* The system-call MSRs: while the guest's are in the CPU, the host's are here. */
enum { VMX_MSR_STAR, VMX_MSR_LSTAR, VMX_MSR_CSTAR, VMX_MSR_SFMASK, VMX_MSR_KERNEL_GS, VMX_MSR_TSC_AUX, VMX_MSRS };
extern const u32 vmx_msr_index[VMX_MSRS];

struct vmx_vcpu {
	struct x86_vcpu x86;

	struct page *vmcs;
	u64 vmcs_pa;
	struct list_head link;		/* of vmx_cpu.loaded, on the CPU vmcs_cpu, interrupts off */
	int vmcs_cpu;			/* that holds the VMCS active, -1: cleared */
	bool launched;
	int last_cpu;			/* that has translations of it, -1: none */
	u64 *msr_bitmap;
	u16 vpid;			/* 0: none was left, every entry and exit flushes */
	bool flush;			/* drop this guest's translations at the next entry */

	u32 cpu_ctls, cpu_ctls2, entry_ctls, tpr_threshold;	/* as last written to the VMCS */
	u64 host_rsp, host_cr3, host_cr4;			/* the same */

	bool switched;			/* the CPU has the guest's msr[], FS, GS, DS and ES */
	u64 msr[VMX_MSRS], host_msr[VMX_MSRS];
	u64 host_fs_base;
	u16 host_ds, host_es, host_fs, host_gs;
	u64 spec_ctrl;

	bool event;			/* the entry event was filled since the last exit */
	u32 reason;			/* of the last exit */
	u32 idt_event;			/* what it interrupted */
};

static inline struct vmx_vcpu *to_vmx(struct x86_vcpu *vcpu)
{
	return container_of(vcpu, struct vmx_vcpu, x86);
}

/* What this host's VT-x has, filled by vmx_caps_read. */
struct vmx_caps {
	u32 revision;
	u32 pin, cpu, cpu2, exit, entry;	/* the controls that every VMCS gets */
	u64 cr0_fixed0, cr4_fixed0, cr4_fixed1;
	bool ept_ad, vpid, vpid_address, rdtscp, invpcid, xsaves, spec_ctrl, l1d_flush;
	u64 host_efer, host_pat;
};
extern struct vmx_caps vmx_caps;

struct vmx_cpu {
	struct page *region;			/* VMXON's */
	struct list_head loaded;		/* VMCSs that are active here; interrupts off */
	struct vmx_vcpu *current_vmcs, *last;	/* last: whose predictions may linger */
	bool enabled;
};
DECLARE_PER_CPU(struct vmx_cpu, vmx_cpu);

/* CR0 bits that the guest changes without an exit, SDM 3C §25.6.6; the host keeps NE, and CD and NW are not loaded by entries. */
#define VMX_CR0_GUEST	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_WP | X86_CR0_AM | X86_CR0_PG)

/* caps.c: 0; -ENODEV: not a CPU of this kind; -EOPNOTSUPP: something is missing, and was named */
int vmx_caps_read(void);

/* The kernel's, exported but in none of its headers: sysfs tells from it whether guests can do harm with the erratum. */
extern bool itlb_multihit_kvm_mitigation;

/* vmx.c */
int vmx_hw_enable(void);
void vmx_hw_disable(void);

/* life.c */
int vmx_vm_init(struct x86_vm *vm);
void vmx_vm_destroy(struct x86_vm *vm);
int vmx_vcpu_init(struct x86_vcpu *vcpu);
void vmx_vcpu_destroy(struct x86_vcpu *vcpu);
void vmx_vcpu_reset(struct x86_vcpu *vcpu, bool init);
void vmx_update_controls(struct x86_vcpu *vcpu);
int vmx_life_init(void);
void vmx_life_exit(void);

/* load.c: the VMCS and the host's registers, on and off the CPU */
void vmx_load(struct x86_vcpu *vcpu, int cpu);
void vmx_put(struct x86_vcpu *vcpu);
void vmx_switch_to_guest(struct vmx_vcpu *vmx);
void vmx_clear_vmcs(struct vmx_vcpu *vmx);
void vmx_clear_cpu(struct vmx_cpu *c);		/* every VMCS of this CPU; interrupts off */

/* run.c */
void vmx_run(struct x86_vcpu *vcpu, struct lodge_exit *e);
void vmx_set_cpu_ctls(struct vmx_vcpu *vmx, u32 ctls);

/*
 * entry.S: 0 after an exit, 1 if the CPU refused to enter.  @regs is x86_vcpu.regs, without RSP, which the VMCS has.
 * Interrupts off.
 */
int vmx_enter_guest(u64 *regs, bool launched, u64 *host_rsp, u64 spec_ctrl);
void vmx_guest_exit(void);	/* where the CPU goes on after an exit; not to be called */

/* exit.c */
void vmx_decode_exit(struct vmx_vcpu *vmx, struct lodge_exit *e);

/* hot.c */
bool vmx_hot_exit(struct vmx_vcpu *vmx);

/* event.c */
void vmx_inject_exception(struct x86_vcpu *vcpu);
void vmx_inject_irq(struct x86_vcpu *vcpu);
void vmx_inject_nmi(struct x86_vcpu *vcpu);
bool vmx_nmi_blocked(struct x86_vcpu *vcpu);
void vmx_set_nmi_mask(struct x86_vcpu *vcpu, bool masked);
void vmx_irq_window(struct x86_vcpu *vcpu);
void vmx_nmi_window(struct x86_vcpu *vcpu);
u8 vmx_shadow(struct x86_vcpu *vcpu);
void vmx_set_shadow(struct x86_vcpu *vcpu, u8 shadow);
void vmx_cancel_injection(struct x86_vcpu *vcpu);
void vmx_complete_events(struct vmx_vcpu *vmx);

/* state.c */
void vmx_get_segment(struct x86_vcpu *vcpu, int seg, struct kvm_segment *s);
void vmx_set_segment(struct x86_vcpu *vcpu, int seg, const struct kvm_segment *s);
void vmx_get_table(struct x86_vcpu *vcpu, bool idt, struct kvm_dtable *t);
void vmx_set_table(struct x86_vcpu *vcpu, bool idt, const struct kvm_dtable *t);
u8 vmx_cpl(struct x86_vcpu *vcpu);
u64 vmx_get_cs(struct x86_vcpu *vcpu, bool *l, bool *db);
int vmx_get_msr(struct x86_vcpu *vcpu, u32 msr, u64 *val);
int vmx_set_msr(struct x86_vcpu *vcpu, u32 msr, u64 val);
void vmx_pass_msr(struct x86_vcpu *vcpu, u32 msr, bool read, bool write);
void vmx_get_dr(struct x86_vcpu *vcpu);
void vmx_set_dr(struct x86_vcpu *vcpu);
void vmx_set_tsc_offset(struct x86_vcpu *vcpu, u64 offset);
void vmx_flush_tlb(struct x86_vcpu *vcpu);
void vmx_flush_gva(struct x86_vcpu *vcpu, u64 gva);

#endif
