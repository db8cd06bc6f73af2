// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_balloon.c: memory that the guest gives back (virtio 1.2, chapter 5.5).
 *
 * Inflating: a chain lists guest page numbers, 32 bits each; runs of neighbours become one mem_release(), after
 * which the host owns the pages and the guest would read zeroes. Deflating needs nothing: a touched page comes back by a
 * fault. Free page reporting: the writable segments of a chain *are* the free memory; we shrink each to whole pages, drop
 * them, and only then return the chain, since until then the guest does not use them.
 *
 * Statistics work backwards: the driver leaves one buffer with us; giving it back is the question, and the next buffer,
 * already filled, the answer.
 *
 * A page number outside RAM is skipped: it harms nobody, and old drivers send such.
 */
#include "virtio/virtio_balloon.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define QUEUE_SIZE	128
#define SEGMENTS	64
#define PFN_SHIFT	12
#define PAGE		4096ULL
#define PFNS		256		/* page numbers copied at a time, as many as Linux sends */
#define BUDGET		32
#define STATS_MAX	64

enum { Q_INFLATE, Q_DEFLATE, Q_STATS, Q_REPORT, QUEUES };

struct virtio_balloon {
	struct virtio_dev dev;
	struct loop *loop;
	struct virtio_balloon_config config;
	u8 config_mask[sizeof(struct virtio_balloon_config)];
	/* The statistics buffer the guest left with us. Under the statistics queue's lock. */
	struct iovec stats_iov[SEGMENTS];
	struct virtq_elem stats_elem;
	bool stats_held;
	bool stats_wanted;
	struct virtio_balloon_stats stats;	/* same lock; the sums are atomic */
};

static struct virtio_balloon *from_dev(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_balloon, dev);
}

static u64 drop(struct virtio_balloon *b, u64 gpa, u64 len)
{
	void *hva = mem_ptr(b->dev.mem, gpa, len);

	if (!hva || mem_release(b->dev.mem, hva, len) < 0)
		return 0;
	mem_dirty(b->dev.mem, gpa, len);
	return len;
}

static u64 drop_pfns(struct virtio_balloon *b, const u32 *pfn, unsigned int n)
{
	u64 dropped = 0;

	for (unsigned int i = 0; i < n;) {
		u64 first = le32toh(pfn[i]);
		unsigned int run = 1;

		/* Linux takes pages from the top of a block downwards, so runs go both ways. */
		while (i + run < n && le32toh(pfn[i + run]) == first + run)
			run++;
		if (run == 1) {
			while (i + run < n && le32toh(pfn[i + run]) + (u64)run == first)
				run++;
			first -= run - 1;
		}
		dropped += drop(b, first << PFN_SHIFT, (u64)run << PFN_SHIFT);
		i += run;
	}
	return dropped;
}

static s64 inflate_serve(struct virtio_queue *vq, struct virtq_elem *e)
{
	struct virtio_balloon *b = from_dev(vq->dev);
	u32 pfn[PFNS];
	size_t at = 0, n;

	/* 4 MiB of page numbers describe 4 GiB: more in one chain is no driver's doing. */
	if (e->out_len > 4 * MIB)
		return -EPROTO;
	while ((n = virtq_elem_read(e, at, pfn, sizeof(pfn))) >= sizeof(pfn[0])) {
		u64 dropped = drop_pfns(b, pfn, n / sizeof(pfn[0]));

		__atomic_fetch_add(&b->stats.inflated_bytes, dropped, __ATOMIC_RELAXED);
		at += n;
	}
	return 0;
}

static s64 deflate_serve(struct virtio_queue *vq, struct virtq_elem *e)
{
	(void)vq;
	(void)e;
	return 0;
}

static s64 report_serve(struct virtio_queue *vq, struct virtq_elem *e)
{
	struct virtio_balloon *b = from_dev(vq->dev);

	for (unsigned int i = e->out_num; i < (unsigned int)e->out_num + e->in_num; i++) {
		uintptr_t start = ALIGN_UP((uintptr_t)e->iov[i].iov_base, PAGE);
		uintptr_t end = ALIGN_DOWN((uintptr_t)e->iov[i].iov_base + e->iov[i].iov_len, PAGE);

		if (start < end && !mem_release(b->dev.mem, (void *)start, end - start))
			__atomic_fetch_add(&b->stats.reported_bytes, end - start, __ATOMIC_RELAXED);
	}
	return 0;
}

static void balloon_serve(struct virtio_queue *vq, s64 (*serve)(struct virtio_queue *vq, struct virtq_elem *e))
{
	struct iovec iov[SEGMENTS];
	struct virtq_elem e = { .iov = iov };

	virtio_queue_serve(vq, &e, BUDGET, serve);
}

static void inflate_handle(struct virtio_queue *vq)
{
	balloon_serve(vq, inflate_serve);
}

static void deflate_handle(struct virtio_queue *vq)
{
	balloon_serve(vq, deflate_serve);
}

static void report_handle(struct virtio_queue *vq)
{
	balloon_serve(vq, report_serve);
}

/* ---- statistics ---- */

static u64 *stats_field(struct virtio_balloon_stats *s, u16 tag)
{
	switch (tag) {
	case VIRTIO_BALLOON_S_SWAP_IN:
		return &s->swap_in;
	case VIRTIO_BALLOON_S_SWAP_OUT:
		return &s->swap_out;
	case VIRTIO_BALLOON_S_MAJFLT:
		return &s->major_faults;
	case VIRTIO_BALLOON_S_MINFLT:
		return &s->minor_faults;
	case VIRTIO_BALLOON_S_MEMFREE:
		return &s->free_bytes;
	case VIRTIO_BALLOON_S_MEMTOT:
		return &s->total_bytes;
	case VIRTIO_BALLOON_S_AVAIL:
		return &s->available_bytes;
	case VIRTIO_BALLOON_S_CACHES:
		return &s->cache_bytes;
	default:
		return NULL;
	}
}

static void stats_forget(struct virtio_balloon_stats *s)
{
	s->valid = false;
	for (u16 tag = 0; tag < VIRTIO_BALLOON_S_NR; tag++)
		if (stats_field(s, tag))
			*stats_field(s, tag) = UINT64_MAX;
}

static void stats_take(struct virtio_balloon *b, const struct virtq_elem *e)
{
	struct virtio_balloon_stat stat;
	struct timespec now;

	for (size_t i = 0; i < STATS_MAX; i++) {
		u64 *field;

		if (virtq_elem_read(e, i * sizeof(stat), &stat, sizeof(stat)) != sizeof(stat))
			break;
		field = stats_field(&b->stats, le16toh(stat.tag));
		if (field)
			*field = le64toh(stat.val);
		b->stats.valid = true;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	b->stats.guest_ns = now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void stats_ask(struct virtio_balloon *b)
{
	struct virtio_queue *vq = &b->dev.queue[Q_STATS];

	b->stats_wanted = true;
	if (!b->stats_held || !vq->running)
		return;
	b->stats_held = false;
	b->stats_wanted = false;
	virtq_fill(&vq->ring, &b->stats_elem, 0);
	virtio_queue_call(vq);
}

static void stats_handle(struct virtio_queue *vq)
{
	struct virtio_balloon *b = from_dev(vq->dev);

	/* The driver owns one buffer at a time; a second would only be kept waiting. */
	while (!b->stats_held) {
		b->stats_elem.iov = b->stats_iov;
		if (!virtio_queue_pop(vq, &b->stats_elem)) {
			if (virtio_dev_live(vq->dev) && virtq_enable_kicks(&vq->ring))
				continue;
			return;
		}
		stats_take(b, &b->stats_elem);
		b->stats_held = true;
		if (b->stats_wanted) {
			stats_ask(b);
			virtq_enable_kicks(&vq->ring);
			return;
		}
	}
	virtq_enable_kicks(&vq->ring);
}

void virtio_balloon_poll(struct virtio_dev *dev)
{
	pthread_mutex_lock(&dev->queue[Q_STATS].lock);
	stats_ask(from_dev(dev));
	pthread_mutex_unlock(&dev->queue[Q_STATS].lock);
}

void virtio_balloon_stats(struct virtio_dev *dev, struct virtio_balloon_stats *stats)
{
	struct virtio_balloon *b = from_dev(dev);

	pthread_mutex_lock(&dev->lock);
	pthread_mutex_lock(&dev->queue[Q_STATS].lock);
	*stats = b->stats;
	stats->target_bytes = (u64)le32toh(b->config.num_pages) << PFN_SHIFT;
	stats->actual_bytes = (u64)le32toh(b->config.actual) << PFN_SHIFT;
	pthread_mutex_unlock(&dev->queue[Q_STATS].lock);
	pthread_mutex_unlock(&dev->lock);
}

/* ---- the device ---- */

void virtio_balloon_set_target(struct virtio_dev *dev, u64 bytes)
{
	struct virtio_balloon *b = from_dev(dev);

	if (bytes > dev->mem->size)
		bytes = dev->mem->size;
	pthread_mutex_lock(&dev->lock);
	b->config.num_pages = htole32(bytes >> PFN_SHIFT);
	virtio_dev_config_changed(dev);
	pthread_mutex_unlock(&dev->lock);
}

/* The target outlives a restart of the guest: the host still wants the memory. */
static void balloon_reset(struct virtio_dev *dev)
{
	struct virtio_balloon *b = from_dev(dev);

	b->config.actual = 0;
	b->stats_held = false;
	stats_forget(&b->stats);
}

static void balloon_queue_reset(struct virtio_queue *vq)
{
	if (vq->index == Q_STATS)
		from_dev(vq->dev)->stats_held = false;
}

static void balloon_destroy(struct virtio_dev *dev)
{
	struct virtio_balloon *b = from_dev(dev);

	for (unsigned int i = 0; i < dev->num_queues; i++)
		virtio_queue_unbind(&dev->queue[i], b->loop);
	virtio_dev_fini(dev);
	free(b);
}

static const struct virtio_ops balloon_ops = {
	.reset = balloon_reset,
	.queue_reset = balloon_queue_reset,
	.destroy = balloon_destroy,
};

static int balloon_init(struct virtio_balloon *b, struct board *board, unsigned int flags, struct err *e)
{
	static void (*const handle[QUEUES])(struct virtio_queue *) = {
		[Q_INFLATE] = inflate_handle,
		[Q_DEFLATE] = deflate_handle,
		[Q_STATS] = stats_handle,
		[Q_REPORT] = report_handle,
	};
	u64 features = 1ULL << VIRTIO_BALLOON_F_STATS_VQ | 1ULL << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
		       1ULL << VIRTIO_BALLOON_F_REPORTING;
	int r;

	r = virtio_dev_init(&b->dev, "virtio-balloon", VIRTIO_ID_BALLOON, 0x00ff00, features, flags, &balloon_ops,
			    board->mem, QUEUES, e);
	if (r < 0)
		return r;
	memset(b->config_mask + offsetof(struct virtio_balloon_config, actual), 0xff, sizeof(b->config.actual));
	/* Up to `actual`: what follows belongs to features that are not offered. */
	virtio_dev_set_config(&b->dev, &b->config, b->config_mask,
			      offsetof(struct virtio_balloon_config, actual) + sizeof(b->config.actual));
	stats_forget(&b->stats);
	for (unsigned int i = 0; i < QUEUES; i++) {
		r = virtio_queue_bind(virtio_dev_set_queue(&b->dev, i, QUEUE_SIZE, SEGMENTS, handle[i]), board->loop);
		if (r < 0)
			return err_set(e, -r, "balloon: cannot watch a queue: %s", strerror(-r));
	}
	return virtio_dev_add(&b->dev, board->pci, e);
}

struct virtio_dev *virtio_balloon_create(struct board *board, unsigned int flags, struct err *e)
{
	struct virtio_balloon *b = calloc(1, sizeof(*b));

	if (!b) {
		err_set(e, ENOMEM, "balloon: out of memory");
		return NULL;
	}
	b->loop = board->loop;
	if (balloon_init(b, board, flags, e) < 0) {
		balloon_destroy(&b->dev);
		return NULL;
	}
	return &b->dev;
}
