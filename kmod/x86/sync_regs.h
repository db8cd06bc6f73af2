/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KVM_CAP_SYNC_REGS: registers that travel with KVM_RUN in the shared page.
 */
#ifndef LODGE_X86_SYNC_REGS_H
#define LODGE_X86_SYNC_REGS_H

#include <linux/kvm.h>

struct x86_vcpu;

#define SYNC_REGS_FIELDS	(KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)

/*
 * On the way into KVM_RUN: load what kvm_dirty_regs names, and clear its bits one by one.  0, or -EINVAL: a set that does not
 * exist is named, or its values are ones that the ioctl refuses.  The vCPU is loaded, vm->srcu held.
 */
int sync_regs_load(struct x86_vcpu *vcpu);

/* On the way out: store what kvm_valid_regs names. */
void sync_regs_store(struct x86_vcpu *vcpu);

#endif
