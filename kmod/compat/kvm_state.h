/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The CPU hotplug state that belongs to KVM: it moved out of the states with interrupts off in Linux 6.4.
 */
#ifndef LODGE_COMPAT_KVM_STATE_H
#define LODGE_COMPAT_KVM_STATE_H

#include <linux/cpuhotplug.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#define COMPAT_KVM_STATE	CPUHP_AP_KVM_ONLINE
#else
#define COMPAT_KVM_STATE	CPUHP_AP_KVM_STARTING
#endif

#endif
