/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blk_queue.h: a disk's queues and their requests, for the files that make up the disk.
 *
 * A request that was taken from the ring is in one place at a time: with the block layer; waiting for its turn, because the
 * disk is limited (block/throttle.h); waiting until a snapshot is complete; or failed and held, until the guest's owner says
 * to try again. All of them count as in flight, and all come back when the queue is stopped (blk_queue_release()).
 */
#ifndef LODGE_BLK_QUEUE_H
#define LODGE_BLK_QUEUE_H

#include <linux/virtio_blk.h>

#include "virtio/blk_share.h"
#include "virtio/iothread.h"
#include "virtio/virtio_blk.h"

#define BLK_SECTOR		512u
#define BLK_SEGMENTS		128		/* of data: two less, for header and status */
#define BLK_RANGES		16
#define BLK_RANGE_SECTORS	(1u << 22)	/* 2 GiB in one range */

struct blk_queue;

struct blk_req {
	struct blk_req *next;		/* in whichever list it is */
	struct blk_queue *queue;
	struct virtq_elem e;
	struct block_req block;
	u8 *status;
	u32 written;			/* bytes in guest memory if it succeeds, without the status */
	int error;			/* of a request that is held, -errno */
	struct virtio_blk_discard_write_zeroes range[BLK_RANGES];
	unsigned int ranges, range_at;
	struct iovec iov[BLK_SEGMENTS];
};

struct blk_list {
	struct blk_req *head, *tail;	/* tail: only while there is a head */
};

struct blk_queue {
	struct virtio_blk *disk;
	struct virtio_queue *vq;
	struct block_queue *block;
	struct blk_share *share;	/* NULL: the guest's memory is its own */
	struct loop_source source;
	struct iothread io;
	struct blk_req *pool;
	struct blk_req *free;		/* vq->lock; last used first, which keeps few pages warm */
	struct blk_list waiting;	/* vq->lock; for their turn, oldest first */
	struct blk_list held;		/* vq->lock; failed */
	struct blk_list barred;		/* vq->lock; promise stable storage while there is none to be had */
	bool bar;			/* vq->lock; that is now */
	struct loop_timer timer;	/* the oldest waiting one's turn */
	struct throttle *throttle;	/* vq->lock; NULL: no limit */
	bool reserved;			/* vq->lock; the oldest waiting one has its time, */
	u64 turn;			/* vq->lock; which is this, */
	unsigned int generation;	/* vq->lock; by the limits of then */
	bool submitted;			/* vq->lock; something waits for block_queue_kick() */
	struct virtio_blk_stats stats;	/* vq->lock */
};

struct virtio_blk {
	struct virtio_dev dev;
	struct block *block;
	struct virtio_blk_config config;
	u8 config_mask[sizeof(struct virtio_blk_config)];
	char serial[VIRTIO_BLK_ID_BYTES];
	bool write_through;		/* atomic */
	bool lost;			/* any queue's lock, all to change it: it has no image any more */
	int on_error;			/* atomic; enum block_on_error */
	void (*stopped)(void *ctx);
	void *stopped_ctx;
	unsigned int num_queues;
	struct blk_queue *queue;
};

static inline struct virtio_blk *blk_from_dev(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_blk, dev);
}

/* blk_request.c; all with vq->lock. */

/* Takes the next chain from the ring and starts it. False: there is none, or no request is free. */
bool blk_start_next(struct blk_queue *q);
/* Starts those whose turn has come, and sets the timer for the next. */
void blk_waiting_run(struct blk_queue *q);
/* Tries again what failed and was held. */
void blk_held_retry(struct blk_queue *q);
/* From now on requests that promise stable storage wait, or go on. */
void blk_bar(struct blk_queue *q, bool on);
/* The queue was stopped: what waits or is held goes back to the guest as failed. */
void blk_release(struct blk_queue *q);

#endif
