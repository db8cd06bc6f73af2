// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Copying what a disk in use shows into a new image, until it can go on there.
 *
 * The disk is cut into chunks, with a bit for each that is to be copied: at
 * first for all. A pass goes over the disk once. It takes a chunk's bit away,
 * and only then looks what is there; whoever changes the disk sets the bit
 * again when that is done (block_mirror_note()). A change that is under way
 * while the chunk is read therefore has its bit afterwards, and whatever has
 * none is in the target as it is on the disk. Noting it at the end, not at the
 * beginning, also holds for requests that were in flight when the noting began.
 *
 * Passes go on until what is left would take no longer than a short pause at
 * the speed of the last passes, or a bearable one and does not become less any
 * more. Then the disk stands still; the rest is copied with its bits left in
 * place, so that this can be given up when it takes too long after all, and
 * the target is flushed, gets its name, and takes the disk's place. A guest
 * that writes faster than that keeps the passes going, which is told.
 *
 * The target starts as zeros. Where no image of the disk has space, nothing is
 * read, and zeros are written only where the target may hold something else:
 * in chunks that were copied before.
 *
 * Until the rename the target has a name that no image has, and whatever
 * happens the disk is what it was; from the rename on both hold the same, until
 * the guest writes again, which it does to the target.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "block/inner.h"

#define CHUNK_SHIFT	16
#define CHUNK_SHIFT_MAX	20		/* a piece of vhd_copy() */
#define CHUNKS_ENOUGH	(1ull << 25)	/* larger disks have larger chunks, as far as there are */
#define PAUSE_SHORT_NS	50000000ull
#define PAUSE_MOST_NS	1000000000ull
#define BUFFERS		4		/* beside a guest */
#define DEPTH		32

struct block_mirror {
	struct block *source;
	struct block *target;		/* after the switch: what the source was */
	struct vhd_queue *in, *out;	/* made once: to end one takes its time */
	char path[PATH_MAX], temporary[PATH_MAX];
	uint64_t size, chunks;
	unsigned int shift;
	atomic_ullong *changed;		/* bit per chunk */
	atomic_ullong left;		/* such bits */
	uint64_t *written;		/* bit per chunk: the target may hold something there */
	bool behind, switched;
	/* Of a pass. */
	uint64_t cursor, taken;		/* chunk; bytes */
	uint64_t deadline;		/* ns; 0: there is none */
	bool keep, late;		/* leave the bits; the deadline has passed */
	bool (*go_on)(void *opaque, uint64_t done);
	void *opaque;
	/* Of all passes, the last one's counting most. */
	uint64_t bytes, ns;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* ---- bits ---- */

static uint64_t mask_of(uint64_t first, uint64_t last)
{
	return ~0ull << (first & 63) & ~0ull >> (63 - (last & 63));
}

void block_mirror_note(struct block_mirror *m, uint64_t offset, uint64_t length)
{
	uint64_t at, last, added = 0;

	/* One that failed may have asked for anything. */
	if (offset >= m->size || !length)
		return;
	if (length > m->size - offset)
		length = m->size - offset;
	last = (offset + length - 1) >> m->shift;
	for (at = offset >> m->shift; at <= last; at = (at | 63) + 1) {
		uint64_t mask = mask_of(at, (at | 63) < last ? at | 63 : last);

		added += __builtin_popcountll(mask & ~atomic_fetch_or(&m->changed[at >> 6], mask));
	}
	atomic_fetch_add(&m->left, added);
}

static bool is_changed(const struct block_mirror *m, uint64_t chunk)
{
	return atomic_load(&m->changed[chunk >> 6]) >> (chunk & 63) & 1;
}

static bool is_written(const struct block_mirror *m, uint64_t chunk)
{
	return m->written[chunk >> 6] >> (chunk & 63) & 1;
}

/* How many chunks like that at the cursor, all in one piece; 0: there is none any more. Sets the cursor. */
static uint64_t run_find(struct block_mirror *m)
{
	uint64_t n, end;

	while (m->cursor < m->chunks && !is_changed(m, m->cursor))
		m->cursor = atomic_load(&m->changed[m->cursor >> 6]) >> (m->cursor & 63) ? m->cursor + 1 : (m->cursor | 63) + 1;
	if (m->cursor >= m->chunks)
		return 0;
	end = (m->cursor | ((1u << (CHUNK_SHIFT_MAX - m->shift)) - 1)) + 1;
	if (end > m->chunks)
		end = m->chunks;
	for (n = 1; m->cursor + n < end; n++)
		if (!is_changed(m, m->cursor + n) || is_written(m, m->cursor + n) != is_written(m, m->cursor))
			break;
	return n;
}

/* A piece's bits are in one word. */
static bool next(void *opaque, uint64_t *offset, uint64_t *length, bool *write_zeroes)
{
	struct block_mirror *m = opaque;
	uint64_t n, mask, was;

	while ((n = run_find(m))) {
		mask = mask_of(m->cursor, m->cursor + n - 1);
		*offset = m->cursor << m->shift;
		*length = n << m->shift < m->size - *offset ? n << m->shift : m->size - *offset;
		*write_zeroes = is_written(m, m->cursor);
		if (!m->keep) {
			was = atomic_fetch_and(&m->changed[m->cursor >> 6], ~mask);
			atomic_fetch_sub(&m->left, __builtin_popcountll(was & mask));
		}
		m->cursor += n;
		if (!*write_zeroes && vhd_unused(m->source->vhd, *offset, *length) == *length)
			continue;
		m->written[*offset >> m->shift >> 6] |= mask;
		m->taken += *length;
		return true;
	}
	return false;
}

/* ---- passes ---- */

static uint64_t left(const struct block_mirror *m)
{
	uint64_t bytes = atomic_load(&m->left) << m->shift;

	return bytes < m->size ? bytes : m->size;
}

static uint64_t pause_for(const struct block_mirror *m, uint64_t bytes)
{
	return m->bytes ? (double)m->ns * bytes / m->bytes : 0;
}

static bool goes_on(void *opaque, uint64_t done)
{
	struct block_mirror *m = opaque;

	(void)done;
	m->late |= m->deadline && now_ns() > m->deadline;
	return !m->late && m->go_on(m->opaque, m->size - left(m));
}

static int pass(struct block_mirror *m)
{
	struct vhd_copy c = {
		.from = m->source->vhd, .to = m->target->vhd, .in = m->in, .out = m->out, .buffers = m->keep ? 0 : BUFFERS,
		.go_on = goes_on, .next = next, .opaque = m,
	};
	uint64_t from = now_ns();
	int ret;

	m->cursor = 0;
	m->taken = 0;
	m->late = false;
	/* With nothing to be copied nobody else asks. */
	ret = goes_on(m, 0) ? vhd_copy(&c) : -EINTR;
	m->bytes = m->bytes / 2 + m->taken;
	m->ns = m->ns / 2 + now_ns() - from;
	return ret;
}

static int pass_failed(const struct block_mirror *m, int ret, char **err)
{
	if (ret == -EINTR)
		return block_spec_fail(err, EINTR, "interrupted; the disk is what it was, and the unfinished '%.300s' is deleted", m->path);
	return block_spec_fail(err, -ret, "cannot copy '%.300s' to '%.300s': %s; the disk is what it was, and the unfinished copy is deleted",
			       m->source->spec.path, m->path, strerror(-ret));
}

int block_mirror_run(struct block_mirror *m, bool (*go_on)(void *opaque, uint64_t done), void *opaque, char **err)
{
	uint64_t before, pause;
	bool shrinks;
	int ret;

	m->go_on = go_on;
	m->opaque = opaque;
	if (!m->in)
		m->in = vhd_queue_create(m->source->vhd, DEPTH);
	if (!m->out)
		m->out = vhd_queue_create(m->target->vhd, DEPTH);
	if (!m->in || !m->out)
		return block_spec_fail(err, errno, "cannot make a queue for the copy: %s", strerror(errno));
	for (;;) {
		before = left(m);
		ret = pass(m);
		if (ret)
			return pass_failed(m, ret, err);
		shrinks = left(m) < before - before / 4;
		pause = pause_for(m, left(m));
		m->behind = pause > PAUSE_MOST_NS && !shrinks;
		if (pause <= PAUSE_SHORT_NS || (pause <= PAUSE_MOST_NS && !shrinks))
			return 0;
	}
}

bool block_mirror_behind(const struct block_mirror *m)
{
	return m->behind;
}

/* ---- going over ---- */

static int go_over(struct block_mirror *m, struct block_queue *const *q, unsigned int n, char **err)
{
	struct vhd_error why;
	int ret;

	if (vhd_rename(m->target->vhd, m->path, &why))
		return block_spec_fail(err, why.code, "%s", why.text);
	m->source->mirror = NULL;
	ret = block_exchange(m->source, m->target, q, n, err);
	m->switched = !ret;
	return ret;
}

int block_mirror_switch(struct block_mirror *m, struct block_queue *const *q, unsigned int n, char **err)
{
	struct vhd_queue *queue[BRANCH_QUEUES];
	uint64_t from = now_ns();
	int ret = block_queues_of(queue, q, n, err);

	if (ret)
		return ret;
	vhd_queues_drain(queue, n);
	if (pause_for(m, left(m)) > PAUSE_MOST_NS)
		return -EAGAIN;
	m->keep = true;
	m->deadline = from + PAUSE_MOST_NS;
	ret = pass(m);
	m->keep = false;
	m->deadline = 0;
	if (ret && m->late)
		return -EAGAIN;
	return ret ? pass_failed(m, ret, err) : go_over(m, q, n, err);
}

void block_mirror_watch(struct block_mirror *m, bool on)
{
	if (!m->switched)
		m->source->mirror = on ? m : NULL;
}

/* ---- life ---- */

static int spec_check(const struct block *b, struct block_spec *t, char **err)
{
	const struct block_spec *s = &b->spec;

	if (t->readonly || t->raw_parent || t->removable || t->on_error || throttle_limited(&t->limits) || t->group[0])
		return block_spec_fail(err, EINVAL, "a mirror's target takes path, format, cache, discard and key; whatever else there is of a disk stays as it is");
	if (b->info.readonly)
		return block_spec_fail(err, EROFS, "the disk is read-only; lodge img copy copies its image");
	if (!b->info.encrypted && t->key[0])
		return block_spec_fail(err, EOPNOTSUPP, "the disk is not encrypted, and cannot become so while a guest uses it");
	if (!b->info.encrypted)
		return 0;
	if (!t->vhd)
		return block_spec_fail(err, EPERM, "the disk is encrypted, and a raw file would hold its data in clear");
	if (!t->key[0] && (!strcmp(s->key, "-") || !strncmp(s->key, "fd:", 3)))
		return block_spec_fail(err, ENOKEY, "the disk is encrypted; add ,key=FILE to the target");
	if (!t->key[0])
		memcpy(t->key, s->key, sizeof(t->key));
	return 0;
}

static int name_it(struct block_mirror *m, const char *path, char **err)
{
	const char *slash = strrchr(path, '/');
	int dir = slash ? (int)(slash - path) + 1 : 0;
	struct stat st;

	if (!lstat(path, &st))
		return block_spec_fail(err, EEXIST, "'%.300s' exists already; a disk can be mirrored to a new file only", path);
	if (!path[dir] || snprintf(m->temporary, sizeof(m->temporary), "%.*s.%s.%ld.tmp", dir, path, path + dir,
				   (long)getpid()) >= (int)sizeof(m->temporary))
		return block_spec_fail(err, ENAMETOOLONG, "'%.60s...' is no name for a file, or too long", path);
	strcpy(m->path, path);
	return 0;
}

static int target_make(struct block_mirror *m, char **err)
{
	struct block *t = m->target, *s = m->source;
	struct vhd_params p = { .type = t->spec.vhd ? VHD_DYNAMIC : VHD_RAW, .size = m->size, .keys = t->keys };
	struct block_spec *to = &t->spec;
	struct vhd_error why;
	int ret;

	if (t->spec.vhd && (s->info.type == VHD_DYNAMIC || s->info.type == VHD_DIFF))
		p.block_size = s->info.block_size;
	if (vhd_create(m->temporary, &p, &why))
		return block_spec_fail(err, why.code, "%s", why.text);
	strcpy(to->path, m->temporary);
	ret = block_medium_open(t, 0, err);
	if (ret) {
		unlink(m->temporary);
		return ret;
	}
	strcpy(to->path, m->path);
	to->removable = s->spec.removable;
	to->on_error = s->spec.on_error;
	to->limits = s->spec.limits;
	memcpy(to->group, s->spec.group, sizeof(to->group));
	return 0;
}

static int chunks_make(struct block_mirror *m, char **err)
{
	uint64_t words, i;

	m->size = block_capacity(m->source);
	for (m->shift = CHUNK_SHIFT; m->shift < CHUNK_SHIFT_MAX && m->size >> m->shift > CHUNKS_ENOUGH;)
		m->shift++;
	m->chunks = (m->size + (1ull << m->shift) - 1) >> m->shift;
	words = m->chunks / 64 + 1;
	m->changed = calloc(words, sizeof(*m->changed));
	m->written = calloc(words, sizeof(*m->written));
	if (!m->changed || !m->written)
		return block_spec_fail(err, ENOMEM, "out of memory");
	for (i = 0; i < m->chunks / 64; i++)
		atomic_init(&m->changed[i], ~0ull);
	if (m->chunks % 64)
		atomic_init(&m->changed[i], ~0ull >> (64 - m->chunks % 64));
	atomic_init(&m->left, m->chunks);
	return 0;
}

static int begin(struct block_mirror *m, const char *dir, const char *target, char **err)
{
	struct block_spec *t = &m->target->spec;
	int ret = block_spec_parse_at(dir, target, t, err);

	if (!ret)
		ret = spec_check(m->source, t, err);
	if (!ret)
		ret = name_it(m, t->path, err);
	if (!ret)
		ret = chunks_make(m, err);
	if (!ret)
		ret = block_keys_open(m->target, err);
	return ret ? ret : target_make(m, err);
}

static void mirror_free(struct block_mirror *m)
{
	free(m->changed);
	free(m->written);
	free(m);
}

struct block_mirror *block_mirror_begin(struct block *b, const char *dir, const char *target, char **err)
{
	struct block_mirror *m = calloc(1, sizeof(*m));
	struct block *t = calloc(1, sizeof(*t));
	int ret = -ENOMEM;

	if (m && t) {
		m->source = b;
		m->target = t;
		ret = begin(m, dir, target, err);
	} else {
		block_spec_fail(err, ENOMEM, "out of memory");
	}
	if (!ret)
		return m;
	if (t)
		vhd_keys_free(t->keys);
	free(t);
	if (m)
		mirror_free(m);
	errno = -ret;
	return NULL;
}

const char *block_mirror_path(const struct block_mirror *m)
{
	return m->path;
}

int block_mirror_end(struct block_mirror *m, char **err)
{
	const char *path = vhd_chain_path(m->target->vhd, 0);
	int ret = 0;

	vhd_queue_destroy(m->in);
	vhd_queue_destroy(m->out);
	if (!m->switched && unlink(path))
		ret = block_spec_fail(err, errno, "cannot delete the unfinished '%.300s': %s", path, strerror(errno));
	if (m->switched)
		ret = block_close(m->target);
	else
		block_close(m->target);
	if (m->switched && ret)
		block_spec_fail(err, -ret, "the disk has gone over to '%.300s', but its old image could not be closed properly: %s; it is repaired when it is next used",
				m->path, strerror(-ret));
	mirror_free(m);
	return ret;
}
