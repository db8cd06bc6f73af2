// SPDX-License-Identifier: GPL-2.0-only
/*
 * Walking a stage-2 table: one iterator for zapping, splitting, protecting and aging.
 *
 * The walk is depth first and shows a table's entry before the entries of the table.  All it keeps is the gfn it stands at,
 * the level, and the table of each level above: going down reads the next table's address from the entry just shown, going
 * on adds the entry's size to the gfn, and wherever that carries into a higher index the walk has left a table and climbs.
 * A caller that removed the entry sets it->old to 0, and the walk stays out of what hung below.
 *
 * A table that is reached stays alive while s->lock is held, for reading as well: only a holder of the write side detaches
 * tables, and frees them after the flush.
 */
#include "x86/mmu/walk.h"

#include <linux/minmax.h>

static void walk_load(struct stage2_iter *it)
{
	it->ptep = &it->table[it->level][walk_index(it->gfn, it->level)];
	it->old = READ_ONCE(*it->ptep);
}

void walk_begin(struct stage2_iter *it, const struct stage2 *s, gfn_t start, gfn_t end)
{
	it->s = s;
	it->gfn = start;
	it->end = min_t(gfn_t, end, 1ull << (9 * s->levels));
	it->level = s->levels;
	it->table[it->level] = s->root;
	it->started = false;
}

bool walk_next(struct stage2_iter *it)
{
	if (!it->started) {
		it->started = true;
		if (it->gfn >= it->end || !it->table[it->level])
			return false;
		walk_load(it);
		return true;
	}
	if (walk_present(it->s, it->old) && !walk_is_leaf(it->s, it->old, it->level)) {
		it->level--;
		it->table[it->level] = walk_table(it->old);
		walk_load(it);
		return true;
	}
	it->gfn = walk_base(it) + walk_pages(it->level);
	if (it->gfn >= it->end)
		return false;
	while (it->level < it->s->levels && walk_index(it->gfn, it->level) == 0)
		it->level++;
	walk_load(it);
	return true;
}
