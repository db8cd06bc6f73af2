// SPDX-License-Identifier: GPL-2.0-or-later
/* Merging an image below a disk in use: the library's steps, for an image that is named by its file. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "block/inner.h"

struct block_coalesce {
	struct block *block;
	struct vhd_coalesce *vhd;
	char *image, *into;
};

/* The place of @image in the disk's chain, or -errno. */
static int depth_of(const struct block *b, const char *image, char **err)
{
	char want[PATH_MAX], have[PATH_MAX];
	const char *path;
	int depth;

	if (!image)
		return 1;
	if (!realpath(image, want))
		return block_spec_fail(err, errno, "cannot find '%.300s': %s", image, strerror(errno));
	for (depth = 0; (path = vhd_chain_path(b->vhd, depth)); depth++) {
		if (!realpath(path, have) || strcmp(want, have))
			continue;
		if (!depth)
			return block_spec_fail(err, EINVAL, "'%.300s' is what the guest writes to; take a snapshot, and merge that",
					       image);
		return depth;
	}
	return block_spec_fail(err, EINVAL, "'%.300s' is no image below the disk '%.300s'; lodge img tree shows which are", image,
			       b->spec.path);
}

static void coalesce_free(struct block_coalesce *c)
{
	free(c->image);
	free(c->into);
	free(c);
}

static int begin(struct block_coalesce *c, const char *image, char **err)
{
	const struct block *b = c->block;
	struct vhd_error why;
	int depth = depth_of(b, image, err);

	if (depth < 0)
		return depth;
	if (vhd_coalesce_begin(b->vhd, depth, b->keys, &c->vhd, &why))
		return block_spec_fail(err, why.code, "%s", why.text);
	c->image = realpath(vhd_chain_path(b->vhd, depth), NULL);
	c->into = realpath(vhd_chain_path(b->vhd, depth + 1), NULL);
	if (c->image && c->into)
		return 0;
	block_spec_fail(err, errno, "cannot tell the names of the images: %s", strerror(errno));
	vhd_coalesce_end(c->vhd, NULL);
	return -EIO;
}

struct block_coalesce *block_coalesce_begin(struct block *b, const char *image, char **err)
{
	struct block_coalesce *c = calloc(1, sizeof(*c));
	int ret;

	if (c)
		c->block = b;
	ret = c ? begin(c, image, err) : block_spec_fail(err, ENOMEM, "out of memory");
	if (!ret)
		return c;
	if (c)
		coalesce_free(c);
	errno = -ret;
	return NULL;
}

const char *block_coalesce_image(const struct block_coalesce *c)
{
	return c->image;
}

const char *block_coalesce_into(const struct block_coalesce *c)
{
	return c->into;
}

int block_coalesce_copy(struct block_coalesce *c, bool (*go_on)(void *opaque, uint64_t done), void *opaque, char **err)
{
	struct vhd_error why;

	return vhd_coalesce_copy(c->vhd, go_on, opaque, &why) ? block_spec_fail(err, why.code, "%s", why.text) : 0;
}

int block_coalesce_switch(struct block_coalesce *c, struct block_queue *const *q, unsigned int n, char **err)
{
	struct vhd_queue *queue[BRANCH_QUEUES];
	struct vhd_error why;
	int ret = block_queues_of(queue, q, n, err);

	if (ret)
		return ret;
	return vhd_coalesce_switch(c->vhd, queue, n, &why) ? block_spec_fail(err, why.code, "%s", why.text) : 0;
}

int block_coalesce_end(struct block_coalesce *c, char **err)
{
	struct vhd_error why;
	int ret = vhd_coalesce_end(c->vhd, &why) ? block_spec_fail(err, why.code, "%s", why.text) : 0;

	coalesce_free(c);
	return ret;
}
