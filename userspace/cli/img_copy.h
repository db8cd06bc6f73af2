/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copying one image's data into another. */
#ifndef CLI_IMG_COPY_H
#define CLI_IMG_COPY_H

#include <lodge/vhd.h>

#include "cli/img_progress.h"

struct buffer;

struct img_copy {
	/* The caller's. */
	struct vhd *from, *to;
	bool write_zeroes;		/* the target is not zero where nothing is written */
	bool own;			/* only what the source holds itself, not its parents */

	uint64_t copied;		/* bytes written */

	struct vhd_queue *in, *out;
	struct buffer *buffer;
	uint64_t cursor;		/* up to here it was looked at */
	uint64_t run_end;		/* cursor to here is to be copied */
	uint64_t done;			/* finished bytes, holes included */
	int error;
	struct img_progress progress;
};

/* Copies and flushes. 0 or -errno; -EINTR after a signal. */
int img_copy_run(struct img_copy *c, bool progress);

#endif
