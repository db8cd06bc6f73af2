// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Address buses.
 *
 * A sorted array under a read-write lock. The lock is dropped before the handler runs, because a
 * handler may change the bus itself (a write to configuration space moves a BAR).
 */
#include "board/bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int bus_init(struct bus *bus, const char *name)
{
	memset(bus, 0, sizeof(*bus));
	bus->name = name;
	return -pthread_rwlock_init(&bus->lock, NULL);
}

void bus_fini(struct bus *bus)
{
	free(bus->range);
	bus->range = NULL;
	bus->count = bus->room = 0;
	pthread_rwlock_destroy(&bus->lock);
}

/* First range that ends above addr. */
static unsigned int bus_seek(const struct bus *bus, u64 addr)
{
	unsigned int lo = 0, hi = bus->count, mid;

	while (lo < hi) {
		mid = (lo + hi) / 2;
		if (bus->range[mid].base + (bus->range[mid].len - 1) < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int bus_add(struct bus *bus, u64 base, u64 len, const struct bus_ops *ops, void *ctx)
{
	struct bus_range *grown;
	unsigned int i;
	int r = 0;

	if (!len || base + (len - 1) < base)
		return -EINVAL;
	pthread_rwlock_wrlock(&bus->lock);
	i = bus_seek(bus, base);
	if (i < bus->count && bus->range[i].base <= base + (len - 1)) {
		r = -EBUSY;
		goto out;
	}
	if (bus->count == bus->room) {
		grown = realloc(bus->range, (bus->room + 16) * sizeof(*grown));
		if (!grown) {
			r = -ENOMEM;
			goto out;
		}
		bus->range = grown;
		bus->room += 16;
	}
	memmove(&bus->range[i + 1], &bus->range[i], (bus->count - i) * sizeof(*bus->range));
	bus->range[i] = (struct bus_range){ base, len, ops, ctx };
	bus->count++;
out:
	pthread_rwlock_unlock(&bus->lock);
	return r;
}

void bus_remove(struct bus *bus, u64 base)
{
	unsigned int i;

	pthread_rwlock_wrlock(&bus->lock);
	i = bus_seek(bus, base);
	if (i < bus->count && bus->range[i].base == base) {
		bus->count--;
		memmove(&bus->range[i], &bus->range[i + 1],
			(bus->count - i) * sizeof(*bus->range));
	}
	pthread_rwlock_unlock(&bus->lock);
}

static bool bus_find(struct bus *bus, u64 addr, unsigned int len, struct bus_range *found)
{
	unsigned int i;
	bool hit;

	pthread_rwlock_rdlock(&bus->lock);
	i = bus_seek(bus, addr);
	hit = i < bus->count && bus->range[i].base <= addr &&
	      len <= bus->range[i].len - (addr - bus->range[i].base);
	if (hit)
		*found = bus->range[i];
	pthread_rwlock_unlock(&bus->lock);
	return hit;
}

bool bus_read(struct bus *bus, u64 addr, void *data, unsigned int len)
{
	struct bus_range r;

	memset(data, 0xff, len);
	if (!bus_find(bus, addr, len, &r))
		return false;
	r.ops->read(r.ctx, addr - r.base, data, len);
	return true;
}

bool bus_write(struct bus *bus, u64 addr, const void *data, unsigned int len)
{
	struct bus_range r;

	if (!bus_find(bus, addr, len, &r))
		return false;
	r.ops->write(r.ctx, addr - r.base, data, len);
	return true;
}

u64 bus_get(const void *data, unsigned int len)
{
	u64 v = 0;

	memcpy(&v, data, len > 8 ? 8 : len);
	return v;
}

void bus_put(void *data, unsigned int len, u64 val)
{
	memcpy(data, &val, len > 8 ? 8 : len);
}
