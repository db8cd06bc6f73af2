/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * /dev/lodge: the character device, system ioctls and capabilities.
 */
#ifndef LODGE_CORE_DEV_H
#define LODGE_CORE_DEV_H

struct lodge_vm;

/* Register the node with this minor of the misc major (255: any).  -EBUSY with a message if it is taken. */
int lodge_dev_init(int minor);
void lodge_dev_exit(void);

/* KVM_CHECK_EXTENSION on the system descriptor (@vm NULL) or a VM's. */
int lodge_check_extension(struct lodge_vm *vm, long ext);

#endif
