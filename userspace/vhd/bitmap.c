// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Sector bitmaps of blocks that are not known to be full.
 *
 * A bitmap is read once, when its block is first touched. One that is all
 * ones is remembered as a single bit in `full` and needs no memory after;
 * images of QEMU, Windows and ourselves (without parent) have no others. The
 * rest live in a fixed number of slots, found by hash, evicted by a clock.
 * A slot is kept while it loads, while a write that will set bits in it is in
 * flight (pins), and while it is dirty. When every slot is kept, requests
 * wait and a commit is started, which cleans them.
 *
 * What the commit writes is a copy staged before its data barrier: a bit may
 * only reach the disk after the sector it speaks of, since it hides a parent's
 * sector, and in any image uncovers whatever lay there before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"

static int bucket_of(uint32_t block)
{
	return (block * 2654435761u) >> 24 & (BITMAP_SLOTS - 1);
}

int bitmap_init(struct vhd *v)
{
	struct bitmap_cache *c = &v->cache;
	size_t each = (size_t)v->bitmap_bytes * 2;
	void *memory;
	int i;

	if (posix_memalign(&memory, PAGE_BYTES, each * BITMAP_SLOTS))
		return -ENOMEM;
	c->memory = memory;
	requests_init(&c->starved);
	for (i = 0; i < BITMAP_SLOTS; i++) {
		c->hash[i] = -1;
		c->slot[i].map = c->memory + each * i;
		c->slot[i].stage = c->slot[i].map + v->bitmap_bytes;
		requests_init(&c->slot[i].waiters);
	}
	return 0;
}

void bitmap_fini(struct vhd *v)
{
	free(v->cache.memory);
}

struct bitmap *bitmap_find(struct vhd *v, uint32_t block)
{
	int i;

	for (i = v->cache.hash[bucket_of(block)]; i >= 0; i = v->cache.slot[i].next)
		if (v->cache.slot[i].block == block)
			return &v->cache.slot[i];
	return NULL;
}

static void clean(struct vhd *v, struct bitmap *b)
{
	if (b->dirty)
		v->cache.dirty--;
	b->dirty = false;
}

static void forget(struct vhd *v, struct bitmap *b)
{
	int *link = &v->cache.hash[bucket_of(b->block)];
	int me = b - v->cache.slot;

	while (*link != me)
		link = &v->cache.slot[*link].next;
	*link = b->next;
	clean(v, b);
	b->state = BITMAP_EMPTY;
	b->staged = false;
}

void bitmap_drop(struct vhd *v, struct bitmap *b)
{
	forget(v, b);
	requests_resume(&v->cache.starved);
}

static bool all_ones(const struct vhd *v, const struct bitmap *b)
{
	return vhd_bit_test(b->map, 0) && vhd_bit_run(b->map, 0, v->spb) == v->spb;
}

/* An empty slot entered for @block, evicting if need be. */
static struct bitmap *claim(struct vhd *v, uint32_t block)
{
	struct bitmap_cache *c = &v->cache;
	int i;

	for (i = 0; i < 2 * BITMAP_SLOTS; i++) {
		struct bitmap *b = &c->slot[c->hand];
		int me = c->hand;

		c->hand = (c->hand + 1) % BITMAP_SLOTS;
		if (b->state == BITMAP_LOADING || b->pins || b->dirty || b->staged)
			continue;
		if (b->state == BITMAP_VALID) {
			if (b->used) {
				b->used = false;
				continue;
			}
			if (all_ones(v, b))
				full_set(v, b->block, false);
			forget(v, b);
		}
		b->block = block;
		b->used = true;
		b->next = c->hash[bucket_of(block)];
		c->hash[bucket_of(block)] = me;
		return b;
	}
	return NULL;
}

static void wait_for_slot(struct vhd *v, struct vhd_queue *q, struct vhd_request *req)
{
	requests_add(&v->cache.starved, req);
	if (v->cache.dirty)
		commit_poke(v, q);
}

uint64_t bitmap_offset(const struct vhd *v, uint32_t sector, uint32_t *bytes)
{
	uint64_t at = (uint64_t)sector * VHD_SECTOR;

	if (!v->page_meta) {
		*bytes = v->bitmap_bytes;
		return at;
	}
	*bytes = PAGE_BYTES;
	return at + v->bitmap_bytes - PAGE_BYTES;
}

static void load(struct vhd *v, struct bitmap *b, uint32_t block, struct vhd_queue *q)
{
	struct vhd_io *vio = queue_io_get(q);

	b->state = BITMAP_LOADING;
	vio->kind = IO_BITMAP;
	vio->image = v;
	vio->bitmap = b;
	vio->iov[0] = (struct iovec){ b->map, v->bitmap_bytes };
	vio->io.store = v->store;
	vio->io.op = STORE_READ;
	vio->io.offset = (uint64_t)v->bat[block] * VHD_SECTOR;
	vio->io.length = v->bitmap_bytes;
	vio->io.iov = vio->iov;
	vio->io.iovcnt = 1;
	q->image->store->ops->submit(q->sq, &vio->io);
}

void bitmap_ahead(struct vhd *v, uint32_t block, struct vhd_queue *q)
{
	struct bitmap *b;

	if (!q->idle || map_test(v->full, block) || bitmap_find(v, block))
		return;
	b = claim(v, block);
	if (b)
		load(v, b, block, q);
}

struct bitmap *bitmap_get(struct vhd *v, uint32_t block, struct vhd_queue *q,
			  struct vhd_request *req)
{
	struct bitmap *b = bitmap_find(v, block);

	if (b && b->state == BITMAP_VALID) {
		b->used = true;
		return b;
	}
	if (b) {
		requests_add(&b->waiters, req);
		return NULL;
	}
	b = claim(v, block);
	if (!b) {
		wait_for_slot(v, q, req);
		return NULL;
	}
	requests_add(&b->waiters, req);
	load(v, b, block, q);
	return NULL;
}

struct bitmap *bitmap_fresh(struct vhd *v, uint32_t block, struct vhd_queue *q,
			    struct vhd_request *req)
{
	struct bitmap *b = claim(v, block);

	if (!b) {
		wait_for_slot(v, q, req);
		return NULL;
	}
	b->state = BITMAP_VALID;
	memset(b->map, 0, v->bitmap_bytes);
	b->dirty = true;
	v->cache.dirty++;
	return b;
}

static void fail_waiters(struct request_list *l, int error)
{
	struct vhd_request *req;

	for (req = l->head; req; req = req->next)
		req->error = error;
}

void bitmap_loaded(struct vhd_io *vio, int error)
{
	struct vhd *v = vio->image;
	struct bitmap *b = vio->bitmap;

	pthread_mutex_lock(&v->lock);
	b->state = BITMAP_VALID;
	if (error)
		fail_waiters(&b->waiters, error);
	else if (all_ones(v, b))
		full_set(v, b->block, false);
	requests_resume(&b->waiters);
	if (error || map_test(v->full, b->block))
		forget(v, b);
	requests_resume(&v->cache.starved);
	pthread_mutex_unlock(&v->lock);
}

void bitmap_set_bits(struct vhd *v, struct bitmap *b, uint32_t first, uint32_t count)
{
	vhd_bit_set(b->map, first, count);
	v->touched = true;
	if (!b->dirty) {
		b->dirty = true;
		v->cache.dirty++;
	}
}

void bitmap_notice_full(struct vhd *v)
{
	int i;

	for (i = 0; i < BITMAP_SLOTS; i++)
		if (v->cache.slot[i].state == BITMAP_VALID && all_ones(v, &v->cache.slot[i]))
			full_set(v, v->cache.slot[i].block, false);
}

void bitmap_stage(struct vhd *v)
{
	int i;

	for (i = 0; i < BITMAP_SLOTS; i++) {
		struct bitmap *b = &v->cache.slot[i];

		b->staged = b->state == BITMAP_VALID && b->dirty;
		if (!b->staged)
			continue;
		memcpy(b->stage, b->map, v->bitmap_bytes);
		clean(v, b);
	}
}

uint64_t bitmap_compose(struct vhd *v, struct bitmap *b, uint8_t *page, uint32_t *bytes)
{
	uint64_t at = bitmap_offset(v, v->bat[b->block], bytes);

	memset(page, 0, *bytes);
	memcpy(page + *bytes - v->bitmap_bytes, b->stage, v->bitmap_bytes);
	return at;
}
