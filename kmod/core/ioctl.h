/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Command tables: an ioctl is a row, not a case of a switch.
 *
 * The dispatcher copies the argument in (if _IOC_WRITE) and out (if _IOC_READ and the function returned >= 0), as the
 * command's own encoding says, so that functions see kernel memory only.  Commands whose argument is a value, or a header
 * followed by a variable array, take it raw.
 */
#ifndef LODGE_CORE_IOCTL_H
#define LODGE_CORE_IOCTL_H

#include <linux/types.h>

#define LODGE_IOCTL_RAW		1	/* fn gets the plain unsigned long: a value or a user pointer */
#define LODGE_IOCTL_UNLOCKED	2	/* vCPU table: without vcpu->mutex and load/put (KVM_INTERRUPT-like asynchronous) */
#define LODGE_IOCTL_VM_LOCK	4	/* VM table: with vm->lock held */

struct lodge_ioctl {
	unsigned int cmd;
	u8 flags;
	long (*fn)(void *obj, void *arg);	/* arg: kernel copy, or (void *)value with LODGE_IOCTL_RAW */
};

/* The row for @cmd, or NULL. */
const struct lodge_ioctl *lodge_ioctl_find(const struct lodge_ioctl *tab, unsigned int n, unsigned int cmd);

/* Run one row: copies, calls, copies back.  -EFAULT, -ENOMEM, or what fn returns. */
long lodge_ioctl_call(const struct lodge_ioctl *row, void *obj, unsigned long arg);

/* A copy of @len bytes (not 0) of user space's, charged to its cgroup, for kvfree(); or ERR_PTR. */
void *lodge_ioctl_dup(const void __user *from, size_t len);

#endif
