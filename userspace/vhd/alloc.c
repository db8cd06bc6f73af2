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
 * instead of freed. A crash forgets the ring: the space is found again when
 * the image is checked, and cut off when it lies at the end.
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
