// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * hold.c - the box's kernel keeps its hooks for preemption patched in.
 *
 * The first user of preemption notifiers (lodge.ko when it is loaded, the
 * stock KVM module at its first VM) makes the kernel patch __schedule(), and
 * the last one undoes it: an int3 is written over the hottest code there is,
 * and taken away again, while the other CPUs run through it.
 *
 * QEMU 7.2's multi-threaded TCG reads the code that it translates without
 * holding the page's lock.  A CPU that translates while another one patches
 * can keep a translation of the int3 for ever; the kernel finds the
 * breakpoint gone, resumes at the same address, and meets the translation
 * again.  Both CPUs then stand still with interrupts off: seen in 5 of 36 runs
 * of twenty loads each on busy cores, on none with this module in place.
 *
 * So the box takes one use of the notifiers before anything else runs, and
 * keeps it: from then on the modules under test only count.
 */
#include <linux/module.h>
#include <linux/preempt.h>

static int __init hold_init(void)
{
	preempt_notifier_inc();
	return 0;
}

module_init(hold_init);		/* no exit: it stays for the life of the box */

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("keeps preemption notifiers on, for emulators that patch code badly");
