/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KVM_IRQFD: an eventfd that raises a GSI.
 */
#ifndef LODGE_CORE_IRQFD_H
#define LODGE_CORE_IRQFD_H

#include <linux/kvm.h>

struct lodge_irq_table;
struct lodge_vm;

int lodge_irqfd_init_module(void);
void lodge_irqfd_exit_module(void);

int lodge_irqfd(struct lodge_vm *vm, const struct kvm_irqfd *args);	/* -EINVAL, -EBADF, -EBUSY (eventfd in use), -ENOMEM */
/* The routing table changed; irq_lock held, table published. */
void lodge_irqfd_routes_changed(struct lodge_vm *vm);
/* The VM's descriptor is closed: drop all of them; on return none injects any more. */
void lodge_irqfd_release(struct lodge_vm *vm);

#endif
