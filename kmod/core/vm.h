/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A virtual machine: what its file descriptor refers to.
 *
 * struct lodge_vm is the architecture-independent head; the architecture embeds it as the first member of its own
 * structure (struct x86_vm) and allocates the whole.  A VM lives as long as a reference to it: the VM's descriptor, each
 * vCPU's descriptor, a statistics descriptor and each device descriptor hold one (lodge_vm_get/put).
 *
 * Lock legend, used beside the fields:
 *  [L] vm->lock (mutex; the outermost, taken by VM ioctls that change the VM)
 *  [S] writers hold vm->slots_lock, readers are in vm->srcu
 *  [I] writers hold vm->irq_lock, readers are in vm->irq_srcu
 *  [C] constant once the VM is visible to user space
 *  [A] atomic
 * Order: vm->lock, vcpu->mutex, slots_lock, irq_lock, stage-2 lock, irqchip locks.  LOCKING.md has the whole picture.
 */
#ifndef LODGE_CORE_VM_H
#define LODGE_CORE_VM_H

#include <linux/atomic.h>
#include <linux/kref.h>
#include <linux/kvm.h>
#include <linux/list.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/xarray.h>

#include "core/addr.h"
#include "core/iobus.h"
#include "core/stats.h"

struct lodge_memslots;
struct lodge_irq_table;
struct lodge_vcpu;

#define LODGE_MAX_VCPUS		1024	/* KVM_CAP_MAX_VCPUS */
#define LODGE_MAX_VCPU_ID	4096	/* KVM_CAP_MAX_VCPU_ID */

struct lodge_vm {
	struct kref ref;
	struct mm_struct *mm;			/* [C] ioctls from another mm get EIO */
	struct mutex lock;
	bool dead;				/* our bug was met: every ioctl answers EIO; WRITE_ONCE/READ_ONCE */

	struct xarray vcpus;			/* [L] for writing, RCU for reading; index = creation order */
	unsigned int nr_vcpus;			/* published with smp_store_release after the xarray */
	unsigned int created_vcpus;		/* [L] including those still being made */

	struct mutex slots_lock;
	struct srcu_struct srcu;		/* guards slots and io buses for readers */
	struct lodge_memslots __rcu *slots;	/* [S] */
	struct lodge_iobus __rcu *bus[LODGE_BUSES];	/* [S] */

	struct mutex irq_lock;
	struct srcu_struct irq_srcu;
	struct lodge_irq_table __rcu *irq_table;	/* [I] */
	struct list_head irqfds;		/* irqfd_lock */
	unsigned int nr_irqfds;			/* on the list; irqfd_lock */
	spinlock_t irqfd_lock;
	struct list_head irq_acks;		/* [I] listeners to EOIs */
	struct list_head resamplers;		/* [I] */
	struct list_head ioeventfds;		/* [S] */
	struct list_head coalesced_zones;	/* [S] */
	spinlock_t ring_lock;			/* the coalesced ring's producer side */
	struct kvm_coalesced_mmio_ring *coalesced_ring;	/* [C] one page, mapped through every vCPU */

	struct mmu_notifier mmu_notifier;
	struct list_head devices;		/* [L] KVM_CREATE_DEVICE */

	unsigned int last_slot;			/* hint: index of the slot last looked up; any value is safe */
	unsigned long nr_slot_pages;		/* slots_lock: pages of all user slots */
	struct lodge_memslots *retired_slots;	/* slots_lock: old sets that a reader may still hold */
	struct lodge_iobus *retired_buses;	/* slots_lock: the same for buses */
	unsigned int nr_retired;		/* slots_lock */

	u32 dirty_ring_bytes;			/* KVM_CAP_DIRTY_LOG_RING, 0 = bitmaps; set once, before any vCPU; READ_ONCE */
	u32 max_vcpu_id;			/* [L] KVM_CAP_MAX_VCPU_ID, 0 = not set */
	u32 max_halt_poll_ns;			/* KVM_CAP_HALT_POLL; READ_ONCE */
	bool manual_dirty_protect;		/* [S] KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 */
	bool dirty_initially_set;		/* [S] */

	struct lodge_vm_stats stats;
	struct dentry *debugfs;			/* [C] NULL or an error pointer if there is none */
	struct list_head link;			/* the module's list of VMs, core/vm.c */
};

static inline bool lodge_vm_dead(const struct lodge_vm *vm)
{
	return READ_ONCE(vm->dead);
}

void lodge_vm_get(struct lodge_vm *vm);
void lodge_vm_put(struct lodge_vm *vm);

/*
 * Our own bug was met in @vm: warn once, and from now on answer every ioctl with EIO; vCPUs leave the guest.
 * Any context.
 */
void lodge_vm_bug(struct lodge_vm *vm);

/* The vCPU with creation index @i, or NULL.  RCU or vm reference; a published vCPU lives as long as its VM. */
struct lodge_vcpu *lodge_vm_vcpu(struct lodge_vm *vm, unsigned int i);

/* The vCPU with identifier @id (KVM_CREATE_VCPU's argument), or NULL. */
struct lodge_vcpu *lodge_vm_vcpu_by_id(struct lodge_vm *vm, u32 id);

static inline unsigned int lodge_nr_vcpus(const struct lodge_vm *vm)
{
	/* Pairs with the publication of a vCPU: who sees the number sees the vCPU. */
	return smp_load_acquire(&vm->nr_vcpus);
}

#define lodge_for_each_vcpu(i, vcpu, vm) \
	for ((i) = 0; (i) < lodge_nr_vcpus(vm) && ((vcpu) = lodge_vm_vcpu((vm), (i))); (i)++)

/* KVM_CREATE_VM; returns the new descriptor or -errno.  Process context. */
int lodge_vm_create_fd(unsigned long type);

/* The host goes down or loses its virtualization: every VM is dead from now on, and no vCPU is loaded when this returns. */
void lodge_vms_stop(void);

#endif
