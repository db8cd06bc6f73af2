// SPDX-License-Identifier: GPL-2.0-only
/*
 * The LAPIC's registers as the guest reads and writes them: through the page (xAPIC) or MSRs 0x800-0x8ff (x2APIC).
 *
 * Both doors lead to one pair of functions that take the xAPIC offset; an x2APIC MSR number is (offset >> 4) + 0x800.  What
 * differs is stated at the doors: the page ignores what it does not know and wants aligned 32-bit accesses, an MSR faults on
 * reserved bits and unknown registers; ICR is one 64-bit MSR, DFR and ICR2 do not exist, SELF_IPI does (SDM 3A §10.12).
 */
#include <linux/string.h>

#include <asm/apicdef.h>

#include "core/trace.h"
#include "core/vcpu.h"
#include "x86/irqchip/lapic.h"
#include "x86/irqchip/up.h"

#define SELF_IPI	0x3f0

/* Which registers exist, a bit per 16 bytes of the page. */
static bool lapic_readable(u32 reg, bool x2apic)
{
	switch (reg) {
	case APIC_ID:
	case APIC_LVR:
	case APIC_TASKPRI:
	case APIC_PROCPRI:
	case APIC_LDR:
	case APIC_SPIV:
	case APIC_ISR ... APIC_ISR + 0x70:
	case APIC_TMR ... APIC_TMR + 0x70:
	case APIC_IRR ... APIC_IRR + 0x70:
	case APIC_ESR:
	case APIC_ICR:
	case APIC_LVTT ... APIC_LVTERR:
	case APIC_TMICT:
	case APIC_TMCCT:
	case APIC_TDCR:
		return true;
	case APIC_ARBPRI:
	case APIC_RRR:
	case APIC_DFR:
	case APIC_ICR2:
		return !x2apic;
	}
	return false;
}

static u32 lapic_reg_read(struct lapic *l, u32 reg)
{
	if (reg == APIC_TMCCT)
		return lapic_timer_count(l);
	return lapic_get(l, reg);
}

static u32 lapic_lvt_mask(u32 reg)
{
	u32 base = APIC_VECTOR_MASK | APIC_SEND_PENDING | APIC_LVT_MASKED;

	switch (reg) {
	case APIC_LVTT:
		return base | 3 << 17;
	case APIC_LVTTHMR:
	case APIC_LVTPC:
		return base | APIC_MODE_MASK;
	case APIC_LVT0:
	case APIC_LVT1:
		return base | APIC_MODE_MASK | APIC_INPUT_POLARITY | APIC_LVT_REMOTE_IRR | APIC_LVT_LEVEL_TRIGGER;
	}
	return base;	/* APIC_LVTERR */
}

static void lapic_write_lvt(struct lapic *l, u32 reg, u32 val)
{
	u32 mask = lapic_lvt_mask(reg) & ~(APIC_SEND_PENDING | APIC_LVT_REMOTE_IRR);

	if (!l->sw_enabled)
		val |= APIC_LVT_MASKED;
	if (reg == APIC_LVTT && !vcpu_has_tsc_deadline(l->vcpu))
		mask &= ~APIC_LVT_TIMER_TSCDEADLINE;
	val &= mask;
	if (reg == APIC_LVTT)
		lapic_timer_lvt(l, val);
	lapic_set(l, reg, val);
	if (reg == APIC_LVT0)
		vcpu_note_event(l->vcpu);	/* the PIC's door may have opened */
}

static void lapic_write_spiv(struct lapic *l, u32 val)
{
	bool on = val & APIC_SPIV_APIC_ENABLED;
	u32 reg;

	lapic_set(l, APIC_SPIV, val & 0x3ff);
	if (on != l->sw_enabled) {
		WRITE_ONCE(l->sw_enabled, on);
		if (on)
			vcpu_note_event(l->vcpu);
	}
	if (on)
		return;
	/* SDM 3A §11.4.7.2.  At every such write: LINT0 comes out of reset unmasked here, and an OS switches off what is off. */
	for (reg = APIC_LVTT; reg <= APIC_LVTERR; reg += 0x10)
		lapic_set(l, reg, lapic_get(l, reg) | APIC_LVT_MASKED);
}

static void lapic_send_icr(struct lapic *l, u32 low, u32 dest)
{
	struct lapic_msg msg = {
		.dest = dest,
		.vector = low & APIC_VECTOR_MASK,
		.mode = (low >> 8) & 7,
		.shorthand = (low >> 18) & 3,
		.logical = low & APIC_DEST_LOGICAL,
		.level = low & APIC_INT_LEVELTRIG,
		.assert = low & APIC_INT_ASSERT,
	};

	trace_lodge_lapic_ipi(l->vcpu->id, (u64)dest << 32 | low);
	/* Only INIT knows a level; for the others the trigger bit is not looked at (SDM 3A §10.6.1). */
	if (msg.mode != LAPIC_DM_INIT) {
		msg.level = false;
		msg.assert = true;
	}
	if ((msg.mode == LAPIC_DM_FIXED || msg.mode == LAPIC_DM_LOWEST) && msg.vector < 16) {
		lapic_error(l, APIC_ESR_SENDILL);
		return;
	}
	lapic_send(l->vcpu->vm, l, &msg);
}

/* 0, or 1 when there is no such writable register. */
static int lapic_reg_write(struct lapic *l, u32 reg, u32 val)
{
	switch (reg) {
	case APIC_ID:
		if (l->x2apic)
			return 1;
		if (lapic_get(l, APIC_ID) != (val & 0xff000000)) {
			lapic_set(l, APIC_ID, val & 0xff000000);
			(void)lapic_map_update(l->vcpu->vm);
		}
		break;
	case APIC_TASKPRI:
		lapic_set_tpr(l, val);
		break;
	case APIC_EOI:
		lapic_eoi(l);
		break;
	case APIC_LDR:
		if (l->x2apic)
			return 1;
		lapic_set(l, APIC_LDR, val & 0xff000000);
		vm_request_ioapic_scan(l->vcpu->vm);
		break;
	case APIC_DFR:
		if (l->x2apic)
			return 1;
		lapic_set(l, APIC_DFR, val | 0x0fffffff);
		vm_request_ioapic_scan(l->vcpu->vm);
		break;
	case APIC_SPIV:
		lapic_write_spiv(l, val);
		break;
	case APIC_ESR:
		lapic_set(l, APIC_ESR, l->esr_pending);
		l->esr_pending = 0;
		break;
	case APIC_ICR:
		lapic_set(l, APIC_ICR, val & ~APIC_ICR_BUSY);
		lapic_send_icr(l, val, l->x2apic ? lapic_get(l, APIC_ICR2) : lapic_get(l, APIC_ICR2) >> 24);
		break;
	case APIC_ICR2:
		if (l->x2apic)
			return 1;
		lapic_set(l, APIC_ICR2, val & 0xff000000);
		break;
	case APIC_LVTT ... APIC_LVTERR:
		if (reg & 0xf)
			return 1;
		lapic_write_lvt(l, reg, val);
		break;
	case APIC_TMICT:
		if (l->timer.mode == LAPIC_TSC_DEADLINE)
			break;
		lapic_set(l, APIC_TMICT, val);
		lapic_timer_start(l);
		break;
	case APIC_TDCR:
		lapic_set(l, APIC_TDCR, val & 0xb);
		lapic_timer_divide(l);
		if (lapic_get(l, APIC_TMICT))
			lapic_timer_start(l);
		break;
	case SELF_IPI:
		if (!l->x2apic)
			return 1;
		lapic_send_icr(l, (val & APIC_VECTOR_MASK) | 1 << 18, 0);
		break;
	default:
		return 1;
	}
	return 0;
}

/* Only the first four of each sixteen bytes hold a register; the rest reads as zero. */
void lapic_mmio_read(struct lapic *l, u32 off, int len, void *val)
{
	u32 reg = off & 0xff0, data = 0;
	u8 bytes[16 + 16] = {};

	if (!lapic_readable(reg, false))
		lapic_error(l, APIC_ESR_ILLREGA);
	else
		data = lapic_reg_read(l, reg);
	if (reg == APIC_TASKPRI)
		vcpu_tpr_accessed(l->vcpu, false);
	memcpy(bytes, &data, sizeof(data));
	memcpy(val, bytes + (off & 0xf), min(len, 16));
}

void lapic_mmio_write(struct lapic *l, u32 off, int len, const void *val)
{
	u32 data;

	/* SDM 3A §10.4.1: anything but an aligned 32-bit write is undefined; it is ignored. */
	if (len != 4 || off & 0xf)
		return;
	memcpy(&data, val, sizeof(data));
	if (off == APIC_TASKPRI)
		vcpu_tpr_accessed(l->vcpu, true);
	if (lapic_reg_write(l, off, data))
		lapic_error(l, APIC_ESR_ILLREGA);
}

int lapic_msr_read(struct lapic *l, u32 msr, u64 *val)
{
	u32 reg = (msr - APIC_BASE_MSR) << 4;

	if (!l->x2apic || reg > 0xff0 || !lapic_readable(reg, true))
		return 1;
	*val = lapic_reg_read(l, reg);
	if (reg == APIC_ICR)
		*val |= (u64)lapic_get(l, APIC_ICR2) << 32;
	return 0;
}

static bool lapic_msr_reserved(u32 reg, u64 val)
{
	switch (reg) {
	case APIC_ICR:
		return val & (0xfff32000ull);	/* bits 31:20, 17:16, 13 */
	case APIC_EOI:
	case APIC_ESR:
		return val;
	case APIC_TASKPRI:
	case SELF_IPI:
		return val & ~0xffull;
	case APIC_TDCR:
		return val & ~0xbull;
	}
	return val >> 32;
}

int lapic_msr_write(struct lapic *l, u32 msr, u64 val)
{
	u32 reg = (msr - APIC_BASE_MSR) << 4;

	if (!l->x2apic || reg > 0xff0 || lapic_msr_reserved(reg, val))
		return 1;
	if (reg == APIC_ICR)
		lapic_set(l, APIC_ICR2, val >> 32);
	return lapic_reg_write(l, reg, val);
}
