/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The local APIC of a vCPU: SDM 3A ch. 10-12 (APIC, x2APIC), APM 2 ch. 16.
 *
 * Registers live in one page in the xAPIC's own layout, which is also what KVM_GET_LAPIC returns.  IRR is set by any thread
 * with atomic bit operations; ISR, TPR and the rest belong to the vCPU's thread.
 */
#ifndef LODGE_X86_IRQCHIP_LAPIC_H
#define LODGE_X86_IRQCHIP_LAPIC_H

#include <linux/bitmap.h>
#include <linux/hrtimer.h>
#include <linux/kvm.h>
#include <linux/types.h>

#include "core/addr.h"

struct lodge_vcpu;
struct lodge_vm;

#define APIC_BASE_DEFAULT	0xfee00000ull

enum lapic_timer_mode { LAPIC_ONESHOT, LAPIC_PERIODIC, LAPIC_TSC_DEADLINE };

struct lapic_timer {
	struct hrtimer hrtimer;
	ktime_t period;			/* of the current count, ns; 0 = stopped */
	ktime_t expiry;
	u64 tsc_deadline;		/* 0 = disarmed */
	u8 mode;			/* enum lapic_timer_mode */
	u32 divide;			/* 1, 2, 4 ... 128 */
};

struct lapic {
	struct lodge_vcpu *vcpu;
	u8 *regs;			/* one page */
	u64 base;			/* IA32_APIC_BASE */
	u8 highest_isr;			/* cache, 0 = none */
	bool irr_pending;		/* may be true without need, never false wrongly */
	bool sw_enabled;
	bool hw_enabled;
	bool x2apic;
	bool pv_eoi_pending;		/* the guest's PV EOI flag has been set for the highest vector in service */
	unsigned long init_sipi;	/* LAPIC_INIT, LAPIC_SIPI pending, atomic */
	u8 sipi_vector;
	struct lapic_timer timer;
	u32 esr_pending;		/* errors since ESR was last written */
	DECLARE_BITMAP(eoi_exit, 256);	/* vectors whose EOI the IOAPIC or the VMM wants beyond level-triggered ones */
};

#define LAPIC_INIT	0
#define LAPIC_SIPI	1

/* An interrupt message, as an ICR write, an IOAPIC entry or an MSI makes one. */
struct lapic_msg {
	u32 dest;
	u8 vector;
	u8 mode;		/* delivery mode: LAPIC_DM_* */
	u8 shorthand;		/* ICR bits 18-19 */
	bool logical;
	bool level;		/* trigger */
	bool assert;
	bool redirect_hint;
};
#define LAPIC_DM_FIXED	0
#define LAPIC_DM_LOWEST	1
#define LAPIC_DM_SMI	2
#define LAPIC_DM_NMI	4
#define LAPIC_DM_INIT	5
#define LAPIC_DM_SIPI	6
#define LAPIC_DM_EXTINT	7

int lapic_create(struct lodge_vcpu *vcpu, struct lapic **out);
void lapic_destroy(struct lapic *l);			/* NULL is fine */
void lapic_reset(struct lapic *l, bool init);		/* @init: INIT signal: base is kept */

/* ---- what the vCPU's thread asks (entry path) ---- */
/* Highest vector in IRR above PPR, or -1. Updates PPR. */
int lapic_pending_vector(struct lapic *l);
/* Take @vector (from lapic_pending_vector): IRR to ISR. */
void lapic_take(struct lapic *l, int vector);
/* INTR from the PIC is let through (LVT LINT0 = ExtINT and unmasked, or the APIC is off). */
bool lapic_accepts_extint(struct lapic *l);
void lapic_set_tpr(struct lapic *l, u8 tpr);		/* 8-bit TPR; CR8 is bits 7:4 */
u8 lapic_get_tpr(struct lapic *l);

/* ---- guest access ---- */
/* @off within the 4 KiB page, @len 1..16.  Always answers.  May send IPIs. */
void lapic_mmio_read(struct lapic *l, u32 off, int len, void *val);
void lapic_mmio_write(struct lapic *l, u32 off, int len, const void *val);
/* Is @gpa in the (enabled, xAPIC mode) register page? */
bool lapic_claims(struct lapic *l, gpa_t gpa);
/* In x2APIC mode nothing answers at @gpa: reads find ones, writes are lost, and user space does not hear of it (a quirk). */
bool lapic_hole(struct lapic *l, gpa_t gpa);
/* x2APIC MSRs 0x800-0x8ff: 0, or 1 = #GP. */
int lapic_msr_read(struct lapic *l, u32 msr, u64 *val);
int lapic_msr_write(struct lapic *l, u32 msr, u64 val);
/* x2APIC ICR write with fixed delivery to one physical target, the IPI short cut: 0 done, 1 take the long way. Atomic. */
int lapic_icr_fast(struct lapic *l, u64 icr);
/* An EOI was written (MMIO, MSR, or short cut). */
void lapic_eoi(struct lapic *l);
/* IA32_APIC_BASE; @host: from user space.  0 or 1 = #GP. */
int lapic_set_base(struct lapic *l, u64 base, bool host);
u64 lapic_get_tsc_deadline(struct lapic *l);
void lapic_set_tsc_deadline(struct lapic *l, u64 tsc);

/* PV EOI is on: run after the guest left, or did not enter in the end / before it enters, may sleep. */
void lapic_pv_eoi_exit(struct lapic *l);
void lapic_pv_eoi_entry(struct lapic *l);
/* What KVM_SET_VAPIC_ADDR's word tells the guest: TPR, class of the highest vector in service << 8, highest one requested << 24. */
u32 lapic_vapic_word(struct lapic *l);

/* ---- delivery ---- */
/* Put @vector into @l's IRR and kick its vCPU; 1 new, 0 was pending already (coalesced). Any context. */
int lapic_accept(struct lapic *l, u8 vector, bool level);
/* Deliver @msg to all LAPICs of @vm that it names: >0, 0 coalesced, -1 nobody. Any context, @src may be NULL. */
int lapic_send(struct lodge_vm *vm, struct lapic *src, const struct lapic_msg *msg);
/* Does @l belong to the destination of @msg from @src (NULL: IOAPIC, MSI)?  Shorthands are not looked at. */
bool lapic_match(struct lapic *l, const struct lapic *src, const struct lapic_msg *msg);
/* APIC ids or modes changed: make the table of physical destinations anew.  Process context. */
int lapic_map_update(struct lodge_vm *vm);

/* ---- between the lapic's own files ---- */
static inline u32 lapic_get(const struct lapic *l, u32 reg)
{
	return READ_ONCE(*(u32 *)(l->regs + reg));
}

static inline void lapic_set(struct lapic *l, u32 reg, u32 val)
{
	WRITE_ONCE(*(u32 *)(l->regs + reg), val);
}

static inline u32 lapic_id(const struct lapic *l)
{
	u32 id = lapic_get(l, 0x20);

	return l->x2apic ? id : id >> 24;
}

void lapic_error(struct lapic *l, u32 esr_bit);
void lapic_timer_init(struct lapic *l);
void lapic_timer_cancel(struct lapic *l);
void lapic_timer_lvt(struct lapic *l, u32 lvtt);	/* LVTT is about to become @lvtt: the mode may change */
void lapic_timer_start(struct lapic *l);		/* TMICT or TDCR was written */
u32 lapic_timer_count(struct lapic *l);			/* TMCCT */
void lapic_timer_divide(struct lapic *l);		/* TDCR was written */
void lapic_timer_restore(struct lapic *l);		/* after KVM_SET_LAPIC */

/* ---- user space ---- */
void lapic_get_state(struct lapic *l, struct kvm_lapic_state *s);
int lapic_set_state(struct lapic *l, const struct kvm_lapic_state *s);

#endif
