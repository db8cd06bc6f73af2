/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ioctls about a vCPU's multiprocessing state; obj is the struct lodge_vcpu.
 */
#ifndef LODGE_X86_MP_STATE_H
#define LODGE_X86_MP_STATE_H

long mp_state_ioctl_get(void *obj, void *arg);	/* struct kvm_mp_state * */
long mp_state_ioctl_set(void *obj, void *arg);

#endif
