// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's time-stamp counter: the host's plus an offset, at the host's rate.
 *
 * Guests expect the counters of all their processors to agree, but set them one by one: firmware and VMMs write the same value,
 * usually zero, to each vCPU in turn, a little time apart.  Writes that look like that (zero, or within a second of what the last
 * written counter shows by now) get the offset of the first, so that the counters end up equal to the tick.  A guest's own write
 * means what it says, and shows in TSC_ADJUST (SDM 3B §17.17.3).
 *
 * The host's counter may fall back: at a resume from memory it starts anew.  The first vCPU that is loaded and finds its guest's
 * time behind what it was makes good for the difference, and the sum of such jumps is added by every vCPU of the VM, so that
 * equal offsets stay equal.  Where the host calls its TSC unstable each vCPU is helped by itself.
 */
#include "x86/time.h"

#include <linux/ktime.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <asm/msr.h>
#include <asm/tsc.h>

#include "x86/irqchip/up.h"
#include "x86/vcpu.h"

#define TIME_KHZ_TOLERANCE_PPM	250

static void time_set_offset(struct x86_vcpu *vcpu, u64 offset)
{
	vcpu->tsc_offset = offset;
	if (vcpu->core.loaded)
		x86_ops->set_tsc_offset(vcpu, offset);
	else
		vcpu->time->offset_stale = true;
}

/* Have all vCPUs the offset of @vcpu?  vt->lock held. */
static bool time_all_match(struct x86_vcpu *vcpu)
{
	struct lodge_vcpu *other;
	unsigned int i;

	lodge_for_each_vcpu(i, other, vcpu->core.vm)
		if (to_x86(other)->tsc_offset != vcpu->tsc_offset)
			return false;
	return true;
}

static void time_offset_changed(struct x86_vcpu *vcpu)
{
	struct x86_vm *vm = x86_vcpu_vm(vcpu);
	bool was;

	spin_lock(&vm->time->lock);
	was = vm->time->matched;
	vm->time->matched = time_all_match(vcpu);
	spin_unlock(&vm->time->lock);
	if (was != vm->time->matched)
		pvclock_refresh(vm);
	else
		lodge_request(&vcpu->core, LODGE_REQ_CLOCK);
}

int time_init_vm(struct x86_vm *vm)
{
	vm->time = kzalloc(sizeof(*vm->time), GFP_KERNEL_ACCOUNT);
	if (!vm->time)
		return -ENOMEM;
	vm->time->vm = vm;
	spin_lock_init(&vm->time->lock);
	INIT_LIST_HEAD(&vm->time->link);
	vm->time->matched = true;
	vm->default_tsc_khz = tsc_khz;
	return pvclock_init_vm(vm);
}

void time_destroy_vm(struct x86_vm *vm)
{
	if (!vm->time)
		return;
	pvclock_destroy_vm(vm);
	kfree(vm->time);
	vm->time = NULL;
}

/* The offset that makes the counter show @tsc now, or the one that agrees with the other vCPUs. */
static u64 time_choose_offset(struct x86_vcpu *vcpu, u64 tsc)
{
	struct vm_time *vt = x86_vcpu_vm(vcpu)->time;
	u64 now = ktime_get_boottime_ns(), host = rdtsc(), offset = tsc - host;
	u64 elapsed, expected, off_by;

	spin_lock(&vt->lock);
	elapsed = mul_u64_u64_div_u64(now - vt->tsc_written_ns, vcpu->time->khz, USEC_PER_SEC);
	expected = vt->tsc_written + elapsed;
	off_by = tsc > expected ? tsc - expected : expected - tsc;
	if (vt->tsc_is_written && (!tsc || off_by < (u64)vcpu->time->khz * MSEC_PER_SEC)) {
		offset = check_tsc_unstable() ? expected - host : vt->tsc_offset;
	} else {
		vt->tsc_is_written = true;
		vt->tsc_written = tsc;
		vt->tsc_written_ns = now;
		vt->tsc_offset = offset;
	}
	vcpu->time->jump_seen = vt->tsc_jump;
	spin_unlock(&vt->lock);
	return offset;
}

int time_init_vcpu(struct x86_vcpu *vcpu)
{
	struct vcpu_time *t = kzalloc(sizeof(*t), GFP_KERNEL_ACCOUNT);

	if (!t)
		return -ENOMEM;
	vcpu->time = t;
	t->cpu = -1;
	t->khz = x86_vcpu_vm(vcpu)->default_tsc_khz;
	t->clock_cache.hva = t->steal_cache.hva = LODGE_HVA_BAD;
	time_set_offset(vcpu, time_choose_offset(vcpu, 0));
	time_offset_changed(vcpu);
	return 0;
}

void time_destroy_vcpu(struct x86_vcpu *vcpu)
{
	kfree(vcpu->time);
	vcpu->time = NULL;
}

u64 time_read_tsc(struct x86_vcpu *vcpu, u64 host_tsc)
{
	return host_tsc + vcpu->tsc_offset;
}

u64 vcpu_guest_tsc(struct lodge_vcpu *vcpu, u64 host)
{
	return host + to_x86(vcpu)->tsc_offset;
}

u32 vcpu_guest_tsc_khz(struct lodge_vcpu *vcpu)
{
	return to_x86(vcpu)->time->khz;
}

int time_write_tsc(struct x86_vcpu *vcpu, u64 tsc, bool host)
{
	u64 old = vcpu->tsc_offset, offset;

	offset = host ? time_choose_offset(vcpu, tsc) : tsc - rdtsc();
	if (!host)
		vcpu->time->tsc_adjust += offset - old;
	if (offset == old)
		return 0;
	vcpu->time->last_guest_tsc = 0;
	time_set_offset(vcpu, offset);
	time_offset_changed(vcpu);
	return 0;
}

void time_write_tsc_adjust(struct x86_vcpu *vcpu, u64 val, bool host)
{
	u64 delta = val - vcpu->time->tsc_adjust;

	vcpu->time->tsc_adjust = val;
	/* User space restores the register and, by itself, the counter that it is already part of. */
	if (host || !delta)
		return;
	vcpu->time->last_guest_tsc = 0;
	time_set_offset(vcpu, vcpu->tsc_offset + delta);
	time_offset_changed(vcpu);
}

/* The host's TSC is behind where this guest last saw it by @behind ticks. */
static void time_fell_back(struct x86_vcpu *vcpu, u64 behind)
{
	struct vm_time *vt = x86_vcpu_vm(vcpu)->time;
	struct vcpu_time *t = vcpu->time;

	if (!check_tsc_unstable()) {
		spin_lock(&vt->lock);
		vt->tsc_jump += behind;
		vt->tsc_offset += behind;
		t->jump_seen = vt->tsc_jump;
		spin_unlock(&vt->lock);
	}
	vcpu->tsc_offset += behind;
	t->offset_stale = true;
	lodge_request(&vcpu->core, LODGE_REQ_CLOCK);
}

void time_load(struct x86_vcpu *vcpu, int cpu)
{
	struct vm_time *vt = x86_vcpu_vm(vcpu)->time;
	struct vcpu_time *t = vcpu->time;
	u64 jump = READ_ONCE(vt->tsc_jump), tsc;

	if (unlikely(t->jump_seen != jump)) {
		vcpu->tsc_offset += jump - t->jump_seen;
		t->jump_seen = jump;
		t->offset_stale = true;
		lodge_request(&vcpu->core, LODGE_REQ_CLOCK);
	}
	if (cpu != t->cpu) {
		t->cpu = cpu;
		if (!READ_ONCE(vt->master))
			lodge_request(&vcpu->core, LODGE_REQ_CLOCK);
	}
	tsc = rdtsc() + vcpu->tsc_offset;
	if (unlikely((s64)(tsc - t->last_guest_tsc) < 0 && t->last_guest_tsc))
		time_fell_back(vcpu, t->last_guest_tsc - tsc);
	if (unlikely(t->offset_stale)) {
		t->offset_stale = false;
		x86_ops->set_tsc_offset(vcpu, vcpu->tsc_offset);
	}
	if (t->steal_on)
		lodge_request(&vcpu->core, LODGE_REQ_STEAL);
}

void time_put(struct x86_vcpu *vcpu)
{
	vcpu->time->last_guest_tsc = rdtsc() + vcpu->tsc_offset;
	if (vcpu->time->steal_on)
		steal_put(vcpu);
}

/* ---- ioctls ---- */

/* Without TSC scaling only the host's own rate will do, or what cannot be told from it. */
static long time_check_khz(u32 khz)
{
	u64 tolerance = (u64)tsc_khz * TIME_KHZ_TOLERANCE_PPM / 1000000;

	return khz < tsc_khz - tolerance || khz > tsc_khz + tolerance ? -EINVAL : 0;
}

long time_ioctl_get_tsc_khz(void *obj, void *arg)
{
	return to_x86(obj)->time->khz;
}

long time_ioctl_set_tsc_khz(void *obj, void *arg)
{
	u32 khz = (unsigned long)arg ?: tsc_khz;
	long r = time_check_khz(khz);

	/* The counter runs at the host's rate: that is what the guest is told of. */
	if (!r)
		to_x86(obj)->time->khz = tsc_khz;
	return r;
}

long time_ioctl_vm_get_tsc_khz(void *obj, void *arg)
{
	return to_x86_vm(obj)->default_tsc_khz;
}

long time_ioctl_vm_set_tsc_khz(void *obj, void *arg)
{
	/* The rate of vCPUs to come is the host's, as that of those that are there. */
	return time_check_khz((unsigned long)arg ?: tsc_khz);
}

static bool time_attr_known(const struct kvm_device_attr *a)
{
	return a->group == KVM_VCPU_TSC_CTRL && a->attr == KVM_VCPU_TSC_OFFSET;
}

long time_ioctl_has_attr(void *obj, void *arg)
{
	return time_attr_known(arg) ? 0 : -ENXIO;
}

long time_ioctl_get_attr(void *obj, void *arg)
{
	const struct kvm_device_attr *a = arg;

	if (!time_attr_known(a))
		return -ENXIO;
	return put_user(to_x86(obj)->tsc_offset, (u64 __user *)(unsigned long)a->addr) ? -EFAULT : 0;
}

long time_ioctl_set_attr(void *obj, void *arg)
{
	const struct kvm_device_attr *a = arg;
	struct x86_vcpu *vcpu = to_x86(obj);
	struct vm_time *vt = x86_vcpu_vm(vcpu)->time;
	u64 offset;

	if (!time_attr_known(a))
		return -ENXIO;
	if (get_user(offset, (u64 __user *)(unsigned long)a->addr))
		return -EFAULT;
	spin_lock(&vt->lock);
	vt->tsc_is_written = true;
	vt->tsc_written_ns = ktime_get_boottime_ns();
	vt->tsc_written = rdtsc() + offset;
	vt->tsc_offset = offset;
	spin_unlock(&vt->lock);
	vcpu->time->last_guest_tsc = 0;
	time_set_offset(vcpu, offset);
	time_offset_changed(vcpu);
	return 0;
}
