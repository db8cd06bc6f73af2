// SPDX-License-Identifier: GPL-2.0-only
/*
 * A stage-2 table's life: made empty, emptied in ranges, torn down; and what the core asks about guest memory.
 *
 * Faults of all vCPUs change entries at once, with the lock held for reading and cmpxchg.  Removing a *table* needs the lock
 * for writing.  The invariant that keeps the hardware away from freed memory: a table that was unhooked goes onto the
 * detached list, and leaves it only after a flush during which every vCPU was out of the guest, for a processor may go on
 * walking a table that it has cached the address of.  Hence stage2_zap() is cheap however large the range is: it unhooks
 * whole subtrees at the highest entry that the range covers, and the subtrees are taken apart after the lock is released.
 *
 * Host mappings come and go under us.  No page reference is ever kept: a translation is valid because the host's own page
 * table had it while no invalidation was in progress.  invalidate_begin() counts itself in and zaps; invalidate_end() moves
 * invalidate_seq on and counts itself out; a fault that looked at the host before end() sees the moved sequence number, or
 * the count, when it takes the lock to install what it found (fault.c).
 *
 * Whoever removes a leaf flushes after the lock is released.  In between, an invalidation finds nothing to remove, and yet a
 * processor may know the page: it compares the count of removals with what the last complete flush saw, and flushes too.
 */
#include "x86/mmu/stage2.h"

#include <linux/atomic.h>
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/srcu.h>
#include <asm/cpufeature.h>
#include <asm/processor.h>

#include "core/arch.h"
#include "core/stats.h"
#include "core/vcpu.h"
#include "core/vm.h"
#include "x86/mmu/up.h"
#include "x86/mmu/walk.h"

#define ALIAS_BATCH	256	/* slots zapped without a look at who waits */

static void stage2_stat(u64 *counter, long n)
{
	static_assert(sizeof(atomic64_t) == sizeof(u64));
	atomic64_add(n, (atomic64_t *)counter);
}

void stage2_count(struct stage2 *s, unsigned int level, long n)
{
	struct lodge_vm_stats *st = &s->vm->stats;

	if (n)
		stage2_stat(level == 1 ? &st->pages_4k : level == 2 ? &st->pages_2m : &st->pages_1g, n);
}

void stage2_removed(struct stage2 *s, unsigned int level)
{
	atomic64_inc(&s->removals);
	stage2_count(s, level, -1);
}

u64 *stage2_table_alloc(struct stage2 *s)
{
	u64 *table = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);

	if (table)
		stage2_stat(&s->vm->stats.mmu_pages, 1);
	return table;
}

void stage2_table_free(struct stage2 *s, u64 *table)
{
	if (!table)
		return;
	stage2_stat(&s->vm->stats.mmu_pages, -1);
	free_page((unsigned long)table);
}

/* Free a table of @level that nothing refers to, and all below it; the depth is at most five. */
static void stage2_free_tree(struct stage2 *s, u64 *table, unsigned int level, bool may_sleep)
{
	long leaves = 0;
	unsigned int i;

	for (i = 0; i < 512; i++) {
		u64 e = table[i];

		if (!walk_present(s, e))
			continue;
		if (walk_is_leaf(s, e, level))
			leaves++;
		else
			stage2_free_tree(s, walk_table(e), level - 1, may_sleep);
	}
	stage2_count(s, level, -leaves);
	stage2_table_free(s, table);
	if (may_sleep)
		cond_resched();
}

int stage2_init(struct stage2 *s, struct lodge_vm *vm, const struct stage2_format *fmt)
{
	unsigned int bits;

	s->vm = vm;
	s->fmt = fmt;
	rwlock_init(&s->lock);
	INIT_LIST_HEAD(&s->detached);
	s->levels = fmt->levels;
	if (!s->levels)
		s->levels = pgtable_l5_enabled() ? 5 : 4;
	s->max_leaf_level = fmt->max_leaf_level;
	if (s->max_leaf_level > 2 && !boot_cpu_has(X86_FEATURE_GBPAGES))
		s->max_leaf_level = 2;
	s->me_mask = sme_me_mask;
	bits = min_t(unsigned int, 9 * s->levels + PAGE_SHIFT, boot_cpu_data.x86_phys_bits);
	s->max_gpa = 1ull << bits;
	s->root = stage2_table_alloc(s);
	if (!s->root)
		return -ENOMEM;
	s->root_pa = __pa(s->root) | s->me_mask;
	return 0;
}

static void stage2_free_list(struct stage2 *s, struct list_head *list, bool may_sleep)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, list, lru) {
		unsigned int level = page_private(page);

		list_del(&page->lru);
		set_page_private(page, 0);
		stage2_free_tree(s, page_address(page), level, may_sleep);
	}
}

void stage2_destroy(struct stage2 *s)
{
	if (!s->root)
		return;
	stage2_free_list(s, &s->detached, true);
	stage2_free_tree(s, s->root, s->levels, true);
	s->root = NULL;
}

void stage2_flush(struct stage2 *s, bool may_sleep)
{
	s64 seen, done;
	LIST_HEAD(old);

	write_lock(&s->lock);
	list_splice_init(&s->detached, &old);
	seen = atomic64_read(&s->removals);
	write_unlock(&s->lock);
	lodge_request_all(s->vm, LODGE_REQ_TLB_FLUSH, true);
	done = atomic64_read(&s->flushed);
	while (done < seen && !atomic64_try_cmpxchg(&s->flushed, &done, seen))
		;
	stage2_stat(&s->vm->stats.remote_tlb_flush, 1);
	stage2_free_list(s, &old, may_sleep);
}

static void stage2_detach(struct stage2 *s, u64 *table, unsigned int level)
{
	struct page *page = virt_to_page(table);

	set_page_private(page, level);
	list_add_tail(&page->lru, &s->detached);
}

bool stage2_zap_locked(struct stage2 *s, gfn_t start, gfn_t end)
{
	struct stage2_iter it;
	bool flush = false;

	lockdep_assert_held_write(&s->lock);
	walk_begin(&it, s, start, end);
	while (walk_next(&it)) {
		gfn_t base = walk_base(&it);
		bool leaf;

		if (!walk_present(s, it.old))
			continue;
		leaf = walk_is_leaf(s, it.old, it.level);
		if (!leaf && (base < start || base + walk_pages(it.level) > end))
			continue;
		WRITE_ONCE(*it.ptep, 0);
		if (leaf)
			stage2_count(s, it.level, -1);
		else
			stage2_detach(s, walk_table(it.old), it.level - 1);
		it.old = 0;
		flush = true;
	}
	if (flush)
		atomic64_inc(&s->removals);
	return flush;
}

bool stage2_zap(struct stage2 *s, gfn_t start, gfn_t end)
{
	bool flush;

	write_lock(&s->lock);
	flush = stage2_zap_locked(s, start, end);
	write_unlock(&s->lock);
	return flush;
}

/* ---- what core/ asks ---- */

void lodge_arch_flush_slot(struct lodge_vm *vm, const struct lodge_memslot *slot)
{
	struct stage2 *s = vm_stage2(vm);

	if (stage2_zap(s, slot->gfn, slot->gfn + slot->npages))
		stage2_flush(s, true);
}

void lodge_arch_flush_all(struct lodge_vm *vm)
{
	struct stage2 *s = vm_stage2(vm);

	if (s->root && stage2_zap(s, 0, gpa_to_gfn(s->max_gpa)))
		stage2_flush(s, true);
}

/* The gfns of @slot behind [start, end) of host addresses; false if there are none. */
static bool stage2_hva_range(const struct lodge_memslot *slot, hva_t start, hva_t end, gfn_t *first, gfn_t *last)
{
	hva_t lo = max(start, slot->hva);
	hva_t hi = min(end, slot->hva + (slot->npages << PAGE_SHIFT));

	if (lo >= hi)
		return false;
	*first = slot->gfn + ((lo - slot->hva) >> PAGE_SHIFT);
	*last = slot->gfn + ((hi - slot->hva + PAGE_SIZE - 1) >> PAGE_SHIFT);
	return true;
}

void lodge_arch_invalidate_begin(struct lodge_vm *vm, hva_t start, hva_t end, bool blockable)
{
	struct stage2 *s = vm_stage2(vm);
	struct lodge_memslots *slots;
	bool flush = false;
	unsigned int i;
	gfn_t lo, hi;
	int idx;

	idx = srcu_read_lock(&vm->srcu);
	write_lock(&s->lock);
	if (s->invalidate_count++ == 0) {
		s->invalidate_start = start;
		s->invalidate_end = end;
	} else {
		s->invalidate_start = min(s->invalidate_start, start);
		s->invalidate_end = max(s->invalidate_end, end);
	}
	slots = lodge_memslots(vm);
	for (i = 0; i < slots->n; i++) {
		if (stage2_hva_range(&slots->slot[i], start, end, &lo, &hi))
			flush |= stage2_zap_locked(s, lo, hi);
		/* All slots may show the same page.  The count keeps faults away also while the lock is open. */
		if (i % ALIAS_BATCH == ALIAS_BATCH - 1) {
			write_unlock(&s->lock);
			if (blockable)
				cond_resched();
			write_lock(&s->lock);
		}
	}
	/* Somebody else removed it, and has not flushed yet? */
	flush |= atomic64_read(&s->removals) != atomic64_read(&s->flushed);
	write_unlock(&s->lock);
	if (flush) {
		stage2_stat(&vm->stats.mmu_notifier_invalidate, 1);
		stage2_flush(s, blockable);
	}
	srcu_read_unlock(&vm->srcu, idx);
}

void lodge_arch_invalidate_end(struct lodge_vm *vm, hva_t start, hva_t end)
{
	struct stage2 *s = vm_stage2(vm);

	write_lock(&s->lock);
	s->invalidate_seq++;
	if (WARN_ON_ONCE(--s->invalidate_count < 0))
		s->invalidate_count = 0;
	write_unlock(&s->lock);
}

/*
 * Forget that the leaf was used.  The processor may set the bit again at any time: clear it alone.  Where it sets none, the leaf
 * goes, and the next use is a fault.
 */
static void stage2_make_old(struct stage2 *s, struct stage2_iter *it)
{
	if (s->fmt->accessed)
		atomic64_andnot(s->fmt->accessed, (atomic64_t *)it->ptep);
	else if (cmpxchg64(it->ptep, it->old, 0) == it->old)
		stage2_removed(s, it->level);
}

/* Was a frame of [first, last) used?  With @clear, forget it. */
static bool stage2_age(struct stage2 *s, gfn_t first, gfn_t last, bool clear)
{
	u64 used = s->fmt->accessed ?: s->fmt->present_mask;
	struct stage2_iter it;
	bool young = false;

	lockdep_assert_held(&s->lock);
	walk_begin(&it, s, first, last);
	while (walk_next(&it)) {
		if (!walk_present(s, it.old) || !walk_is_leaf(s, it.old, it.level) || !(it.old & used))
			continue;
		young = true;
		if (!clear)
			break;
		stage2_make_old(s, &it);
		it.old = 0;
	}
	return young;
}

bool lodge_arch_age(struct lodge_vm *vm, hva_t start, hva_t end, bool clear)
{
	struct stage2 *s = vm_stage2(vm);
	struct lodge_memslots *slots;
	bool young = false;
	unsigned int i;
	gfn_t lo, hi;
	int idx;

	idx = srcu_read_lock(&vm->srcu);
	read_lock(&s->lock);
	slots = lodge_memslots(vm);
	for (i = 0; i < slots->n; i++)
		if (stage2_hva_range(&slots->slot[i], start, end, &lo, &hi))
			young |= stage2_age(s, lo, hi, clear);
	read_unlock(&s->lock);
	/* Without accessed bits the leaves are gone; a lock of the host's page tables is held. */
	if (young && clear && !s->fmt->accessed)
		stage2_flush(s, false);
	srcu_read_unlock(&vm->srcu, idx);
	return young;
}
