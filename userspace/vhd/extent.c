// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where an image holds data and where certainly zeros, for tools that copy.
 *
 * A piece that the sector bitmaps call present is looked up in the file
 * system too: most blocks are only partly backed, and a hole in the file is
 * as good as a clear bit.
 */
#include <errno.h>
#include <stdlib.h>

#include "vhd/image.h"

/* 1 data, 0 zeros here, 2 ask the parent. */
static int block_extent(struct vhd *v, uint64_t offset, uint64_t *length, uint64_t *at)
{
	uint32_t block = offset / v->header.block_size, in = offset % v->header.block_size;
	uint8_t map[PAGE_BYTES];
	uint32_t run;
	int ret;

	if (*length > v->header.block_size - in)
		*length = v->header.block_size - in;
	if (v->bat[block] == VHD_UNUSED)
		return 2;
	ret = v->store->ops->pread(v->store, map, v->bitmap_bytes, (uint64_t)v->bat[block] * VHD_SECTOR);
	if (ret)
		return ret;
	run = vhd_bit_run(map, in / VHD_SECTOR, *length / VHD_SECTOR);
	*length = (uint64_t)run * VHD_SECTOR;
	if (!vhd_bit_test(map, in / VHD_SECTOR))
		return 2;
	*at = (uint64_t)v->bat[block] * VHD_SECTOR + v->bitmap_bytes + in;
	return 1;
}

int vhd_extent(struct vhd *v, uint64_t offset, uint64_t *length)
{
	uint64_t at;
	int ret;

	if (offset >= v->size)
		return -ERANGE;
	if (*length > v->size - offset)
		*length = v->size - offset;
	for (; v; v = v->parent) {
		if (v->no_parent)
			return -ENOLINK;
		if (offset >= v->size)
			return 0;
		if (*length > v->size - offset)
			*length = v->size - offset;
		at = offset;
		ret = v->blocks ? block_extent(v, offset, length, &at) : 1;
		if (ret == 1)
			return v->store->ops->run(v->store, at, length);
		if (ret < 0)
			return ret;
	}
	return 0;
}
