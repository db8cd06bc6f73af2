// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * queue_packed.c: the packed ring (virtio 1.2, chapter 2.8).
 *
 * One ring of descriptors {le64 addr, le32 len, le16 id, le16 flags} that both sides write. Bits 7 (AVAIL) and 15 (USED)
 * of the flags say whose a slot is: the driver makes a slot available by AVAIL = its wrap counter and USED = the inverse;
 * we use it up by setting both to ours. A wrap counter starts at 1 and flips each time its side passes the end of the
 * ring. A chain is consecutive slots tied by NEXT, with the buffer id in the last one; its used entry is one descriptor,
 * after which we skip as many slots as the chain had, so slots in flight can never exceed the ring.
 *
 * Publication: the driver writes a chain's first flags last, so seeing it available (load with acquire) is seeing all of
 * it. In the same way we write all used entries of a batch but the flags of the first, and those at the flush with
 * release: the driver, which reads in order, sees the batch at once.
 *
 * Each side has an event area {le16 off_wrap, le16 flags}: flags 0 = tell me always, 1 = never, 2 = (EVENT_IDX only) when
 * slot off_wrap[14:0] of the lap off_wrap[15] is passed. To compare within one lap an event of the lap before is moved
 * down by the ring's size.
 *
 * An indirect table here is not a list but an array; only the WRITE flag of its entries counts.
 */
#include <errno.h>

#include "virtio/queue.h"
#include "virtio/queue_format.h"

#define FLAG_AVAIL	(1u << 7)
#define FLAG_USED	(1u << 15)

#define EVENT_ENABLE	0u
#define EVENT_DISABLE	1u
#define EVENT_DESC	2u

static char *slot_at(const struct virtq *q, uint16_t i)
{
	return (char *)q->desc + 16 * (size_t)i;
}

/* The two halves of an event area. */
static void *event_off(void *area)
{
	return area;
}

static void *event_flags(void *area)
{
	return (char *)area + 2;
}

static int packed_init(struct virtq *q, uint64_t desc, uint64_t avail, uint64_t used)
{
	if ((desc & 15) || (avail & 3) || (used & 3))
		return -EINVAL;
	q->desc = virtq_map_part(q, desc, 16 * (uint64_t)q->size, 16);
	q->avail = virtq_map_part(q, avail, 4, 4);
	q->used = virtq_map_part(q, used, 4, 4);
	q->state.avail_wrap = 1;
	q->state.used_wrap = 1;
	return q->desc && q->avail && q->used ? 0 : -EFAULT;
}

static bool packed_pending(const struct virtq *q)
{
	uint16_t flags = ring_load16_acquire(slot_at(q, q->state.next_avail) + 14);
	bool avail = flags & FLAG_AVAIL;
	bool used = flags & FLAG_USED;

	return avail == q->state.avail_wrap && used != q->state.avail_wrap;
}

static void load_slot(const void *table, uint32_t i, struct virtq_desc *d)
{
	uint16_t id;

	ring_load_desc(table, i, d);
	id = d->flags;
	d->flags = d->next;
	d->next = id;
}

static int packed_indirect(struct virtq *q, struct virtq_elem *e, const struct virtq_desc *d)
{
	struct virtq_desc part;
	const void *table;
	uint32_t entries;
	int r;

	table = virtq_map_indirect(q, d, &entries);
	if (!table)
		return -EPROTO;
	/* Every entry adds a segment, so the segment limit bounds this loop. */
	for (uint32_t i = 0; i < entries; i++) {
		load_slot(table, i, &part);
		if (part.flags & DESC_INDIRECT)
			return virtq_break(q, VIRTQ_BAD_INDIRECT);
		r = virtq_add_segment(q, e, &part);
		if (r)
			return r;
	}
	return 0;
}

static int packed_walk(struct virtq *q, struct virtq_elem *e)
{
	uint16_t at = q->state.next_avail;
	struct virtq_desc d;
	int r;

	for (uint16_t slots = 1; slots + q->state.in_flight <= q->size; slots++) {
		load_slot(q->desc, at, &d);
		if (d.flags & DESC_INDIRECT) {
			/* Unlike in a split ring, an indirect descriptor stands alone. */
			if (slots > 1)
				return virtq_break(q, VIRTQ_BAD_INDIRECT);
			r = packed_indirect(q, e, &d);
		} else {
			r = virtq_add_segment(q, e, &d);
		}
		if (r)
			return r;
		if (!(d.flags & DESC_NEXT)) {
			e->id = d.next;
			e->slots = slots;
			return 0;
		}
		if (++at == q->size)
			at = 0;
	}
	return virtq_break(q, q->state.in_flight ? VIRTQ_TOO_MANY_IN_FLIGHT : VIRTQ_BAD_LOOP);
}

static int packed_pop(struct virtq *q, struct virtq_elem *e)
{
	uint32_t next;
	int r;

	if (!packed_pending(q))
		return 0;
	r = packed_walk(q, e);
	if (r)
		return r;
	next = q->state.next_avail + e->slots;
	if (next >= q->size) {
		next -= q->size;
		q->state.avail_wrap ^= 1;
	}
	q->state.next_avail = next;
	q->state.in_flight += e->slots;
	return 1;
}

static void packed_unpop(struct virtq *q, const struct virtq_elem *e)
{
	if (q->state.next_avail < e->slots) {
		q->state.next_avail += q->size;
		q->state.avail_wrap ^= 1;
	}
	q->state.next_avail -= e->slots;
	q->state.in_flight -= e->slots;
}

static void packed_fill(struct virtq *q, const struct virtq_elem *e, uint32_t written)
{
	char *slot = slot_at(q, q->state.next_used);
	uint16_t flags = q->state.used_wrap ? FLAG_AVAIL | FLAG_USED : 0;
	uint32_t next;

	if (written)
		flags |= DESC_WRITE;
	ring_store32(slot + 8, written);
	ring_store16(slot + 12, e->id);
	if (q->held) {
		ring_store16_release(slot + 14, flags);
	} else {
		q->held = true;
		q->held_slot = q->state.next_used;
		q->held_flags = flags;
	}
	next = q->state.next_used + e->slots;
	if (next >= q->size) {
		next -= q->size;
		q->state.used_wrap ^= 1;
	}
	q->state.next_used = next;
	q->state.in_flight -= e->slots;
	q->uncalled += e->slots;
}

static void packed_flush(struct virtq *q)
{
	if (!q->held)
		return;
	ring_store16_release(slot_at(q, q->held_slot) + 14, q->held_flags);
	q->held = false;
}

static bool packed_needs_call(struct virtq *q)
{
	uint16_t flags = ring_load16_acquire(event_flags(q->avail));
	uint16_t off, event;

	if (flags == EVENT_DISABLE)
		return false;
	if (flags != EVENT_DESC || !(q->flags & VIRTQ_F_EVENT_IDX) || q->uncalled >= q->size)
		return true;
	off = ring_load16(event_off(q->avail));
	event = off & 0x7fff;
	if ((off >> 15) != q->state.used_wrap)
		event -= q->size;
	return ring_passed(event, q->state.next_used, (uint16_t)(q->state.next_used - q->uncalled));
}

static void packed_disable_kicks(struct virtq *q)
{
	ring_store16(event_flags(q->used), EVENT_DISABLE);
}

static bool packed_enable_kicks(struct virtq *q)
{
	if (q->flags & VIRTQ_F_EVENT_IDX) {
		ring_store16(event_off(q->used), q->state.next_avail | (uint16_t)(q->state.avail_wrap << 15));
		/* The driver may read the offset as soon as it sees the flag. */
		ring_store16_release(event_flags(q->used), EVENT_DESC);
	} else {
		ring_store16(event_flags(q->used), EVENT_ENABLE);
	}
	ring_fence();
	return packed_pending(q);
}

const struct virtq_format virtq_packed = {
	.init = packed_init,
	.pop = packed_pop,
	.unpop = packed_unpop,
	.fill = packed_fill,
	.flush = packed_flush,
	.needs_call = packed_needs_call,
	.disable_kicks = packed_disable_kicks,
	.enable_kicks = packed_enable_kicks,
	.pending = packed_pending,
};
