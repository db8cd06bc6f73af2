/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * net.h: what a network card is plugged into: a back end, reached through a small table of operations.
 *
 * Frames carry the 12-byte virtio header (struct virtio_net_hdr_v1) in front, in both directions, always. A back end says
 * in `features` which VIRTIO_NET_F_* offloads it can honour in that header.
 *
 * Threads: a back end has `max_queues` independent queues. Everything about queue i happens on the thread of the loop it
 * was started in: start() registers its descriptors there before that thread runs; send() and room() are called there, and
 * client->receive() and client->flush() are called there. A back end that cannot live in an event loop of ours supplies
 * run(), which is then that thread's whole work (one queue only).
 *
 * System calls, for whoever confines these threads. All: epoll_wait, epoll_ctl, read, write, readv, writev, futex,
 * clock_gettime, ioctl(KVM_SIGNAL_MSI), madvise and mmap/munmap/brk of malloc. tap adds ioctl(TUNSETOFFLOAD, TUNSETQUEUE).
 * slirp adds poll, ppoll, socket, connect, bind, listen, accept4, accept, shutdown, close, fcntl, ioctl(FIONREAD, FIONBIO),
 * getsockopt, setsockopt, getsockname, getpeername, send, sendto, recv, recvfrom, sendmsg, recvmsg, and openat, newfstatat,
 * fstat, lseek of /etc/resolv.conf, getrandom. vhost: its ioctls are made on the vCPU thread that writes DRIVER_OK or
 * resets the device.
 */
#ifndef LODGE_NET_NET_H
#define LODGE_NET_NET_H

#include <linux/virtio_net.h>
#include <sys/uio.h>

#include "common/err.h"
#include "common/loop.h"
#include "common/types.h"
#include "net/spec.h"

#define NET_HDR_LEN	12
/* Header, Ethernet header with VLAN tag, and the longest IP packet. */
#define NET_FRAME_MAX	(NET_HDR_LEN + 18 + 65536)

struct net;

/* The card. receive(): 0 when the frame was taken or dropped; -EAGAIN: keep it and wait for room(). */
struct net_client {
	int (*receive)(void *ctx, unsigned int queue, const void *frame, size_t len);
	/* End of a burst of receive(): tell the guest. */
	void (*flush)(void *ctx, unsigned int queue);
	void *ctx;
};

/* A virtqueue and guest memory as vhost needs them. */
struct net_ring {
	u16 size;
	void *desc, *avail, *used;
	int kick;
	int call;			/* -1: none */
};

struct net_region {
	u64 gpa, size;
	void *hva;
};

struct net_ops {
	int (*start)(struct net *net, unsigned int queue, struct loop *loop);
	void (*stop)(struct net *net, unsigned int queue, struct loop *loop);
	/* 0, or -errno when the frame was dropped. Never waits. */
	int (*send)(struct net *net, unsigned int queue, const struct iovec *iov, int cnt);
	void (*room)(struct net *net, unsigned int queue);
	/* Which offloads the guest takes on receive: VIRTIO_NET_F_GUEST_* bits. Any thread. Optional. */
	int (*set_offloads)(struct net *net, u64 features);
	/* How many queues are in use from now on. Optional. */
	int (*set_queues)(struct net *net, unsigned int queues);
	/* The thread's own work, until halt() is called elsewhere. Optional. */
	void (*run)(struct net *net);
	void (*halt)(struct net *net);
	/* Serve the rings (receive, transmit of each queue) in the kernel. Optional. */
	int (*vhost_start)(struct net *net, u64 features, const struct net_region *region, unsigned int regions,
			   const struct net_ring *ring, unsigned int queues);
	void (*vhost_stop)(struct net *net);
	void (*close)(struct net *net);
};

struct net {
	const struct net_ops *ops;
	u64 features;			/* VIRTIO_NET_F_* */
	u64 ring_features;		/* with vhost: VIRTIO_RING_F_* and the like that it has; else all ones */
	unsigned int max_queues;
	bool vhost;			/* the kernel serves the rings: send(), room() are not used */
	u8 mac[6];
	u16 mtu;			/* 0: do not tell the guest */
	char name[48];			/* for messages: "user", "tap tap0" */
	struct net_client client;
	u64 dropped;			/* atomic; frames lost in either direction */
};

/* Opens the back end that a parsed specification names. NULL with *e set on failure. */
struct net *net_open(const struct net_spec *spec, struct err *e);
/* After all queues were stopped. Accepts NULL. */
void net_close(struct net *net);

/* The two kinds. */
struct net *slirp_open(const struct net_spec *spec, struct err *e);
struct net *tap_open(const struct net_spec *spec, struct err *e);

#endif
