// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where new blocks go, and when the place of a freed one may be used again.
 *
 * A new block is put behind the last one, in a region of the file that was
 * never written and so reads as zeros; or into the place of a freed one. Its
 * data start on a 4 KiB boundary.
 *
 * A freed place must not be reused at once. On the disk the table may still
 * point there: a crash would show another block's data under the old number.
 * And its old bytes would show through where the new block is not written. So
 * a place walks through a ring, and each mark moves up to the one before it:
 *
 *	freed		entry cleared in memory, table unit dirty
 *	captured	... when a commit starts
 *	cleared		... that commit succeeded: no entry on disk points there
 *	grace		every request that had been mapped before is done
 *	punched		its bytes are zero (hole punched)
 *	punch_captured	... when a commit starts
 *	usable		... that commit succeeded: zero on disk for good
 *	taken		given out again
 *
 * Requests in flight are counted in two alternating epochs, so that `grace`
 * needs no list of them. When the ring is full blocks are zeroed in place
 * instead of freed. Closing and a crash forget the ring: opening finds the
 * places that no block has and puts them in again as cleared, and what lies
 * at the end is cut off.
 */
#include <errno.h>
#include <stdlib.h>

#include "vhd/image.h"

#define GROW_MIN	(64ull << 20)
#define GROW_MAX	(1ull << 30)

int alloc_init(struct vhd *v, uint64_t next)
{
	v->alloc.next = next;
	v->alloc.ring = calloc(RING_SLOTS, sizeof(uint32_t));
	return v->alloc.ring ? 0 : -ENOMEM;
}

void alloc_fini(struct vhd *v)
{
	free(v->alloc.ring);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Places between @from and @to, each for one block, into the ring. */
static uint64_t gap_take(struct vhd *v, uint64_t from, uint64_t to)
{
	struct alloc *a = &v->alloc;
	uint32_t align = v->header.block_size >= PAGE_BYTES ? PAGE_BYTES : VHD_SECTOR, bytes;

	for (;;) {
		uint64_t data = round_up(from + v->bitmap_bytes, align), at = data - v->bitmap_bytes;

		/* Where metadata is written in pages, a bitmap's page begins before it. */
		if (bitmap_offset(v, at / VHD_SECTOR, &bytes) < from) {
			data += align;
			at += align;
		}
		if (data + v->header.block_size > to || a->freed == RING_SLOTS)
			return from;
		a->ring[a->freed++] = at / VHD_SECTOR;
		from = data + v->header.block_size;
	}
}

int alloc_find_gaps(struct vhd *v, uint64_t from)
{
	struct alloc *a = &v->alloc;
	uint64_t lowest = from;
	uint32_t *sorted, i, used = 0;

	if (v->no_free)
		return 0;
	sorted = malloc((size_t)v->header.max_entries * sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	for (i = 0; i < v->header.max_entries; i++)
		if (v->bat[i] != VHD_UNUSED)
			sorted[used++] = v->bat[i];
	qsort(sorted, used, sizeof(*sorted), by_value);
	for (i = 0; i < used; i++) {
		gap_take(v, from, (uint64_t)sorted[i] * VHD_SECTOR);
		/* Blocks may lie before a parent locator. */
		from = alloc_data_end(v, sorted[i]);
		if (from < lowest)
			from = lowest;
	}
	free(sorted);
	a->captured = a->freed;
	a->cleared = a->freed;
	return 0;
}

void alloc_forget(struct vhd *v)
{
	struct alloc *a = &v->alloc;

	a->captured = a->cleared = a->grace = a->punched = a->punch_captured = a->usable = a->taken = a->freed;
	if (!v->store->device && a->next < v->store->size)
		a->next = round_up(v->store->size, PAGE_BYTES);
}

uint64_t alloc_data_end(const struct vhd *v, uint32_t sector)
{
	return (uint64_t)sector * VHD_SECTOR + v->bitmap_bytes + v->header.block_size;
}

static int grow(struct vhd *v, uint64_t end)
{
	uint64_t step = v->store->size / 8;

	if (end <= v->store->size)
		return 0;
	if (v->store->device)
		return -ENOSPC;
	if (step < GROW_MIN)
		step = GROW_MIN;
	if (step > GROW_MAX)
		step = GROW_MAX;
	if (!v->store->ops->truncate(v->store, round_up(end + step, PAGE_BYTES)))
		return 0;
	return v->store->ops->truncate(v->store, end);
}

int alloc_place(struct vhd *v, uint32_t *sector)
{
	struct alloc *a = &v->alloc;
	uint64_t data, at, limit = v->store->size - VHD_FOOTER_BYTES;
	int ret;

	while (a->taken < a->usable) {
		*sector = a->ring[a->taken++ % RING_SLOTS];
		if (*sector)
			return 0;
	}
	data = round_up(a->next + v->bitmap_bytes,
			v->header.block_size >= PAGE_BYTES ? PAGE_BYTES : VHD_SECTOR);
	at = data - v->bitmap_bytes;
	if (at / VHD_SECTOR >= VHD_UNUSED)
		return -EFBIG;
	if (v->store->device && data + v->header.block_size > limit)
		return -ENOSPC;
	ret = grow(v, data + v->header.block_size);
	if (ret)
		return ret;
	a->next = data + v->header.block_size;
	*sector = at / VHD_SECTOR;
	return 0;
}

bool alloc_can_free(const struct vhd *v)
{
	return !v->no_free && v->alloc.freed - v->alloc.taken < RING_SLOTS;
}

void alloc_free(struct vhd *v, uint32_t sector)
{
	v->alloc.ring[v->alloc.freed++ % RING_SLOTS] = sector;
}

static void punch_next(struct vhd *v, struct vhd_queue *q);

static void punch_done(struct store_io *io, int error)
{
	struct vhd_queue *q = (struct vhd_queue *)((char *)io - offsetof(struct vhd_queue, punch_io));
	struct vhd *v = q->image;
	struct alloc *a = &v->alloc;

	pthread_mutex_lock(&v->lock);
	/* A place that could not be cleared is not used again. */
	if (error)
		a->ring[a->punched % RING_SLOTS] = 0;
	a->punched++;
	a->punching = false;
	q->housekeeping--;
	atomic_fetch_add(&v->written, 1);
	punch_next(v, q);
	pthread_mutex_unlock(&v->lock);
}

static void punch_next(struct vhd *v, struct vhd_queue *q)
{
	struct alloc *a = &v->alloc;
	struct store_io *io = &q->punch_io;
	uint32_t sector, bytes;

	if (a->punching || a->punched == a->grace)
		return;
	a->punching = true;
	q->housekeeping++;
	sector = a->ring[a->punched % RING_SLOTS];
	io->store = v->store;
	io->op = STORE_PUNCH;
	io->offset = bitmap_offset(v, sector, &bytes);
	io->length = alloc_data_end(v, sector) - io->offset;
	io->done = punch_done;
	v->store->ops->submit(q->sq, io);
}

static void grace_try(struct vhd *v, struct vhd_queue *q)
{
	struct alloc *a = &v->alloc;

	if (!a->grace_pending && a->cleared > a->grace) {
		a->target = a->cleared;
		a->epoch ^= 1;
		a->grace_pending = true;
	}
	if (a->grace_pending && !a->inflight[a->epoch ^ 1]) {
		a->grace = a->target;
		a->grace_pending = false;
		punch_next(v, q);
	}
}

int alloc_enter(struct vhd *v)
{
	v->alloc.inflight[v->alloc.epoch]++;
	return v->alloc.epoch;
}

void alloc_leave(struct vhd *v, int epoch, struct vhd_queue *q)
{
	v->alloc.inflight[epoch]--;
	if (v->alloc.grace_pending || v->alloc.cleared > v->alloc.grace)
		grace_try(v, q);
}

void alloc_commit_begin(struct vhd *v)
{
	v->alloc.captured = v->alloc.freed;
	v->alloc.punch_captured = v->alloc.punched;
}

void alloc_commit_done(struct vhd *v, struct vhd_queue *q)
{
	v->alloc.cleared = v->alloc.captured;
	v->alloc.usable = v->alloc.punch_captured;
	grace_try(v, q);
}
