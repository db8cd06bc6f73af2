// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * queue_split.c: the split ring (virtio 1.2, chapter 2.7).
 *
 * Three parts: a table of descriptors {le64 addr, le32 len, le16 flags, le16 next}; the avail ring {le16 flags, le16 idx,
 * le16 ring[size], le16 used_event}, written by the driver; and the used ring {le16 flags, le16 idx, {le32 id, le32 len}
 * ring[size], le16 avail_event}, written by us. Both indices run freely modulo 65,536, so the size is a power of two.
 *
 * The driver publishes heads by its index (we load it with acquire, then the heads); we publish used entries by ours
 * (stored with release). With EVENT_IDX each side says at which index of the other it wants to be told; without, one flag
 * says "not at all". A driver that says a chain is available while more chains than the ring has descriptors are in
 * our hands lies, and so does an index more than one ring ahead.
 *
 * A chain is a linked list, hence may loop: it is given up after as many steps as its table has entries.
 */
#include <errno.h>

#include "virtio/queue.h"
#include "virtio/queue_format.h"

#define AVAIL_NO_INTERRUPT	1u
#define USED_NO_NOTIFY		1u

static void *avail_flags(const struct virtq *q)
{
	return q->avail;
}

static void *avail_idx(const struct virtq *q)
{
	return (char *)q->avail + 2;
}

static void *avail_slot(const struct virtq *q, uint16_t i)
{
	return (char *)q->avail + 4 + 2 * (size_t)(i & (q->size - 1));
}

static void *used_event(const struct virtq *q)
{
	return (char *)q->avail + 4 + 2 * (size_t)q->size;
}

static void *used_idx(const struct virtq *q)
{
	return (char *)q->used + 2;
}

static char *used_slot(const struct virtq *q, uint16_t i)
{
	return (char *)q->used + 4 + 8 * (size_t)(i & (q->size - 1));
}

static void *avail_event(const struct virtq *q)
{
	return (char *)q->used + 4 + 8 * (size_t)q->size;
}

static int split_init(struct virtq *q, uint64_t desc, uint64_t avail, uint64_t used)
{
	if (q->size & (q->size - 1))
		return -EINVAL;
	if ((desc & 15) || (avail & 1) || (used & 3))
		return -EINVAL;
	q->desc = virtq_map_part(q, desc, 16 * (uint64_t)q->size, 16);
	q->avail = virtq_map_part(q, avail, 6 + 2 * (uint64_t)q->size, 2);
	q->used = virtq_map_part(q, used, 6 + 8 * (uint64_t)q->size, 4);
	return q->desc && q->avail && q->used ? 0 : -EFAULT;
}

/* Walk one table from entry i. A direct chain may end in an indirect descriptor; an indirect one may not. */
static int split_walk(struct virtq *q, struct virtq_elem *e, const void *table, uint32_t entries, uint32_t i,
		      struct virtq_desc *indirect)
{
	struct virtq_desc d;
	int r;

	for (uint32_t steps = 0; steps < entries; steps++) {
		ring_load_desc(table, i, &d);
		if (d.flags & DESC_INDIRECT) {
			if (!indirect)
				return virtq_break(q, VIRTQ_BAD_INDIRECT);
			*indirect = d;
			return 1;
		}
		r = virtq_add_segment(q, e, &d);
		if (r)
			return r;
		if (!(d.flags & DESC_NEXT))
			return 0;
		if (d.next >= entries)
			return virtq_break(q, VIRTQ_BAD_NEXT);
		i = d.next;
	}
	return virtq_break(q, VIRTQ_BAD_LOOP);
}

static int split_pop(struct virtq *q, struct virtq_elem *e)
{
	uint16_t ahead = ring_load16_acquire(avail_idx(q)) - q->state.next_avail;
	struct virtq_desc indirect;
	const void *table;
	uint32_t entries;
	uint16_t head;
	int r;

	if (!ahead)
		return 0;
	if (ahead > q->size)
		return virtq_break(q, VIRTQ_BAD_AVAIL_INDEX);
	if (q->state.in_flight >= q->size)
		return virtq_break(q, VIRTQ_TOO_MANY_IN_FLIGHT);
	head = ring_load16(avail_slot(q, q->state.next_avail));
	if (head >= q->size)
		return virtq_break(q, VIRTQ_BAD_HEAD);
	r = split_walk(q, e, q->desc, q->size, head, &indirect);
	if (r > 0) {
		table = virtq_map_indirect(q, &indirect, &entries);
		if (!table)
			return -EPROTO;
		r = split_walk(q, e, table, entries, 0, NULL);
	}
	if (r < 0)
		return r;
	e->id = head;
	e->slots = 1;
	q->state.next_avail++;
	q->state.in_flight++;
	return 1;
}

static void split_unpop(struct virtq *q, const struct virtq_elem *e)
{
	(void)e;
	q->state.next_avail--;
	q->state.in_flight--;
}

static void split_fill(struct virtq *q, const struct virtq_elem *e, uint32_t written)
{
	char *slot = used_slot(q, q->state.next_used);

	ring_store32(slot, e->id);
	ring_store32(slot + 4, written);
	q->state.next_used++;
	q->state.in_flight--;
	q->uncalled++;
}

static void split_flush(struct virtq *q)
{
	ring_store16_release(used_idx(q), q->state.next_used);
}

static bool split_needs_call(struct virtq *q)
{
	if (!(q->flags & VIRTQ_F_EVENT_IDX))
		return !(ring_load16(avail_flags(q)) & AVAIL_NO_INTERRUPT);
	if (q->uncalled > UINT16_MAX)
		return true;
	return ring_passed(ring_load16(used_event(q)), q->state.next_used,
			   (uint16_t)(q->state.next_used - q->uncalled));
}

static void split_disable_kicks(struct virtq *q)
{
	/* With EVENT_IDX an event index that is not moved on is passed at most once: nothing to write. */
	if (!(q->flags & VIRTQ_F_EVENT_IDX))
		ring_store16(q->used, USED_NO_NOTIFY);
}

static bool split_pending(const struct virtq *q)
{
	return ring_load16_acquire(avail_idx(q)) != q->state.next_avail;
}

static bool split_enable_kicks(struct virtq *q)
{
	if (q->flags & VIRTQ_F_EVENT_IDX)
		ring_store16(avail_event(q), q->state.next_avail);
	else
		ring_store16(q->used, 0);
	ring_fence();
	return split_pending(q);
}

const struct virtq_format virtq_split = {
	.init = split_init,
	.pop = split_pop,
	.unpop = split_unpop,
	.fill = split_fill,
	.flush = split_flush,
	.needs_call = split_needs_call,
	.disable_kicks = split_disable_kicks,
	.enable_kicks = split_enable_kicks,
	.pending = split_pending,
};
