// SPDX-License-Identifier: GPL-2.0-or-later
/* Snapshots of disks in use: the library's three steps, with what a disk has besides its image. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "block/inner.h"

struct one {
	struct block *block;
	struct vhd_queue *queue[BRANCH_QUEUES];
	char disk[PATH_MAX], snapshot[PATH_MAX];
};

struct block_branches {
	unsigned int count;
	struct one *one;
	struct vhd_branch *vhd;
};

static void branches_free(struct block_branches *all)
{
	free(all->one);
	free(all->vhd);
	free(all);
}

static void children_close(struct block_branches *all)
{
	unsigned int i;

	for (i = 0; i < all->count; i++)
		vhd_close(all->vhd[i].child);
}

static int one_begin(struct one *o, struct vhd_branch *v, const struct block_branch *b, char **err)
{
	struct vhd_error why;
	int ret = block_queues_of(o->queue, b->q, b->n, err);

	if (ret)
		return ret;
	/* The name may have been given as a symbolic link, which is not to be replaced. */
	if (!realpath(b->block->spec.path, o->disk))
		return block_spec_fail(err, errno, "cannot find '%s': %s", b->block->spec.path, strerror(errno));
	if (strlen(b->snapshot) >= sizeof(o->snapshot))
		return block_spec_fail(err, ENAMETOOLONG, "the snapshot's name is too long");
	strcpy(o->snapshot, b->snapshot);
	ret = vhd_open_keys(b->child, VHD_O_OWN | (b->block->spec.buffered ? VHD_O_BUFFERED : 0), b->block->keys, &v->child, &why);
	if (ret)
		return block_spec_fail(err, why.code, "%s", why.text);
	o->block = b->block;
	v->v = b->block->vhd;
	v->disk = o->disk;
	v->snapshot = o->snapshot;
	v->q = o->queue;
	v->n = b->n;
	return 0;
}

struct block_branches *block_branch_begin(const struct block_branch *b, unsigned int count, char **err)
{
	struct block_branches *all = calloc(1, sizeof(*all));
	struct vhd_error why;
	unsigned int i;
	int ret = 0;

	if (all) {
		all->one = calloc(count, sizeof(*all->one));
		all->vhd = calloc(count, sizeof(*all->vhd));
	}
	if (!all || !all->one || !all->vhd) {
		ret = block_spec_fail(err, ENOMEM, "out of memory");
		goto fail;
	}
	all->count = count;
	for (i = 0; i < count && !ret; i++)
		ret = one_begin(&all->one[i], &all->vhd[i], &b[i], err);
	if (!ret && vhd_branch_prepare(all->vhd, count, &why))
		ret = block_spec_fail(err, why.code, "%s", why.text);
	if (!ret)
		return all;
	children_close(all);
fail:
	if (all)
		branches_free(all);
	errno = -ret;
	return NULL;
}

int block_branch_switch(struct block_branches *all, char **err)
{
	struct vhd_error why;
	unsigned int i;

	if (vhd_branch_switch(all->vhd, all->count, &why)) {
		children_close(all);
		branches_free(all);
		return block_spec_fail(err, why.code, "%s", why.text);
	}
	for (i = 0; i < all->count; i++) {
		struct block *b = all->one[i].block;

		b->vhd = all->vhd[i].child;
		vhd_get_info(b->vhd, &b->info);
	}
	return 0;
}

int block_branch_finish(struct block_branches *all, char **err)
{
	struct vhd_error why;
	int ret = vhd_branch_finish(all->vhd, all->count, &why);

	branches_free(all);
	return ret ? block_spec_fail(err, why.code, "%s", why.text) : 0;
}
