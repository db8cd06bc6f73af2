// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Copying one image's data into another.
 *
 * The source is walked extent by extent; what its metadata or its file system
 * knows to be a hole is skipped without reading. The rest goes through a ring
 * of buffers, each its own small state machine: read 1 MiB, then write the
 * pieces of it that are not zero, one after the other. A dozen buffers keep
 * both engines busy; who has a guest beside takes fewer. On a target that
 * starts out as zeros (any new file) zero pieces are not written at all; on a
 * device, or over a parent's older data, they are written as zeros.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"

#define BUFFERS		16
#define BUFFER_BYTES	VHD_COPY_PIECE
#define GRANULE		4096u

struct buffer {
	struct vhd_request req;
	struct copy *copy;
	struct iovec iov;
	uint8_t *memory;
	uint64_t offset, length;	/* of the piece of disk in it */
	uint64_t at;			/* where in it writing has got to */
	bool write_zeroes;
	bool busy;
};

struct copy {
	struct vhd_copy *c;
	struct vhd_queue *in, *out;
	struct buffer buffer[BUFFERS];
	unsigned int count;
	uint64_t cursor;		/* up to here it was looked at */
	uint64_t run_end;		/* cursor to here is to be copied */
	uint64_t done;			/* finished bytes, holes included */
	int error;
};

static bool is_zero(const uint8_t *p, uint64_t bytes)
{
	return !p[0] && !memcmp(p, p + 1, bytes - 1);
}

static uint64_t granule(const struct buffer *b, uint64_t at)
{
	return b->length - at < GRANULE ? b->length - at : GRANULE;
}

static void buffer_go_on(struct buffer *b);

static void write_done(struct vhd_request *req, int error)
{
	struct buffer *b = req->opaque;

	if (error && !b->copy->error)
		b->copy->error = error;
	buffer_go_on(b);
}

static void read_done(struct vhd_request *req, int error)
{
	struct buffer *b = req->opaque;

	if (error && !b->copy->error)
		b->copy->error = error;
	b->at = 0;
	buffer_go_on(b);
}

/* Submits the next run of equal kind, or gives the buffer back. */
static void buffer_go_on(struct buffer *b)
{
	struct copy *c = b->copy;
	uint64_t from, n;
	bool zero;

	while (b->at < b->length && !c->error) {
		from = b->at;
		zero = is_zero(b->memory + from, granule(b, from));
		do {
			b->at += granule(b, b->at);
		} while (b->at < b->length && is_zero(b->memory + b->at, granule(b, b->at)) == zero);
		if (zero && !b->write_zeroes)
			continue;
		n = b->at - from;
		memset(&b->req, 0, sizeof(b->req));
		b->iov = (struct iovec){ b->memory + from, n };
		b->req.op = zero ? VHD_WRITE_ZEROES : VHD_WRITE;
		b->req.flags = VHD_F_UNMAP;
		b->req.offset = b->offset + from;
		b->req.length = n;
		b->req.iov = zero ? NULL : &b->iov;
		b->req.iovcnt = zero ? 0 : 1;
		b->req.done = write_done;
		b->req.opaque = b;
		c->c->copied += zero ? 0 : n;
		vhd_submit(c->out, &b->req);
		return;
	}
	c->done += b->length;
	b->busy = false;
}

/* What lies at the cursor: 1 to be copied, 0 not. */
static int look(struct copy *c, uint64_t *run)
{
	struct vhd_run r;
	int ret = vhd_map(c->c->from, c->cursor, *run, &r);

	if (ret)
		return ret;
	*run = r.length;
	if (c->c->own)
		return !r.depth;
	return r.data || c->c->write_zeroes;
}

/* Finds the next piece to copy; false: there is none. */
static bool next_piece(struct copy *c, uint64_t *offset, uint64_t *length, bool *write_zeroes)
{
	uint64_t size = vhd_size(c->c->from), run;
	int kind;

	*write_zeroes = c->c->write_zeroes;
	if (c->c->next)
		return c->c->next(c->c->opaque, offset, length, write_zeroes);
	while (c->cursor == c->run_end) {
		if (c->cursor == size)
			return false;
		run = size - c->cursor;
		kind = look(c, &run);
		if (kind < 0) {
			c->error = kind;
			return false;
		}
		if (!kind) {
			c->cursor += run;
			c->run_end = c->cursor;
			c->done += run;
			continue;
		}
		c->run_end = c->cursor + run;
	}
	*offset = c->cursor;
	*length = c->run_end - c->cursor;
	/* Pieces end where buffers would end, so that they stay aligned. */
	if (*length > BUFFER_BYTES - c->cursor % BUFFER_BYTES)
		*length = BUFFER_BYTES - c->cursor % BUFFER_BYTES;
	c->cursor += *length;
	return true;
}

static void buffer_start(struct copy *c, struct buffer *b, uint64_t offset, uint64_t length, bool write_zeroes)
{
	memset(&b->req, 0, sizeof(b->req));
	b->busy = true;
	b->write_zeroes = write_zeroes;
	b->offset = offset;
	b->length = length;
	b->iov = (struct iovec){ b->memory, length };
	b->req.op = VHD_READ;
	b->req.offset = offset;
	b->req.length = length;
	b->req.iov = &b->iov;
	b->req.iovcnt = 1;
	b->req.done = read_done;
	b->req.opaque = b;
	vhd_submit(c->in, &b->req);
}

static unsigned int buffers_start(struct copy *c, bool *more)
{
	uint64_t offset, length;
	unsigned int i, busy = 0;
	bool zeroes;

	for (i = 0; i < c->count; i++) {
		struct buffer *b = &c->buffer[i];

		if (!b->busy && *more && !c->error) {
			*more = next_piece(c, &offset, &length, &zeroes);
			if (*more)
				buffer_start(c, b, offset, length, zeroes);
		}
		busy += b->busy;
	}
	return busy;
}

static int copy_loop(struct copy *c)
{
	bool more = true;

	while (buffers_start(c, &more)) {
		struct pollfd p[2] = { { vhd_queue_fd(c->in), POLLIN, 0 },
				       { vhd_queue_fd(c->out), POLLIN, 0 } };

		vhd_queue_kick(c->in);
		vhd_queue_kick(c->out);
		if (poll(p, 2, 1000) < 0 && errno != EINTR)
			c->error = -errno;
		vhd_queue_poll(c->in);
		vhd_queue_poll(c->out);
		if (c->c->go_on && !c->c->go_on(c->c->opaque, c->done) && !c->error)
			c->error = -EINTR;
	}
	return c->error;
}

int vhd_copy(struct vhd_copy *job)
{
	struct copy *c = calloc(1, sizeof(*c));
	void *memory = NULL;
	unsigned int i;
	int ret;

	if (!c)
		return -ENOMEM;
	c->c = job;
	c->count = job->buffers && job->buffers < BUFFERS ? job->buffers : BUFFERS;
	job->copied = 0;
	ret = posix_memalign(&memory, 4096, (size_t)c->count * BUFFER_BYTES) ? -ENOMEM : 0;
	for (i = 0; !ret && i < c->count; i++) {
		c->buffer[i].copy = c;
		c->buffer[i].memory = (uint8_t *)memory + (size_t)i * BUFFER_BYTES;
	}
	if (!ret) {
		c->in = job->in ? job->in : vhd_queue_create(job->from, 2 * c->count);
		c->out = job->out ? job->out : vhd_queue_create(job->to, 2 * c->count);
		ret = c->in && c->out ? copy_loop(c) : -ENOMEM;
	}
	if (!ret)
		ret = vhd_flush(c->out);
	if (!job->in)
		vhd_queue_destroy(c->in);
	if (!job->out)
		vhd_queue_destroy(c->out);
	free(memory);
	free(c);
	return ret;
}
