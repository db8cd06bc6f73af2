/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KVM_IOEVENTFD: a guest's write to an address signals an eventfd.
 */
#ifndef LODGE_CORE_IOEVENTFD_H
#define LODGE_CORE_IOEVENTFD_H

#include <linux/kvm.h>

struct lodge_vm;

int lodge_ioeventfd(struct lodge_vm *vm, const struct kvm_ioeventfd *args);	/* -EINVAL, -EBADF, -EEXIST, -ENOENT, -ENOMEM */

#endif
