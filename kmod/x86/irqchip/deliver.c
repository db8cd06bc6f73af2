// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delivery: from an interrupt message to the LAPICs that it names.
 *
 * Nearly all messages name one LAPIC by its physical id, or a few of one x2APIC cluster.  For these a table from id to LAPIC is
 * kept, replaced as a whole under RCU when ids or modes change; ids that are out of the ordinary (two LAPICs with the same id,
 * or no memory for the table) make it absent.  All other messages ask every LAPIC whether it is meant: SDM 3A §10.6.2.
 */
#include <linux/overflow.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include <asm/apicdef.h>

#include "core/arch.h"
#include "core/trace.h"
#include "core/vcpu.h"
#include "x86/irqchip/chips.h"
#include "x86/irqchip/irqchip.h"
#include "x86/irqchip/lapic.h"
#include "x86/irqchip/up.h"

struct lapic_map {
	struct rcu_head rcu;
	u32 n;
	bool all_x2apic;
	struct lapic *by_id[];
};

static u32 lapic_highest_id(struct lodge_vm *vm)
{
	struct lodge_vcpu *vcpu;
	unsigned int i;
	u32 max = 0;

	lodge_for_each_vcpu(i, vcpu, vm)
		if (vcpu_lapic(vcpu))
			max = max(max, lapic_id(vcpu_lapic(vcpu)));
	return max;
}

/* Fill @map; false if two LAPICs have one id. */
static bool lapic_map_fill(struct lapic_map *map, struct lodge_vm *vm)
{
	struct lodge_vcpu *vcpu;
	unsigned int i;

	map->all_x2apic = true;
	lodge_for_each_vcpu(i, vcpu, vm) {
		struct lapic *l = vcpu_lapic(vcpu);
		u32 id;

		if (!l || !l->hw_enabled)
			continue;
		id = lapic_id(l);
		if (!l->x2apic)
			map->all_x2apic = false;
		if (id >= map->n || map->by_id[id])
			return false;
		map->by_id[id] = l;
	}
	return true;
}

int lapic_map_update(struct lodge_vm *vm)
{
	struct irqchip *chip = vm_irqchip(vm);
	struct lapic_map *map, *old;
	int err = 0;
	u32 n;

	mutex_lock(&chip->map_lock);
	n = lapic_highest_id(vm) + 1;
	map = n > LODGE_MAX_VCPU_ID ? NULL : kvzalloc(struct_size(map, by_id, n), GFP_KERNEL_ACCOUNT);
	if (!map) {
		err = -ENOMEM;
	} else {
		map->n = n;
		if (!lapic_map_fill(map, vm)) {
			kvfree(map);
			map = NULL;
		}
	}
	old = rcu_replace_pointer(chip->map, map, lockdep_is_held(&chip->map_lock));
	mutex_unlock(&chip->map_lock);
	if (old)
		kvfree_rcu(old, rcu);
	vm_request_ioapic_scan(vm);
	return err;
}

bool lapic_match(struct lapic *l, const struct lapic *src, const struct lapic_msg *msg)
{
	u32 dest = msg->dest, ldr;
	bool no_quirk = vm_irqchip(l->vcpu->vm)->x2apic_no_broadcast;

	if (!l->hw_enabled)
		return false;
	/* A message of 8-bit destinations (xAPIC, IOAPIC, MSI) broadcasts with 0xff, one of 32 bits with all ones. */
	if (dest == 0xffffffff)
		return true;
	if (dest == 0xff && (src ? !src->x2apic : !(l->x2apic && no_quirk)))
		return true;
	if (!msg->logical)
		return lapic_id(l) == dest;
	ldr = lapic_get(l, APIC_LDR);
	if (l->x2apic)
		return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff);
	ldr >>= 24;
	if (lapic_get(l, APIC_DFR) == APIC_DFR_FLAT)
		return ldr & dest;
	return ldr >> 4 == (dest & 0xff) >> 4 && (ldr & dest & 0xf);
}

/* @msg at one LAPIC that is meant. */
static int lapic_deliver(struct lapic *l, const struct lapic_msg *msg)
{
	switch (msg->mode) {
	case LAPIC_DM_FIXED:
	case LAPIC_DM_LOWEST:
		return lapic_accept(l, msg->vector, msg->level);
	case LAPIC_DM_NMI:
		vcpu_post_nmi(l->vcpu);
		return 1;
	case LAPIC_DM_INIT:
		if (msg->level && !msg->assert)
			return 1;	/* INIT level de-assert: only old bus arbiters cared */
		clear_bit(LAPIC_SIPI, &l->init_sipi);
		set_bit(LAPIC_INIT, &l->init_sipi);
		vcpu_post_event(l->vcpu);
		return 1;
	case LAPIC_DM_SIPI:
		WRITE_ONCE(l->sipi_vector, msg->vector);
		smp_wmb();	/* the vector before the bit that announces it */
		set_bit(LAPIC_SIPI, &l->init_sipi);
		vcpu_post_event(l->vcpu);
		return 1;
	}
	return -1;	/* SMI: there is no SMM; ExtINT comes by wire only */
}

/* Lowest priority: as chipsets do it today, the vector picks one of those that are meant. */
static int lapic_send_lowest(struct lodge_vm *vm, struct lapic *src, const struct lapic_msg *msg)
{
	struct lodge_vcpu *vcpu;
	unsigned int i, n = 0, pick;

	lodge_for_each_vcpu(i, vcpu, vm) {
		struct lapic *l = vcpu_lapic(vcpu);

		if (l && READ_ONCE(l->sw_enabled) && lapic_match(l, src, msg))
			n++;
	}
	if (!n)
		return -1;
	pick = msg->vector % n;
	lodge_for_each_vcpu(i, vcpu, vm) {
		struct lapic *l = vcpu_lapic(vcpu);

		if (l && READ_ONCE(l->sw_enabled) && lapic_match(l, src, msg) && !pick--)
			return lapic_deliver(l, msg);
	}
	return -1;
}

static int lapic_send_scan(struct lodge_vm *vm, struct lapic *src, const struct lapic_msg *msg)
{
	struct lodge_vcpu *vcpu;
	unsigned int i;
	int best = -1;

	lodge_for_each_vcpu(i, vcpu, vm) {
		struct lapic *l = vcpu_lapic(vcpu);
		bool meant;

		if (!l)
			continue;
		switch (msg->shorthand) {
		case 0:
			meant = lapic_match(l, src, msg);
			break;
		case 1:
			meant = l == src;
			break;
		case 2:
			meant = l->hw_enabled;
			break;
		default:
			meant = l->hw_enabled && l != src;
		}
		if (meant)
			best = max(best, lapic_deliver(l, msg));
	}
	return best;
}

/* One LAPIC by physical id, or those of an x2APIC cluster: 1 if *result was found by the table. */
static bool lapic_send_mapped(struct lodge_vm *vm, struct lapic *src, const struct lapic_msg *msg, int *result)
{
	struct lapic_map *map;
	bool done = false;
	u32 bits, id;

	rcu_read_lock();
	map = rcu_dereference(vm_irqchip(vm)->map);
	if (!map || msg->dest == 0xffffffff || (msg->dest == 0xff && !(src && src->x2apic)))
		goto out;
	if (!msg->logical) {
		id = msg->dest;
		*result = id < map->n && map->by_id[id] ? lapic_deliver(map->by_id[id], msg) : -1;
		done = true;
	} else if (map->all_x2apic) {
		*result = -1;
		for (bits = msg->dest & 0xffff; bits; bits &= bits - 1) {
			id = (msg->dest >> 16) * 16 + __ffs(bits);
			if (id < map->n && map->by_id[id])
				*result = max(*result, lapic_deliver(map->by_id[id], msg));
		}
		done = true;
	}
out:
	rcu_read_unlock();
	return done;
}

int lapic_send(struct lodge_vm *vm, struct lapic *src, const struct lapic_msg *msg)
{
	bool lowest = msg->mode == LAPIC_DM_LOWEST || (msg->redirect_hint && msg->mode == LAPIC_DM_FIXED);
	int result;

	if (msg->shorthand == 1 && src)
		return lapic_deliver(src, msg);
	if (msg->shorthand)
		return lapic_send_scan(vm, src, msg);
	if (lowest && msg->logical)
		return lapic_send_lowest(vm, src, msg);
	if (lapic_send_mapped(vm, src, msg, &result))
		return result;
	return lapic_send_scan(vm, src, msg);
}

int lapic_icr_fast(struct lapic *l, u64 icr)
{
	struct lapic_msg msg = { .dest = icr >> 32, .vector = icr & APIC_VECTOR_MASK, .assert = true };
	u32 shorthand = (icr >> 18) & 3;
	int result;

	/* Fixed delivery to one physical id or to itself; everything that is checked or rare goes the long way. */
	if (!l->x2apic || (icr & (0xfff32000 | APIC_MODE_MASK)) || msg.vector < 16 || shorthand > 1)
		return 1;
	if (shorthand == 1) {
		lapic_accept(l, msg.vector, false);
	} else {
		if (icr & APIC_DEST_LOGICAL)
			msg.logical = true;
		if (!lapic_send_mapped(l->vcpu->vm, l, &msg, &result))
			return 1;
	}
	lapic_set(l, APIC_ICR, (u32)icr & ~APIC_ICR_BUSY);
	lapic_set(l, APIC_ICR2, icr >> 32);
	trace_lodge_lapic_ipi(l->vcpu->id, icr);
	return 0;
}

/* SDM 3A §10.11: an MSI's address and data as a message. */
static void msi_decode(struct irqchip *chip, u64 address, u32 data, struct lapic_msg *msg)
{
	*msg = (struct lapic_msg) {
		.dest = (address >> 12) & 0xff,
		.logical = address & 4,
		.redirect_hint = address & 8,
		.vector = data & 0xff,
		.mode = (data >> 8) & 7,
		.level = data & (1 << 15),
		.assert = true,
	};
	if (chip->x2apic_32bit)
		msg->dest |= (address >> 32) & 0xffffff00;
}

int lodge_arch_msi_deliver(struct lodge_vm *vm, u64 address, u32 data)
{
	struct lapic_msg msg;
	int result;

	trace_lodge_msi(address, data);
	msi_decode(vm_irqchip(vm), address, data, &msg);
	result = lapic_send(vm, NULL, &msg);
	/* 0 would tell the VMM that the guest had blocked it: one that merges with a waiting one has arrived. */
	return result == 0 ? 1 : result;
}

static int msi_route_set(struct lodge_vm *vm, const struct lodge_irq_route *e, int source, int level)
{
	if (!level)
		return -1;
	return lodge_arch_msi_deliver(vm, e->msi.address, e->msi.data);
}

int msi_route_check(struct lodge_vm *vm, struct lodge_irq_route *e, const struct kvm_irq_routing_entry *ue)
{
	/* With 32-bit ids the high word holds bits 31:8 of the destination, and nothing else. */
	if (vm_irqchip(vm)->x2apic_32bit && (ue->u.msi.address_hi & 0xff))
		return -EINVAL;
	e->set = msi_route_set;
	e->msi.address = (u64)ue->u.msi.address_hi << 32 | ue->u.msi.address_lo;
	e->msi.data = ue->u.msi.data;
	return 0;
}

/* Is @route a level-triggered MSI to @l?  Its EOI then goes to the VMM's IOAPIC (split irqchip). */
bool msi_route_wants_eoi(struct lapic *l, const struct lodge_irq_route *route)
{
	struct lapic_msg msg;

	if (route->type != KVM_IRQ_ROUTING_MSI)
		return false;
	msi_decode(vm_irqchip(l->vcpu->vm), route->msi.address, route->msi.data, &msg);
	return msg.level && lapic_match(l, NULL, &msg);
}
