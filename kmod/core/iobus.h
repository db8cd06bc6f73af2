/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The in-kernel I/O buses of a VM: ports and device memory that the kernel answers without the VMM.
 *
 * A bus is a sorted array of ranges, replaced as a whole (SRCU) when a device comes or goes.  A look-up is a binary search;
 * several devices may share a range (ioeventfds that differ in their data), they are asked in turn until one accepts.
 */
#ifndef LODGE_CORE_IOBUS_H
#define LODGE_CORE_IOBUS_H

#include <linux/types.h>

#include "core/addr.h"

struct lodge_vm;
struct lodge_vcpu;
struct lodge_iodev;

enum lodge_bus { LODGE_BUS_MMIO, LODGE_BUS_PIO, LODGE_BUSES };

struct lodge_iodev_ops {
	/* 0 = answered; -EOPNOTSUPP = not mine, ask the next.  vcpu may be NULL.  SRCU read side, preemptible. */
	int (*read)(struct lodge_vcpu *vcpu, struct lodge_iodev *dev, gpa_t addr, int len, void *val);
	int (*write)(struct lodge_vcpu *vcpu, struct lodge_iodev *dev, gpa_t addr, int len, const void *val);
	void (*destroy)(struct lodge_iodev *dev);	/* may be NULL; called at VM teardown for what is still on a bus */
};

struct lodge_iodev {
	const struct lodge_iodev_ops *ops;
	bool uncounted;		/* limited by file descriptors, not by LODGE_IOBUS_MAX */
};

struct lodge_iorange {
	gpa_t addr;
	u32 len;		/* 0 = any length at exactly addr (ioeventfd) */
	gpa_t reach;		/* highest last address of this and all ranges before it: bounds the look-up */
	struct lodge_iodev *dev;
};

struct lodge_iobus {
	struct lodge_iobus *retired;	/* next one that waits for its readers */
	unsigned int n, nr_uncounted;
	struct lodge_iorange range[];
};

#define LODGE_IOBUS_MAX		1000
#define LODGE_IOBUS_UNCOUNTED	8192	/* nor without end: all of them may lie at one address, and be asked in turn */

/* vm->slots_lock held.  -ENOSPC, -ENOMEM. */
int lodge_iobus_add(struct lodge_vm *vm, enum lodge_bus bus, gpa_t addr, u32 len, struct lodge_iodev *dev);
/*
 * vm->slots_lock held.  On return no reader uses @dev any more.  Never fails: without memory for a smaller array the device's
 * place in the old one is filled with one that answers nothing.
 */
void lodge_iobus_del(struct lodge_vm *vm, enum lodge_bus bus, struct lodge_iodev *dev);
/*
 * vm->srcu held.  0, or -EOPNOTSUPP when nobody answered: then it is the VMM's.
 *
 * A write with @len 0 and @val NULL asks only the devices that take any length and any data at exactly @addr: the quick way
 * for an access to device memory whose instruction nobody has decoded.
 */
int lodge_iobus_read(struct lodge_vcpu *vcpu, struct lodge_vm *vm, enum lodge_bus bus, gpa_t addr, int len, void *val);
int lodge_iobus_write(struct lodge_vcpu *vcpu, struct lodge_vm *vm, enum lodge_bus bus, gpa_t addr, int len, const void *val);
void lodge_iobus_destroy(struct lodge_vm *vm);

#endif
