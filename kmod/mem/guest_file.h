/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest-memory files (README.md): making them, their private pages, their descriptors.
 */
#ifndef LODGE_MEM_GUEST_FILE_H
#define LODGE_MEM_GUEST_FILE_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/rwsem.h>
#include <uapi/lodge.h>

/* Lives as long as its file, hence longer than any VMA of it. */
struct guest_file {
	struct file *file;		/* no reference: this is its private_data */
	struct address_space *mapping;	/* shmem's: private pages, and the reverse map of all VMAs */
	pgoff_t npages;
	bool small;			/* no huge pages */
	struct rw_semaphore sem;	/* inside mmap_lock, outside page locks: faults read, whoever takes pages away writes */
};

int guest_file_init(void);
void guest_file_exit(void);

#endif
