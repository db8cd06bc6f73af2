/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory: a few contiguous regions of guest physical addresses, each one host mapping.
 *
 * Every address and length that comes from the guest goes through mem_ptr(), which answers with
 * a host pointer only when the whole range lies inside one region. The guest may change the bytes
 * behind that pointer at any time: copy once, check, use.
 *
 * Writes that the VMM makes are invisible to the hypervisor's dirty log. When dirty tracking is
 * on they must be told with mem_dirty(); mem_write() does it by itself.
 *
 * The memory is anonymous, or a guest-memory file of the module's (kmod/mem/README.md), whose pages several guests may share.
 *
 * Layout: RAM from 0 to at most MEM_LOW_END, the rest from 4 GiB on. Between them: PCI window,
 * ECAM, interrupt chips, firmware tables' addresses. Regions never change while the guest runs.
 */
#ifndef BOARD_MEM_H
#define BOARD_MEM_H

#include <string.h>

#include "board/kvm.h"
#include "common/err.h"
#include "common/types.h"

#define MEM_LOW_END 0xc0000000ULL
#define MEM_HIGH_START 0x100000000ULL
#define MEM_REGIONS 2

struct mem_region {
	u64 gpa;
	u64 size;
	u8 *hva;
};

struct guest_mem {
	unsigned int count;
	struct mem_region region[MEM_REGIONS];
	u64 size;		/* sum of the regions */
	unsigned long *dirty;	/* one bit per 4 KiB page of RAM, region after region; or NULL */
	int dev;		/* with a file: the hypervisor's node, the caller's, */
	u64 group;		/* and the trust group */
	int file;		/* the guest-memory file, or -1; its offset 0 is the first region's start */
};

/* Maps size bytes (a multiple of 4 KiB) of zeroed memory, without reserving it. */
int mem_init(struct guest_mem *mem, u64 size, struct err *e);
/*
 * The same as a guest-memory file of the hypervisor whose node is open as dev, in trust group `group` of this user (0: its
 * default one). -EOPNOTSUPP with *e set: it has no such files, or does not share.
 */
int mem_init_shared(struct guest_mem *mem, u64 size, int dev, u64 group, struct err *e);
void mem_fini(struct guest_mem *mem);
/* Registers the regions as memory slots 0..count-1. */
int mem_attach(struct guest_mem *mem, struct kvm *kvm, struct err *e);
/* Makes all bytes zero and gives the pages back to the host. */
void mem_discard(struct guest_mem *mem);
/* The same for len bytes at hva, which lie in one region; both multiples of 4 KiB. 0 or -errno with nothing changed. Any thread. */
int mem_release(const struct guest_mem *mem, void *hva, u64 len);

/* What the file knows of itself; -ENOTTY for anonymous memory. */
struct lodge_guest_file_stats;
int mem_file_stats(const struct guest_mem *mem, struct lodge_guest_file_stats *stats);

/* A host pointer to [gpa, gpa + len), or NULL unless all of it is RAM of one region. */
static inline void *mem_ptr(const struct guest_mem *mem, u64 gpa, u64 len)
{
	unsigned int i;

	for (i = 0; i < mem->count; i++) {
		const struct mem_region *r = &mem->region[i];
		u64 off = gpa - r->gpa;

		if (gpa >= r->gpa && off < r->size && len <= r->size - off)
			return r->hva + off;
	}
	return NULL;
}

/* Like mem_ptr, but *avail gets the bytes up to the end of the region. NULL when gpa is no RAM. */
void *mem_ptr_avail(const struct guest_mem *mem, u64 gpa, u64 *avail);

/* Marks pages that the VMM has written; does nothing while tracking is off. Any thread. */
void mem_dirty(struct guest_mem *mem, u64 gpa, u64 len);

/* 0, or -EFAULT when the range is not RAM. */
int mem_read(const struct guest_mem *mem, u64 gpa, void *dst, u64 len);
int mem_write(struct guest_mem *mem, u64 gpa, const void *src, u64 len);

#endif
