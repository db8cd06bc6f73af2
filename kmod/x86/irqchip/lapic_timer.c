// SPDX-License-Identifier: GPL-2.0-only
/*
 * The LAPIC's timer: one-shot, periodic and TSC-deadline (SDM 3A §10.5.4), on a host hrtimer.
 *
 * The timer's input clock is 1 GHz (one tick a nanosecond, before the divider), as guests of KVM measure it.  An expiry puts the
 * LVT's vector into IRR from the hrtimer itself, in hard interrupt context: nothing waits for the vCPU's thread, and a vCPU that
 * is in the guest is kicked as for any interrupt.
 *
 * A guest may ask for a period of a few nanoseconds; the host's timer is not run more often than every PERIOD_MIN.
 */
#include <linux/hrtimer.h>
#include <linux/math64.h>

#include <asm/apicdef.h>
#include <asm/msr.h>

#include "core/vcpu.h"
#include "x86/irqchip/lapic.h"
#include "x86/irqchip/up.h"

#define PERIOD_MIN	(200 * NSEC_PER_USEC)	/* as KVM's */

static void lapic_timer_fire(struct lapic *l)
{
	u32 lvtt = lapic_get(l, APIC_LVTT);

	if (!(lvtt & APIC_LVT_MASKED))
		lapic_accept(l, lvtt & APIC_VECTOR_MASK, false);
}

static enum hrtimer_restart lapic_timer_expired(struct hrtimer *hrtimer)
{
	struct lapic *l = container_of(hrtimer, struct lapic, timer.hrtimer);
	struct lapic_timer *t = &l->timer;

	if (t->mode == LAPIC_TSC_DEADLINE)
		WRITE_ONCE(t->tsc_deadline, 0);
	lapic_timer_fire(l);
	if (t->mode != LAPIC_PERIODIC || !t->period)
		return HRTIMER_NORESTART;
	hrtimer_forward_now(hrtimer, t->period);
	t->expiry = hrtimer_get_expires(hrtimer);
	return HRTIMER_RESTART;
}

void lapic_timer_init(struct lapic *l)
{
	hrtimer_init(&l->timer.hrtimer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_HARD);
	l->timer.hrtimer.function = lapic_timer_expired;
}

void lapic_timer_cancel(struct lapic *l)
{
	hrtimer_cancel(&l->timer.hrtimer);
	l->timer.period = 0;
	l->timer.expiry = 0;
	WRITE_ONCE(l->timer.tsc_deadline, 0);
}

static void lapic_timer_arm(struct lapic *l, ktime_t expiry)
{
	l->timer.expiry = expiry;
	hrtimer_start(&l->timer.hrtimer, expiry, HRTIMER_MODE_ABS_PINNED_HARD);
}

/* Bits 3, 1, 0 of TDCR: 111 divides by 1, n by 2^(n+1). */
void lapic_timer_divide(struct lapic *l)
{
	u32 tdcr = lapic_get(l, APIC_TDCR);
	u32 n = (tdcr & 3) | (tdcr & 8) >> 1;

	l->timer.divide = n == 7 ? 1 : 2u << n;
}

static void lapic_timer_start_from(struct lapic *l, u32 initial, u32 left)
{
	struct lapic_timer *t = &l->timer;
	u64 ns = (u64)initial * t->divide;

	if (t->mode == LAPIC_PERIODIC && ns && ns < PERIOD_MIN)
		ns = PERIOD_MIN;
	t->period = ns;
	if (!initial)
		return;
	lapic_timer_arm(l, ktime_add_ns(ktime_get(), left == initial ? ns : (u64)left * t->divide));
}

void lapic_timer_start(struct lapic *l)
{
	u32 initial = lapic_get(l, APIC_TMICT);

	if (l->timer.mode == LAPIC_TSC_DEADLINE)
		return;
	hrtimer_cancel(&l->timer.hrtimer);
	lapic_timer_start_from(l, initial, initial);
}

u32 lapic_timer_count(struct lapic *l)
{
	struct lapic_timer *t = &l->timer;
	s64 left;

	if (t->mode == LAPIC_TSC_DEADLINE || !t->period)
		return 0;
	left = ktime_to_ns(ktime_sub(READ_ONCE(t->expiry), ktime_get()));
	if (left <= 0) {
		if (t->mode == LAPIC_ONESHOT)
			return 0;
		/* The tick is due but the hrtimer has not run: count on in the next period. */
		left = t->period - (u64)-left % (u64)t->period;
	}
	return div_u64(left, t->divide);
}

static void lapic_timer_set_mode(struct lapic *l, u32 lvtt)
{
	switch (lvtt & (3 << 17)) {
	case APIC_LVT_TIMER_ONESHOT:
		l->timer.mode = LAPIC_ONESHOT;
		break;
	case APIC_LVT_TIMER_TSCDEADLINE:
		l->timer.mode = LAPIC_TSC_DEADLINE;
		break;
	default:
		l->timer.mode = LAPIC_PERIODIC;
	}
}

/* Between counting and deadline mode the timer is disarmed; between one-shot and periodic it counts on (SDM 3A §10.5.4.1). */
void lapic_timer_lvt(struct lapic *l, u32 lvtt)
{
	bool was_deadline = l->timer.mode == LAPIC_TSC_DEADLINE;
	bool deadline = (lvtt & (3 << 17)) == APIC_LVT_TIMER_TSCDEADLINE;

	if (was_deadline != deadline) {
		lapic_timer_cancel(l);
		lapic_set(l, APIC_TMICT, 0);
	}
	lapic_timer_set_mode(l, lvtt);
}

u64 lapic_get_tsc_deadline(struct lapic *l)
{
	if (l->timer.mode != LAPIC_TSC_DEADLINE)
		return 0;
	return READ_ONCE(l->timer.tsc_deadline);
}

void lapic_set_tsc_deadline(struct lapic *l, u64 tsc)
{
	struct lapic_timer *t = &l->timer;
	u64 now, host;

	if (t->mode != LAPIC_TSC_DEADLINE || !l->hw_enabled)
		return;
	/*
	 * An armed hrtimer is moved by hrtimer_start; only a disarm needs the cancel, which may wait for a callback on another
	 * CPU.  A callback that runs meanwhile fires the old deadline: the guest could not have told the difference.
	 */
	if (!tsc) {
		hrtimer_cancel(&t->hrtimer);
		WRITE_ONCE(t->tsc_deadline, 0);
		return;
	}
	host = rdtsc();
	now = vcpu_guest_tsc(l->vcpu, host);
	if (tsc <= now) {
		if (READ_ONCE(t->tsc_deadline))
			hrtimer_cancel(&t->hrtimer);
		WRITE_ONCE(t->tsc_deadline, 0);
		lapic_timer_fire(l);
		return;
	}
	WRITE_ONCE(t->tsc_deadline, tsc);
	/* Rounded up: an interrupt before its time would be taken for a spurious one. */
	lapic_timer_arm(l, ktime_add_ns(ktime_get(), mul_u64_u64_div_u64(tsc - now, NSEC_PER_MSEC,
									 vcpu_guest_tsc_khz(l->vcpu)) + 1));
}

void lapic_timer_restore(struct lapic *l)
{
	u32 initial = lapic_get(l, APIC_TMICT), left = lapic_get(l, APIC_TMCCT);

	lapic_timer_divide(l);
	lapic_timer_set_mode(l, lapic_get(l, APIC_LVTT));
	if (l->timer.mode == LAPIC_TSC_DEADLINE)
		return;		/* KVM_SET_MSRS(TSC_DEADLINE) follows */
	if (left > initial)
		left = initial;
	if (l->timer.mode == LAPIC_ONESHOT && !left)
		initial = 0;	/* it has expired already */
	lapic_timer_start_from(l, initial, left ? left : initial);
}
