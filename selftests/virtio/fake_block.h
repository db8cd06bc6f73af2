/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake_block.h: the interface of block/block.h over memory, for tests of its users. Requests complete in poll(), in reverse
 * order, so a user that relies on order is found out; a request can be held back, and flushes are counted.
 */
#ifndef SELFTESTS_VIRTIO_FAKE_BLOCK_H
#define SELFTESTS_VIRTIO_FAKE_BLOCK_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/block.h"

#define FAKE_SECTORS 2048
#define FAKE_BYTES (FAKE_SECTORS * 512)
#define FAKE_DEPTH 1024

struct block {
	pthread_mutex_t lock;
	unsigned char data[FAKE_BYTES];
	bool readonly;
	int fail;			/* -errno for all transfers */
	enum block_on_error on_error;
	bool hold;			/* complete nothing */
	bool exchanged;
	unsigned int late;		/* requests after that */
	unsigned int taken;		/* requests that have come; fake_came() waits for one */
	unsigned int flushes, fua, discards, zeroes;
};

struct block_queue {
	struct block *b;
	int fd;
	struct block_req *req[FAKE_DEPTH];
	unsigned int n, kicked;
};

uint64_t block_capacity(const struct block *b)
{
	(void)b;
	return FAKE_BYTES;
}

uint32_t block_sector_size(const struct block *b)
{
	(void)b;
	return 512;
}

uint32_t block_physical_size(const struct block *b)
{
	(void)b;
	return 4096;
}

uint32_t block_discard_granularity(const struct block *b)
{
	(void)b;
	return 4096;
}

bool block_readonly(const struct block *b)
{
	return b->readonly;
}

const char *block_path(const struct block *b)
{
	(void)b;
	return "fake";
}

enum block_on_error block_on_error(const struct block *b)
{
	return b->on_error;
}

void block_serial(const struct block *b, char id[20])
{
	(void)b;
	memset(id, 0, 20);
	memcpy(id, "fake-serial", 11);
}

struct block_queue *block_queue_create(struct block *b, unsigned int depth)
{
	struct block_queue *q = calloc(1, sizeof(*q));

	(void)depth;
	q->b = b;
	q->fd = eventfd(0, EFD_NONBLOCK);
	return q;
}

int block_queue_fd(const struct block_queue *q)
{
	return q->fd;
}

unsigned int block_queue_inflight(const struct block_queue *q)
{
	return q->n;
}

void block_queue_submit(struct block_queue *q, struct block_req *req)
{
	q->req[q->n++] = req;
	__atomic_add_fetch(&q->b->taken, 1, __ATOMIC_RELEASE);
}

/* More requests than @before have come, which they do within ten seconds. */
static inline bool fake_came(const struct block *b, unsigned int before)
{
	int i;

	for (i = 0; i < 10000 && __atomic_load_n(&b->taken, __ATOMIC_ACQUIRE) == before; i++)
		usleep(1000);
	return i < 10000;
}

static void fake_ring(struct block_queue *q)
{
	uint64_t one = 1;

	if (write(q->fd, &one, sizeof(one)) < 0)
		abort();
}

void block_queue_kick(struct block_queue *q)
{
	q->kicked = q->n;
	fake_ring(q);
}

static int fake_do(struct block *b, struct block_req *r)
{
	uint64_t at = r->offset, sum = 0;

	b->late += b->exchanged;
	if (b->fail)
		return b->fail;
	if (r->op == BLOCK_FLUSH) {
		b->flushes++;
		return 0;
	}
	if (at > FAKE_BYTES || r->length > FAKE_BYTES - at)
		return -EINVAL;
	b->fua += !!(r->flags & BLOCK_F_FUA);
	switch (r->op) {
	case BLOCK_DISCARD:
		b->discards++;
		break;
	case BLOCK_WRITE_ZEROES:
		b->zeroes++;
		memset(b->data + at, 0, r->length);
		break;
	default:
		for (int i = 0; i < r->iovcnt; i++) {
			if (r->op == BLOCK_WRITE)
				memcpy(b->data + at, r->iov[i].iov_base, r->iov[i].iov_len);
			else
				memcpy(r->iov[i].iov_base, b->data + at, r->iov[i].iov_len);
			at += r->iov[i].iov_len;
			sum += r->iov[i].iov_len;
		}
		if (sum != r->length)
			abort();
	}
	return 0;
}

int block_queue_poll(struct block_queue *q)
{
	unsigned int done = 0;
	uint64_t n;
	int r;

	if (read(q->fd, &n, sizeof(n)) < 0)
		return 0;
	pthread_mutex_lock(&q->b->lock);
	while (q->kicked && !q->b->hold) {
		struct block_req *req = q->req[--q->kicked];

		memmove(q->req + q->kicked, q->req + q->kicked + 1, (q->n - q->kicked - 1) * sizeof(q->req[0]));
		q->n--;
		r = fake_do(q->b, req);
		pthread_mutex_unlock(&q->b->lock);
		req->done(req, r);
		pthread_mutex_lock(&q->b->lock);
		done++;
	}
	if (q->kicked)
		fake_ring(q);
	pthread_mutex_unlock(&q->b->lock);
	if (q->b->hold)
		usleep(1000);
	return done;
}

/* Not things of this disk's. */
bool block_locate(struct block_queue *q, struct block_req *req)
{
	(void)q;
	req->vhd.found = (struct vhd_found){ .length = req->length };
	return true;
}

const struct vhd_found *block_found(const struct block_req *req)
{
	return &req->vhd.found;
}

/* What is in flight is done, held back or not. */
int block_exchange(struct block *b, struct block *next, struct block_queue *const *q, unsigned int n, char **err)
{
	*err = NULL;
	if (!next)
		return -ENOMEM;
	b->hold = false;
	for (unsigned int i = 0; i < n; i++) {
		while (q[i]->n) {
			block_queue_kick(q[i]);
			block_queue_poll(q[i]);
		}
	}
	b->exchanged = true;
	return 0;
}

int block_grow(struct block *b, uint64_t size, struct block_queue *const *q, unsigned int n, char **err)
{
	(void)b;
	(void)size;
	(void)q;
	(void)n;
	*err = NULL;
	return -EOPNOTSUPP;
}

struct block_branches *block_branch_begin(const struct block_branch *b, unsigned int count, char **err)
{
	(void)b;
	(void)count;
	*err = NULL;
	errno = EOPNOTSUPP;
	return NULL;
}

int block_branch_switch(struct block_branches *all, char **err)
{
	(void)all;
	(void)err;
	return -EOPNOTSUPP;
}

int block_coalesce_switch(struct block_coalesce *c, struct block_queue *const *q, unsigned int n, char **err)
{
	(void)c;
	(void)q;
	(void)n;
	*err = NULL;
	return -ENOTSUP;
}

void block_mirror_watch(struct block_mirror *m, bool on)
{
	(void)m;
	(void)on;
}

int block_mirror_switch(struct block_mirror *m, struct block_queue *const *q, unsigned int n, char **err)
{
	return block_coalesce_switch((struct block_coalesce *)m, q, n, err);
}

int block_branch_finish(struct block_branches *all, char **err)
{
	return block_branch_switch(all, err);
}

void block_queue_destroy(struct block_queue *q)
{
	if (q)
		close(q->fd);
	free(q);
}

#endif
