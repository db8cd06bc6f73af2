/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Machine check banks of a vCPU (SDM 3B ch. 16): kept for the guest, filled by the VMM through KVM_X86_SET_MCE.
 */
#ifndef LODGE_X86_MCE_H
#define LODGE_X86_MCE_H

#include <linux/types.h>

struct x86_vcpu;

#define MCE_BANKS	32
#define MCE_CAP_SUPPORTED	((1ull << 8) | (1ull << 24))	/* MCG_CTL_P, MCG_SER_P */

struct mce_state {
	u64 cap, status, ctl;
	u64 bank[MCE_BANKS][4];		/* CTL STATUS ADDR MISC */
};

void mce_init(struct x86_vcpu *vcpu);
int mce_get(struct x86_vcpu *vcpu, u32 msr, u64 *val, bool host);
int mce_set(struct x86_vcpu *vcpu, u32 msr, u64 val, bool host);

long mce_ioctl_supported(void *obj, void *arg);		/* KVM_X86_GET_MCE_CAP_SUPPORTED, system, u64 */
long mce_ioctl_setup(void *obj, void *arg);		/* KVM_X86_SETUP_MCE, vCPU, u64 */
long mce_ioctl_set(void *obj, void *arg);		/* KVM_X86_SET_MCE, vCPU, struct kvm_x86_mce */

#endif
