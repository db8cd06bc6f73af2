/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loading a kernel: from files to guest memory and a first instruction.
 *
 * Two formats: Linux bzImage by its 64-bit boot protocol, and ELF with the PVH entry note. The
 * files are not trusted: the parsers work on a copy of the headers, and every address they give
 * is checked against guest memory.
 *
 * Below 1 MiB: descriptor table 0x500, PVH start info 0x6000, zero page 0x7000, page tables
 * 0x9000-0xefff, command line 0x20000, firmware tables from 0xe0000, reset vector 0xffff0.
 */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include "board/mem.h"
#include "common/err.h"

#define BOOT_GDT 0x500ULL
#define BOOT_START_INFO 0x6000ULL
#define BOOT_ZERO_PAGE 0x7000ULL
#define BOOT_PML4 0x9000ULL
#define BOOT_CMDLINE 0x20000ULL
#define BOOT_CMDLINE_MAX 0x10000U
#define BOOT_LOW_RAM_END 0x9fc00ULL
#define BOOT_HIGH_RAM 0x100000ULL
#define BOOT_RESET_VECTOR 0xffff0ULL
#define BOOT_HEAD 4096		/* bytes of a kernel file that the parsers look at */

struct boot_config {
	int kernel_fd;
	const char *kernel_path;
	int initrd_fd;			/* -1: none */
	const char *initrd_path;
	const void *extra;		/* a further archive behind the initrd, or NULL */
	size_t extra_len;
	const char *cmdline;
	u64 rsdp;
};

struct boot_entry {
	bool long_mode;		/* 64-bit with paging, argument in rsi; else flat 32-bit, in ebx */
	u64 ip;
	u64 arg;
};

struct boot_range {
	u64 start, len;
	u32 type;		/* 1 RAM, 2 reserved: the same numbers in e820 and PVH */
};

#define BOOT_MAP_MAX 8

/* Loads everything and says where to start. Guest memory must be zeroed before. */
int boot_load(struct guest_mem *mem, const struct boot_config *cfg, struct boot_entry *entry,
	      struct err *e);

/* ---- shared by the two loaders ---- */

/* The memory map as the guest is told it; returns the number of ranges. */
unsigned int boot_map(const struct guest_mem *mem, struct boot_range map[BOOT_MAP_MAX]);
/* Reads len bytes of a file into guest memory. what names the file in messages. */
int boot_read(struct guest_mem *mem, int fd, const char *what, u64 file_off, u64 gpa, u64 len,
	      struct err *e);
/* Places initrd and extra below top and above floor; *len is 0 when there is none. */
int boot_initrd(struct guest_mem *mem, const struct boot_config *cfg, u64 floor, u64 top, u64 *gpa,
		u64 *len, struct err *e);

#endif
