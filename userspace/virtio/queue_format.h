/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * queue_format.h: what queue.c and the two ring formats share, and nobody else includes.
 *
 * Ring words are loaded and stored with the atomic builtins: relaxed for plain words (which forces exactly one access),
 * acquire and release where an index or a flag publishes other words. Where a store must be ordered before a later load
 * ("I have published; does the other side want to hear of it?") only a full fence will do.
 */
#ifndef LODGE_VIRTIO_QUEUE_FORMAT_H
#define LODGE_VIRTIO_QUEUE_FORMAT_H

#include <endian.h>
#include <string.h>

#include "virtio/queue.h"

/* VIRTQ_DESC_F_*, alike in both formats. */
#define DESC_NEXT	1u
#define DESC_WRITE	2u
#define DESC_INDIRECT	4u

/* A descriptor after its one copy out of guest memory, in the host's byte order. */
struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;			/* split: next; packed: buffer id */
};

struct virtq_format {
	int (*init)(struct virtq *q, uint64_t desc, uint64_t avail, uint64_t used);
	int (*pop)(struct virtq *q, struct virtq_elem *e);
	void (*unpop)(struct virtq *q, const struct virtq_elem *e);
	void (*fill)(struct virtq *q, const struct virtq_elem *e, uint32_t written);
	void (*flush)(struct virtq *q);
	bool (*needs_call)(struct virtq *q);
	void (*disable_kicks)(struct virtq *q);
	bool (*enable_kicks)(struct virtq *q);
	bool (*pending)(const struct virtq *q);
};

extern const struct virtq_format virtq_split;
extern const struct virtq_format virtq_packed;

/* Break the queue. The first fault stays. Always -EPROTO. */
int virtq_break(struct virtq *q, enum virtq_fault fault);
/* Check one descriptor of a chain and add it to the element. */
int virtq_add_segment(struct virtq *q, struct virtq_elem *e, const struct virtq_desc *d);
/* Check an indirect descriptor; *entries is how many descriptors its table has. NULL: the queue is broken. */
const void *virtq_map_indirect(struct virtq *q, const struct virtq_desc *d, uint32_t *entries);
/* A range of guest memory for a ring part, aligned. NULL when it is not. */
void *virtq_map_part(struct virtq *q, uint64_t gpa, uint64_t len, uint64_t align);

static inline uint16_t ring_load16(const void *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED));
}

static inline uint16_t ring_load16_acquire(const void *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE));
}

static inline void ring_store16(void *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, htole16(v), __ATOMIC_RELAXED);
}

static inline void ring_store16_release(void *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, htole16(v), __ATOMIC_RELEASE);
}

static inline void ring_store32(void *p, uint32_t v)
{
	__atomic_store_n((uint32_t *)p, htole32(v), __ATOMIC_RELAXED);
}

static inline void ring_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/*
 * The one copy of descriptor `i` of a table. A ring part is 16-byte aligned, an indirect table need not be: its bytes
 * are copied by memcpy from volatile words when they are aligned, bytewise otherwise.
 */
static inline void ring_load_desc(const void *table, uint32_t i, struct virtq_desc *d)
{
	const unsigned char *p = (const unsigned char *)table + (size_t)i * 16;
	uint64_t w[2];

	if (((uintptr_t)p & 7) == 0) {
		w[0] = __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
		w[1] = __atomic_load_n((const uint64_t *)(p + 8), __ATOMIC_RELAXED);
	} else {
		unsigned char b[16];

		for (int k = 0; k < 16; k++)
			b[k] = __atomic_load_n(p + k, __ATOMIC_RELAXED);
		memcpy(w, b, sizeof(w));
	}
	d->addr = le64toh(w[0]);
	w[1] = le64toh(w[1]);
	d->len = (uint32_t)w[1];
	/* The two formats hold flags and next/id in opposite order; each sorts that out itself. */
	d->flags = (uint16_t)(w[1] >> 32);
	d->next = (uint16_t)(w[1] >> 48);
}

/* Whether moving an index from old to new passes over event (virtio 1.2, 2.7.10). */
static inline bool ring_passed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

#endif
