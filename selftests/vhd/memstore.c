// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A simulated disk that is as bad as a disk may be.
 *
 * Queued operations complete in random order, a few at each poll. What they
 * did is seen by reads at once but is on the platter only when a sync that was
 * submitted after they had completed has completed itself. A power cut keeps
 * the synced state and applies, of everything later, each written sector or
 * not by the toss of a coin, operations still in flight included. Punches and
 * size changes go through a journal as in a file system: a prefix of them
 * survives, and what was written behind the surviving size is lost.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memstore.h"

enum entry_kind { ENTRY_WRITE, ENTRY_PUNCH, ENTRY_SIZE };

struct entry {
	enum entry_kind kind;
	uint64_t offset, length;
	uint8_t *data;
	struct entry *next;
};

struct memdisk {
	uint8_t *live, *durable;
	uint64_t size, durable_size, room, high;
	bool device;
	uint64_t seed;
	struct entry *log, **log_tail;
	uint64_t entries, folded;
	uint64_t operations, reads;
	uint64_t fail_at, fail_count;
	struct memdisk *with;		/* whose operations ours are counted among */
};

struct memstore {
	struct store store;
	struct memdisk *disk;
};

struct store_queue {
	struct memdisk *disk;
	struct store_io *pending;
	int fd;
};

static uint64_t rnd(struct memdisk *d)
{
	d->seed ^= d->seed << 13;
	d->seed ^= d->seed >> 7;
	d->seed ^= d->seed << 17;
	return d->seed;
}

static struct memdisk *disk_of(struct store *s)
{
	return ((struct memstore *)s)->disk;
}

static bool must_fail(struct memdisk *d)
{
	d = d->with ? d->with : d;
	d->operations++;
	return d->fail_at && d->operations >= d->fail_at &&
	       d->operations < d->fail_at + d->fail_count;
}

static void log_add(struct memdisk *d, enum entry_kind kind, uint64_t offset, uint64_t length,
		    const uint8_t *data)
{
	struct entry *e = calloc(1, sizeof(*e));

	e->kind = kind;
	e->offset = offset;
	e->length = length;
	if (data) {
		e->data = malloc(length);
		memcpy(e->data, data, length);
	}
	*d->log_tail = e;
	d->log_tail = &e->next;
	d->entries++;
}

static void entry_free(struct entry *e)
{
	free(e->data);
	free(e);
}

static void apply(const struct memdisk *d, uint8_t *to, uint64_t *size, const struct entry *e)
{
	switch (e->kind) {
	case ENTRY_WRITE:
		memcpy(to + e->offset, e->data, e->length);
		if (e->offset + e->length > *size)
			*size = e->offset + e->length;
		break;
	case ENTRY_PUNCH:
		memset(to + e->offset, 0, e->length);
		break;
	case ENTRY_SIZE:
		/* Above the high-water mark everything is zero anyway. */
		if (e->length < *size && e->length < d->high)
			memset(to + e->length, 0, d->high - e->length);
		*size = e->length;
		break;
	}
}

/* Makes the first entries, up to number @upto, durable. */
static void fold(struct memdisk *d, uint64_t upto)
{
	while (d->log && d->folded < upto) {
		struct entry *e = d->log;

		apply(d, d->durable, &d->durable_size, e);
		d->log = e->next;
		if (!d->log)
			d->log_tail = &d->log;
		d->folded++;
		entry_free(e);
	}
}

static int do_write(struct memdisk *d, const uint8_t *data, uint64_t bytes, uint64_t offset)
{
	if (offset + bytes > d->room)
		return -ENOSPC;
	if (d->device && offset + bytes > d->size)
		return -ENOSPC;
	log_add(d, ENTRY_WRITE, offset, bytes, data);
	memcpy(d->live + offset, data, bytes);
	if (offset + bytes > d->high)
		d->high = offset + bytes;
	if (offset + bytes > d->size)
		d->size = offset + bytes;
	return 0;
}

static int mem_pread(struct store *s, void *buf, size_t bytes, uint64_t offset)
{
	struct memdisk *d = disk_of(s);
	size_t have = offset < d->size ? d->size - offset : 0;

	if (must_fail(d))
		return -EIO;
	if (have > bytes)
		have = bytes;
	memcpy(buf, d->live + (have ? offset : 0), have);
	memset((uint8_t *)buf + have, 0, bytes - have);
	return 0;
}

static int mem_pwrite(struct store *s, const void *buf, size_t bytes, uint64_t offset)
{
	struct memdisk *d = disk_of(s);
	int ret;

	if (must_fail(d))
		return -EIO;
	ret = do_write(d, buf, bytes, offset);
	s->size = d->size;
	return ret;
}

static int mem_sync(struct store *s)
{
	struct memdisk *d = disk_of(s);

	if (must_fail(d))
		return -EIO;
	fold(d, d->entries);
	return 0;
}

static int mem_truncate(struct store *s, uint64_t size)
{
	struct memdisk *d = disk_of(s);
	struct entry e = { ENTRY_SIZE, 0, size, NULL, NULL };

	if (must_fail(d))
		return -EIO;
	if (size > d->room)
		return -ENOSPC;
	log_add(d, ENTRY_SIZE, 0, size, NULL);
	apply(d, d->live, &d->size, &e);
	s->size = size;
	return 0;
}

static int mem_zero(struct store *s, uint64_t offset, uint64_t bytes)
{
	struct memdisk *d = disk_of(s);
	struct entry e = { ENTRY_PUNCH, offset, bytes, NULL, NULL };

	if (must_fail(d))
		return -EIO;
	if (offset + bytes > d->size)
		return -EINVAL;
	log_add(d, ENTRY_PUNCH, offset, bytes, NULL);
	apply(d, d->live, &d->size, &e);
	return 0;
}

static int mem_run(struct store *s, uint64_t offset, uint64_t *length)
{
	(void)s;
	(void)offset;
	(void)length;
	return 1;
}

static uint64_t mem_allocated(struct store *s)
{
	return disk_of(s)->size;
}

static void mem_close(struct store *s)
{
	free(s);
}

static int mem_queue_create(struct store *s, unsigned int depth, struct store_queue **out)
{
	struct store_queue *sq = calloc(1, sizeof(*sq));

	(void)depth;
	sq->disk = disk_of(s);
	sq->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	*out = sq;
	return 0;
}

static void mem_queue_destroy(struct store_queue *sq)
{
	close(sq->fd);
	free(sq);
}

static int mem_queue_move(struct store_queue *sq, struct store *s, unsigned int depth)
{
	(void)depth;
	sq->disk = disk_of(s);
	return 0;
}

static void mem_wake(struct store_queue *sq)
{
	uint64_t one = 1;

	if (write(sq->fd, &one, sizeof(one)) < 0)
		abort();
}

/* A sync covers what had completed when it was submitted. */
static void mem_submit(struct store_queue *sq, struct store_io *io)
{
	io->next = sq->pending;
	io->iocb.data = (void *)(uintptr_t)disk_of(io->store)->entries;
	sq->pending = io;
	mem_wake(sq);
}

static int gather(struct memdisk *d, struct store_io *io)
{
	uint8_t *buf = malloc(io->length ? io->length : 1);
	uint64_t at = 0;
	int i, ret;

	for (i = 0; i < io->iovcnt; i++) {
		memcpy(buf + at, io->iov[i].iov_base, io->iov[i].iov_len);
		at += io->iov[i].iov_len;
	}
	ret = at == io->length ? do_write(d, buf, io->length, io->offset) : -EINVAL;
	free(buf);
	io->store->size = d->size;
	return ret;
}

static int scatter(struct memdisk *d, struct store_io *io)
{
	uint64_t at = io->offset, sum = 0;
	int i;

	for (i = 0; i < io->iovcnt; i++) {
		uint64_t len = io->iov[i].iov_len, have = at < d->size ? d->size - at : 0;

		if (have > len)
			have = len;
		if (have)
			memcpy(io->iov[i].iov_base, d->live + at, have);
		memset((uint8_t *)io->iov[i].iov_base + have, 0, len - have);
		at += len;
		sum += len;
	}
	d->reads++;
	return sum == io->length ? 0 : -EINVAL;
}

static int execute(struct store_io *io)
{
	struct memdisk *d = disk_of(io->store);

	if (must_fail(d))
		return -EIO;
	switch (io->op) {
	case STORE_READ:
		return scatter(d, io);
	case STORE_WRITE:
		return gather(d, io);
	case STORE_SYNC:
		fold(d, (uintptr_t)io->iocb.data);
		return 0;
	case STORE_PUNCH:
	case STORE_ZERO:
		if (io->offset + io->length > d->room)
			return -EINVAL;
		log_add(d, ENTRY_PUNCH, io->offset, io->length, NULL);
		memset(d->live + io->offset, 0, io->length);
		return 0;
	}
	return -EINVAL;
}

static void mem_poll(struct store_queue *sq)
{
	uint64_t count;
	struct store_io **link, *io, *ready = NULL;

	if (read(sq->fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		abort();
	for (link = &sq->pending; *link;) {
		io = *link;
		if (rnd(sq->disk) & 1) {
			link = &io->next;
			continue;
		}
		*link = io->next;
		io->next = ready;
		ready = io;
	}
	if (sq->pending)
		mem_wake(sq);
	while (ready) {
		io = ready;
		ready = io->next;
		io->done(io, execute(io));
	}
}

static void mem_kick(struct store_queue *sq)
{
	(void)sq;
}

static int mem_fd(const struct store_queue *sq)
{
	return sq->fd;
}

static void mem_wait(struct store_queue *sq)
{
	struct pollfd p = { .fd = sq->fd, .events = POLLIN };

	/* One thread drives everything: with nothing to wait for it would hang. */
	if (poll(&p, 1, 5000) != 1) {
		fprintf(stderr, "memstore: waiting for an operation that nobody will finish\n");
		abort();
	}
}

static const struct store_ops mem_ops = {
	.pread = mem_pread,
	.pwrite = mem_pwrite,
	.sync = mem_sync,
	.truncate = mem_truncate,
	.zero = mem_zero,
	.run = mem_run,
	.allocated = mem_allocated,
	.close = mem_close,
	.queue_create = mem_queue_create,
	.queue_destroy = mem_queue_destroy,
	.queue_move = mem_queue_move,
	.submit = mem_submit,
	.kick = mem_kick,
	.poll = mem_poll,
	.wake = mem_wake,
	.fd = mem_fd,
	.wait = mem_wait,
};

/* Not from the heap: a sanitizer would shadow every byte of it. */
static uint8_t *map_room(uint64_t room)
{
	void *p = mmap(NULL, room, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

struct memdisk *memdisk_create(uint64_t size, uint64_t room, bool device, uint64_t seed)
{
	struct memdisk *d = calloc(1, sizeof(*d));
	uint64_t i, word;

	d->live = map_room(room);
	d->durable = map_room(room);
	d->size = size;
	d->durable_size = size;
	d->room = room;
	d->high = device ? size : 0;
	d->device = device;
	d->seed = seed | 1;
	d->log_tail = &d->log;
	for (i = 0; device && i + 8 <= size; i += 8) {
		word = i % 512 ? rnd(d) : 0xeeeeeeeeeeeeeeeeull;
		memcpy(d->live + i, &word, 8);
	}
	if (device)
		memcpy(d->durable, d->live, size);
	return d;
}

void memdisk_destroy(struct memdisk *d)
{
	while (d->log) {
		struct entry *e = d->log;

		d->log = e->next;
		entry_free(e);
	}
	munmap(d->live, d->room);
	munmap(d->durable, d->room);
	free(d);
}

struct store *memdisk_open(struct memdisk *d, bool readonly)
{
	struct memstore *m = calloc(1, sizeof(*m));

	m->disk = d;
	m->store.ops = &mem_ops;
	m->store.size = d->size;
	m->store.mem_align = 1;
	m->store.device = d->device;
	m->store.readonly = readonly;
	m->store.physical = 4096;
	return &m->store;
}

uint8_t *memdisk_bytes(struct memdisk *d)
{
	return d->live;
}

uint64_t memdisk_size(const struct memdisk *d)
{
	return d->size;
}

void memdisk_resize(struct memdisk *d, uint64_t size)
{
	struct entry e = { ENTRY_SIZE, 0, size, NULL, NULL };

	apply(d, d->live, &d->size, &e);
	fold(d, d->entries);
	if (size > d->high)
		d->high = size;
	memcpy(d->durable, d->live, d->high);
	d->durable_size = size;
}

void memdisk_cut(struct memdisk *d)
{
	uint64_t journalled = 0, keep, seen = 0, i, bound = d->durable_size, size, widest;
	struct entry *e;

	for (e = d->log; e; e = e->next)
		journalled += e->kind != ENTRY_WRITE;
	keep = journalled ? rnd(d) % (journalled + 1) : 0;
	size = d->durable_size;
	widest = bound;
	for (e = d->log; e; e = e->next) {
		if (e->kind != ENTRY_WRITE) {
			if (seen++ < keep)
				apply(d, d->durable, &size, e);
			continue;
		}
		for (i = 0; i < e->length; i += 512)
			if (rnd(d) % 4 && e->offset + i + 512 <= d->room) {
				memcpy(d->durable + e->offset + i, e->data + i, 512);
				if (e->offset + i + 512 > widest)
					widest = e->offset + i + 512;
			}
	}
	/* Growth by writing alone may or may not have been journalled. */
	if (!d->device && widest > size && !journalled && rnd(d) & 1)
		size = widest;
	if (size < d->high)
		memset(d->durable + size, 0, d->high - size);
	while (d->log) {
		e = d->log;
		d->log = e->next;
		entry_free(e);
	}
	d->log_tail = &d->log;
	d->folded = d->entries;
	memcpy(d->live, d->durable, d->high);
	d->size = size;
	d->durable_size = size;
}

void memdisk_fail(struct memdisk *d, uint64_t n, uint64_t count)
{
	d->fail_at = n ? d->operations + n : 0;
	d->fail_count = count;
}

void memdisk_join(struct memdisk *d, struct memdisk *with)
{
	d->with = with;
}

uint64_t memdisk_operations(const struct memdisk *d)
{
	return d->operations;
}

uint64_t memdisk_reads(const struct memdisk *d)
{
	return d->reads;
}
