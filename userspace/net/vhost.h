/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhost.h: rings served by the host kernel's vhost-net. One descriptor for each queue pair. */
#ifndef LODGE_NET_VHOST_H
#define LODGE_NET_VHOST_H

#include "net/net.h"

/* A descriptor, or -errno; *features is what the kernel can do. */
int vhost_open(u64 *features);
/* ring[0] is receive, ring[1] transmit; tap serves both. 0 or -errno, and then nothing runs. */
int vhost_start(int fd, int tap, u64 features, const struct net_region *region, unsigned int regions,
		const struct net_ring *ring);
/* The kernel has let go of rings and memory when this returns. */
void vhost_stop(int fd);

#endif
