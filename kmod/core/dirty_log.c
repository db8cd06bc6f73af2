// SPDX-License-Identifier: GPL-2.0-only
/*
 * The dirty log of a slot.
 *
 * A bitmap has one bit a page; who writes to guest memory sets it: a fault that makes an entry writable, and the kernel's own
 * writes.  KVM_GET_DIRTY_LOG takes the bits and makes the pages read-only again, so that the next write faults.
 *
 * The order is what makes it lossless: a bit is taken with xchg before its page is protected, and TLBs are flushed before the
 * ioctl returns.  A write between the two steps goes through the old writable entry; its bit is already in the user's hands,
 * who reads the page only after we return, and sees it.
 *
 * With manual protection (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) fetching changes nothing, and KVM_CLEAR_DIRTY_LOG takes the bits
 * and protects, for the pages that the VMM is about to copy.
 *
 * The bitmap is allocated twice as large: the second half holds what is being handed to the user.
 *
 * A slot may have 2^31 pages, and then a log is 256 MiB: whatever goes through one lets others have the CPU in between.
 */
#include <linux/bitmap.h>
#include <linux/compat.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "core/arch.h"
#include "core/dirty_log.h"
#include "core/memslot.h"
#include "core/vm.h"

#define STRETCH_WORDS	8192ul	/* of a log, between two offers of the CPU */

static size_t bitmap_bytes(unsigned long npages)
{
	return BITS_TO_LONGS(npages) * sizeof(long);
}

int lodge_dirty_alloc(struct lodge_vm *vm, struct lodge_memslot *slot)
{
	const unsigned long step = STRETCH_WORDS * BITS_PER_LONG;
	unsigned long i;

	if (READ_ONCE(vm->dirty_ring_bytes))
		return 0;		/* the vCPUs' rings take its place */
	/* Its size is the user's choice: that there is no room for it is no news to the log. */
	slot->dirty_bitmap = kvcalloc(2, bitmap_bytes(slot->npages), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!slot->dirty_bitmap)
		return -ENOMEM;
	for (i = 0; vm->dirty_initially_set && i < slot->npages; i += step) {
		bitmap_set(slot->dirty_bitmap, i, min(step, slot->npages - i));
		cond_resched();
	}
	return 0;
}

void lodge_dirty_free(struct lodge_memslot *slot)
{
	kvfree(slot->dirty_bitmap);
	slot->dirty_bitmap = NULL;
}

static struct lodge_memslot *logged_slot(struct lodge_vm *vm, u32 id)
{
	struct lodge_memslot *slot;

	if (id >= LODGE_USER_SLOTS)
		return ERR_PTR(-EINVAL);
	slot = lodge_slot_by_id(lodge_memslots(vm), id);
	if (!slot || !slot->dirty_bitmap)
		return ERR_PTR(-ENOENT);
	return slot;
}

/* A 32-bit process fills only the low half of the pointer. */
static void __user *log_pointer(void __user *p)
{
	return in_compat_syscall() ? compat_ptr((compat_uptr_t)(unsigned long)p) : p;
}

static bool log_copy_out(void __user *to, const unsigned long *log, unsigned long n)
{
	unsigned long i, words;

	for (i = 0; i < n; i += words) {
		words = min(STRETCH_WORDS, n - i);
		if (copy_to_user(to + i * sizeof(long), log + i, words * sizeof(long)))
			return false;
		cond_resched();
	}
	return true;
}

static bool log_copy_in(unsigned long *log, const void __user *from, unsigned long n)
{
	unsigned long i, words;

	for (i = 0; i < n; i += words) {
		words = min(STRETCH_WORDS, n - i);
		if (copy_from_user(log + i, from + i * sizeof(long), words * sizeof(long)))
			return false;
		cond_resched();
	}
	return true;
}

/* Move all bits of the log into its second half, and protect their pages. */
static void dirty_harvest(struct lodge_vm *vm, struct lodge_memslot *slot)
{
	unsigned long i, n = BITS_TO_LONGS(slot->npages), *out = slot->dirty_bitmap + n;
	bool flush = false;

	for (i = 0; i < n; i++) {
		if (!(i % STRETCH_WORDS))
			cond_resched();
		out[i] = READ_ONCE(slot->dirty_bitmap[i]) ? xchg(&slot->dirty_bitmap[i], 0) : 0;
		if (!out[i])
			continue;
		lodge_arch_dirty_protect(vm, slot, i * BITS_PER_LONG, out[i]);
		flush = true;
		cond_resched();
	}
	if (flush)
		lodge_arch_dirty_flush(vm, slot);
}

int lodge_dirty_get(struct lodge_vm *vm, const struct kvm_dirty_log *log)
{
	struct lodge_memslot *slot;
	unsigned long *from;
	int ret = 0;

	if (READ_ONCE(vm->dirty_ring_bytes))
		return -ENXIO;
	mutex_lock(&vm->slots_lock);
	slot = logged_slot(vm, log->slot);
	if (IS_ERR(slot)) {
		ret = PTR_ERR(slot);
		goto out;
	}
	from = slot->dirty_bitmap;
	if (!vm->manual_dirty_protect) {
		dirty_harvest(vm, slot);
		from += BITS_TO_LONGS(slot->npages);
	}
	if (!log_copy_out(log_pointer(log->dirty_bitmap), from, BITS_TO_LONGS(slot->npages)))
		ret = -EFAULT;
out:
	mutex_unlock(&vm->slots_lock);
	return ret;
}

static bool clear_range_ok(const struct lodge_memslot *slot, const struct kvm_clear_dirty_log *log)
{
	if (log->first_page > slot->npages || log->num_pages > slot->npages - log->first_page)
		return false;
	/* An odd number of pages is for the end of the slot only. */
	return log->num_pages == slot->npages - log->first_page || !(log->num_pages % 64);
}

static void dirty_clear(struct lodge_vm *vm, struct lodge_memslot *slot, unsigned long first, const unsigned long *mask,
			unsigned long n)
{
	unsigned long i, *map = slot->dirty_bitmap + first / BITS_PER_LONG;
	bool flush = false;

	for (i = 0; i < n; i++) {
		unsigned long was;

		if (!(i % STRETCH_WORDS))
			cond_resched();
		if (!mask[i])
			continue;
		was = atomic_long_fetch_andnot(mask[i], (atomic_long_t *)&map[i]) & mask[i];
		if (!was)
			continue;
		lodge_arch_dirty_protect(vm, slot, first + i * BITS_PER_LONG, was);
		flush = true;
		cond_resched();
	}
	if (flush)
		lodge_arch_dirty_flush(vm, slot);
}

int lodge_dirty_clear(struct lodge_vm *vm, const struct kvm_clear_dirty_log *log)
{
	struct lodge_memslot *slot;
	unsigned long *mask;
	int ret = 0;

	if (READ_ONCE(vm->dirty_ring_bytes))
		return -ENXIO;
	if (log->first_page % 64)
		return -EINVAL;
	mutex_lock(&vm->slots_lock);
	slot = logged_slot(vm, log->slot);
	if (IS_ERR(slot)) {
		ret = PTR_ERR(slot);
		goto out;
	}
	ret = -EINVAL;
	if (!clear_range_ok(slot, log))
		goto out;
	mask = slot->dirty_bitmap + BITS_TO_LONGS(slot->npages);
	ret = -EFAULT;
	if (!log_copy_in(mask, log_pointer(log->dirty_bitmap), BITS_TO_LONGS(log->num_pages)))
		goto out;
	dirty_clear(vm, slot, log->first_page, mask, BITS_TO_LONGS(log->num_pages));
	ret = 0;
out:
	mutex_unlock(&vm->slots_lock);
	return ret;
}

int lodge_dirty_manual(struct lodge_vm *vm, u64 options)
{
	u64 allowed = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;

	if (options & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE)
		allowed |= KVM_DIRTY_LOG_INITIALLY_SET;
	if (options & ~allowed)
		return -EINVAL;
	mutex_lock(&vm->slots_lock);
	vm->manual_dirty_protect = options & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
	vm->dirty_initially_set = options & KVM_DIRTY_LOG_INITIALLY_SET;
	mutex_unlock(&vm->slots_lock);
	return 0;
}
