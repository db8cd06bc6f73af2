/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a disk is made of, for the files of this directory. */
#ifndef BLOCK_INNER_H
#define BLOCK_INNER_H

#include "block/block.h"
#include "block/spec.h"

struct block {
	struct vhd *vhd;
	struct vhd_keys *keys;		/* NULL: none */
	struct block_spec spec;
	struct vhd_info info;
};

#define BRANCH_QUEUES 64

struct block_queue {
	struct block *block;
	struct vhd_queue *vhd;
};

/* The library's names of @n queues, at most BRANCH_QUEUES. */
int block_queues_of(struct vhd_queue **out, struct block_queue *const *q, unsigned int n, char **err);

#endif
