/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Work that the kernel wants done before a thread goes into a guest: signals, rescheduling, task work.
 */
#ifndef LODGE_COMPAT_GUEST_WORK_H
#define LODGE_COMPAT_GUEST_WORK_H

/* Process context, interrupts and preemption on, no lock held: 0, or -EINTR for a signal. */
int guest_work(void);

#endif
