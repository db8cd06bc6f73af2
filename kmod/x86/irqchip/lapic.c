// SPDX-License-Identifier: GPL-2.0-only
/*
 * The local APIC as the vCPU sees it: life, priorities, acceptance.
 *
 * The heart is three 256-bit sets in the register page.  IRR holds what was requested, ISR what is being serviced, TMR which
 * of them came level-triggered.  Anybody may set a bit of IRR (and the matching bit of TMR before it) at any time, so those
 * are atomic; taking a vector from IRR to ISR and retiring it at EOI is done by the vCPU's own thread alone.
 *
 * irr_pending says "look at IRR".  It is set after a bit of IRR is set and cleared only by the vCPU's thread, which then looks
 * once more: a requester that set its bit before that second look is seen by it, one that came later sets irr_pending again.
 * So it may be true for nothing, but never false while a bit is set.
 *
 * A vector can be taken when its priority class (bits 7:4) is above that of PPR, the larger of TPR and the class of the
 * highest vector in service (SDM 3A §10.8.3.1).
 */
#include <linux/bitops.h>
#include <linux/slab.h>

#include <asm/apicdef.h>

#include "core/trace.h"
#include "core/vcpu.h"
#include "x86/irqchip/irqchip.h"
#include "x86/irqchip/lapic.h"
#include "x86/irqchip/up.h"

#define LAPIC_VERSION	(0x14 | (5 << 16))	/* six LVT entries, no directed EOI */

static unsigned long *lapic_word(struct lapic *l, u32 set, u8 vector)
{
	return (unsigned long *)(l->regs + set + (vector >> 5) * 0x10);
}

static void lapic_set_vector(struct lapic *l, u32 set, u8 vector)
{
	set_bit(vector & 31, lapic_word(l, set, vector));
}

static void lapic_clear_vector(struct lapic *l, u32 set, u8 vector)
{
	clear_bit(vector & 31, lapic_word(l, set, vector));
}

static bool lapic_test_vector(struct lapic *l, u32 set, u8 vector)
{
	return test_bit(vector & 31, lapic_word(l, set, vector));
}

/* The highest vector in a 256-bit set, or -1. */
static int lapic_highest(const struct lapic *l, u32 set)
{
	int word;

	for (word = 7; word >= 0; word--) {
		u32 bits = lapic_get(l, set + word * 0x10);

		if (bits)
			return word * 32 + __fls(bits);
	}
	return -1;
}

static u8 lapic_update_ppr(struct lapic *l)
{
	u8 tpr = lapic_get(l, APIC_TASKPRI);
	u8 isr = l->highest_isr & 0xf0;
	u8 ppr = (tpr & 0xf0) >= isr ? tpr : isr;

	if (lapic_get(l, APIC_PROCPRI) != ppr)
		lapic_set(l, APIC_PROCPRI, ppr);
	return ppr;
}

int lapic_pending_vector(struct lapic *l)
{
	int vector;
	u8 ppr;

	if (!READ_ONCE(l->irr_pending))
		return -1;
	vector = lapic_highest(l, APIC_IRR);
	if (vector < 0) {
		WRITE_ONCE(l->irr_pending, false);
		smp_mb();	/* pairs with lapic_accept: clear the hint before the second look */
		vector = lapic_highest(l, APIC_IRR);
		if (vector < 0)
			return -1;
		WRITE_ONCE(l->irr_pending, true);
	}
	if (!l->hw_enabled || !l->sw_enabled)
		return -1;
	ppr = lapic_update_ppr(l);
	return (vector & 0xf0) > (ppr & 0xf0) ? vector : -1;
}

void lapic_take(struct lapic *l, int vector)
{
	lapic_clear_vector(l, APIC_IRR, vector);
	lapic_set_vector(l, APIC_ISR, vector);
	if (vector > l->highest_isr)
		l->highest_isr = vector;
	lapic_update_ppr(l);
}

void lapic_eoi(struct lapic *l)
{
	u8 vector = l->highest_isr;
	int next;

	if (!vector)
		return;
	lapic_clear_vector(l, APIC_ISR, vector);
	next = lapic_highest(l, APIC_ISR);
	l->highest_isr = next < 0 ? 0 : next;
	lapic_update_ppr(l);
	if (lapic_test_vector(l, APIC_TMR, vector) || test_bit(vector, l->eoi_exit))
		irqchip_eoi(l->vcpu, vector);
	trace_lodge_eoi(l->vcpu->id, vector);
	if (READ_ONCE(l->irr_pending))
		vcpu_note_event(l->vcpu);
}

bool lapic_accepts_extint(struct lapic *l)
{
	u32 lvt0;

	if (!l->hw_enabled)
		return true;
	lvt0 = lapic_get(l, APIC_LVT0);
	return !(lvt0 & APIC_LVT_MASKED) && GET_APIC_DELIVERY_MODE(lvt0) == APIC_MODE_EXTINT;
}

void lapic_set_tpr(struct lapic *l, u8 tpr)
{
	u8 old = lapic_get(l, APIC_TASKPRI);

	if (old == tpr)
		return;
	lapic_set(l, APIC_TASKPRI, tpr);
	lapic_update_ppr(l);
	if (tpr < old && READ_ONCE(l->irr_pending))
		vcpu_note_event(l->vcpu);
}

u8 lapic_get_tpr(struct lapic *l)
{
	return lapic_get(l, APIC_TASKPRI);
}

void lapic_error(struct lapic *l, u32 esr_bit)
{
	u32 lvt = lapic_get(l, APIC_LVTERR);

	l->esr_pending |= esr_bit;
	if (!(lvt & APIC_LVT_MASKED) && (lvt & APIC_VECTOR_MASK) >= 16)
		lapic_accept(l, lvt & APIC_VECTOR_MASK, false);
}

int lapic_accept(struct lapic *l, u8 vector, bool level)
{
	bool waits;

	if (!READ_ONCE(l->hw_enabled) || !READ_ONCE(l->sw_enabled))
		return -1;
	if (vector < 16) {
		/* Received illegal vector; the error interrupt itself is checked by its sender, so this ends here. */
		lapic_error(l, APIC_ESR_RECVILL);
		return -1;
	}
	if (lapic_test_vector(l, APIC_TMR, vector) != level) {
		if (level)
			lapic_set_vector(l, APIC_TMR, vector);
		else
			lapic_clear_vector(l, APIC_TMR, vector);
	}
	waits = test_and_set_bit(vector & 31, lapic_word(l, APIC_IRR, vector));
	trace_lodge_lapic_accept(l->vcpu->id, vector, level, waits);
	if (waits)
		return 0;
	WRITE_ONCE(l->irr_pending, true);
	vcpu_post_event(l->vcpu);
	return 1;
}

bool lapic_claims(struct lapic *l, gpa_t gpa)
{
	return l->hw_enabled && !l->x2apic && (gpa & PAGE_MASK) == (l->base & PAGE_MASK);
}

bool lapic_hole(struct lapic *l, gpa_t gpa)
{
	return l->hw_enabled && l->x2apic && (gpa & PAGE_MASK) == (l->base & PAGE_MASK) &&
	       !READ_ONCE(vm_irqchip(l->vcpu->vm)->mmio_hole_filled);
}

/* SDM 3A §10.4.7, §10.12.5.1: state after power-up, RESET and INIT. */
void lapic_reset(struct lapic *l, bool init)
{
	u32 i, id = l->vcpu->id;

	lapic_timer_cancel(l);
	if (!init) {
		l->base = APIC_BASE_DEFAULT | MSR_IA32_APICBASE_ENABLE;
		if (vcpu_is_boot(l->vcpu))
			l->base |= MSR_IA32_APICBASE_BSP;
		l->hw_enabled = true;
		l->x2apic = false;
		clear_bit(LAPIC_INIT, &l->init_sipi);
		clear_bit(LAPIC_SIPI, &l->init_sipi);
	}
	if (l->x2apic)
		id = lapic_id(l);
	memset(l->regs, 0, PAGE_SIZE);
	lapic_set(l, APIC_ID, l->x2apic ? id : id << 24);
	if (l->x2apic)
		lapic_set(l, APIC_LDR, (id >> 4) << 16 | 1 << (id & 15));
	lapic_set(l, APIC_LVR, LAPIC_VERSION);
	for (i = APIC_LVTT; i <= APIC_LVTERR; i += 0x10)
		lapic_set(l, i, APIC_LVT_MASKED);
	if (!init && vcpu_is_boot(l->vcpu) && !READ_ONCE(vm_irqchip(l->vcpu->vm)->lint0_masked))
		lapic_set(l, APIC_LVT0, APIC_DM_EXTINT);	/* as firmware leaves it: the PIC works */
	lapic_set(l, APIC_DFR, 0xffffffff);
	lapic_set(l, APIC_SPIV, 0xff);
	l->sw_enabled = false;
	l->highest_isr = 0;
	l->pv_eoi_pending = false;
	l->esr_pending = 0;
	WRITE_ONCE(l->irr_pending, false);
	lapic_timer_divide(l);
}

int lapic_create(struct lodge_vcpu *vcpu, struct lapic **out)
{
	struct lapic *l = kzalloc(sizeof(*l), GFP_KERNEL_ACCOUNT);

	if (!l)
		return -ENOMEM;
	l->regs = (u8 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!l->regs) {
		kfree(l);
		return -ENOMEM;
	}
	l->vcpu = vcpu;
	lapic_timer_init(l);
	lapic_reset(l, false);
	*out = l;
	return 0;
}

void lapic_destroy(struct lapic *l)
{
	if (!l)
		return;
	lapic_timer_cancel(l);
	free_page((unsigned long)l->regs);
	kfree(l);
}

int lapic_set_base(struct lapic *l, u64 base, bool host)
{
	struct lodge_vcpu *vcpu = l->vcpu;
	u64 reserved = ~(MSR_IA32_APICBASE_BSP | X2APIC_ENABLE | MSR_IA32_APICBASE_ENABLE |
			 GENMASK_ULL(51, 12)) |
		       (~0ull << vcpu_maxphyaddr(vcpu));
	bool was_x2 = l->x2apic, was_on = l->hw_enabled;
	bool on = base & MSR_IA32_APICBASE_ENABLE, x2 = base & X2APIC_ENABLE;
	u32 id;

	if (base & reserved || (x2 && !on))
		return 1;
	if (!host) {
		if (x2 && !vcpu_has_x2apic(vcpu))
			return 1;
		/* SDM 3A figure 10-27: no way from x2APIC to xAPIC, nor from disabled to x2APIC, in one step. */
		if ((was_x2 && on && !x2) || (!was_on && x2))
			return 1;
	}
	l->base = base;
	if (on == was_on && x2 == was_x2)
		return 0;
	WRITE_ONCE(l->hw_enabled, on);
	if (x2 != was_x2) {
		id = vcpu->id;
		l->x2apic = x2;
		lapic_set(l, APIC_ID, x2 ? id : id << 24);
		lapic_set(l, APIC_LDR, x2 ? (id >> 4) << 16 | 1 << (id & 15) : 0);
		lapic_set(l, APIC_ICR2, 0);
	}
	if (!on) {
		lapic_timer_cancel(l);
		lapic_set(l, APIC_TMICT, 0);
	}
	vcpu_apic_base_changed(vcpu);
	/* Without memory for a new table the delivery falls back to asking every LAPIC. */
	(void)lapic_map_update(vcpu->vm);
	return 0;
}

/* Only a flag that we set can have been cleared by the guest: one that is clear of old is no EOI. */
void lapic_pv_eoi_exit(struct lapic *l)
{
	if (!l->pv_eoi_pending)
		return;
	l->pv_eoi_pending = false;
	if (vcpu_pv_eoi_take(l->vcpu))
		lapic_eoi(l);
}

/*
 * Let the guest skip the EOI write when nothing would follow from it: one vector in service, none waiting, and nobody who
 * must hear of it.
 */
void lapic_pv_eoi_entry(struct lapic *l)
{
	u8 vector = l->highest_isr;

	if (!vector || READ_ONCE(l->irr_pending))
		return;
	if (lapic_test_vector(l, APIC_TMR, vector) || test_bit(vector, l->eoi_exit))
		return;
	l->pv_eoi_pending = vcpu_pv_eoi_set(l->vcpu);
}

u32 lapic_vapic_word(struct lapic *l)
{
	int irr = lapic_highest(l, APIC_IRR);

	return lapic_get_tpr(l) | (l->highest_isr & 0xf0) << 8 | (u32)max(irr, 0) << 24;
}

/*
 * The saved form is the xAPIC page.  In x2APIC mode the id stands in bits 31:24 for clients of the first day, whole for those
 * that asked for 32-bit ids (KVM_X2APIC_API_USE_32BIT_IDS).
 */
void lapic_get_state(struct lapic *l, struct kvm_lapic_state *s)
{
	u32 id;

	lapic_set(l, APIC_TMCCT, lapic_timer_count(l));
	lapic_update_ppr(l);
	memcpy(s->regs, l->regs, sizeof(s->regs));
	if (l->x2apic && !vm_irqchip(l->vcpu->vm)->x2apic_32bit) {
		id = lapic_id(l) << 24;
		memcpy(s->regs + APIC_ID, &id, sizeof(id));
	}
}

int lapic_set_state(struct lapic *l, const struct kvm_lapic_state *s)
{
	u32 id, old_id = lapic_get(l, APIC_ID);
	int isr, err;

	memcpy(&id, s->regs + APIC_ID, sizeof(id));
	if (l->x2apic) {
		if (!vm_irqchip(l->vcpu->vm)->x2apic_32bit)
			id >>= 24;
		if (id != l->vcpu->id)
			return -EINVAL;
	}
	lapic_timer_cancel(l);
	memcpy(l->regs, s->regs, sizeof(s->regs));
	lapic_set(l, APIC_ID, id);
	lapic_set(l, APIC_LVR, LAPIC_VERSION);
	if (l->x2apic)
		lapic_set(l, APIC_LDR, (id >> 4) << 16 | 1 << (id & 15));
	WRITE_ONCE(l->sw_enabled, lapic_get(l, APIC_SPIV) & APIC_SPIV_APIC_ENABLED);
	isr = lapic_highest(l, APIC_ISR);
	l->highest_isr = isr < 0 ? 0 : isr;
	lapic_update_ppr(l);
	WRITE_ONCE(l->irr_pending, true);
	lapic_timer_restore(l);
	err = id != old_id ? lapic_map_update(l->vcpu->vm) : 0;
	vm_request_ioapic_scan(l->vcpu->vm);
	vcpu_post_event(l->vcpu);
	return err;
}
