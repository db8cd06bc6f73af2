// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where content comes from, for those who keep equal content once.
 *
 * Disks cloned from one image show the same bytes wherever that image still
 * answers. Whoever holds such bytes in memory wants to know it without
 * reading them, so a piece of a disk is named by the image that has it and
 * the offset on the disk, which is the same for all.
 *
 * The name must not outlive the content. An image's unique id does not tell:
 * a file can be copied and then written to. So the identity of an image is
 * made of its file: device, inode, size and the time that the file system
 * keeps of the last change, which nobody can set back. It is taken once the
 * image cannot change (we hold its lock as a reader, or it has just become a
 * snapshot), and a later writer, who must wait for us, makes another one of
 * it. Block devices keep no such times and have no identity, nor has what the
 * disk itself was written with, or zeros.
 */
#include "vhd/image.h"

void locate_identify(struct vhd *v)
{
	v->identified = v->readonly && v->store->ops->identity && v->store->ops->identity(v->store, v->identity);
}

enum map_result locate_step(struct vhd_queue *q, struct vhd_request *req)
{
	struct extent e = { .epoch = -1 };
	enum map_result r = map_read(q, req, req->offset, req->length, &e);

	if (r != MAP_DATA && r != MAP_ZERO)
		return r;
	if (e.epoch >= 0) {
		pthread_mutex_lock(&e.image->lock);
		alloc_leave(e.image, e.epoch, q);
		pthread_mutex_unlock(&e.image->lock);
	}
	req->found = (struct vhd_found){ .length = e.length };
	if (r == MAP_DATA && e.image->identified) {
		req->found.from = e.image;
		for (int i = 0; i < 16; i++)
			req->found.image[i] = e.image->identity[i];
	}
	req->cursor = req->length;
	return MAP_NOTHING;
}

bool locate_valid(const struct vhd *v, const struct vhd *from)
{
	while (v && v != from)
		v = v->parent;
	return v;
}
