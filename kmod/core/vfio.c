// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device of type VFIO (Documentation/virt/kvm/devices/vfio.rst).  The VMM adds the VFIO groups whose devices the guest will
 * have, and takes them out again.
 *
 * What the module has to know of them is one thing: whether their DMA is coherent with the caches.  Where the IOMMU does not
 * force it, a guest's driver relies on WBINVD and on its own choice of memory types, so that WBINVD has to be executed and
 * not skipped.
 *
 * VFIO would also take a pointer to the VM, for drivers of mediated devices that call into KVM.  It is a struct kvm, which we
 * have none of: VFIO is not told anything, and those drivers refuse to open.
 *
 * A group that was added stays until it is deleted or the VM goes; its file is held until then, so VFIO stays loaded.
 */
#include <linux/file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat/vfio.h"
#include "core/arch.h"
#include "core/vfio.h"

struct vfio_group {
	struct list_head link;
	struct file *file;
};

struct vfio_device {
	struct lodge_device dev;
	struct mutex lock;
	struct list_head groups;	/* lock */
	bool noncoherent;		/* lock: what the architecture was told */
};

static struct vfio_device *to_vfio(struct lodge_device *dev)
{
	return container_of(dev, struct vfio_device, dev);
}

/* lock held */
static void update_coherency(struct vfio_device *v)
{
	bool noncoherent = false;
	struct vfio_group *g;

	list_for_each_entry(g, &v->groups, link)
		noncoherent |= !compat_vfio_is_coherent(g->file);
	if (noncoherent == v->noncoherent)
		return;
	v->noncoherent = noncoherent;
	lodge_arch_noncoherent_dma(v->dev.vm, noncoherent);
}

static struct vfio_group *find_group(struct vfio_device *v, const struct file *file)
{
	struct vfio_group *g;

	list_for_each_entry(g, &v->groups, link) {
		if (g->file == file)
			return g;
	}
	return NULL;
}

static void group_free(struct vfio_group *g)
{
	list_del(&g->link);
	fput(g->file);
	kfree(g);
}

/* Takes the reference to @file over if it succeeds. */
static int group_add(struct vfio_device *v, struct file *file)
{
	struct vfio_group *g;
	int ret = -EEXIST;

	if (!compat_vfio_is_group(file))
		return -EINVAL;
	mutex_lock(&v->lock);
	if (find_group(v, file))
		goto out;
	ret = -ENOMEM;
	g = kzalloc(sizeof(*g), GFP_KERNEL_ACCOUNT);
	if (!g)
		goto out;
	g->file = file;
	list_add_tail(&g->link, &v->groups);
	update_coherency(v);
	ret = 0;
out:
	mutex_unlock(&v->lock);
	return ret;
}

static int group_del(struct vfio_device *v, const struct file *file)
{
	struct vfio_group *g;

	mutex_lock(&v->lock);
	g = find_group(v, file);
	if (g) {
		group_free(g);
		update_coherency(v);
	}
	mutex_unlock(&v->lock);
	return g ? 0 : -ENOENT;
}

static int vfio_set_attr(struct lodge_device *dev, const struct kvm_device_attr *attr)
{
	struct file *file;
	s32 fd;
	int ret;

	if (attr->group != KVM_DEV_VFIO_GROUP ||
	    (attr->attr != KVM_DEV_VFIO_GROUP_ADD && attr->attr != KVM_DEV_VFIO_GROUP_DEL))
		return -ENXIO;
	if (get_user(fd, (s32 __user *)(unsigned long)attr->addr))
		return -EFAULT;
	file = fget(fd);
	if (!file)
		return -EBADF;
	if (attr->attr == KVM_DEV_VFIO_GROUP_ADD) {
		ret = group_add(to_vfio(dev), file);
		if (!ret)
			return 0;
	} else {
		ret = group_del(to_vfio(dev), file);
	}
	fput(file);
	return ret;
}

static int vfio_has_attr(struct lodge_device *dev, const struct kvm_device_attr *attr)
{
	if (attr->group != KVM_DEV_VFIO_GROUP)
		return -ENXIO;
	return attr->attr == KVM_DEV_VFIO_GROUP_ADD || attr->attr == KVM_DEV_VFIO_GROUP_DEL ? 0 : -ENXIO;
}

static struct lodge_device *vfio_create(struct lodge_vm *vm)
{
	struct lodge_device *other;
	struct vfio_device *v;

	lockdep_assert_held(&vm->lock);
	/* One has all groups. */
	list_for_each_entry(other, &vm->devices, link) {
		if (other->ops == &lodge_vfio_ops)
			return ERR_PTR(-EBUSY);
	}
	v = kzalloc(sizeof(*v), GFP_KERNEL_ACCOUNT);
	if (!v)
		return ERR_PTR(-ENOMEM);
	mutex_init(&v->lock);
	INIT_LIST_HEAD(&v->groups);
	return &v->dev;
}

static void vfio_destroy(struct lodge_device *dev)
{
	struct vfio_device *v = to_vfio(dev);
	struct vfio_group *g, *next;

	list_for_each_entry_safe(g, next, &v->groups, link)
		group_free(g);
	if (v->noncoherent)
		lodge_arch_noncoherent_dma(dev->vm, false);
	mutex_destroy(&v->lock);
	kfree(v);
}

const struct lodge_device_ops lodge_vfio_ops = {
	.name = "lodge-vfio",
	.create = vfio_create,
	.destroy = vfio_destroy,
	.has_attr = vfio_has_attr,
	.set_attr = vfio_set_attr,
};
