/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that guests hold once, as far as a device has to do with it (include/uapi/lodge.h, LODGE_GUEST_FILE_BLOCKS).
 *
 * A device that reads blocks of unchanging images asks for the group's page of each block, and what the group lacks it
 * reads into a stage: a guest-memory file that no guest can reach. From there the page goes to the group, and from the group
 * to the guest. It does not read into the guest's own page and offer that: the guest could write to it before it is offered,
 * and so tell all others what the block holds.
 */
#ifndef BOARD_SHARE_H
#define BOARD_SHARE_H

#include <uapi/lodge.h>

#include "board/mem.h"

#define SHARE_PAGE 4096u

struct share_stage {
	int file;
	u8 *hva;
	u64 size;
};

/* Whether the guest's memory is in a trust group. */
bool share_possible(const struct guest_mem *mem);

/* What a device asks of the module; tests have their own. */
struct share_ops {
	/* A stage of size bytes (a multiple of 4 KiB) in the memory's group. */
	int (*stage)(struct share_stage *stage, const struct guest_mem *mem, u64 size, struct err *e);
	void (*unstage)(struct share_stage *stage);
	/*
	 * LODGE_BLOCKS_* on count (at most LODGE_BLOCKS_MAX) blocks of an image, the first being number block, and pages at
	 * the file's offsets. state[] gets LODGE_BLOCK_*. 0 or -errno, with none done. Any thread.
	 */
	int (*blocks)(int file, u32 op, const u8 image[16], u64 block, const u64 *offset, u8 *state, unsigned int count);
	/* The stage's pages are not needed any more. */
	void (*clear)(struct share_stage *stage, u64 offset, u64 len);
};

extern const struct share_ops share_module;

#endif
