/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MSRs: one table of {msr, get, set}; guest accesses, KVM_GET/SET_MSRS, index lists and filters all go through it.
 */
#ifndef LODGE_X86_MSR_H
#define LODGE_X86_MSR_H

#include <linux/compat.h>
#include <linux/kvm.h>
#include <linux/types.h>

#include "x86/mce.h"
#include "x86/mtrr.h"

struct x86_vcpu;
struct x86_vm;

/* Registers that are only stored here, for the guest to read back. */
struct vcpu_msrs {
	u64 misc_enable, platform_info, misc_features, ucode_rev, arch_caps, de_cfg;
	u64 hwcr, power_ctl, feat_ctl, hsave_pa, osvw_length, osvw_status, poll_control, xss;
	u64 smi_count;
	struct mtrr_state mtrr;
	struct mce_state mce;
	u32 exit_msr;		/* a user-space exit for this one is to be completed */
	u8 exit_len;
};

/* One MSR or a range of them.  get and set answer 0, 1 = #GP; NULL: there is no such access. */
struct msr_desc {
	u32 first, last;
	u8 flags;		/* MSR_F_* */
	int (*get)(struct x86_vcpu *vcpu, u32 msr, u64 *val, bool host);
	int (*set)(struct x86_vcpu *vcpu, u32 msr, u64 val, bool host);
	bool (*present)(void);	/* NULL: always */
};
#define MSR_F_SAVE	1	/* in KVM_GET_MSR_INDEX_LIST */
#define MSR_F_FEATURE	2	/* in KVM_GET_MSR_FEATURE_INDEX_LIST, see msr_feature() */

/* msr_table.c: the row of @msr, or NULL; rows by number, for the lists. */
const struct msr_desc *msr_find(u32 msr);
const struct msr_desc *msr_row(unsigned int i);
/* The value that this host offers for a feature MSR: 0, 1 = not one. */
int msr_feature(u32 msr, u64 *val);
void msr_init_state(struct x86_vcpu *vcpu);

int msr_init_vcpu(struct x86_vcpu *vcpu);
void msr_destroy_vcpu(struct x86_vcpu *vcpu);
void msr_reset_vcpu(struct x86_vcpu *vcpu, bool init);

/* 0, or 1 = #GP.  @host: from an ioctl, wider rights.  May sleep unless the MSR is one of the run-loop short cuts. */
int msr_read(struct x86_vcpu *vcpu, u32 msr, u64 *val, bool host);
int msr_write(struct x86_vcpu *vcpu, u32 msr, u64 val, bool host);

/*
 * The writes that may be answered in the run loop, atomic context, interrupts off: TSC_DEADLINE, x2APIC EOI and ICR (fixed, to
 * one target).  True: done.  The VM has no MSR filter, or the caller has asked msr_filter_allows().
 */
bool msr_write_hot(struct x86_vcpu *vcpu, u32 msr, u64 val);

/* The guest's RDMSR/WRMSR exits, with filters and user-space MSR exits: as exit_handle. */
int msr_exit_read(struct x86_vcpu *vcpu, u8 insn_len);
int msr_exit_write(struct x86_vcpu *vcpu, u8 insn_len);

/* ---- msr_filter.c ---- */
/* KVM_X86_SET_MSR_FILTER lets the guest do this access.  Also for the back end's permission map.  Any context. */
bool msr_filter_allows(struct x86_vm *vm, u32 msr, bool write);
void msr_filter_destroy(struct x86_vm *vm);

/* ---- ioctls, user pointers raw but for the filter ---- */
long msr_ioctl_index_list(void *obj, void *arg);	/* system */
long msr_ioctl_feature_list(void *obj, void *arg);	/* system */
long msr_ioctl_get_features(void *obj, void *arg);	/* system, KVM_GET_MSRS */
long msr_ioctl_get(void *obj, void *arg);		/* vCPU */
long msr_ioctl_set(void *obj, void *arg);		/* vCPU */
long msr_ioctl_set_filter(void *obj, void *arg);	/* VM, struct kvm_msr_filter; [L] */
#ifdef CONFIG_COMPAT
/* The same command of a 32-bit process, whose structure is smaller: it has another number.  -ENOTTY from others. */
struct msr_filter32 {
	__u32 flags;
	struct {
		__u32 flags, nmsrs, base;
		compat_uptr_t bitmap;
	} ranges[KVM_MSR_FILTER_MAX_RANGES];
};
#define KVM_X86_SET_MSR_FILTER32	_IOW(KVMIO, 0xc6, struct msr_filter32)
long msr_ioctl_set_filter32(void *obj, void *arg);
#endif

#endif
