/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The back-end contract: at most 40 operations that a vendor implements on architectural state.
 *
 * Register ownership.  regs[], rip, rflags, cr2, cr0, cr3, cr4, cr8, efer and the interrupt shadow of struct x86_vcpu are
 * current after run() returns; whoever changes one of them between exits uses the vcpu_set_* functions of x86/regs.h, which
 * note it in vcpu->dirty so that run() loads it.  Segments, descriptor tables, DRs and MSRs that the guest writes without an
 * exit live in the back end and are reached through ops.
 *
 * Short cuts.  A back end may answer an exit inside run() with interrupts off and return EXIT_REENTER, or enter again by
 * itself, where a measurement showed that it pays.  They are:
 *
 *	svm, x86/svm/hot.c; instructions per round trip with and without (QEMU TCG, -icount, no NRIP save, no mitigations)
 *	CPUID				  622	1,365
 *	WRMSR x2APIC EOI		  697	1,097
 *	WRMSR x2APIC ICR (to itself)	2,230	2,896
 *	WRMSR TSC_DEADLINE		1,004	1,391
 */
#ifndef LODGE_X86_OPS_H
#define LODGE_X86_OPS_H

#include <linux/kvm.h>
#include <linux/types.h>

#include "x86/exit.h"
#include "x86/mmu/stage2.h"

struct x86_vcpu;
struct x86_vm;

/* vcpu->dirty bits: what run() must load. */
#define VCPU_DIRTY_CR0		(1u << 0)
#define VCPU_DIRTY_CR3		(1u << 1)
#define VCPU_DIRTY_CR4		(1u << 2)
#define VCPU_DIRTY_EFER		(1u << 3)
#define VCPU_DIRTY_CR2		(1u << 4)
#define VCPU_DIRTY_CR8		(1u << 5)
#define VCPU_DIRTY_PDPTES	(1u << 6)
#define VCPU_DIRTY_ALL		(~0u)
/* rip, rflags and regs[] are always loaded. */

struct x86_ops {
	const char *name;			/* "svm", "vmx": for messages only */
	size_t vcpu_size, vm_size;		/* of the back end's structures, x86_vcpu / x86_vm first */
	const struct stage2_format *stage2;

	/* hardware */
	int (*init)(void);			/* module load; prints what is missing, -EOPNOTSUPP */
	void (*exit)(void);
	int (*hw_enable)(void);			/* this CPU; -EBUSY if taken */
	void (*hw_disable)(void);
	bool (*has_feature)(int feature);	/* enum x86_hw_feature */

	/* life */
	int (*vm_init)(struct x86_vm *vm);
	void (*vm_destroy)(struct x86_vm *vm);
	int (*vcpu_init)(struct x86_vcpu *vcpu);
	void (*vcpu_destroy)(struct x86_vcpu *vcpu);
	void (*vcpu_reset)(struct x86_vcpu *vcpu, bool init);	/* back end's part of RESET or INIT */
	void (*cpuid_changed)(struct x86_vcpu *vcpu);	/* intercepts that depend on the guest's CPUID, MSR filter, irqchip */
	void (*load)(struct x86_vcpu *vcpu, int cpu);
	void (*put)(struct x86_vcpu *vcpu);

	/*
	 * Enter the guest and come back with *e filled.  Interrupts off on entry and on return; mode is IN_GUEST.
	 * Pending host interrupts are taken by the caller when it enables interrupts.
	 */
	void (*run)(struct x86_vcpu *vcpu, struct lodge_exit *e);

	/* state */
	void (*get_segment)(struct x86_vcpu *vcpu, int seg, struct kvm_segment *s);	/* enum x86_seg */
	void (*set_segment)(struct x86_vcpu *vcpu, int seg, const struct kvm_segment *s);
	void (*get_table)(struct x86_vcpu *vcpu, bool idt, struct kvm_dtable *t);
	void (*set_table)(struct x86_vcpu *vcpu, bool idt, const struct kvm_dtable *t);
	u8 (*cpl)(struct x86_vcpu *vcpu);
	u64 (*get_cs)(struct x86_vcpu *vcpu, bool *l, bool *db);	/* base, and the bits that tell the mode */
	/* MSRs that live in hardware state: 0, or 1 = not one of mine.  Values are checked already. */
	int (*get_msr)(struct x86_vcpu *vcpu, u32 msr, u64 *val);
	int (*set_msr)(struct x86_vcpu *vcpu, u32 msr, u64 val);
	void (*pass_msr)(struct x86_vcpu *vcpu, u32 msr, bool read, bool write);	/* no exit for these accesses */
	void (*get_dr)(struct x86_vcpu *vcpu);		/* live DRs into vcpu->dr[], dr6, dr7 */
	void (*set_dr)(struct x86_vcpu *vcpu);		/* vcpu->dr7 and the debug intercepts changed */
	void (*set_tsc_offset)(struct x86_vcpu *vcpu, u64 offset);
	void (*flush_tlb)(struct x86_vcpu *vcpu);	/* all of this vCPU's translations, before the next entry */
	void (*flush_gva)(struct x86_vcpu *vcpu, u64 gva);

	/* events */
	void (*inject_exception)(struct x86_vcpu *vcpu);	/* vcpu->exception */
	void (*inject_irq)(struct x86_vcpu *vcpu);		/* vcpu->irq */
	void (*inject_nmi)(struct x86_vcpu *vcpu);
	bool (*nmi_blocked)(struct x86_vcpu *vcpu);		/* masked by an earlier NMI */
	void (*set_nmi_mask)(struct x86_vcpu *vcpu, bool masked);
	void (*irq_window)(struct x86_vcpu *vcpu);		/* exit as soon as INTR can be taken */
	void (*nmi_window)(struct x86_vcpu *vcpu);
	u8 (*shadow)(struct x86_vcpu *vcpu);			/* KVM_X86_SHADOW_INT_* */
	void (*set_shadow)(struct x86_vcpu *vcpu, u8 shadow);
	void (*cancel_injection)(struct x86_vcpu *vcpu);	/* entry was called off, or refused, after inject_* */
};

enum x86_hw_feature {
	HW_INSN_LEN,		/* exits carry the instruction's length */
	HW_TSC_SCALING,
	HW_DIRTY_LOG,		/* PML */
	HW_PDPTES,		/* PAE's four top entries are registers, loaded with CR3 and by changes of the mode */
	HW_SPEC_CTRL,		/* the guest's IA32_SPEC_CTRL is switched with it, IA32_PRED_CMD reaches the hardware */
};

enum x86_seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR };

extern const struct x86_ops *x86_ops;	/* chosen at load, x86/vcpu.c */
extern const struct x86_ops svm_ops;
extern const struct x86_ops vmx_ops;

#endif
