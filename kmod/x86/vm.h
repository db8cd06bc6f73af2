/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VM ioctls that set fixed properties; obj is the struct lodge_vm, vm->lock is held.
 */
#ifndef LODGE_X86_VM_H
#define LODGE_X86_VM_H

long vm_ioctl_set_tss_addr(void *obj, void *arg);		/* raw */
long vm_ioctl_set_nr_mmu_pages(void *obj, void *arg);		/* raw; 64 at least, else EINVAL */
long vm_ioctl_get_nr_mmu_pages(void *obj, void *arg);		/* the number, 0 until one was set */
long vm_ioctl_set_identity_map_addr(void *obj, void *arg);	/* u64 * */
long vm_ioctl_set_boot_cpu_id(void *obj, void *arg);		/* raw */

#endif
