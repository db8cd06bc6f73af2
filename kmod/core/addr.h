/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Address types of a guest and of its host.
 *
 * gva: guest virtual, gpa: guest physical, gfn: guest page frame number (gpa >> 12), hva: virtual address in the VMM's
 * process, pfn: host page frame number.  A stage-2 table maps gfn to pfn; a memory slot maps gfn to hva.
 */
#ifndef LODGE_CORE_ADDR_H
#define LODGE_CORE_ADDR_H

#include <linux/mm.h>
#include <linux/types.h>

typedef u64 gva_t;
typedef u64 gpa_t;
typedef u64 gfn_t;
typedef unsigned long hva_t;

#define GPA_INVALID	(~(gpa_t)0)

static inline gfn_t gpa_to_gfn(gpa_t gpa)
{
	return gpa >> PAGE_SHIFT;
}

static inline gpa_t gfn_to_gpa(gfn_t gfn)
{
	return gfn << PAGE_SHIFT;
}

#endif
