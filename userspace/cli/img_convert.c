// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lodge img convert.
 *
 * The source is walked extent by extent; what its metadata or its file system
 * knows to be a hole is skipped without reading. The rest goes through a ring
 * of buffers, each its own small state machine: read 1 MiB, then write the
 * pieces of it that are not zero, one after the other. A dozen buffers keep
 * both engines busy. On a target that starts out as zeros (any new file) zero
 * pieces are not written at all; on a device they are written as zeros.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <lodge/lodge.h>

#include "cli/img.h"
#include "cli/print.h"

#define BUFFERS		16
#define BUFFER_BYTES	(1u << 20)
#define GRANULE		4096u

enum { OPT_BLOCK = 256, OPT_FORCE, OPT_JSON, OPT_RAW_PARENT };

struct copy;

struct buffer {
	struct vhd_request req;
	struct copy *copy;
	struct iovec iov;
	uint8_t *memory;
	uint64_t offset, length;	/* of the piece of disk in it */
	uint64_t at;			/* where in it writing has got to */
	bool busy;
};

struct copy {
	struct vhd *from, *to;
	struct vhd_queue *in, *out;
	struct buffer buffer[BUFFERS];
	uint64_t cursor;		/* up to here it was looked at */
	uint64_t run_end;		/* cursor to here is data */
	uint64_t done;			/* finished bytes, holes included */
	uint64_t copied;		/* bytes written */
	int error;
	bool write_zeroes;
	bool progress;
	time_t shown;
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

static void show(struct copy *c, bool last)
{
	time_t now = time(NULL);

	if (!c->progress || (!last && now == c->shown))
		return;
	c->shown = now;
	fprintf(stderr, "\r%5.1f %% of %llu MiB%s", 100.0 * c->done / vhd_size(c->from),
		(unsigned long long)(vhd_size(c->from) >> 20), last ? "\n" : "");
}

/* Finds the next piece of data; false: there is none. */
static bool next_piece(struct copy *c, uint64_t *offset, uint64_t *length)
{
	uint64_t size = vhd_size(c->from), run;
	int kind;

	while (c->cursor == c->run_end) {
		if (c->cursor == size)
			return false;
		run = size - c->cursor;
		kind = vhd_extent(c->from, c->cursor, &run);
		if (kind < 0) {
			c->error = kind;
			return false;
		}
		if (!kind && !c->write_zeroes) {
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

static void buffer_start(struct copy *c, struct buffer *b, uint64_t offset, uint64_t length)
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

static int copy_loop(struct copy *c)
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
		show(c, false);
	}
}

static int copy_run(struct copy *c)
{
	uint8_t *memory;
	int i, ret;

	if (posix_memalign((void **)&memory, 4096, (size_t)BUFFERS * BUFFER_BYTES))
		return -ENOMEM;
	for (i = 0; i < BUFFERS; i++) {
		c->buffer[i].copy = c;
		c->buffer[i].memory = memory + (size_t)i * BUFFER_BYTES;
	}
	c->in = vhd_queue_create(c->from, 2 * BUFFERS);
	c->out = vhd_queue_create(c->to, 2 * BUFFERS);
	ret = c->in && c->out ? copy_loop(c) : -ENOMEM;
	if (!ret)
		ret = vhd_flush(c->out);
	vhd_queue_destroy(c->in);
	vhd_queue_destroy(c->out);
	free(memory);
	return ret;
}

struct job {
	struct img_name from, to;
	struct vhd_params params;
	bool force, json, progress, raw_parent;
};

static int convert_into(struct job *j, struct copy *c, struct img_output *o)
{
	struct vhd_error err;
	int ret, closed;

	j->params.keep = true;
	if (vhd_create(o->temporary, &j->params, &err))
		return print_error("%s", err.text);
	if (vhd_open(o->temporary, j->params.type == VHD_RAW ? VHD_O_RAW : 0, &c->to, &err))
		return print_error("%s", err.text);
	/* A new file reads as zeros, and so do blocks that a table does not name. */
	c->write_zeroes = o->device && j->params.type != VHD_DYNAMIC;
	ret = copy_run(c);
	closed = vhd_close(c->to);
	ret = ret ? ret : closed;
	if (ret == -EINTR)
		return print_error("interrupted; nothing was left behind");
	if (ret)
		return print_error("cannot convert '%s' to '%s': %s", j->from.path, j->to.path,
				   strerror(-ret));
	return 0;
}

static int convert(struct job *j)
{
	struct copy c = { .progress = j->progress };
	struct vhd_error err;
	struct img_output o;
	int ret;

	if (vhd_open(j->from.path, VHD_O_RDONLY | img_open_flags(&j->from) |
		     (j->raw_parent ? VHD_O_RAW_PARENT : 0), &c.from, &err))
		return print_error("%s", err.text);
	j->params.size = vhd_size(c.from);
	ret = img_output_begin(&o, j->to.path, j->force);
	if (!ret) {
		ret = convert_into(j, &c, &o);
		if (ret)
			img_output_abort(&o);
		else
			ret = img_output_commit(&o);
	}
	if (!ret)
		show(&c, true);
	vhd_close(c.from);
	if (!ret && j->json) {
		printf("{\"path\": ");
		print_json_string(j->to.path);
		printf(", \"format\": \"%s\", \"size\": %llu, \"copied\": %llu}\n",
		       vhd_type_name(j->params.type), (unsigned long long)j->params.size,
		       (unsigned long long)c.copied);
	}
	return ret;
}

static int img_convert(const struct command *c, int argc, char **argv)
{
	const char *format = NULL, *output = NULL, *type = NULL;
	struct command_args a;
	struct job j = { 0 };
	struct err e;
	int id;

	command_begin(&a, argc, argv);
	while ((id = command_next(c, &a)) >= 0) {
		switch (id) {
		case OPT_BLOCK:
			if (img_block_parse(a.opts.arg, &j.params.block_size, &e))
				return command_bad(&e);
			break;
		case OPT_FORCE:
			j.force = true;
			break;
		case 'f':
			format = a.opts.arg;
			break;
		case OPT_JSON:
			j.json = true;
			break;
		case 'O':
			output = a.opts.arg;
			break;
		case 'p':
			j.progress = true;
			break;
		case OPT_RAW_PARENT:
			j.raw_parent = true;
			break;
		case 't':
			type = a.opts.arg;
			break;
		}
	}
	if (id != OPTS_END)
		return command_code(id);
	if (img_name_parse(a.word[0], format, &j.from) || img_name_parse(a.word[1], output, &j.to) ||
	    img_type_parse(type, j.to.vhd, &j.params.type))
		return LODGE_EXIT_USAGE;
	return convert(&j);
}

const struct command img_convert_command = {
	.name = "img convert",
	.summary = "copy an image into another format",
	.operands = "SOURCE TARGET",
	.min = 2,
	.max = 2,
	.kind = OPERAND_FILE,
	.text = "Copies a disk image into another format. Holes and zeros take no space in the\n"
		"target. The target appears when it is complete, or not at all.\n",
	.examples = "  lodge img convert disk.raw disk.vhd\n"
		    "  lodge img convert -p --type fixed disk.vhd azure.vhd\n"
		    "  lodge img convert guest.vhd /dev/vg0/guest\n",
	.opts = (const struct opt[]) {
		{ OPT_BLOCK, "block-size", "SIZE", "block of a dynamic target (default 2M)" },
		{ OPT_FORCE, "force", NULL, "replace an existing target" },
		{ 'f', "format", "FORMAT", "source: raw or vhd (default: by its name)", "raw vhd" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "print what was done as JSON" },
		{ 'O', "output-format", "FORMAT", "target: raw or vhd (default: by its name)", "raw vhd" },
		{ 'p', "progress", NULL, "show progress" },
		{ OPT_RAW_PARENT, "raw-parent", NULL, "allow a source that stands on a raw file" },
		{ 't', "type", "TYPE", "target: fixed or dynamic (default dynamic)", "fixed dynamic" },
		{ 0 },
	},
	.run = img_convert,
};
