// SPDX-License-Identifier: GPL-2.0-only
/*
 * MSR filters: which of the guest's MSR accesses the VMM wants to see or to forbid (KVM_X86_SET_MSR_FILTER).
 *
 * The set of ranges is replaced as a whole; readers are vCPU threads under RCU, also with interrupts off.  x2APIC registers
 * are never filtered, as the interface says.
 */
#include <linux/compat.h>
#include <linux/kvm.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "core/ioctl.h"
#include "x86/msr.h"
#include "x86/vcpu.h"

struct msr_filter_range {
	u32 flags, base, nmsrs;
	unsigned long *bitmap;
};

struct msr_filter {
	bool allow;			/* what no range covers */
	unsigned int n;
	struct msr_filter_range range[KVM_MSR_FILTER_MAX_RANGES];
};

bool msr_filter_allows(struct x86_vm *vm, u32 msr, bool write)
{
	u32 flag = write ? KVM_MSR_FILTER_WRITE : KVM_MSR_FILTER_READ;
	const struct msr_filter *f;
	bool allow = true;
	unsigned int i;

	if (!rcu_access_pointer(vm->msr_filter) || (msr >= 0x800 && msr <= 0x8ff))
		return true;
	rcu_read_lock();
	f = rcu_dereference(vm->msr_filter);
	if (f) {
		allow = f->allow;
		for (i = 0; i < f->n; i++) {
			const struct msr_filter_range *r = &f->range[i];

			if (msr - r->base < r->nmsrs && (r->flags & flag)) {
				allow = test_bit(msr - r->base, r->bitmap);
				break;
			}
		}
	}
	rcu_read_unlock();
	return allow;
}

static void msr_filter_free(struct msr_filter *f)
{
	unsigned int i;

	for (i = 0; f && i < f->n; i++)
		kvfree(f->range[i].bitmap);
	kfree(f);
}

void msr_filter_destroy(struct x86_vm *vm)
{
	msr_filter_free(rcu_dereference_protected(vm->msr_filter, true));
	RCU_INIT_POINTER(vm->msr_filter, NULL);
}

static int msr_filter_add(struct msr_filter *f, const struct kvm_msr_filter_range *u)
{
	struct msr_filter_range *r = &f->range[f->n];
	size_t bytes = BITS_TO_LONGS(u->nmsrs) * sizeof(long);

	if (!u->nmsrs)
		return 0;
	if (!u->flags || (u->flags & ~(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE)) ||
	    bytes > KVM_MSR_FILTER_MAX_BITMAP_SIZE)
		return -EINVAL;
	r->bitmap = lodge_ioctl_dup((__force void __user *)u->bitmap, bytes);
	if (IS_ERR(r->bitmap))
		return PTR_ERR(r->bitmap);
	r->flags = u->flags;
	r->base = u->base;
	r->nmsrs = u->nmsrs;
	f->n++;
	return 0;
}

long msr_ioctl_set_filter(void *obj, void *arg)
{
	struct x86_vm *vm = to_x86_vm(obj);
	const struct kvm_msr_filter *u = arg;
	struct lodge_vcpu *vcpu;
	struct msr_filter *f;
	unsigned int i;
	int r = 0;

	if (u->flags & ~KVM_MSR_FILTER_DEFAULT_DENY)
		return -EINVAL;
	f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	if (!f)
		return -ENOMEM;
	f->allow = !(u->flags & KVM_MSR_FILTER_DEFAULT_DENY);
	for (i = 0; i < ARRAY_SIZE(u->ranges) && !r; i++)
		r = msr_filter_add(f, &u->ranges[i]);
	/* To forbid everything without naming anything would forbid the guest to run. */
	if (!r && !f->allow && !f->n)
		r = -EINVAL;
	if (r) {
		msr_filter_free(f);
		return r;
	}
	if (f->allow && !f->n) {
		/* Nothing is filtered: accesses need not ask. */
		msr_filter_free(f);
		f = NULL;
	}
	f = rcu_replace_pointer(vm->msr_filter, f, lockdep_is_held(&vm->core.lock));
	synchronize_rcu_expedited();
	msr_filter_free(f);
	lodge_for_each_vcpu(i, vcpu, &vm->core) {
		lodge_request(vcpu, LODGE_REQ_HW);
		lodge_vcpu_kick(vcpu);
	}
	return 0;
}

#ifdef CONFIG_COMPAT
long msr_ioctl_set_filter32(void *obj, void *arg)
{
	const struct msr_filter32 *narrow = arg;
	struct kvm_msr_filter *wide;
	unsigned int i;
	long r;

	if (!in_compat_syscall())
		return -ENOTTY;
	wide = kzalloc(sizeof(*wide), GFP_KERNEL_ACCOUNT);
	if (!wide)
		return -ENOMEM;
	wide->flags = narrow->flags;
	for (i = 0; i < ARRAY_SIZE(wide->ranges); i++) {
		wide->ranges[i].flags = narrow->ranges[i].flags;
		wide->ranges[i].nmsrs = narrow->ranges[i].nmsrs;
		wide->ranges[i].base = narrow->ranges[i].base;
		wide->ranges[i].bitmap = (__force __u8 *)compat_ptr(narrow->ranges[i].bitmap);
	}
	r = msr_ioctl_set_filter(obj, wide);
	kfree(wide);
	return r;
}
#endif
