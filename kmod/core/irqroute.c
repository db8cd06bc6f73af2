// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupt routing: the table from GSIs to irqchip pins and MSIs, and the listeners to EOIs.
 *
 * A table is made new for every change and published under irq_srcu; routes are sorted by GSI, first[gsi] is where a GSI's
 * begin.  After a change returns no old route is in use any more: a VMM that masks an MSI-X vector relies on that.
 */
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "core/arch.h"
#include "core/ioctl.h"
#include "core/irqfd.h"
#include "core/irqroute.h"
#include "core/trace.h"
#include "core/vm.h"

#define IRQCHIPS	3	/* KVM_IRQCHIP_PIC_MASTER, _PIC_SLAVE, _IOAPIC */

static struct lodge_irq_table *table_get(struct lodge_vm *vm)
{
	return srcu_dereference_check(vm->irq_table, &vm->irq_srcu, lockdep_is_held(&vm->irq_lock));
}

/* ---- using it ---- */

int lodge_irq_set(struct lodge_vm *vm, int source, u32 gsi, int level)
{
	struct lodge_irq_table *t;
	int idx, ret = -1;
	u32 i;

	trace_lodge_set_irq(gsi, level, source);
	idx = srcu_read_lock(&vm->irq_srcu);
	t = table_get(vm);
	if (t && gsi < t->nr_gsi) {
		gsi = array_index_nospec(gsi, t->nr_gsi);
		for (i = t->first[gsi]; i < t->first[gsi + 1]; i++) {
			int r = t->route[i].set(vm, &t->route[i], source, level);

			if (r >= 0)
				ret = r + max(ret, 0);
		}
	}
	srcu_read_unlock(&vm->irq_srcu, idx);
	return ret;
}

static int pin_to_gsi(struct lodge_irq_table *t, u32 chip, u32 pin)
{
	if (!t || chip >= IRQCHIPS || pin >= LODGE_IRQCHIP_PINS)
		return -1;
	return t->pin_gsi[array_index_nospec(chip, IRQCHIPS)][array_index_nospec(pin, LODGE_IRQCHIP_PINS)];
}

void lodge_irq_acked(struct lodge_vm *vm, u32 chip, u32 pin)
{
	struct lodge_irq_ack *ack;
	int idx, gsi;

	trace_lodge_ack_irq(chip, pin);
	idx = srcu_read_lock(&vm->irq_srcu);
	gsi = pin_to_gsi(table_get(vm), chip, pin);
	if (gsi >= 0) {
		list_for_each_entry_srcu(ack, &vm->irq_acks, link, srcu_read_lock_held(&vm->irq_srcu)) {
			if (ack->gsi == (u32)gsi)
				ack->acked(ack);
		}
	}
	srcu_read_unlock(&vm->irq_srcu, idx);
}

bool lodge_irq_has_ack(struct lodge_vm *vm, u32 chip, u32 pin)
{
	struct lodge_irq_ack *ack;
	bool ret = false;
	int idx, gsi;

	idx = srcu_read_lock(&vm->irq_srcu);
	gsi = pin_to_gsi(table_get(vm), chip, pin);
	if (gsi >= 0) {
		list_for_each_entry_srcu(ack, &vm->irq_acks, link, srcu_read_lock_held(&vm->irq_srcu)) {
			if (ack->gsi == (u32)gsi) {
				ret = true;
				break;
			}
		}
	}
	srcu_read_unlock(&vm->irq_srcu, idx);
	return ret;
}

void lodge_irq_ack_add(struct lodge_vm *vm, struct lodge_irq_ack *ack)
{
	mutex_lock(&vm->irq_lock);
	list_add_rcu(&ack->link, &vm->irq_acks);
	mutex_unlock(&vm->irq_lock);
	lodge_arch_routes_changed(vm);
}

void lodge_irq_ack_del(struct lodge_vm *vm, struct lodge_irq_ack *ack)
{
	mutex_lock(&vm->irq_lock);
	list_del_rcu(&ack->link);
	mutex_unlock(&vm->irq_lock);
	synchronize_srcu_expedited(&vm->irq_srcu);
	lodge_arch_routes_changed(vm);
}

/* ---- building it ---- */

static void table_free(struct lodge_irq_table *t)
{
	if (!t)
		return;
	kvfree(t->route);
	kvfree(t->first);
	kfree(t);
}

static struct lodge_irq_table *table_alloc(u32 nr_gsi, u32 n)
{
	struct lodge_irq_table *t = kzalloc(sizeof(*t), GFP_KERNEL_ACCOUNT);

	if (!t)
		return NULL;
	memset(t->pin_gsi, -1, sizeof(t->pin_gsi));
	t->nr_gsi = nr_gsi;
	t->n = n;
	t->first = kvcalloc(nr_gsi + 1, sizeof(*t->first), GFP_KERNEL_ACCOUNT);
	t->route = kvcalloc(max(n, 1u), sizeof(*t->route), GFP_KERNEL_ACCOUNT);
	if (!t->first || !t->route) {
		table_free(t);
		return NULL;
	}
	return t;
}

static int entry_check(const struct kvm_irq_routing_entry *ue)
{
	if (ue->gsi >= LODGE_MAX_ROUTES)
		return -EINVAL;
	if (ue->flags & ~(ue->type == KVM_IRQ_ROUTING_MSI ? KVM_MSI_VALID_DEVID : 0))
		return -EINVAL;
	return 0;
}

/* A GSI has either one route of any kind, or several to different irqchips. */
static bool route_allowed(const struct lodge_irq_table *t, u32 from, u32 to, const struct lodge_irq_route *e)
{
	u32 i;

	for (i = from; i < to; i++) {
		const struct lodge_irq_route *o = &t->route[i];

		if (o->type != KVM_IRQ_ROUTING_IRQCHIP || e->type != KVM_IRQ_ROUTING_IRQCHIP ||
		    o->irqchip.chip == e->irqchip.chip)
			return false;
	}
	return true;
}

static int route_fill(struct lodge_vm *vm, struct lodge_irq_table *t, struct lodge_irq_route *e,
		      const struct kvm_irq_routing_entry *ue)
{
	int ret;

	e->gsi = ue->gsi;
	e->type = ue->type;
	if (ue->type == KVM_IRQ_ROUTING_MSI) {
		e->msi.address = (u64)ue->u.msi.address_hi << 32 | ue->u.msi.address_lo;
		e->msi.data = ue->u.msi.data;
	} else if (ue->type == KVM_IRQ_ROUTING_IRQCHIP) {
		if (ue->u.irqchip.irqchip >= IRQCHIPS || ue->u.irqchip.pin >= LODGE_IRQCHIP_PINS)
			return -EINVAL;
		e->irqchip.chip = array_index_nospec(ue->u.irqchip.irqchip, IRQCHIPS);
		e->irqchip.pin = array_index_nospec(ue->u.irqchip.pin, LODGE_IRQCHIP_PINS);
	}
	ret = lodge_arch_route_set(vm, e, ue);
	if (ret)
		return ret;
	if (ue->type == KVM_IRQ_ROUTING_IRQCHIP)
		t->pin_gsi[array_index_nospec(ue->u.irqchip.irqchip, IRQCHIPS)]
			  [array_index_nospec(ue->u.irqchip.pin, LODGE_IRQCHIP_PINS)] = ue->gsi;
	return 0;
}

/* Counting sort by GSI: first[] holds the counts, then the places. */
static int table_fill(struct lodge_vm *vm, struct lodge_irq_table *t, const struct kvm_irq_routing_entry *ue, u32 n)
{
	u32 i, sum = 0, *used;
	int ret = 0;

	used = kvcalloc(t->nr_gsi + 1, sizeof(*used), GFP_KERNEL_ACCOUNT);
	if (!used)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		t->first[ue[i].gsi]++;
	for (i = 0; i <= t->nr_gsi; i++) {
		u32 count = t->first[i];

		t->first[i] = sum;
		sum += count;
	}
	for (i = 0; i < n && !ret; i++) {
		u32 gsi = ue[i].gsi, from = t->first[gsi], at = from + used[gsi]++;

		ret = route_fill(vm, t, &t->route[at], &ue[i]);
		if (!ret && !route_allowed(t, from, at, &t->route[at]))
			ret = -EINVAL;
	}
	kvfree(used);
	return ret;
}

static void table_publish(struct lodge_vm *vm, struct lodge_irq_table *new)
{
	struct lodge_irq_table *old;

	mutex_lock(&vm->irq_lock);
	old = table_get(vm);
	rcu_assign_pointer(vm->irq_table, new);
	lodge_irqfd_routes_changed(vm);
	lodge_arch_routes_changed(vm);
	mutex_unlock(&vm->irq_lock);
	if (old) {
		synchronize_srcu_expedited(&vm->irq_srcu);
		table_free(old);
	}
}

int lodge_irq_routing_set(struct lodge_vm *vm, const struct kvm_irq_routing_entry *entries, u32 n)
{
	struct lodge_irq_table *t;
	u32 i, nr_gsi = 0;
	int ret;

	for (i = 0; i < n; i++) {
		ret = entry_check(&entries[i]);
		if (ret)
			return ret;
		nr_gsi = max(nr_gsi, entries[i].gsi + 1);
	}
	t = table_alloc(nr_gsi, n);
	if (!t)
		return -ENOMEM;
	ret = table_fill(vm, t, entries, n);
	if (ret) {
		table_free(t);
		return ret;
	}
	table_publish(vm, t);
	return 0;
}

long lodge_irq_routing_ioctl(void *obj, void *arg)
{
	struct kvm_irq_routing __user *user = (void __user *)arg;
	struct kvm_irq_routing head;
	struct kvm_irq_routing_entry *entries;
	struct lodge_vm *vm = obj;
	long ret;

	if (copy_from_user(&head, user, sizeof(head)))
		return -EFAULT;
	if (!lodge_arch_irqchip_in_kernel(vm) || head.nr > LODGE_MAX_ROUTES || head.flags)
		return -EINVAL;
	if (!head.nr)
		return lodge_irq_routing_set(vm, NULL, 0);
	entries = lodge_ioctl_dup(user->entries, array_size(head.nr, sizeof(*entries)));
	if (IS_ERR(entries))
		return PTR_ERR(entries);
	ret = lodge_irq_routing_set(vm, entries, head.nr);
	kvfree(entries);
	return ret;
}

int lodge_irq_routing_default(struct lodge_vm *vm, bool full)
{
	struct kvm_irq_routing_entry *e;
	u32 gsi, n = 0;
	int ret;

	if (!full)
		return lodge_irq_routing_set(vm, NULL, 0);
	e = kcalloc(16 + LODGE_IRQCHIP_PINS, sizeof(*e), GFP_KERNEL_ACCOUNT);
	if (!e)
		return -ENOMEM;
	for (gsi = 0; gsi < LODGE_IRQCHIP_PINS; gsi++) {
		e[n].gsi = gsi;
		e[n].type = KVM_IRQ_ROUTING_IRQCHIP;
		e[n].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
		e[n++].u.irqchip.pin = gsi;
		if (gsi >= 16)
			continue;
		e[n].gsi = gsi;
		e[n].type = KVM_IRQ_ROUTING_IRQCHIP;
		e[n].u.irqchip.irqchip = gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
		e[n++].u.irqchip.pin = gsi % 8;
	}
	ret = lodge_irq_routing_set(vm, e, n);
	kfree(e);
	return ret;
}

int lodge_irq_init(struct lodge_vm *vm)
{
	mutex_init(&vm->irq_lock);
	INIT_LIST_HEAD(&vm->irq_acks);
	INIT_LIST_HEAD(&vm->resamplers);
	INIT_LIST_HEAD(&vm->irqfds);
	spin_lock_init(&vm->irqfd_lock);
	return init_srcu_struct(&vm->irq_srcu);
}

void lodge_irq_destroy(struct lodge_vm *vm)
{
	/* Nobody can reach the VM any more, or yet: its creation may have failed. */
	table_free(rcu_dereference_protected(vm->irq_table, true));
	RCU_INIT_POINTER(vm->irq_table, NULL);
	cleanup_srcu_struct(&vm->irq_srcu);
}
