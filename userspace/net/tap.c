// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * tap.c: a network interface of the host, usually a port of a bridge.
 *
 * The kernel speaks our header format (IFF_VNET_HDR with 12 bytes), so frames pass as they are, with their offloads: the
 * guest's unfinished checksums and unsegmented sends go to the host's stack, which finishes them only where they leave the
 * machine, and the other way round once the guest has said which of them it takes (TUNSETOFFLOAD).
 *
 * Several queues are several descriptors of one interface (IFF_MULTI_QUEUE); the kernel steers by flow, and descriptors
 * not in use by the guest are detached. The interface goes away with the last descriptor unless somebody made it
 * persistent before.
 *
 * With vhost the same descriptors are handed to the kernel's vhost-net and not read here at all.
 *
 * A frame is read into the queue's buffer. If the guest has no room it stays there and the descriptor is not polled; the
 * kernel then queues, and drops in the end, as on any congested link.
 */
#include "net/library.h"
#include "net/net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "net/vhost.h"

#define BURST		64
#define FEATURE(n)	(1ULL << (n))

#define TX_OFFLOADS                                                                                                 \
	(FEATURE(VIRTIO_NET_F_CSUM) | FEATURE(VIRTIO_NET_F_HOST_TSO4) | FEATURE(VIRTIO_NET_F_HOST_TSO6) |            \
	 FEATURE(VIRTIO_NET_F_HOST_ECN))
#define RX_OFFLOADS                                                                                                 \
	(FEATURE(VIRTIO_NET_F_GUEST_CSUM) | FEATURE(VIRTIO_NET_F_GUEST_TSO4) | FEATURE(VIRTIO_NET_F_GUEST_TSO6) |    \
	 FEATURE(VIRTIO_NET_F_GUEST_ECN))
#define UFO (FEATURE(VIRTIO_NET_F_HOST_UFO) | FEATURE(VIRTIO_NET_F_GUEST_UFO))
/* What both we and the kernel's vhost must agree on; the other features of the device are not its business. */
#define VHOST_FEATURES                                                                                              \
	(FEATURE(VIRTIO_RING_F_INDIRECT_DESC) | FEATURE(VIRTIO_RING_F_EVENT_IDX) | FEATURE(VIRTIO_NET_F_MRG_RXBUF) | \
	 FEATURE(VIRTIO_F_VERSION_1))

struct tap_queue {
	struct tap *tap;
	unsigned int index;
	int fd;
	int vhost;
	bool detached;
	struct loop *loop;
	struct loop_source source;
	size_t held;			/* bytes of a frame that the guest had no room for */
	u8 buf[NET_FRAME_MAX];
};

struct tap {
	struct net net;
	char ifname[IFNAMSIZ];
	unsigned int queues;
	struct tap_queue *queue;
};

static struct tap *from_net(struct net *net)
{
	return container_of(net, struct tap, net);
}

/* ---- frames ---- */

static bool tap_give(struct tap_queue *q, size_t len)
{
	struct net_client *c = &q->tap->net.client;

	if (c->receive(c->ctx, q->index, q->buf, len) != -EAGAIN)
		return true;
	q->held = len;
	return false;
}

static void tap_read(struct tap_queue *q)
{
	struct net_client *c = &q->tap->net.client;
	int burst = BURST;

	while (burst--) {
		ssize_t n = read(q->fd, q->buf, sizeof(q->buf));

		if (n <= 0)
			break;
		if (!tap_give(q, n)) {
			loop_mod(q->loop, &q->source, 0);
			break;
		}
	}
	c->flush(c->ctx, q->index);
}

static void tap_readable(void *ctx, u32 events)
{
	struct tap_queue *q = ctx;

	(void)events;
	if (!q->held)
		tap_read(q);
}

static void tap_room(struct net *net, unsigned int queue)
{
	struct tap_queue *q = &from_net(net)->queue[queue];
	size_t len = q->held;

	q->held = 0;
	if (len && !tap_give(q, len))
		return;
	loop_mod(q->loop, &q->source, EPOLLIN);
	tap_read(q);
}

static int tap_send(struct net *net, unsigned int queue, const struct iovec *iov, int cnt)
{
	/* EAGAIN means the interface's queue is full: a network may lose frames. */
	return writev(from_net(net)->queue[queue].fd, iov, cnt) < 0 ? -errno : 0;
}

static int tap_start(struct net *net, unsigned int queue, struct loop *loop)
{
	struct tap_queue *q = &from_net(net)->queue[queue];

	q->loop = loop;
	return net->vhost ? 0 : loop_add(loop, &q->source, q->fd, EPOLLIN, tap_readable, q);
}

static void tap_stop(struct net *net, unsigned int queue, struct loop *loop)
{
	loop_del(loop, &from_net(net)->queue[queue].source);
}

/* ---- what the guest agreed to ---- */

static int tap_set_offloads(struct net *net, u64 features)
{
	unsigned long flags = 0;

	if (features & FEATURE(VIRTIO_NET_F_GUEST_CSUM))
		flags |= TUN_F_CSUM;
	if (features & FEATURE(VIRTIO_NET_F_GUEST_TSO4))
		flags |= TUN_F_TSO4;
	if (features & FEATURE(VIRTIO_NET_F_GUEST_TSO6))
		flags |= TUN_F_TSO6;
	if ((features & FEATURE(VIRTIO_NET_F_GUEST_ECN)) && (flags & (TUN_F_TSO4 | TUN_F_TSO6)))
		flags |= TUN_F_TSO_ECN;
	if (features & FEATURE(VIRTIO_NET_F_GUEST_UFO))
		flags |= TUN_F_UFO;
	return ioctl(from_net(net)->queue[0].fd, TUNSETOFFLOAD, flags) < 0 ? -errno : 0;
}

static int tap_set_queues(struct net *net, unsigned int queues)
{
	struct tap *tap = from_net(net);

	for (unsigned int i = 1; i < tap->queues; i++) {
		struct tap_queue *q = &tap->queue[i];
		struct ifreq ifr = { .ifr_flags = i < queues ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

		if (q->detached == (i >= queues))
			continue;
		if (ioctl(q->fd, TUNSETQUEUE, &ifr) < 0)
			return -errno;
		q->detached = i >= queues;
	}
	return 0;
}

/* ---- vhost ---- */

static void tap_vhost_stop(struct net *net)
{
	struct tap *tap = from_net(net);

	for (unsigned int i = 0; i < tap->queues; i++)
		vhost_stop(tap->queue[i].vhost);
}

static int tap_vhost_start(struct net *net, u64 features, const struct net_region *region, unsigned int regions,
			   const struct net_ring *ring, unsigned int queues)
{
	struct tap *tap = from_net(net);
	int r = 0;

	for (unsigned int i = 0; i < queues && i < tap->queues && !r; i++)
		r = vhost_start(tap->queue[i].vhost, tap->queue[i].fd, features & VHOST_FEATURES, region, regions,
				ring + 2 * i);
	if (r < 0)
		tap_vhost_stop(net);
	return r;
}

static int open_vhost(struct tap *tap, const struct net_spec *spec, struct err *e)
{
	u64 features = 0;

	if (spec->vhost == NET_VHOST_OFF)
		return 0;
	for (unsigned int i = 0; i < tap->queues; i++) {
		tap->queue[i].vhost = vhost_open(&features);
		if (tap->queue[i].vhost >= 0)
			continue;
		if (spec->vhost == NET_VHOST_ON)
			return err_set(e, -tap->queue[i].vhost,
				       "%s: cannot use /dev/vhost-net: %s; try: modprobe vhost_net, or vhost=off",
				       tap->net.name, strerror(-tap->queue[i].vhost));
		/* Automatic: all queues or none. */
		while (i > 0)
			close(tap->queue[--i].vhost);
		for (i = 0; i < tap->queues; i++)
			tap->queue[i].vhost = -1;
		return 0;
	}
	tap->net.vhost = true;
	tap->net.ring_features = features & VHOST_FEATURES;
	tap->net.features |= features & FEATURE(VIRTIO_NET_F_MRG_RXBUF);
	return 0;
}

/* ---- the interface ---- */

static int open_queue(struct tap *tap, unsigned int i, struct err *e)
{
	struct tap_queue *q = &tap->queue[i];
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int hdr = NET_HDR_LEN;
	int r;

	q->tap = tap;
	q->index = i;
	q->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (q->fd < 0)
		return err_set(e, errno, "tap: cannot open /dev/net/tun: %s; try: the user network, which needs no rights",
			       strerror(errno));
	if (tap->queues > 1)
		ifr.ifr_flags |= IFF_MULTI_QUEUE;
	memcpy(ifr.ifr_name, tap->ifname, IFNAMSIZ);
	if (ioctl(q->fd, TUNSETIFF, &ifr) < 0) {
		r = errno;
		return err_set(e, r, "tap %s: cannot attach: %s; try: %s", tap->ifname[0] ? tap->ifname : "(new)",
			       strerror(r),
			       r == EPERM  ? "to run as root, or as the interface's owner" :
			       r == EBUSY  ? "another ifname, this one is in use" :
			       r == EINVAL ? "queues= as the interface was made (one, or multi_queue)" :
					     "another ifname");
	}
	memcpy(tap->ifname, ifr.ifr_name, IFNAMSIZ);
	if (ioctl(q->fd, TUNSETVNETHDRSZ, &hdr) < 0)
		return err_set(e, errno, "tap %s: cannot set the header size: %s", tap->ifname, strerror(errno));
	return 0;
}

/* libnl's functions, loaded with the first tap. */
static struct {
	typeof(nl_connect) *connect;
	typeof(nl_geterror) *geterror;
	typeof(nl_socket_alloc) *socket_alloc;
	typeof(nl_socket_free) *socket_free;
	typeof(rtnl_link_alloc) *link_alloc;
	typeof(rtnl_link_change) *link_change;
	typeof(rtnl_link_get_kernel) *link_get_kernel;
	typeof(rtnl_link_put) *link_put;
	typeof(rtnl_link_set_flags) *link_set_flags;
	typeof(rtnl_link_set_master) *link_set_master;
	typeof(rtnl_link_set_mtu) *link_set_mtu;
} nl;

static int load_library(struct err *e)
{
	static const struct library_symbol base[] = {
		{ "nl_connect", &nl.connect },
		{ "nl_geterror", &nl.geterror },
		{ "nl_socket_alloc", &nl.socket_alloc },
		{ "nl_socket_free", &nl.socket_free },
	};
	static const struct library_symbol route[] = {
		{ "rtnl_link_alloc", &nl.link_alloc },
		{ "rtnl_link_change", &nl.link_change },
		{ "rtnl_link_get_kernel", &nl.link_get_kernel },
		{ "rtnl_link_put", &nl.link_put },
		{ "rtnl_link_set_flags", &nl.link_set_flags },
		{ "rtnl_link_set_master", &nl.link_set_master },
		{ "rtnl_link_set_mtu", &nl.link_set_mtu },
	};
	int r;

	if (nl.link_alloc)
		return 0;
	r = library_load("libnl-3.so.200", "libnl-3-200", base, sizeof(base) / sizeof(base[0]), e);
	return r ? r : library_load("libnl-route-3.so.200", "libnl-route-3-200", route, sizeof(route) / sizeof(route[0]), e);
}

/* Up, and on the bridge. */
static int configure_link(struct tap *tap, const struct net_spec *spec, struct err *e)
{
	struct rtnl_link *change, *link = NULL;
	struct nl_sock *sock;
	unsigned int bridge = 0;
	int r = load_library(e);

	if (r)
		return r;
	r = -ENOMEM;
	change = nl.link_alloc();
	sock = nl.socket_alloc();
	if (!change || !sock)
		goto out;
	if (spec->bridge[0])
		bridge = if_nametoindex(spec->bridge);
	if (spec->bridge[0] && !bridge) {
		r = err_set(e, ENODEV, "tap %s: there is no bridge %s; try: ip link add %s type bridge", tap->ifname,
			    spec->bridge, spec->bridge);
		goto out;
	}
	r = nl.connect(sock, NETLINK_ROUTE);
	if (!r)
		r = nl.link_get_kernel(sock, 0, tap->ifname, &link);
	if (!r) {
		nl.link_set_flags(change, IFF_UP);
		if (bridge)
			nl.link_set_master(change, bridge);
		if (spec->mtu)
			nl.link_set_mtu(change, spec->mtu);
		r = nl.link_change(sock, link, change, 0);
	}
	if (r)
		r = err_set(e, EIO, "tap %s: cannot set up the interface: %s", tap->ifname, nl.geterror(r));
out:
	nl.link_put(link);
	nl.link_put(change);
	nl.socket_free(sock);
	return r == -ENOMEM ? err_set(e, ENOMEM, "tap %s: out of memory", tap->ifname) : r;
}

static void tap_close(struct net *net)
{
	struct tap *tap = from_net(net);

	for (unsigned int i = 0; tap->queue && i < tap->queues; i++) {
		if (tap->queue[i].fd >= 0)
			close(tap->queue[i].fd);
		if (tap->queue[i].vhost >= 0)
			close(tap->queue[i].vhost);
	}
	free(tap->queue);
	free(tap);
}

static const struct net_ops tap_ops = {
	.start = tap_start,
	.stop = tap_stop,
	.send = tap_send,
	.room = tap_room,
	.set_offloads = tap_set_offloads,
	.set_queues = tap_set_queues,
	.vhost_start = tap_vhost_start,
	.vhost_stop = tap_vhost_stop,
	.close = tap_close,
};

static int tap_init(struct tap *tap, const struct net_spec *spec, struct err *e)
{
	int r = 0;

	tap->net.ops = &tap_ops;
	tap->net.ring_features = ~0ULL;
	memcpy(tap->ifname, spec->ifname, IFNAMSIZ);
	tap->queues = spec->queues ? spec->queues : 1;
	tap->net.max_queues = tap->queues;
	tap->queue = calloc(tap->queues, sizeof(*tap->queue));
	if (!tap->queue)
		return err_set(e, ENOMEM, "tap: out of memory");
	for (unsigned int i = 0; i < tap->queues; i++)
		tap->queue[i].fd = tap->queue[i].vhost = -1;
	for (unsigned int i = 0; i < tap->queues && !r; i++)
		r = open_queue(tap, i, e);
	if (r < 0)
		return r;
	snprintf(tap->net.name, sizeof(tap->net.name), "tap %s", tap->ifname);
	tap->net.features = TX_OFFLOADS;
	if (!tap_set_offloads(&tap->net, RX_OFFLOADS | UFO))
		tap->net.features |= RX_OFFLOADS | UFO;
	else if (!tap_set_offloads(&tap->net, RX_OFFLOADS))
		tap->net.features |= RX_OFFLOADS;
	/* Until a guest says what it takes, it gets nothing unusual. */
	tap_set_offloads(&tap->net, 0);
	r = configure_link(tap, spec, e);
	return r < 0 ? r : open_vhost(tap, spec, e);
}

struct net *tap_open(const struct net_spec *spec, struct err *e)
{
	struct tap *tap = calloc(1, sizeof(*tap));

	if (!tap) {
		err_set(e, ENOMEM, "tap: out of memory");
		return NULL;
	}
	if (tap_init(tap, spec, e) < 0) {
		tap_close(&tap->net);
		return NULL;
	}
	return &tap->net;
}
