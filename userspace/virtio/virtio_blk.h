/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio_blk.h: a disk. */
#ifndef LODGE_VIRTIO_BLK_H
#define LODGE_VIRTIO_BLK_H

#include "block/block.h"
#include "virtio/device.h"

struct virtio_blk_opts {
	unsigned int queues;		/* 0: 1. At most one per vCPU is sensible */
	unsigned int queue_size;	/* 0: 256 */
	unsigned int flags;		/* VIRTIO_OPT_* */
	char serial[21];		/* "": what the block layer says */
};

struct virtio_blk_stats {
	u64 reads, writes, flushes, discards, errors;
	u64 read_bytes, written_bytes;
};

/*
 * Makes the disk, starts its threads (one per queue) and puts it on the bus, which then owns it. block stays the caller's,
 * and open until the bus is gone. NULL with *e set on failure.
 */
struct virtio_dev *virtio_blk_create(struct board *board, struct block *block, const struct virtio_blk_opts *opts,
				     struct err *e);
/*
 * block_branch() on the running disk: its queues stand still meanwhile, requests wait in the rings. Any thread but the
 * disk's own. *pause_ns: for how long. 0, or -errno with *e set and nothing changed.
 */
int virtio_blk_branch(struct virtio_dev *dev, const char *child, const char *snapshot, u64 *pause_ns, struct err *e);
void virtio_blk_stats(struct virtio_dev *dev, struct virtio_blk_stats *stats);

#endif
