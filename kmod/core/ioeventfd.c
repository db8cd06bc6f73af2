// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_IOEVENTFD: a write to an address signals an eventfd and the guest goes on.
 *
 * Each is a device on the bus.  Several may share an address if they differ in length or in the data that they wait for.
 * Length 0 means: any access at exactly that address, whatever its size and data.
 */
#include <linux/slab.h>

#include "compat/eventfd.h"
#include "core/iobus.h"
#include "core/ioeventfd.h"
#include "core/vm.h"

struct ioeventfd {
	struct lodge_iodev dev;
	struct list_head link;		/* vm->ioeventfds */
	struct eventfd_ctx *eventfd;
	gpa_t addr;
	u64 datamatch;
	u32 len;
	u8 bus;				/* enum lodge_bus */
	bool wildcard;			/* any data */
};

static bool ioeventfd_matches(const struct ioeventfd *p, gpa_t addr, int len, const void *val)
{
	u64 data = 0;

	if (addr != p->addr)
		return false;
	if (!p->len)
		return true;
	if (len != (int)p->len)
		return false;
	if (p->wildcard)
		return true;
	memcpy(&data, val, len);
	return data == p->datamatch;
}

static int ioeventfd_write(struct lodge_vcpu *vcpu, struct lodge_iodev *dev, gpa_t addr, int len, const void *val)
{
	struct ioeventfd *p = container_of(dev, struct ioeventfd, dev);

	if (!ioeventfd_matches(p, addr, len, val))
		return -EOPNOTSUPP;
	compat_eventfd_signal(p->eventfd);
	return 0;
}

static void ioeventfd_free(struct lodge_iodev *dev)
{
	struct ioeventfd *p = container_of(dev, struct ioeventfd, dev);

	eventfd_ctx_put(p->eventfd);
	list_del(&p->link);
	kfree(p);
}

static const struct lodge_iodev_ops ioeventfd_ops = {
	.write = ioeventfd_write,
	.destroy = ioeventfd_free,
};

/* Could one write fire both? */
static bool ioeventfd_collides(const struct ioeventfd *a, const struct ioeventfd *b)
{
	if (a->bus != b->bus || a->addr != b->addr)
		return false;
	if (!a->len || !b->len)
		return true;
	return a->len == b->len && (a->wildcard || b->wildcard || a->datamatch == b->datamatch);
}

static int ioeventfd_check(const struct kvm_ioeventfd *args)
{
	if (args->flags & ~(KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DEASSIGN))
		return -EINVAL;
	if (args->len > 8 || (args->len && !is_power_of_2(args->len)))
		return -EINVAL;
	if (args->addr + args->len < args->addr)
		return -EINVAL;
	if (!args->len && (args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH))
		return -EINVAL;
	return 0;
}

static void ioeventfd_fill(struct ioeventfd *p, const struct kvm_ioeventfd *args)
{
	p->dev.ops = &ioeventfd_ops;
	p->dev.uncounted = true;
	p->addr = args->addr;
	p->len = args->len;
	p->bus = args->flags & KVM_IOEVENTFD_FLAG_PIO ? LODGE_BUS_PIO : LODGE_BUS_MMIO;
	p->wildcard = !(args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH);
	p->datamatch = p->wildcard ? 0 : args->datamatch;
}

static int ioeventfd_assign(struct lodge_vm *vm, const struct kvm_ioeventfd *args)
{
	struct ioeventfd *p, *q;
	int ret;

	p = kzalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);
	if (!p)
		return -ENOMEM;
	ioeventfd_fill(p, args);
	p->eventfd = eventfd_ctx_fdget(args->fd);
	if (IS_ERR(p->eventfd)) {
		ret = PTR_ERR(p->eventfd);
		kfree(p);
		return ret;
	}

	mutex_lock(&vm->slots_lock);
	ret = -EEXIST;
	list_for_each_entry(q, &vm->ioeventfds, link) {
		if (ioeventfd_collides(p, q))
			goto fail;
	}
	ret = lodge_iobus_add(vm, p->bus, p->addr, p->len, &p->dev);
	if (ret)
		goto fail;
	list_add_tail(&p->link, &vm->ioeventfds);
	mutex_unlock(&vm->slots_lock);
	return 0;

fail:
	mutex_unlock(&vm->slots_lock);
	eventfd_ctx_put(p->eventfd);
	kfree(p);
	return ret;
}

static int ioeventfd_deassign(struct lodge_vm *vm, const struct kvm_ioeventfd *args)
{
	struct ioeventfd want = {}, *p;
	int ret = -ENOENT;

	ioeventfd_fill(&want, args);
	want.eventfd = eventfd_ctx_fdget(args->fd);
	if (IS_ERR(want.eventfd))
		return PTR_ERR(want.eventfd);

	mutex_lock(&vm->slots_lock);
	list_for_each_entry(p, &vm->ioeventfds, link) {
		if (p->eventfd != want.eventfd || p->bus != want.bus || p->addr != want.addr || p->len != want.len ||
		    p->wildcard != want.wildcard || p->datamatch != want.datamatch)
			continue;
		lodge_iobus_del(vm, p->bus, &p->dev);
		ioeventfd_free(&p->dev);
		ret = 0;
		break;
	}
	mutex_unlock(&vm->slots_lock);
	eventfd_ctx_put(want.eventfd);
	return ret;
}

int lodge_ioeventfd(struct lodge_vm *vm, const struct kvm_ioeventfd *args)
{
	int ret;

	if (args->flags & KVM_IOEVENTFD_FLAG_DEASSIGN)
		return ioeventfd_deassign(vm, args);
	ret = ioeventfd_check(args);
	return ret ? ret : ioeventfd_assign(vm, args);
}
