/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio_net.h: a network card. */
#ifndef LODGE_VIRTIO_NET_H
#define LODGE_VIRTIO_NET_H

#include "net/net.h"
#include "virtio/device.h"

struct virtio_net_opts {
	unsigned int queue_size;	/* 0: 256 */
	unsigned int flags;		/* VIRTIO_OPT_* */
};

struct virtio_net_stats {
	u64 rx_frames, rx_bytes, rx_dropped;	/* towards the guest */
	u64 tx_frames, tx_bytes, tx_dropped;
};

/*
 * Makes the card, starts its threads (one per queue pair) and puts it on the bus, which then owns it and the back end;
 * a failure closes the back end, too. NULL with *e set on failure.
 */
struct virtio_dev *virtio_net_create(struct board *board, struct net *net, const struct virtio_net_opts *opts,
				     struct err *e);
/* The cable. */
void virtio_net_set_link(struct virtio_dev *dev, bool up);
void virtio_net_stats(struct virtio_dev *dev, struct virtio_net_stats *stats);

#endif
