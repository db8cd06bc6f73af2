// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM: creation, its descriptor and ioctls, its end.
 *
 * Whatever refers to a VM holds a reference: its own descriptor, those of its vCPUs and of their statistics.  They may be
 * closed in any order.  When the VM's own descriptor goes, its irqfds go (nobody could deassign them any more); when the last
 * reference goes, everything goes, in one function that also takes apart a VM that was never finished.
 *
 * Creating a VM is on the way of every guest's start, so it makes no thread, waits for no grace period, and prepares nothing
 * that a later ioctl can prepare.
 */
#include <linux/anon_inodes.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "core/arch.h"
#include "core/coalesced.h"
#include "core/dev.h"
#include "core/device.h"
#include "core/dirty_log.h"
#include "core/dirty_ring.h"
#include "core/ioeventfd.h"
#include "core/irqfd.h"
#include "core/notifier.h"
#include "core/usage.h"
#include "core/vm.h"

#define STOP_WAIT_MS	5000
#define STOP_STEP_MS	20

static DEFINE_MUTEX(vms_lock);
static LIST_HEAD(vms);		/* vms_lock */

/* ---- its vCPUs ---- */

struct lodge_vcpu *lodge_vm_vcpu(struct lodge_vm *vm, unsigned int i)
{
	unsigned int n = lodge_nr_vcpus(vm);

	if (i >= n)
		return NULL;
	return xa_load(&vm->vcpus, array_index_nospec(i, n));
}

struct lodge_vcpu *lodge_vm_vcpu_by_id(struct lodge_vm *vm, u32 id)
{
	struct lodge_vcpu *vcpu = lodge_vm_vcpu(vm, id);
	unsigned int i;

	/* Mostly they are made in the order of their identifiers. */
	if (vcpu && vcpu->id == id)
		return vcpu;
	lodge_for_each_vcpu(i, vcpu, vm) {
		if (vcpu->id == id)
			return vcpu;
	}
	return NULL;
}

/* ---- life ---- */

/* Accepts half-built ones from vm_create on. */
static void vm_destroy(struct lodge_vm *vm)
{
	mutex_lock(&vms_lock);
	list_del_init(&vm->link);
	mutex_unlock(&vms_lock);

	if (!IS_ERR_OR_NULL(vm->debugfs))
		debugfs_remove(vm->debugfs);
	lodge_arch_vm_stop(vm);
	lodge_devices_destroy(vm);
	lodge_notifier_unregister(vm);
	lodge_iobus_destroy(vm);
	lodge_vcpus_destroy(vm);
	lodge_coalesced_destroy(vm);
	lodge_memslots_destroy(vm);
	lodge_arch_vm_destroy(vm);
	lodge_irq_destroy(vm);
	cleanup_srcu_struct(&vm->srcu);
	mutex_destroy(&vm->slots_lock);
	mutex_destroy(&vm->lock);
	mmdrop(vm->mm);
	lodge_arch_vm_free(vm);
	lodge_usage_put();
}

static void vm_release(struct kref *ref)
{
	vm_destroy(container_of(ref, struct lodge_vm, ref));
}

void lodge_vm_get(struct lodge_vm *vm)
{
	kref_get(&vm->ref);
}

void lodge_vm_put(struct lodge_vm *vm)
{
	kref_put(&vm->ref, vm_release);
}

static void vm_init_fields(struct lodge_vm *vm)
{
	kref_init(&vm->ref);
	mutex_init(&vm->lock);
	mutex_init(&vm->slots_lock);
	xa_init_flags(&vm->vcpus, XA_FLAGS_ACCOUNT);
	spin_lock_init(&vm->ring_lock);
	INIT_LIST_HEAD(&vm->ioeventfds);
	INIT_LIST_HEAD(&vm->coalesced_zones);
	INIT_LIST_HEAD(&vm->devices);
	INIT_LIST_HEAD(&vm->link);
	vm->max_halt_poll_ns = U32_MAX;
	vm->mm = current->mm;
}

/* The steps that need each other's undoing in a fixed order; the rest is vm_destroy's. */
static struct lodge_vm *vm_alloc(void)
{
	struct lodge_vm *vm;
	int ret;

	ret = lodge_usage_get();
	if (ret)
		return ERR_PTR(ret);
	ret = -ENOMEM;
	vm = lodge_arch_vm_alloc();
	if (!vm)
		goto put_usage;
	vm_init_fields(vm);
	ret = init_srcu_struct(&vm->srcu);
	if (ret)
		goto free;
	ret = lodge_irq_init(vm);
	if (ret)
		goto cleanup;
	ret = lodge_memslots_init(vm);
	if (ret)
		goto destroy_irq;
	mmgrab(vm->mm);
	return vm;

destroy_irq:
	lodge_irq_destroy(vm);
cleanup:
	cleanup_srcu_struct(&vm->srcu);
free:
	lodge_arch_vm_free(vm);
put_usage:
	lodge_usage_put();
	return ERR_PTR(ret);
}

static struct lodge_vm *vm_create(unsigned long type)
{
	struct lodge_vm *vm = vm_alloc();
	int ret;

	if (IS_ERR(vm))
		return vm;
	ret = lodge_coalesced_init(vm);
	if (!ret)
		ret = lodge_arch_vm_init(vm, type);
	if (!ret)
		ret = lodge_notifier_register(vm);
	if (ret) {
		refcount_set(&vm->ref.refcount, 0);
		vm_destroy(vm);
		return ERR_PTR(ret);
	}
	mutex_lock(&vms_lock);
	list_add(&vm->link, &vms);
	mutex_unlock(&vms_lock);
	return vm;
}

/* ---- the end of everything ---- */

static void vm_kill(struct lodge_vm *vm, bool wait)
{
	WRITE_ONCE(vm->dead, true);
	lodge_request_all(vm, LODGE_REQ_VM_DEAD, wait);
}

void lodge_vm_bug(struct lodge_vm *vm)
{
	WARN_ONCE(1, "lodge: a bug was met, its VM is dead now\n");
	vm_kill(vm, false);
}

static bool vm_loaded(struct lodge_vm *vm)
{
	struct lodge_vcpu *vcpu;
	unsigned int i;

	lodge_for_each_vcpu(i, vcpu, vm) {
		if (READ_ONCE(vcpu->loaded))
			return true;
	}
	return false;
}

void lodge_vms_stop(void)
{
	struct lodge_vm *vm;
	int ms;

	mutex_lock(&vms_lock);
	list_for_each_entry(vm, &vms, link)
		vm_kill(vm, true);
	list_for_each_entry(vm, &vms, link) {
		for (ms = 0; ms < STOP_WAIT_MS && vm_loaded(vm); ms += STOP_STEP_MS)
			msleep(STOP_STEP_MS);
	}
	mutex_unlock(&vms_lock);
}

/* ---- ioctls ---- */

static long vm_set_memory(void *obj, void *arg)
{
	const struct kvm_userspace_memory_region *mem = arg;

	/* As in KVM the upper half names an address space; there is one. */
	if ((mem->slot & 0xffff) >= LODGE_USER_SLOTS)
		return -EINVAL;
	return lodge_memslot_set(obj, mem);
}

static long vm_create_vcpu(void *obj, void *arg)
{
	unsigned long id = (unsigned long)arg;

	return id < LODGE_MAX_VCPU_ID ? lodge_vcpu_create_fd(obj, id) : -EINVAL;
}

static long vm_irq_line(void *obj, void *arg)
{
	struct lodge_vm *vm = obj;
	struct kvm_irq_level *l = arg;

	if (!lodge_arch_irqchip_in_kernel(vm))
		return -ENXIO;
	l->status = lodge_irq_set(vm, LODGE_IRQ_USERSPACE, l->irq, !!l->level);
	return 0;
}

static long vm_signal_msi(void *obj, void *arg)
{
	const struct kvm_msi *msi = arg;
	struct lodge_vm *vm = obj;

	if (!lodge_arch_irqchip_in_kernel(vm) || (msi->flags & ~KVM_MSI_VALID_DEVID))
		return -EINVAL;
	return lodge_arch_msi_deliver(vm, (u64)msi->address_hi << 32 | msi->address_lo, msi->data);
}

static long vm_irqfd(void *obj, void *arg)
{
	return lodge_irqfd(obj, arg);
}

static long vm_ioeventfd(void *obj, void *arg)
{
	return lodge_ioeventfd(obj, arg);
}

static long vm_register_coalesced(void *obj, void *arg)
{
	return lodge_coalesced_add(obj, arg);
}

static long vm_unregister_coalesced(void *obj, void *arg)
{
	return lodge_coalesced_del(obj, arg);
}

static long vm_get_dirty_log(void *obj, void *arg)
{
	return lodge_dirty_get(obj, arg);
}

static long vm_clear_dirty_log(void *obj, void *arg)
{
	return lodge_dirty_clear(obj, arg);
}

static long vm_reset_dirty_rings(void *obj, void *arg)
{
	return lodge_dirty_ring_reset(obj);
}

static long vm_check_extension(void *obj, void *arg)
{
	return lodge_check_extension(obj, (long)arg);
}

static long vm_create_device(void *obj, void *arg)
{
	return lodge_device_create(obj, arg);
}

static long vm_get_stats_fd(void *obj, void *arg)
{
	return lodge_stats_vm_fd(obj);
}

static long cap_max_vcpu_id(struct lodge_vm *vm, u64 max)
{
	long ret = 0;

	if (!max || max > LODGE_MAX_VCPU_ID)
		return -EINVAL;
	mutex_lock(&vm->lock);
	if (!vm->max_vcpu_id)
		vm->max_vcpu_id = max;
	else if (vm->max_vcpu_id != max)
		ret = -EINVAL;
	mutex_unlock(&vm->lock);
	return ret;
}

static long vm_enable_cap(void *obj, void *arg)
{
	struct kvm_enable_cap *cap = arg;
	struct lodge_vm *vm = obj;

	switch (cap->cap) {
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
		return cap->flags ? -EINVAL : lodge_dirty_manual(vm, cap->args[0]);
	case KVM_CAP_DIRTY_LOG_RING:
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
		return cap->flags ? -EINVAL : lodge_dirty_ring_enable(vm, cap->args[0]);
	case KVM_CAP_HALT_POLL:
		if (cap->flags || cap->args[0] >= U32_MAX)
			return -EINVAL;
		WRITE_ONCE(vm->max_halt_poll_ns, cap->args[0]);
		return 0;
	case KVM_CAP_MAX_VCPU_ID:
		return cap->flags ? -EINVAL : cap_max_vcpu_id(vm, cap->args[0]);
	default:
		return lodge_arch_enable_cap(vm, cap);
	}
}

/* Those of a running guest first. */
static const struct lodge_ioctl vm_ioctls[] = {
	{ KVM_IRQ_LINE_STATUS,			0,			vm_irq_line },
	{ KVM_IRQ_LINE,				0,			vm_irq_line },
	{ KVM_SIGNAL_MSI,			0,			vm_signal_msi },
	{ KVM_GET_DIRTY_LOG,			0,			vm_get_dirty_log },
	{ KVM_CLEAR_DIRTY_LOG,			0,			vm_clear_dirty_log },
	{ KVM_RESET_DIRTY_RINGS,		LODGE_IOCTL_RAW,	vm_reset_dirty_rings },
	{ KVM_SET_GSI_ROUTING,			LODGE_IOCTL_RAW,	lodge_irq_routing_ioctl },
	{ KVM_IRQFD,				0,			vm_irqfd },
	{ KVM_IOEVENTFD,			0,			vm_ioeventfd },
	{ KVM_SET_USER_MEMORY_REGION,		0,			vm_set_memory },
	{ KVM_CREATE_VCPU,			LODGE_IOCTL_RAW,	vm_create_vcpu },
	{ KVM_CHECK_EXTENSION,			LODGE_IOCTL_RAW,	vm_check_extension },
	{ KVM_ENABLE_CAP,			0,			vm_enable_cap },
	{ KVM_REGISTER_COALESCED_MMIO,		0,			vm_register_coalesced },
	{ KVM_UNREGISTER_COALESCED_MMIO,	0,			vm_unregister_coalesced },
	{ KVM_CREATE_DEVICE,			0,			vm_create_device },
	{ KVM_GET_STATS_FD,			LODGE_IOCTL_RAW,	vm_get_stats_fd },
};

static long vm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct lodge_vm *vm = file->private_data;
	const struct lodge_ioctl *row;
	long ret;

	if (vm->mm != current->mm || lodge_vm_dead(vm))
		return -EIO;
	row = lodge_ioctl_find(vm_ioctls, ARRAY_SIZE(vm_ioctls), cmd);
	if (!row)
		row = lodge_ioctl_find(lodge_arch_vm_ioctls, lodge_arch_nr_vm_ioctls, cmd);
	if (!row)
		return -ENOTTY;
	if (!(row->flags & LODGE_IOCTL_VM_LOCK))
		return lodge_ioctl_call(row, vm, arg);

	mutex_lock(&vm->lock);
	ret = lodge_ioctl_call(row, vm, arg);
	mutex_unlock(&vm->lock);
	return ret;
}

static int vm_file_release(struct inode *inode, struct file *file)
{
	struct lodge_vm *vm = file->private_data;

	lodge_irqfd_release(vm);
	lodge_vm_put(vm);
	return 0;
}

static const struct file_operations vm_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = vm_ioctl,
	.compat_ioctl = vm_ioctl,
	.release = vm_file_release,
	.llseek = noop_llseek,
};

int lodge_vm_create_fd(unsigned long type)
{
	struct lodge_vm *vm;
	struct file *file;
	int fd;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	vm = vm_create(type);
	if (IS_ERR(vm)) {
		put_unused_fd(fd);
		return PTR_ERR(vm);
	}
	file = anon_inode_getfile("lodge-vm", &vm_fops, vm, O_RDWR);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		lodge_vm_put(vm);
		return PTR_ERR(file);
	}
	lodge_stats_vm_debugfs(vm, fd);
	fd_install(fd, file);
	return fd;
}
