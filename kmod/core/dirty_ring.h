/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The dirty ring: each vCPU's list of pages that were written to, in memory shared with the VMM.
 */
#ifndef LODGE_CORE_DIRTY_RING_H
#define LODGE_CORE_DIRTY_RING_H

#include <linux/types.h>

struct kvm_dirty_gfn;
struct lodge_memslot;
struct lodge_vcpu;
struct lodge_vm;
struct page;

#define LODGE_DIRTY_RING_BYTES_MAX	(65536u * 16)	/* KVM_CAP_DIRTY_LOG_RING */

struct lodge_dirty_ring {
	struct kvm_dirty_gfn *gfns;	/* vmalloc; NULL: the VM has no rings */
	u32 size;			/* entries, a power of two */
	u32 dirty_index;		/* written by the vCPU's thread; release after the entry */
	u32 reset_index;		/* [S]; release after the entry */
	u32 last_slot;			/* the vCPU's thread: what the entry before dirty_index says */
	u32 last_offset;
};

/* KVM_CAP_DIRTY_LOG_RING: @bytes for each vCPU.  -EINVAL (size, set already, vCPUs exist), -E2BIG. */
int lodge_dirty_ring_enable(struct lodge_vm *vm, u64 bytes);

/* With the vCPU, if its VM has rings.  -ENOMEM. */
int lodge_dirty_ring_alloc(struct lodge_vcpu *vcpu);
void lodge_dirty_ring_free(struct lodge_vcpu *vcpu);

/*
 * Page @offset of slot @id was written to, or is about to be.  On the thread of a vCPU of @vm, between load and put; not from
 * interrupts.  The caller has seen room, or is in the reserve that KVM_RUN leaves (dirty_ring.c).
 */
void lodge_dirty_ring_push(struct lodge_vm *vm, u32 id, u32 offset);

/* Can the vCPU that runs here log one more page?  The same contexts. */
bool lodge_dirty_ring_room(struct lodge_vm *vm);

/* The guest must not be entered before the VMM has harvested. */
bool lodge_dirty_ring_soft_full(struct lodge_vcpu *vcpu);

/* The page at offset @pgoff of the vCPU's mapping, without a reference, or NULL. */
struct page *lodge_dirty_ring_page(struct lodge_vcpu *vcpu, unsigned long pgoff);

/* KVM_RESET_DIRTY_RINGS: how many entries were taken back, or -EINVAL without rings.  Takes slots_lock. */
int lodge_dirty_ring_reset(struct lodge_vm *vm);

#endif
