// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_rng.c: entropy from the host's generator (virtio 1.2, chapter 5.4).
 *
 * A request is a writable chain of any length; we give at most CHUNK bytes to each, which the protocol allows and which
 * keeps one kick of a greedy guest short. getrandom() never blocks once the host has booted; if it fails the chain goes
 * back empty, and the guest asks again.
 */
#include "virtio/virtio_rng.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#define QUEUE_SIZE	64
#define SEGMENTS	16
#define CHUNK		4096
#define BUDGET		16

struct virtio_rng {
	struct virtio_dev dev;
	struct loop *loop;
};

static s64 rng_serve(struct virtio_queue *vq, struct virtq_elem *e)
{
	u8 buf[CHUNK];
	ssize_t n = e->in_len < CHUNK ? e->in_len : CHUNK;

	(void)vq;
	if (!e->in_len)
		return -EPROTO;
	n = getrandom(buf, n, 0);
	return n < 0 ? 0 : (s64)virtq_elem_write(e, 0, buf, n);
}

static void rng_handle(struct virtio_queue *vq)
{
	struct iovec iov[SEGMENTS];
	struct virtq_elem e = { .iov = iov };

	virtio_queue_serve(vq, &e, BUDGET, rng_serve);
}

static void rng_destroy(struct virtio_dev *dev)
{
	struct virtio_rng *rng = container_of(dev, struct virtio_rng, dev);

	if (dev->num_queues)
		virtio_queue_unbind(&dev->queue[0], rng->loop);
	virtio_dev_fini(dev);
	free(rng);
}

static const struct virtio_ops rng_ops = { .destroy = rng_destroy };

struct virtio_dev *virtio_rng_create(struct board *board, unsigned int flags, struct err *e)
{
	struct virtio_rng *rng = calloc(1, sizeof(*rng));
	int r;

	if (!rng) {
		err_set(e, ENOMEM, "entropy device: out of memory");
		return NULL;
	}
	rng->loop = board->loop;
	r = virtio_dev_init(&rng->dev, "virtio-rng", VIRTIO_ID_RNG, 0x00ff00, 0, flags, &rng_ops, board->mem, 1, e);
	if (!r)
		r = virtio_queue_bind(virtio_dev_set_queue(&rng->dev, 0, QUEUE_SIZE, SEGMENTS, rng_handle),
				      board->loop);
	if (!r)
		r = virtio_dev_add(&rng->dev, board->pci, e);
	if (r < 0) {
		err_prefix(e, "entropy device");
		rng_destroy(&rng->dev);
		return NULL;
	}
	return &rng->dev;
}
