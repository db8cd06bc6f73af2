/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An x86 vCPU and VM: the architectural state that is not the back end's, in plain sight.
 *
 * struct x86_vcpu embeds the core's vCPU first and is itself first in the back end's structure.  Fields belong to the thread
 * that holds vcpu->mutex unless marked: [A] atomic or any thread.
 */
#ifndef LODGE_X86_VCPU_H
#define LODGE_X86_VCPU_H

#include <linux/kvm.h>
#include <linux/types.h>
#include <asm/page_types.h>
#include <asm/fpu/types.h>

#include "core/memslot.h"
#include "core/vcpu.h"
#include "core/vm.h"
#include "x86/apf.h"
#include "x86/irqchip/irqchip.h"
#include "x86/irqchip/lapic.h"
#include "x86/mmu/stage2.h"
#include "x86/ops.h"

enum { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R15 = 15 };

/* Requests of the architecture. */
enum {
	LODGE_REQ_EVENT = LODGE_REQ_ARCH,	/* evaluate pending events before the next entry */
	LODGE_REQ_NMI,				/* nmi_queued changed */
	LODGE_REQ_CLOCK,			/* write pvclock again */
	LODGE_REQ_SCAN_IOAPIC,
	LODGE_REQ_TRIPLE_FAULT,
	LODGE_REQ_IOAPIC_EOI,			/* leave with KVM_EXIT_IOAPIC_EOI */
	LODGE_REQ_TPR_ACCESS,			/* leave with KVM_EXIT_TPR_ACCESS */
	LODGE_REQ_STEAL,
	LODGE_REQ_APF,
	LODGE_REQ_HW,				/* back end's own: intercepts to be computed again */
};

struct x86_exception {
	bool pending;		/* to be injected, not yet tried */
	bool injected;		/* put into the hardware, delivery may have been interrupted */
	bool has_error, has_payload;
	u8 vector;
	u32 error;
	u64 payload;		/* CR2 for #PF, DR6 bits for #DB */
};

struct x86_irq {
	bool injected;		/* in the hardware or to be put there again */
	bool soft;		/* INT n */
	u8 vector;
};

#define VCPU_ATTEND_PV_EOI	1
#define VCPU_ATTEND_VAPIC	2

struct vcpu_emul;		/* x86/emulate.c */
struct vcpu_cpuid;		/* x86/cpuid.c */
struct vcpu_msrs;		/* x86/msr.c */
struct vcpu_time;		/* x86/time.c */
struct vm_time;

struct x86_vcpu {
	struct lodge_vcpu core;

	u64 regs[16];
	u64 rip, rflags;
	u64 cr0, cr2, cr3, cr4, cr8, efer;
	u32 dirty;			/* VCPU_DIRTY_* */
	u64 pdpte[4];			/* HW_PDPTES: what is to be loaded with VCPU_DIRTY_PDPTES */
	bool pdptes_stale;		/* read them from memory before the next entry */
	u64 dr[4], dr6, dr7;
	u64 xcr0, ia32_xss;
	u64 guest_xcr0_mask;		/* what XSETBV may set */
	u64 cr4_guest_bits;		/* CR4 bits that the guest's CPUID allows */
	u32 pkru;

	struct fpu_guest fpu;		/* the guest's FPU state, swapped on KVM_RUN */

	struct x86_exception exception;
	struct x86_irq irq;
	u8 nmi_pending;			/* moved here from nmi_queued on the vCPU's thread */
	bool nmi_injected;
	atomic_t nmi_queued;		/* [A] */
	bool exception_payload;		/* KVM_CAP_EXCEPTION_PAYLOAD, mirrored from the VM */
	bool triple_fault_pending;

	u32 mp_state;			/* KVM_MP_STATE_* */
	struct lapic *lapic;		/* NULL without in-kernel LAPICs */
	u64 apic_base_user;		/* IA32_APIC_BASE without in-kernel LAPIC */
	bool user_irq_pending;		/* KVM_INTERRUPT */
	u8 user_irq;
	u8 ioapic_eoi_vector;
	bool tpr_reporting;
	bool emulating;			/* an exit is being handled: translations of the guest's may be in use */

	int (*complete)(struct x86_vcpu *vcpu);	/* finishes what the last user-space exit began; 1, 0, -errno */
	struct vcpu_emul *emul;
	struct vcpu_cpuid *cpuid;
	struct vcpu_msrs *msrs;
	struct vcpu_time *time;
	u64 tsc_offset;
	u64 last_host_tsc;

	/* guest debug (KVM_SET_GUEST_DEBUG) */
	u32 debug_control;		/* KVM_GUESTDBG_* */
	u64 debug_dr[4], debug_dr7;
	u64 singlestep_rip;

	struct {			/* x86/fetch.c: the memory slot that instructions were last read from */
		u64 generation;
		u64 gpa, size;		/* size 0: none */
		hva_t hva;
	} fetch_slot;

	struct vcpu_apf apf;
	struct lodge_guest_cache pv_eoi_cache;
	u64 pv_eoi_msr;
	bool pv_unhalted;		/* [A] kicked by KVM_HC_KICK_CPU: its next halt, or the present one, ends at once */

	struct lodge_guest_cache vapic_cache;	/* x86/vapic.c */
	u64 tpr_rip;			/* of the instruction whose access to the TPR user space is to be told of */
	bool tpr_write;
	u8 attention;			/* VCPU_ATTEND_*: work around every entry, for the LAPIC */
};

struct x86_vm {
	struct lodge_vm core;
	struct stage2 stage2;
	struct irqchip irqchip;
	struct vm_time *time;
	u64 tss_addr, identity_addr;
	u32 bsp_id;			/* KVM_SET_BOOT_CPU_ID */
	u64 disabled_exits;		/* KVM_CAP_X86_DISABLE_EXITS */
	u64 disabled_quirks;		/* KVM_CAP_DISABLE_QUIRKS; READ_ONCE */
	bool emulation_exits;		/* KVM_CAP_EXIT_ON_EMULATION_FAILURE; READ_ONCE */
	bool exception_payload;		/* KVM_CAP_EXCEPTION_PAYLOAD */
	bool triple_fault_event;
	bool platform_info_hidden;	/* KVM_CAP_MSR_PLATFORM_INFO switched off */
	bool noncoherent_dma;		/* devices see memory, not the caches; READ_ONCE */
	u32 user_msr_mask;		/* KVM_CAP_X86_USER_SPACE_MSR */
	struct msr_filter __rcu *msr_filter;
	u32 default_tsc_khz;
	u32 nr_mmu_pages;		/* KVM_SET_NR_MMU_PAGES */
};

static inline struct x86_vcpu *to_x86(struct lodge_vcpu *vcpu)
{
	return container_of(vcpu, struct x86_vcpu, core);
}

static inline struct x86_vm *to_x86_vm(struct lodge_vm *vm)
{
	return container_of(vm, struct x86_vm, core);
}

static inline struct x86_vm *x86_vcpu_vm(struct x86_vcpu *vcpu)
{
	return to_x86_vm(vcpu->core.vm);
}

static inline bool vcpu_is_bsp(struct x86_vcpu *vcpu)
{
	return vcpu->core.id == x86_vcpu_vm(vcpu)->bsp_id;
}

static inline bool vcpu_long_mode(const struct x86_vcpu *vcpu)
{
	return vcpu->efer & (1 << 10);	/* LMA */
}

/* Does the VM keep the old habit @quirk (KVM_X86_QUIRK_*) of KVM? */
static inline bool vm_has_quirk(struct x86_vm *vm, u64 quirk)
{
	return !(READ_ONCE(vm->disabled_quirks) & quirk);
}

/* RESET (@init false) or INIT: SDM 3A table 9-1, APM 2 table 14-1. */
void vcpu_reset(struct x86_vcpu *vcpu, bool init);

/* SIPI: real mode at @vector * 4 KiB. */
void vcpu_start_at(struct x86_vcpu *vcpu, u8 vector);

#endif
