/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * driver.h: a small guest driver for virtqueues, for tests: memory of a pretended guest, and the driver's side of a split
 * or packed ring. It is written from the specification (virtio 1.2, 2.7 and 2.8) alone and shares no code with the
 * device's side, so that the two check each other.
 *
 * drv_add() lays out a chain and makes it available, drv_reap() takes one used entry. drv_wants_kick() is the driver's
 * question "must I kick for what I added since I last asked?", drv_enable_calls() asks for interrupts.
 */
#ifndef SELFTESTS_VIRTIO_DRIVER_H
#define SELFTESTS_VIRTIO_DRIVER_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DRV_PACKED	1u
#define DRV_EVENT_IDX	2u

/* Guest RAM of a test: gpa = offset from base. */
struct drv_ram {
	uint8_t *base;
	uint64_t gpa;
	uint64_t size;
};

static inline void *drv_ram_map(void *opaque, uint64_t gpa, uint64_t len)
{
	struct drv_ram *ram = opaque;

	if (gpa < ram->gpa || len > ram->size || gpa - ram->gpa > ram->size - len)
		return NULL;
	return ram->base + (gpa - ram->gpa);
}

struct drv_seg {
	uint64_t gpa;
	uint32_t len;
	bool write;
};

struct drv {
	struct drv_ram *ram;
	unsigned int flags;
	uint16_t size;
	uint64_t desc, avail, used;	/* guest addresses */
	uint64_t indirect;		/* size tables of 64 entries each */
	uint16_t *free;			/* free ids */
	uint16_t num_free;		/* free descriptors or slots */
	uint16_t num_ids;
	uint16_t *slots;		/* by id: descriptors taken */
	uint16_t *next;			/* split: our own copy of the links */
	uint16_t next_avail, next_used;
	bool avail_wrap, used_wrap;
	uint16_t unkicked;
};

#define DRV_TABLE 64

static inline void *drv_at(struct drv *d, uint64_t gpa, uint64_t len)
{
	void *p = drv_ram_map(d->ram, gpa, len);

	assert(p);
	return p;
}

static inline void drv_w16(struct drv *d, uint64_t gpa, uint16_t v)
{
	__atomic_store_n((uint16_t *)drv_at(d, gpa, 2), v, __ATOMIC_SEQ_CST);
}

static inline uint16_t drv_r16(struct drv *d, uint64_t gpa)
{
	return __atomic_load_n((uint16_t *)drv_at(d, gpa, 2), __ATOMIC_SEQ_CST);
}

static inline uint32_t drv_r32(struct drv *d, uint64_t gpa)
{
	return __atomic_load_n((uint32_t *)drv_at(d, gpa, 4), __ATOMIC_SEQ_CST);
}

/* How much guest memory the rings and tables of one queue take. */
static inline uint64_t drv_bytes(uint16_t size)
{
	return 32 * (uint64_t)size + 4096 + (uint64_t)size * DRV_TABLE * 16;
}

static inline void drv_init(struct drv *d, struct drv_ram *ram, uint64_t gpa, uint16_t size, unsigned int flags)
{
	memset(d, 0, sizeof(*d));
	d->ram = ram;
	d->flags = flags;
	d->size = size;
	d->desc = (gpa + 15) & ~15ull;
	d->avail = d->desc + 16 * (uint64_t)size;
	d->used = (d->avail + 6 + 2 * (uint64_t)size + 3) & ~3ull;
	d->indirect = (d->used + 6 + 8 * (uint64_t)size + 15) & ~15ull;
	memset(drv_at(d, d->desc, d->indirect - d->desc), 0, d->indirect - d->desc);
	d->free = calloc(size, sizeof(*d->free));
	d->slots = calloc(size, sizeof(*d->slots));
	d->next = calloc(size, sizeof(*d->next));
	for (uint16_t i = 0; i < size; i++)
		d->free[i] = size - 1 - i;
	d->num_free = size;
	d->num_ids = size;
	d->avail_wrap = true;
	d->used_wrap = true;
}

static inline void drv_fini(struct drv *d)
{
	free(d->free);
	free(d->slots);
	free(d->next);
}

static inline void drv_put_desc(struct drv *d, uint64_t gpa, uint64_t addr, uint32_t len, uint16_t a, uint16_t b)
{
	uint8_t raw[16];

	memcpy(raw, &addr, 8);
	memcpy(raw + 8, &len, 4);
	memcpy(raw + 12, &a, 2);
	memcpy(raw + 14, &b, 2);
	memcpy(drv_at(d, gpa, 16), raw, 16);
}

/* Write an indirect table for id; answers its address. */
static inline uint64_t drv_table(struct drv *d, uint16_t id, const struct drv_seg *seg, unsigned int n)
{
	uint64_t table = d->indirect + (uint64_t)id * DRV_TABLE * 16;

	assert(n <= DRV_TABLE);
	for (unsigned int i = 0; i < n; i++) {
		uint16_t flags = (seg[i].write ? 2 : 0);

		if (d->flags & DRV_PACKED)
			drv_put_desc(d, table + 16 * i, seg[i].gpa, seg[i].len, 0, flags);
		else
			drv_put_desc(d, table + 16 * i, seg[i].gpa, seg[i].len, flags | (i + 1 < n ? 1 : 0), i + 1);
	}
	return table;
}

static inline int drv_add_split(struct drv *d, const struct drv_seg *seg, unsigned int n, bool indirect)
{
	unsigned int need = indirect ? 1 : n;
	uint16_t head, i = 0;

	if (d->num_free < need)
		return -1;
	head = d->free[d->num_free - 1];
	if (indirect) {
		d->num_free--;
		drv_put_desc(d, d->desc + 16 * head, drv_table(d, head, seg, n), 16 * n, 4, 0);
	} else {
		for (unsigned int k = 0; k < n; k++) {
			uint16_t next;

			i = d->free[--d->num_free];
			next = k + 1 < n ? d->free[d->num_free - 1] : 0;
			d->next[i] = next;
			drv_put_desc(d, d->desc + 16 * i, seg[k].gpa, seg[k].len,
				     (seg[k].write ? 2 : 0) | (k + 1 < n ? 1 : 0), next);
		}
	}
	d->slots[head] = need;
	drv_w16(d, d->avail + 4 + 2 * (d->next_avail % d->size), head);
	d->next_avail++;
	drv_w16(d, d->avail + 2, d->next_avail);
	d->unkicked++;
	return head;
}

static inline uint16_t drv_own(struct drv *d)
{
	return d->avail_wrap ? 1u << 7 : 1u << 15;
}

static inline int drv_add_packed(struct drv *d, const struct drv_seg *seg, unsigned int n, bool indirect)
{
	unsigned int need = indirect ? 1 : n;
	uint16_t id, first_flags = 0, first = d->next_avail;

	if (d->num_free < need || !d->num_ids)
		return -1;
	id = d->free[--d->num_ids];
	for (unsigned int k = 0; k < need; k++) {
		uint64_t at = d->desc + 16 * (uint64_t)d->next_avail;
		uint16_t flags = drv_own(d);
		uint16_t old = drv_r16(d, at + 14);

		if (indirect) {
			flags |= 4;
			drv_put_desc(d, at, drv_table(d, id, seg, n), 16 * n, id, old);
		} else {
			flags |= (seg[k].write ? 2 : 0) | (k + 1 < n ? 1 : 0);
			drv_put_desc(d, at, seg[k].gpa, seg[k].len, id, old);
		}
		if (!k)
			first_flags = flags;
		else
			drv_w16(d, at + 14, flags);
		if (++d->next_avail == d->size) {
			d->next_avail = 0;
			d->avail_wrap = !d->avail_wrap;
		}
	}
	drv_w16(d, d->desc + 16 * (uint64_t)first + 14, first_flags);
	d->num_free -= need;
	d->slots[id] = need;
	d->unkicked += need;
	return id;
}

/* Answers the chain's id, or -1 when the ring has no room. */
static inline int drv_add(struct drv *d, const struct drv_seg *seg, unsigned int n, bool indirect)
{
	return d->flags & DRV_PACKED ? drv_add_packed(d, seg, n, indirect) : drv_add_split(d, seg, n, indirect);
}

static inline int drv_reap_split(struct drv *d, uint32_t *len)
{
	uint64_t at = d->used + 4 + 8 * (uint64_t)(d->next_used % d->size);
	uint32_t id;
	uint16_t i;

	if (drv_r16(d, d->used + 2) == d->next_used)
		return -1;
	id = drv_r32(d, at);
	*len = drv_r32(d, at + 4);
	assert(id < d->size && d->slots[id]);
	i = id;
	for (uint16_t k = 0; k < d->slots[id]; k++) {
		d->free[d->num_free++] = i;
		i = d->next[i];
	}
	d->slots[id] = 0;
	d->next_used++;
	return id;
}

static inline bool drv_used_packed(struct drv *d)
{
	uint16_t flags = drv_r16(d, d->desc + 16 * (uint64_t)d->next_used + 14);
	bool avail = flags & (1u << 7), used = flags & (1u << 15);

	return avail == used && used == d->used_wrap;
}

static inline int drv_reap_packed(struct drv *d, uint32_t *len)
{
	uint64_t at = d->desc + 16 * (uint64_t)d->next_used;
	uint16_t id;

	if (!drv_used_packed(d))
		return -1;
	id = drv_r16(d, at + 12);
	*len = drv_r32(d, at + 8);
	assert(id < d->size && d->slots[id]);
	d->next_used += d->slots[id];
	if (d->next_used >= d->size) {
		d->next_used -= d->size;
		d->used_wrap = !d->used_wrap;
	}
	d->num_free += d->slots[id];
	d->slots[id] = 0;
	d->free[d->num_ids++] = id;
	return id;
}

/* Answers the id of a used chain and how much was written to it, or -1. */
static inline int drv_reap(struct drv *d, uint32_t *len)
{
	return d->flags & DRV_PACKED ? drv_reap_packed(d, len) : drv_reap_split(d, len);
}

static inline bool drv_wants_kick_packed(struct drv *d, uint16_t n)
{
	uint16_t off = drv_r16(d, d->used);
	uint16_t flags = drv_r16(d, d->used + 2);
	int event = off & 0x7fff;

	if (flags != 2)
		return flags == 0;
	if ((off >> 15) != d->avail_wrap)
		event -= d->size;
	return event >= d->next_avail - n && event < d->next_avail;
}

static inline bool drv_wants_kick(struct drv *d)
{
	uint16_t n = d->unkicked;

	d->unkicked = 0;
	if (!n)
		return false;
	if (d->flags & DRV_PACKED)
		return drv_wants_kick_packed(d, n);
	if (d->flags & DRV_EVENT_IDX) {
		uint16_t event = drv_r16(d, d->used + 4 + 8 * (uint64_t)d->size);

		for (uint16_t i = 0; i < n; i++)
			if ((uint16_t)(d->next_avail - n + i) == event)
				return true;
		return false;
	}
	return !(drv_r16(d, d->used) & 1);
}

static inline void drv_disable_calls(struct drv *d)
{
	if (d->flags & DRV_PACKED)
		drv_w16(d, d->avail + 2, 1);
	else if (!(d->flags & DRV_EVENT_IDX))
		drv_w16(d, d->avail, 1);
}

/* Ask to be told of the next used entry. */
static inline void drv_enable_calls(struct drv *d)
{
	if (d->flags & DRV_PACKED) {
		if (d->flags & DRV_EVENT_IDX) {
			drv_w16(d, d->avail, d->next_used | (uint16_t)(d->used_wrap << 15));
			drv_w16(d, d->avail + 2, 2);
		} else {
			drv_w16(d, d->avail + 2, 0);
		}
	} else if (d->flags & DRV_EVENT_IDX) {
		drv_w16(d, d->avail + 4 + 2 * (uint64_t)d->size, d->next_used);
	} else {
		drv_w16(d, d->avail, 0);
	}
}

#endif
