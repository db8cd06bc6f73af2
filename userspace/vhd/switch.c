// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What queues speak of is changed while they are in use: another image takes
 * an image's place, or the same one with another size.
 *
 * The caller owns the queues meanwhile, so nothing new comes in; they run
 * empty, and then only the image that they point to changes. They keep their
 * descriptors and memory, hence whoever waits for them notices nothing.
 *
 * A larger disk needs another table, maybe at another place. That is what
 * resizing an image at rest does (edit.c), so the image is brought to rest,
 * resized through the descriptor that holds its lock, and read again by a
 * second one, which then hands its findings to the first: at no time could
 * somebody else have had the file.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"

/* Together: one queue's requests may wait for what another has in flight. */
void switch_drain(struct vhd_queue **q, unsigned int n)
{
	struct pollfd p[SWITCH_QUEUES];
	unsigned int i, busy;

	for (;;) {
		for (i = 0, busy = 0; i < n; i++) {
			vhd_queue_kick(q[i]);
			vhd_queue_poll(q[i]);
			p[i] = (struct pollfd){ vhd_queue_fd(q[i]), POLLIN, 0 };
		}
		for (i = 0; i < n; i++)
			busy += q[i]->inflight + q[i]->housekeeping;
		if (!busy)
			return;
		poll(p, n, 1000);
	}
}

void vhd_queues_drain(struct vhd_queue **q, unsigned int n)
{
	switch_drain(q, n);
}

int switch_room(struct vhd_queue **q, unsigned int n, uint32_t sectors)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		uint8_t *levels = realloc(q[i]->levels, sectors ? sectors : 1);

		if (!levels)
			return -ENOMEM;
		q[i]->levels = levels;
	}
	return 0;
}

int switch_move(struct vhd *v, struct vhd_queue **q, unsigned int n, struct vhd_error *err)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < n && !ret; i++)
		ret = v->store->ops->queue_move(q[i]->sq, v->store, q[i]->depth);
	return ret ? vhd_fail(err, -ret, "cannot serve '%.300s': %s", v->path, strerror(-ret)) : 0;
}

static uint32_t larger(const struct vhd *a, const struct vhd *b)
{
	return a->spb > b->spb ? a->spb : b->spb;
}

int vhd_switch(struct vhd *v, struct vhd *next, struct vhd_queue **q, unsigned int n, struct vhd_error *err)
{
	unsigned int i;
	int ret;

	if (n > SWITCH_QUEUES)
		return vhd_fail(err, EINVAL, "the disk has more than %u queues", SWITCH_QUEUES);
	if (next->store->mem_align > v->store->mem_align && next->store->mem_align > 4096)
		return vhd_fail(err, EINVAL, "'%.300s' wants memory aligned to %u bytes", next->path, next->store->mem_align);
	/* Queues of encrypted disks have more buffers. */
	if (next->crypt && !v->crypt)
		return vhd_fail(err, EOPNOTSUPP, "'%.300s' is encrypted, which the disk was not", next->path);
	if (switch_room(q, n, larger(v, next)))
		return vhd_fail(err, ENOMEM, "out of memory");
	switch_drain(q, n);
	/* What they were made with is about to be closed. */
	ret = switch_move(next, q, n, err);
	if (ret)
		return ret;
	for (i = 0; i < n; i++)
		q[i]->image = next;
	atomic_fetch_add(&next->queues, n);
	return 0;
}

static int raw_grow(struct vhd *v, uint64_t size, struct vhd_error *err)
{
	int ret = v->store->ops->truncate(v->store, size);

	if (!ret)
		ret = v->store->ops->sync(v->store);
	if (ret)
		return vhd_fail(err, -ret, "cannot make '%.300s' larger: %s", v->path, strerror(-ret));
	v->size = size;
	return 0;
}

/* The image as it is in its file now, with the descriptor, parents and name of @v, which is freed. */
static int reread(struct vhd *v, struct vhd **out, struct vhd_error *err)
{
	unsigned int flags = VHD_O_NOLOCK | VHD_O_OWN | (v->store->direct ? 0 : VHD_O_BUFFERED);
	struct vhd *next;
	struct store *s;
	int ret = image_open_path(v->path, flags, NULL, &next, err);

	if (ret)
		return ret;
	s = next->store;
	next->store = v->store;
	v->store = s;
	next->parent = v->parent;
	next->parent_path = v->parent_path;
	v->parent = NULL;
	v->parent_path = NULL;
	flat_renew(next);
	*out = next;
	return 0;
}

int vhd_grow(struct vhd *v, uint64_t size, struct vhd_queue **q, unsigned int n, struct vhd **out, struct vhd_error *err)
{
	struct vhd *next = v;
	unsigned int i;
	int ret;

	*out = v;
	if (v->readonly)
		return vhd_fail(err, EROFS, "the disk is read-only");
	if (n > SWITCH_QUEUES)
		return vhd_fail(err, EINVAL, "the disk has more than %u queues", SWITCH_QUEUES);
	if (!size || size % VHD_SECTOR)
		return vhd_fail(err, EINVAL, "the size %llu is not a positive multiple of 512 bytes", (unsigned long long)size);
	if (size < v->size)
		return vhd_fail(err, EINVAL, "the disk has %llu bytes; a disk in use can only become larger",
				(unsigned long long)v->size);
	if (v->crypt || v->track)
		return vhd_fail(err, EOPNOTSUPP, "the disk is %s, and can only become larger while no guest uses it",
				v->crypt ? "encrypted" : "tracked");
	if (v->store->device)
		return vhd_fail(err, EINVAL, "the size of a device is not ours to change");
	switch_drain(q, n);
	if (v->type == VHD_RAW)
		return raw_grow(v, size, err);
	ret = image_settle(v, false);
	if (ret)
		return vhd_fail(err, -ret, "cannot complete '%.300s': %s", v->path, strerror(-ret));
	ret = edit_size(v->store, size, 0, err);
	/* Whether it failed or not, what the file holds now is what counts. */
	if (reread(v, &next, ret ? NULL : err)) {
		v->poisoned = v->poisoned ? v->poisoned : -EIO;
		return ret ? ret : -EIO;
	}
	if (switch_room(q, n, larger(v, next)))
		next->poisoned = -ENOMEM;
	for (i = 0; i < n; i++)
		q[i]->image = next;
	atomic_fetch_add(&next->queues, n);
	/* With nothing to be written back: it was complete before. */
	v->readonly = true;
	vhd_close(v);
	*out = next;
	return ret;
}
