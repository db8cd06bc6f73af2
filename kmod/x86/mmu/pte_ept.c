// SPDX-License-Identifier: GPL-2.0-only
/*
 * How Intel's extended page tables spell an entry: SDM 3C §29.3.
 *
 * Rights are three bits of their own, and an entry with none of them is not present.  The memory type is in the leaf: write-back
 * for RAM, where the guest's own PAT may still ask for less, uncached for the rest.  Accessed and dirty bits are there on newer
 * CPUs; where they are not, a page is in use as long as it is mapped, and aging unmaps it (stage2_age).
 *
 * On CPUs with the iTLB multihit erratum a guest can bring the host down by changing the size of a page that it executes
 * (SDM 3A §4.10.2.3 tells software to avoid it, a guest would not): there large pages are never executable, and code is
 * mapped in pages of 4 KiB.
 */
#include "x86/mmu/stage2.h"

#include <linux/bits.h>

#define EPT_READ	BIT_ULL(0)
#define EPT_WRITE	BIT_ULL(1)
#define EPT_EXEC	BIT_ULL(2)
#define EPT_TYPE_WB	(6ull << 3)
#define EPT_LEAF	BIT_ULL(7)
#define EPT_ACCESSED	BIT_ULL(8)
#define EPT_DIRTY	BIT_ULL(9)

struct stage2_format stage2_ept = {
	.present_mask = EPT_READ | EPT_WRITE | EPT_EXEC,
	.read = EPT_READ,
	.write = EPT_WRITE,
	.exec = EPT_EXEC,
	.exec_inverted = false,
	.leaf = EPT_LEAF,
	.accessed = EPT_ACCESSED,
	.dirty = EPT_DIRTY,
	.table_bits = EPT_READ | EPT_WRITE | EPT_EXEC,
	.leaf_bits = EPT_TYPE_WB,
	.mmio_leaf_bits = 0,
	.levels = 4,
	.max_leaf_level = 1,
};

void stage2_ept_init(bool ad, unsigned int max_leaf_level, bool nx_huge)
{
	stage2_ept.accessed = ad ? EPT_ACCESSED : 0;
	stage2_ept.dirty = ad ? EPT_DIRTY : 0;
	stage2_ept.max_leaf_level = max_leaf_level;
	stage2_ept.nx_huge = nx_huge;
}
