// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_blk.c: a disk (virtio 1.2, chapter 5.2).
 *
 * Each virtqueue has its own thread, its own block queue and its own pool of requests, so queues share nothing but the
 * image and never wait for each other. A thread sleeps in its loop on two descriptors: the doorbell, upon which it pops
 * chains and submits them, telling the kernel once per batch; and the block queue's eventfd, upon which completions fill
 * used entries, with one flush and at most one interrupt per batch.
 *
 * A chain is a 16-byte header, data, and one status byte at the very end, however the driver cuts them into segments.
 * take_header() copies the header and trims the chain's iovec to the data in place, so data is never copied here.
 *
 * Durability. A driver that negotiated FLUSH asks for it. One that did not, or that switched the write cache off in the
 * configuration (CONFIG_WCE), gets every write on stable storage before its completion.
 *
 * Discard and write-zeroes carry a list of ranges; they are copied, checked and then carried out one after the other.
 */
#include "virtio/virtio_blk.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "virtio/iothread.h"

#define SECTOR		512u
#define QUEUE_SIZE	256
#define SEGMENTS	128		/* of data: two less, for header and status */
#define RANGES		16
#define RANGE_SECTORS	(1u << 22)	/* 2 GiB in one range */
#define FEATURE(n)	(1ULL << (n))

#define CONFIG_FIELD(f)	offsetof(struct virtio_blk_config, f)

struct blk_queue;

struct blk_req {
	struct blk_req *next_free;
	struct blk_queue *queue;
	struct virtq_elem e;
	struct block_req block;
	u8 *status;
	u32 written;			/* bytes in guest memory if it succeeds, without the status */
	struct virtio_blk_discard_write_zeroes range[RANGES];
	unsigned int ranges, range_at;
	struct iovec iov[SEGMENTS];
};

struct blk_queue {
	struct virtio_blk *disk;
	struct virtio_queue *vq;
	struct block_queue *block;
	struct loop_source source;
	struct iothread io;
	struct blk_req *pool;
	struct blk_req *free;		/* vq->lock; last used first, which keeps few pages warm */
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
	unsigned int num_queues;
	struct blk_queue *queue;
};

static struct virtio_blk *from_dev(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_blk, dev);
}

/* ---- one request ---- */

static void req_finish(struct blk_req *req, u8 status)
{
	struct blk_queue *q = req->queue;

	*req->status = status;
	virtq_fill(&q->vq->ring, &req->e, 1 + (status == VIRTIO_BLK_S_OK ? req->written : 0));
	if (status != VIRTIO_BLK_S_OK)
		q->stats.errors++;
	req->next_free = q->free;
	q->free = req;
}

static void req_next_range(struct blk_req *req);

static void req_done(struct block_req *block, int error)
{
	struct blk_req *req = block->opaque;

	if (!error && req->range_at < req->ranges) {
		req_next_range(req);
		return;
	}
	req_finish(req, !error ? VIRTIO_BLK_S_OK : error == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR);
	virtio_queue_end(req->queue->vq);
}

static void req_submit(struct blk_req *req)
{
	req->block.done = req_done;
	req->block.opaque = req;
	req->queue->submitted = true;
	block_queue_submit(req->queue->block, &req->block);
}

static void req_next_range(struct blk_req *req)
{
	const struct virtio_blk_discard_write_zeroes *r = &req->range[req->range_at++];

	req->block.offset = le64toh(r->sector) * SECTOR;
	req->block.length = (u64)le32toh(r->num_sectors) * SECTOR;
	if (req->block.op == BLOCK_WRITE_ZEROES && (le32toh(r->flags) & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
		req->block.flags |= BLOCK_F_UNMAP;
	else
		req->block.flags &= ~BLOCK_F_UNMAP;
	req_submit(req);
}

/* Copy the header, find the status byte, and cut both off the iovec. False: not a request at all. */
static bool take_header(struct blk_req *req, struct virtio_blk_outhdr *hdr)
{
	struct virtq_elem *e = &req->e;
	u32 left = sizeof(*hdr);
	struct iovec *last;

	if (virtq_elem_read(e, 0, hdr, sizeof(*hdr)) != sizeof(*hdr) || !e->in_num)
		return false;
	last = &e->iov[e->out_num + e->in_num - 1];
	last->iov_len--;
	req->status = (u8 *)last->iov_base + last->iov_len;
	e->in_len--;
	if (!last->iov_len)
		e->in_num--;
	e->out_len -= left;
	while (left) {
		u32 part = e->iov->iov_len < left ? e->iov->iov_len : left;

		e->iov->iov_base = (char *)e->iov->iov_base + part;
		e->iov->iov_len -= part;
		left -= part;
		if (!e->iov->iov_len) {
			e->iov++;
			e->out_num--;
		}
	}
	return true;
}

static void start_transfer(struct blk_req *req, const struct virtio_blk_outhdr *hdr, bool write)
{
	struct virtq_elem *e = &req->e;
	struct blk_queue *q = req->queue;
	u64 sector = le64toh(hdr->sector);
	u32 len = write ? e->out_len : e->in_len;

	/* A sector that overflows as a byte offset is far outside every disk. */
	if (sector > UINT64_MAX / SECTOR || !len || len % SECTOR) {
		req_finish(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	req->block.op = write ? BLOCK_WRITE : BLOCK_READ;
	req->block.flags = 0;
	if (write && __atomic_load_n(&q->disk->write_through, __ATOMIC_RELAXED))
		req->block.flags = BLOCK_F_FUA;
	req->block.offset = sector * SECTOR;
	req->block.length = len;
	req->block.iov = write ? e->iov : e->iov + e->out_num;
	req->block.iovcnt = write ? e->out_num : e->in_num;
	req->written = write ? 0 : e->in_len;
	if (write) {
		q->stats.writes++;
		q->stats.written_bytes += e->out_len;
	} else {
		q->stats.reads++;
		q->stats.read_bytes += e->in_len;
	}
	virtio_queue_begin(q->vq);
	req_submit(req);
}

static bool ranges_valid(const struct blk_req *req, bool discard)
{
	u64 sectors = block_capacity(req->queue->disk->block) / SECTOR;

	for (unsigned int i = 0; i < req->ranges; i++) {
		u64 sector = le64toh(req->range[i].sector);
		u32 num = le32toh(req->range[i].num_sectors);
		u32 flags = le32toh(req->range[i].flags);

		if (!num || num > RANGE_SECTORS || sector > sectors || num > sectors - sector)
			return false;
		if (flags & ~(discard ? 0u : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
			return false;
	}
	return true;
}

static void start_ranges(struct blk_req *req, bool discard)
{
	struct blk_queue *q = req->queue;
	u32 len = req->e.out_len;

	if (!len || len % sizeof(req->range[0]) || len > sizeof(req->range)) {
		req_finish(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	virtq_elem_read(&req->e, 0, req->range, len);
	req->ranges = len / sizeof(req->range[0]);
	if (!ranges_valid(req, discard)) {
		req_finish(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	req->block.op = discard ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES;
	req->block.flags = 0;
	if (!discard && __atomic_load_n(&q->disk->write_through, __ATOMIC_RELAXED))
		req->block.flags = BLOCK_F_FUA;
	req->block.iov = NULL;
	req->block.iovcnt = 0;
	q->stats.discards++;
	virtio_queue_begin(q->vq);
	req_next_range(req);
}

static void start_flush(struct blk_req *req)
{
	req->block.op = BLOCK_FLUSH;
	req->block.flags = 0;
	req->block.offset = 0;
	req->block.length = 0;
	req->block.iov = NULL;
	req->block.iovcnt = 0;
	req->queue->stats.flushes++;
	virtio_queue_begin(req->queue->vq);
	req_submit(req);
}

static void give_id(struct blk_req *req)
{
	req->written = virtq_elem_write(&req->e, 0, req->queue->disk->serial, VIRTIO_BLK_ID_BYTES);
	req_finish(req, VIRTIO_BLK_S_OK);
}

static void req_start(struct blk_req *req)
{
	struct virtio_blk *disk = req->queue->disk;
	struct virtio_blk_outhdr hdr;
	u32 type;

	req->ranges = 0;
	req->range_at = 0;
	req->written = 0;
	if (!take_header(req, &hdr)) {
		req->next_free = req->queue->free;
		req->queue->free = req;
		virtio_dev_break(&disk->dev, -1);
		return;
	}
	type = le32toh(hdr.type);
	if (type != VIRTIO_BLK_T_IN && type != VIRTIO_BLK_T_GET_ID && type != VIRTIO_BLK_T_FLUSH &&
	    block_readonly(disk->block)) {
		req_finish(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	switch (type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		start_transfer(req, &hdr, type == VIRTIO_BLK_T_OUT);
		break;
	case VIRTIO_BLK_T_FLUSH:
		start_flush(req);
		break;
	case VIRTIO_BLK_T_GET_ID:
		give_id(req);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		start_ranges(req, type == VIRTIO_BLK_T_DISCARD);
		break;
	default:
		req_finish(req, VIRTIO_BLK_S_UNSUPP);
	}
}

/* ---- queues ---- */

static bool start_next(struct blk_queue *q)
{
	struct blk_req *req = q->free;

	/* The pool has one request per slot, so it is empty only when the ring is. */
	if (!req)
		return false;
	req->e.iov = req->iov;
	if (!virtio_queue_pop(q->vq, &req->e))
		return false;
	q->free = req->next_free;
	req_start(req);
	return true;
}

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

	do {
		virtq_disable_kicks(&vq->ring);
		while (budget && start_next(q))
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

static int queue_init(struct virtio_blk *disk, unsigned int i, u16 size, struct err *e)
{
	struct blk_queue *q = &disk->queue[i];
	int r;

	q->disk = disk;
	q->vq = virtio_dev_set_queue(&disk->dev, i, size, SEGMENTS, blk_handle);
	q->vq->priv = q;
	q->pool = calloc(size, sizeof(*q->pool));
	if (!q->pool)
		return err_set(e, ENOMEM, "disk %s: out of memory", block_path(disk->block));
	for (unsigned int k = size; k-- > 0;) {
		q->pool[k].queue = q;
		q->pool[k].next_free = q->free;
		q->free = &q->pool[k];
	}
	q->block = block_queue_create(disk->block, size);
	if (!q->block)
		return err_set(e, errno, "disk %s: cannot make an I/O queue: %s", block_path(disk->block),
			       strerror(errno));
	r = iothread_init(&q->io, e);
	if (r < 0)
		return r;
	r = virtio_queue_bind(q->vq, q->io.loop);
	if (!r)
		r = loop_add(q->io.loop, &q->source, block_queue_fd(q->block), EPOLLIN, blk_completed, q);
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
	blk_update_cache_mode(from_dev(dev));
}

static void blk_config_write(struct virtio_dev *dev, unsigned int off, unsigned int len)
{
	(void)off;
	(void)len;
	from_dev(dev)->config.wce &= 1;
	blk_update_cache_mode(from_dev(dev));
}

static void blk_reset(struct virtio_dev *dev)
{
	from_dev(dev)->config.wce = 1;
}

static void blk_destroy(struct virtio_dev *dev)
{
	struct virtio_blk *disk = from_dev(dev);

	virtio_dev_reset(dev);
	for (unsigned int i = 0; disk->queue && i < disk->num_queues; i++) {
		iothread_fini(&disk->queue[i].io);
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

	c->capacity = htole64(block_capacity(disk->block) / SECTOR);
	c->seg_max = htole32(SEGMENTS - 2);
	c->blk_size = htole32(logical);
	while (logical << (c->physical_block_exp + 1) <= physical && c->physical_block_exp < 16)
		c->physical_block_exp++;
	c->min_io_size = htole16(1u << c->physical_block_exp);
	c->wce = 1;
	c->num_queues = htole16(disk->num_queues);
	c->max_discard_sectors = htole32(RANGE_SECTORS);
	c->max_discard_seg = htole32(RANGES);
	c->discard_sector_alignment = htole32(grain > SECTOR ? grain / SECTOR : 1);
	c->max_write_zeroes_sectors = htole32(RANGE_SECTORS);
	c->max_write_zeroes_seg = htole32(RANGES);
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
	if (blk_init(disk, board, opts, e) < 0) {
		blk_destroy(&disk->dev);
		return NULL;
	}
	return &disk->dev;
}

/* Whoever holds a queue's lock serves it: with all of them nobody else submits, completes or sleeps on a request. */
int virtio_blk_branch(struct virtio_dev *dev, const char *child, const char *snapshot, u64 *pause_ns, struct err *e)
{
	struct virtio_blk *disk = from_dev(dev);
	struct block_queue **q = calloc(disk->num_queues, sizeof(*q));
	struct timespec from, to;
	char *why = NULL;
	unsigned int i;
	int r;

	if (!q)
		return err_set(e, ENOMEM, "out of memory");
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (i = 0; i < disk->num_queues; i++) {
		q[i] = disk->queue[i].block;
		pthread_mutex_lock(&disk->queue[i].vq->lock);
	}
	r = block_branch(disk->block, q, disk->num_queues, child, snapshot, &why);
	for (i = 0; i < disk->num_queues; i++) {
		struct blk_queue *bq = &disk->queue[i];

		queue_settle(bq);
		/* The pool may have been empty when the ring was looked at last. */
		if (bq->vq->running)
			virtio_queue_rekick(bq->vq);
		pthread_mutex_unlock(&bq->vq->lock);
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	*pause_ns = (to.tv_sec - from.tv_sec) * 1000000000LL + to.tv_nsec - from.tv_nsec;
	free(q);
	if (r < 0)
		r = err_set(e, -r, "%s", why ? why : strerror(-r));
	free(why);
	return r;
}

void virtio_blk_stats(struct virtio_dev *dev, struct virtio_blk_stats *stats)
{
	struct virtio_blk *disk = from_dev(dev);

	memset(stats, 0, sizeof(*stats));
	for (unsigned int i = 0; i < disk->num_queues; i++) {
		struct blk_queue *q = &disk->queue[i];

		pthread_mutex_lock(&q->vq->lock);
		stats->reads += q->stats.reads;
		stats->writes += q->stats.writes;
		stats->flushes += q->stats.flushes;
		stats->discards += q->stats.discards;
		stats->errors += q->stats.errors;
		stats->read_bytes += q->stats.read_bytes;
		stats->written_bytes += q->stats.written_bytes;
		pthread_mutex_unlock(&q->vq->lock);
	}
}
