/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest's FPU state.
 */
#ifndef LODGE_X86_FPU_H
#define LODGE_X86_FPU_H

#include <linux/types.h>

struct x86_vcpu;

/* vCPU ioctls; obj is the struct lodge_vcpu. */
long fpu_ioctl_get(void *obj, void *arg);		/* struct kvm_fpu * */
long fpu_ioctl_set(void *obj, void *arg);
long fpu_ioctl_get_xsave(void *obj, void *arg);		/* raw: user pointer */
long fpu_ioctl_get_xsave2(void *obj, void *arg);	/* raw */
long fpu_ioctl_set_xsave(void *obj, void *arg);		/* raw */
long fpu_ioctl_get_xcrs(void *obj, void *arg);		/* struct kvm_xcrs * */
long fpu_ioctl_set_xcrs(void *obj, void *arg);

/* Size of the KVM_GET_XSAVE2 image. */
unsigned int fpu_xsave_size(struct x86_vcpu *vcpu);

/* Single registers of the guest that this thread runs; inside KVM_RUN only. */
void fpu_get_vec(unsigned int nr, u64 q[4]);
void fpu_set_vec(unsigned int nr, const u64 q[4], unsigned int n);
void fpu_get_mmx(unsigned int nr, u64 *val);
void fpu_set_mmx(unsigned int nr, u64 val);
void fpu_get_cw(u16 *word);
void fpu_set_cw(u16 word);
void fpu_get_sw(u16 *word);
void fpu_reinit(void);
void fpu_clear_exceptions(void);

#endif
