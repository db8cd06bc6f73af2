/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * /dev/lodge: the character device, system ioctls and capabilities.
 */
#ifndef LODGE_CORE_DEV_H
#define LODGE_CORE_DEV_H

#include <linux/types.h>

struct lodge_vm;

/*
 * Register the node with this minor of the misc major (255: any), and with @kvm_node also the stock module's node /dev/kvm.
 * -EBUSY with a message if either is taken; then neither is left behind.
 */
int lodge_dev_init(int minor, bool kvm_node);
void lodge_dev_exit(void);

/* KVM_CHECK_EXTENSION on the system descriptor (@vm NULL) or a VM's. */
int lodge_check_extension(struct lodge_vm *vm, long ext);

#endif
