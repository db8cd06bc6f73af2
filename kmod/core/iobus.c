// SPDX-License-Identifier: GPL-2.0-only
/*
 * The in-kernel I/O buses: arrays of ranges sorted by address, replaced as a whole.
 *
 * Ranges may overlap and nest (an ioeventfd inside a coalesced zone), so the last range that begins at or below an address is
 * not always the one that holds it.  Each entry carries the highest last address of itself and all before it (reach): the
 * search walks backwards from the binary search's answer while reach says that an earlier range could still hold the access,
 * which on a bus without overlaps is one step.  Of several that hold it, the one with the higher address is asked first.
 */
#include <linux/sched.h>
#include <linux/slab.h>

#include "core/iobus.h"
#include "core/memslot.h"
#include "core/vm.h"

static struct lodge_iobus *bus_get(struct lodge_vm *vm, enum lodge_bus bus)
{
	return srcu_dereference_check(vm->bus[bus], &vm->srcu,
				      lockdep_is_held(&vm->slots_lock) || !kref_read(&vm->ref));
}

static struct lodge_iobus *bus_alloc(unsigned int n)
{
	return kvzalloc(struct_size((struct lodge_iobus *)NULL, range, n), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
}

/* Stands in for a device that left while there was no memory for a smaller array. */
static const struct lodge_iodev_ops nobody_ops = {};
static struct lodge_iodev nobody = { .ops = &nobody_ops, .uncounted = true };

static gpa_t range_last(const struct lodge_iorange *r)
{
	return r->addr + (r->len ? r->len - 1 : 0);
}

static void bus_append(struct lodge_iobus *bus, const struct lodge_iorange *r)
{
	struct lodge_iorange *to = &bus->range[bus->n];

	*to = *r;
	to->reach = range_last(r);
	if (bus->n)
		to->reach = max(to->reach, to[-1].reach);
	bus->n++;
	bus->nr_uncounted += r->dev->uncounted;
}

/* A copy of @old without @drop, without absent devices, and with @add; or NULL. */
static struct lodge_iobus *bus_copy(const struct lodge_iobus *old, const struct lodge_iodev *drop,
				    const struct lodge_iorange *add)
{
	unsigned int i, n = old ? old->n : 0;
	struct lodge_iobus *new = bus_alloc(n + 1);

	if (!new)
		return NULL;
	for (i = 0; i < n; i++) {
		const struct lodge_iorange *r = &old->range[i];

		if (add && r->addr > add->addr) {
			bus_append(new, add);
			add = NULL;
		}
		if (r->dev != drop && r->dev != &nobody)
			bus_append(new, r);
	}
	if (add)
		bus_append(new, add);
	return new;
}

static void bus_publish(struct lodge_vm *vm, enum lodge_bus bus, struct lodge_iobus *new, struct lodge_iobus *old)
{
	rcu_assign_pointer(vm->bus[bus], new);
	if (!old)
		return;
	old->retired = vm->retired_buses;
	vm->retired_buses = old;
	if (++vm->nr_retired > 8)
		lodge_retired_free(vm);
}

int lodge_iobus_add(struct lodge_vm *vm, enum lodge_bus bus, gpa_t addr, u32 len, struct lodge_iodev *dev)
{
	struct lodge_iorange add = { .addr = addr, .len = len, .dev = dev };
	struct lodge_iobus *old, *new;

	lockdep_assert_held(&vm->slots_lock);
	old = bus_get(vm, bus);
	if (!dev->uncounted && old && old->n - old->nr_uncounted >= LODGE_IOBUS_MAX)
		return -ENOSPC;
	if (dev->uncounted && old && old->nr_uncounted >= LODGE_IOBUS_UNCOUNTED)
		return -ENOSPC;
	new = bus_copy(old, NULL, &add);
	if (!new)
		return -ENOMEM;
	bus_publish(vm, bus, new, old);
	return 0;
}

void lodge_iobus_del(struct lodge_vm *vm, enum lodge_bus bus, struct lodge_iodev *dev)
{
	struct lodge_iobus *old, *new;
	unsigned int i;

	lockdep_assert_held(&vm->slots_lock);
	old = bus_get(vm, bus);
	if (!old)
		return;
	new = bus_copy(old, dev, NULL);
	if (new) {
		bus_publish(vm, bus, new, old);
	} else {
		for (i = 0; i < old->n; i++) {
			if (old->range[i].dev == dev) {
				old->nr_uncounted += !dev->uncounted;
				WRITE_ONCE(old->range[i].dev, &nobody);
			}
		}
	}
	lodge_retired_free(vm);
}

/* Index behind the last range that begins at or below @addr. */
static unsigned int bus_search(const struct lodge_iobus *bus, gpa_t addr)
{
	unsigned int lo = 0, hi = bus->n;

	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;

		if (bus->range[mid].addr <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool range_holds(const struct lodge_iorange *r, gpa_t addr, int len)
{
	if (!r->len)
		return addr == r->addr;
	return len && addr >= r->addr && addr + len - 1 <= range_last(r);
}

int lodge_iobus_read(struct lodge_vcpu *vcpu, struct lodge_vm *vm, enum lodge_bus bus, gpa_t addr, int len, void *val)
{
	struct lodge_iobus *b = bus_get(vm, bus);
	unsigned int i;

	if (!b)
		return -EOPNOTSUPP;
	for (i = bus_search(b, addr); i && b->range[i - 1].reach >= addr; i--) {
		const struct lodge_iorange *r = &b->range[i - 1];
		struct lodge_iodev *dev = READ_ONCE(r->dev);

		if (range_holds(r, addr, len) && dev->ops->read && !dev->ops->read(vcpu, dev, addr, len, val))
			return 0;
	}
	return -EOPNOTSUPP;
}

int lodge_iobus_write(struct lodge_vcpu *vcpu, struct lodge_vm *vm, enum lodge_bus bus, gpa_t addr, int len, const void *val)
{
	struct lodge_iobus *b = bus_get(vm, bus);
	unsigned int i;

	if (!b)
		return -EOPNOTSUPP;
	for (i = bus_search(b, addr); i && b->range[i - 1].reach >= addr; i--) {
		const struct lodge_iorange *r = &b->range[i - 1];
		struct lodge_iodev *dev = READ_ONCE(r->dev);

		if (range_holds(r, addr, len) && dev->ops->write && !dev->ops->write(vcpu, dev, addr, len, val))
			return 0;
	}
	return -EOPNOTSUPP;
}

void lodge_iobus_destroy(struct lodge_vm *vm)
{
	unsigned int bus, i;

	for (bus = 0; bus < LODGE_BUSES; bus++) {
		struct lodge_iobus *b = bus_get(vm, bus);

		if (!b)
			continue;
		RCU_INIT_POINTER(vm->bus[bus], NULL);
		for (i = 0; i < b->n; i++) {
			struct lodge_iodev *dev = b->range[i].dev;

			if (dev->ops->destroy)
				dev->ops->destroy(dev);
			cond_resched();
		}
		kvfree(b);
	}
}
