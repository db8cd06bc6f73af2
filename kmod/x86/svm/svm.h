/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the SVM back end share: its vCPU, the CPU's state, and the functions behind svm_ops.
 */
#ifndef LODGE_SVM_H
#define LODGE_SVM_H

#include <linux/percpu.h>

#include "x86/svm/asid.h"
#include "x86/svm/vmcb.h"
#include "x86/vcpu.h"

struct svm_vcpu {
	struct x86_vcpu x86;

	struct vmcb *vmcb;
	u64 vmcb_pa;
	u8 *msrpm;			/* two pages */
	struct asid_vcpu asid;

	bool nmi_masked;		/* an NMI was injected, its IRET has not completed */
	bool iret_seen;			/* the IRET exit came: masking ends when RIP leaves iret_rip */
	u64 iret_rip;
	bool nmi_step;			/* single-stepping over that IRET for a pending NMI */
	bool nmi_next;			/* an NMI is due as soon as the event of this entry has been delivered */
	u64 nmi_step_flags;		/* TF and RF as the guest has them */

	bool event;			/* EVENTINJ was filled since the last exit */
	bool soft_injected;		/* RIP was moved past INT n for the injection, from soft_rip */
	u64 soft_rip;
	bool trap_injected;		/* #BP or #OF, with RIP at trap_rip */
	u64 trap_rip;

	u64 cpuid_cr4;			/* CR4 that CPUID answers were last made for */
	u64 tsc_aux;
	u64 spec_ctrl;
};

static inline struct svm_vcpu *to_svm(struct x86_vcpu *vcpu)
{
	return container_of(vcpu, struct svm_vcpu, x86);
}

/* VMRUN refused the state, APM 2 §15.5.1.  Of the code QEMU's emulator writes the lower half alone. */
static __always_inline bool svm_refused(const struct svm_vcpu *svm)
{
	return (u32)svm->vmcb->control.exit_code == (u32)SVM_EXIT_INVALID;
}

/* What this host's SVM has, filled by svm_init. */
struct svm_caps {
	u32 asids;
	bool nrip;			/* NRIP save */
	bool flush_by_asid;
	bool rdtscp, spec_ctrl;
	u64 cr4_hw;			/* CR4 bits that the hardware takes from a guest without #GP */
	u64 iopm_pa;
};
extern struct svm_caps svm_caps;

struct svm_cpu {
	struct asid_cpu asid;
	bool enabled;
	struct page *host_save;		/* VMSAVE image of the host */
	struct page *hsave;		/* VM_HSAVE_PA */
	u64 host_save_pa;
	struct vmcb *last;		/* whose predictions may linger: IBPB when another comes */
	u64 host_tsc_aux, tsc_aux;	/* the CPU holds tsc_aux until it returns to user space */
	struct user_return_notifier *urn;
};
DECLARE_PER_CPU(struct svm_cpu, svm_cpu);

/* svm.c */
int svm_init(void);
void svm_exit(void);
int svm_hw_enable(void);
void svm_hw_disable(void);
bool svm_has_feature(int feature);
void svm_tsc_aux_load(struct svm_vcpu *svm);

/* life.c */
int svm_vm_init(struct x86_vm *vm);
void svm_vm_destroy(struct x86_vm *vm);
int svm_vcpu_init(struct x86_vcpu *vcpu);
void svm_vcpu_destroy(struct x86_vcpu *vcpu);
void svm_vcpu_reset(struct x86_vcpu *vcpu, bool init);
void svm_update_intercepts(struct x86_vcpu *vcpu);
void svm_load(struct x86_vcpu *vcpu, int cpu);
void svm_put(struct x86_vcpu *vcpu);

/* msrpm.c */
int msrpm_create(struct svm_vcpu *svm);
void msrpm_update(struct svm_vcpu *svm);
void msrpm_destroy(struct svm_vcpu *svm);
void msrpm_pass(u8 *map, u32 msr, bool read, bool write);
void svm_pass_msr(struct x86_vcpu *vcpu, u32 msr, bool read, bool write);

/* run.c */
void svm_run(struct x86_vcpu *vcpu, struct lodge_exit *e);

/* entry.S: @regs is x86_vcpu.regs, without RAX and RSP, which VMRUN moves.  GIF clear, interrupts off, on both sides. */
void svm_vmrun(u64 *regs, u64 vmcb_pa, u64 host_save_pa, u64 spec_ctrl);

/* exit.c: the hardware's exit in neutral words.  Interrupts off. */
void svm_decode_exit(struct svm_vcpu *svm, struct lodge_exit *e);

/* hot.c: answers with interrupts off; true: enter again */
bool svm_hot_exit(struct svm_vcpu *svm);

/* event.c */
void svm_inject_exception(struct x86_vcpu *vcpu);
void svm_inject_irq(struct x86_vcpu *vcpu);
void svm_inject_nmi(struct x86_vcpu *vcpu);
bool svm_nmi_blocked(struct x86_vcpu *vcpu);
void svm_set_nmi_mask(struct x86_vcpu *vcpu, bool masked);
void svm_irq_window(struct x86_vcpu *vcpu);
void svm_nmi_window(struct x86_vcpu *vcpu);
void svm_irq_window_close(struct svm_vcpu *svm);
u8 svm_shadow(struct x86_vcpu *vcpu);
void svm_set_shadow(struct x86_vcpu *vcpu, u8 shadow);
void svm_cancel_injection(struct x86_vcpu *vcpu);
void svm_complete_events(struct svm_vcpu *svm);
bool svm_db_was_ours(struct svm_vcpu *svm);
void svm_iret_seen(struct svm_vcpu *svm);

/* state.c */
void svm_get_segment(struct x86_vcpu *vcpu, int seg, struct kvm_segment *s);
void svm_set_segment(struct x86_vcpu *vcpu, int seg, const struct kvm_segment *s);
void svm_get_table(struct x86_vcpu *vcpu, bool idt, struct kvm_dtable *t);
void svm_set_table(struct x86_vcpu *vcpu, bool idt, const struct kvm_dtable *t);
u8 svm_cpl(struct x86_vcpu *vcpu);
u64 svm_get_cs(struct x86_vcpu *vcpu, bool *l, bool *db);
int svm_get_msr(struct x86_vcpu *vcpu, u32 msr, u64 *val);
int svm_set_msr(struct x86_vcpu *vcpu, u32 msr, u64 val);
void svm_get_dr(struct x86_vcpu *vcpu);
void svm_set_dr(struct x86_vcpu *vcpu);
void svm_set_tsc_offset(struct x86_vcpu *vcpu, u64 offset);
void svm_flush_tlb(struct x86_vcpu *vcpu);
void svm_flush_gva(struct x86_vcpu *vcpu, u64 gva);

#endif
