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
	/* A request failed and is held; any thread, with locks: it shall only wake somebody. NULL: failures are reported. */
	void (*stopped)(void *ctx);
	void *ctx;
};

struct virtio_blk_stats {
	u64 reads, writes, flushes, discards, errors;
	u64 read_bytes, written_bytes;
	u64 shared_bytes;		/* of those read: what other guests had, so that no disk was asked */
	u64 ignored;			/* failures that the guest was not told of */
	u64 throttled;			/* requests that did not start at once */
};

/* A request that failed and is held. */
struct virtio_blk_failure {
	enum block_op op;
	u64 offset, length;
	int error;			/* -errno */
};

/*
 * Makes the disk, starts its threads (one per queue) and puts it on the bus, which then owns it. block stays the caller's,
 * and open until the bus is gone. NULL with *e set on failure.
 */
struct virtio_dev *virtio_blk_create(struct board *board, struct block *block, const struct virtio_blk_opts *opts,
				     struct err *e);
/*
 * block_branch_*() on running disks: they stand still together for *pause_ns, requests wait in the rings; what promises stable
 * storage waits a little longer. Any thread but the disks' own. 0, or -errno with *e set.
 */
#define VIRTIO_BLK_BRANCHES 16
struct virtio_blk_branch {
	struct virtio_dev *dev;
	const char *child, *snapshot;
};
int virtio_blk_branch(const struct virtio_blk_branch *list, unsigned int count, u64 *pause_ns, struct err *e);
/* block_exchange() on the running disk, whose guest is told of the new capacity. 0 or -errno. */
int virtio_blk_exchange(struct virtio_dev *dev, struct block *next, struct err *e);
/*
 * The disk loses its image: from now on everything that it is asked for fails at once, and so does what waits or is held;
 * requests in flight are done. All else of the device goes on. block_exchange() with what block_open_empty() made, which
 * becomes what the image was and is the caller's to close. 0, or -errno and the disk has its image still.
 */
int virtio_blk_lose(struct virtio_dev *dev, struct block *empty, struct err *e);
/* block_grow() on the running disk, as for an exchange. */
int virtio_blk_grow(struct virtio_dev *dev, u64 size, u64 *pause_ns, struct err *e);
/* block_coalesce_switch() on the disk, which stands still for *pause_ns. Any thread but the disk's own. 0 or -errno. */
int virtio_blk_coalesce(struct virtio_dev *dev, struct block_coalesce *c, u64 *pause_ns, struct err *e);
/* block_mirror_watch(). Any thread but the disk's own. */
void virtio_blk_watch(struct virtio_dev *dev, struct block_mirror *m, bool on);
/* block_mirror_switch() on the disk, which stands still for *pause_ns. Any thread but the disk's own. 0 or -errno. */
int virtio_blk_mirror(struct virtio_dev *dev, struct block_mirror *m, u64 *pause_ns, struct err *e);
/* What is done about failures of the host from now on. Any thread. */
void virtio_blk_set_on_error(struct virtio_dev *dev, enum block_on_error on_error);
enum block_on_error virtio_blk_on_error(struct virtio_dev *dev);
/* Limits for the disk, maybe with others, or NULL for none; call it again when they changed. t stays the caller's. */
void virtio_blk_set_throttle(struct virtio_dev *dev, struct throttle *t);
/* Whether a request is held, and which. */
bool virtio_blk_failure(struct virtio_dev *dev, struct virtio_blk_failure *f);
/* Submits the held requests again. Any thread but the disk's own. */
void virtio_blk_retry(struct virtio_dev *dev);
void virtio_blk_stats(struct virtio_dev *dev, struct virtio_blk_stats *stats);

#endif
