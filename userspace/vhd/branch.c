// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Going on in a child of an image while it is in use: a live snapshot.
 *
 * The child was made beforehand, and nothing of what remains to be done
 * depends on the size of the disk's data: the queues run empty, the image is
 * completed as if it were closed, with the mark that others stand on it, the
 * child's file takes its name, and the queues go on in the child. To the file
 * system this is the same sequence as a snapshot of an image at rest: a power
 * cut leaves either the image (marked, if it was cut before the child had the
 * name; then the snapshot is to be finished or taken back), or the child on it.
 *
 * A queue keeps its descriptor and its memory; only the image it speaks of
 * changes. Requests that were waiting are finished before, so none is lost
 * and none is done twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vhd/image.h"

#define QUEUES_MAX	64u

/* Together: one queue's requests may wait for what another has in flight. */
static void drain_all(struct vhd_queue **q, unsigned int n)
{
	struct pollfd p[QUEUES_MAX];
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

static int check(const struct vhd *v, const struct vhd *child, unsigned int n, struct vhd_error *err)
{
	const struct vhd *p;
	unsigned int depth = 1;

	for (p = v; p; p = p->parent)
		depth++;
	if (v->type == VHD_RAW)
		return vhd_fail(err, EINVAL, "a raw disk cannot be snapshotted; convert it into a VHD image first");
	if (v->readonly)
		return vhd_fail(err, EROFS, "the disk is read-only: a snapshot would hold the same");
	if (child->type != VHD_DIFF || memcmp(child->header.parent_uuid, v->footer.uuid, 16))
		return vhd_fail(err, ESTALE, "'%.300s' is no child of the disk '%.300s'", child->path, v->path);
	if (child->size != v->size)
		return vhd_fail(err, EINVAL, "'%.300s' has another size than the disk", child->path);
	if (depth > VHD_MAX_CHAIN)
		return vhd_fail(err, ELOOP, "the disk has %d images in its chain, as many as there may be; coalesce some of them first",
				VHD_MAX_CHAIN);
	if (n > QUEUES_MAX)
		return vhd_fail(err, EINVAL, "the disk has more than %u queues", QUEUES_MAX);
	return 0;
}

static int directory_sync(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[4096];
	int fd, ret;

	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = fsync(fd) ? -errno : 0;
	close(fd);
	return ret;
}

static int levels_fit(struct vhd_queue **q, unsigned int n, uint32_t sectors)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		uint8_t *levels = realloc(q[i]->levels, sectors);

		if (!levels)
			return -ENOMEM;
		q[i]->levels = levels;
	}
	return 0;
}

static void adopt(struct vhd *v, struct vhd *child, struct vhd_queue **q, unsigned int n)
{
	unsigned int i;

	v->readonly = true;
	if (v->store->ops->share)
		v->store->ops->share(v->store);
	locate_identify(v);
	child->parent = v;
	child->crypt |= v->crypt;
	/* The disk goes on there, and shows the same. */
	child->track = v->track;
	v->track = NULL;
	/* A chain that cannot be flattened for want of memory is walked. */
	if (flat_create(child)) {
		flat_destroy(child->flat);
		child->flat = NULL;
	}
	flat_destroy(v->flat);
	v->flat = NULL;
	for (i = 0; i < n; i++)
		q[i]->image = child;
	/* They are what its closing has to expect something of. */
	atomic_fetch_add(&child->queues, n);
}

int vhd_branch(struct vhd *v, struct vhd *child, const char *disk, const char *snapshot, struct vhd_queue **q,
	       unsigned int n, struct vhd_error *err)
{
	char *name = strdup(snapshot), *where = strdup(disk);
	int ret = check(v, child, n, err);

	if (!ret && (!name || !where || levels_fit(q, n, child->spb > v->spb ? child->spb : v->spb)))
		ret = vhd_fail(err, ENOMEM, "out of memory");
	if (ret)
		goto fail;
	drain_all(q, n);
	ret = image_settle(v, true);
	if (ret) {
		vhd_fail(err, -ret, "cannot complete '%.300s': %s", v->path, strerror(-ret));
		goto fail;
	}
	ret = rename(child->path, disk) ? -errno : directory_sync(disk);
	if (ret) {
		vhd_fail(err, -ret, "cannot give the new image the name '%.300s': %s", disk, strerror(-ret));
		/* Known to be there or not: if not even the mark comes off, the disk stays as it is, unclean and usable. */
		image_settle(v, false);
		goto fail;
	}
	free(child->path);
	free(v->path);
	child->path = where;
	v->path = name;
	child->parent_path = strdup(snapshot);
	adopt(v, child, q, n);
	return 0;
fail:
	free(name);
	free(where);
	return ret;
}
