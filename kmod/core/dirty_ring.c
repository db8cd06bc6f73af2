// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty rings: instead of one bitmap per slot, which costs a pass over all of memory, each vCPU lists the pages that it writes to
 * (KVM_CAP_DIRTY_LOG_RING; Documentation/virt/kvm/api.rst §8.29).
 *
 * An entry goes round this circle.  The flags say whose it is:
 *
 *	state		flags		who moves it on
 *	empty		0		the vCPU: writes slot and offset, then DIRTY (release)
 *	dirty		DIRTY		the VMM: reads slot and offset (acquire), then RESET (release)
 *	harvested	RESET		KVM_RESET_DIRTY_RINGS: reads slot and offset, then 0; write-protects the page
 *
 * The producer is the vCPU's thread alone, so dirty_index has one writer; the consumer of harvested entries is whoever holds
 * slots_lock, so reset_index has one writer at a time.  Both are kernel memory and run freely modulo 2^32; their difference is
 * the number of entries that are not empty, and never exceeds the ring.
 *
 * Nothing is lost, because a page is written to before its entry is made, and the VMM reads the page after the ioctl that
 * write-protected it.  What is written through an old translation before the TLB flush at the ioctl's end is older than
 * the VMM's reading as well.
 *
 * The same page twice in a row needs one entry: as long as the VMM has not said RESET, it has yet to come back for the page.
 * (Its flag is looked at after the write, its reading comes after its flag.)
 *
 * Room.  KVM_RUN does not enter the guest when fewer than RESERVE entries are left, it ends with KVM_EXIT_DIRTY_RING_FULL.  One
 * trip into the guest makes few entries: a fault makes one, an emulated instruction those of its operands and page tables.
 * Writes of the kernel itself that the VMM or guest could repeat at will (registers with memory behind them, REP) ask for
 * room first, and without it do not happen.
 *
 * Hostile VMMs.  Slot, offset and flags lie in memory that the VMM can write at any time.  They are read once; a page that is not
 * in a logged slot is skipped; a page that is gets a write protection too many, or keeps writable what the VMM then does not
 * hear of: its own loss.  A reset never passes dirty_index, so its length is that of the ring.
 */
#include <linux/kvm.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/vmalloc.h>

#include "core/arch.h"
#include "core/dirty_ring.h"
#include "core/memslot.h"
#include "core/vcpu.h"
#include "core/vm.h"

#define RESERVE	64	/* entries, as in stock KVM */

int lodge_dirty_ring_enable(struct lodge_vm *vm, u64 bytes)
{
	int ret = -EINVAL;

	if (!is_power_of_2(bytes) || bytes < PAGE_SIZE || bytes < RESERVE * sizeof(struct kvm_dirty_gfn))
		return -EINVAL;
	if (bytes > LODGE_DIRTY_RING_BYTES_MAX)
		return -E2BIG;
	mutex_lock(&vm->lock);
	if (!vm->dirty_ring_bytes && !vm->created_vcpus) {
		WRITE_ONCE(vm->dirty_ring_bytes, bytes);
		ret = 0;
	}
	mutex_unlock(&vm->lock);
	return ret;
}

int lodge_dirty_ring_alloc(struct lodge_vcpu *vcpu)
{
	struct lodge_dirty_ring *ring = &vcpu->dirty_ring;
	u32 bytes = READ_ONCE(vcpu->vm->dirty_ring_bytes);

	BUILD_BUG_ON(sizeof(struct kvm_dirty_gfn) * 65536 != LODGE_DIRTY_RING_BYTES_MAX);
	if (!bytes)
		return 0;
	ring->gfns = __vmalloc(bytes, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	ring->size = bytes / sizeof(*ring->gfns);
	return ring->gfns ? 0 : -ENOMEM;
}

void lodge_dirty_ring_free(struct lodge_vcpu *vcpu)
{
	vfree(vcpu->dirty_ring.gfns);
	vcpu->dirty_ring.gfns = NULL;
}

/* ---- the vCPU's side ---- */

/* Entries that are not empty.  A reset that goes on meanwhile makes them fewer. */
static u32 ring_used(const struct lodge_dirty_ring *ring)
{
	/* Pairs with the reset's release: an entry counts as empty when it is. */
	return ring->dirty_index - smp_load_acquire(&ring->reset_index);
}

/* The vCPU of @vm that this thread works for.  Preemption off. */
static struct lodge_vcpu *ring_vcpu(struct lodge_vm *vm)
{
	struct lodge_vcpu *vcpu = lodge_running_vcpu();

	return vcpu && vcpu->vm == vm && vcpu->dirty_ring.gfns ? vcpu : NULL;
}

static bool ring_said(const struct lodge_dirty_ring *ring, u32 id, u32 offset)
{
	const struct kvm_dirty_gfn *e;

	if (ring->last_slot != id || ring->last_offset != offset || !ring_used(ring))
		return false;
	e = &ring->gfns[(ring->dirty_index - 1) & (ring->size - 1)];
	smp_mb();	/* the page's bytes before the flag; the VMM: the flag before the page's bytes */
	return READ_ONCE(e->flags) == KVM_DIRTY_GFN_F_DIRTY;
}

static void ring_add(struct lodge_vcpu *vcpu, u32 id, u32 offset)
{
	struct lodge_dirty_ring *ring = &vcpu->dirty_ring;
	struct kvm_dirty_gfn *e = &ring->gfns[ring->dirty_index & (ring->size - 1)];

	WRITE_ONCE(e->slot, id);
	WRITE_ONCE(e->offset, offset);
	/* The VMM, which acquires the flag, finds the entry whole. */
	smp_store_release(&e->flags, KVM_DIRTY_GFN_F_DIRTY);
	ring->last_slot = id;
	ring->last_offset = offset;
	/* Pairs with the reset, which must not look at an entry that is half made. */
	smp_store_release(&ring->dirty_index, ring->dirty_index + 1);
	if (lodge_dirty_ring_soft_full(vcpu))
		lodge_request(vcpu, LODGE_REQ_DIRTY_RING);
}

void lodge_dirty_ring_push(struct lodge_vm *vm, u32 id, u32 offset)
{
	struct lodge_vcpu *vcpu;

	preempt_disable();
	vcpu = ring_vcpu(vm);
	if (vcpu && ring_said(&vcpu->dirty_ring, id, offset))
		goto out;
	if (likely(vcpu && ring_used(&vcpu->dirty_ring) < vcpu->dirty_ring.size))
		ring_add(vcpu, id, offset);
	else
		lodge_vm_bug(vm);
out:
	preempt_enable();
}

bool lodge_dirty_ring_room(struct lodge_vm *vm)
{
	struct lodge_vcpu *vcpu;
	bool room;

	preempt_disable();
	vcpu = ring_vcpu(vm);
	room = vcpu && ring_used(&vcpu->dirty_ring) < vcpu->dirty_ring.size;
	preempt_enable();
	return room;
}

bool lodge_dirty_ring_soft_full(struct lodge_vcpu *vcpu)
{
	const struct lodge_dirty_ring *ring = &vcpu->dirty_ring;

	return ring->gfns && ring_used(ring) >= ring->size - RESERVE;
}

/* ---- the VMM's side ---- */

struct page *lodge_dirty_ring_page(struct lodge_vcpu *vcpu, unsigned long pgoff)
{
	const struct lodge_dirty_ring *ring = &vcpu->dirty_ring;
	unsigned long page = pgoff - LODGE_DIRTY_RING_PAGE;

	if (pgoff < LODGE_DIRTY_RING_PAGE || page >= ring->size * sizeof(*ring->gfns) / PAGE_SIZE)
		return NULL;
	return vmalloc_to_page((u8 *)ring->gfns + page * PAGE_SIZE);
}

/* Pages of one slot that lie within BITS_PER_LONG of each other are protected together. */
struct reset_batch {
	u32 id;
	u64 offset;
	unsigned long mask;
	bool flush;
};

static void batch_protect(struct lodge_vm *vm, struct reset_batch *b)
{
	struct lodge_memslot *slot;

	if (!b->mask)
		return;
	slot = b->id < LODGE_USER_SLOTS ? lodge_slot_by_id(lodge_memslots(vm), b->id) : NULL;
	if (!slot || !(slot->flags & KVM_MEM_LOG_DIRTY_PAGES) || b->offset >= slot->npages)
		return;
	if (slot->npages - b->offset < BITS_PER_LONG)
		b->mask &= (1ul << (slot->npages - b->offset)) - 1;
	lodge_arch_dirty_protect(vm, slot, b->offset, b->mask);
	b->flush = true;
}

static void batch_add(struct lodge_vm *vm, struct reset_batch *b, u32 id, u64 offset)
{
	if (b->mask && id == b->id && offset - b->offset < BITS_PER_LONG) {
		b->mask |= 1ul << (offset - b->offset);
		return;
	}
	batch_protect(vm, b);
	b->id = id;
	b->offset = offset;
	b->mask = 1;
}

/* Take back what has been harvested of one ring. */
static u32 ring_reset(struct lodge_vm *vm, struct lodge_dirty_ring *ring, struct reset_batch *b)
{
	u32 n;

	for (n = 0; n < ring->size; n++) {
		struct kvm_dirty_gfn *e = &ring->gfns[ring->reset_index & (ring->size - 1)];
		u64 offset;
		u32 id;

		/* Pairs with the vCPU's release: what it counted is there. */
		if (ring->reset_index == smp_load_acquire(&ring->dirty_index))
			break;
		/* Pairs with the VMM's release: it has read the entry. */
		if (!(smp_load_acquire(&e->flags) & KVM_DIRTY_GFN_F_RESET))
			break;
		id = READ_ONCE(e->slot);
		offset = READ_ONCE(e->offset);
		WRITE_ONCE(e->flags, 0);
		/* Pairs with the vCPU's look at its room. */
		smp_store_release(&ring->reset_index, ring->reset_index + 1);
		batch_add(vm, b, id, offset);
		cond_resched();
	}
	return n;
}

int lodge_dirty_ring_reset(struct lodge_vm *vm)
{
	struct reset_batch b = {};
	struct lodge_vcpu *vcpu;
	unsigned int i;
	u32 n = 0;

	if (!READ_ONCE(vm->dirty_ring_bytes))
		return -EINVAL;
	mutex_lock(&vm->slots_lock);
	lodge_for_each_vcpu(i, vcpu, vm) {
		n += ring_reset(vm, &vcpu->dirty_ring, &b);
		if (signal_pending(current))
			break;		/* what is left waits for the next call */
	}
	batch_protect(vm, &b);
	if (b.flush)
		lodge_arch_dirty_flush(vm, NULL);
	mutex_unlock(&vm->slots_lock);
	return n;
}
