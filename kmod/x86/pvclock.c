// SPDX-License-Identifier: GPL-2.0-only
/*
 * kvmclock: a page per vCPU from which the guest computes nanoseconds out of its TSC (Documentation/virt/kvm/x86/msr.rst).
 *
 * The time is the host's raw monotonic clock, which NTP does not bend, plus what the host slept, plus an offset of the VM that
 * makes it start at zero.  Raw time is the TSC times a constant whenever the TSC is the host's clock source.  Then one pair
 * (TSC, time), read at one instant, serves all vCPUs for ever: every vCPU's page says the same, and if their TSC offsets are
 * equal as well the guest may read any page on any processor (PVCLOCK_TSC_STABLE_BIT).  That is the master state.  Without it
 * each vCPU's page is written from a fresh pair whenever it comes to another host CPU, and the guest keeps time from running
 * backwards by itself.
 *
 * Which clock source the host uses is learnt from the timekeeper's own notifier; it is called at every tick with the
 * timekeeper's sequence lock held, hence it only compares, and leaves a change to an irq_work and a work.
 */
#include <linux/irq_work.h>
#include <linux/kvm_para.h>
#include <linux/list.h>
#include <linux/math64.h>
#include <linux/mutex.h>
#include <linux/pvclock_gtod.h>
#include <linux/timekeeper_internal.h>
#include <linux/timekeeping.h>
#include <linux/workqueue.h>
#include <asm/pvclock-abi.h>
#include <asm/tsc.h>

#include "x86/time.h"
#include "x86/vcpu.h"

static bool pvclock_host_tsc;		/* the TSC is the host's clock source */
static LIST_HEAD(pvclock_vms);		/* pvclock_mutex */
static DEFINE_MUTEX(pvclock_mutex);

static void pvclock_changed_work(struct work_struct *work)
{
	struct vm_time *vt;

	mutex_lock(&pvclock_mutex);
	list_for_each_entry(vt, &pvclock_vms, link)
		pvclock_refresh(vt->vm);
	mutex_unlock(&pvclock_mutex);
}
static DECLARE_WORK(pvclock_work, pvclock_changed_work);

static void pvclock_changed_irq(struct irq_work *work)
{
	schedule_work(&pvclock_work);
}
static DEFINE_IRQ_WORK(pvclock_irq_work, pvclock_changed_irq);

static int pvclock_gtod(struct notifier_block *nb, unsigned long was_set, void *data)
{
	const struct timekeeper *tk = data;
	bool tsc = tk->tkr_mono.clock->vdso_clock_mode == VDSO_CLOCKMODE_TSC;

	if (tsc != READ_ONCE(pvclock_host_tsc)) {
		WRITE_ONCE(pvclock_host_tsc, tsc);
		irq_work_queue(&pvclock_irq_work);
	}
	return 0;
}
static struct notifier_block pvclock_nb = { .notifier_call = pvclock_gtod };

static u64 pvclock_base(ktime_t raw)
{
	return ktime_to_ns(raw) + ktime_to_ns(ktime_mono_to_any(0, TK_OFFS_BOOT));
}

int pvclock_init_vm(struct x86_vm *vm)
{
	int r = 0;

	mutex_lock(&pvclock_mutex);
	if (list_empty(&pvclock_vms))
		r = pvclock_gtod_register_notifier(&pvclock_nb);	/* calls it at once */
	if (!r) {
		vm->time->clock_offset = -pvclock_base(ktime_get_raw());
		list_add(&vm->time->link, &pvclock_vms);
	}
	mutex_unlock(&pvclock_mutex);
	if (!r)
		pvclock_refresh(vm);
	return r;
}

void pvclock_destroy_vm(struct x86_vm *vm)
{
	bool last;

	mutex_lock(&pvclock_mutex);
	last = !list_empty(&vm->time->link);
	list_del_init(&vm->time->link);
	last = last && list_empty(&pvclock_vms);
	if (last)
		pvclock_gtod_unregister_notifier(&pvclock_nb);
	mutex_unlock(&pvclock_mutex);
	if (last) {
		irq_work_sync(&pvclock_irq_work);
		cancel_work_sync(&pvclock_work);
	}
}

void pvclock_refresh(struct x86_vm *vm)
{
	struct vm_time *vt = vm->time;
	struct system_time_snapshot snap;
	struct lodge_vcpu *vcpu;
	unsigned int i;

	spin_lock(&vt->lock);
	vt->master = READ_ONCE(pvclock_host_tsc) && vt->matched;
	if (vt->master) {
		ktime_get_snapshot(&snap);
		vt->master_tsc = snap.cycles;
		vt->master_ns = pvclock_base(snap.raw);
		vt->master_real = ktime_to_ns(snap.real);
	}
	spin_unlock(&vt->lock);
	lodge_for_each_vcpu(i, vcpu, &vm->core) {
		lodge_request(vcpu, LODGE_REQ_CLOCK);
		lodge_vcpu_kick(vcpu);
	}
}

/* ns = (ticks << shift) * mul >> 32, a negative shift to the right: with mul in its upper half, for precision. */
static void pvclock_scale(u32 khz, u32 *mul, s8 *shift)
{
	u64 hz = (u64)khz * 1000, ns = NSEC_PER_SEC;

	*shift = 0;
	while (hz > 2 * ns) {
		ns <<= 1;
		--*shift;
	}
	while (hz <= ns >> 1 || hz <= NSEC_PER_SEC) {
		hz <<= 1;
		++*shift;
	}
	*mul = mul_u64_u64_div_u64(ns, 1ull << 32, hz);
}

static u64 pvclock_ticks_to_ns(u32 khz, u64 ticks)
{
	return mul_u64_u64_div_u64(ticks, USEC_PER_SEC, khz);
}

/* kvmclock now; with the pair it was computed from. */
static u64 pvclock_now(struct x86_vm *vm, u64 *host_tsc, u64 *real)
{
	struct vm_time *vt = vm->time;
	struct system_time_snapshot snap;
	u64 ns;

	spin_lock(&vt->lock);
	ktime_get_snapshot(&snap);
	*host_tsc = snap.cycles;
	*real = ktime_to_ns(snap.real);
	/* The guests extrapolate from the master pair: so does this, or it would differ by rounding. */
	if (vt->master)
		ns = vt->master_ns + pvclock_ticks_to_ns(vm->default_tsc_khz, snap.cycles - vt->master_tsc);
	else
		ns = pvclock_base(snap.raw);
	ns += vt->clock_offset;
	spin_unlock(&vt->lock);
	return ns;
}

bool pvclock_pair(struct x86_vm *vm, u64 *host_tsc, struct timespec64 *wall)
{
	struct system_time_snapshot snap;

	if (!READ_ONCE(vm->time->master))
		return false;
	ktime_get_snapshot(&snap);
	*host_tsc = snap.cycles;
	*wall = ktime_to_timespec64(snap.real);
	return READ_ONCE(pvclock_host_tsc);	/* still: the cycles are the TSC's */
}

/* The page's fields for @vcpu, except version. */
static void pvclock_compute(struct x86_vcpu *vcpu, struct pvclock_vcpu_time_info *info)
{
	struct vm_time *vt = x86_vcpu_vm(vcpu)->time;
	u64 tsc, ns;
	u32 mul;
	s8 shift;

	spin_lock(&vt->lock);
	if (vt->master) {
		tsc = vt->master_tsc;
		ns = vt->master_ns;
		info->flags = PVCLOCK_TSC_STABLE_BIT;
	} else {
		unsigned long flags;

		local_irq_save(flags);
		tsc = rdtsc_ordered();
		ns = pvclock_base(ktime_get_raw());
		local_irq_restore(flags);
		info->flags = 0;
	}
	ns += vt->clock_offset;
	spin_unlock(&vt->lock);
	pvclock_scale(vcpu->time->khz, &mul, &shift);
	info->tsc_timestamp = tsc + vcpu->tsc_offset;
	info->system_time = ns;
	info->tsc_to_system_mul = mul;
	info->tsc_shift = shift;
}

void time_update_clock(struct x86_vcpu *vcpu)
{
	struct pvclock_vcpu_time_info info = {}, old;
	struct vcpu_time *t = vcpu->time;
	struct lodge_vm *vm = vcpu->core.vm;

	if (!t->clock_on || lodge_guest_cache_read(vm, &t->clock_cache, 0, &old, sizeof(old)))
		return;
	pvclock_compute(vcpu, &info);
	/* Until the guest has taken note of it and cleared it. */
	info.flags |= old.flags & PVCLOCK_GUEST_STOPPED;
	if (t->stopped)
		info.flags |= PVCLOCK_GUEST_STOPPED;
	t->stopped = false;

	/* Odd while the fields change (asm/pvclock-abi.h). */
	info.version = (old.version | 1) + (old.version & 1 ? 2 : 0);
	if (lodge_guest_cache_write(vm, &t->clock_cache, 0, &info.version, sizeof(info.version)))
		return;
	smp_wmb();	/* the guest sees the version odd before the fields change */
	if (lodge_guest_cache_write(vm, &t->clock_cache, 4, (u8 *)&info + 4, sizeof(info) - 4))
		return;
	smp_wmb();	/* and even after they have */
	info.version++;
	lodge_guest_cache_write(vm, &t->clock_cache, 0, &info.version, sizeof(info.version));
}

int pvclock_set_system_time(struct x86_vcpu *vcpu, u64 val)
{
	struct vcpu_time *t = vcpu->time;

	t->clock_msr = val;
	/* A page that is not there is the guest's own loss, as it is where the VMM maps it later. */
	t->clock_on = (val & 1) && !lodge_guest_cache_init(vcpu->core.vm, &t->clock_cache, val & ~1ull,
							   sizeof(struct pvclock_vcpu_time_info));
	if (t->clock_on)
		lodge_request(&vcpu->core, LODGE_REQ_CLOCK);
	return 0;
}

int pvclock_set_wall_clock(struct x86_vcpu *vcpu, u64 val)
{
	struct pvclock_wall_clock wc;
	struct lodge_vm *vm = vcpu->core.vm;
	u64 tsc, real, ns;
	u32 rem;

	to_x86_vm(vm)->time->wall_msr = val;
	if (!val || lodge_guest_read(vm, val, &wc, sizeof(wc)))
		return 0;
	wc.version = (wc.version | 1) + (wc.version & 1 ? 2 : 0);
	if (lodge_guest_write(vm, val, &wc.version, sizeof(wc.version)))
		return 0;
	smp_wmb();	/* the guest sees the version odd before the fields change */
	ns = pvclock_now(to_x86_vm(vm), &tsc, &real);
	wc.sec = div_u64_rem(real - ns, NSEC_PER_SEC, &rem);
	wc.nsec = rem;
	lodge_guest_write(vm, val, &wc, sizeof(wc));
	smp_wmb();	/* and even after they have */
	wc.version++;
	lodge_guest_write(vm, val, &wc.version, sizeof(wc.version));
	return 0;
}

/* ---- ioctls ---- */

long pvclock_ioctl_get(void *obj, void *arg)
{
	struct x86_vm *vm = to_x86_vm(obj);
	struct kvm_clock_data *d = arg;
	u64 tsc, real;

	memset(d, 0, sizeof(*d));
	d->clock = pvclock_now(vm, &tsc, &real);
	if (READ_ONCE(vm->time->master)) {
		d->flags = KVM_CLOCK_TSC_STABLE;
		d->host_tsc = tsc;
		d->flags |= KVM_CLOCK_HOST_TSC;
	}
	d->realtime = real;
	d->flags |= KVM_CLOCK_REALTIME;
	return 0;
}

long pvclock_ioctl_set(void *obj, void *arg)
{
	struct x86_vm *vm = to_x86_vm(obj);
	const struct kvm_clock_data *d = arg;
	struct system_time_snapshot snap;
	u64 clock = d->clock;

	if (d->flags & ~(KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC))
		return -EINVAL;
	ktime_get_snapshot(&snap);
	/* What the wall clock says has passed since the value was read: never backwards. */
	if ((d->flags & KVM_CLOCK_REALTIME) && ktime_to_ns(snap.real) > (s64)d->realtime)
		clock += ktime_to_ns(snap.real) - d->realtime;
	spin_lock(&vm->time->lock);
	vm->time->clock_offset = clock - pvclock_base(snap.raw);
	spin_unlock(&vm->time->lock);
	pvclock_refresh(vm);
	return 0;
}

long pvclock_ioctl_ctrl(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);

	if (!vcpu->time->clock_on)
		return -EINVAL;
	vcpu->time->stopped = true;
	lodge_request(&vcpu->core, LODGE_REQ_CLOCK);
	return 0;
}
