/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The MMU notifier of a VM: the host's page tables change, stage 2 follows.
 */
#ifndef LODGE_CORE_NOTIFIER_H
#define LODGE_CORE_NOTIFIER_H

struct lodge_vm;

int lodge_notifier_register(struct lodge_vm *vm);	/* current->mm is the VM's */
void lodge_notifier_unregister(struct lodge_vm *vm);	/* stage 2 is empty afterwards */

#endif
