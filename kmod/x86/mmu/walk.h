/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The iterator over a stage-2 table, and the arithmetic of its levels: level 1 holds 4 KiB leaves, each further one 512
 * times as much.
 */
#ifndef LODGE_X86_MMU_WALK_H
#define LODGE_X86_MMU_WALK_H

#include <linux/compiler.h>
#include <asm/page.h>
#include <asm/pgtable_types.h>

#include "x86/mmu/stage2.h"

#define WALK_LEVELS_MAX	5

struct stage2_iter {
	const struct stage2 *s;
	gfn_t gfn, end;			/* gfn: where the walk stands, within the entry */
	unsigned int level;		/* of the entry */
	u64 *table[WALK_LEVELS_MAX + 1];
	u64 *ptep;
	u64 old;			/* what *ptep held; set it to 0 to keep the walk out of a table */
	bool started;
};

static inline u64 walk_pages(unsigned int level)
{
	return 1ull << (9 * (level - 1));
}

static inline unsigned int walk_index(gfn_t gfn, unsigned int level)
{
	return (gfn >> (9 * (level - 1))) & 511;
}

static inline bool walk_present(const struct stage2 *s, u64 entry)
{
	return entry & s->fmt->present_mask;
}

static inline bool walk_is_leaf(const struct stage2 *s, u64 entry, unsigned int level)
{
	return level == 1 || (entry & s->fmt->leaf);
}

static inline u64 walk_pa(u64 entry)
{
	return entry & PHYSICAL_PAGE_MASK & GENMASK_ULL(51, PAGE_SHIFT);
}

static inline u64 *walk_table(u64 entry)
{
	return __va(walk_pa(entry));
}

/* The first gfn that the current entry stands for. */
static inline gfn_t walk_base(const struct stage2_iter *it)
{
	return it->gfn & ~(walk_pages(it->level) - 1);
}

/*
 * Visit every entry that touches [start, end), present or not, tables before what they hold.  s->lock is held, for reading
 * or writing, from walk_begin to the last walk_next.
 */
void walk_begin(struct stage2_iter *it, const struct stage2 *s, gfn_t start, gfn_t end);
bool walk_next(struct stage2_iter *it);

#endif
