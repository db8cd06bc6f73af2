// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * queue.c: what the two ring formats have in common: the checks on a segment, the broken state, copying in and out of a
 * chain, and the choice of the format.
 */
#include <errno.h>

#include "virtio/queue.h"
#include "virtio/queue_format.h"

static const char *const fault_names[VIRTQ_FAULTS] = {
	[VIRTQ_OK] = "ok",
	[VIRTQ_BAD_AVAIL_INDEX] = "avail index out of range",
	[VIRTQ_BAD_HEAD] = "descriptor head out of range",
	[VIRTQ_BAD_NEXT] = "next descriptor out of range",
	[VIRTQ_BAD_LOOP] = "descriptor loop",
	[VIRTQ_BAD_LENGTH] = "bad segment length",
	[VIRTQ_BAD_ADDRESS] = "segment outside guest memory",
	[VIRTQ_BAD_INDIRECT] = "bad indirect table",
	[VIRTQ_BAD_ORDER] = "readable segment after a writable one",
	[VIRTQ_TOO_MANY_SEGMENTS] = "too many segments",
	[VIRTQ_TOO_MANY_IN_FLIGHT] = "too many chains in flight",
};

const char *virtq_fault_name(enum virtq_fault fault)
{
	return (unsigned int)fault < VIRTQ_FAULTS ? fault_names[fault] : "unknown";
}

static const struct virtq_format *format(const struct virtq *q)
{
	return q->flags & VIRTQ_F_PACKED ? &virtq_packed : &virtq_split;
}

int virtq_break(struct virtq *q, enum virtq_fault fault)
{
	if (!q->fault)
		q->fault = fault;
	return -EPROTO;
}

void *virtq_map_part(struct virtq *q, uint64_t gpa, uint64_t len, uint64_t align)
{
	if (gpa & (align - 1))
		return NULL;
	return q->mem.map(q->mem.opaque, gpa, len);
}

int virtq_init(struct virtq *q, const struct virtq_mem *mem, unsigned int flags, uint16_t size, uint16_t max_segments,
	       uint64_t desc, uint64_t avail, uint64_t used)
{
	int r;

	memset(q, 0, sizeof(*q));
	if (!size || size > VIRTQ_SIZE_MAX || !max_segments)
		return -EINVAL;
	q->mem = *mem;
	q->flags = flags;
	q->max_segments = max_segments;
	q->size = size;
	r = format(q)->init(q, desc, avail, used);
	if (r)
		q->size = 0;
	return r;
}

int virtq_add_segment(struct virtq *q, struct virtq_elem *e, const struct virtq_desc *d)
{
	unsigned int n = e->out_num + e->in_num;
	bool in = d->flags & DESC_WRITE;
	uint32_t *sum = in ? &e->in_len : &e->out_len;
	void *hva;

	if (n >= q->max_segments)
		return virtq_break(q, VIRTQ_TOO_MANY_SEGMENTS);
	if (!in && e->in_num)
		return virtq_break(q, VIRTQ_BAD_ORDER);
	if (!d->len || (uint64_t)e->in_len + e->out_len + d->len > UINT32_MAX)
		return virtq_break(q, VIRTQ_BAD_LENGTH);
	hva = q->mem.map(q->mem.opaque, d->addr, d->len);
	if (!hva)
		return virtq_break(q, VIRTQ_BAD_ADDRESS);
	e->iov[n].iov_base = hva;
	e->iov[n].iov_len = d->len;
	*sum += d->len;
	if (in)
		e->in_num++;
	else
		e->out_num++;
	return 0;
}

const void *virtq_map_indirect(struct virtq *q, const struct virtq_desc *d, uint32_t *entries)
{
	const void *table;

	if (!(q->flags & VIRTQ_F_INDIRECT) || (d->flags & DESC_NEXT) || !d->len || d->len % 16) {
		virtq_break(q, VIRTQ_BAD_INDIRECT);
		return NULL;
	}
	table = q->mem.map(q->mem.opaque, d->addr, d->len);
	if (!table)
		virtq_break(q, VIRTQ_BAD_ADDRESS);
	*entries = d->len / 16;
	return table;
}

int virtq_pop(struct virtq *q, struct virtq_elem *e)
{
	if (q->fault)
		return -EPROTO;
	if (!q->size)
		return 0;
	e->out_num = 0;
	e->in_num = 0;
	e->out_len = 0;
	e->in_len = 0;
	return format(q)->pop(q, e);
}

void virtq_unpop(struct virtq *q, const struct virtq_elem *e)
{
	if (q->size && !q->fault)
		format(q)->unpop(q, e);
}

void virtq_fill(struct virtq *q, const struct virtq_elem *e, uint32_t written)
{
	if (q->size && !q->fault)
		format(q)->fill(q, e, written);
}

void virtq_flush(struct virtq *q)
{
	if (q->size && !q->fault)
		format(q)->flush(q);
}

bool virtq_needs_call(struct virtq *q)
{
	bool call;

	if (!q->size || q->fault || !q->uncalled)
		return false;
	/* What was published must be visible before the driver's wish is read, or both sides may sleep. */
	ring_fence();
	call = format(q)->needs_call(q);
	q->uncalled = 0;
	return call;
}

void virtq_disable_kicks(struct virtq *q)
{
	if (q->size && !q->fault)
		format(q)->disable_kicks(q);
}

bool virtq_enable_kicks(struct virtq *q)
{
	if (!q->size || q->fault)
		return false;
	return format(q)->enable_kicks(q);
}

bool virtq_pending(const struct virtq *q)
{
	return q->size && !q->fault && format(q)->pending(q);
}

static size_t elem_copy(const struct iovec *iov, unsigned int num, size_t skip, void *buf, size_t len, bool in)
{
	size_t done = 0;

	for (unsigned int i = 0; i < num && done < len; i++) {
		size_t part = iov[i].iov_len;
		char *at = iov[i].iov_base;

		if (skip >= part) {
			skip -= part;
			continue;
		}
		part -= skip;
		at += skip;
		skip = 0;
		if (part > len - done)
			part = len - done;
		if (in)
			memcpy(at, (char *)buf + done, part);
		else
			memcpy((char *)buf + done, at, part);
		done += part;
	}
	return done;
}

size_t virtq_elem_read(const struct virtq_elem *e, size_t skip, void *buf, size_t len)
{
	return elem_copy(e->iov, e->out_num, skip, buf, len, false);
}

size_t virtq_elem_write(const struct virtq_elem *e, size_t skip, const void *buf, size_t len)
{
	return elem_copy(e->iov + e->out_num, e->in_num, skip, (void *)(uintptr_t)buf, len, true);
}
