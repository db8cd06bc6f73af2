// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_CREATE_DEVICE: the table of types, descriptors, and the attribute ioctls.
 *
 * A device lives as long as its VM, not as long as its descriptor: a VMM may close that once everything is set, as it may with
 * stock KVM.  The descriptor holds a reference to the VM.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/nospec.h>

#include "core/device.h"
#include "core/ioctl.h"
#include "core/vfio.h"
#include "core/vm.h"

static const struct lodge_device_ops *const device_types[] = {
	[KVM_DEV_TYPE_VFIO] = &lodge_vfio_ops,
};

static long device_has_attr(void *obj, void *arg)
{
	struct lodge_device *dev = obj;

	return dev->ops->has_attr(dev, arg);
}

static long device_set_attr(void *obj, void *arg)
{
	struct lodge_device *dev = obj;

	return dev->ops->set_attr(dev, arg);
}

/* No type has an attribute that could be read. */
static long device_get_attr(void *obj, void *arg)
{
	return -EPERM;
}

static const struct lodge_ioctl device_ioctls[] = {
	{ KVM_HAS_DEVICE_ATTR,	0,	device_has_attr },
	{ KVM_SET_DEVICE_ATTR,	0,	device_set_attr },
	{ KVM_GET_DEVICE_ATTR,	0,	device_get_attr },
};

static long device_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct lodge_device *dev = file->private_data;
	const struct lodge_ioctl *row;

	if (dev->vm->mm != current->mm || lodge_vm_dead(dev->vm))
		return -EIO;
	row = lodge_ioctl_find(device_ioctls, ARRAY_SIZE(device_ioctls), cmd);
	return row ? lodge_ioctl_call(row, dev, arg) : -ENOTTY;
}

static int device_file_release(struct inode *inode, struct file *file)
{
	struct lodge_device *dev = file->private_data;

	lodge_vm_put(dev->vm);
	return 0;
}

static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = device_ioctl,
	.compat_ioctl = device_ioctl,
	.release = device_file_release,
	.llseek = noop_llseek,
};

static struct lodge_device *device_add(struct lodge_vm *vm, const struct lodge_device_ops *ops)
{
	struct lodge_device *dev;

	mutex_lock(&vm->lock);
	dev = ops->create(vm);
	if (!IS_ERR(dev)) {
		dev->ops = ops;
		dev->vm = vm;
		list_add(&dev->link, &vm->devices);
	}
	mutex_unlock(&vm->lock);
	return dev;
}

static void device_del(struct lodge_device *dev)
{
	struct lodge_vm *vm = dev->vm;

	mutex_lock(&vm->lock);
	list_del(&dev->link);
	mutex_unlock(&vm->lock);
	dev->ops->destroy(dev);
}

static int device_open(struct lodge_vm *vm, const struct lodge_device_ops *ops)
{
	struct lodge_device *dev;
	struct file *file;
	int fd;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	dev = device_add(vm, ops);
	if (IS_ERR(dev)) {
		put_unused_fd(fd);
		return PTR_ERR(dev);
	}
	file = anon_inode_getfile(ops->name, &device_fops, dev, O_RDWR);
	if (IS_ERR(file)) {
		device_del(dev);
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	lodge_vm_get(vm);
	fd_install(fd, file);
	return fd;
}

int lodge_device_create(struct lodge_vm *vm, struct kvm_create_device *dev)
{
	const struct lodge_device_ops *ops;
	int fd;

	if (dev->type >= ARRAY_SIZE(device_types))
		return -ENODEV;
	ops = device_types[array_index_nospec(dev->type, ARRAY_SIZE(device_types))];
	if (!ops)
		return -ENODEV;
	if (dev->flags & KVM_CREATE_DEVICE_TEST)
		return 0;
	fd = device_open(vm, ops);
	if (fd < 0)
		return fd;
	dev->fd = fd;
	return 0;
}

void lodge_devices_destroy(struct lodge_vm *vm)
{
	struct lodge_device *dev, *next;

	list_for_each_entry_safe(dev, next, &vm->devices, link) {
		list_del(&dev->link);
		dev->ops->destroy(dev);
	}
}
