// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Requests and the queues that carry them.
 *
 * A request is cut into extents (map.c), each one storage operation out of
 * the queue's fixed pool. It counts its operations in `pending`, plus one
 * while it is still being cut; at zero it goes to the finished list, from
 * where poll() calls done(). Only the queue's own thread touches a request,
 * so there is nothing atomic in it: whoever else has news for a request (a
 * bitmap was loaded, a commit is over) puts it into its queue's inbox and
 * wakes the queue, whose poll() then goes on with it.
 *
 * Nothing is allocated after vhd_queue_create(). When operations or bounce
 * buffers run out, requests starve in arrival order and are taken up as
 * operations complete. Memory that is not aligned as O_DIRECT wants goes
 * through a bounce buffer, 128 KiB at a time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"
#include "vhd/track.h"

void requests_init(struct request_list *l)
{
	l->head = NULL;
	l->tail = &l->head;
}

void requests_add(struct request_list *l, struct vhd_request *req)
{
	if (!l->tail || !l->head)
		requests_init(l);
	req->next = NULL;
	*l->tail = req;
	l->tail = &req->next;
}

struct vhd_request *requests_take(struct request_list *l)
{
	struct vhd_request *req = l->head;

	if (req) {
		l->head = req->next;
		if (!l->head)
			l->tail = &l->head;
	}
	return req;
}

void requests_resume(struct request_list *l)
{
	struct vhd_request *req;

	while ((req = requests_take(l)))
		queue_post(req);
}

void queue_post(struct vhd_request *req)
{
	struct vhd_queue *q = req->queue;

	pthread_mutex_lock(&q->inbox_lock);
	requests_add(&q->inbox, req);
	/* Inside the lock: its owner may destroy the queue once it has this. */
	q->image->store->ops->wake(q->sq);
	pthread_mutex_unlock(&q->inbox_lock);
}

static void request_finish(struct vhd_request *req)
{
	struct vhd_queue *q = req->queue;

	if (!q->finished.head)
		q->image->store->ops->wake(q->sq);
	requests_add(&q->finished, req);
}

void request_put(struct vhd_request *req, int error)
{
	if (error && !req->error)
		req->error = error;
	if (!--req->pending)
		request_finish(req);
}

/* Copies between @buf and the request's memory from byte @at on. */
static void iov_copy(const struct vhd_request *req, uint64_t at, uint8_t *buf, uint64_t length,
		     bool out)
{
	int i;

	for (i = 0; i < req->iovcnt && length; i++) {
		uint64_t part = req->iov[i].iov_len;
		uint8_t *mem = req->iov[i].iov_base;

		if (at >= part) {
			at -= part;
			continue;
		}
		mem += at;
		part -= at;
		at = 0;
		if (part > length)
			part = length;
		if (!buf)
			memset(mem, 0, part);
		else if (out)
			memcpy(mem, buf, part);
		else
			memcpy(buf, mem, part);
		if (buf)
			buf += part;
		length -= part;
	}
}

struct vhd_io *queue_io_get(struct vhd_queue *q)
{
	struct vhd_io *vio = q->idle;

	q->idle = vio->next;
	q->housekeeping++;
	vio->req = NULL;
	vio->bitmap = NULL;
	vio->bounce = NULL;
	vio->epoch = -1;
	return vio;
}

void queue_io_put(struct vhd_queue *q, struct vhd_io *vio)
{
	if (vio->bounce)
		q->bounce_idle[q->bounce_count++] = vio->bounce;
	vio->next = q->idle;
	q->idle = vio;
	q->housekeeping--;
}

static void data_done(struct vhd_io *vio, int error)
{
	struct vhd *v = vio->image;
	struct vhd_queue *q = vio->queue;
	struct vhd_request *req = vio->req;

	if (v->key && req->op == VHD_READ && !error)
		error = key_sectors(v->key, q->number, false, vio->bounce, vio->io.length,
				    (req->offset + vio->at) / VHD_SECTOR);
	if (vio->bounce && req->op == VHD_READ && !error)
		iov_copy(req, vio->at, vio->bounce, vio->io.length, true);
	if (req->op != VHD_READ)
		atomic_fetch_add(&v->written, 1);
	if (vio->epoch >= 0) {
		pthread_mutex_lock(&v->lock);
		if (vio->bitmap) {
			if (!error)
				bitmap_set_bits(v, vio->bitmap, vio->first, vio->count);
			vio->bitmap->pins--;
			if (v->cache.dirty > BITMAP_SLOTS / 2)
				commit_poke(v, q);
			requests_resume(&v->cache.starved);
		}
		alloc_leave(v, vio->epoch, q);
		pthread_mutex_unlock(&v->lock);
	}
	/* Discarding is a favour: storage that cannot has not failed. */
	if (req->op == VHD_DISCARD && error == -EOPNOTSUPP)
		error = 0;
	request_put(req, error);
}

static void io_done(struct store_io *io, int error)
{
	struct vhd_io *vio = (struct vhd_io *)io;

	switch (vio->kind) {
	case IO_DATA:
		data_done(vio, error);
		break;
	case IO_BITMAP:
		bitmap_loaded(vio, error);
		break;
	case IO_FRESH:
		map_fresh_done(vio, error);
		break;
	}
	queue_io_put(vio->queue, vio);
}

/* How the next part of a request's memory can be handed to the store. */
struct slice {
	uint64_t length;	/* through the request's own array or a bounce buffer */
	uint64_t few;		/* what the first IO_IOVECS of it cover */
	bool direct;		/* the request's own iovec array as it is */
	bool bounce;
};

static bool aligned(const struct vhd_queue *q, const struct iovec *iov, size_t skip)
{
	uintptr_t mask = q->image->store->mem_align - 1;

	return !((((uintptr_t)iov->iov_base + skip) | (iov->iov_len - skip)) & mask);
}

static struct slice slice_next(const struct vhd_queue *q, const struct vhd_request *req)
{
	struct slice s = { 0, 0, !req->cursor && req->iovcnt <= 1024 && !q->image->crypt, false };
	size_t skip = req->iov_offset;
	int i;

	for (i = q->image->crypt ? req->iovcnt : req->iov_index; i < req->iovcnt; i++, skip = 0) {
		if (!aligned(q, &req->iov[i], skip)) {
			s.direct = false;
			break;
		}
		s.length += req->iov[i].iov_len - skip;
		if (i - req->iov_index < IO_IOVECS)
			s.few = s.length;
	}
	s.few = s.few / VHD_SECTOR * VHD_SECTOR;
	if (!s.direct || !s.few) {
		s.direct = false;
		s.length = s.few;
	}
	if (!s.length) {
		s.bounce = true;
		s.length = q->bounce_bytes;
	}
	if (s.length > req->length - req->cursor)
		s.length = req->length - req->cursor;
	return s;
}

static void iov_advance(struct vhd_request *req, uint64_t length)
{
	req->cursor += length;
	while (req->iov_index < req->iovcnt) {
		size_t left = req->iov[req->iov_index].iov_len - req->iov_offset;

		if (length < left) {
			req->iov_offset += length;
			return;
		}
		length -= left;
		req->iov_offset = 0;
		req->iov_index++;
	}
}

/* The part of the request's memory from the cursor on, at most @length. */
static void slice_fill(struct vhd_io *vio, const struct vhd_request *req, uint64_t length)
{
	size_t skip = req->iov_offset;
	int i, n = 0;

	for (i = req->iov_index; i < req->iovcnt && length && n < IO_IOVECS; i++, skip = 0) {
		size_t part = req->iov[i].iov_len - skip;

		if (part > length)
			part = length;
		if (!part)
			continue;
		vio->iov[n++] = (struct iovec){ (char *)req->iov[i].iov_base + skip, part };
		length -= part;
	}
	vio->io.iov = vio->iov;
	vio->io.iovcnt = n;
}

static void bounce_take(struct vhd_queue *q, struct vhd_io *vio, uint64_t length)
{
	vio->bounce = q->bounce_idle[--q->bounce_count];
	vio->iov[0] = (struct iovec){ vio->bounce, length };
	vio->io.iov = vio->iov;
	vio->io.iovcnt = 1;
}

static void issue(struct vhd_queue *q, struct vhd_request *req, struct extent *e,
		  const struct slice *s)
{
	bool zeros = req->op == VHD_DISCARD || req->op == VHD_WRITE_ZEROES;
	struct vhd_io *vio = queue_io_get(q);

	/* Mapped shorter than asked: the array must be cut, so that few hold. */
	if (s->direct && e->length != req->length && e->length > s->few) {
		e->length = s->few;
		e->count = e->length / VHD_SECTOR;
	}
	vio->kind = IO_DATA;
	vio->req = req;
	vio->image = e->image;
	vio->at = req->cursor;
	vio->bitmap = e->bitmap;
	vio->block = e->block;
	vio->first = e->first;
	vio->count = e->count;
	vio->epoch = e->epoch;
	vio->io.store = e->image->store;
	vio->io.offset = e->offset;
	vio->io.length = e->length;
	if (zeros && s->bounce) {
		/* Encrypted they are data. */
		vio->io.op = STORE_WRITE;
		bounce_take(q, vio, e->length);
		memset(vio->bounce, 0, e->length);
		req->cursor += e->length;
	} else if (zeros) {
		vio->io.op = e->keep ? STORE_ZERO : STORE_PUNCH;
		req->cursor += e->length;
	} else {
		vio->io.op = req->op == VHD_READ ? STORE_READ : STORE_WRITE;
		if (s->bounce) {
			bounce_take(q, vio, e->length);
			if (req->op == VHD_WRITE)
				iov_copy(req, req->cursor, vio->bounce, e->length, false);
		} else if (s->direct && e->length == req->length) {
			vio->io.iov = req->iov;
			vio->io.iovcnt = req->iovcnt;
		} else {
			slice_fill(vio, req, e->length);
		}
		iov_advance(req, e->length);
	}
	req->pending++;
	if (e->image->key && vio->io.op == STORE_WRITE) {
		int error = key_sectors(e->image->key, q->number, true, vio->bounce, e->length,
					(req->offset + vio->at) / VHD_SECTOR);

		if (error) {
			io_done(&vio->io, error);
			return;
		}
	}
	q->image->store->ops->submit(q->sq, &vio->io);
}

/* One step of cutting @req. MAP_DATA and MAP_NOTHING: go on. */
static enum map_result step(struct vhd_queue *q, struct vhd_request *req)
{
	uint64_t offset = req->offset + req->cursor, length = req->length - req->cursor;
	bool zeroing = req->op == VHD_DISCARD || req->op == VHD_WRITE_ZEROES;
	struct extent e = { .epoch = -1 };
	struct slice s = { 0 };
	enum map_result r;

	if (!q->idle)
		return MAP_STARVE;
	if (req->op == VHD_LOCATE)
		return locate_step(q, req);
	if (zeroing) {
		s.bounce = q->image->key;
		if (s.bounce && !q->bounce_count)
			return MAP_STARVE;
		r = map_zero(q, req, offset, length, &e);
	} else {
		s = slice_next(q, req);
		if (s.bounce && !q->bounce_count)
			return MAP_STARVE;
		r = req->op == VHD_READ ? map_read(q, req, offset, s.length, &e) :
					  map_write(q, req, offset, s.length, &e);
	}
	switch (r) {
	case MAP_DATA:
		issue(q, req, &e, &s);
		break;
	case MAP_ZERO:
		iov_copy(req, req->cursor, NULL, e.length, true);
		iov_advance(req, e.length);
		break;
	case MAP_NOTHING:
		req->cursor += e.length;
		break;
	case MAP_ERROR:
		req->error = e.error;
		break;
	case MAP_WAIT:
	case MAP_STARVE:
		break;
	}
	return r;
}

static void request_advance(struct vhd_queue *q, struct vhd_request *req)
{
	while (!req->error && req->cursor < req->length) {
		switch (step(q, req)) {
		case MAP_WAIT:
			return;
		case MAP_STARVE:
			requests_add(&q->starved, req);
			return;
		default:
			break;
		}
	}
	request_put(req, 0);
}

static int request_check(const struct vhd *v, const struct vhd_request *req)
{
	uint64_t sum = 0;
	int i;

	if (req->op == VHD_FLUSH)
		return 0;
	if (req->offset % VHD_SECTOR || req->length % VHD_SECTOR)
		return -EINVAL;
	if (req->offset > v->size || req->length > v->size - req->offset)
		return -ERANGE;
	if (req->op != VHD_READ && req->op != VHD_LOCATE && v->readonly)
		return -EROFS;
	if (v->no_parent)
		return -ENOLINK;
	if (v->no_key)
		return -ENOKEY;
	if (req->from && (req->op != VHD_READ || !locate_valid(v, req->from)))
		return -ESTALE;
	if (req->op == VHD_LOCATE)
		return req->length ? 0 : -EINVAL;
	if (req->op == VHD_DISCARD || req->op == VHD_WRITE_ZEROES)
		return 0;
	if (req->op != VHD_READ && req->op != VHD_WRITE)
		return -EOPNOTSUPP;
	if (req->iovcnt < 0)
		return -EINVAL;
	for (i = 0; i < req->iovcnt; i++) {
		if (req->iov[i].iov_len > req->length - sum)
			return -EINVAL;
		sum += req->iov[i].iov_len;
	}
	return sum == req->length ? 0 : -EINVAL;
}

static void request_begin(struct vhd_queue *q, struct vhd_request *req)
{
	req->queue = q;
	req->cursor = 0;
	req->iov_index = 0;
	req->iov_offset = 0;
	req->pending = 1;
	req->error = request_check(q->image, req);
	q->inflight++;
	if (q->image->track && (req->op == VHD_WRITE || req->op == VHD_WRITE_ZEROES || req->op == VHD_DISCARD))
		track_mark(q->image->track, req->offset, req->length);
}

bool vhd_locate(struct vhd_queue *q, struct vhd_request *req)
{
	req->op = VHD_LOCATE;
	req->iov = NULL;
	req->iovcnt = 0;
	request_begin(q, req);
	if (req->error || q->starved.head || !q->idle) {
		requests_add(&q->starved, req);
		q->image->store->ops->wake(q->sq);
		return false;
	}
	if (locate_step(q, req) == MAP_WAIT)
		return false;
	q->inflight--;
	return true;
}

void vhd_submit(struct vhd_queue *q, struct vhd_request *req)
{
	request_begin(q, req);
	if (req->op == VHD_FLUSH) {
		req->length = 0;
		commit_flush(q->image, q, req);
		return;
	}
	if (q->starved.head && !req->error)
		requests_add(&q->starved, req);
	else
		request_advance(q, req);
}

void vhd_queue_kick(struct vhd_queue *q)
{
	q->image->store->ops->kick(q->sq);
}

int vhd_queue_fd(const struct vhd_queue *q)
{
	return q->image->store->ops->fd(q->sq);
}

unsigned int vhd_queue_inflight(const struct vhd_queue *q)
{
	return q->inflight;
}

static void take_inbox(struct vhd_queue *q)
{
	struct request_list mail;
	struct vhd_request *req;

	pthread_mutex_lock(&q->inbox_lock);
	mail = q->inbox;
	if (!mail.head)
		mail.tail = &mail.head;
	requests_init(&q->inbox);
	pthread_mutex_unlock(&q->inbox_lock);
	while ((req = requests_take(&mail)))
		request_advance(q, req);
}

static void feed_starved(struct vhd_queue *q)
{
	struct request_list old = q->starved;
	struct vhd_request *req;

	if (!old.head || !q->idle)
		return;
	requests_init(&q->starved);
	while ((req = requests_take(&old))) {
		request_advance(q, req);
		/* Starved again: it stays in front of those behind it. */
		if (q->starved.head == req) {
			req->next = old.head;
			q->starved.tail = old.head ? old.tail : &req->next;
			return;
		}
	}
}

int vhd_queue_poll(struct vhd_queue *q)
{
	const struct store_ops *ops = q->image->store->ops;
	struct request_list ready;
	struct vhd_request *req;
	int n = 0;

	ops->poll(q->sq);
	take_inbox(q);
	feed_starved(q);
	ops->kick(q->sq);
	ready = q->finished;
	if (!ready.head)
		ready.tail = &ready.head;
	requests_init(&q->finished);
	while ((req = requests_take(&ready))) {
		q->inflight--;
		n++;
		req->done(req, req->error);
	}
	ops->kick(q->sq);
	return n;
}

static int queue_memory(struct vhd_queue *q)
{
	void *pages;
	unsigned int i, n;

	q->ios = calloc(q->depth, sizeof(*q->ios));
	if (!q->ios || posix_memalign(&pages, PAGE_BYTES, COMMIT_IOS * PAGE_BYTES))
		return -ENOMEM;
	q->commit_pages = pages;
	if (q->image->blocks) {
		q->levels = malloc(q->image->spb);
		if (!q->levels)
			return -ENOMEM;
	}
	for (i = 0; i < q->depth; i++) {
		q->ios[i].queue = q;
		q->ios[i].io.done = io_done;
		q->ios[i].next = q->idle;
		q->idle = &q->ios[i];
	}
	/* A page store takes any memory, but tiny pieces are still gathered. */
	n = q->image->crypt ? BOUNCES_KEYED : BOUNCES;
	q->bounce_bytes = q->image->crypt ? BOUNCE_KEYED : BOUNCE_BYTES;
	if (posix_memalign(&pages, PAGE_BYTES, n * q->bounce_bytes))
		return -ENOMEM;
	q->bounces = pages;
	for (i = 0; i < n; i++)
		q->bounce_idle[q->bounce_count++] = q->bounces + i * q->bounce_bytes;
	return 0;
}

void queue_abandon(struct vhd_queue *q)
{
	if (q->sq)
		q->image->store->ops->queue_destroy(q->sq);
	pthread_mutex_destroy(&q->inbox_lock);
	free(q->ios);
	free(q->commit_pages);
	free(q->levels);
	free(q->bounces);
	free(q);
}

struct vhd_queue *vhd_queue_create(struct vhd *v, unsigned int depth)
{
	struct vhd_queue *q = calloc(1, sizeof(*q));
	int ret;

	if (!q)
		return NULL;
	if (depth < 2)
		depth = 2;
	if (depth > 1024)
		depth = 1024;
	q->image = v;
	q->number = atomic_fetch_add(&v->queues, 1);
	q->depth = depth;
	requests_init(&q->finished);
	requests_init(&q->starved);
	requests_init(&q->inbox);
	pthread_mutex_init(&q->inbox_lock, NULL);
	ret = queue_memory(q);
	if (!ret)
		ret = v->store->ops->queue_create(v->store, depth + COMMIT_IOS + 1, &q->sq);
	if (ret) {
		queue_abandon(q);
		errno = -ret;
		return NULL;
	}
	return q;
}

void vhd_queue_drain(struct vhd_queue *q)
{
	vhd_queue_kick(q);
	vhd_queue_poll(q);
	while (q->inflight || q->housekeeping) {
		q->image->store->ops->wait(q->sq);
		vhd_queue_poll(q);
	}
}

void vhd_queue_destroy(struct vhd_queue *q)
{
	if (!q)
		return;
	vhd_queue_drain(q);
	/* Whoever posted last may still be inside. */
	pthread_mutex_lock(&q->inbox_lock);
	pthread_mutex_unlock(&q->inbox_lock);
	queue_abandon(q);
}

struct waited {
	struct vhd_request req;
	bool over;
	int error;
};

static void waited_done(struct vhd_request *req, int error)
{
	struct waited *w = (struct waited *)req;

	w->over = true;
	w->error = error;
}

static int run(struct vhd_queue *q, enum vhd_op op, const struct iovec *iov, uint64_t offset,
	       uint64_t length, uint32_t flags)
{
	struct waited w = { .req = { .op = op, .offset = offset, .length = length, .iov = iov,
				     .iovcnt = iov ? 1 : 0, .flags = flags,
				     .done = waited_done } };

	vhd_submit(q, &w.req);
	vhd_queue_kick(q);
	vhd_queue_poll(q);
	while (!w.over) {
		q->image->store->ops->wait(q->sq);
		vhd_queue_poll(q);
	}
	return w.error;
}

int vhd_pread(struct vhd_queue *q, void *buf, uint64_t length, uint64_t offset)
{
	struct iovec iov = { buf, length };

	return run(q, VHD_READ, &iov, offset, length, 0);
}

int vhd_pwrite(struct vhd_queue *q, const void *buf, uint64_t length, uint64_t offset)
{
	struct iovec iov = { (void *)buf, length };

	return run(q, VHD_WRITE, &iov, offset, length, 0);
}

int vhd_flush(struct vhd_queue *q)
{
	return run(q, VHD_FLUSH, NULL, 0, 0, 0);
}

int vhd_write_zeroes(struct vhd_queue *q, uint64_t offset, uint64_t length, uint32_t flags)
{
	return run(q, VHD_WRITE_ZEROES, NULL, offset, length, flags);
}

int vhd_discard(struct vhd_queue *q, uint64_t offset, uint64_t length)
{
	return run(q, VHD_DISCARD, NULL, offset, length, 0);
}
