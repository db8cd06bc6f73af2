// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Going on in children of images while they are in use: live snapshots, of one
 * disk or of several at the same moment.
 *
 * The children were made beforehand, and nothing of what remains to be done
 * depends on the size of the data. Three steps, and the disks stand still in
 * the middle one alone:
 *
 *	prepare	what is dirty goes to the platter, with the mark that others
 *		stand on the image, while the guest writes on
 *	switch	the queues run empty, the children's files take their names,
 *		the queues go on in the children
 *	finish	the images are completed, as if they were closed, and the
 *		names made stable
 *
 * Until finish has returned, nothing that the guest is told to be stable may
 * depend on the child: the caller holds back flushes (and answers nothing else
 * that promises as much) from switch to finish. A power cut before finish
 * leaves the image or the child under the disk's name; either has all that was
 * flushed, the image perhaps without the mark of a clean end. If finish fails,
 * what the guest wrote before the snapshot can no longer be made stable, which
 * is a failed flush: it is one for good (commit.c).
 *
 * A queue keeps its descriptor and its memory; only the image it speaks of
 * changes. Requests that were waiting are finished before, so none is lost
 * and none is done twice.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vhd/image.h"

static int check(const struct vhd *v, const struct vhd *child, unsigned int n, struct vhd_error *err)
{
	const struct vhd *p;
	unsigned int depth = 1;

	for (p = v; p; p = p->parent)
		depth++;
	if (v->type == VHD_RAW)
		return vhd_fail(err, EINVAL, "'%.300s' is raw and cannot be snapshotted; convert it into a VHD image first", v->path);
	if (v->readonly)
		return vhd_fail(err, EROFS, "'%.300s' is read-only: a snapshot would hold the same", v->path);
	if (child->type != VHD_DIFF || memcmp(child->header.parent_uuid, v->footer.uuid, 16))
		return vhd_fail(err, ESTALE, "'%.300s' is no child of the disk '%.300s'", child->path, v->path);
	if (child->size != v->size)
		return vhd_fail(err, EINVAL, "'%.300s' has another size than the disk", child->path);
	if (depth > VHD_MAX_CHAIN)
		return vhd_fail(err, ELOOP, "'%.300s' has %d images in its chain, as many as there may be; coalesce some of them first",
				v->path, VHD_MAX_CHAIN);
	if (n > SWITCH_QUEUES)
		return vhd_fail(err, EINVAL, "the disk has more than %u queues", SWITCH_QUEUES);
	return 0;
}

static void adopt(struct vhd_branch *b)
{
	struct vhd *v = b->v, *child = b->child;
	unsigned int i;

	child->parent = v;
	child->crypt |= v->crypt;
	/* The disk goes on there, and shows the same. */
	child->track = v->track;
	v->track = NULL;
	flat_renew(child);
	flat_destroy(v->flat);
	v->flat = NULL;
	for (i = 0; i < b->n; i++)
		b->q[i]->image = child;
	/* They are what its closing has to expect something of. */
	atomic_fetch_add(&child->queues, b->n);
}

/* All that can be made stable before. */
static int flush_now(struct vhd *v)
{
	struct vhd_queue *q = vhd_queue_create(v, 16);
	int ret;

	if (!q)
		return -errno;
	ret = vhd_flush(q);
	vhd_queue_destroy(q);
	return ret;
}

static int prepare_one(struct vhd_branch *b, struct vhd_error *err)
{
	struct vhd *v = b->v;
	int ret = check(v, b->child, b->n, err);

	if (ret)
		return ret;
	b->names[0] = strdup(b->disk);
	b->names[1] = strdup(b->snapshot);
	b->names[2] = strdup(b->snapshot);
	if (!b->names[0] || !b->names[1] || !b->names[2])
		return vhd_fail(err, ENOMEM, "out of memory");
	ret = flush_now(v);
	return ret ? vhd_fail(err, -ret, "cannot flush '%.300s': %s", v->path, strerror(-ret)) : 0;
}

void vhd_branch_cancel(struct vhd_branch *b, unsigned int count)
{
	unsigned int i, k;

	for (i = 0; i < count; i++)
		for (k = 0; k < 3; k++) {
			free(b[i].names[k]);
			b[i].names[k] = NULL;
		}
}

int vhd_branch_prepare(struct vhd_branch *b, unsigned int count, struct vhd_error *err)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < count; i++)
		memset(b[i].names, 0, sizeof(b[i].names));
	for (i = 0; i < count && !ret; i++)
		ret = prepare_one(&b[i], err);
	if (ret)
		vhd_branch_cancel(b, count);
	return ret;
}

/* The image has its name again, and the child its own. */
static void rename_back(const struct vhd_branch *b)
{
	char spare[4096];

	/* The disk's name always leads to one of the two. */
	if (snprintf(spare, sizeof(spare), "%s~", b->child->path) < (int)sizeof(spare) && !link(b->disk, b->child->path) &&
	    !link(b->snapshot, spare) && rename(spare, b->disk))
		unlink(spare);
}

static uint32_t larger(const struct vhd_branch *b)
{
	return b->child->spb > b->v->spb ? b->child->spb : b->v->spb;
}

int vhd_branch_switch(struct vhd_branch *b, unsigned int count, struct vhd_error *err)
{
	unsigned int i, named = 0;
	int ret = 0;

	/* The disks that come later still work: what they are asked before their turn is in their snapshot. */
	for (i = 0; i < count && !ret; i++) {
		switch_drain(b[i].q, b[i].n);
		ret = switch_room(b[i].q, b[i].n, larger(&b[i]));
	}
	if (ret)
		vhd_fail(err, ENOMEM, "out of memory");
	for (; named < count && !ret; named++) {
		ret = rename(b[named].child->path, b[named].disk) ? -errno : 0;
		if (ret)
			vhd_fail(err, -ret, "cannot give the new image the name '%.300s': %s", b[named].disk, strerror(-ret));
	}
	if (ret) {
		for (i = 0; i + 1 < named; i++)
			rename_back(&b[i]);
		vhd_branch_cancel(b, count);
		return ret;
	}
	for (i = 0; i < count; i++) {
		free(b[i].child->path);
		free(b[i].v->path);
		b[i].child->path = b[i].names[0];
		b[i].v->path = b[i].names[1];
		b[i].child->parent_path = b[i].names[2];
		adopt(&b[i]);
	}
	return 0;
}

static int finish_one(struct vhd_branch *b, struct vhd_error *err)
{
	struct vhd *v = b->v;
	int ret = image_settle(v, true);

	if (ret) {
		vhd_fail(err, -ret, "cannot complete '%.300s': %s", v->path, strerror(-ret));
	} else {
		ret = store_directory_sync(b->child->path);
		if (ret)
			vhd_fail(err, -ret, "cannot make the name '%.300s' stable: %s", b->child->path, strerror(-ret));
	}
	if (ret) {
		pthread_mutex_lock(&b->child->lock);
		b->child->poisoned = ret;
		pthread_mutex_unlock(&b->child->lock);
		return ret;
	}
	image_quieten(v);
	return 0;
}

int vhd_branch_finish(struct vhd_branch *b, unsigned int count, struct vhd_error *err)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < count; i++) {
		int one = finish_one(&b[i], ret ? NULL : err);

		ret = ret ? ret : one;
	}
	return ret;
}
