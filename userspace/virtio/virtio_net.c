// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_net.c: a network card (virtio 1.2, chapter 5.1).
 *
 * Queue pair i is receive 2i and transmit 2i + 1, both served by thread i together with the back end's queue i, so pairs
 * share nothing. The control queue comes after the last pair the driver knows of: at 2 without the MQ feature, else at
 * 2 * max_pairs; queue 2 therefore has two possible lives, told apart by the features.
 *
 * Transmit: the chain's segments, header first, go to the back end as they are. Receive: the back end hands a frame; with
 * MRG_RXBUF it is spread over as many chains as it needs, which become visible together, and their number is written into
 * the first one's header; without, a frame that does not fit is dropped. A frame that finds no buffers stays with the back
 * end, which is told (room()) when the guest has added some; until then its descriptor is not read, so the pressure
 * reaches the host's queue.
 *
 * With vhost the kernel serves the data queues, and only the control queue is ours.
 *
 * The filter commands (promiscuous mode, address lists) are checked and accepted without effect: the card may deliver more
 * than was asked for, and the back ends deliver little else.
 */
#include "virtio/virtio_net.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "virtio/iothread.h"

#define QUEUE_SIZE	256
#define SEGMENTS	256
#define CTRL_SEGMENTS	32
#define CTRL_SIZE	64
#define CTRL_DATA_MAX	(8 + 2 * 64 * 6)	/* two lists of 64 addresses */
#define BUDGET		128
#define MERGE_MAX	64
#define FEATURE(n)	(1ULL << (n))

#define GUEST_OFFLOADS                                                                                              \
	(FEATURE(VIRTIO_NET_F_GUEST_CSUM) | FEATURE(VIRTIO_NET_F_GUEST_TSO4) | FEATURE(VIRTIO_NET_F_GUEST_TSO6) |    \
	 FEATURE(VIRTIO_NET_F_GUEST_ECN) | FEATURE(VIRTIO_NET_F_GUEST_UFO))
/* Rings the kernel serves know only these of the ring's and transport's features. */
#define RING_FEATURES                                                                                               \
	(FEATURE(VIRTIO_RING_F_INDIRECT_DESC) | FEATURE(VIRTIO_RING_F_EVENT_IDX) | FEATURE(VIRTIO_F_RING_PACKED) |   \
	 FEATURE(40) /* RING_RESET */)

struct net_pair {
	struct virtio_net *card;
	struct virtio_queue *rx, *tx;
	struct iothread io;
	bool starved;			/* rx->lock: the back end waits for room() */
	struct iovec rx_iov[SEGMENTS];	/* rx->lock: of a frame's first chain */
	struct iovec rx_more[SEGMENTS];	/* rx->lock: of the one being filled */
	struct iovec tx_iov[SEGMENTS];	/* tx->lock */
	struct virtio_net_stats stats;	/* rx fields: rx->lock; tx fields: tx->lock */
};

struct virtio_net {
	struct virtio_dev dev;
	struct net *net;
	struct virtio_net_config config;
	unsigned int pairs;
	bool started;			/* back end's queues registered */
	bool vhost_running;		/* dev.lock */
	bool mergeable;			/* fixed at DRIVER_OK */
	struct net_pair *pair;
};

static struct virtio_net *from_dev(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_net, dev);
}

/* ---- towards the guest ---- */

/* Undo, newest first, the pops of a frame that cannot be delivered. */
static void rx_unpop(struct virtio_queue *vq, const struct virtq_elem *e, unsigned int n)
{
	while (n--)
		virtq_unpop(&vq->ring, &e[n]);
}

/*
 * Pop, or ask for a kick. It must be asked for here, at the end of what the driver has made available, and not after the
 * chains too few were put back: a driver with EVENT_IDX kicks when it passes the position that we name, and those it has
 * passed already.
 */
static bool rx_pop(struct virtio_queue *vq, struct virtq_elem *e)
{
	while (!virtio_queue_pop(vq, e))
		if (!virtio_dev_live(vq->dev) || !virtq_enable_kicks(&vq->ring))
			return false;
	return true;
}

/*
 * Pop and write one frame. Answers the number of chains, whose ids and lengths are left in e[] and len[]; 0 when buffers
 * ran out, -EMSGSIZE when the frame can never fit.
 */
static int rx_scatter(struct net_pair *p, const u8 *frame, size_t size, struct virtq_elem *e, u32 *len)
{
	unsigned int max = p->card->mergeable ? MERGE_MAX : 1;
	size_t done = 0;
	unsigned int n;

	for (n = 0; done < size; n++) {
		if (n == max) {
			rx_unpop(p->rx, e, n);
			return -EMSGSIZE;
		}
		e[n].iov = n ? p->rx_more : p->rx_iov;
		if (!rx_pop(p->rx, &e[n])) {
			rx_unpop(p->rx, e, n);
			return 0;
		}
		len[n] = virtq_elem_write(&e[n], 0, frame + done, size - done);
		/* The first chain must at least hold the header, and every chain something. */
		if (len[n] < (n ? 1 : NET_HDR_LEN)) {
			virtio_dev_break(&p->card->dev, -1);
			return 0;
		}
		done += len[n];
	}
	return n;
}

static int rx_deliver(struct net_pair *p, const u8 *frame, size_t size)
{
	struct virtq_elem e[MERGE_MAX];
	u32 len[MERGE_MAX];
	u16 buffers;
	int n = rx_scatter(p, frame, size, e, len);

	if (!n)
		return -EAGAIN;
	if (n < 0) {
		p->stats.rx_dropped++;
		return 0;
	}
	buffers = htole16(n);
	virtq_elem_write(&e[0], offsetof(struct virtio_net_hdr_v1, num_buffers), &buffers, sizeof(buffers));
	for (int i = 0; i < n; i++)
		virtq_fill(&p->rx->ring, &e[i], len[i]);
	p->stats.rx_frames++;
	p->stats.rx_bytes += size - NET_HDR_LEN;
	return 0;
}

static int net_receive(void *ctx, unsigned int queue, const void *frame, size_t size)
{
	struct virtio_net *card = ctx;
	struct net_pair *p = &card->pair[queue];
	struct virtio_queue *vq = p->rx;
	int r = 0;

	pthread_mutex_lock(&vq->lock);
	if (!vq->running || size < NET_HDR_LEN) {
		p->stats.rx_dropped++;
	} else {
		r = rx_deliver(p, frame, size);
		if (r && !virtio_dev_live(&card->dev))
			r = 0;
		p->starved = r;
		if (r)
			virtio_queue_call(vq);
	}
	pthread_mutex_unlock(&vq->lock);
	return r;
}

static void net_flush(void *ctx, unsigned int queue)
{
	struct virtio_net *card = ctx;
	struct virtio_queue *vq = card->pair[queue].rx;

	pthread_mutex_lock(&vq->lock);
	if (vq->running)
		virtio_queue_call(vq);
	pthread_mutex_unlock(&vq->lock);
}

static void rx_handle(struct virtio_queue *vq)
{
	struct net_pair *p = vq->priv;

	virtq_disable_kicks(&vq->ring);
	if (!p->starved)
		return;
	p->starved = false;
	/* The back end calls net_receive(), which takes the lock; nothing of the ring is in use here. */
	pthread_mutex_unlock(&vq->lock);
	p->card->net->ops->room(p->card->net, p - p->card->pair);
	pthread_mutex_lock(&vq->lock);
}

/* ---- from the guest ---- */

static s64 tx_serve(struct virtio_queue *vq, struct virtq_elem *e)
{
	struct net_pair *p = vq->priv;
	struct net *net = p->card->net;

	if (e->out_len < NET_HDR_LEN)
		return -EPROTO;
	if (net->ops->send(net, p - p->card->pair, e->iov, e->out_num) < 0) {
		p->stats.tx_dropped++;
	} else {
		p->stats.tx_frames++;
		p->stats.tx_bytes += e->out_len - NET_HDR_LEN;
	}
	return 0;
}

static void tx_handle(struct virtio_queue *vq)
{
	struct net_pair *p = vq->priv;
	struct virtq_elem e = { .iov = p->tx_iov };

	virtio_queue_serve(vq, &e, BUDGET, tx_serve);
}

/* ---- control queue ---- */

static bool ctrl_rx(u8 cmd, const u8 *data, size_t len)
{
	(void)data;
	return cmd <= VIRTIO_NET_CTRL_RX_NOBCAST && len == 1;
}

static bool mac_table_valid(const u8 *data, size_t len)
{
	for (int list = 0; list < 2; list++) {
		u32 n;

		if (len < 4)
			return false;
		memcpy(&n, data, 4);
		n = le32toh(n);
		if (n > (len - 4) / 6)
			return false;
		data += 4 + 6 * n;
		len -= 4 + 6 * n;
	}
	return !len;
}

static bool ctrl_mac(struct virtio_net *card, u8 cmd, const u8 *data, size_t len)
{
	if (cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET)
		return mac_table_valid(data, len);
	if (cmd != VIRTIO_NET_CTRL_MAC_ADDR_SET || len != 6 || (data[0] & 1))
		return false;
	/* Byte by byte under no lock: a guest that reads the address while it sets it gets what it asked for. */
	memcpy(card->config.mac, data, 6);
	return true;
}

static bool ctrl_mq(struct virtio_net *card, u8 cmd, const u8 *data, size_t len)
{
	u16 pairs;

	if (cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || len != 2)
		return false;
	memcpy(&pairs, data, 2);
	pairs = le16toh(pairs);
	if (!pairs || pairs > card->pairs)
		return false;
	return !card->net->ops->set_queues || !card->net->ops->set_queues(card->net, pairs);
}

static bool ctrl_offloads(struct virtio_net *card, u8 cmd, const u8 *data, size_t len)
{
	u64 offloads;

	if (cmd != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || len != 8)
		return false;
	memcpy(&offloads, data, 8);
	offloads = le64toh(offloads);
	if (offloads & ~(card->dev.regs.driver_features & GUEST_OFFLOADS))
		return false;
	return !card->net->ops->set_offloads || !card->net->ops->set_offloads(card->net, offloads);
}

static s64 ctrl_serve(struct virtio_queue *vq, struct virtq_elem *e)
{
	struct virtio_net *card = from_dev(vq->dev);
	struct virtio_net_ctrl_hdr hdr;
	u8 data[CTRL_DATA_MAX];
	size_t len = e->out_len - sizeof(hdr);
	u8 status = VIRTIO_NET_ERR;
	bool ok = false;

	if (e->out_len < sizeof(hdr) || !e->in_len)
		return -EPROTO;
	virtq_elem_read(e, 0, &hdr, sizeof(hdr));
	if (len <= sizeof(data)) {
		virtq_elem_read(e, sizeof(hdr), data, len);
		if (hdr.class == VIRTIO_NET_CTRL_RX)
			ok = ctrl_rx(hdr.cmd, data, len);
		else if (hdr.class == VIRTIO_NET_CTRL_MAC)
			ok = ctrl_mac(card, hdr.cmd, data, len);
		else if (hdr.class == VIRTIO_NET_CTRL_MQ && virtio_dev_has(&card->dev, VIRTIO_NET_F_MQ))
			ok = ctrl_mq(card, hdr.cmd, data, len);
		else if (hdr.class == VIRTIO_NET_CTRL_GUEST_OFFLOADS)
			ok = ctrl_offloads(card, hdr.cmd, data, len);
	}
	if (ok)
		status = VIRTIO_NET_OK;
	return virtq_elem_write(e, 0, &status, 1);
}

static void ctrl_handle(struct virtio_queue *vq)
{
	struct iovec iov[SEGMENTS];
	struct virtq_elem e = { .iov = iov };

	virtio_queue_serve(vq, &e, BUDGET, ctrl_serve);
}

static void net_handle(struct virtio_queue *vq)
{
	struct virtio_net *card = from_dev(vq->dev);
	unsigned int ctrl = virtio_dev_has(vq->dev, VIRTIO_NET_F_MQ) ? 2 * card->pairs : 2;

	if (vq->index == ctrl)
		ctrl_handle(vq);
	else if (vq->index >= 2 * card->pairs)
		return;
	else if (vq->index & 1)
		tx_handle(vq);
	else
		rx_handle(vq);
}

/* ---- the device ---- */

static void vhost_start(struct virtio_net *card)
{
	struct net_ring ring[2 * NET_QUEUES_MAX] = { 0 };
	struct net_region region[MEM_REGIONS];
	struct guest_mem *mem = card->dev.mem;
	unsigned int pairs = 0;
	int r;

	for (unsigned int i = 0; i < mem->count; i++)
		region[i] = (struct net_region){ mem->region[i].gpa, mem->region[i].size, mem->region[i].hva };
	for (; pairs < card->pairs; pairs++) {
		for (unsigned int k = 0; k < 2; k++) {
			struct virtio_queue *vq = &card->dev.queue[2 * pairs + k];

			if (!vq->regs.enable || !vq->ring.size)
				goto out;
			ring[2 * pairs + k] = (struct net_ring){
				.size = vq->regs.size,
				.desc = vq->ring.desc,
				.avail = vq->ring.avail,
				.used = vq->ring.used,
				.kick = vq->kick_fd,
				.call = virtio_queue_call_fd(vq),
			};
		}
	}
out:
	r = card->net->ops->vhost_start(card->net, card->dev.regs.driver_features, region, mem->count, ring, pairs);
	card->vhost_running = !r;
	if (r < 0) {
		log_debug("%s: vhost refuses: error %d", card->net->name, -r);
		virtio_dev_break(&card->dev, -1);
	}
	for (unsigned int i = 0; i < 2 * pairs && !r; i++)
		virtio_queue_rekick(&card->dev.queue[i]);
}

static void net_driver_ok(struct virtio_dev *dev)
{
	struct virtio_net *card = from_dev(dev);
	struct net *net = card->net;

	card->mergeable = virtio_dev_has(dev, VIRTIO_NET_F_MRG_RXBUF);
	if (net->ops->set_offloads)
		net->ops->set_offloads(net, dev->regs.driver_features & GUEST_OFFLOADS);
	if (net->ops->set_queues)
		net->ops->set_queues(net, 1);
	if (net->vhost)
		vhost_start(card);
}

static void net_quiesce(struct virtio_dev *dev)
{
	struct virtio_net *card = from_dev(dev);

	if (card->vhost_running)
		card->net->ops->vhost_stop(card->net);
	card->vhost_running = false;
}

static void net_reset(struct virtio_dev *dev)
{
	struct virtio_net *card = from_dev(dev);

	memcpy(card->config.mac, card->net->mac, 6);
	if (card->net->ops->set_offloads)
		card->net->ops->set_offloads(card->net, 0);
}

static bool net_features_ok(struct virtio_dev *dev, u64 f)
{
	const u64 gso = FEATURE(VIRTIO_NET_F_HOST_TSO4) | FEATURE(VIRTIO_NET_F_HOST_TSO6) |
			FEATURE(VIRTIO_NET_F_HOST_UFO);
	const u64 guest_gso = FEATURE(VIRTIO_NET_F_GUEST_TSO4) | FEATURE(VIRTIO_NET_F_GUEST_TSO6) |
			      FEATURE(VIRTIO_NET_F_GUEST_UFO);

	/* Without MQ the control queue takes the place of a queue that was given to the kernel. */
	if (from_dev(dev)->net->vhost && from_dev(dev)->pairs > 1 && !(f & FEATURE(VIRTIO_NET_F_MQ)))
		return false;
	if ((f & gso) && !(f & FEATURE(VIRTIO_NET_F_CSUM)))
		return false;
	if ((f & guest_gso) && !(f & FEATURE(VIRTIO_NET_F_GUEST_CSUM)))
		return false;
	return !(f & FEATURE(VIRTIO_NET_F_MQ)) || (f & FEATURE(VIRTIO_NET_F_CTRL_VQ));
}

static void net_destroy(struct virtio_dev *dev)
{
	struct virtio_net *card = from_dev(dev);

	virtio_dev_reset(dev);
	for (unsigned int i = 0; card->pair && i < card->pairs; i++)
		iothread_stop(&card->pair[i].io);
	for (unsigned int i = 0; card->pair && i < card->pairs; i++) {
		if (card->started)
			card->net->ops->stop(card->net, i, card->pair[i].io.loop);
		iothread_fini(&card->pair[i].io);
	}
	virtio_dev_fini(dev);
	net_close(card->net);
	free(card->pair);
	free(card);
}

static const struct virtio_ops net_ops = {
	.driver_ok = net_driver_ok,
	.quiesce = net_quiesce,
	.reset = net_reset,
	.features_ok = net_features_ok,
	.destroy = net_destroy,
};

static u64 net_features(const struct virtio_net *card)
{
	u64 f = card->net->features | FEATURE(VIRTIO_NET_F_MAC) | FEATURE(VIRTIO_NET_F_STATUS) |
		FEATURE(VIRTIO_NET_F_CTRL_VQ) | FEATURE(VIRTIO_NET_F_CTRL_RX) | FEATURE(VIRTIO_NET_F_CTRL_MAC_ADDR);

	if (!card->net->vhost)
		f |= FEATURE(VIRTIO_NET_F_MRG_RXBUF);
	if (card->net->ops->set_offloads)
		f |= FEATURE(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	if (card->pairs > 1)
		f |= FEATURE(VIRTIO_NET_F_MQ);
	if (card->net->mtu)
		f |= FEATURE(VIRTIO_NET_F_MTU);
	return f;
}

static int pair_init(struct virtio_net *card, unsigned int i, u16 size, struct err *e)
{
	struct net_pair *p = &card->pair[i];
	struct net *net = card->net;
	int r;

	p->card = card;
	p->rx = virtio_dev_set_queue(&card->dev, 2 * i, size, SEGMENTS, net_handle);
	p->tx = virtio_dev_set_queue(&card->dev, 2 * i + 1, size, SEGMENTS, net_handle);
	p->rx->priv = p;
	p->tx->priv = p;
	p->rx->external = net->vhost;
	p->tx->external = net->vhost;
	r = iothread_init(&p->io, e);
	if (r < 0)
		return r;
	/* Kicks of rings that the kernel serves are the kernel's. But queue 2 may be the control queue. */
	if (net->vhost) {
		/* The first pair's thread is the only one then. */
		r = virtio_queue_forward(p->rx, card->pair[0].io.loop);
		if (!r)
			r = virtio_queue_forward(p->tx, card->pair[0].io.loop);
	} else {
		r = virtio_queue_bind(p->rx, p->io.loop);
		if (!r)
			r = virtio_queue_bind(p->tx, p->io.loop);
	}
	if (r < 0)
		return err_set(e, -r, "network %s: cannot watch a queue: %s", net->name, strerror(-r));
	return 0;
}

static void backend_run(void *ctx)
{
	struct net *net = ctx;

	net->ops->run(net);
}

static void backend_halt(void *ctx)
{
	struct net *net = ctx;

	net->ops->halt(net);
}

static int start_threads(struct virtio_net *card, struct err *e)
{
	struct net *net = card->net;
	char name[24];
	int r = 0;

	card->started = true;
	for (unsigned int i = 0; i < card->pairs && !r; i++)
		r = net->ops->start(net, i, card->pair[i].io.loop);
	if (r < 0)
		return err_set(e, -r, "network %s: cannot start: %s", net->name, strerror(-r));
	if (net->ops->run) {
		card->pair[0].io.run = backend_run;
		card->pair[0].io.stop = backend_halt;
		card->pair[0].io.ctx = net;
	}
	for (unsigned int i = 0; i < card->pairs && !r; i++) {
		/* With vhost only the first thread has work: the control queue. */
		if (i && net->vhost)
			break;
		snprintf(name, sizeof(name), "net-%u", i);
		r = iothread_start(&card->pair[i].io, name, e);
	}
	return r;
}

static int net_init(struct virtio_net *card, struct board *board, const struct virtio_net_opts *opts, struct err *e)
{
	unsigned int size = opts->queue_size ? opts->queue_size : QUEUE_SIZE;
	struct net *net = card->net;
	struct virtio_queue *ctrl;
	int r;

	if (size < 64 || size > VIRTQ_SIZE_MAX || (size & (size - 1)))
		return err_set(e, EINVAL, "network %s: queue size %u: must be a power of two from 64 to %d", net->name,
			       size, VIRTQ_SIZE_MAX);
	card->pairs = net->max_queues;
	card->pair = calloc(card->pairs, sizeof(*card->pair));
	r = virtio_dev_init(&card->dev, "virtio-net", VIRTIO_ID_NET, 0x020000, net_features(card), opts->flags,
			    &net_ops, board->mem, 2 * card->pairs + 1, e);
	if (r < 0)
		return r;
	if (!card->pair)
		return err_set(e, ENOMEM, "network %s: out of memory", net->name);
	card->dev.features &= ~RING_FEATURES | net->ring_features;
	memcpy(card->config.mac, net->mac, 6);
	card->config.status = htole16(VIRTIO_NET_S_LINK_UP);
	card->config.max_virtqueue_pairs = htole16(card->pairs);
	card->config.mtu = htole16(net->mtu);
	virtio_dev_set_config(&card->dev, &card->config, NULL,
			      offsetof(struct virtio_net_config, mtu) + sizeof(card->config.mtu));
	net->client = (struct net_client){ net_receive, net_flush, card };
	for (unsigned int i = 0; i < card->pairs; i++) {
		r = pair_init(card, i, size, e);
		if (r < 0)
			return r;
	}
	ctrl = virtio_dev_set_queue(&card->dev, 2 * card->pairs, CTRL_SIZE, CTRL_SEGMENTS, net_handle);
	r = virtio_queue_bind(ctrl, card->pair[0].io.loop);
	if (r < 0)
		return err_set(e, -r, "network %s: cannot watch a queue: %s", net->name, strerror(-r));
	r = start_threads(card, e);
	if (r < 0)
		return r;
	return virtio_dev_add(&card->dev, board->pci, e);
}

struct virtio_dev *virtio_net_create(struct board *board, struct net *net, const struct virtio_net_opts *opts,
				     struct err *e)
{
	struct virtio_net *card = calloc(1, sizeof(*card));

	if (!card) {
		err_set(e, ENOMEM, "network %s: out of memory", net->name);
		net_close(net);
		return NULL;
	}
	card->net = net;
	if (net_init(card, board, opts, e) < 0) {
		net_destroy(&card->dev);
		return NULL;
	}
	return &card->dev;
}

void virtio_net_set_link(struct virtio_dev *dev, bool up)
{
	struct virtio_net *card = from_dev(dev);

	pthread_mutex_lock(&dev->lock);
	card->config.status = htole16(up ? VIRTIO_NET_S_LINK_UP : 0);
	virtio_dev_config_changed(dev);
	pthread_mutex_unlock(&dev->lock);
}

void virtio_net_stats(struct virtio_dev *dev, struct virtio_net_stats *stats)
{
	struct virtio_net *card = from_dev(dev);

	memset(stats, 0, sizeof(*stats));
	for (unsigned int i = 0; i < card->pairs; i++) {
		struct net_pair *p = &card->pair[i];

		pthread_mutex_lock(&p->tx->lock);
		stats->tx_frames += p->stats.tx_frames;
		stats->tx_bytes += p->stats.tx_bytes;
		stats->tx_dropped += p->stats.tx_dropped;
		pthread_mutex_unlock(&p->tx->lock);
		pthread_mutex_lock(&p->rx->lock);
		stats->rx_frames += p->stats.rx_frames;
		stats->rx_bytes += p->stats.rx_bytes;
		stats->rx_dropped += p->stats.rx_dropped;
		pthread_mutex_unlock(&p->rx->lock);
	}
	stats->rx_dropped += __atomic_load_n(&card->net->dropped, __ATOMIC_RELAXED);
}
