// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * From a place on the guest's disk to a place in a file.
 *
 * Each function looks at the start of [offset, offset + length) and says what
 * the longest uniform piece from there is: bytes in an image's file, zeros,
 * or nothing to do; or that the request has been put on a waiting list and
 * will be resumed. The caller holds one operation in reserve, which is used
 * up when a bitmap or a fresh block needs I/O first.
 *
 * A read walks the chain from the leaf: an allocated block answers for the
 * sectors whose bits are set, what is left goes on to the parent, or, in a
 * deep chain, at once to the ancestor that has it (flat.c). A write always
 * ends in the leaf.
 *
 * Discarding frees whole blocks. A differencing image frees none, since that
 * would uncover its parent's older data: its block's sectors are marked as
 * its own and their space given back as holes in the file.
 */
#include <errno.h>

#include "vhd/image.h"

struct spot {
	uint32_t block;
	uint32_t sector;	/* in the block */
	uint64_t length;	/* cut at the block's end */
};

static struct spot spot_of(const struct vhd *v, uint64_t offset, uint64_t length)
{
	struct spot s;
	uint32_t in = offset % v->header.block_size;

	s.block = offset / v->header.block_size;
	s.sector = in / VHD_SECTOR;
	s.length = v->header.block_size - in;
	if (s.length > length)
		s.length = length;
	return s;
}

static uint64_t file_offset(const struct vhd *v, const struct spot *s)
{
	return (uint64_t)v->bat[s->block] * VHD_SECTOR + v->bitmap_bytes +
	       (uint64_t)s->sector * VHD_SECTOR;
}

static enum map_result flat(struct vhd *v, uint64_t offset, uint64_t length, struct extent *e)
{
	e->image = v;
	e->offset = offset;
	e->length = length;
	e->epoch = -1;
	return MAP_DATA;
}

static struct zeroing *zeroing_of(struct vhd *v, uint32_t block)
{
	int i;

	if (!v->store->device)
		return NULL;
	for (i = 0; i < ZEROING_SLOTS; i++)
		if (v->zeroing[i].busy && v->zeroing[i].block == block)
			return &v->zeroing[i];
	return NULL;
}

static enum map_result spot_data(struct vhd *v, const struct spot *s, struct extent *e)
{
	e->image = v;
	e->offset = file_offset(v, s);
	if (e->offset >= v->data_limit)
		return MAP_ZERO;
	if (e->length > v->data_limit - e->offset)
		e->length = v->data_limit - e->offset;
	e->epoch = v->readonly ? -1 : alloc_enter(v);
	return MAP_DATA;
}

/* One level of a read. MAP_NOTHING: the parent is to be asked. */
static enum map_result read_level(struct vhd_queue *q, struct vhd *v, struct vhd_request *req,
				  uint64_t offset, struct extent *e)
{
	struct spot s = spot_of(v, offset, e->length);
	struct zeroing *z;
	struct bitmap *b;
	uint64_t run;
	bool set;

	e->length = s.length;
	if (v->bat[s.block] == VHD_UNUSED)
		return MAP_NOTHING;
	z = zeroing_of(v, s.block);
	if (z) {
		requests_add(&z->waiters, req);
		return MAP_WAIT;
	}
	if (!map_test(v->full, s.block)) {
		b = bitmap_get(v, s.block, q, req);
		if (!b)
			return MAP_WAIT;
		set = vhd_bit_test(b->map, s.sector);
		run = (uint64_t)vhd_bit_run(b->map, s.sector, s.length / VHD_SECTOR) * VHD_SECTOR;
		e->length = run;
		if (!set)
			return MAP_NOTHING;
	}
	return spot_data(v, &s, e);
}

/* Ancestors do not change: what a flat map says of one needs no lock. */
static enum map_result read_flat(struct vhd_queue *q, struct vhd *v, struct vhd_request *req, uint64_t offset,
				 struct extent *e)
{
	enum map_result r;
	struct vhd *p;
	struct spot s;

	r = flat_find(q, v, req, offset, e, &p);
	if (r != MAP_NOTHING)
		return r == MAP_DATA ? MAP_NOTHING : r;
	if (!p)
		return MAP_ZERO;
	if (!p->blocks)
		return flat(p, offset, e->length, e);
	s = spot_of(p, offset, e->length);
	return spot_data(p, &s, e);
}

enum map_result map_read(struct vhd_queue *q, struct vhd_request *req, uint64_t offset,
			 uint64_t length, struct extent *e)
{
	struct vhd *v;

	e->length = length;
	e->bitmap = NULL;
	for (v = req->from ? req->from : q->image; v; v = v->parent) {
		enum map_result r;

		if (offset >= v->size)
			return MAP_ZERO;
		if (e->length > v->size - offset)
			e->length = v->size - offset;
		if (!v->blocks)
			return flat(v, offset, e->length, e);
		pthread_mutex_lock(&v->lock);
		r = read_level(q, v, req, offset, e);
		pthread_mutex_unlock(&v->lock);
		if (r == MAP_NOTHING && v->flat && v == q->image)
			r = read_flat(q, v, req, offset, e);
		if (r != MAP_NOTHING)
			return r;
	}
	return MAP_ZERO;
}

/* Starts zeroing a fresh block of a device; requests for it wait. */
static void fresh_start(struct vhd_queue *q, struct vhd *v, uint32_t block, struct zeroing *z)
{
	struct vhd_io *vio = queue_io_get(q);
	uint32_t bytes;

	z->busy = true;
	z->block = block;
	vio->kind = IO_FRESH;
	vio->image = v;
	vio->block = block;
	vio->io.store = v->store;
	vio->io.op = STORE_PUNCH;
	vio->io.offset = bitmap_offset(v, v->bat[block], &bytes);
	vio->io.length = alloc_data_end(v, v->bat[block]) - vio->io.offset;
	v->store->ops->submit(q->sq, &vio->io);
}

void map_fresh_done(struct vhd_io *vio, int error)
{
	struct vhd *v = vio->image;
	struct vhd_request *req;
	struct zeroing *z;

	pthread_mutex_lock(&v->lock);
	atomic_fetch_add(&v->written, 1);
	z = zeroing_of(v, vio->block);
	z->busy = false;
	if (error) {
		struct bitmap *b = bitmap_find(v, vio->block);

		for (req = z->waiters.head; req; req = req->next)
			req->error = error;
		if (b)
			bitmap_drop(v, b);
		v->bat[vio->block] = VHD_UNUSED;
	} else {
		/* Only now: the bitmap's place was being zeroed with the rest. */
		table_set(v, vio->block, v->bat[vio->block]);
		if (!v->exact)
			full_set(v, vio->block, true);
	}
	requests_resume(&z->waiters);
	requests_resume(&v->zeroing_starved);
	pthread_mutex_unlock(&v->lock);
}

static struct zeroing *zeroing_claim(struct vhd *v)
{
	int i;

	for (i = 0; i < ZEROING_SLOTS; i++)
		if (!v->zeroing[i].busy)
			return &v->zeroing[i];
	return NULL;
}

/*
 * Gives @block a place. MAP_NOTHING: it has one now. In a differencing or
 * encrypted image it starts with no sector present, else with all (they are
 * zero).
 */
static enum map_result allocate(struct vhd_queue *q, struct vhd *v, struct vhd_request *req,
				uint32_t block, struct extent *e)
{
	struct zeroing *z = NULL;
	struct bitmap *b = NULL;
	uint32_t sector;

	if (v->store->device) {
		z = zeroing_claim(v);
		if (!z) {
			requests_add(&v->zeroing_starved, req);
			return MAP_WAIT;
		}
	}
	if (v->exact) {
		b = bitmap_fresh(v, block, q, req);
		if (!b)
			return MAP_WAIT;
	}
	e->error = alloc_place(v, &sector);
	if (e->error) {
		if (b)
			bitmap_drop(v, b);
		return MAP_ERROR;
	}
	if (v->full_dirty_count + v->cache.dirty > COMMIT_DIRTY)
		commit_poke(v, q);
	if (z) {
		v->bat[block] = sector;
		fresh_start(q, v, block, z);
		requests_add(&z->waiters, req);
		return MAP_WAIT;
	}
	table_set(v, block, sector);
	if (!b)
		full_set(v, block, true);
	return MAP_NOTHING;
}

/* What a write to @s needs before it can go to the file. */
static enum map_result write_spot(struct vhd_queue *q, struct vhd *v, struct vhd_request *req,
				  struct spot *s, struct extent *e)
{
	enum map_result r;
	struct zeroing *z;
	struct bitmap *b;
	uint32_t count = s->length / VHD_SECTOR;

	if (v->bat[s->block] == VHD_UNUSED) {
		r = allocate(q, v, req, s->block, e);
		if (r != MAP_NOTHING)
			return r;
	} else {
		z = zeroing_of(v, s->block);
		if (z) {
			requests_add(&z->waiters, req);
			return MAP_WAIT;
		}
	}
	if (!map_test(v->full, s->block)) {
		b = bitmap_get(v, s->block, q, req);
		if (!b)
			return MAP_WAIT;
		if (!vhd_bit_test(b->map, s->sector) ||
		    vhd_bit_run(b->map, s->sector, count) != count) {
			b->pins++;
			e->bitmap = b;
			e->block = s->block;
			e->first = s->sector;
			e->count = count;
		}
	}
	e->image = v;
	e->offset = file_offset(v, s);
	e->length = s->length;
	e->epoch = alloc_enter(v);
	return MAP_DATA;
}

enum map_result map_write(struct vhd_queue *q, struct vhd_request *req, uint64_t offset,
			  uint64_t length, struct extent *e)
{
	struct vhd *v = q->image;
	enum map_result r;
	struct spot s;

	e->bitmap = NULL;
	if (!v->blocks)
		return flat(v, offset, length, e);
	s = spot_of(v, offset, length);
	pthread_mutex_lock(&v->lock);
	r = write_spot(q, v, req, &s, e);
	pthread_mutex_unlock(&v->lock);
	return r;
}

static bool whole_block(const struct vhd *v, const struct spot *s)
{
	uint64_t start = (uint64_t)s->block * v->header.block_size;

	return !s->sector && (s->length == v->header.block_size || start + s->length == v->size);
}

/* True if the block is unallocated afterwards. */
static bool try_free(struct vhd *v, uint32_t block)
{
	struct bitmap *b = bitmap_find(v, block);

	if (v->type == VHD_DIFF || !alloc_can_free(v) || zeroing_of(v, block))
		return false;
	if (b && (b->state == BITMAP_LOADING || b->pins))
		return false;
	if (b)
		bitmap_drop(v, b);
	full_clear(v, block);
	alloc_free(v, v->bat[block]);
	table_set(v, block, VHD_UNUSED);
	return true;
}

static enum map_result zero_spot(struct vhd_queue *q, struct vhd *v, struct vhd_request *req,
				 struct spot *s, struct extent *e)
{
	bool free = req->op == VHD_DISCARD || req->flags & VHD_F_UNMAP;
	bool unused = v->bat[s->block] == VHD_UNUSED;

	e->length = s->length;
	/* What a discard leaves behind is undefined: a parent's data may stay. */
	if (unused && (v->type != VHD_DIFF || req->op == VHD_DISCARD))
		return MAP_NOTHING;
	if (!unused && free && whole_block(v, s) && try_free(v, s->block))
		return MAP_NOTHING;
	/* Zeros on the disk are none here: they are written like data, and a discard does nothing. */
	if (v->key && req->op == VHD_DISCARD)
		return MAP_NOTHING;
	if (v->key && s->length > q->bounce_bytes)
		s->length = q->bounce_bytes;
	e->keep = !free;
	return write_spot(q, v, req, s, e);
}

enum map_result map_zero(struct vhd_queue *q, struct vhd_request *req, uint64_t offset,
			 uint64_t length, struct extent *e)
{
	struct vhd *v = q->image;
	enum map_result r;
	struct spot s;

	e->bitmap = NULL;
	e->keep = req->op == VHD_WRITE_ZEROES && !(req->flags & VHD_F_UNMAP);
	if (!v->blocks)
		return flat(v, offset, length, e);
	s = spot_of(v, offset, length);
	pthread_mutex_lock(&v->lock);
	r = zero_spot(q, v, req, &s, e);
	pthread_mutex_unlock(&v->lock);
	return r;
}
