// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A chain of ancestors, flattened: which of them answers, looked up at once.
 *
 * A read that its own image has no sectors for would ask parent after parent,
 * up to 63 of them, each with a lock, a table and a bitmap that may have to be
 * read. But ancestors do not change while they are open (nobody may write to
 * an image that others stand on), so the answer can be kept:
 *
 *	first	a byte per block: the nearest ancestor that has the block. Made
 *		when the chain is opened, from the tables in memory
 *	slots	for blocks of which that one has only a part: a byte per sector,
 *		the ancestor that has it. Made when such a block is first read,
 *		from the bitmaps of all that have it, and kept in a cache of
 *		fixed size
 *
 * The flat map belongs to the image by which a chain was opened, and is laid
 * out in its blocks. Where an ancestor has blocks of another size, or ends
 * within the block, the chain is walked as it was.
 *
 * A slot is made in the queue's own buffer, without the lock, and copied in
 * when it is complete: two queues may make the same one, to the same end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"

#define NONE		0xffu		/* no ancestor: zero */
#define WALK		0xfeu
#define CACHE_BYTES	(8u << 20)
#define CACHE_SLOTS	2048u
#define NO_BLOCK	UINT32_MAX

struct flat {
	unsigned int count;		/* ancestors */
	struct vhd *level[VHD_MAX_CHAIN];
	uint8_t *first;
	uint32_t slots;			/* a power of two */
	pthread_mutex_t lock;
	uint32_t *block;		/* lock; of each slot, NO_BLOCK: empty */
	uint8_t *map;			/* lock; spb bytes a slot */
};

static uint8_t first_of(const struct flat *f, const struct vhd *v, uint32_t block, unsigned int from)
{
	uint64_t start = (uint64_t)block * v->header.block_size, end = start + v->header.block_size;
	unsigned int i;

	if (end > v->size)
		end = v->size;
	for (i = from; i < f->count; i++) {
		const struct vhd *p = f->level[i];

		if (p->size < end)
			return WALK;
		if (!p->blocks)
			return i;
		if (p->header.block_size != v->header.block_size)
			return WALK;
		if (p->bat[block] != VHD_UNUSED)
			return i;
	}
	return NONE;
}

int flat_create(struct vhd *v)
{
	struct flat *f;
	struct vhd *p;
	uint32_t i;

	/* With one ancestor there is nothing to be saved. */
	if (!v->blocks || !v->parent || !v->parent->parent)
		return 0;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	pthread_mutex_init(&f->lock, NULL);
	v->flat = f;
	for (p = v->parent; p && f->count < VHD_MAX_CHAIN; p = p->parent)
		f->level[f->count++] = p;
	for (f->slots = CACHE_SLOTS; f->slots > 1 && (uint64_t)f->slots * v->spb > CACHE_BYTES;)
		f->slots /= 2;
	f->first = malloc((size_t)v->nblocks + 1);
	f->block = malloc(f->slots * sizeof(*f->block));
	f->map = malloc((size_t)f->slots * v->spb);
	if (!f->first || !f->block || !f->map)
		return -ENOMEM;
	memset(f->block, 0xff, f->slots * sizeof(*f->block));
	for (i = 0; i < v->nblocks; i++)
		f->first[i] = first_of(f, v, i, 0);
	return 0;
}

void flat_renew(struct vhd *v)
{
	flat_destroy(v->flat);
	v->flat = NULL;
	if (flat_create(v)) {
		flat_destroy(v->flat);
		v->flat = NULL;
	}
}

void flat_destroy(struct flat *f)
{
	if (!f)
		return;
	pthread_mutex_destroy(&f->lock);
	free(f->first);
	free(f->block);
	free(f->map);
	free(f);
}

/* One level's bitmap is on its way: let those of the levels below it come with it. */
static void load_ahead(struct vhd_queue *q, struct flat *f, struct vhd *v, uint32_t block, unsigned int i)
{
	for (i = first_of(f, v, block, i + 1); i < f->count; i = first_of(f, v, block, i + 1)) {
		struct vhd *p = f->level[i];

		if (!p->blocks)
			return;
		pthread_mutex_lock(&p->lock);
		bitmap_ahead(p, block, q);
		pthread_mutex_unlock(&p->lock);
	}
}

/* Fills the queue's buffer for @block. MAP_NOTHING: done. */
static enum map_result levels_make(struct vhd_queue *q, struct flat *f, struct vhd *v, struct vhd_request *req,
				   uint32_t block)
{
	uint32_t left = v->spb, at;
	unsigned int i = f->first[block];
	struct bitmap *b;

	memset(q->levels, NONE, v->spb);
	for (; left && i < f->count; i = first_of(f, v, block, i + 1)) {
		struct vhd *p = f->level[i];
		bool full = !p->blocks;

		pthread_mutex_lock(&p->lock);
		full = full || map_test(p->full, block);
		b = full ? NULL : bitmap_get(p, block, q, req);
		for (at = 0; (full || b) && at < v->spb; at++) {
			if (q->levels[at] == NONE && (full || vhd_bit_test(b->map, at))) {
				q->levels[at] = i;
				left--;
			}
		}
		pthread_mutex_unlock(&p->lock);
		if (!full && !b) {
			load_ahead(q, f, v, block, i);
			return MAP_WAIT;
		}
	}
	return i == WALK && left ? MAP_DATA : MAP_NOTHING;
}

static uint32_t slot_of(const struct flat *f, uint32_t block)
{
	return block * 2654435761u >> 11 & (f->slots - 1);
}

/* The run of one level in @map from sector @first on. */
static void run_take(const struct flat *f, const uint8_t *map, uint32_t first, struct extent *e, struct vhd **level)
{
	uint32_t count = e->length / VHD_SECTOR, n = 1;

	while (n < count && map[first + n] == map[first])
		n++;
	e->length = (uint64_t)n * VHD_SECTOR;
	*level = map[first] == NONE ? NULL : f->level[map[first]];
}

enum map_result flat_find(struct vhd_queue *q, struct vhd *v, struct vhd_request *req, uint64_t offset,
			  struct extent *e, struct vhd **level)
{
	struct flat *f = v->flat;
	uint32_t block = offset / v->header.block_size, slot = slot_of(f, block);
	uint32_t first = offset % v->header.block_size / VHD_SECTOR;
	enum map_result r;
	struct vhd *p;
	bool full;

	*level = NULL;
	if (f->first[block] == NONE)
		return MAP_NOTHING;
	if (f->first[block] == WALK)
		return MAP_DATA;
	p = f->level[f->first[block]];
	pthread_mutex_lock(&p->lock);
	full = !p->blocks || map_test(p->full, block);
	pthread_mutex_unlock(&p->lock);
	if (full) {
		*level = p;
		return MAP_NOTHING;
	}
	pthread_mutex_lock(&f->lock);
	if (f->block[slot] == block) {
		run_take(f, f->map + (size_t)slot * v->spb, first, e, level);
		pthread_mutex_unlock(&f->lock);
		return MAP_NOTHING;
	}
	pthread_mutex_unlock(&f->lock);
	r = levels_make(q, f, v, req, block);
	if (r != MAP_NOTHING)
		return r;
	pthread_mutex_lock(&f->lock);
	f->block[slot] = block;
	memcpy(f->map + (size_t)slot * v->spb, q->levels, v->spb);
	pthread_mutex_unlock(&f->lock);
	run_take(f, q->levels, first, e, level);
	return MAP_NOTHING;
}
