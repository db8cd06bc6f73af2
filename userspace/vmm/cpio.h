/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Archives in the "newc" format, as the kernel unpacks them into its first root.
 */
#ifndef VMM_CPIO_H
#define VMM_CPIO_H

#include <sys/types.h>

#include "common/types.h"

struct cpio {
	u8 *data;
	size_t len, room;
	bool failed;		/* out of memory: nothing was added since */
	u32 inode;
};

void cpio_init(struct cpio *c);
void cpio_fini(struct cpio *c);
/* mode with the type bits; name without a leading slash. */
void cpio_add(struct cpio *c, const char *name, mode_t mode, const void *data, size_t len);
void cpio_add_device(struct cpio *c, const char *name, mode_t mode, u32 major, u32 minor);
/* Ends the archive. -ENOMEM when anything could not be added. */
int cpio_finish(struct cpio *c);

#endif
