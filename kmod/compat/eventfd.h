/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * eventfd_signal() lost its count, which everybody passed as 1, in Linux 6.8.
 */
#ifndef LODGE_COMPAT_EVENTFD_H
#define LODGE_COMPAT_EVENTFD_H

#include <linux/eventfd.h>
#include <linux/version.h>

static inline void compat_eventfd_signal(struct eventfd_ctx *ctx)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
	eventfd_signal(ctx);
#else
	eventfd_signal(ctx, 1);
#endif
}

#endif
