// SPDX-License-Identifier: GPL-2.0-only
/*
 * The set of memory slots: look-up, and KVM_SET_USER_MEMORY_REGION.
 *
 * Readers (faults, the emulator, the MMU notifier) look slots up at every moment, writers are rare.  So a set never changes:
 * a writer makes a new array, sorted by gfn, and publishes it; readers are in vm->srcu.
 *
 * Adding a slot needs nothing more: whoever still uses the old set sees no memory there, as a moment ago.  The old array is
 * put on a list and freed when somebody waits for readers anyway, or when the list gets long; this keeps the start of a VM,
 * which adds a handful of slots, from waiting once per slot.
 *
 * Taking memory away has two steps.  First a set is published in which the slot is LODGE_SLOT_INVALID; after all readers of
 * the older set are gone, no fault can install another translation of it (faults on an invalid slot wait by trying again), and
 * all its translations are dropped.  Only then the set without it is published.  From then on nobody can reach the memory
 * behind the slot: the VMM may unmap it or put another slot there.
 *
 * When the flags change (dirty log on or off) the new set is published, the readers of the old one are waited for, and then
 * the architecture write-protects: a fault that began before the log was there is over and its entry gets protected too.
 */
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "core/arch.h"
#include "core/dirty_log.h"
#include "core/memslot.h"
#include "core/vm.h"

#define SLOT_MAX_PAGES	((1ul << 31) - 1)	/* as KVM: page numbers within a slot fit in 31 bits */
#define RETIRED_MAX	8

static struct lodge_memslots *slots_alloc(unsigned int n)
{
	return kvzalloc(struct_size((struct lodge_memslots *)NULL, slot, n), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
}

struct lodge_memslots *lodge_memslots(struct lodge_vm *vm)
{
	return srcu_dereference_check(vm->slots, &vm->srcu,
				      lockdep_is_held(&vm->slots_lock) || !kref_read(&vm->ref));
}

static bool slot_holds(const struct lodge_memslot *slot, gfn_t gfn)
{
	return gfn - slot->gfn < slot->npages;
}

struct lodge_memslot *lodge_gfn_to_slot(struct lodge_vm *vm, gfn_t gfn)
{
	struct lodge_memslots *slots = lodge_memslots(vm);
	unsigned int lo = 0, hi = slots->n, hint = READ_ONCE(vm->last_slot);

	if (hint < hi && slot_holds(&slots->slot[hint], gfn))
		return &slots->slot[hint];

	/* The last slot that begins at or below gfn. */
	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;

		if (slots->slot[mid].gfn <= gfn)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo || !slot_holds(&slots->slot[lo - 1], gfn))
		return NULL;
	WRITE_ONCE(vm->last_slot, lo - 1);
	return &slots->slot[lo - 1];
}

struct lodge_memslot *lodge_slot_by_id(struct lodge_memslots *slots, u16 id)
{
	unsigned int i;

	for (i = 0; i < slots->n; i++) {
		if (slots->slot[i].id == id)
			return &slots->slot[i];
	}
	return NULL;
}

/* ---- old sets ---- */

void lodge_retired_free(struct lodge_vm *vm)
{
	lockdep_assert_held(&vm->slots_lock);
	synchronize_srcu_expedited(&vm->srcu);
	while (vm->retired_slots) {
		struct lodge_memslots *s = vm->retired_slots;

		vm->retired_slots = s->retired;
		kvfree(s);
	}
	while (vm->retired_buses) {
		struct lodge_iobus *b = vm->retired_buses;

		vm->retired_buses = b->retired;
		kvfree(b);
	}
	vm->nr_retired = 0;
}

/* Make @new the current set; the old one waits for its readers, with @wait until they are gone. */
static void slots_publish(struct lodge_vm *vm, struct lodge_memslots *new, bool wait)
{
	struct lodge_memslots *old = lodge_memslots(vm);

	rcu_assign_pointer(vm->slots, new);
	old->retired = vm->retired_slots;
	vm->retired_slots = old;
	if (++vm->nr_retired > RETIRED_MAX || wait)
		lodge_retired_free(vm);
}

/* ---- building sets ---- */

/* A copy of the current set without @drop (may be NULL) and with @add (may be NULL); or NULL. */
static struct lodge_memslots *slots_copy(struct lodge_vm *vm, const struct lodge_memslot *drop,
					 const struct lodge_memslot *add)
{
	struct lodge_memslots *old = lodge_memslots(vm), *new;
	unsigned int i, n = 0;

	new = slots_alloc(old->n + 1);
	if (!new)
		return NULL;
	for (i = 0; i < old->n; i++) {
		const struct lodge_memslot *s = &old->slot[i];

		if (add && s->gfn > add->gfn) {
			new->slot[n++] = *add;
			add = NULL;
		}
		if (s != drop)
			new->slot[n++] = *s;
	}
	if (add)
		new->slot[n++] = *add;
	new->n = n;
	new->generation = (old->generation | 1) + 1;
	return new;
}

static bool slots_overlap(struct lodge_memslots *slots, const struct lodge_memslot *slot)
{
	unsigned int i;

	for (i = 0; i < slots->n; i++) {
		const struct lodge_memslot *s = &slots->slot[i];

		if (s->id != slot->id && s->gfn < slot->gfn + slot->npages && slot->gfn < s->gfn + s->npages)
			return true;
	}
	return false;
}

/* ---- changes ---- */

static int slot_create(struct lodge_vm *vm, struct lodge_memslot *new)
{
	struct lodge_memslots *set;
	int ret;

	ret = lodge_arch_prepare_slot(vm, NULL, new);
	if (ret)
		return ret;
	if (new->flags & KVM_MEM_LOG_DIRTY_PAGES) {
		ret = lodge_dirty_alloc(vm, new);
		if (ret)
			goto undo;
	}
	set = slots_copy(vm, NULL, new);
	if (!set) {
		lodge_dirty_free(new);
		ret = -ENOMEM;
		goto undo;
	}
	slots_publish(vm, set, false);
	vm->nr_slot_pages += new->npages;
	lodge_arch_commit_slot(vm, NULL, new);
	return 0;

undo:
	lodge_arch_commit_slot(vm, new, NULL);
	return ret;
}

/* Steps one of taking memory away: @slot is invalid, nobody has a translation of it. */
static int slot_invalidate(struct lodge_vm *vm, const struct lodge_memslot *slot)
{
	struct lodge_memslot gone = *slot;
	struct lodge_memslots *set;

	gone.flags |= LODGE_SLOT_INVALID;
	set = slots_copy(vm, slot, &gone);
	if (!set)
		return -ENOMEM;
	set->generation |= 1;
	slots_publish(vm, set, true);
	lodge_arch_flush_slot(vm, &gone);
	return 0;
}

/* Undo it: without memory for the final set the slot stays as it was. */
static void slot_revalidate(struct lodge_vm *vm, u16 id)
{
	struct lodge_memslot *slot = lodge_slot_by_id(lodge_memslots(vm), id);

	/* Readers tell the generations apart, so the flag may come off in place. */
	WRITE_ONCE(slot->flags, slot->flags & ~LODGE_SLOT_INVALID);
}

static int slot_delete(struct lodge_vm *vm, const struct lodge_memslot *slot)
{
	struct lodge_memslot old = *slot;
	struct lodge_memslots *set;
	int ret;

	ret = lodge_arch_prepare_slot(vm, &old, NULL);
	if (ret)
		return ret;
	ret = slot_invalidate(vm, slot);
	if (ret)
		return ret;
	set = slots_copy(vm, lodge_slot_by_id(lodge_memslots(vm), old.id), NULL);
	if (!set) {
		slot_revalidate(vm, old.id);
		return -ENOMEM;
	}
	slots_publish(vm, set, false);
	vm->nr_slot_pages -= old.npages;
	lodge_arch_commit_slot(vm, &old, NULL);
	lodge_dirty_free(&old);
	return 0;
}

static int slot_move(struct lodge_vm *vm, const struct lodge_memslot *slot, struct lodge_memslot *new)
{
	struct lodge_memslot old = *slot;
	struct lodge_memslots *set;
	int ret;

	ret = lodge_arch_prepare_slot(vm, &old, new);
	if (ret)
		return ret;
	ret = slot_invalidate(vm, slot);
	if (ret)
		goto fail;
	set = slots_copy(vm, lodge_slot_by_id(lodge_memslots(vm), old.id), new);
	if (!set) {
		slot_revalidate(vm, old.id);
		ret = -ENOMEM;
		goto fail;
	}
	slots_publish(vm, set, false);
	lodge_arch_commit_slot(vm, &old, new);
	return 0;

fail:
	if (new->arch != old.arch)
		lodge_arch_commit_slot(vm, new, NULL);
	return ret;
}

static int slot_reflag(struct lodge_vm *vm, const struct lodge_memslot *slot, struct lodge_memslot *new)
{
	struct lodge_memslot old = *slot;
	struct lodge_memslots *set;
	int ret;

	if (!(new->flags & KVM_MEM_LOG_DIRTY_PAGES)) {
		new->dirty_bitmap = NULL;
	} else if (!old.dirty_bitmap) {
		ret = lodge_dirty_alloc(vm, new);
		if (ret)
			return ret;
	}
	ret = lodge_arch_prepare_slot(vm, &old, new);
	if (ret)
		goto free_log;
	set = slots_copy(vm, slot, new);
	if (!set) {
		ret = -ENOMEM;
		if (new->arch != old.arch)
			lodge_arch_commit_slot(vm, new, NULL);
		goto free_log;
	}
	slots_publish(vm, set, true);
	lodge_arch_commit_slot(vm, &old, new);
	if (!new->dirty_bitmap)
		lodge_dirty_free(&old);
	return 0;

free_log:
	if (new->dirty_bitmap != old.dirty_bitmap)
		lodge_dirty_free(new);
	return ret;
}

/* ---- the ioctl ---- */

static int region_check(const struct kvm_userspace_memory_region *mem)
{
	u64 size = mem->memory_size;

	if (mem->flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY))
		return -EINVAL;
	if (mem->slot >= LODGE_USER_SLOTS + LODGE_PRIVATE_SLOTS)
		return -EINVAL;
	if (!PAGE_ALIGNED(size) || !PAGE_ALIGNED(mem->guest_phys_addr) || !PAGE_ALIGNED(mem->userspace_addr))
		return -EINVAL;
	if (mem->guest_phys_addr + size < mem->guest_phys_addr || (size >> PAGE_SHIFT) > SLOT_MAX_PAGES)
		return -EINVAL;
	if (mem->userspace_addr != untagged_addr(mem->userspace_addr) ||
	    !access_ok((void __user *)(unsigned long)mem->userspace_addr, size))
		return -EINVAL;
	return 0;
}

int lodge_memslot_set_locked(struct lodge_vm *vm, const struct kvm_userspace_memory_region *mem)
{
	struct lodge_memslots *slots = lodge_memslots(vm);
	struct lodge_memslot *old, new = {};
	int ret;

	lockdep_assert_held(&vm->slots_lock);
	ret = region_check(mem);
	if (ret)
		return ret;

	old = lodge_slot_by_id(slots, mem->slot);
	if (!mem->memory_size)
		return old ? slot_delete(vm, old) : -EINVAL;

	if (old)
		new = *old;
	new.id = mem->slot;
	new.gfn = gpa_to_gfn(mem->guest_phys_addr);
	new.npages = mem->memory_size >> PAGE_SHIFT;
	new.hva = mem->userspace_addr;
	new.flags = mem->flags;

	if (!old) {
		if (vm->nr_slot_pages + new.npages < vm->nr_slot_pages)
			return -EINVAL;
	} else if (new.hva != old->hva || new.npages != old->npages || ((new.flags ^ old->flags) & KVM_MEM_READONLY)) {
		return -EINVAL;
	} else if (new.gfn == old->gfn) {
		return new.flags == old->flags ? 0 : slot_reflag(vm, old, &new);
	}
	if (slots_overlap(slots, &new))
		return -EEXIST;
	if (!old)
		return slot_create(vm, &new);

	/* A move keeps its dirty log: the flags of a moved slot are those it had (KVM: a new log would start empty). */
	if ((new.flags ^ old->flags) & KVM_MEM_LOG_DIRTY_PAGES)
		return -EINVAL;
	return slot_move(vm, old, &new);
}

int lodge_memslot_set(struct lodge_vm *vm, const struct kvm_userspace_memory_region *mem)
{
	int ret;

	mutex_lock(&vm->slots_lock);
	ret = lodge_memslot_set_locked(vm, mem);
	mutex_unlock(&vm->slots_lock);
	return ret;
}

int lodge_memslots_init(struct lodge_vm *vm)
{
	struct lodge_memslots *slots = slots_alloc(0);

	if (!slots)
		return -ENOMEM;
	rcu_assign_pointer(vm->slots, slots);
	return 0;
}

void lodge_memslots_destroy(struct lodge_vm *vm)
{
	struct lodge_memslots *slots = lodge_memslots(vm);
	unsigned int i;

	if (!slots)
		return;
	for (i = 0; i < slots->n; i++) {
		lodge_arch_commit_slot(vm, &slots->slot[i], NULL);
		lodge_dirty_free(&slots->slot[i]);
		cond_resched();
	}
	mutex_lock(&vm->slots_lock);
	lodge_retired_free(vm);
	mutex_unlock(&vm->slots_lock);
	RCU_INIT_POINTER(vm->slots, NULL);
	kvfree(slots);
}
