// SPDX-License-Identifier: GPL-2.0-only
/*
 * Write protection for the dirty log.
 *
 * When logging of a slot begins, its large pages are split and everything loses its write bit, at once and outside the fault
 * path; from then on each GET or CLEAR of the log protects the pages that it reported, and a write fault gives one write bit
 * back and sets the log's bit (fault.c).  With KVM_DIRTY_LOG_INITIALLY_SET nothing needs protecting at the start: every page
 * counts as dirty until it is cleared (dirty rings have no such state, and protect); the large pages are split all the same,
 * since a CLEAR protects 4 KiB at a time.
 *
 * A leaf that loses its write bit keeps STAGE2_SW_WRITABLE, which says that the host's own mapping still is writable.  A
 * table that stands where a large page could, because of the log, carries STAGE2_SW_SPLIT; when logging ends those tables are
 * zapped so that the next fault makes a large page again, and everything else just gets its write bits back.
 *
 * Protecting needs the lock for reading only: it changes leaves, with atomic operations.  Splitting replaces a leaf by a table
 * under the lock for writing; the table for it is allocated outside.
 */
#include "x86/mmu/stage2.h"

#include <linux/mm.h>
#include <linux/sched.h>

#include "core/arch.h"
#include "core/vm.h"
#include "x86/mmu/up.h"
#include "x86/mmu/walk.h"

#define WRPROT_BATCH	4096	/* entries between two looks at need_resched() */

static bool wrprot_leaf(struct stage2 *s, u64 *ptep, u64 old)
{
	if (!(old & s->fmt->write))
		return false;
	atomic64_andnot(s->fmt->write, (atomic64_t *)ptep);
	return true;
}

/* Replace the large leaf at @it by @table full of smaller ones with the same rights. */
static void wrprot_split_leaf(struct stage2 *s, struct stage2_iter *it, u64 *table)
{
	unsigned int below = it->level - 1, i;
	u64 step = walk_pages(below) << PAGE_SHIFT;
	u64 e = it->old;

	if (below == 1)
		e &= ~s->fmt->leaf;
	for (i = 0; i < 512; i++)
		table[i] = e + i * step;
	it->old = __pa(table) | s->fmt->table_bits | s->me_mask | STAGE2_SW_SPLIT;
	smp_wmb();	/* the entries before the table */
	WRITE_ONCE(*it->ptep, it->old);
	stage2_count(s, it->level, -1);
	stage2_count(s, below, 512);
}

/*
 * One stretch with the lock held for writing: until the end, until a table is needed (*need), or until others should have the
 * CPU.  Returns the gfn to go on from.
 */
static gfn_t wrprot_stretch(struct stage2 *s, gfn_t start, gfn_t end, bool protect, u64 **table, bool *need, bool *flush)
{
	struct stage2_iter it;
	unsigned int n = 0;

	*need = false;
	walk_begin(&it, s, start, end);
	while (walk_next(&it)) {
		if (++n % WRPROT_BATCH == 0 && (need_resched() || rwlock_needbreak(&s->lock)))
			return it.gfn;
		if (!walk_present(s, it.old) || !walk_is_leaf(s, it.old, it.level))
			continue;
		if (it.level == 1) {
			if (protect)
				*flush |= wrprot_leaf(s, it.ptep, it.old);
			continue;
		}
		if (!*table) {
			*need = true;
			return it.gfn;
		}
		wrprot_split_leaf(s, &it, *table);
		*table = NULL;
		*flush = true;
	}
	return end;
}

bool stage2_split(struct stage2 *s, gfn_t start, gfn_t end, bool protect)
{
	bool flush = false, need;
	u64 *table = NULL;

	while (start < end) {
		write_lock(&s->lock);
		start = wrprot_stretch(s, start, end, protect, &table, &need, &flush);
		write_unlock(&s->lock);
		if (need) {
			table = stage2_table_alloc(s);
			if (!table) {
				/* Faults will map what is left anew, in small pages. */
				flush |= stage2_zap(s, start, end);
				break;
			}
		}
		cond_resched();
	}
	stage2_table_free(s, table);
	return flush;
}

/* Logging has ended: make room for large pages, give the write bits back. */
static bool wrprot_end(struct stage2 *s, gfn_t start, gfn_t end)
{
	struct stage2_iter it;
	unsigned int n = 0;
	bool flush = false;

again:
	write_lock(&s->lock);
	walk_begin(&it, s, start, end);
	while (walk_next(&it)) {
		if (++n % WRPROT_BATCH == 0 && (need_resched() || rwlock_needbreak(&s->lock))) {
			write_unlock(&s->lock);
			cond_resched();
			start = it.gfn;
			goto again;
		}
		if (!walk_present(s, it.old))
			continue;
		if (walk_is_leaf(s, it.old, it.level)) {
			if (it.level == 1 && (it.old & STAGE2_SW_WRITABLE))
				atomic64_or(s->fmt->write, (atomic64_t *)it.ptep);
		} else if (it.old & STAGE2_SW_SPLIT) {
			gfn_t base = walk_base(&it);

			flush |= stage2_zap_locked(s, base, base + walk_pages(it.level));
			it.old = 0;
		}
	}
	write_unlock(&s->lock);
	return flush;
}

/* ---- what core/ asks ---- */

int lodge_arch_prepare_slot(struct lodge_vm *vm, const struct lodge_memslot *old, struct lodge_memslot *new)
{
	struct stage2 *s = vm_stage2(vm);

	if (new && new->npages && new->gfn + new->npages > gpa_to_gfn(s->max_gpa))
		return -EINVAL;
	return 0;
}

void lodge_arch_commit_slot(struct lodge_vm *vm, const struct lodge_memslot *old, const struct lodge_memslot *new)
{
	struct stage2 *s = vm_stage2(vm);
	bool was, is, flush = false;
	gfn_t end;

	if (!old || !new || !old->npages || !new->npages || old->gfn != new->gfn)
		return;		/* made, removed, moved: the core has flushed what there was */
	was = old->flags & KVM_MEM_LOG_DIRTY_PAGES;
	is = new->flags & KVM_MEM_LOG_DIRTY_PAGES;
	end = new->gfn + new->npages;
	if (!was && is)
		flush = stage2_split(s, new->gfn, end, !vm->dirty_initially_set || READ_ONCE(vm->dirty_ring_bytes));
	else if (was && !is)
		flush = wrprot_end(s, new->gfn, end);
	if (flush)
		stage2_flush(s, true);
}

void lodge_arch_dirty_protect(struct lodge_vm *vm, const struct lodge_memslot *slot, gfn_t gfn_offset, unsigned long mask)
{
	struct stage2 *s = vm_stage2(vm);
	gfn_t first = slot->gfn + gfn_offset;
	struct stage2_iter it;

	if (!mask)
		return;
	read_lock(&s->lock);
	walk_begin(&it, s, first + __ffs(mask), first + __fls(mask) + 1);
	while (walk_next(&it)) {
		if (!walk_present(s, it.old) || !walk_is_leaf(s, it.old, it.level))
			continue;
		if (it.level > 1) {
			/* A fault that began before logging did: the pages come back one by one. */
			if (cmpxchg64(it.ptep, it.old, 0) == it.old)
				stage2_removed(s, it.level);
			it.old = 0;
		} else if (mask & (1ul << (it.gfn - first))) {
			wrprot_leaf(s, it.ptep, it.old);
		}
	}
	read_unlock(&s->lock);
}

void lodge_arch_dirty_flush(struct lodge_vm *vm, const struct lodge_memslot *slot)
{
	stage2_flush(vm_stage2(vm), true);
}
