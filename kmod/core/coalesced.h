/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Coalesced writes: device memory and ports whose writes pile up in a ring until the VMM next looks.
 */
#ifndef LODGE_CORE_COALESCED_H
#define LODGE_CORE_COALESCED_H

#include <linux/kvm.h>

struct lodge_vm;

int lodge_coalesced_init(struct lodge_vm *vm);
void lodge_coalesced_destroy(struct lodge_vm *vm);	/* after the buses are gone; accepts half-built */
int lodge_coalesced_add(struct lodge_vm *vm, const struct kvm_coalesced_mmio_zone *zone);
int lodge_coalesced_del(struct lodge_vm *vm, const struct kvm_coalesced_mmio_zone *zone);

#endif
