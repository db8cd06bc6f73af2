// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * blk_share.c: reads of blocks that other guests have already.
 *
 * A read is cut into pieces by where the disk's content comes from (block_locate()). What the disk itself was written with,
 * zeros, and what does not fall on whole pages of guest memory is read as ever. A piece of an unchanging image goes like this,
 * page by page of 4 KiB, up to STAGE_PAGES at a time:
 *
 *	MAP	asks the group for all of them. What it has is in the guest's memory afterwards, without a read or a copy
 *	read	what it lacks, from that image, into the stage
 *	OFFER	the stage's pages: the group takes them
 *	MAP	again: the guest gets them from the group, as anybody will from now on
 *
 * and the stage's pages are given up. Where a MAP is refused, because a page of the guest is in use or the group has no room,
 * the bytes are copied, or read into guest memory in the first place. So the guest gets the block's bytes in each case,
 * and whether they are shared is nobody's concern but the host's.
 *
 * Pieces of one read follow each other; up to OPS reads are under way at once, more are read as ever.
 */
#include "virtio/blk_share.h"

#include <errno.h>
#include <stdlib.h>

#define OPS		8
#define STAGE_PAGES	64u
#define STAGE_BYTES	(STAGE_PAGES * SHARE_PAGE)
#define IOVECS		130

struct share_op {
	struct blk_share *share;
	struct share_op *next;
	struct block_req *outer;
	struct block_req io;
	u64 *shared_bytes;
	struct vhd_found found;		/* the piece */
	u64 at;				/* bytes of outer that are done */
	u64 piece;			/* bytes that io is about */
	u64 stage;			/* offset of this operation's part of the stage */
	unsigned int pages;		/* of the piece; the first `first` are there already */
	unsigned int first;
	u64 page[STAGE_PAGES];		/* offsets in the guest's file */
	u64 staged[STAGE_PAGES];	/* and in the stage's */
	u8 state[STAGE_PAGES];
	struct iovec iov[IOVECS];
};

struct blk_share {
	const struct guest_mem *mem;
	struct block_queue *queue;
	const struct share_ops *ops;
	bool *submitted;
	struct share_stage stage;
	struct share_op *free;
	struct share_op op[OPS];
};

static void next_piece(struct share_op *op);

static void op_end(struct share_op *op, int error)
{
	struct block_req *outer = op->outer;

	op->next = op->share->free;
	op->share->free = op;
	outer->done(outer, error);
}

/* Memory for bytes [at, at + len) of the outer request, cut into op->iov, which has room for all of its pieces. Their number. */
static int outer_iov(struct share_op *op, u64 at, u64 len)
{
	const struct block_req *outer = op->outer;
	int count = 0;
	u64 got = 0;

	for (int i = 0; i < outer->iovcnt && got < len; i++) {
		u64 part = outer->iov[i].iov_len;

		if (at >= part) {
			at -= part;
			continue;
		}
		part -= at;
		if (part > len - got)
			part = len - got;
		op->iov[count++] = (struct iovec){ (u8 *)outer->iov[i].iov_base + at, part };
		got += part;
		at = 0;
	}
	return count;
}

static void io_submit_read(struct share_op *op, struct vhd *from, void (*done)(struct block_req *req, int error))
{
	op->io.op = BLOCK_READ;
	op->io.flags = 0;
	op->io.offset = op->outer->offset + op->at + (u64)op->first * SHARE_PAGE;
	op->io.iov = op->iov;
	op->io.from = from;
	op->io.done = done;
	op->io.opaque = op;
	*op->share->submitted = true;
	block_queue_submit(op->share->queue, &op->io);
}

static void plain_done(struct block_req *io, int error)
{
	struct share_op *op = io->opaque;

	if (error) {
		op_end(op, error);
		return;
	}
	op->at += (u64)op->first * SHARE_PAGE + io->length;
	next_piece(op);
}

/* len bytes behind the first pages, into the guest's memory. */
static void read_plain(struct share_op *op, u64 len)
{
	op->io.length = len;
	op->io.iovcnt = outer_iov(op, op->at + (u64)op->first * SHARE_PAGE, len);
	io_submit_read(op, NULL, plain_done);
}

/* The guest's whole pages from op->at on, at most len bytes of them. */
static unsigned int guest_pages(struct share_op *op, u64 len)
{
	const struct guest_mem *mem = op->share->mem;
	unsigned int n = 0;
	int count;

	if (len > STAGE_BYTES)
		len = STAGE_BYTES;
	count = outer_iov(op, op->at, len);
	for (int i = 0; i < count; i++) {
		u64 off = (u8 *)op->iov[i].iov_base - mem->region[0].hva, part = op->iov[i].iov_len;

		if (off % SHARE_PAGE || off >= mem->size)
			break;
		for (; part >= SHARE_PAGE; part -= SHARE_PAGE, off += SHARE_PAGE)
			op->page[n++] = off;
		if (part)
			break;
	}
	return n;
}

static u64 first_block(const struct share_op *op)
{
	return (op->outer->offset + op->at) / SHARE_PAGE;
}

static void count_shared(struct share_op *op, unsigned int pages)
{
	if (op->shared_bytes)
		*op->shared_bytes += (u64)pages * SHARE_PAGE;
}

/* The stage holds the pages that the group lacked: give them to it, and let the guest have them. */
static void publish(struct share_op *op, unsigned int n)
{
	struct blk_share *s = op->share;
	const u8 *image = op->found.image;
	u64 block = first_block(op) + op->first;
	const u64 *page = op->page + op->first;
	int r = s->ops->blocks(s->stage.file, LODGE_BLOCKS_OFFER, image, block, op->staged, op->state, n);

	if (!r)
		r = s->ops->blocks(s->mem->file, LODGE_BLOCKS_MAP, image, block, page, op->state, n);
	for (unsigned int i = 0; i < n; i++)
		if (r || op->state[i] != LODGE_BLOCK_MAPPED)
			memcpy(s->mem->region[0].hva + page[i], s->stage.hva + op->staged[i], SHARE_PAGE);
	s->ops->clear(&s->stage, op->stage, (u64)n * SHARE_PAGE);
}

static void staged_done(struct block_req *io, int error)
{
	struct share_op *op = io->opaque;
	unsigned int n = io->length / SHARE_PAGE;

	if (error) {
		op->share->ops->clear(&op->share->stage, op->stage, io->length);
		op_end(op, error);
		return;
	}
	publish(op, n);
	op->at += (u64)(op->first + n) * SHARE_PAGE;
	next_piece(op);
}

/* How many pages from the first on are in the same case: MAPPED, ABSENT (to be staged), or anything else. */
static unsigned int run_of(const struct share_op *op, unsigned int from, bool absent)
{
	unsigned int n = from;

	while (n < op->pages && op->state[n] != LODGE_BLOCK_MAPPED && (op->state[n] == LODGE_BLOCK_ABSENT) == absent)
		n++;
	return n - from;
}

static void read_staged(struct share_op *op, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		op->staged[i] = op->stage + (u64)i * SHARE_PAGE;
	op->iov[0] = (struct iovec){ op->share->stage.hva + op->stage, (u64)n * SHARE_PAGE };
	op->io.length = (u64)n * SHARE_PAGE;
	op->io.iovcnt = 1;
	io_submit_read(op, op->found.from, staged_done);
}

/* A piece of an unchanging image. False: wait for io. */
static bool take_image(struct share_op *op, const struct vhd_found *found)
{
	struct blk_share *s = op->share;
	bool absent;

	op->pages = guest_pages(op, found->length);
	if (!op->pages) {
		/* Buffers that do not begin on a page seldom do so later. */
		read_plain(op, found->length);
		return false;
	}
	if (s->ops->blocks(s->mem->file, LODGE_BLOCKS_MAP, found->image, first_block(op), op->page, op->state, op->pages)) {
		read_plain(op, (u64)op->pages * SHARE_PAGE);
		return false;
	}
	while (op->first < op->pages && op->state[op->first] == LODGE_BLOCK_MAPPED)
		op->first++;
	count_shared(op, op->first);
	if (op->first == op->pages) {
		op->at += (u64)op->pages * SHARE_PAGE;
		return true;
	}
	absent = op->state[op->first] == LODGE_BLOCK_ABSENT;
	if (absent)
		read_staged(op, run_of(op, op->first, true));
	else
		read_plain(op, (u64)run_of(op, op->first, false) * SHARE_PAGE);
	return false;
}

/* io has located the next piece. False: wait for what was begun. */
static bool take_piece(struct share_op *op)
{
	const struct vhd_found *found = &op->found;
	u64 skew = (op->outer->offset + op->at) % SHARE_PAGE;

	op->found = *block_found(&op->io);
	op->first = 0;
	if (found->from && !skew)
		return take_image(op, found);
	/* Up to the next whole page. */
	read_plain(op, found->from && found->length > SHARE_PAGE - skew ? SHARE_PAGE - skew : found->length);
	return false;
}

static void located(struct block_req *io, int error)
{
	struct share_op *op = io->opaque;

	if (error)
		op_end(op, error);
	else if (take_piece(op))
		next_piece(op);
}

static void next_piece(struct share_op *op)
{
	do {
		if (op->at >= op->outer->length) {
			op_end(op, 0);
			return;
		}
		op->io.offset = op->outer->offset + op->at;
		op->io.length = op->outer->length - op->at;
		op->io.done = located;
		op->io.opaque = op;
		*op->share->submitted = true;
		if (!block_locate(op->share->queue, &op->io))
			return;
	} while (take_piece(op));
}

void blk_share_read(struct blk_share *s, struct block_req *req, u64 *shared_bytes)
{
	struct share_op *op = s->free;

	if (!op || req->iovcnt > IOVECS) {
		block_queue_submit(s->queue, req);
		return;
	}
	s->free = op->next;
	op->outer = req;
	op->shared_bytes = shared_bytes;
	op->at = 0;
	next_piece(op);
}

struct blk_share *blk_share_create(const struct guest_mem *mem, struct block_queue *q, const struct share_ops *ops,
				   bool *submitted, struct err *e)
{
	struct blk_share *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	s->mem = mem;
	s->queue = q;
	s->ops = ops;
	s->submitted = submitted;
	for (unsigned int i = 0; i < OPS; i++) {
		s->op[i].share = s;
		s->op[i].stage = (u64)i * STAGE_BYTES;
		s->op[i].next = s->free;
		s->free = &s->op[i];
	}
	if (ops->stage(&s->stage, mem, OPS * (u64)STAGE_BYTES, e) < 0) {
		free(s);
		return NULL;
	}
	return s;
}

void blk_share_destroy(struct blk_share *s)
{
	if (!s)
		return;
	s->ops->unstage(&s->stage);
	free(s);
}
