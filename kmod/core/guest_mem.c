// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's own reads and writes of guest memory.
 *
 * They go through the VMM's mapping with copy_{from,to}_user, so the host's paging, userfaultfd, and copy-on-write work as
 * for the VMM itself, and a mapping that vanished is an -EFAULT and nothing worse.  The caller runs in the VMM's mm.
 */
#include <linux/nospec.h>
#include <linux/minmax.h>
#include <linux/uaccess.h>

#include "core/dirty_ring.h"
#include "core/memslot.h"
#include "core/vm.h"

static hva_t slot_hva(const struct lodge_memslot *slot, gfn_t gfn, bool write)
{
	if (!slot || (slot->flags & LODGE_SLOT_INVALID) || (write && (slot->flags & KVM_MEM_READONLY)))
		return LODGE_HVA_BAD;
	/* A speculated look-up must not run past the slot: npages bounds it again without a branch. */
	return slot->hva + (array_index_nospec(gfn - slot->gfn, slot->npages) << PAGE_SHIFT);
}

hva_t lodge_gfn_to_hva(struct lodge_vm *vm, gfn_t gfn, bool write)
{
	return slot_hva(lodge_gfn_to_slot(vm, gfn), gfn, write);
}

void lodge_slot_mark_dirty(struct lodge_vm *vm, const struct lodge_memslot *slot, gfn_t gfn)
{
	unsigned long bit = gfn - slot->gfn;

	if (unlikely(slot->flags & KVM_MEM_LOG_DIRTY_PAGES) && READ_ONCE(vm->dirty_ring_bytes)) {
		lodge_dirty_ring_push(vm, slot->id, bit);
		return;
	}
	/* Most pages of a busy guest are marked already: do not write the cache line again. */
	if (slot->dirty_bitmap && !test_bit(bit, slot->dirty_bitmap))
		set_bit(bit, slot->dirty_bitmap);
}

bool lodge_can_mark_dirty(struct lodge_vm *vm, const struct lodge_memslot *slot)
{
	return likely(!slot || !(slot->flags & KVM_MEM_LOG_DIRTY_PAGES) || !READ_ONCE(vm->dirty_ring_bytes)) ||
	       lodge_dirty_ring_room(vm);
}

void lodge_mark_dirty(struct lodge_vm *vm, gfn_t gfn)
{
	struct lodge_memslot *slot = lodge_gfn_to_slot(vm, gfn);

	if (slot)
		lodge_slot_mark_dirty(vm, slot, gfn);
}

int lodge_guest_read(struct lodge_vm *vm, gpa_t gpa, void *buf, unsigned long len)
{
	while (len) {
		unsigned long off = offset_in_page(gpa), n = min(len, PAGE_SIZE - off);
		hva_t hva = lodge_gfn_to_hva(vm, gpa_to_gfn(gpa), false);

		if (lodge_hva_bad(hva) || copy_from_user(buf, (void __user *)(hva + off), n))
			return -EFAULT;
		gpa += n;
		buf += n;
		len -= n;
	}
	return 0;
}

/* Write @n bytes within one page; @buf NULL: zeroes. */
static int write_page(struct lodge_vm *vm, gpa_t gpa, const void *buf, unsigned long n)
{
	struct lodge_memslot *slot = lodge_gfn_to_slot(vm, gpa_to_gfn(gpa));
	hva_t hva = slot_hva(slot, gpa_to_gfn(gpa), true);
	void __user *to = (void __user *)(hva + offset_in_page(gpa));

	if (!lodge_can_mark_dirty(vm, slot))
		return -EAGAIN;
	if (lodge_hva_bad(hva) || (buf ? copy_to_user(to, buf, n) : clear_user(to, n)))
		return -EFAULT;
	lodge_slot_mark_dirty(vm, slot, gpa_to_gfn(gpa));
	return 0;
}

int lodge_guest_write(struct lodge_vm *vm, gpa_t gpa, const void *buf, unsigned long len)
{
	while (len) {
		unsigned long n = min(len, PAGE_SIZE - offset_in_page(gpa));
		int ret = write_page(vm, gpa, buf, n);

		if (ret)
			return ret;
		gpa += n;
		buf += n;
		len -= n;
	}
	return 0;
}

int lodge_guest_clear(struct lodge_vm *vm, gpa_t gpa, unsigned long len)
{
	while (len) {
		unsigned long n = min(len, PAGE_SIZE - offset_in_page(gpa));
		int ret = write_page(vm, gpa, NULL, n);

		if (ret)
			return ret;
		gpa += n;
		len -= n;
	}
	return 0;
}

/* ---- caches ---- */

/* Look the cache's hva up in the current set; the slow path is taken for what crosses a page or is not writable memory. */
static void cache_fill(struct lodge_vm *vm, struct lodge_guest_cache *c)
{
	c->generation = lodge_memslots(vm)->generation;
	c->hva = LODGE_HVA_BAD;
	if (offset_in_page(c->gpa) + c->len <= PAGE_SIZE) {
		hva_t hva = lodge_gfn_to_hva(vm, gpa_to_gfn(c->gpa), true);

		if (!lodge_hva_bad(hva))
			c->hva = hva + offset_in_page(c->gpa);
	}
}

static hva_t cache_hva(struct lodge_vm *vm, struct lodge_guest_cache *c)
{
	if (unlikely(c->generation != lodge_memslots(vm)->generation))
		cache_fill(vm, c);
	return c->hva;
}

int lodge_guest_cache_init(struct lodge_vm *vm, struct lodge_guest_cache *c, gpa_t gpa, u32 len)
{
	gfn_t gfn, last;

	if (!len || gpa + len - 1 < gpa)
		return -EINVAL;
	c->gpa = gpa;
	c->len = len;
	cache_fill(vm, c);
	last = gpa_to_gfn(gpa + len - 1);
	for (gfn = gpa_to_gfn(gpa); gfn <= last; gfn++) {
		if (lodge_hva_bad(lodge_gfn_to_hva(vm, gfn, true)))
			return -EFAULT;
	}
	return 0;
}

int lodge_guest_cache_read(struct lodge_vm *vm, struct lodge_guest_cache *c, u32 off, void *buf, u32 len)
{
	hva_t hva;

	if (WARN_ON_ONCE(off > c->len || len > c->len - off))
		return -EINVAL;
	hva = cache_hva(vm, c);
	if (lodge_hva_bad(hva))
		return lodge_guest_read(vm, c->gpa + off, buf, len);
	return copy_from_user(buf, (void __user *)(hva + off), len) ? -EFAULT : 0;
}

int lodge_guest_cache_write(struct lodge_vm *vm, struct lodge_guest_cache *c, u32 off, const void *buf, u32 len)
{
	struct lodge_memslot *slot;
	hva_t hva;

	if (WARN_ON_ONCE(off > c->len || len > c->len - off))
		return -EINVAL;
	hva = cache_hva(vm, c);
	if (lodge_hva_bad(hva))
		return lodge_guest_write(vm, c->gpa + off, buf, len);
	slot = lodge_gfn_to_slot(vm, gpa_to_gfn(c->gpa));
	if (!lodge_can_mark_dirty(vm, slot))
		return -EAGAIN;
	if (copy_to_user((void __user *)(hva + off), buf, len))
		return -EFAULT;
	if (slot)
		lodge_slot_mark_dirty(vm, slot, gpa_to_gfn(c->gpa));
	return 0;
}
