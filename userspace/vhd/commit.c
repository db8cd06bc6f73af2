// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The commit: how metadata and flushes reach stable storage.
 *
 * Writes change the table and the bitmaps in memory only. A guest's flush
 * (or, unasked, much dirty metadata) runs one commit for the image:
 *
 *	KILL	once per open: the trailing footer is overwritten and synced,
 *		so that an image that was not closed can be told
 *	STAGE	copies of the dirty bitmaps are taken, and if there were any the
 *		image is synced, since a bit must not precede its sector: under
 *		a clear bit may lie old bytes (a parent shows through, or a crash
 *		kept a write whose bitmap it lost). Blocks that are full from
 *		the start, as all of ours without parent, do not come here
 *	MAPS	bitmaps are written, all in parallel
 *	BARRIER	only where blocks were put on bytes not known to be zero or the
 *		file has grown: sync, then their entries may show
 *	TABLE	dirty units of the table are written, all in parallel
 *	SYNC	one sync for everything, the guest's data included
 *
 * Why an entry may reach the disk before its block's data and bitmap: the
 * place read as zeros on stable storage before it was given out (a region
 * beyond what was ever written, or punched and synced: alloc.c). Whatever
 * part survives a crash shows zeros or new data, both right for a sector
 * whose write was not flushed.
 *
 * One commit runs at a time, on the queue that started it. Flushes that come
 * in meanwhile wait for the next one and share it. A flush with nothing
 * written since the last sync is answered at once. If a sync fails, the
 * kernel may have dropped what it could not write, so the image stays
 * poisoned: every later flush fails as well.
 */
#include <errno.h>
#include <string.h>

#include "vhd/image.h"

#define KILL_BYTE	0xc7

static void commit_next(struct vhd *v);

void commit_init(struct vhd *v)
{
	requests_init(&v->commit.now);
	requests_init(&v->commit.later);
	atomic_store(&v->written, 1);
}

static bool meta_dirty(const struct vhd *v)
{
	return v->blocks && (v->cache.dirty || v->full_dirty_count || v->table_dirty_count ||
			     v->hidden_new);
}

static void commit_start(struct vhd *v, struct vhd_queue *q)
{
	struct commit *c = &v->commit;

	c->state = COMMIT_KILL;
	c->queue = q;
	c->error = 0;
	c->again = false;
	c->now = c->later;
	if (!c->now.head)
		c->now.tail = &c->now.head;
	requests_init(&c->later);
	q->housekeeping++;
	if (v->blocks)
		alloc_commit_begin(v);
	commit_next(v);
}

static void answer(struct request_list *l, int error)
{
	struct vhd_request *req;

	for (req = l->head; req; req = req->next)
		if (error)
			req->error = error;
	requests_resume(l);
}

static void commit_finish(struct vhd *v)
{
	struct commit *c = &v->commit;
	struct vhd_queue *q = c->queue;
	uint32_t i;

	if (c->error) {
		for (i = 0; v->hidden_sync; v->hidden_sync--) {
			i = map_next(v->hide_sync, i, v->header.max_entries);
			map_clear(v->hide_sync, i);
			map_set(v->hide_new, i);
			v->hidden_new++;
		}
		for (i = 0; v->blocks && i < BITMAP_SLOTS; i++) {
			struct bitmap *b = &v->cache.slot[i];

			if (b->staged && !b->dirty) {
				b->dirty = true;
				v->cache.dirty++;
			}
			b->staged = false;
		}
	} else {
		v->synced = c->generation;
		if (v->blocks)
			alloc_commit_done(v, q);
	}
	c->state = COMMIT_IDLE;
	c->queue = NULL;
	q->housekeeping--;
	answer(&c->now, c->error);
	if (v->blocks)
		answer(&v->cache.starved, c->error);
	if (c->later.head || (c->again && !c->error))
		commit_start(v, q);
}

static void commit_done(struct store_io *io, int error)
{
	struct commit_io *cio = (struct commit_io *)io;
	struct vhd *v = cio->image;
	struct commit *c = &v->commit;

	pthread_mutex_lock(&v->lock);
	cio->busy = false;
	c->inflight--;
	if (error && !c->error)
		c->error = error;
	if (io->op == STORE_SYNC && error)
		v->poisoned = error;
	if (io->op == STORE_SYNC && !error)
		v->durable_size = c->size;
	if (io->op == STORE_WRITE)
		atomic_fetch_add(&v->written, 1);
	if (cio->bitmap) {
		/* Left staged after an error, and so marked dirty again. */
		if (!error)
			cio->bitmap->staged = false;
	} else if (error && cio->what == COMMIT_MAPS) {
		if (v->bat[cio->index] != VHD_UNUSED && map_test(v->full, cio->index))
			full_set(v, cio->index, true);
	} else if (error && cio->what == COMMIT_TABLE) {
		if (!map_test(v->table_dirty, cio->index)) {
			map_set(v->table_dirty, cio->index);
			v->table_dirty_count++;
		}
	}
	if (!error && cio->what == COMMIT_KILL_SYNC && io->op == STORE_SYNC)
		v->killed = true;
	commit_next(v);
	pthread_mutex_unlock(&v->lock);
}

static struct commit_io *idle_io(struct vhd_queue *q)
{
	int i;

	for (i = 0; i < COMMIT_IOS; i++)
		if (!q->commit_io[i].busy)
			return &q->commit_io[i];
	return NULL;
}

static uint8_t *page_of(struct vhd_queue *q, struct commit_io *cio)
{
	return q->commit_pages + (cio - q->commit_io) * PAGE_BYTES;
}

static void put_io(struct vhd *v, struct commit_io *cio, enum store_op op, uint64_t offset,
		   uint32_t length)
{
	cio->image = v;
	cio->busy = true;
	cio->what = v->commit.state;
	cio->iov = (struct iovec){ page_of(v->commit.queue, cio), length };
	cio->io.store = v->store;
	cio->io.op = op;
	cio->io.offset = offset;
	cio->io.length = length;
	cio->io.iov = &cio->iov;
	cio->io.iovcnt = 1;
	cio->io.done = commit_done;
	v->commit.inflight++;
	v->store->ops->submit(v->commit.queue->sq, &cio->io);
}

static void put_sync(struct vhd *v)
{
	struct commit_io *cio = idle_io(v->commit.queue);

	cio->bitmap = NULL;
	v->commit.size = v->store->size;
	put_io(v, cio, STORE_SYNC, 0, 0);
}

static void put_kill(struct vhd *v)
{
	struct commit_io *cio = idle_io(v->commit.queue);

	cio->bitmap = NULL;
	memset(page_of(v->commit.queue, cio), KILL_BYTE, VHD_FOOTER_BYTES);
	put_io(v, cio, STORE_WRITE, v->footer_at, VHD_FOOTER_BYTES);
}

/* One more bitmap; false: none is left. */
static bool put_map(struct vhd *v, struct commit_io *cio)
{
	struct commit *c = &v->commit;
	uint32_t bytes;
	uint64_t at;

	for (; c->slot_cursor < BITMAP_SLOTS; c->slot_cursor++) {
		struct bitmap *b = &v->cache.slot[c->slot_cursor];

		if (!b->staged)
			continue;
		c->slot_cursor++;
		cio->bitmap = b;
		at = bitmap_compose(v, b, page_of(c->queue, cio), &bytes);
		put_io(v, cio, STORE_WRITE, at, bytes);
		return true;
	}
	cio->bitmap = NULL;
	if (!v->full_dirty_count)
		return false;
	c->cursor = map_next(v->full_dirty, c->cursor, v->header.max_entries);
	if (c->cursor == v->header.max_entries)
		return false;
	cio->index = c->cursor;
	map_clear(v->full_dirty, c->cursor);
	v->full_dirty_count--;
	at = bitmap_offset(v, v->bat[c->cursor], &bytes);
	memcpy(page_of(c->queue, cio), v->ones, bytes);
	put_io(v, cio, STORE_WRITE, at, bytes);
	return true;
}

static bool put_table(struct vhd *v, struct commit_io *cio)
{
	struct commit *c = &v->commit;
	uint64_t at;

	cio->bitmap = NULL;
	if (!v->table_dirty_count)
		return false;
	c->cursor = map_next(v->table_dirty, c->cursor, v->table_units);
	if (c->cursor == v->table_units)
		return false;
	cio->index = c->cursor;
	map_clear(v->table_dirty, c->cursor);
	v->table_dirty_count--;
	at = table_compose(v, c->cursor, page_of(c->queue, cio));
	c->cursor++;
	put_io(v, cio, STORE_WRITE, at, v->table_unit);
	return true;
}

/* Keeps the window of parallel writes filled; true when all are done. */
static bool pump(struct vhd *v, bool (*put)(struct vhd *v, struct commit_io *cio))
{
	struct commit_io *cio;

	while (!v->commit.error && (cio = idle_io(v->commit.queue)))
		if (!put(v, cio))
			break;
	return !v->commit.inflight;
}

static void show_hidden(struct vhd *v)
{
	uint32_t i = 0;

	while (v->hidden_sync) {
		i = map_next(v->hide_sync, i, v->header.max_entries);
		map_clear(v->hide_sync, i);
		v->hidden_sync--;
		table_mark(v, i);
	}
}

static void stage(struct vhd *v)
{
	uint64_t *t = v->hide_sync;

	bitmap_stage(v);
	v->hide_sync = v->hide_new;
	v->hidden_sync = v->hidden_new;
	v->hide_new = t;
	v->hidden_new = 0;
	v->commit.cursor = 0;
	v->commit.slot_cursor = 0;
}

/* Enters @next and, if @op is wanted there, starts it. True: it was started. */
static bool enter(struct vhd *v, enum commit_state next, bool wanted)
{
	v->commit.state = next;
	if (!wanted)
		return false;
	put_sync(v);
	return true;
}

/*
 * Goes on after whatever has completed. Each state's operations are started
 * on entering it, and it is left when none is in flight any more.
 */
static void commit_next(struct vhd *v)
{
	struct commit *c = &v->commit;
	bool staged;

	while (!c->inflight || c->state == COMMIT_MAPS || c->state == COMMIT_TABLE) {
		if (c->error && !c->inflight) {
			commit_finish(v);
			return;
		}
		switch (c->state) {
		case COMMIT_IDLE:
			return;
		case COMMIT_KILL:
			if (!meta_dirty(v)) {
				c->state = COMMIT_BARRIER;
				break;
			}
			if (v->killed) {
				c->state = COMMIT_KILL_SYNC;
				break;
			}
			/* Written once, then this state is met again as KILL_SYNC. */
			c->state = COMMIT_KILL_SYNC;
			c->cursor = 0;
			put_kill(v);
			break;
		case COMMIT_KILL_SYNC:
			if (!v->killed) {
				put_sync(v);
				break;
			}
			staged = v->cache.dirty;
			stage(v);
			if (enter(v, COMMIT_STAGE_SYNC, staged))
				return;
			break;
		case COMMIT_STAGE_SYNC:
			c->state = COMMIT_MAPS;
			break;
		case COMMIT_MAPS:
			if (!pump(v, put_map))
				return;
			if (!c->error && enter(v, COMMIT_BARRIER, v->hidden_sync))
				return;
			break;
		case COMMIT_BARRIER:
			if (v->blocks)
				show_hidden(v);
			c->cursor = 0;
			c->state = COMMIT_TABLE;
			break;
		case COMMIT_TABLE:
			if (v->blocks && !pump(v, put_table))
				return;
			c->generation = atomic_load(&v->written);
			if (!c->error && enter(v, COMMIT_SYNC, true))
				return;
			break;
		case COMMIT_SYNC:
			commit_finish(v);
			return;
		}
	}
}

void commit_poke(struct vhd *v, struct vhd_queue *q)
{
	if (v->poisoned)
		return;
	if (v->commit.state == COMMIT_IDLE)
		commit_start(v, q);
	else
		v->commit.again = true;
}

void commit_flush(struct vhd *v, struct vhd_queue *q, struct vhd_request *req)
{
	int error = 0;
	bool now = false;

	pthread_mutex_lock(&v->lock);
	if (v->poisoned) {
		error = v->poisoned;
		now = true;
	} else if (v->readonly ||
		   (v->commit.state == COMMIT_IDLE && !meta_dirty(v) &&
		    v->synced == atomic_load(&v->written))) {
		now = true;
	} else {
		requests_add(&v->commit.later, req);
		if (v->commit.state == COMMIT_IDLE)
			commit_start(v, q);
	}
	pthread_mutex_unlock(&v->lock);
	if (now)
		request_put(req, error);
}
