// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/lodge: system ioctls and capabilities.
 *
 * The node has a fixed minor number, so that a static node made at boot from the module's aliases loads the module when it is
 * opened: a dynamic minor could not do that.
 */
#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <uapi/lodge.h>

#include "core/arch.h"
#include "core/dev.h"
#include "core/dirty_ring.h"
#include "core/ext.h"
#include "core/irqroute.h"
#include "core/kvm_node.h"
#include "core/memslot.h"

/* Capabilities that core/ provides; 0 in the table is what asking for an unknown one gives. */
static const struct {
	u32 cap;
	u32 value;
} capabilities[] = {
	{ KVM_CAP_USER_MEMORY,			1 },
	{ KVM_CAP_NR_MEMSLOTS,			LODGE_USER_SLOTS },
	{ KVM_CAP_COALESCED_MMIO,		LODGE_COALESCED_PAGE },
	{ KVM_CAP_COALESCED_PIO,		1 },
	{ KVM_CAP_SYNC_MMU,			1 },
	{ KVM_CAP_DESTROY_MEMORY_REGION_WORKS,	1 },
	{ KVM_CAP_JOIN_MEMORY_REGIONS_WORKS,	1 },
	{ KVM_CAP_READONLY_MEM,			1 },
	{ KVM_CAP_IRQ_ROUTING,			LODGE_MAX_ROUTES },
	{ KVM_CAP_IRQ_INJECT_STATUS,		1 },
	{ KVM_CAP_IRQFD,			1 },
	{ KVM_CAP_IRQFD_RESAMPLE,		1 },
	{ KVM_CAP_IOEVENTFD,			1 },
	{ KVM_CAP_IOEVENTFD_NO_LENGTH,		1 },
	{ KVM_CAP_IOEVENTFD_ANY_LENGTH,		1 },
	{ KVM_CAP_SIGNAL_MSI,			1 },
	{ KVM_CAP_INTERNAL_ERROR_DATA,		1 },
	{ KVM_CAP_CHECK_EXTENSION_VM,		1 },
	{ KVM_CAP_ENABLE_CAP_VM,		1 },
	{ KVM_CAP_IMMEDIATE_EXIT,		1 },
	{ KVM_CAP_HALT_POLL,			1 },
	{ KVM_CAP_MAX_VCPUS,			LODGE_MAX_VCPUS },
	{ KVM_CAP_MAX_VCPU_ID,			LODGE_MAX_VCPU_ID },
	{ KVM_CAP_BINARY_STATS_FD,		1 },
	{ KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,	KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET },
	{ KVM_CAP_DIRTY_LOG_RING,		LODGE_DIRTY_RING_BYTES_MAX },
	{ KVM_CAP_DIRTY_LOG_RING_ACQ_REL,	LODGE_DIRTY_RING_BYTES_MAX },
	{ LODGE_CAP_VERSION,			LODGE_ABI_VERSION },
};

int lodge_check_extension(struct lodge_vm *vm, long ext)
{
	unsigned int i;

	if (ext == KVM_CAP_NR_VCPUS)
		return min_t(unsigned int, num_online_cpus(), LODGE_MAX_VCPUS);
	for (i = 0; i < ARRAY_SIZE(capabilities); i++) {
		if (capabilities[i].cap == ext)
			return capabilities[i].value;
	}
	return lodge_arch_check_extension(vm, ext) ?: lodge_ext_check_extension(ext);
}

static long dev_get_api_version(void *obj, void *arg)
{
	return arg ? -EINVAL : KVM_API_VERSION;
}

static long dev_create_vm(void *obj, void *arg)
{
	return lodge_vm_create_fd((unsigned long)arg);
}

static long dev_check_extension(void *obj, void *arg)
{
	return lodge_check_extension(NULL, (long)arg);
}

static long dev_get_mmap_size(void *obj, void *arg)
{
	return arg ? -EINVAL : (LODGE_COALESCED_PAGE + 1) * PAGE_SIZE;
}

static const struct lodge_ioctl dev_ioctls[] = {
	{ KVM_GET_API_VERSION,		LODGE_IOCTL_RAW,	dev_get_api_version },
	{ KVM_CREATE_VM,		LODGE_IOCTL_RAW,	dev_create_vm },
	{ KVM_CHECK_EXTENSION,		LODGE_IOCTL_RAW,	dev_check_extension },
	{ KVM_GET_VCPU_MMAP_SIZE,	LODGE_IOCTL_RAW,	dev_get_mmap_size },
};

static long dev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	const struct lodge_ioctl *row;

	row = lodge_ioctl_find(dev_ioctls, ARRAY_SIZE(dev_ioctls), cmd);
	if (!row)
		row = lodge_ioctl_find(lodge_arch_dev_ioctls, lodge_arch_nr_dev_ioctls, cmd);
	if (!row)
		row = lodge_ioctl_find(lodge_ext_dev_ioctls, lodge_ext_nr_dev_ioctls, cmd);
	return row ? lodge_ioctl_call(row, NULL, arg) : -EINVAL;
}

static const struct file_operations dev_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = dev_ioctl,
	.compat_ioctl = dev_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice dev_misc = {
	.name = "lodge",
	.nodename = "lodge",
	.mode = 0660,
	.fops = &dev_fops,
};

static bool has_kvm_node;

int lodge_dev_init(int minor, bool kvm_node)
{
	int ret;

	dev_misc.minor = minor;
	ret = misc_register(&dev_misc);
	if (ret == -EBUSY)
		pr_err("lodge: another driver has the device number 10:%d; choose one with minor=N (243 to 254)\n", minor);
	if (ret || !kvm_node)
		return ret;
	ret = lodge_kvm_node_init(&dev_fops);
	if (ret)
		misc_deregister(&dev_misc);
	has_kvm_node = !ret;
	return ret;
}

void lodge_dev_exit(void)
{
	if (has_kvm_node)
		lodge_kvm_node_exit();
	misc_deregister(&dev_misc);
}
