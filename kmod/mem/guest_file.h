/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest-memory files (README.md): making them, their private pages, their descriptors.
 */
#ifndef LODGE_MEM_GUEST_FILE_H
#define LODGE_MEM_GUEST_FILE_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/rwsem.h>
#include <linux/xarray.h>
#include <uapi/lodge.h>

/* Lives as long as its file, hence longer than any VMA of it. */
struct guest_file {
	struct file *file;		/* no reference: this is its private_data */
	struct address_space *mapping;	/* shmem's: private pages, and the reverse map of all VMAs */
	pgoff_t npages;
	bool small;			/* no huge pages */
	struct rw_semaphore sem;	/* inside mmap_lock, outside page locks: faults read, whoever takes pages away writes */
	struct xarray overlay;		/* [sem] share.c */
	struct share_group *group;	/* [sem] or NULL: shares nothing */
	unsigned long *no_share;	/* [sem] bitmap of indices, or NULL */
	u32 *hashes;			/* [sem] of pages at the last scan, or NULL */
	struct lodge_guest_file_stats stats;	/* [sem] the counts that are the file's own */
};

/*
 * shmem's page at @index, allocated or swapped in: locked, with a reference.  @flags: FAULT_FLAG_*; @huge: VM_HUGEPAGE or
 * VM_NOHUGEPAGE; @mm is charged (NULL: the caller's).  f->sem is held.
 */
vm_fault_t guest_file_page(struct guest_file *f, pgoff_t index, struct mm_struct *mm, unsigned int flags, unsigned long huge,
			   struct page **page);

int guest_file_init(void);
void guest_file_exit(void);

#endif
