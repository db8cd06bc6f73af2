// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * blk_request.c: a disk's requests, from the ring to the block layer and back.
 *
 * A chain is a 16-byte header, data, and one status byte at the very end, however the driver cuts them into segments.
 * take_header() copies the header and trims the chain's iovec to the data in place, so data is never copied here.
 *
 * Discard and write-zeroes carry a list of ranges; they are copied, checked and then carried out one after the other.
 *
 * A limited disk's requests wait in the order in which they came, and only the oldest of a queue has a time of its own, so
 * that queues and disks of one group take turns. What fails on the host is reported, passed over or held, as the disk's
 * policy says; a held request is as it was before it was submitted, and is submitted again.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "virtio/blk_queue.h"

static void req_finish(struct blk_req *req, u8 status)
{
	struct blk_queue *q = req->queue;

	*req->status = status;
	virtq_fill(&q->vq->ring, &req->e, 1 + (status == VIRTIO_BLK_S_OK ? req->written : 0));
	if (status != VIRTIO_BLK_S_OK)
		q->stats.errors++;
	req->next = q->free;
	q->free = req;
}

static void req_next_range(struct blk_req *req);

/* What the guest did wrong is its own affair, whatever the policy for the host's failures. */
static bool guests_fault(int error)
{
	return error == -EINVAL || error == -ERANGE || error == -EROFS || error == -EOPNOTSUPP;
}

static enum block_on_error policy(const struct blk_queue *q, int error)
{
	int on_error = __atomic_load_n(&q->disk->on_error, __ATOMIC_RELAXED);

	if (guests_fault(error) || !q->disk->stopped)
		return BLOCK_ERROR_REPORT;
	if (on_error == BLOCK_ERROR_ENOSPC)
		on_error = error == -ENOSPC || error == -EDQUOT ? BLOCK_ERROR_STOP : BLOCK_ERROR_REPORT;
	/* A queue that is being stopped, or loses its image, waits for its requests. */
	return on_error == BLOCK_ERROR_STOP && (!q->vq->running || q->disk->lost) ? BLOCK_ERROR_REPORT : on_error;
}

static void list_add(struct blk_list *l, struct blk_req *req)
{
	req->next = NULL;
	if (l->head)
		l->tail->next = req;
	else
		l->head = req;
	l->tail = req;
}

static struct blk_req *list_take(struct blk_list *l)
{
	struct blk_req *req = l->head;

	if (req)
		l->head = req->next;
	return req;
}

static void req_end(struct blk_req *req, int error)
{
	req_finish(req, !error ? VIRTIO_BLK_S_OK : error == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR);
	virtio_queue_end(req->queue->vq);
}

/* What could not be read must not be what the buffer held before. */
static void req_ignore(struct blk_req *req)
{
	for (int i = 0; req->block.op == BLOCK_READ && i < req->block.iovcnt; i++)
		memset(req->block.iov[i].iov_base, 0, req->block.iov[i].iov_len);
	req->queue->stats.ignored++;
}

static void req_hold(struct blk_req *req, int error)
{
	struct blk_queue *q = req->queue;

	q->stats.errors++;
	req->error = error;
	list_add(&q->held, req);
	q->disk->stopped(q->disk->stopped_ctx);
}

static void req_done(struct block_req *block, int error)
{
	struct blk_req *req = block->opaque;

	if (error) {
		switch (policy(req->queue, error)) {
		case BLOCK_ERROR_STOP:
			req_hold(req, error);
			return;
		case BLOCK_ERROR_IGNORE:
			req_ignore(req);
			error = 0;
			break;
		default:
			break;
		}
	}
	if (!error && req->range_at < req->ranges)
		req_next_range(req);
	else
		req_end(req, error);
}

static void req_submit(struct blk_req *req)
{
	struct blk_queue *q = req->queue;

	/* The next range of one that had begun. */
	if (q->disk->lost) {
		req_end(req, -EIO);
		return;
	}
	if (q->bar && (req->block.op == BLOCK_FLUSH || req->block.flags & BLOCK_F_FUA)) {
		list_add(&q->barred, req);
		return;
	}
	req->block.done = req_done;
	req->block.opaque = req;
	q->submitted = true;
	if (q->share && req->block.op == BLOCK_READ)
		blk_share_read(q->share, &req->block, &q->stats.shared_bytes);
	else
		block_queue_submit(q->block, &req->block);
}

static u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* A request costs its bytes; what moves none costs as one request. */
static u64 req_bytes(const struct blk_req *req)
{
	return req->block.op == BLOCK_READ || req->block.op == BLOCK_WRITE ? req->block.length : 0;
}

void blk_waiting_run(struct blk_queue *q)
{
	while (q->waiting.head) {
		if (q->throttle) {
			u64 now = now_ns();

			if (!q->reserved || q->generation != throttle_generation(q->throttle)) {
				q->generation = throttle_generation(q->throttle);
				q->turn = throttle_reserve(q->throttle, req_bytes(q->waiting.head), now);
				q->reserved = true;
			}
			if (q->turn > now) {
				loop_timer_arm(&q->timer, q->turn - now, 0);
				return;
			}
		}
		q->reserved = false;
		req_submit(list_take(&q->waiting));
	}
}

/* Whoever comes later waits behind those who wait. */
static void req_admit(struct blk_req *req)
{
	struct blk_queue *q = req->queue;

	virtio_queue_begin(q->vq);
	if (!q->throttle && !q->waiting.head) {
		req_submit(req);
		return;
	}
	list_add(&q->waiting, req);
	/* With others before it, the timer or a change of the limits brings its turn. */
	if (q->waiting.head == req)
		blk_waiting_run(q);
	if (q->waiting.head)
		q->stats.throttled++;
}

void blk_held_retry(struct blk_queue *q)
{
	struct blk_req *req;

	while ((req = list_take(&q->held)))
		req_submit(req);
}

void blk_bar(struct blk_queue *q, bool on)
{
	struct blk_req *req;

	q->bar = on;
	while (!on && (req = list_take(&q->barred)))
		req_submit(req);
}

void blk_release(struct blk_queue *q)
{
	struct blk_req *req;

	while ((req = list_take(&q->barred)))
		req_end(req, -ECANCELED);
	while ((req = list_take(&q->held)))
		req_end(req, req->error);
	while ((req = list_take(&q->waiting)))
		req_end(req, -ECANCELED);
	q->reserved = false;
}

static void range_take(struct blk_req *req)
{
	const struct virtio_blk_discard_write_zeroes *r = &req->range[req->range_at++];

	req->block.offset = le64toh(r->sector) * BLK_SECTOR;
	req->block.length = (u64)le32toh(r->num_sectors) * BLK_SECTOR;
	if (req->block.op == BLOCK_WRITE_ZEROES && (le32toh(r->flags) & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
		req->block.flags |= BLOCK_F_UNMAP;
	else
		req->block.flags &= ~BLOCK_F_UNMAP;
}

static void req_next_range(struct blk_req *req)
{
	range_take(req);
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
	if (sector > UINT64_MAX / BLK_SECTOR || !len || len % BLK_SECTOR) {
		req_finish(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	req->block.op = write ? BLOCK_WRITE : BLOCK_READ;
	req->block.flags = 0;
	if (write && __atomic_load_n(&q->disk->write_through, __ATOMIC_RELAXED))
		req->block.flags = BLOCK_F_FUA;
	req->block.offset = sector * BLK_SECTOR;
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
	req_admit(req);
}

static bool ranges_valid(const struct blk_req *req, bool discard)
{
	u64 sectors = block_capacity(req->queue->disk->block) / BLK_SECTOR;

	for (unsigned int i = 0; i < req->ranges; i++) {
		u64 sector = le64toh(req->range[i].sector);
		u32 num = le32toh(req->range[i].num_sectors);
		u32 flags = le32toh(req->range[i].flags);

		if (!num || num > BLK_RANGE_SECTORS || sector > sectors || num > sectors - sector)
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
	range_take(req);
	req_admit(req);
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
	req_admit(req);
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
		req->next = req->queue->free;
		req->queue->free = req;
		virtio_dev_break(&disk->dev, -1);
		return;
	}
	type = le32toh(hdr.type);
	if (disk->lost || (type != VIRTIO_BLK_T_IN && type != VIRTIO_BLK_T_GET_ID && type != VIRTIO_BLK_T_FLUSH &&
			   block_readonly(disk->block))) {
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

bool blk_start_next(struct blk_queue *q)
{
	struct blk_req *req = q->free;

	/* The pool has one request per slot, so it is empty only when the ring is. */
	if (!req)
		return false;
	req->e.iov = req->iov;
	if (!virtio_queue_pop(q->vq, &req->e))
		return false;
	q->free = req->next;
	req_start(req);
	return true;
}
