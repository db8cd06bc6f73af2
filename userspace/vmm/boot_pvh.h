/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF kernels, of 32 or 64 bits, with the PVH entry note (Xen's x86/HVM direct boot ABI).
 */
#ifndef VMM_BOOT_PVH_H
#define VMM_BOOT_PVH_H

#include "vmm/boot.h"

#define PVH_SEGMENTS 16
#define PVH_NOTES 8

struct pvh_segment {
	u64 file_off, file_len, addr, mem_len;
};

struct pvh_image {
	unsigned int count;
	struct pvh_segment seg[PVH_SEGMENTS];
	unsigned int notes;
	struct {
		u64 off, len;		/* in the file */
	} note[PVH_NOTES];
};

/* Checks the ELF headers in the first len bytes of a file of size bytes. Pure. */
int pvh_parse(const u8 *head, size_t len, u64 size, const char *path, struct pvh_image *img,
	      struct err *e);
/* Finds the entry address in a note segment. -ENOENT when it has none. Pure. */
int pvh_find_entry(const u8 *notes, size_t len, u64 *entry);
int boot_pvh_load(struct guest_mem *mem, const struct boot_config *cfg, const u8 *head, size_t len,
		  u64 size, struct boot_entry *entry, struct err *e);

#endif
