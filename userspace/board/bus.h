/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An address bus: ranges of ports or of memory-mapped registers, and who answers there.
 *
 * There is one object for port I/O and one for MMIO. The handlers are called on the vCPU's own
 * thread, without a lock held: several vCPUs may be inside the same device at once, so a device
 * with state takes its own lock. A handler may still be running on another vCPU when bus_remove()
 * returns; the device object must outlive the machine's vCPU threads.
 */
#ifndef BOARD_BUS_H
#define BOARD_BUS_H

#include <pthread.h>

#include "common/err.h"
#include "common/types.h"

struct bus_ops {
	/* off counts from the start of the range; len is 1, 2, 4 or 8 and stays within it. */
	void (*read)(void *ctx, u64 off, void *data, unsigned int len);
	void (*write)(void *ctx, u64 off, const void *data, unsigned int len);
};

struct bus_range {
	u64 base;
	u64 len;
	const struct bus_ops *ops;
	void *ctx;
};

struct bus {
	pthread_rwlock_t lock;
	struct bus_range *range;	/* lock; sorted by base, never overlapping */
	unsigned int count, room;	/* lock */
	const char *name;
};

int bus_init(struct bus *bus, const char *name);
void bus_fini(struct bus *bus);

/* -EBUSY when the range overlaps another, -EINVAL when empty or wrapping. */
int bus_add(struct bus *bus, u64 base, u64 len, const struct bus_ops *ops, void *ctx);
/* base must be one given to bus_add; else nothing happens. */
void bus_remove(struct bus *bus, u64 base);

/* False when nobody answers there: a read then gives all ones, a write is lost. */
bool bus_read(struct bus *bus, u64 addr, void *data, unsigned int len);
bool bus_write(struct bus *bus, u64 addr, const void *data, unsigned int len);

/* Little-endian values out of and into the data of an access of 1, 2, 4 or 8 bytes. */
u64 bus_get(const void *data, unsigned int len);
void bus_put(void *data, unsigned int len, u64 val);

#endif
