/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux bzImage (Documentation/x86/boot.rst), 64-bit boot protocol.
 */
#ifndef VMM_BOOT_BZIMAGE_H
#define VMM_BOOT_BZIMAGE_H

#include "vmm/boot.h"

struct bzimage {
	u64 payload_off;	/* in the file */
	u64 payload_len;
	u64 load_addr;		/* where it wants to be */
	u64 init_size;		/* memory it needs from there on */
	u64 initrd_max;		/* highest address of the initrd's last byte */
	u32 cmdline_max;
	u32 header_len;		/* bytes of setup header, from 0x1f1 */
	char version[80];
};

/* Checks the first len bytes of a file of size bytes. Pure. path is for messages. */
int bzimage_parse(const u8 *head, size_t len, u64 size, const char *path, struct bzimage *bz,
		  struct err *e);
int boot_bzimage_load(struct guest_mem *mem, const struct boot_config *cfg, const u8 *head,
		      size_t len, u64 size, struct boot_entry *entry, struct err *e);
/* The kernel's release ("6.1.0-56-amd64") into buf, or -errno when the file holds none. */
int bzimage_release(int fd, char *buf, size_t room);

#endif
