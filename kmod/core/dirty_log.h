/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The dirty log of a slot: one bit a page, set by writes, fetched and cleared by the VMM.
 */
#ifndef LODGE_CORE_DIRTY_LOG_H
#define LODGE_CORE_DIRTY_LOG_H

#include <linux/kvm.h>

struct lodge_memslot;
struct lodge_vm;

int lodge_dirty_alloc(struct lodge_vm *vm, struct lodge_memslot *slot);	/* slots_lock; -ENOMEM */
void lodge_dirty_free(struct lodge_memslot *slot);
int lodge_dirty_get(struct lodge_vm *vm, const struct kvm_dirty_log *log);	/* -EINVAL, -ENOENT, -EFAULT */
int lodge_dirty_clear(struct lodge_vm *vm, const struct kvm_clear_dirty_log *log);
int lodge_dirty_manual(struct lodge_vm *vm, u64 options);	/* KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2; -EINVAL */

#endif
