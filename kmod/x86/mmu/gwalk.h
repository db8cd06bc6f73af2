/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest's own page tables, walked by us: gva to gpa for the emulator and KVM_TRANSLATE.  Pure: takes values and a read op.
 *
 * Follows APM 2 ch. 5 / SDM 3A ch. 4: no paging, 32-bit (with PSE), PAE, 4-level, 5-level; NX, SMEP, SMAP, WP, protection keys;
 * reserved bits; sets accessed and dirty bits with a cmpxchg op.
 */
#ifndef LODGE_X86_MMU_GWALK_H
#define LODGE_X86_MMU_GWALK_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stdint.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;
#endif

#define GWALK_WRITE	1
#define GWALK_FETCH	2
#define GWALK_USER	4	/* access with user privilege (CPL 3 and not implicit supervisor) */
#define GWALK_IMPLICIT	8	/* supervisor access by the CPU itself (descriptor tables): SMAP ignores EFLAGS.AC */
#define GWALK_NO_SET	16	/* leave accessed and dirty bits alone (KVM_TRANSLATE, debugger) */

struct gwalk_regs {
	u64 cr0, cr3, cr4, efer, rflags;
	u64 pdptr[4];		/* PAE only, if pdptr_valid; else read from memory */
	bool pdptr_valid;
	u32 pkru;
	u8 maxphyaddr;		/* of the guest's CPUID */
	bool gbpages;		/* guest CPUID has 1 GiB pages */
};

struct gwalk_ops {
	/* 0 or -errno: guest physical memory; -EFAULT becomes a walk that finds nothing there (#PF is not raised: *gpa_fault) */
	int (*read)(void *opaque, u64 gpa, void *buf, int len);
	/* 0 done, 1 changed meanwhile (walk again), -errno */
	int (*cmpxchg)(void *opaque, u64 gpa, u64 old, u64 new, int len);
};

struct gwalk_result {
	u64 gpa;		/* valid on 0 */
	u64 page_size;
	bool writable, user, exec;
	u16 error_code;		/* on 1: page-fault error code */
};

/* 0: translated; 1: page fault, error_code filled; -EFAULT: a table lies where there is no memory; -errno. Bounded retries. */
int gwalk(const struct gwalk_regs *regs, const struct gwalk_ops *ops, void *opaque, u64 gva, unsigned int flags,
	  struct gwalk_result *res);

#endif
