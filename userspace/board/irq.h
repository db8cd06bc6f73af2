/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupt lines and messages.
 *
 * Pins 0-23 are those of the IOAPIC; the hypervisor's default routing serves them and is left
 * alone until the first message route is asked for. A device that raises message interrupts from
 * its own thread needs no route: irq_msi() delivers directly. Routes and irqfds are for whoever
 * must be handed a descriptor, such as vhost in the kernel. Changes of several routes can be
 * bracketed by irq_batch_begin/end, which costs one table update.
 */
#ifndef BOARD_IRQ_H
#define BOARD_IRQ_H

#include <pthread.h>

#include "board/kvm.h"

#define IRQ_PINS 24
#define IRQ_MSI_ROUTES 256

struct irq_route {
	u64 addr;
	u32 data;
	bool used;
	bool live;	/* part of the hypervisor's table */
};

struct irq {
	struct kvm *kvm;
	pthread_mutex_t lock;
	struct irq_route route[IRQ_MSI_ROUTES];	/* lock; gsi = IRQ_PINS + index */
	unsigned int batch;			/* lock */
	bool stale;				/* lock: table must be written */
	bool custom;				/* lock: the default table was replaced */
};

int irq_init(struct irq *irq, struct kvm *kvm);
void irq_fini(struct irq *irq);
/* After kvm_create_vm() made a new VM: forgets what the old one knew. */
void irq_reset(struct irq *irq);

/* Level of an IOAPIC pin. A pulse for an edge-triggered line is 1 then 0. */
int irq_set_pin(struct irq *irq, u32 pin, bool level);
int irq_msi(struct irq *irq, u64 addr, u32 data);

/* Returns the new gsi, or -ENOSPC. The route is silent until irq_route_set. */
int irq_route_alloc(struct irq *irq);
void irq_route_free(struct irq *irq, int gsi);
int irq_route_set(struct irq *irq, int gsi, u64 addr, u32 data);
void irq_batch_begin(struct irq *irq);
int irq_batch_end(struct irq *irq);

#endif
