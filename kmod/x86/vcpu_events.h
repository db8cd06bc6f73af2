/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ioctls about events; obj is the struct lodge_vcpu.
 */
#ifndef LODGE_X86_VCPU_EVENTS_H
#define LODGE_X86_VCPU_EVENTS_H

long vcpu_events_ioctl_get(void *obj, void *arg);		/* struct kvm_vcpu_events * */
long vcpu_events_ioctl_set(void *obj, void *arg);
long vcpu_events_ioctl_interrupt(void *obj, void *arg);		/* struct kvm_interrupt * */
long vcpu_events_ioctl_nmi(void *obj, void *arg);		/* no argument */

#endif
