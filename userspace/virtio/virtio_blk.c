// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_blk.c: a disk (virtio 1.2, chapter 5.2).
 *
 * Each virtqueue has its own thread, its own block queue and its own pool of requests, so queues share nothing but the
 * image and never wait for each other. A thread sleeps in its loop on two descriptors: the doorbell, upon which it pops
 * chains and submits them, telling the kernel once per batch; and the block queue's eventfd, upon which completions fill
 * used entries, with one flush and at most one interrupt per batch.
 *
 * Durability. A driver that negotiated FLUSH asks for it. One that did not, or that switched the write cache off in the
 * configuration (CONFIG_WCE), gets every write on stable storage before its completion.
 *
 * A disk that lost its image (virtio_blk_lose()) does not set NEEDS_RESET: a driver may not rely on a request's completion
 * then (2.1.1), and Linux's, which waits for each before it lets go of a disk, would do so for ever. So it is a device in
 * good order on a broken disk, with the capacity that it had.
 */
#include "virtio/virtio_blk.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "virtio/blk_queue.h"

#define QUEUE_SIZE	256
#define FEATURE(n)	(1ULL << (n))

#define CONFIG_FIELD(f)	offsetof(struct virtio_blk_config, f)

static void queue_settle(struct blk_queue *q)
{
	virtio_queue_call(q->vq);
	if (q->submitted) {
		q->submitted = false;
		block_queue_kick(q->block);
	}
}

static void blk_handle(struct virtio_queue *vq)
{
	struct blk_queue *q = vq->priv;
	unsigned int budget = vq->max_size;

	blk_waiting_run(q);
	do {
		virtq_disable_kicks(&vq->ring);
		while (budget && blk_start_next(q))
			budget--;
	} while (budget && q->free && virtio_dev_live(vq->dev) && virtq_enable_kicks(&vq->ring));
	queue_settle(q);
	if (!budget)
		virtio_queue_rekick(vq);
}

static void blk_completed(void *ctx, u32 events)
{
	struct blk_queue *q = ctx;
	bool starved;

	(void)events;
	pthread_mutex_lock(&q->vq->lock);
	starved = !q->free;
	block_queue_poll(q->block);
	queue_settle(q);
	/* With no request left, blk_handle() stopped without asking for kicks. */
	if (starved && q->free && q->vq->running)
		virtio_queue_rekick(q->vq);
	pthread_mutex_unlock(&q->vq->lock);
}

static void blk_turn(void *ctx)
{
	struct blk_queue *q = ctx;

	pthread_mutex_lock(&q->vq->lock);
	blk_waiting_run(q);
	queue_settle(q);
	pthread_mutex_unlock(&q->vq->lock);
}

static void blk_queue_release(struct virtio_queue *vq)
{
	blk_release(vq->priv);
}

static int queue_init(struct virtio_blk *disk, unsigned int i, u16 size, struct err *e)
{
	struct blk_queue *q = &disk->queue[i];
	int r;

	q->disk = disk;
	q->vq = virtio_dev_set_queue(&disk->dev, i, size, BLK_SEGMENTS, blk_handle);
	q->vq->priv = q;
	q->pool = calloc(size, sizeof(*q->pool));
	if (!q->pool)
		return err_set(e, ENOMEM, "disk %s: out of memory", block_path(disk->block));
	for (unsigned int k = size; k-- > 0;) {
		q->pool[k].queue = q;
		q->pool[k].next = q->free;
		q->free = &q->pool[k];
	}
	q->block = block_queue_create(disk->block, size);
	if (!q->block)
		return err_set(e, errno, "disk %s: cannot make an I/O queue: %s", block_path(disk->block),
			       strerror(errno));
	if (share_possible(disk->dev.mem)) {
		q->share = blk_share_create(disk->dev.mem, q->block, &share_module, &q->submitted, e);
		if (!q->share)
			return -ENOMEM;
	}
	r = iothread_init(&q->io, e);
	if (r < 0)
		return r;
	r = virtio_queue_bind(q->vq, q->io.loop);
	if (!r)
		r = loop_add(q->io.loop, &q->source, block_queue_fd(q->block), EPOLLIN, blk_completed, q);
	if (!r)
		r = loop_timer_init(q->io.loop, &q->timer, blk_turn, q);
	if (r < 0)
		return err_set(e, -r, "disk %s: cannot watch an I/O queue: %s", block_path(disk->block), strerror(-r));
	return 0;
}

/* ---- the device ---- */

static void blk_update_cache_mode(struct virtio_blk *disk)
{
	bool through = !virtio_dev_has(&disk->dev, VIRTIO_BLK_F_FLUSH) ||
		       (virtio_dev_has(&disk->dev, VIRTIO_BLK_F_CONFIG_WCE) && !disk->config.wce);

	__atomic_store_n(&disk->write_through, through, __ATOMIC_RELAXED);
}

static void blk_driver_ok(struct virtio_dev *dev)
{
	blk_update_cache_mode(blk_from_dev(dev));
}

static void blk_config_write(struct virtio_dev *dev, unsigned int off, unsigned int len)
{
	(void)off;
	(void)len;
	blk_from_dev(dev)->config.wce &= 1;
	blk_update_cache_mode(blk_from_dev(dev));
}

static void blk_reset(struct virtio_dev *dev)
{
	blk_from_dev(dev)->config.wce = 1;
}

static void blk_destroy(struct virtio_dev *dev)
{
	struct virtio_blk *disk = blk_from_dev(dev);

	virtio_dev_reset(dev);
	for (unsigned int i = 0; disk->queue && i < disk->num_queues; i++) {
		iothread_stop(&disk->queue[i].io);
		loop_timer_fini(disk->queue[i].io.loop, &disk->queue[i].timer);
		iothread_fini(&disk->queue[i].io);
		blk_share_destroy(disk->queue[i].share);
		block_queue_destroy(disk->queue[i].block);
		free(disk->queue[i].pool);
	}
	virtio_dev_fini(dev);
	free(disk->queue);
	free(disk);
}

static const struct virtio_ops blk_ops = {
	.driver_ok = blk_driver_ok,
	.config_write = blk_config_write,
	.reset = blk_reset,
	.queue_release = blk_queue_release,
	.destroy = blk_destroy,
};

static u64 blk_features(const struct virtio_blk *disk)
{
	u64 f = FEATURE(VIRTIO_BLK_F_SEG_MAX) | FEATURE(VIRTIO_BLK_F_BLK_SIZE) | FEATURE(VIRTIO_BLK_F_TOPOLOGY) |
		FEATURE(VIRTIO_BLK_F_FLUSH) | FEATURE(VIRTIO_BLK_F_CONFIG_WCE) | FEATURE(VIRTIO_BLK_F_MQ);

	if (block_readonly(disk->block))
		return f | FEATURE(VIRTIO_BLK_F_RO);
	if (block_discard_granularity(disk->block))
		f |= FEATURE(VIRTIO_BLK_F_DISCARD);
	return f | FEATURE(VIRTIO_BLK_F_WRITE_ZEROES);
}

static void blk_fill_config(struct virtio_blk *disk)
{
	struct virtio_blk_config *c = &disk->config;
	u32 logical = block_sector_size(disk->block), physical = block_physical_size(disk->block);
	u32 grain = block_discard_granularity(disk->block);

	c->capacity = htole64(block_capacity(disk->block) / BLK_SECTOR);
	c->seg_max = htole32(BLK_SEGMENTS - 2);
	c->blk_size = htole32(logical);
	while (logical << (c->physical_block_exp + 1) <= physical && c->physical_block_exp < 16)
		c->physical_block_exp++;
	c->min_io_size = htole16(1u << c->physical_block_exp);
	c->wce = 1;
	c->num_queues = htole16(disk->num_queues);
	c->max_discard_sectors = htole32(BLK_RANGE_SECTORS);
	c->max_discard_seg = htole32(BLK_RANGES);
	c->discard_sector_alignment = htole32(grain > BLK_SECTOR ? grain / BLK_SECTOR : 1);
	c->max_write_zeroes_sectors = htole32(BLK_RANGE_SECTORS);
	c->max_write_zeroes_seg = htole32(BLK_RANGES);
	c->write_zeroes_may_unmap = 1;
	disk->config_mask[CONFIG_FIELD(wce)] = 0xff;
}

static int blk_init(struct virtio_blk *disk, struct board *board, const struct virtio_blk_opts *opts, struct err *e)
{
	unsigned int size = opts->queue_size ? opts->queue_size : QUEUE_SIZE;
	char name[24];
	int r;

	if (size < 4 || size > VIRTQ_SIZE_MAX || (size & (size - 1)))
		return err_set(e, EINVAL, "disk %s: queue size %u: must be a power of two from 4 to %d",
			       block_path(disk->block), size, VIRTQ_SIZE_MAX);
	disk->num_queues = opts->queues ? opts->queues : 1;
	disk->queue = calloc(disk->num_queues, sizeof(*disk->queue));
	r = virtio_dev_init(&disk->dev, "virtio-blk", VIRTIO_ID_BLOCK, 0x010000, blk_features(disk), opts->flags,
			    &blk_ops, board->mem, disk->num_queues, e);
	if (r < 0)
		return r;
	if (!disk->queue)
		return err_set(e, ENOMEM, "disk %s: out of memory", block_path(disk->block));
	blk_fill_config(disk);
	virtio_dev_set_config(&disk->dev, &disk->config, disk->config_mask, sizeof(disk->config));
	if (opts->serial[0])
		memcpy(disk->serial, opts->serial, strnlen(opts->serial, sizeof(disk->serial)));
	else
		block_serial(disk->block, disk->serial);
	for (unsigned int i = 0; i < disk->num_queues; i++) {
		r = queue_init(disk, i, size, e);
		if (r < 0)
			return r;
	}
	for (unsigned int i = 0; i < disk->num_queues; i++) {
		snprintf(name, sizeof(name), "blk-%u", i);
		r = iothread_start(&disk->queue[i].io, name, e);
		if (r < 0)
			return r;
	}
	return virtio_dev_add(&disk->dev, board->pci, e);
}

struct virtio_dev *virtio_blk_create(struct board *board, struct block *block, const struct virtio_blk_opts *opts,
				     struct err *e)
{
	struct virtio_blk *disk = calloc(1, sizeof(*disk));

	if (!disk) {
		err_set(e, ENOMEM, "disk %s: out of memory", block_path(block));
		return NULL;
	}
	disk->block = block;
	disk->on_error = opts->stopped ? block_on_error(block) : BLOCK_ERROR_REPORT;
	disk->stopped = opts->stopped;
	disk->stopped_ctx = opts->ctx;
	if (blk_init(disk, board, opts, e) < 0) {
		blk_destroy(&disk->dev);
		return NULL;
	}
	return &disk->dev;
}

/* Whoever holds a queue's lock serves it: with all of them nobody else submits, completes or sleeps on a request. */
static void queues_take(struct virtio_blk *disk, struct block_queue **q)
{
	for (unsigned int i = 0; i < disk->num_queues; i++) {
		q[i] = disk->queue[i].block;
		pthread_mutex_lock(&disk->queue[i].vq->lock);
	}
}

static void queues_give(struct virtio_blk *disk)
{
	for (unsigned int i = 0; i < disk->num_queues; i++) {
		struct blk_queue *q = &disk->queue[i];

		queue_settle(q);
		/* The pool may have been empty when the ring was looked at last. */
		if (q->vq->running)
			virtio_queue_rekick(q->vq);
		pthread_mutex_unlock(&q->vq->lock);
	}
}

static u64 since(const struct timespec *from)
{
	struct timespec to;

	clock_gettime(CLOCK_MONOTONIC, &to);
	return (to.tv_sec - from->tv_sec) * 1000000000LL + to.tv_nsec - from->tv_nsec;
}

/* What block_*() has answered. */
static int answer(int r, char *why, struct err *e)
{
	if (r < 0)
		r = err_set(e, -r, "%s", why ? why : strerror(-r));
	free(why);
	return r;
}

static void bar_all(struct virtio_blk *disk, bool on)
{
	for (unsigned int i = 0; i < disk->num_queues; i++) {
		struct blk_queue *q = &disk->queue[i];

		pthread_mutex_lock(&q->vq->lock);
		blk_bar(q, on);
		queue_settle(q);
		pthread_mutex_unlock(&q->vq->lock);
	}
}

/* Between begin and finish: the disks stand still. */
static int branch_switch(const struct virtio_blk_branch *list, unsigned int count, struct block_branches *all, u64 *pause_ns,
			 char **why)
{
	struct block_queue *q[VIRTIO_QUEUES_MAX];
	struct timespec from;
	unsigned int i;
	int r;

	for (i = 0; i < count; i++)
		bar_all(blk_from_dev(list[i].dev), true);
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (i = 0; i < count; i++)
		queues_take(blk_from_dev(list[i].dev), q);
	r = block_branch_switch(all, why);
	for (i = 0; i < count; i++)
		queues_give(blk_from_dev(list[i].dev));
	*pause_ns = since(&from);
	return r;
}

int virtio_blk_branch(const struct virtio_blk_branch *list, unsigned int count, u64 *pause_ns, struct err *e)
{
	struct block_queue *q[VIRTIO_BLK_BRANCHES][VIRTIO_QUEUES_MAX];
	struct block_branch b[VIRTIO_BLK_BRANCHES];
	struct block_branches *all;
	char *why = NULL;
	unsigned int i, k;
	int r;

	if (!count || count > VIRTIO_BLK_BRANCHES)
		return err_set(e, EINVAL, "snapshots of %u disks at once: %d are possible", count, VIRTIO_BLK_BRANCHES);
	for (i = 0; i < count; i++) {
		struct virtio_blk *disk = blk_from_dev(list[i].dev);

		for (k = 0; k < disk->num_queues; k++)
			q[i][k] = disk->queue[k].block;
		b[i] = (struct block_branch){ disk->block, q[i], disk->num_queues, list[i].child, list[i].snapshot };
	}
	all = block_branch_begin(b, count, &why);
	if (!all)
		return answer(errno ? -errno : -EIO, why, e);
	r = branch_switch(list, count, all, pause_ns, &why);
	if (!r)
		r = block_branch_finish(all, &why);
	for (i = 0; i < count; i++)
		bar_all(blk_from_dev(list[i].dev), false);
	return answer(r, why, e);
}

static void capacity_changed(struct virtio_blk *disk)
{
	pthread_mutex_lock(&disk->dev.lock);
	disk->config.capacity = htole64(block_capacity(disk->block) / BLK_SECTOR);
	virtio_dev_config_changed(&disk->dev);
	pthread_mutex_unlock(&disk->dev.lock);
}

int virtio_blk_exchange(struct virtio_dev *dev, struct block *next, struct err *e)
{
	struct virtio_blk *disk = blk_from_dev(dev);
	struct block_queue *q[VIRTIO_QUEUES_MAX];
	char *why = NULL;
	int r;

	queues_take(disk, q);
	r = block_exchange(disk->block, next, q, disk->num_queues, &why);
	queues_give(disk);
	if (!r)
		capacity_changed(disk);
	return answer(r, why, e);
}

int virtio_blk_lose(struct virtio_dev *dev, struct block *empty, struct err *e)
{
	struct virtio_blk *disk = blk_from_dev(dev);
	struct block_queue *q[VIRTIO_QUEUES_MAX];
	char *why = NULL;
	int r;

	queues_take(disk, q);
	disk->lost = true;
	for (unsigned int i = 0; i < disk->num_queues; i++)
		blk_release(&disk->queue[i]);
	r = block_exchange(disk->block, empty, q, disk->num_queues, &why);
	disk->lost = !r;
	queues_give(disk);
	return answer(r, why, e);
}

int virtio_blk_grow(struct virtio_dev *dev, u64 size, u64 *pause_ns, struct err *e)
{
	struct virtio_blk *disk = blk_from_dev(dev);
	struct block_queue *q[VIRTIO_QUEUES_MAX];
	struct timespec from;
	char *why = NULL;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &from);
	queues_take(disk, q);
	r = block_grow(disk->block, size, q, disk->num_queues, &why);
	queues_give(disk);
	*pause_ns = since(&from);
	if (!r)
		capacity_changed(disk);
	return answer(r, why, e);
}

int virtio_blk_coalesce(struct virtio_dev *dev, struct block_coalesce *c, u64 *pause_ns, struct err *e)
{
	struct virtio_blk *disk = blk_from_dev(dev);
	struct block_queue *q[VIRTIO_QUEUES_MAX];
	struct timespec from;
	char *why = NULL;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &from);
	queues_take(disk, q);
	r = block_coalesce_switch(c, q, disk->num_queues, &why);
	queues_give(disk);
	*pause_ns = since(&from);
	return answer(r, why, e);
}

void virtio_blk_watch(struct virtio_dev *dev, struct block_mirror *m, bool on)
{
	struct virtio_blk *disk = blk_from_dev(dev);
	struct block_queue *q[VIRTIO_QUEUES_MAX];

	queues_take(disk, q);
	block_mirror_watch(m, on);
	queues_give(disk);
}

int virtio_blk_mirror(struct virtio_dev *dev, struct block_mirror *m, u64 *pause_ns, struct err *e)
{
	struct virtio_blk *disk = blk_from_dev(dev);
	struct block_queue *q[VIRTIO_QUEUES_MAX];
	struct timespec from;
	char *why = NULL;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &from);
	queues_take(disk, q);
	r = block_mirror_switch(m, q, disk->num_queues, &why);
	queues_give(disk);
	*pause_ns = since(&from);
	return answer(r, why, e);
}

void virtio_blk_set_on_error(struct virtio_dev *dev, enum block_on_error on_error)
{
	__atomic_store_n(&blk_from_dev(dev)->on_error, on_error, __ATOMIC_RELAXED);
}

enum block_on_error virtio_blk_on_error(struct virtio_dev *dev)
{
	return __atomic_load_n(&blk_from_dev(dev)->on_error, __ATOMIC_RELAXED);
}

void virtio_blk_set_throttle(struct virtio_dev *dev, struct throttle *t)
{
	struct virtio_blk *disk = blk_from_dev(dev);

	for (unsigned int i = 0; i < disk->num_queues; i++) {
		struct blk_queue *q = &disk->queue[i];

		pthread_mutex_lock(&q->vq->lock);
		q->throttle = t;
		q->reserved = false;
		/* Whatever waits looks at the new limits in its own thread. */
		loop_timer_arm(&q->timer, 1, 0);
		pthread_mutex_unlock(&q->vq->lock);
	}
}

bool virtio_blk_failure(struct virtio_dev *dev, struct virtio_blk_failure *f)
{
	struct virtio_blk *disk = blk_from_dev(dev);
	bool found = false;

	for (unsigned int i = 0; i < disk->num_queues && !found; i++) {
		struct blk_queue *q = &disk->queue[i];
		struct blk_req *req;

		pthread_mutex_lock(&q->vq->lock);
		req = q->held.head;
		found = req;
		if (req)
			*f = (struct virtio_blk_failure){ req->block.op, req->block.offset, req->block.length, req->error };
		pthread_mutex_unlock(&q->vq->lock);
	}
	return found;
}

void virtio_blk_retry(struct virtio_dev *dev)
{
	struct virtio_blk *disk = blk_from_dev(dev);

	for (unsigned int i = 0; i < disk->num_queues; i++) {
		struct blk_queue *q = &disk->queue[i];

		pthread_mutex_lock(&q->vq->lock);
		blk_held_retry(q);
		queue_settle(q);
		pthread_mutex_unlock(&q->vq->lock);
	}
}

void virtio_blk_stats(struct virtio_dev *dev, struct virtio_blk_stats *stats)
{
	struct virtio_blk *disk = blk_from_dev(dev);

	memset(stats, 0, sizeof(*stats));
	for (unsigned int i = 0; i < disk->num_queues; i++) {
		struct blk_queue *q = &disk->queue[i];

		pthread_mutex_lock(&q->vq->lock);
		stats->reads += q->stats.reads;
		stats->writes += q->stats.writes;
		stats->flushes += q->stats.flushes;
		stats->discards += q->stats.discards;
		stats->errors += q->stats.errors;
		stats->ignored += q->stats.ignored;
		stats->throttled += q->stats.throttled;
		stats->read_bytes += q->stats.read_bytes;
		stats->shared_bytes += q->stats.shared_bytes;
		stats->written_bytes += q->stats.written_bytes;
		pthread_mutex_unlock(&q->vq->lock);
	}
}
