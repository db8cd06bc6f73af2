// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where an image holds data and where certainly zeros, for tools that copy.
 *
 * A piece that the sector bitmaps call present is looked up in the file
 * system too: most blocks are only partly backed, and a hole in the file is
 * as good as a clear bit. The bitmap looked at last is kept, since a walk
 * comes back to it for each of its runs.
 */
#include <errno.h>
#include <stdlib.h>

#include "vhd/image.h"

static int walk_bitmap(struct vhd *v, uint32_t block)
{
	int ret;

	if (v->walk_map && v->walk_block == block)
		return 0;
	if (!v->walk_map)
		v->walk_map = malloc(v->bitmap_bytes);
	if (!v->walk_map)
		return -ENOMEM;
	v->walk_block = block;
	ret = v->store->ops->pread(v->store, v->walk_map, v->bitmap_bytes,
				   (uint64_t)v->bat[block] * VHD_SECTOR);
	if (ret) {
		free(v->walk_map);
		v->walk_map = NULL;
	}
	return ret;
}

/* How many bytes from @offset on lie in unallocated blocks. */
static uint64_t unused_run(const struct vhd *v, uint64_t offset, uint64_t length)
{
	uint32_t block = offset / v->header.block_size;
	uint64_t end = offset + length, at;

	do
		at = (uint64_t)++block * v->header.block_size;
	while (at < end && v->bat[block] == VHD_UNUSED);
	return (at < end ? at : end) - offset;
}

/* 1 here, at run->file_offset; 0 not here. Cuts run->length. */
static int block_run(struct vhd *v, uint64_t offset, struct vhd_run *run)
{
	uint32_t block = offset / v->header.block_size, in = offset % v->header.block_size;
	int ret;

	if (v->bat[block] == VHD_UNUSED) {
		run->length = unused_run(v, offset, run->length);
		return 0;
	}
	if (run->length > v->header.block_size - in)
		run->length = v->header.block_size - in;
	ret = walk_bitmap(v, block);
	if (ret)
		return ret;
	run->length = (uint64_t)vhd_bit_run(v->walk_map, in / VHD_SECTOR, run->length / VHD_SECTOR) * VHD_SECTOR;
	run->file_offset = (uint64_t)v->bat[block] * VHD_SECTOR + v->bitmap_bytes + in;
	return vhd_bit_test(v->walk_map, in / VHD_SECTOR);
}

int vhd_map(struct vhd *v, uint64_t offset, uint64_t length, struct vhd_run *run)
{
	int ret;

	if (offset >= v->size || !length)
		return -ERANGE;
	*run = (struct vhd_run){ .length = length };
	for (; v; v = v->parent, run->depth++) {
		if (v->no_parent)
			return -ENOLINK;
		if (offset >= v->size)
			continue;
		if (run->length > v->size - offset)
			run->length = v->size - offset;
		run->file_offset = offset;
		ret = v->blocks ? block_run(v, offset, run) : 1;
		if (ret < 0)
			return ret;
		if (ret) {
			/* Encrypted bytes that happen to be zeros are something else. */
			run->data = v->batmap.key.set || v->store->ops->run(v->store, run->file_offset, &run->length);
			return 0;
		}
	}
	run->file_offset = ~0ull;
	return 0;
}

/* The same of one image in use. */
static uint64_t level_unused(struct vhd *v, uint64_t offset, uint64_t length)
{
	if (!v->blocks)
		return v->store->ops->run(v->store, offset, &length) ? 0 : length;
	pthread_mutex_lock(&v->lock);
	if (v->bat[offset / v->header.block_size] == VHD_UNUSED)
		length = unused_run(v, offset, length);
	else
		length = 0;
	pthread_mutex_unlock(&v->lock);
	return length;
}

uint64_t vhd_unused(struct vhd *v, uint64_t offset, uint64_t length)
{
	for (; v && length; v = v->parent) {
		if (v->no_parent)
			return 0;
		if (offset >= v->size)
			continue;
		if (length > v->size - offset)
			length = v->size - offset;
		length = level_unused(v, offset, length);
	}
	return length;
}

const char *vhd_chain_path(const struct vhd *v, unsigned int depth)
{
	while (v && depth--)
		v = v->parent;
	return v ? v->path : NULL;
}
