/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of vhd_coalesce_begin() and so on, for those whose images are in no files. */
#ifndef VHD_COALESCE_H
#define VHD_COALESCE_H

#include "vhd/image.h"

struct vhd_coalesce {
	struct vhd *disk, *child, *middle, *parent;	/* of the chain; child may be the disk */
	struct vhd *own;		/* middle once more, to be copied from */
	struct vhd *target;		/* parent once more, to be written */
	char *parent_name;		/* to be child's parent_path */
	bool claimed;			/* they are in files, and target has the lock of parent */
	bool filled;			/* target shows what middle does, on stable storage */
	bool switched;			/* target is in the chain, middle and parent are not */
};

/* Checks the chain. own and target are for the caller to open, without parents; then vhd_coalesce_end() ends it. */
int coalesce_find(struct vhd *v, unsigned int depth, struct vhd_coalesce **out, struct vhd_error *err);
/* vhd_coalesce_copy(), up to where the child comes in. */
int coalesce_fill(struct vhd_coalesce *c, bool (*go_on)(void *opaque, uint64_t done), void *opaque, struct vhd_error *err);
/* Lets the image in @child, which is at rest, stand on the parent. */
int coalesce_adopt(struct vhd_coalesce *c, struct store *child, struct vhd_error *err);

#endif
