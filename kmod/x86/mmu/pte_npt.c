// SPDX-License-Identifier: GPL-2.0-only
/*
 * How AMD's nested page tables spell an entry: as the host's own long-mode tables do (APM 2 §15.25.5, §5.4).
 *
 * Every guest access is a user access to the nested walk, so the user bit is set everywhere.  The processor sets accessed
 * and dirty bits by itself.  The nested walk has as many levels as the host's CR4.LA57 says.  Memory that is not RAM gets
 * PCD, which is UC- in the PAT that Linux programs: the guest's own PAT may still make it write-combining, never cached.
 */
#include "x86/mmu/stage2.h"

#include <asm/pgtable_types.h>

const struct stage2_format stage2_npt = {
	.present_mask = _PAGE_PRESENT,
	.read = _PAGE_PRESENT,
	.write = _PAGE_RW,
	.exec = _PAGE_NX,
	.exec_inverted = true,
	.leaf = _PAGE_PSE,
	.accessed = _PAGE_ACCESSED,
	.dirty = _PAGE_DIRTY,
	.table_bits = _PAGE_PRESENT | _PAGE_RW | _PAGE_USER | _PAGE_ACCESSED,
	.leaf_bits = _PAGE_USER,
	.mmio_leaf_bits = _PAGE_USER | _PAGE_PCD,
	.levels = 0,
	.max_leaf_level = 3,
};
