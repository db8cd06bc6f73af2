/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Devices of KVM_CREATE_DEVICE: an object of the VM that is spoken to through attributes on a descriptor of its own.
 */
#ifndef LODGE_CORE_DEVICE_H
#define LODGE_CORE_DEVICE_H

#include <linux/kvm.h>
#include <linux/list.h>

struct lodge_device;
struct lodge_vm;

struct lodge_device_ops {
	const char *name;		/* of its descriptor */
	/* vm->lock held.  The object with its head first, or an error pointer. */
	struct lodge_device *(*create)(struct lodge_vm *vm);
	/* Nobody can reach it any more. */
	void (*destroy)(struct lodge_device *dev);
	/* Process context, no lock held.  -ENXIO: no such attribute. */
	int (*has_attr)(struct lodge_device *dev, const struct kvm_device_attr *attr);
	int (*set_attr)(struct lodge_device *dev, const struct kvm_device_attr *attr);
};

struct lodge_device {
	const struct lodge_device_ops *ops;
	struct lodge_vm *vm;		/* [C] */
	struct list_head link;		/* vm->devices [L] */
};

/*
 * KVM_CREATE_DEVICE: fills dev->fd, or with KVM_CREATE_DEVICE_TEST only says whether the type exists.  -ENODEV (type),
 * -EBUSY (the VM has one already), -ENOMEM, -EMFILE.  Takes vm->lock.
 */
int lodge_device_create(struct lodge_vm *vm, struct kvm_create_device *dev);

/* All devices of a VM that nobody can reach any more. */
void lodge_devices_destroy(struct lodge_vm *vm);

#endif
