/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Debug registers and the debugger outside the guest.  vcpu_get_dr and vcpu_set_dr are in x86/regs.h.
 */
#ifndef LODGE_X86_DEBUGREG_H
#define LODGE_X86_DEBUGREG_H

/* vCPU ioctls; obj is the struct lodge_vcpu. */
long debugreg_ioctl_get(void *obj, void *arg);		/* struct kvm_debugregs * */
long debugreg_ioctl_set(void *obj, void *arg);
long debugreg_ioctl_guest_debug(void *obj, void *arg);	/* struct kvm_guest_debug * */

#endif
