// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Copying one image's data into another.
 *
 * The source is walked extent by extent; what its metadata or its file system
 * knows to be a hole is skipped without reading. The rest goes through a ring
 * of buffers, each its own small state machine: read 1 MiB, then write the
 * pieces of it that are not zero, one after the other. A dozen buffers keep
 * both engines busy. On a target that starts out as zeros (any new file) zero
 * pieces are not written at all; on a device, or over a parent's older data,
 * they are written as zeros.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "cli/img.h"
#include "cli/img_copy.h"

#define BUFFERS		16
#define BUFFER_BYTES	(1u << 20)
#define GRANULE		4096u

struct buffer {
	struct vhd_request req;
	struct img_copy *copy;
	struct iovec iov;
	uint8_t *memory;
	uint64_t offset, length;	/* of the piece of disk in it */
	uint64_t at;			/* where in it writing has got to */
	bool busy;
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
	struct img_copy *c = b->copy;
	uint64_t from, n;
	bool zero;

	while (b->at < b->length && !c->error) {
		from = b->at;
		zero = is_zero(b->memory + from, granule(b, from));
		do {
			b->at += granule(b, b->at);
		} while (b->at < b->length && is_zero(b->memory + b->at, granule(b, b->at)) == zero);
		if (zero && !c->write_zeroes)
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
		c->copied += zero ? 0 : n;
		vhd_submit(c->out, &b->req);
		return;
	}
	c->done += b->length;
	b->busy = false;
}

/* What lies at the cursor: 1 to be copied, 0 not. */
static int look(struct img_copy *c, uint64_t *run)
{
	struct vhd_run r;
	int ret = vhd_map(c->from, c->cursor, *run, &r);

	if (ret)
		return ret;
	*run = r.length;
	if (c->own)
		return !r.depth;
	return r.data || c->write_zeroes;
}

/* Finds the next piece to copy; false: there is none. */
static bool next_piece(struct img_copy *c, uint64_t *offset, uint64_t *length)
{
	uint64_t size = vhd_size(c->from), run;
	int kind;

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

static void buffer_start(struct img_copy *c, struct buffer *b, uint64_t offset, uint64_t length)
{
	memset(&b->req, 0, sizeof(b->req));
	b->busy = true;
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

static int copy_loop(struct img_copy *c)
{
	uint64_t offset, length;
	bool more = true;
	int i, busy;

	for (;;) {
		struct pollfd p[2] = { { vhd_queue_fd(c->in), POLLIN, 0 },
				       { vhd_queue_fd(c->out), POLLIN, 0 } };

		for (i = 0, busy = 0; i < BUFFERS; i++) {
			struct buffer *b = &c->buffer[i];

			if (!b->busy && more && !c->error) {
				more = next_piece(c, &offset, &length);
				if (more)
					buffer_start(c, b, offset, length);
			}
			busy += b->busy;
		}
		if (!busy)
			return c->error;
		vhd_queue_kick(c->in);
		vhd_queue_kick(c->out);
		if (img_interrupted() && !c->error)
			c->error = -EINTR;
		if (poll(p, 2, 1000) < 0 && errno != EINTR)
			c->error = -errno;
		vhd_queue_poll(c->in);
		vhd_queue_poll(c->out);
		img_progress_show(&c->progress, c->done);
	}
}

int img_copy_run(struct img_copy *c, bool progress)
{
	uint8_t *memory;
	int i, ret;

	c->buffer = calloc(BUFFERS, sizeof(*c->buffer));
	if (!c->buffer || posix_memalign((void **)&memory, 4096, (size_t)BUFFERS * BUFFER_BYTES)) {
		free(c->buffer);
		return -ENOMEM;
	}
	for (i = 0; i < BUFFERS; i++) {
		c->buffer[i].copy = c;
		c->buffer[i].memory = memory + (size_t)i * BUFFER_BYTES;
	}
	img_progress_begin(&c->progress, progress, vhd_size(c->from));
	c->in = vhd_queue_create(c->from, 2 * BUFFERS);
	c->out = vhd_queue_create(c->to, 2 * BUFFERS);
	ret = c->in && c->out ? copy_loop(c) : -ENOMEM;
	if (!ret)
		ret = vhd_flush(c->out);
	vhd_queue_destroy(c->in);
	vhd_queue_destroy(c->out);
	img_progress_end(&c->progress, !ret);
	free(memory);
	free(c->buffer);
	return ret;
}
