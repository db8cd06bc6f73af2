/* SPDX-License-Identifier: GPL-2.0-only */
/* The TPR of guests that a VMM patches: reports of accesses, and the word in the guest's memory that replaces them. */
#ifndef LODGE_X86_VAPIC_H
#define LODGE_X86_VAPIC_H

struct x86_vcpu;

/* KVM_TPR_ACCESS_REPORTING (struct kvm_tpr_access_ctl *): -EINVAL for flags. */
long vapic_ioctl_reporting(void *obj, void *arg);
/* KVM_SET_VAPIC_ADDR (struct kvm_vapic_addr *), 0 = none: -EINVAL without a LAPIC here, or where no memory is. */
long vapic_ioctl_set_addr(void *obj, void *arg);

/* With VCPU_ATTEND_VAPIC, on the vCPU's thread, vm->srcu held: write the word before an entry, take the TPR from it afterwards. */
void vapic_entry(struct x86_vcpu *vcpu);
void vapic_exit(struct x86_vcpu *vcpu);

/* LODGE_REQ_TPR_ACCESS: fill kvm_run. */
void vapic_report(struct x86_vcpu *vcpu);

#endif
