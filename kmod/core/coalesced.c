// SPDX-License-Identifier: GPL-2.0-only
/*
 * Coalesced writes: the producer side of the ring that KVM_CAP_COALESCED_MMIO and _PIO define.
 *
 * A write into a registered zone is put into a ring shared with the VMM and the guest goes on; the VMM empties the ring at
 * its next exit.  The ring's indices are user memory: they are read once and forced into range.  A full ring means that
 * nobody answers here and the write becomes an ordinary exit.
 */
#include <linux/slab.h>

#include "core/arch.h"
#include "core/coalesced.h"
#include "core/iobus.h"
#include "core/vm.h"

struct coalesced {
	struct lodge_iodev dev;
	struct list_head link;		/* vm->coalesced_zones */
	struct lodge_vm *vm;
	struct kvm_coalesced_mmio_zone zone;
};

static bool zone_holds(const struct coalesced *c, gpa_t addr, u64 len)
{
	return addr >= c->zone.addr && len <= c->zone.size && addr - c->zone.addr <= c->zone.size - len;
}

static int coalesced_write(struct lodge_vcpu *vcpu, struct lodge_iodev *dev, gpa_t addr, int len, const void *val)
{
	struct coalesced *c = container_of(dev, struct coalesced, dev);
	struct kvm_coalesced_mmio_ring *ring = c->vm->coalesced_ring;
	struct kvm_coalesced_mmio *slot;
	unsigned long flags;
	u32 last, next;

	if (len <= 0 || len > (int)sizeof(slot->data) || !zone_holds(c, addr, len))
		return -EOPNOTSUPP;

	spin_lock_irqsave(&c->vm->ring_lock, flags);
	last = READ_ONCE(ring->last) % KVM_COALESCED_MMIO_MAX;
	next = (last + 1) % KVM_COALESCED_MMIO_MAX;
	if (next == READ_ONCE(ring->first) % KVM_COALESCED_MMIO_MAX) {
		spin_unlock_irqrestore(&c->vm->ring_lock, flags);
		return -EOPNOTSUPP;
	}
	slot = &ring->coalesced_mmio[last];
	slot->phys_addr = addr;
	slot->len = len;
	memcpy(slot->data, val, len);
	slot->pio = c->zone.pio;
	/* The entry is complete before the VMM sees it. */
	smp_store_release(&ring->last, next);
	spin_unlock_irqrestore(&c->vm->ring_lock, flags);
	return 0;
}

static void coalesced_free(struct lodge_iodev *dev)
{
	struct coalesced *c = container_of(dev, struct coalesced, dev);

	list_del(&c->link);
	kfree(c);
}

static const struct lodge_iodev_ops coalesced_ops = {
	.write = coalesced_write,
	.destroy = coalesced_free,
};

int lodge_coalesced_init(struct lodge_vm *vm)
{
	vm->coalesced_ring = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	return vm->coalesced_ring ? 0 : -ENOMEM;
}

void lodge_coalesced_destroy(struct lodge_vm *vm)
{
	free_page((unsigned long)vm->coalesced_ring);
	vm->coalesced_ring = NULL;
}

int lodge_coalesced_add(struct lodge_vm *vm, const struct kvm_coalesced_mmio_zone *zone)
{
	struct coalesced *c;
	int ret;

	if (zone->pio > 1)
		return -EINVAL;
	c = kzalloc(sizeof(*c), GFP_KERNEL_ACCOUNT);
	if (!c)
		return -ENOMEM;
	c->dev.ops = &coalesced_ops;
	c->vm = vm;
	c->zone = *zone;

	mutex_lock(&vm->slots_lock);
	ret = lodge_iobus_add(vm, zone->pio ? LODGE_BUS_PIO : LODGE_BUS_MMIO, zone->addr, zone->size, &c->dev);
	if (ret)
		kfree(c);
	else
		list_add_tail(&c->link, &vm->coalesced_zones);
	mutex_unlock(&vm->slots_lock);
	return ret;
}

int lodge_coalesced_del(struct lodge_vm *vm, const struct kvm_coalesced_mmio_zone *zone)
{
	struct coalesced *c, *next;

	if (zone->pio > 1)
		return -EINVAL;
	mutex_lock(&vm->slots_lock);
	list_for_each_entry_safe(c, next, &vm->coalesced_zones, link) {
		if (c->zone.pio != zone->pio || !zone_holds(c, zone->addr, zone->size))
			continue;
		lodge_iobus_del(vm, zone->pio ? LODGE_BUS_PIO : LODGE_BUS_MMIO, &c->dev);
		coalesced_free(&c->dev);
	}
	mutex_unlock(&vm->slots_lock);
	return 0;
}
