/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What core/ asks of the architecture: the upward seam.  x86/ and its sub-folders define these; core/ includes nothing else
 * from there.
 */
#ifndef LODGE_CORE_ARCH_H
#define LODGE_CORE_ARCH_H

#include "core/ioctl.h"
#include "core/irqroute.h"
#include "core/memslot.h"
#include "core/vcpu.h"
#include "core/vm.h"

/* ---- hardware (x86/vcpu.c, back end) ---- */
int lodge_arch_init(void);		/* module load: is there SVM+NPT or VT-x+EPT?  -EOPNOTSUPP with a printed reason */
void lodge_arch_exit(void);
int lodge_arch_hw_enable(void);		/* on the current CPU, preemption off; -EBUSY if another hypervisor has it */
void lodge_arch_hw_disable(void);	/* on the current CPU, preemption off, also from reboot and crash paths */

/* ---- VMs and vCPUs (x86/vm.c, x86/vcpu.c) ---- */
struct lodge_vm *lodge_arch_vm_alloc(void);		/* zeroed, with the core head first; or NULL */
int lodge_arch_vm_init(struct lodge_vm *vm, unsigned long type);	/* core part is ready */
/* Nobody can reach the VM any more, its vCPUs still exist: stop timers and devices that could touch them.  Process context. */
void lodge_arch_vm_stop(struct lodge_vm *vm);
void lodge_arch_vm_destroy(struct lodge_vm *vm);	/* accepts half-built; vCPUs are gone; no memory slot is left */
void lodge_arch_vm_free(struct lodge_vm *vm);
struct lodge_vcpu *lodge_arch_vcpu_alloc(void);
int lodge_arch_vcpu_precreate(struct lodge_vm *vm, u32 id);	/* [L]; may refuse */
int lodge_arch_vcpu_init(struct lodge_vcpu *vcpu);		/* core part is ready, not yet visible */
void lodge_arch_vcpu_postcreate(struct lodge_vcpu *vcpu);	/* other vCPUs see it now, user space not yet; no lock is held */
void lodge_arch_vcpu_destroy(struct lodge_vcpu *vcpu);		/* accepts half-built */
void lodge_arch_vcpu_free(struct lodge_vcpu *vcpu);
void lodge_arch_vcpu_load(struct lodge_vcpu *vcpu, int cpu);	/* preemption off */
void lodge_arch_vcpu_put(struct lodge_vcpu *vcpu);		/* preemption off */
/*
 * KVM_RUN after the common part: loaded, vm->srcu held with vcpu->srcu_idx (dropped while in the guest), signal mask set.
 * Completes what the last user-space exit began, then honours run->immediate_exit (-EINTR).  0 = user-space exit filled, -errno;
 * for -EINTR core/vcpu.c fills KVM_EXIT_INTR and counts.  LODGE_REQ_VM_DEAD: -EIO.
 */
int lodge_arch_vcpu_run(struct lodge_vcpu *vcpu);
bool lodge_arch_vcpu_runnable(struct lodge_vcpu *vcpu);	/* has something to run for: event, or not halted */

/* ---- ioctls: the architecture's tables, and capabilities that core does not know ---- */
extern const struct lodge_ioctl lodge_arch_dev_ioctls[];	/* obj = NULL */
extern const unsigned int lodge_arch_nr_dev_ioctls;
extern const struct lodge_ioctl lodge_arch_vm_ioctls[];		/* obj = struct lodge_vm */
extern const unsigned int lodge_arch_nr_vm_ioctls;
/* obj = struct lodge_vcpu; runs between load and put, vcpu->mutex and vm->srcu held (unless LODGE_IOCTL_UNLOCKED: none of these) */
extern const struct lodge_ioctl lodge_arch_vcpu_ioctls[];
extern const unsigned int lodge_arch_nr_vcpu_ioctls;
int lodge_arch_check_extension(struct lodge_vm *vm, long ext);	/* @vm NULL on the system descriptor; 0 = unknown */
int lodge_arch_enable_cap(struct lodge_vm *vm, struct kvm_enable_cap *cap);	/* -EINVAL = unknown */
int lodge_arch_vcpu_enable_cap(struct lodge_vcpu *vcpu, struct kvm_enable_cap *cap);

/* ---- memory (x86/mmu/) ---- */
/*
 * A slot changes: @old NULL = it is created, @new NULL = it is deleted, else moved or its flags changed.  prepare may refuse
 * (and may fill new->arch), commit follows when it did not, after the new set is published and no reader has the old one:
 * there the write protection for a new dirty log is due, and old->arch is freed if it is not new->arch.  [S]
 */
int lodge_arch_prepare_slot(struct lodge_vm *vm, const struct lodge_memslot *old, struct lodge_memslot *new);
void lodge_arch_commit_slot(struct lodge_vm *vm, const struct lodge_memslot *old, const struct lodge_memslot *new);
void lodge_arch_flush_slot(struct lodge_vm *vm, const struct lodge_memslot *slot);	/* drop all its translations */
void lodge_arch_flush_all(struct lodge_vm *vm);
/* MMU notifier: [start,end) of hva goes away or is write-protected in the host.  May be atomic if !@blockable. */
void lodge_arch_invalidate_begin(struct lodge_vm *vm, hva_t start, hva_t end, bool blockable);
void lodge_arch_invalidate_end(struct lodge_vm *vm, hva_t start, hva_t end);
bool lodge_arch_age(struct lodge_vm *vm, hva_t start, hva_t end, bool clear);
/* Write-protect the pages of @slot whose bits are set in @mask, first page @gfn_offset of the slot (dirty log). */
void lodge_arch_dirty_protect(struct lodge_vm *vm, const struct lodge_memslot *slot, gfn_t gfn_offset, unsigned long mask);
/* TLB flush after dirty_protect, once per ioctl; @slot NULL: of any. */
void lodge_arch_dirty_flush(struct lodge_vm *vm, const struct lodge_memslot *slot);

/* DMA into the guest's memory that is not coherent with the caches begins or has ended (x86/vm.c); process context. */
void lodge_arch_noncoherent_dma(struct lodge_vm *vm, bool on);

/* ---- interrupts (x86/irqchip/) ---- */
bool lodge_arch_irqchip_in_kernel(struct lodge_vm *vm);	/* LAPICs in the kernel: full or split */
/* Check a user's routing entry and fill ->set; -EINVAL if it makes no sense here. */
int lodge_arch_route_set(struct lodge_vm *vm, struct lodge_irq_route *e, const struct kvm_irq_routing_entry *ue);
/* Deliver an MSI to the LAPICs; >0 delivered, 0 coalesced, -1 no target.  Any context. */
int lodge_arch_msi_deliver(struct lodge_vm *vm, u64 address, u32 data);
void lodge_arch_routes_changed(struct lodge_vm *vm);	/* a new table is published: IOAPIC scan, [I] */

#endif
