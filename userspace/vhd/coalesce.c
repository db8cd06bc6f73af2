// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Merging an image in the middle of a chain into its parent while the disk on
 * top is in use.
 *
 *	disk ... -> child -> middle -> parent ...
 *
 *	begin	the parent is opened once more, for writing, and the lock that the
 *		chain has on it as a reader becomes an exclusive one, so that nobody
 *		else can be looking at what changes
 *	copy	what the middle holds itself goes into the parent, a few pieces at
 *		a time; the parent is completed, as if closed
 *	switch	the queues run empty, the child's header is made to name the
 *		parent, and the chain goes on without the middle
 *	end	the middle's file goes, if nobody has it open or stands on it
 *
 * Until the child's header has changed the middle hides all that changes below
 * it, so the disk shows the same at any time, and after a cut at any. The
 * header is one step (edit.c), before which the parent is on stable storage.
 * After it the middle is an image that nobody stands on.
 *
 * The chain's own handle of the parent knows the blocks as they were when it
 * was opened, and may read bitmaps of later. It is asked only for sectors that
 * the middle has not, and those are left alone: the writer changes other
 * sectors' data and bits, puts new blocks where none was, and frees one only
 * if the middle has all of it. What is at the same place in the file of a
 * sector that is asked for is therefore the same all the time. For that reason
 * too the name under which equal content is shared (locate.c) stays right
 * while it is used: the old handle has its name from before and speaks of
 * sectors that are as they were, and the new one gets a name of its own. A
 * parent that is not as large as the middle would have to be resized, which
 * moves blocks: that is refused.
 *
 * If the child is the disk, its header can change only at rest, so that
 * happens in the switch, after all that is dirty has been flushed: the pause is
 * a dozen of small writes and syncs, however much was merged. An inner child's
 * is changed before, and in the pause there is nothing left but pointers.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vhd/coalesce.h"
#include "vhd/track.h"

/* Beside a guest: enough to keep a disk busy, and not more than a few requests of its own would wait for. */
#define COPY_BUFFERS	2

static int check(const struct vhd_coalesce *c, struct vhd_error *err)
{
	const struct vhd *middle = c->middle, *parent = c->parent;

	if (parent->type == VHD_RAW)
		return vhd_fail(err, EINVAL, "the parent '%.300s' is a raw file, whose contents nothing protects while they change; coalesce it while no guest uses the disk",
				parent->path);
	if (c->disk->readonly)
		return vhd_fail(err, EROFS, "the disk '%.300s' is read-only; coalesce it while no guest uses it", c->disk->path);
	if (parent->size != middle->size)
		return vhd_fail(err, EINVAL, "'%.300s' has %llu bytes and its parent '%.300s' %llu, which would have to be resized; coalesce it while no guest uses the disk",
				middle->path, (unsigned long long)middle->size, parent->path, (unsigned long long)parent->size);
	if (c->child->size < parent->size)
		return vhd_fail(err, EINVAL, "'%.300s' is smaller than '%.300s', on which it would stand", c->child->path, parent->path);
	if (middle->batmap.key.set && !parent->batmap.key.set)
		return vhd_fail(err, EPERM, "'%.300s' is encrypted and '%.300s' is not, which would then hold its data in clear", middle->path,
				parent->path);
	if (c->child != c->disk && c->child->unclean)
		return vhd_fail(err, EUCLEAN, "'%.300s' was not closed properly; coalesce it while no guest uses the disk", c->child->path);
	return 0;
}

int coalesce_find(struct vhd *v, unsigned int depth, struct vhd_coalesce **out, struct vhd_error *err)
{
	struct vhd_coalesce *c = calloc(1, sizeof(*c));
	int ret = 0;

	if (!c)
		return vhd_fail(err, ENOMEM, "out of memory");
	c->disk = v;
	c->child = depth ? v : NULL;
	while (c->child && depth-- > 1)
		c->child = c->child->parent;
	c->middle = c->child ? c->child->parent : NULL;
	c->parent = c->middle ? c->middle->parent : NULL;
	if (!c->middle)
		ret = vhd_fail(err, EINVAL, "'%.300s' has no such image below it", v->path);
	else if (!c->parent)
		ret = vhd_fail(err, EINVAL, "'%.300s' has no parent to be merged into", c->middle->path);
	else
		ret = check(c, err);
	if (!ret) {
		c->parent_name = strdup(c->parent->path);
		if (!c->parent_name)
			ret = vhd_fail(err, ENOMEM, "out of memory");
	}
	if (ret)
		free(c);
	else
		*out = c;
	return ret;
}

struct family {
	const struct vhd *parent, *child;
	char other[PATH_MAX];
};

static void consider(void *opaque, const char *path, const struct vhd_info *info)
{
	char a[PATH_MAX], b[PATH_MAX];
	struct family *f = opaque;

	if (info->type != VHD_DIFF || memcmp(info->parent_uuid, f->parent->footer.uuid, 16))
		return;
	if (!realpath(path, a) || !realpath(f->child->path, b) || strcmp(a, b))
		snprintf(f->other, sizeof(f->other), "%s", path);
}

/* No other child of @parent is in its directory. */
static int only_child(const struct vhd *parent, const struct vhd *child, struct vhd_error *err)
{
	const char *slash = strrchr(parent->path, '/');
	struct family f = { .parent = parent, .child = child };
	char dir[PATH_MAX];
	int ret;

	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - parent->path) + 1 : 1, slash ? parent->path : ".");
	ret = vhd_scan(dir, consider, &f, err);
	if (ret || !f.other[0])
		return ret;
	return vhd_fail(err, EBUSY, "'%.200s' is the parent of '%.200s' too; rebase or delete that first", parent->path, f.other);
}

/* Nobody can make another child once the lock is there, and nothing is written before it is known that there is none. */
static int target_open(struct vhd_coalesce *c, unsigned int buffered, struct vhd_keys *keys, struct vhd_error *err)
{
	struct store *reader = c->parent->store, *writer;
	int ret = store_file_claim(reader, c->parent->path, &writer, err), hold;

	if (ret)
		return ret;
	/* The lock lives as long as one of its descriptors. */
	hold = fcntl(store_file_fd(writer), F_DUPFD_CLOEXEC, 0);
	ret = hold < 0 ? vhd_fail(err, errno, "cannot keep '%.300s' locked: %s", c->parent->path, strerror(errno)) :
			 only_child(c->parent, c->middle, err);
	if (!ret)
		ret = only_child(c->middle, c->child, err);
	if (ret) {
		store_file_return(reader, store_file_fd(writer));
		writer->ops->close(writer);
	} else {
		ret = image_open_file(writer, c->parent->path, VHD_O_OWN | VHD_O_INTERNAL | buffered, keys, &c->target, err);
		c->claimed = !ret;
		if (ret)
			store_file_return(reader, hold);
	}
	if (hold >= 0)
		close(hold);
	return ret;
}

int vhd_coalesce_begin(struct vhd *v, unsigned int depth, struct vhd_keys *keys, struct vhd_coalesce **out,
		       struct vhd_error *err)
{
	unsigned int buffered = v->store->direct ? 0 : VHD_O_BUFFERED;
	struct vhd_coalesce *c;
	int ret = coalesce_find(v, depth, &c, err);

	if (ret)
		return ret;
	ret = target_open(c, buffered, keys, err);
	if (!ret)
		ret = image_open_path(c->middle->path, VHD_O_RDONLY | VHD_O_OWN | buffered, keys, &c->own, err);
	if (ret)
		vhd_coalesce_end(c, NULL);
	else
		*out = c;
	return ret;
}

static struct edit_parent new_parent(const struct vhd_coalesce *c)
{
	struct edit_parent p = { .size = c->target->size, .timestamp = c->target->footer.timestamp, .key = c->target->batmap.key,
				 .name = c->target->path };
	uint64_t dev, ino;
	int64_t mtime;

	memcpy(p.uuid, c->target->footer.uuid, 16);
	if (c->claimed && !store_file_stat(c->target->store, &dev, &ino, &mtime))
		p.timestamp = mtime > VHD_EPOCH ? mtime - VHD_EPOCH : 0;
	return p;
}

int coalesce_adopt(struct vhd_coalesce *c, struct store *child, struct vhd_error *err)
{
	struct edit_parent p = new_parent(c);
	struct vhd_error why = { 0 };
	int ret = edit_parent(child, c->child->path, &p, &why);

	return ret ? vhd_fail(err, -ret, "cannot change the parent of '%.200s': %.400s", c->child->path, why.text) : 0;
}

/* An image that others stand on is at rest, so its header can change beside its readers here; there may be no others. */
static int adopt_inner(struct vhd_coalesce *c, struct vhd_error *err)
{
	struct store *writer;
	int ret = store_file_claim(c->child->store, c->child->path, &writer, err);

	if (ret)
		return ret;
	ret = coalesce_adopt(c, writer, err);
	store_file_return(c->child->store, store_file_fd(writer));
	writer->ops->close(writer);
	return ret;
}

int coalesce_fill(struct vhd_coalesce *c, bool (*go_on)(void *opaque, uint64_t done), void *opaque, struct vhd_error *err)
{
	struct vhd_copy copy = { .from = c->own, .to = c->target, .own = true, .write_zeroes = true, .buffers = COPY_BUFFERS,
				 .go_on = go_on, .opaque = opaque };
	int ret = vhd_copy(&copy);

	if (!ret)
		ret = image_settle(c->target, true);
	if (ret == -EINTR)
		return vhd_fail(err, EINTR, "interrupted; nothing is lost, and a later coalesce goes on");
	if (ret)
		return vhd_fail(err, -ret, "cannot merge '%.300s' into '%.300s': %s", c->middle->path, c->parent->path, strerror(-ret));
	image_quieten(c->target);
	c->filled = true;
	return 0;
}

int vhd_coalesce_copy(struct vhd_coalesce *c, bool (*go_on)(void *opaque, uint64_t done), void *opaque,
		      struct vhd_error *err)
{
	struct vhd_queue *q;
	int ret = coalesce_fill(c, go_on, opaque, err);

	if (ret)
		return ret;
	if (c->child != c->disk)
		return adopt_inner(c, err);
	/* So that little is left to be flushed when the disk stands still. */
	q = vhd_queue_create(c->disk, 16);
	ret = q ? vhd_flush(q) : -errno;
	vhd_queue_destroy(q);
	return ret ? vhd_fail(err, -ret, "cannot flush '%.300s': %s", c->disk->path, strerror(-ret)) : 0;
}

/* The disk stands still. Whichever parent its header names afterwards, the chain in memory shows the same. */
static int adopt_disk(struct vhd_coalesce *c, struct vhd_error *err)
{
	struct vhd *v = c->disk;
	int ret = image_settle(v, false), after;

	if (ret)
		return vhd_fail(err, -ret, "cannot complete '%.300s': %s", v->path, strerror(-ret));
	ret = coalesce_adopt(c, v->store, err);
	after = image_refresh(v, ret ? NULL : err);
	/* Where a change was begun and not completed, the header is at a place that new blocks would take. */
	if (after || (ret && v->killed)) {
		pthread_mutex_lock(&v->lock);
		v->poisoned = v->poisoned ? v->poisoned : -EIO;
		pthread_mutex_unlock(&v->lock);
	}
	return ret ? ret : after;
}

int vhd_coalesce_switch(struct vhd_coalesce *c, struct vhd_queue **q, unsigned int n, struct vhd_error *err)
{
	struct vhd *target = c->target, *parent = c->parent;
	int ret;

	if (!c->filled)
		return vhd_fail(err, EINVAL, "'%.300s' is not merged yet", c->middle->path);
	if (n > SWITCH_QUEUES)
		return vhd_fail(err, EINVAL, "the disk has more than %u queues", SWITCH_QUEUES);
	switch_drain(q, n);
	/* Made when another image was on top, they may belong to one that is closed in the end. */
	ret = switch_move(c->disk, q, n, err);
	if (ret)
		return ret;
	if (c->child == c->disk) {
		ret = adopt_disk(c, err);
		if (ret)
			return ret;
	}
	target->parent = parent->parent;
	target->parent_path = parent->parent_path;
	target->crypt |= parent->crypt;
	target->no_key |= parent->no_key;
	parent->parent = NULL;
	parent->parent_path = NULL;
	c->middle->parent = NULL;
	free(c->child->parent_path);
	c->child->parent_path = c->parent_name;
	c->parent_name = NULL;
	c->child->parent = target;
	memcpy(c->child->header.parent_uuid, target->footer.uuid, 16);
	flat_renew(c->disk);
	c->switched = true;
	return 0;
}

/* The parent is complete again, and what it has of the middle stays; its lock goes back. */
static int give_back(struct vhd_coalesce *c, struct vhd_error *err)
{
	int ret = 0;

	if (c->target && !c->filled) {
		ret = image_settle(c->target, true);
		if (ret) {
			/* Left as a cut would leave it. */
			track_close(c->target->track, c->target->track ? store_file_fd(c->target->store) : -1, false);
			c->target->track = NULL;
			c->target->readonly = true;
			vhd_fail(err, -ret, "cannot complete '%.300s': %s", c->parent->path, strerror(-ret));
		} else {
			image_quieten(c->target);
		}
	}
	if (c->claimed)
		store_file_return(c->parent->store, store_file_fd(c->target->store));
	vhd_close(c->target);
	return ret;
}

/*
 * Somebody may have come to read the middle since the beginning, or have made a child of it: its contents are what they
 * were, so it stays then.
 */
static int middle_delete(const struct vhd_coalesce *c, struct vhd_error *err)
{
	const struct vhd *middle = c->middle;
	struct vhd_error why = { 0 };
	struct store *writer;
	int ret;

	if (!c->claimed || middle->store->device)
		return 0;
	ret = store_file_claim(middle->store, middle->path, &writer, &why);
	if (!ret) {
		ret = only_child(middle, c->child, &why);
		if (!ret && unlink(middle->path))
			ret = vhd_fail(&why, errno, "%s", strerror(errno));
		writer->ops->close(writer);
	}
	return ret ? vhd_fail(err, -ret, "the data are merged, but '%.200s' was not deleted: %.400s", middle->path, why.text) : 0;
}

int vhd_coalesce_end(struct vhd_coalesce *c, struct vhd_error *err)
{
	int ret = 0;

	if (!c)
		return 0;
	vhd_close(c->own);
	if (!c->switched) {
		ret = give_back(c, err);
	} else {
		ret = middle_delete(c, err);
		vhd_close(c->middle);
		vhd_close(c->parent);
	}
	free(c->parent_name);
	free(c);
	return ret;
}
