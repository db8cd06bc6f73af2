/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio_balloon.h: memory that the guest gives back. */
#ifndef LODGE_VIRTIO_BALLOON_H
#define LODGE_VIRTIO_BALLOON_H

#include "virtio/device.h"

struct virtio_balloon_stats {
	u64 target_bytes;	/* what the guest was asked to give back */
	u64 actual_bytes;	/* what it says it has given back */
	u64 inflated_bytes;	/* sums since creation */
	u64 reported_bytes;
	bool valid;		/* the guest has answered at least once; the rest is from it, all ones when unknown */
	u64 guest_ns;		/* CLOCK_MONOTONIC of that answer */
	u64 swap_in, swap_out, major_faults, minor_faults;
	u64 free_bytes, total_bytes, available_bytes, cache_bytes;
};

/* Served by board->loop. On the bus afterwards; NULL with *e set on failure. flags: VIRTIO_OPT_*. */
struct virtio_dev *virtio_balloon_create(struct board *board, unsigned int flags, struct err *e);
/* Ask the guest to give back that many bytes in all. Any thread. */
void virtio_balloon_set_target(struct virtio_dev *dev, u64 bytes);
/* Ask the guest for fresh statistics; they arrive later. Any thread. */
void virtio_balloon_poll(struct virtio_dev *dev);
void virtio_balloon_stats(struct virtio_dev *dev, struct virtio_balloon_stats *stats);

#endif
