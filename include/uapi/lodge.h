/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * What /dev/lodge has beyond <linux/kvm.h>.
 *
 * The device speaks the KVM ABI.  Extensions are found by asking KVM_CHECK_EXTENSION for the numbers below, which no KVM
 * capability uses; a kernel without one answers 0.  Their ioctls, when there are any, use the letter LODGE_IOCTL_LETTER, which
 * the kernel's list of ioctl numbers leaves free.
 */
#ifndef _UAPI_LODGE_H
#define _UAPI_LODGE_H

#include <linux/types.h>

#define LODGE_CAP_BASE		0x4C4F0000

/* The version of this interface, LODGE_ABI_VERSION of the module; absent (0) on any other KVM. */
#define LODGE_CAP_VERSION	(LODGE_CAP_BASE + 0)

#define LODGE_ABI_VERSION	1

#define LODGE_IOCTL_LETTER	0xC7

#endif /* _UAPI_LODGE_H */
