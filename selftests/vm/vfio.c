// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The device of type VFIO: made once, takes nothing that is no VFIO group.
 */
#include "guest.h"
#include "tap.h"

static struct guest g;
static int dev;

static int create(u32 type, u32 flags, int *fd)
{
	struct kvm_create_device c = { .type = type, .fd = -1, .flags = flags };
	int r = ioctl(g.vm, KVM_CREATE_DEVICE, &c) < 0 ? -errno : 0;

	*fd = (int)c.fd;
	return r;
}

static int attr(unsigned long cmd, u32 group, u64 nr, void *addr)
{
	struct kvm_device_attr a = { .group = group, .attr = nr, .addr = (u64)addr };

	return ioctl(dev, cmd, &a) < 0 ? -errno : 0;
}

static int add(int fd)
{
	return attr(KVM_SET_DEVICE_ATTR, KVM_DEV_VFIO_GROUP, KVM_DEV_VFIO_GROUP_ADD, &fd);
}

static int del(int fd)
{
	return attr(KVM_SET_DEVICE_ATTR, KVM_DEV_VFIO_GROUP, KVM_DEV_VFIO_GROUP_DEL, &fd);
}

static void creation(void)
{
	int fd;

	tap_eq(create(1, 0, &fd), -ENODEV, "a type of another architecture: ENODEV");
	tap_eq(create(1000, 0, &fd), -ENODEV, "a type that does not exist: ENODEV");
	tap_eq(create(1000, KVM_CREATE_DEVICE_TEST, &fd), -ENODEV, "KVM_CREATE_DEVICE_TEST says so too");
	tap_eq(create(KVM_DEV_TYPE_VFIO, KVM_CREATE_DEVICE_TEST, &fd), 0, "KVM_CREATE_DEVICE_TEST of VFIO: yes");
	tap_eq(fd, -1, "and it makes none");
	tap_eq(create(KVM_DEV_TYPE_VFIO, 0, &dev), 0, "a device of type VFIO");
	tap_ok(fcntl(dev, F_GETFD) == FD_CLOEXEC, "its descriptor closes on exec");
	tap_eq(create(KVM_DEV_TYPE_VFIO, 0, &fd), -EBUSY, "a second one: EBUSY");
}

static void attributes(void)
{
	tap_eq(attr(KVM_HAS_DEVICE_ATTR, KVM_DEV_VFIO_GROUP, KVM_DEV_VFIO_GROUP_ADD, NULL), 0, "it has GROUP_ADD");
	tap_eq(attr(KVM_HAS_DEVICE_ATTR, KVM_DEV_VFIO_GROUP, KVM_DEV_VFIO_GROUP_DEL, NULL), 0, "and GROUP_DEL");
	tap_eq(attr(KVM_HAS_DEVICE_ATTR, KVM_DEV_VFIO_GROUP, 77, NULL), -ENXIO, "no other attribute: ENXIO");
	tap_eq(attr(KVM_HAS_DEVICE_ATTR, 77, KVM_DEV_VFIO_GROUP_ADD, NULL), -ENXIO, "in no other group: ENXIO");
	tap_eq(attr(KVM_SET_DEVICE_ATTR, 77, KVM_DEV_VFIO_GROUP_ADD, NULL), -ENXIO, "nor can one be set: ENXIO");
	tap_eq(attr(KVM_GET_DEVICE_ATTR, KVM_DEV_VFIO_GROUP, KVM_DEV_VFIO_GROUP_ADD, NULL), -EPERM, "nothing can be read: EPERM");
	tap_ok(ioctl(dev, KVM_GET_API_VERSION, 0) < 0 && errno == ENOTTY, "other ioctls: ENOTTY");
}

static void refusals(void)
{
	int null = open("/dev/null", O_RDWR);

	tap_eq(attr(KVM_SET_DEVICE_ATTR, KVM_DEV_VFIO_GROUP, KVM_DEV_VFIO_GROUP_ADD, NULL), -EFAULT, "a group of no address: EFAULT");
	tap_eq(add(-1), -EBADF, "a descriptor that is not open: EBADF");
	tap_eq(add(null), -EINVAL, "a file that is no group: EINVAL");
	tap_eq(add(g.vm), -EINVAL, "a VM: EINVAL");
	tap_eq(del(null), -ENOENT, "taking out what was never put in: ENOENT");
	tap_eq(del(-1), -EBADF, "or is not open: EBADF");
	close(null);
}

static void life(void)
{
	struct kvm_regs regs;

	guest_vcpu(&g, 0);
	close(g.vm);
	close(dev);
	tap_ok(!ioctl(g.vcpu[0], KVM_GET_REGS, &regs), "VM and device may be closed before the vCPU");
	munmap(g.run[0], g.run_size);
	close(g.vcpu[0]);
	close(g.sys);
}

int main(int argc, char **argv)
{
	guest_create(&g, tap_node(argc, argv), GUEST_IRQCHIP | GUEST_NO_IMAGE);
	creation();
	attributes();
	refusals();
	life();
	return tap_done();
}
