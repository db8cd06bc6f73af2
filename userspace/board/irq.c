// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Interrupt routing.
 *
 * The hypervisor takes the whole routing table at once. The default one (gsi 0-15 on PIC and
 * IOAPIC, 16-23 on the IOAPIC) exists without a call; it is replaced, with the same pins in it,
 * when the first message route is set. The table is small, so it is built on the heap each time.
 */
#include "board/irq.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

int irq_init(struct irq *irq, struct kvm *kvm)
{
	memset(irq, 0, sizeof(*irq));
	irq->kvm = kvm;
	return -pthread_mutex_init(&irq->lock, NULL);
}

void irq_fini(struct irq *irq)
{
	pthread_mutex_destroy(&irq->lock);
}

void irq_reset(struct irq *irq)
{
	unsigned int i;

	pthread_mutex_lock(&irq->lock);
	for (i = 0; i < IRQ_MSI_ROUTES; i++)
		irq->route[i].live = false;
	irq->stale = irq->custom = false;
	pthread_mutex_unlock(&irq->lock);
}

int irq_set_pin(struct irq *irq, u32 pin, bool level)
{
	return kvm_irq_line(irq->kvm, pin, level);
}

int irq_msi(struct irq *irq, u64 addr, u32 data)
{
	return kvm_signal_msi(irq->kvm, addr, data);
}

static void add_chip(struct kvm_irq_routing *t, u32 gsi, u32 chip, u32 pin)
{
	struct kvm_irq_routing_entry *n = &t->entries[t->nr++];

	n->gsi = gsi;
	n->type = KVM_IRQ_ROUTING_IRQCHIP;
	n->u.irqchip.irqchip = chip;
	n->u.irqchip.pin = pin;
}

static void add_pins(struct kvm_irq_routing *t)
{
	u32 i;

	for (i = 0; i < 16; i++)
		add_chip(t, i, i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, i % 8);
	for (i = 0; i < IRQ_PINS; i++)
		add_chip(t, i, KVM_IRQCHIP_IOAPIC, i);
}

static int irq_commit(struct irq *irq)
{
	struct kvm_irq_routing *t;
	unsigned int i;
	int r;

	t = calloc(1, sizeof(*t) + (16 + IRQ_PINS + IRQ_MSI_ROUTES) * sizeof(t->entries[0]));
	if (!t)
		return -ENOMEM;
	add_pins(t);
	for (i = 0; i < IRQ_MSI_ROUTES; i++) {
		struct kvm_irq_routing_entry *n = &t->entries[t->nr];

		if (!irq->route[i].live)
			continue;
		n->gsi = IRQ_PINS + i;
		n->type = KVM_IRQ_ROUTING_MSI;
		n->u.msi.address_lo = irq->route[i].addr;
		n->u.msi.address_hi = irq->route[i].addr >> 32;
		n->u.msi.data = irq->route[i].data;
		t->nr++;
	}
	r = ioctl(irq->kvm->vm, KVM_SET_GSI_ROUTING, t) < 0 ? -errno : 0;
	free(t);
	if (!r) {
		irq->stale = false;
		irq->custom = true;
	}
	return r;
}

int irq_route_alloc(struct irq *irq)
{
	int i, gsi = -ENOSPC;

	pthread_mutex_lock(&irq->lock);
	for (i = 0; i < IRQ_MSI_ROUTES && gsi < 0; i++) {
		if (irq->route[i].used)
			continue;
		memset(&irq->route[i], 0, sizeof(irq->route[i]));
		irq->route[i].used = true;
		gsi = IRQ_PINS + i;
	}
	pthread_mutex_unlock(&irq->lock);
	return gsi;
}

void irq_route_free(struct irq *irq, int gsi)
{
	if (gsi < IRQ_PINS || gsi >= IRQ_PINS + IRQ_MSI_ROUTES)
		return;
	pthread_mutex_lock(&irq->lock);
	irq->route[gsi - IRQ_PINS].used = false;
	irq->route[gsi - IRQ_PINS].live = false;
	pthread_mutex_unlock(&irq->lock);
}

int irq_route_set(struct irq *irq, int gsi, u64 addr, u32 data)
{
	struct irq_route *route;
	int r = 0;

	if (gsi < IRQ_PINS || gsi >= IRQ_PINS + IRQ_MSI_ROUTES)
		return -EINVAL;
	pthread_mutex_lock(&irq->lock);
	route = &irq->route[gsi - IRQ_PINS];
	if (!route->live || route->addr != addr || route->data != data) {
		route->live = true;
		route->addr = addr;
		route->data = data;
		irq->stale = true;
	}
	if (irq->stale && !irq->batch)
		r = irq_commit(irq);
	pthread_mutex_unlock(&irq->lock);
	return r;
}

void irq_batch_begin(struct irq *irq)
{
	pthread_mutex_lock(&irq->lock);
	irq->batch++;
	pthread_mutex_unlock(&irq->lock);
}

int irq_batch_end(struct irq *irq)
{
	int r = 0;

	pthread_mutex_lock(&irq->lock);
	if (!--irq->batch && irq->stale)
		r = irq_commit(irq);
	pthread_mutex_unlock(&irq->lock);
	return r;
}
