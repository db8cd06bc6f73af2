/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interrupt routing: from a GSI to irqchip pins and MSI messages.
 *
 * The table is replaced as a whole (irq_srcu).  One GSI may have several routes, at most one per irqchip; setting its level
 * sets all of them.  Sources are told apart so that several may share a level-triggered line.
 */
#ifndef LODGE_CORE_IRQROUTE_H
#define LODGE_CORE_IRQROUTE_H

#include <linux/kvm.h>
#include <linux/list.h>
#include <linux/types.h>

struct lodge_vm;

#define LODGE_MAX_ROUTES	4096		/* KVM_CAP_IRQ_ROUTING; also the number of GSIs */
#define LODGE_IRQCHIP_PINS	24

/* Sources of a line level, bits of a line's state. */
enum { LODGE_IRQ_USERSPACE = 0, LODGE_IRQ_RESAMPLE = 1, LODGE_IRQ_PIT = 2, LODGE_IRQ_SOURCES };

struct lodge_irq_route {
	u32 gsi;
	u32 type;			/* KVM_IRQ_ROUTING_IRQCHIP / _MSI */
	/* -1 masked or no target, 0 coalesced, >0 delivered.  Any context, irq_srcu held. */
	int (*set)(struct lodge_vm *vm, const struct lodge_irq_route *e, int source, int level);
	union {
		struct { u32 chip, pin; } irqchip;	/* KVM_IRQCHIP_* */
		struct { u64 address; u32 data; } msi;
	};
};

struct lodge_irq_table {
	u32 nr_gsi;
	int pin_gsi[3][LODGE_IRQCHIP_PINS];	/* chip, pin -> gsi or -1 */
	u32 n;
	u32 *first;		/* [nr_gsi + 1] index of the GSI's first route: routes are sorted by gsi */
	struct lodge_irq_route *route;
};

/* Set line @gsi: result as ->set, the best of its routes; -1 without a route.  Any context. */
int lodge_irq_set(struct lodge_vm *vm, int source, u32 gsi, int level);
/* KVM_SET_GSI_ROUTING: replace the table.  -EINVAL, -ENOMEM. */
int lodge_irq_routing_set(struct lodge_vm *vm, const struct kvm_irq_routing_entry *entries, u32 n);
/* The default table after KVM_CREATE_IRQCHIP (0-15 PIC and IOAPIC, 16-23 IOAPIC), or an empty one (@full false, split). */
int lodge_irq_routing_default(struct lodge_vm *vm, bool full);
/* An irqchip pin got its EOI: run the resamplers of its GSI.  Any context but hard interrupt. */
void lodge_irq_acked(struct lodge_vm *vm, u32 chip, u32 pin);
/* Does somebody want to know of the EOI of this pin?  */
bool lodge_irq_has_ack(struct lodge_vm *vm, u32 chip, u32 pin);

/* In-kernel listeners to EOIs (the PIT, resamplers).  add and del take irq_lock; after del nobody is in acked(). */
struct lodge_irq_ack {
	struct list_head link;
	u32 gsi;
	void (*acked)(struct lodge_irq_ack *ack);
};
void lodge_irq_ack_add(struct lodge_vm *vm, struct lodge_irq_ack *ack);
void lodge_irq_ack_del(struct lodge_vm *vm, struct lodge_irq_ack *ack);

/* KVM_GET/SET ioctls' side of it: copies the user's array.  -EINVAL, -EFAULT, -ENOMEM. */
long lodge_irq_routing_ioctl(void *obj, void *arg);

int lodge_irq_init(struct lodge_vm *vm);
void lodge_irq_destroy(struct lodge_vm *vm);

#endif
