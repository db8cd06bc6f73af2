// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_CAP_SYNC_REGS: the general registers, the special ones and the events in the shared page, so that a client which looks at
 * them at every exit needs no ioctl for it.
 *
 * Both masks and all values are in memory that the VMM may be writing while we read.  A mask is read once; a set is copied as a
 * whole before anything looks at it, and then goes the way of its ioctl, checks included.
 */
#include <linux/string.h>

#include "x86/regs.h"
#include "x86/sync_regs.h"
#include "x86/vcpu.h"
#include "x86/vcpu_events.h"

static int load_regs(struct x86_vcpu *vcpu)
{
	struct kvm_regs regs;

	memcpy(&regs, &vcpu->core.run->s.regs.regs, sizeof(regs));
	barrier();	/* the copy, not the page, is what is checked */
	return regs_ioctl_set(&vcpu->core, &regs);
}

static int load_sregs(struct x86_vcpu *vcpu)
{
	struct kvm_sregs sregs;

	memcpy(&sregs, &vcpu->core.run->s.regs.sregs, sizeof(sregs));
	barrier();	/* as above */
	return sregs_ioctl_set(&vcpu->core, &sregs) ? -EINVAL : 0;
}

static int load_events(struct x86_vcpu *vcpu)
{
	struct kvm_vcpu_events events;

	memcpy(&events, &vcpu->core.run->s.regs.events, sizeof(events));
	barrier();	/* as above */
	return vcpu_events_ioctl_set(&vcpu->core, &events) ? -EINVAL : 0;
}

static const struct {
	u64 bit;
	int (*load)(struct x86_vcpu *vcpu);
} sync_sets[] = {
	{ KVM_SYNC_X86_REGS,	load_regs },
	{ KVM_SYNC_X86_SREGS,	load_sregs },
	{ KVM_SYNC_X86_EVENTS,	load_events },
};

int sync_regs_load(struct x86_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->core.run;
	u64 dirty = READ_ONCE(run->kvm_dirty_regs);
	unsigned int i;
	int r;

	if ((dirty | READ_ONCE(run->kvm_valid_regs)) & ~(u64)SYNC_REGS_FIELDS)
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(sync_sets); i++) {
		if (!(dirty & sync_sets[i].bit))
			continue;
		r = sync_sets[i].load(vcpu);
		if (r)
			return r;
		dirty &= ~sync_sets[i].bit;
		WRITE_ONCE(run->kvm_dirty_regs, dirty);
	}
	return 0;
}

void sync_regs_store(struct x86_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->core.run;
	u64 valid = READ_ONCE(run->kvm_valid_regs);

	if (valid & KVM_SYNC_X86_REGS)
		regs_ioctl_get(&vcpu->core, &run->s.regs.regs);
	if (valid & KVM_SYNC_X86_SREGS)
		sregs_ioctl_get(&vcpu->core, &run->s.regs.sregs);
	if (valid & KVM_SYNC_X86_EVENTS)
		vcpu_events_ioctl_get(&vcpu->core, &run->s.regs.events);
}
